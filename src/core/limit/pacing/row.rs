//! Everything that paces one limit group of one quota domain: its accounts, windows that refusals told, its slow start,
//! and what is under way. Whose row it is, `pacing` knows. Law: what is reserved is taken off once and settled once.

use std::time::Duration;

use super::account::{Account, UnderWay};
use super::learned::{Count, Learned};
use super::slow_start::SlowStart;
use crate::core::limit::breaker::PROBE_PATIENCE;
use crate::core::limit::reading::{DIMENSIONS, Dimension, Readings, WINDOWS, WindowReading};
use crate::core::limit::scope::Scope;
use crate::core::time::Timestamp;

/// How long a request to one of whom nothing is known may be unanswered: limiters refuse at once, and of a server
/// without limits nobody is to be kept for longer.
const STRANGER: Duration = Duration::from_secs(1);

/// What a request takes of each dimension.
pub type Amounts = [f64; DIMENSIONS];

/// A window of a plan as it was told last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanWindow {
    /// 0..=1.
    pub remaining: f64,
    /// When it begins anew; `None`: not told.
    pub ends: Option<Timestamp>,
}

/// One limit group of one domain.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) accounts: [Option<Account>; DIMENSIONS],
    /// Of requests and of tokens, where no header tells.
    learned: [Learned; 2],
    pub(super) windows: [Option<PlanWindow>; WINDOWS],
    slow: Option<SlowStart>,
    under_way: Amounts,
    /// Configured limits of the domain that hold for it, by position, and whether they count requests and tokens.
    pub(super) configured: u32,
    pub(super) counted: [bool; 2],
    /// The order of its latest use.
    pub(super) used: u64,
}

/// Whether there is room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    /// There is: the share that would be left of the scarcest dimension.
    Open(f64),
    /// Beyond what is known, one may try where nobody else has room.
    Beyond,
    /// None before the instant, unless an answer comes first.
    Closed {
        /// When there will be.
        until: Timestamp,
        /// Whether an answer may open it earlier.
        event: bool,
    },
}

/// How a reservation ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// It was served, and this is what it took; a part of which nothing is known counts as reserved.
    Served([Option<f64>; DIMENSIONS]),
    /// The provider turned it away, or never had it: it took nothing.
    Returned,
}

impl Row {
    /// Nothing known: one first (16.8).
    pub fn new(configured: u32, counted: [bool; 2]) -> Self {
        Self {
            accounts: [None; DIMENSIONS],
            learned: [Learned::new(); 2],
            windows: [None; WINDOWS],
            slow: (configured == 0).then(|| SlowStart::new(STRANGER)),
            under_way: [0.0; DIMENSIONS],
            configured,
            counted,
            used: 0,
        }
    }

    /// Whether any limit is known from headers.
    pub fn is_stated(&self) -> bool {
        self.accounts.iter().any(Option::is_some)
    }

    /// Whether any limit is known, wherever from.
    pub fn is_known(&self) -> bool {
        self.is_stated() || self.configured != 0 || self.learned.iter().any(Learned::is_known)
    }

    /// Whether something but accounts paces it.
    pub fn is_special(&self) -> bool {
        self.configured != 0 || self.learned.iter().any(Learned::is_known)
    }

    /// Until when slow start lets nobody go, unless an answer comes before; in the past: it does not.
    pub fn held_until(&self, now: Timestamp) -> Timestamp {
        let slow = self.slow.as_ref();
        slow.and_then(|slow| slow.closed_until(now))
            .unwrap_or(Timestamp::ZERO)
    }

