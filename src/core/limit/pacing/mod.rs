//! Pacing (C4, SPEC 16): what is left of every limit of every (quota domain, limit group), so that a request is sent
//! only where it will be served. Reservation and room are accounts' (`account`), windows learned from refusals
//! `learned`'s; this finds the row, keeps its gauge true and bounds the memory. Law: nothing grows but when a layout
//! is taken over; a row that is in use is never given to another.

mod account;
mod estimate;
mod extremes;
mod gauge;
mod glance;
mod learned;
mod row;
mod slow_start;
mod told;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::time::Duration;

pub use self::estimate::{Need, Size};
pub use self::glance::{Column, Rough};
pub use self::row::{Amounts, Ending, PlanWindow, Room};

use self::account::Account;
use self::estimate::Estimate;
use self::gauge::Gauge;
use self::row::Row;
use crate::core::choice::globs::Models;
use crate::core::id::LimitGroup;
use crate::core::limit::reading::{Counting, Dimension, Readings};
use crate::core::limit::scope::Scope;
use crate::core::time::Timestamp;

/// Limit groups that are paced at once; the one that was longest unused makes room.
const MOST_GROUPS: usize = 64;
/// Rows for each domain on average, and at least.
const ROWS_PER_DOMAIN: usize = 4;
const LEAST_ROWS: usize = 1_024;
/// How far the search for a row to be given away looks.
const SEARCH: usize = 32;
const NONE: u32 = u32::MAX;

/// A limit group's place in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(u32);

/// A configured limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is counted.
    pub dimension: Dimension,
    /// How much; above zero.
    pub limit: f64,
    /// In which time.
    pub period: Duration,
    /// The models, or limit groups, that share it.
    pub models: Models,
}

#[derive(Clone, Debug)]
struct Configured {
    limit: Limit,
    account: Account,
}

#[derive(Debug)]
struct Named {
    group: LimitGroup,
    hash: u64,
    estimate: Estimate,
    used: u64,
}

/// All rows, by domain and limit group.
#[derive(Debug)]
pub struct Book {
    groups: Vec<Named>,
    domains: usize,
    /// By group, then by domain: the row.
    places: Vec<u32>,
    rows: Vec<Row>,
    /// Of the rows, at the same places.
    gauges: Vec<Gauge>,
    /// Whose the rows are: group and domain.
    owners: Vec<(u32, u32)>,
    most_rows: usize,
    /// Where the search for a row to give away goes on.
    hand: usize,
    configured: Vec<Vec<Configured>>,
    uses: u64,
    /// The group that was looked up last.
    latest: Cell<u32>,
    /// How often it was asked for room.
    #[cfg(test)]
    pub(crate) asked: Cell<u32>,
}

impl Need {
    /// What it takes of each dimension, as a provider counts. `cached`: prompt tokens that its session's last answer
    /// read from the cache.
    pub fn amounts(&self, counting: Counting, cached: f64) -> Amounts {
        let input = if counting.ignores_cache_reads {
            (self.input - cached).max(0.0)
        } else {
            self.input
        };
        let output = if counting.reserves_max_tokens {
            self.most_output
        } else {
            self.output
        };
        [1.0, input, output, input + output]
    }
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// Nothing is paced.
    pub const fn new() -> Self {
        Self {
            groups: Vec::new(),
            domains: 0,
            places: Vec::new(),
            rows: Vec::new(),
            gauges: Vec::new(),
            owners: Vec::new(),
            most_rows: 0,
            hand: 0,
            configured: Vec::new(),
            uses: 0,
            latest: Cell::new(0),
            #[cfg(test)]
            asked: Cell::new(0),
        }
    }

