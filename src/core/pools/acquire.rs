//! Taking a subscription (C1): for who arrives, and for who was picked of those who wait. The waiting room's doors are
//! `wait`'s. Law: who arrives takes only what no waiter could use: what is due goes to waiters first.

use std::sync::Arc;

use super::Pools;
use super::chain::place;
use super::consequences::Consequences;
use super::decide::{Asks, Decision};
use super::demand::{Demand, RefusalReason, Refused, Size};
use super::ticket::Ticket;
use crate::core::choice::chain::Via;
use crate::core::choice::select::{EVERYBODY, Pick, mark};
use crate::core::choice::session::Bound;
use crate::core::choice::standing::EVENT;
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::limit::breaker::{Attempt, Taken};
use crate::core::time::Timestamp;

/// Who takes.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub(super) pool: PoolIndex,
    pub(super) group: LimitGroup,
    pub(super) model: Option<Arc<str>>,
    pub(super) session: Option<SessionKey>,
    pub(super) size: Size,
    pub(super) entropy: u64,
}

/// What an arrival comes to.
#[derive(Debug)]
pub enum Acquisition {
    /// It may go.
    Granted(Ticket),
    /// It is to [`enter`](Pools::enter) the waiting room; nothing was changed.
    MustWait,
    /// Nothing serves it within its time.
    Refused(Refused),
}

impl Pools {
    /// Takes a subscription for a request, if one is open and no waiter could use it.
    pub fn acquire(
        &mut self,
        demand: &Demand,
        tried: &Tried,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> Acquisition {
        if !self.wake(now, consequences) {
            return Acquisition::MustWait;
        }
        let claimed = self.claimed_from(demand, now);
        let asks = Asks {
            claimed: &claimed,
            ..Asks::of_demand(demand, tried, self.deadline(demand))
        };
        match self.decide(&asks, now) {
            Decision::Go(pick, _) if self.passes_over(demand, pick.subscription, now) => {
                Acquisition::MustWait
            }
            Decision::Go(pick, via) => match self.take_for(demand, pick, via, now, consequences) {
                Some(ticket) => Acquisition::Granted(ticket),
                None => Acquisition::Refused(limited(now)),
            },
            Decision::Wait(_) => Acquisition::MustWait,
            Decision::Refuse(refused) => Acquisition::Refused(refused),
        }
    }

    /// `None`: every ticket of the process is out, or the retry budget is spent.
    pub(super) fn take_for(
        &mut self,
        demand: &Demand,
        pick: Pick,
        via: Via,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> Option<Ticket> {
        if demand.retry && !self.charge_retry(demand.pool, now) {
            return None;
        }
        let own = (demand.pool, &demand.limit_group, &demand.model);
        let (pool, group, model) = place(via, own, &demand.links);
        let taking = Taking {
            pool,
            group: group.clone(),
            model: model.clone(),
            session: demand.affinity.session(),
            size: demand.size,
            entropy: demand.entropy,
        };
        let ticket = self.take(taking, pick, now).map(|mut ticket| {
            self.mark_via(&mut ticket, demand.pool, via, now, consequences);
            let queue = (demand.pool, &demand.limit_group);
            match self.queue.pass(queue, demand.client, demand.turn) {
                Some(turn) => ticket.in_turn(turn),
                None => ticket,
            }
        });
        // Its session may have moved, and others of it wait.
        self.wake(now, consequences);
        ticket
    }

    /// Takes what was picked. `None`: every ticket of the process is out.
    pub(super) fn take(&mut self, taking: Taking, pick: Pick, now: Timestamp) -> Option<Ticket> {
        if self.tickets.is_full() {
            return None;
        }
        let subscription = pick.subscription;
        let sequence = self.next_sequence();
        let attempt = Attempt {
            sequence,
            began: now,
        };
        let group = taking.group;
        let seat = self.seats.get_mut(subscription.at())?;
        seat.in_flight += 1;
        seat.used = sequence;
        self.pass = self.pass.max(seat.pass);
        seat.pass = self.pass + seat.stride;
        let doubtful = seat.doubts & mark(&group) != 0;
        let taken = if doubtful {
            self.take_bars(subscription, &group, attempt, now)
        } else {
            Taken::default()
        };
        let probe = taken.probes;
        let reserved = self.reserve(
            subscription,
            &group,
            taking.model.as_deref(),
            &taking.size,
            taking.session.map(|session| (taking.pool, session)),
            now,
        );
        if doubtful && !probe {
            self.refresh(subscription, now);
        }
        if let Some(session) = taking.session {
            self.bind(taking.pool, session, subscription, now);
        }
        self.tickets.issue(
            (subscription, taking.pool),
            group,
            attempt,
            probe,
            taking.entropy,
            reserved,
        )
    }

    /// The attempt becomes the probe of all that awaits one.
    fn take_bars(
        &mut self,
        subscription: SubscriptionIndex,
        group: &LimitGroup,
        attempt: Attempt,
        now: Timestamp,
    ) -> Taken {
        let Some(own) = self.subscriptions.get_mut(subscription.at()) else {
            return Taken::default();
        };
        let mut taken = own.bars.take(group, attempt);
        taken.probes |= own.ejection.take(attempt);
        if let Some(domain) = self.domains.get_mut(own.domain) {
            taken = taken.and(domain.bars.take(group, attempt));
        }
        if let Some(provider) = self.providers.get_mut(own.provider) {
            taken = taken.and(provider.bars.take(group, attempt));
        }
        if taken.passed {
            self.book.start_slowly(own.domain, group, now);
        }
        taken
    }

    /// S2: binds the session to who serves it.
    fn bind(
        &mut self,
        pool: PoolIndex,
        session: SessionKey,
        subscription: SubscriptionIndex,
        now: Timestamp,
    ) {
        let gone = match self.sessions.bind(pool, session, subscription) {
            Bound::Kept => return,
            Bound::New => None,
            Bound::Evicted(former) => Some(former),
            Bound::Moved(former) => {
                // What a changed credential left behind has not moved.
                let left = self.successor(former);
                if left != subscription {
                    self.session_moves += 1;
                    self.follow(pool, session, left, subscription, now);
                }
                Some(former)
            }
        };
        if let Some(former) = gone.and_then(|former| self.subscriptions.get_mut(former.at())) {
            former.sessions = former.sessions.saturating_sub(1);
        }
        if let Some(own) = self.subscriptions.get_mut(subscription.at()) {
            own.sessions = own.sessions.saturating_add(1);
        }
    }

    /// Whom anything may bar from the subscription, noted for the scan.
    pub(super) fn refresh(&mut self, subscription: SubscriptionIndex, now: Timestamp) {
        let (Some(own), Some(seat)) = (
            self.subscriptions.get(subscription.at()),
            self.seats.get_mut(subscription.at()),
        ) else {
            return;
        };
        let domain = self.domains.get(own.domain);
        let provider = self.providers.get(own.provider);
        seat.doubts = own.bars.doubts(now)
            | domain.map_or(0, |domain| domain.bars.doubts(now))
            | provider.map_or(0, |provider| provider.bars.doubts(now));
        if own.models.restricts() || own.ejection.is_active() {
            seat.doubts = EVERYBODY;
        }
    }
}

/// Everything is out that can be: an event ends it.
pub(super) fn limited(now: Timestamp) -> Refused {
    Refused {
        reason: RefusalReason::PoolLimited,
        earliest: Some(now + EVENT),
    }
}