    /// Whether something is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.iter().any(|amount| *amount > 0.0)
    }

    /// After a membership has changed: what is under way is no longer known.
    pub fn forget_under_way(&mut self) {
        self.under_way = [0.0; DIMENSIONS];
    }

    /// What slow start and learned windows say; accounts are asked by their gauge.
    pub fn special_room(&self, amounts: &Amounts, now: Timestamp) -> Room {
        let held = self.held_until(now);
        if now < held {
            return Room::Closed {
                until: held,
                event: true,
            };
        }
        let mut room = Room::Open(1.0);
        for (account, amount) in self.accounts.iter().zip(amounts) {
            if let Some(window) = account
                .as_ref()
                .and_then(|account| account.window(*amount, now))
            {
                room = room.and(window);
            }
        }
        let learned = self.learned.iter().zip(learned_amounts(amounts));
        for (learned, amount) in learned.filter(|(learned, _)| learned.is_known()) {
            room = room.and(match learned.count(amount, now) {
                Count::Within(share) => Room::Open(share),
                Count::Beyond => Room::Beyond,
                Count::Spent(until) => Room::Closed { until, event: true },
            });
        }
        room
    }

    /// A request is sent.
    pub fn take(&mut self, amounts: &Amounts, now: Timestamp) {
        for ((account, under_way), amount) in self
            .accounts
            .iter_mut()
            .zip(&mut self.under_way)
            .zip(amounts)
        {
            if let Some(account) = account {
                account.reserve(*amount, now);
            }
            *under_way += amount;
        }
        if let Some(slow) = &mut self.slow {
            slow.take(now);
        }
        if !self.is_stated() {
            for (learned, amount) in self.learned.iter_mut().zip(learned_amounts(amounts)) {
                learned.take(amount, now);
            }
        }
    }

    /// The head of an answer that is no refusal: its readings, and one more may go.
    pub fn answered(
        &mut self,
        readings: &Readings,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        self.read(readings, amounts, sent, now);
        // A request counts from here on, whatever becomes of it.
        let [requests, ..] = &mut self.under_way;
        *requests = (*requests - 1.0).max(0.0);
        self.pass(sent);
        for (learned, amount) in self.learned.iter_mut().zip(learned_amounts(amounts)) {
            learned.answered(amount, sent, now);
        }
    }

    fn pass(&mut self, sent: Timestamp) {
        let stated = self.is_stated();
        if let Some(slow) = &mut self.slow {
            slow.answered(sent);
            if slow.is_over() || stated && slow.is_idle() {
                self.slow = None;
            }
        }
    }

    /// What a head says of limits.
    pub fn read(
        &mut self,
        readings: &Readings,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        let unknown = !self.is_stated();
        for (dimension, reading) in Dimension::ALL.iter().zip(&readings.dimensions) {
            let at = dimension.at();
            let (Some(reading), Some(place)) = (reading, self.accounts.get_mut(at)) else {
                continue;
            };
            // Of its tokens a part may come back, and may never have been debited; of its request nothing does.
            let counted = *dimension == Dimension::Requests;
            let under_way = UnderWay {
                all: self.under_way.get(at).copied().unwrap_or_default(),
                own: amounts
                    .get(at)
                    .copied()
                    .filter(|_| counted)
                    .unwrap_or_default(),
            };
            match place {
                Some(account) => account.read(reading, sent, under_way, now),
                None => *place = Some(Account::first(reading, under_way, now)),
            }
        }
        if unknown && self.is_stated() {
            // What it held back, limits that are known now hold back better.
            self.slow = None;
            self.learned = [Learned::new(); 2];
        }
        for (place, reading) in self.windows.iter_mut().zip(&readings.windows) {
            if let Some(reading) = reading {
                *place = Some(plan_window(reading, *place, now));
            }
        }
    }

    /// The provider refused for want of what the scope names; where it names nothing, of what is scarcest.
    pub fn refused(
        &mut self,
        scope: Scope,
        stated: Option<Duration>,
        amounts: &Amounts,
        sent: Timestamp,
        now: Timestamp,
    ) {
        if self.is_stated() {
            self.empty(scope, amounts, now);
        } else if let Some(wait) = stated.filter(|wait| !wait.is_zero() && counts(scope)) {
            let tokens = Scope::TOKENS | Scope::INPUT_TOKENS | Scope::OUTPUT_TOKENS;
            let which = usize::from(scope.intersects(tokens) && !scope.contains(Scope::REQUESTS));
            let amount = learned_amounts(amounts).get(which).copied();
            let counted = self.counted.get(which).copied().unwrap_or_default();
            if let (Some(learned), Some(amount), false) =
                (self.learned.get_mut(which), amount, counted)
            {
                let told = learned.refused(amount, sent, now + wait, now);
                self.slow = (!told).then(|| SlowStart::new(STRANGER));
            }
        }
    }

    fn empty(&mut self, scope: Scope, amounts: &Amounts, now: Timestamp) {
        let mut any = false;
        for dimension in Dimension::ALL
            .iter()
            .filter(|dimension| names(scope, **dimension))
        {
            if let Some(Some(account)) = self.accounts.get_mut(dimension.at()) {
                account.empty(now);
                any = true;
            }
        }
        if any || scope.contains(Scope::CONCURRENCY) {
            return;
        }
        let share = |account: &Account, amount: f64| (account.level() - amount) / account.limit();
        let known = self.accounts.iter_mut().zip(amounts);
        let scarcest = known
            .filter_map(|(account, amount)| Some((account.as_mut()?, *amount)))
            .min_by(|(one, need), (other, theirs)| {
                share(one, *need).total_cmp(&share(other, *theirs))
            });
        if let Some((account, _)) = scarcest {
            account.empty(now);
        }
    }

    /// A reservation ends. `answered`: it has been counted as answered.
    pub fn settle(
        &mut self,
        ending: &Ending,
        amounts: &Amounts,
        answered: bool,
        sent: Timestamp,
        now: Timestamp,
    ) {
        for (at, reserved) in amounts.iter().enumerate() {
            let requests = at == Dimension::Requests.at();
            if let Some(under_way) = self.under_way.get_mut(at)
                && !(requests && answered)
            {
                // What rounding leaves is nothing: else the row were in use for ever.
                *under_way = Some(*under_way - reserved)
                    .filter(|left| *left > 1e-6)
                    .unwrap_or(0.0);
            }
            let used = match ending {
                Ending::Served(used) => used.get(at).copied().flatten().unwrap_or(*reserved),
                Ending::Returned => 0.0,
            };
            // Generated tokens are debited when they come, all others when the request is admitted.
            let late = at == Dimension::OutputTokens.at();
            let unseen = if late { *reserved } else { reserved - used };
            if let Some(Some(account)) = self.accounts.get_mut(at)
                && (used != *reserved || unseen > 0.0)
            {
                account.settle(*reserved, used, unseen, now);
            }
        }
        if let Some(slow) = self.slow.as_mut().filter(|_| !answered) {
            slow.forget(sent);
        }
        if *ending == Ending::Returned && !self.is_stated() {
            for (learned, amount) in self.learned.iter_mut().zip(learned_amounts(amounts)) {
                learned.returned(amount, sent);
            }
        }
    }

    /// A probe has passed: the others follow slowly (C4, D5).
    pub fn start_slowly(&mut self) {
        self.slow = Some(SlowStart::new(PROBE_PATIENCE));
    }

    /// When what is left would be lost; `None`: not known.
    pub fn reset(&self, now: Timestamp) -> Option<Timestamp> {
        let windows = self.windows.iter().flatten();
        let ends = windows
            .filter_map(|window| window.ends)
            .chain(self.accounts.iter().flatten().map(Account::full_at))
            .chain(self.learned.iter().filter_map(Learned::ends));
        ends.filter(|ends| now < *ends).min()
    }

    /// Two domains are one: the lower of two accounts stays, and what is under way adds up (D8).
    pub fn join(&mut self, other: &Self, now: Timestamp) {
        for (own, other) in self.accounts.iter_mut().zip(&other.accounts) {
            match (own, other) {
                (Some(own), Some(other)) => own.join(other, now),
                (own @ None, Some(other)) => *own = Some(*other),
                (_, None) => {}
            }
        }
        for (own, other) in self.under_way.iter_mut().zip(&other.under_way) {
            *own += other;
        }
        if self.is_stated() {
            self.slow = None;
        }
        self.configured |= other.configured;
    }
}