    /// Room for so many domains, with their configured limits; what is known of those that were there stays. The only
    /// call that allocates, but for the names of groups.
    pub fn lay_out(&mut self, configured: Vec<Vec<Limit>>, now: Timestamp) {
        let before = std::mem::take(&mut self.configured);
        let domains = configured.len().max(self.domains);
        let mut old = before.into_iter();
        self.configured = configured
            .into_iter()
            .map(|limits| {
                let old = old.next().unwrap_or_default();
                limits
                    .into_iter()
                    .map(|limit| kept(limit, &old, now))
                    .collect()
            })
            .collect();
        self.configured.resize_with(domains, Vec::new);
        let mut places = vec![NONE; domains * MOST_GROUPS];
        for (row, (group, domain)) in self.owners.iter().enumerate() {
            let at = *group as usize * domains + *domain as usize;
            if let Some(place) = places.get_mut(at) {
                *place = u32::try_from(row).unwrap_or(NONE);
            }
        }
        self.places = places;
        self.domains = domains;
        self.groups.reserve_exact(MOST_GROUPS - self.groups.len());
        self.most_rows = (domains * ROWS_PER_DOMAIN).max(LEAST_ROWS);
        let more = self.most_rows.saturating_sub(self.rows.len());
        self.rows.reserve_exact(more);
        self.gauges.reserve_exact(more);
        self.owners.reserve_exact(more);
        // Which configured limits hold for a row is asked again at its next use.
        for at in 0..self.rows.len() {
            self.configure(at, None);
            self.refresh(at, now);
        }
    }

    /// A group's place, if it is known.
    pub fn find(&self, group: &LimitGroup) -> Option<Group> {
        // All that one request asks, it asks in a row, of one group.
        let latest = self.latest.get();
        let known = self.groups.get(latest as usize);
        if known.is_some_and(|known| known.group == *group) {
            return Some(Group(latest));
        }
        let hash = group.hash();
        let place = self
            .groups
            .iter()
            .position(|named| named.hash == hash && named.group == *group)?;
        let place = u32::try_from(place).ok()?;
        self.latest.set(place);
        Some(Group(place))
    }

    /// What a request of a group needs.
    pub fn need(&self, group: Option<Group>, size: &Size) -> Need {
        match group.and_then(|group| self.groups.get(group.0 as usize)) {
            Some(named) => named.estimate.need(size),
            None => Estimate::unlearned(size),
        }
    }

    /// Whether a request has room in a domain. `model`: for limits of a row that is not there yet.
    pub fn room(
        &self,
        domain: usize,
        group: Option<Group>,
        model: Option<&str>,
        amounts: &Amounts,
        now: Timestamp,
    ) -> Room {
        #[cfg(test)]
        self.asked.set(self.asked.get() + 1);
        let Some(row) = group.and_then(|group| self.place(group, domain)) else {
            return self.room_of_stranger(domain, model, amounts, now);
        };
        let Some(gauge) = self.gauges.get(row) else {
            return Room::Open(0.5);
        };
        let room = gauge.room(amounts, now);
        if !gauge.special {
            return room;
        }
        self.special_room(row, domain, room, amounts, now)
    }

    fn special_room(
        &self,
        row: usize,
        domain: usize,
        room: Room,
        amounts: &Amounts,
        now: Timestamp,
    ) -> Room {
        let Some(row) = self.rows.get(row) else {
            return room;
        };
        let mut room = room.and(row.special_room(amounts, now));
        for window in row.windows.iter().flatten() {
            let runs = window.ends.is_none_or(|ends| now < ends);
            if let (Room::Open(share), true) = (room, runs) {
                room = Room::Open(share.min(window.remaining));
            }
        }
        let configured = self.configured.get(domain).map(Vec::as_slice);
        for (at, limit) in configured.unwrap_or_default().iter().enumerate() {
            if row.configured & bit(at) != 0 {
                room = room.and(limit.room(amounts, now));
            }
        }
        room
    }

    /// Of a group of which nothing is known there.
    fn room_of_stranger(
        &self,
        domain: usize,
        model: Option<&str>,
        amounts: &Amounts,
        now: Timestamp,
    ) -> Room {
        let configured = self.configured.get(domain).map(Vec::as_slice);
        let holds = |limit: &&Configured| limit.limit.models.allow(model);
        configured
            .unwrap_or_default()
            .iter()
            .filter(holds)
            .map(|limit| limit.room(amounts, now))
            .reduce(Room::and)
            .unwrap_or(Room::Open(0.5))
    }

    /// When what is left there would be lost: the end of a window, or a bucket being full. `None`: not known.
    pub fn reset(&self, domain: usize, group: Group, now: Timestamp) -> Option<Timestamp> {
        let row = self.rows.get(self.place(group, domain)?)?;
        row.reset(now)
    }

