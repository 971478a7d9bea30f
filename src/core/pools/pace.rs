//! Pacing as the pools use it (C4, D8): what a request needs where, what is reserved and settled, and which domains turn
//! out to be one. The arithmetic is `limit::pacing`'s.

use super::Pools;
use super::consequences::Consequences;
use super::decide::Asks;
use super::demand::Size;
use super::layout::{Layout, SubscriptionLayout};
use super::ticket::{Reserved, Ticket};
use crate::core::choice::globs::Models;
use crate::core::choice::select::{EVERYBODY, Seat};
use crate::core::choice::strategy::{Candidate, Strategy};
use crate::core::event::{Change, Event};
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::ledger::usage::Usage;
use crate::core::limit::pacing::{Amounts, Column, Ending, Group, Limit, Need, Room, Rough};
use crate::core::limit::reading::{Counting, DIMENSIONS, Readings};
use crate::core::limit::verdict::{Class, Outcome, Verdict};
use crate::core::time::Timestamp;

/// Reserved by nobody.
const NOTHING: Amounts = [0.0; DIMENSIONS];

/// What a request needs, and where that is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    group: Option<Group>,
    need: Need,
    /// The same where the limiter reserves as much as an answer may have, and where it does not.
    rough: [Rough; 2],
    /// Prompt tokens that its session's latest answer read from the cache of the one that is asked.
    pub(super) cached: f64,
}

impl Pace {
    /// What it takes there.
    pub(super) fn rough(&self, seat: &Seat) -> &Rough {
        let [plain, reserving] = &self.rough;
        if seat.counting.reserves_max_tokens {
            reserving
        } else {
            plain
        }
    }
}

impl Pools {
    pub(super) fn pace(&self, asks: &Asks<'_>) -> Pace {
        let group = self.book.find(asks.group);
        let need = self.book.need(group, &asks.size);
        let rough = [false, true].map(|reserves_max_tokens| {
            let counting = Counting {
                reserves_max_tokens,
                ..Counting::default()
            };
            need.amounts(counting, 0.0).map(|amount| amount as f32)
        });
        Pace {
            group,
            need,
            rough,
            cached: 0.0,
        }
    }