impl Room {
    /// Both have to have room.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Closed { until, event },
                Self::Closed {
                    until: other,
                    event: too,
                },
            ) => Self::Closed {
                until: until.max(other),
                event: event && too,
            },
            (closed @ Self::Closed { .. }, _) | (_, closed @ Self::Closed { .. }) => closed,
            (Self::Beyond, _) | (_, Self::Beyond) => Self::Beyond,
            (Self::Open(one), Self::Open(other)) => Self::Open(one.min(other)),
        }
    }
}

/// Whether a refusal of this scope may be for want of requests or tokens.
fn counts(scope: Scope) -> bool {
    let others = Scope::CONCURRENCY | Scope::SPEND;
    !scope.intersects(others)
        || Dimension::ALL
            .iter()
            .any(|dimension| names(scope, *dimension))
}

/// Whether a refusal of this scope is for want of the dimension.
pub fn names(scope: Scope, dimension: Dimension) -> bool {
    let both = Scope::INPUT_TOKENS | Scope::OUTPUT_TOKENS;
    match dimension {
        Dimension::Requests => scope.contains(Scope::REQUESTS),
        Dimension::InputTokens => scope.intersects(Scope::INPUT_TOKENS | Scope::TOKENS),
        Dimension::OutputTokens => scope.intersects(Scope::OUTPUT_TOKENS | Scope::TOKENS),
        Dimension::Tokens => scope.intersects(Scope::TOKENS | both),
    }
}

/// Of a learned window's two dimensions: requests, and tokens of both kinds.
fn learned_amounts(amounts: &Amounts) -> [f64; 2] {
    let [requests, .., tokens] = *amounts;
    [requests, tokens]
}

/// Of two readings of one window the smaller stays; a later end replaces (STYLE).
fn plan_window(reading: &WindowReading, before: Option<PlanWindow>, now: Timestamp) -> PlanWindow {
    const SAME: Duration = Duration::from_secs(1);
    let ends = reading.reset.map(|reset| now + reset);
    let mut window = PlanWindow {
        remaining: reading.remaining,
        ends,
    };
    if let (Some(before), Some(own)) = (before, ends)
        && let Some(theirs) = before.ends
        && own.since(theirs) <= SAME
        && now < theirs
    {
        window.remaining = window.remaining.min(before.remaining);
    }
    window
}