    /// A request is sent: what it needs is reserved.
    pub fn take(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        model: Option<&str>,
        amounts: &Amounts,
        now: Timestamp,
    ) {
        let Some(group) = self.find(group).or_else(|| self.name(group)) else {
            return;
        };
        let Some(at) = self
            .place(group, domain)
            .or_else(|| self.add(group, domain, model))
        else {
            return;
        };
        self.uses += 1;
        if let Some(named) = self.groups.get_mut(group.0 as usize) {
            named.used = self.uses;
        }
        let Some(row) = self.rows.get_mut(at) else {
            return;
        };
        row.used = self.uses;
        row.take(amounts, now);
        let configured = row.configured;
        self.each_configured(domain, configured, |dimension, account| {
            account.reserve(of(amounts, dimension), now);
        });
        self.refresh(at, now);
    }

    /// The head of an answer that is no refusal.
    pub fn answered(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        readings: &Readings,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        self.change(domain, group, now, |row| {
            row.answered(readings, amounts, sent, now);
        });
    }

    /// The head of a refusal.
    #[expect(clippy::too_many_arguments, reason = "a refusal has so many sides")]
    pub fn refused(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        scope: Scope,
        stated: Option<Duration>,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        let mut configured = 0;
        self.change(domain, group, now, |row| {
            row.refused(scope, stated, amounts, sent, now);
            configured = row.configured;
        });
        self.each_configured(domain, configured, |dimension, account| {
            if row::names(scope, dimension) {
                account.empty(now);
            }
        });
    }

    /// What a refusal's head, or any that counts as no answer, says of limits.
    pub fn read(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        readings: &Readings,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        self.change(domain, group, now, |row| {
            row.read(readings, amounts, sent, now);
        });
    }

    /// A reservation ends. `answered`: [`answered`](Self::answered) was called for it.
    #[expect(clippy::too_many_arguments, reason = "a reservation has so many sides")]
    pub fn settle(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        ending: &Ending,
        amounts: &Amounts,
        answered: bool,
        sent: Timestamp,
        now: Timestamp,
    ) {
        let mut configured = 0;
        self.change(domain, group, now, |row| {
            row.settle(ending, amounts, answered, sent, now);
            configured = row.configured;
        });
        let used = |dimension: Dimension| match ending {
            Ending::Served(used) => used.get(dimension.at()).copied().flatten(),
            Ending::Returned => Some(0.0),
        };
        self.each_configured(domain, configured, |dimension, account| {
            if let Some(used) = used(dimension) {
                let reserved = of(amounts, dimension);
                account.settle(reserved, used, reserved - used, now);
            }
        });
    }

    /// What a served request took, for the next ones of its group.
    pub fn learn(
        &mut self,
        group: &LimitGroup,
        bytes: u64,
        input: Option<f64>,
        output: Option<f64>,
    ) {
        let named = self.find(group);
        if let Some(named) = named.and_then(|group| self.groups.get_mut(group.0 as usize)) {
            named.estimate.learn(bytes, input, output);
        }
    }

    /// A probe has passed: the others follow slowly (C4).
    pub fn start_slowly(&mut self, domain: usize, group: &LimitGroup, now: Timestamp) {
        self.change(domain, group, now, Row::start_slowly);
    }

    /// Two domains are one from now on (D8).
    pub fn join(&mut self, from: usize, into: usize, now: Timestamp) {
        for group in 0..self.groups.len() {
            let Ok(group) = u32::try_from(group).map(Group) else {
                return;
            };
            let Some(theirs) = self.place(group, from) else {
                continue;
            };
            if let Some(own) = self.place(group, into) {
                if let (Some(other), Some(row)) =
                    (self.rows.get(theirs).cloned(), self.rows.get_mut(own))
                {
                    row.join(&other, now);
                }
                self.refresh(own, now);
                if let Some(row) = self.rows.get_mut(theirs) {
                    row.forget_under_way();
                }
            } else {
                self.give(theirs, group, into);
                self.refresh(theirs, now);
            }
        }
    }