    /// The rows that a scan for this request looks at.
    pub(super) fn column(&self, asks: &Asks<'_>) -> Column<'_> {
        self.book.column(asks.pace.group)
    }

    /// Whether its limits let a request go.
    pub(super) fn room(&self, seat: &Seat, asks: &Asks<'_>, now: Timestamp) -> Room {
        let amounts = asks.pace.need.amounts(seat.counting, asks.pace.cached);
        let domain = seat.domain as usize;
        let group = asks.pace.group;
        self.book.room(domain, group, asks.model, &amounts, now)
    }

    /// How soon an open subscription is taken.
    pub(super) fn rank(
        &self,
        strategy: Strategy,
        seat: &Seat,
        position: usize,
        share: f64,
        asks: &Asks<'_>,
        now: Timestamp,
    ) -> u64 {
        let reset = strategy
            .looks_at_resets()
            .then(|| {
                let group = asks.pace.group?;
                self.book.reset(seat.domain as usize, group, now)
            })
            .flatten();
        strategy.rank(&Candidate {
            share,
            in_flight: seat.in_flight,
            used: seat.used,
            pass: seat.pass,
            position,
            reset,
        })
    }

    /// C4: what a request needs is reserved before it is sent.
    pub(super) fn reserve(
        &mut self,
        subscription: SubscriptionIndex,
        group: &LimitGroup,
        model: Option<&str>,
        size: &Size,
        session: Option<(PoolIndex, SessionKey)>,
        now: Timestamp,
    ) -> Reserved {
        let Some(own) = self.subscriptions.get(subscription.at()) else {
            return Reserved::default();
        };
        let need = self.book.need(self.book.find(group), size);
        let cached = session.map_or(0.0, |(pool, session)| {
            self.cached(pool, &session, subscription)
        });
        let amounts = need.amounts(own.counting, cached);
        self.book.take(own.domain, group, model, &amounts, now);
        Reserved {
            amounts,
            bytes: size.bytes,
            session,
        }
    }

    /// What the session's latest answer read from that subscription's cache (C4).
    pub(super) fn cached(
        &self,
        pool: PoolIndex,
        session: &SessionKey,
        subscription: SubscriptionIndex,
    ) -> f64 {
        let bound = self.sessions.binding(pool, session);
        if bound.is_some_and(|bound| self.successor(bound) == subscription) {
            return f64::from(self.sessions.cached(pool, session));
        }
        0.0
    }

    /// What an answer's head says of limits, and whether it was served. Returns whether anybody's standing may have
    /// changed.
    pub(super) fn pace_observed(
        &mut self,
        ticket: &Ticket,
        verdict: &Verdict,
        readings: &Readings,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let Some(domain) = self.domain_at(ticket.subscription) else {
            return false;
        };
        let Some(out) = self.tickets.out(ticket) else {
            return false;
        };
        let (sent, amounts) = (ticket.attempt.began, out.reserved.amounts);
        let first = !out.paced;
        match verdict.class {
            Class::Ok | Class::ClientError if first => {
                out.paced = true;
                let book = &mut self.book;
                book.answered(domain, &ticket.group, readings, &amounts, sent, now);
            }
            Class::RateLimited | Class::QuotaExhausted if first => {
                out.paced = true;
                out.returned = true;
                let book = &mut self.book;
                let returned = &Ending::Returned;
                book.settle(domain, &ticket.group, returned, &amounts, false, sent, now);
                book.read(domain, &ticket.group, readings, &NOTHING, sent, now);
                let (scope, wait) = (verdict.scope, verdict.wait);
                book.refused(domain, &ticket.group, scope, wait, &amounts, sent, now);
            }
            _ if readings.is_empty() => return false,
            _ => {
                let book = &mut self.book;
                book.read(domain, &ticket.group, readings, &amounts, sent, now);
            }
        }
        if let Some(organisation) = readings.organisation {
            self.belongs_to(ticket, domain, organisation, now, consequences);
        }
        true
    }

    /// The end of an attempt: what it reserved and did not use is free again.
    pub(super) fn pace_settled(
        &mut self,
        ticket: &Ticket,
        outcome: &Outcome,
        usage: &Usage,
        now: Timestamp,
    ) {
        let Some(own) = self.subscriptions.get(ticket.subscription.at()) else {
            return;
        };
        let (domain, counting) = (own.domain, own.counting);
        let Some(out) = self.tickets.out(ticket).filter(|out| !out.returned) else {
            return;
        };
        let answered = out.paced;
        let Reserved {
            amounts,
            bytes,
            session,
        } = out.reserved;
        let ending = ending(outcome, usage, counting);
        if let (Ending::Served(_), Outcome::Answered(_)) = (&ending, outcome) {
            let input = prompt(usage, counting);
            let output = usage.output.map(|output| output as f64);
            self.book.learn(&ticket.group, bytes, input, output);
            if let (Some((pool, session)), Some(cached)) = (session, usage.cache_read) {
                let cached = u32::try_from(cached).unwrap_or(u32::MAX);
                let subscription = ticket.subscription;
                self.sessions
                    .note_cached(pool, &session, subscription, cached);
            }
        }
        let sent = ticket.attempt.began;
        self.book.settle(
            domain,
            &ticket.group,
            &ending,
            &amounts,
            answered,
            sent,
            now,
        );
    }

    pub(super) fn domain_at(&self, subscription: SubscriptionIndex) -> Option<usize> {
        let own = self.subscriptions.get(subscription.at());
        own.map(|own| own.domain)
    }

    /// D8: whose answers name one organisation and state equal limits share them, unless the configuration names
    /// domains.
    fn belongs_to(
        &mut self,
        ticket: &Ticket,
        domain: usize,
        organisation: u64,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let Some(own) = self.domains.get_mut(domain) else {
            return;
        };
        if own.name.is_some() {
            return;
        }
        own.organisation = Some(organisation);
        let provider = self
            .subscriptions
            .get(ticket.subscription.at())
            .map(|own| own.provider);
        let other = self.subscriptions.iter().position(|other| {
            let theirs = self.domains.get(other.domain);
            other.domain != domain
                && Some(other.provider) == provider
                && !other.draining
                && theirs.is_some_and(|theirs| {
                    theirs.name.is_none() && theirs.organisation == Some(organisation)
                })
        });
        let with = other.and_then(|other| u16::try_from(other).ok());
        let Some(with) = with.map(SubscriptionIndex) else {
            return;
        };
        let Some(other) = self.domain_at(with) else {
            return;
        };
        if self.book.state_equal_limits(domain, other) {
            self.join(domain, other, now);
            consequences.tell(Event {
                at: now,
                subscription: ticket.subscription,
                change: Change::Joined { with },
            });
        }
    }

    /// Of two cooldowns the later stays, of two accounts the lower; what is in flight adds up.
    fn join(&mut self, from: usize, into: usize, now: Timestamp) {
        let bars = self.domains.get(from).map(|domain| domain.bars.clone());
        if let (Some(bars), Some(domain)) = (bars, self.domains.get_mut(into)) {
            domain.bars.merge(&bars);
            domain.shared = true;
        }
        for (own, seat) in self.subscriptions.iter_mut().zip(&mut self.seats) {
            if own.domain == from {
                own.domain = into;
                seat.domain = u32::try_from(into).unwrap_or(u32::MAX);
            }
            if own.domain == into {
                seat.doubts = EVERYBODY;
            }
        }
        self.book.join(from, into, now);
    }

    /// The configured limits of every domain, and what follows for the seats.
    pub(super) fn lay_out_pacing(
        &mut self,
        layout: &Layout,
        at: &[SubscriptionIndex],
        now: Timestamp,
    ) {
        let mut limits: Vec<Vec<Limit>> = Vec::new();
        limits.resize_with(self.domains.len(), Vec::new);
        for (row, place) in layout.subscriptions.iter().zip(at) {
            let Some(domain) = self.domain_at(*place) else {
                continue;
            };
            if let Some(known) = limits.get_mut(domain) {
                add_limits(known, row);
            }
        }
        let mut members = vec![0_u32; self.domains.len()];
        for (own, seat) in self.subscriptions.iter().zip(&mut self.seats) {
            let domain = u32::try_from(own.domain).unwrap_or(u32::MAX);
            if seat.domain != domain {
                self.book.forget_under_way(seat.domain as usize);
                self.book.forget_under_way(own.domain);
            }
            seat.domain = domain;
            seat.counting = own.counting;
            if let Some(members) = members.get_mut(own.domain) {
                *members += 1;
            }
        }
        for (domain, members) in self.domains.iter_mut().zip(members) {
            domain.shared = members > 1;
        }
        self.book.lay_out(limits, now);
    }
}

/// Of two limits alike the lower.
fn add_limits(known: &mut Vec<Limit>, row: &SubscriptionLayout) {
    for limit in &row.limits {
        let models = Models::new(&limit.models, &[]);
        let same = known.iter_mut().find(|other| {
            other.dimension == limit.dimension
                && other.period == limit.period
                && other.models == models
        });
        match same {
            Some(same) => same.limit = same.limit.min(limit.limit),
            None => known.push(Limit {
                dimension: limit.dimension,
                limit: limit.limit,
                period: limit.period,
                models,
            }),
        }
    }
}

/// What an attempt used of what it had reserved.
fn ending(outcome: &Outcome, usage: &Usage, counting: Counting) -> Ending {
    match outcome {
        Outcome::Answered(verdict) => match verdict.class {
            Class::RateLimited | Class::QuotaExhausted | Class::CredentialInvalid => {
                Ending::Returned
            }
            Class::Ok => served(usage, counting),
            Class::ClientError | Class::Overloaded | Class::UpstreamError => {
                if usage.is_unknown() {
                    Ending::Served([None, Some(0.0), Some(0.0), Some(0.0)])
                } else {
                    served(usage, counting)
                }
            }
        },
        Outcome::Silence { sent: false } | Outcome::Unsent => Ending::Returned,
        Outcome::Silence { sent: true } | Outcome::Abandoned => served(usage, counting),
    }
}

fn served(usage: &Usage, counting: Counting) -> Ending {
    let input = counted(usage, counting);
    let output = usage.output.map(|output| output as f64);
    let both = input.zip(output).map(|(input, output)| input + output);
    Ending::Served([None, input, output, both])
}

/// Prompt tokens that count against limits.
fn counted(usage: &Usage, counting: Counting) -> Option<f64> {
    let prompt = prompt(usage, counting)?;
    let cached = usage.cache_read.unwrap_or(0) as f64;
    Some(if counting.ignores_cache_reads {
        (prompt - cached).max(0.0)
    } else {
        prompt
    })
}

/// The whole prompt, with what came from the cache.
fn prompt(usage: &Usage, counting: Counting) -> Option<f64> {
    let input = usage.input? as f64;
    let cached = usage.cache_read.unwrap_or(0);
    let cache = cached.saturating_add(usage.cache_write.unwrap_or(0));
    Some(if counting.input_without_cache {
        input + cache as f64
    } else {
        input
    })
}