    /// Whether two domains have stated limits of one group and dimension, and no unequal ones (D8).
    pub fn state_equal_limits(&self, one: usize, other: usize) -> bool {
        let mut any = false;
        for group in 0..self.groups.len() {
            let Ok(group) = u32::try_from(group).map(Group) else {
                return false;
            };
            let row = |domain| self.rows.get(self.place(group, domain)?);
            let (Some(one), Some(other)) = (row(one), row(other)) else {
                continue;
            };
            for (one, other) in one.accounts.iter().zip(&other.accounts) {
                if let (Some(one), Some(other)) = (one, other) {
                    if one.limit() != other.limit() {
                        return false;
                    }
                    any = true;
                }
            }
        }
        any
    }

    /// What is under way in a domain is no longer known: who belongs to it has changed.
    pub fn forget_under_way(&mut self, domain: usize) {
        for (row, (_, owner)) in self.rows.iter_mut().zip(&self.owners) {
            if *owner as usize == domain {
                row.forget_under_way();
            }
        }
    }

    /// The domain has one limit, of prompt tokens, and nothing left of it.
    #[cfg(test)]
    pub(crate) fn starve(&mut self, domain: usize, per_second: f64, most: f64, now: Timestamp) {
        let period = Duration::from_secs_f64(most / per_second);
        let mut account = Account::full(most, period, now);
        account.reserve(most, now);
        let limit = Limit {
            dimension: Dimension::InputTokens,
            limit: most,
            period,
            models: Models::default(),
        };
        self.configured[domain] = vec![Configured { limit, account }];
    }

    fn place(&self, group: Group, domain: usize) -> Option<usize> {
        let row = *self.places.get(group.0 as usize * self.domains + domain)?;
        (row != NONE && domain < self.domains).then_some(row as usize)
    }

    fn change(
        &mut self,
        domain: usize,
        group: &LimitGroup,
        now: Timestamp,
        change: impl FnOnce(&mut Row),
    ) {
        let place = self.find(group).and_then(|group| self.place(group, domain));
        if let Some(at) = place
            && let Some(row) = self.rows.get_mut(at)
        {
            change(row);
            self.refresh(at, now);
        }
    }

    fn each_configured(
        &mut self,
        domain: usize,
        which: u32,
        mut change: impl FnMut(Dimension, &mut Account),
    ) {
        if which == 0 {
            return;
        }
        let limits = self.configured.get_mut(domain).into_iter().flatten();
        for (at, limit) in limits.enumerate() {
            if which & bit(at) != 0 {
                change(limit.limit.dimension, &mut limit.account);
            }
        }
    }

    /// Makes a row's gauge true again.
    fn refresh(&mut self, at: usize, now: Timestamp) {
        if let (Some(row), Some(gauge)) = (self.rows.get_mut(at), self.gauges.get_mut(at)) {
            for account in row.accounts.iter_mut().flatten() {
                account.advance(now);
            }
            *gauge = Gauge::of(row, now);
        }
    }

    fn configured_for(
        &self,
        domain: usize,
        group: &LimitGroup,
        model: Option<&str>,
    ) -> (u32, [bool; 2]) {
        let limits = self.configured.get(domain).into_iter().flatten();
        let mut which = 0;
        let mut counted = [false; 2];
        for (at, limit) in limits.enumerate() {
            let models = &limit.limit.models;
            if models.allow(model) || models.allow(Some(group.name())) {
                which |= bit(at);
                let [requests, tokens] = &mut counted;
                match limit.limit.dimension {
                    Dimension::Requests => *requests = true,
                    _ => *tokens = true,
                }
            }
        }
        (which, counted)
    }

    fn configure(&mut self, at: usize, model: Option<&str>) {
        let Some(&(group, domain)) = self.owners.get(at) else {
            return;
        };
        let Some(named) = self.groups.get(group as usize) else {
            return;
        };
        let name = Some(named.group.name());
        let which = self.configured_for(domain as usize, &named.group, model.or(name));
        if let Some(row) = self.rows.get_mut(at) {
            (row.configured, row.counted) = which;
        }
    }

    /// A new group; `None`: all that there are are in use.
    fn name(&mut self, group: &LimitGroup) -> Option<Group> {
        let hash = group.hash();
        if self.groups.len() < MOST_GROUPS {
            self.groups.push(Named {
                group: group.clone(),
                hash,
                estimate: Estimate::new(),
                used: self.uses,
            });
            return u32::try_from(self.groups.len() - 1).ok().map(Group);
        }
        let idle = |place: &usize| {
            let mut rows = self.rows.iter().zip(&self.owners);
            !rows.any(|(row, (group, _))| *group as usize == *place && row.is_busy())
        };
        let oldest = (0..self.groups.len())
            .filter(idle)
            .min_by_key(|place| self.groups.get(*place).map(|named| named.used))?;
        let range = oldest * self.domains..(oldest + 1) * self.domains;
        for place in self.places.get_mut(range)? {
            if let Some(row) = self.rows.get_mut(*place as usize) {
                // To be given away first.
                row.used = 0;
            }
            if let Some(owner) = self.owners.get_mut(*place as usize) {
                *owner = (NONE, NONE);
            }
            *place = NONE;
        }
        let named = self.groups.get_mut(oldest)?;
        named.group = group.clone();
        named.hash = hash;
        named.estimate.clear();
        u32::try_from(oldest).ok().map(Group)
    }

    /// A row for the group there; `None`: all are in use.
    fn add(&mut self, group: Group, domain: usize, model: Option<&str>) -> Option<usize> {
        if self.domains <= domain {
            return None;
        }
        let at = if self.rows.len() < self.most_rows {
            let row = Row::new(0, [false; 2]);
            self.gauges.push(Gauge::of(&row, Timestamp::ZERO));
            self.rows.push(row);
            self.owners.push((NONE, NONE));
            self.rows.len() - 1
        } else {
            self.row_to_give()?
        };
        let name = &self.groups.get(group.0 as usize)?.group;
        let (configured, counted) = self.configured_for(domain, name, model);
        *self.rows.get_mut(at)? = Row::new(configured, counted);
        self.give(at, group, domain);
        Some(at)
    }

    fn give(&mut self, at: usize, group: Group, domain: usize) {
        let owner = (group.0, u32::try_from(domain).unwrap_or(NONE));
        let Some(before) = self.owners.get_mut(at) else {
            return;
        };
        let (group, former) = std::mem::replace(before, owner);
        let left = group as usize * self.domains + former as usize;
        if let Some(place) = self.places.get_mut(left)
            && *place as usize == at
        {
            *place = NONE;
        }
        let own = owner.0 as usize * self.domains + domain;
        if let Some(place) = self.places.get_mut(own) {
            *place = u32::try_from(at).unwrap_or(NONE);
        }
    }

    /// The row that was longest unused among some that nothing is under way in.
    fn row_to_give(&mut self) -> Option<usize> {
        let len = self.rows.len();
        let from = self.hand;
        self.hand = (from + SEARCH) % len.max(1);
        (0..SEARCH.min(len))
            .map(|step| (from + step) % len)
            .filter_map(|at| Some((at, self.rows.get(at)?)))
            .filter(|(_, row)| !row.is_busy())
            .min_by_key(|(_, row)| row.used)
            .map(|(at, _)| at)
    }
}

impl Configured {
    fn room(&self, amounts: &Amounts, now: Timestamp) -> Room {
        let at = self.limit.dimension.at();
        Gauge::of_account(at, &self.account, self.account.at()).room(amounts, now)
    }
}

/// The limit with its account, if it was there before.
fn kept(limit: Limit, old: &[Configured], now: Timestamp) -> Configured {
    let same = old.iter().find(|old| {
        old.limit.dimension == limit.dimension
            && old.limit.limit == limit.limit
            && old.limit.period == limit.period
            && old.limit.models == limit.models
    });
    let account = match same {
        Some(same) => same.account,
        None => Account::full(limit.limit, limit.period, now),
    };
    Configured { limit, account }
}

fn of(amounts: &Amounts, dimension: Dimension) -> f64 {
    amounts.get(dimension.at()).copied().unwrap_or_default()
}

const fn bit(at: usize) -> u32 {
    if at < 32 { 1 << at } else { 0 }
}
