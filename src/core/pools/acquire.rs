//! Taking a subscription, entering the waiting room and leaving it (C1, C5). Law: who arrives takes only what no waiter
//! could use: what is due goes to waiters first.

use std::sync::Arc;

use super::Pools;
use super::chain::place;
use super::consequences::Consequences;
use super::decide::{Asks, Decision, Wait};
use super::demand::{Demand, RefusalReason, Refused, Size};
use super::sweep::Touch;
use super::ticket::Ticket;
use crate::core::choice::chain::Via;
use crate::core::choice::fair::Turn;
use crate::core::choice::queue::{LaneKey, Waiter, WaiterId};
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

/// What comes of entering the waiting room.
#[derive(Debug)]
pub enum Entrance {
    /// It may go after all.
    Granted(Ticket),
    /// It waits, to be answered by [`Consequences`], or to [`leave`](Pools::leave) or
    /// [`expire`](Pools::expire).
    Waiting {
        /// Its place.
        waiter: WaiterId,
        /// When to call [`expire`](Pools::expire).
        deadline: Timestamp,
    },
    /// Nothing serves it within its time, or the room is full.
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

    /// The same for a request that would wait: it waits, where there is room.
    pub fn enter(
        &mut self,
        demand: &Demand,
        tried: &Tried,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> Entrance {
        let all_told = self.wake(now, consequences);
        let claimed = self.claimed_from(demand, now);
        let asks = Asks {
            claimed: &claimed,
            ..Asks::of_demand(demand, tried, self.deadline(demand))
        };
        match self.decide(&asks, now) {
            Decision::Go(pick, via)
                if all_told && !self.passes_over(demand, pick.subscription, now) =>
            {
                match self.take_for(demand, pick, via, now, consequences) {
                    Some(ticket) => Entrance::Granted(ticket),
                    None => Entrance::Refused(limited(now)),
                }
            }
            Decision::Go(..) => self.queue_up(demand, tried, None, now, consequences),
            Decision::Wait(wait) => self.queue_up(demand, tried, Some(wait), now, consequences),
            Decision::Refuse(refused) => Entrance::Refused(refused),
        }
    }

    /// A waiter goes away: its client has left. `false`: it waits no longer, its place may be another's.
    pub fn leave(
        &mut self,
        waiter: WaiterId,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let in_the_way = self.queue.is_in_the_way(waiter);
        let left = self.remove(waiter, now);
        if in_the_way {
            self.sweep(Touch::All, now, consequences);
        }
        left
    }

    /// It goes without having been served.
    pub(super) fn remove(&mut self, waiter: WaiterId, now: Timestamp) -> bool {
        let left = self.queue.leave(waiter, now);
        if let Some((_, pool)) = &left
            && let Some(pool) = self.pools.get_mut(pool.at())
        {
            pool.waiting = pool.waiting.saturating_sub(1);
        }
        left.is_some()
    }

    /// It goes because it is served.
    pub(super) fn serve(&mut self, waiter: WaiterId, now: Timestamp) -> Option<Turn> {
        let (turn, pool) = self.queue.serve(waiter, now)?;
        if let Some(pool) = self.pools.get_mut(pool.at()) {
            pool.waiting = pool.waiting.saturating_sub(1);
        }
        Some(turn)
    }

    /// A waiter's deadline has come. `None`: it waits no longer; its answer is among the consequences of this call or
    /// of an earlier one.
    pub fn expire(
        &mut self,
        waiter: WaiterId,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> Option<Refused> {
        self.wake(now, consequences);
        let (own, lane) = self.queue.waiter(waiter)?;
        let claimed = self.claimed_before(waiter, self.queue.rank(waiter, now), now);
        let asks = Asks {
            claimed: &claimed,
            ..Asks::of_waiter(&self.queue.lane(lane)?.key, own)
        };
        let in_the_way = self.queue.is_in_the_way(waiter);
        // Its time to wait for one subscription alone may end here too, and another be open.
        if let Decision::Go(pick, via) = self.decide(&asks, now)
            && self.grant(lane, waiter, (pick, via), now, consequences)
        {
            if in_the_way {
                self.sweep(Touch::All, now, consequences);
            }
            return None;
        }
        let refused = self.truth_of(waiter, now);
        self.leave(waiter, now, consequences);
        refused
    }

    /// `None`: it waits no longer.
    pub(super) fn truth_of(&self, waiter: WaiterId, now: Timestamp) -> Option<Refused> {
        let (own, lane) = self.queue.waiter(waiter)?;
        Some(self.truth(&self.queue.lane(lane)?.key, own, now))
    }

    /// What a waiter is told who is refused now: the same as one who arrives.
    pub(super) fn truth(&self, key: &LaneKey, waiter: &Waiter, now: Timestamp) -> Refused {
        let mut asks = Asks::of_waiter(key, waiter);
        asks.waiting = false;
        match self.decide(&asks, now) {
            Decision::Refuse(refused) => refused,
            Decision::Wait(wait) => Refused {
                reason: wait.reason,
                earliest: Some(wait.earliest),
            },
            Decision::Go(..) => limited(now),
        }
    }

    /// Until when a request may wait.
    fn deadline(&self, demand: &Demand) -> Timestamp {
        let own = self.pools.get(demand.pool.at()).map(|pool| pool.max_wait);
        let most = own.unwrap_or_default();
        demand.arrival + demand.max_wait.map_or(most, |asked| asked.min(most))
    }

    fn queue_up(
        &mut self,
        demand: &Demand,
        tried: &Tried,
        wait: Option<Wait>,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> Entrance {
        const FULL: Refused = Refused {
            reason: RefusalReason::QueueFull,
            earliest: None,
        };
        let deadline = self.deadline(demand);
        let tried = tried.waiting();
        let claimed = self.claimed_from(demand, now);
        let asks = Asks {
            waiting: true,
            claimed: &claimed,
            ..Asks::of_demand(demand, &tried, deadline)
        };
        let (target, wake, claims) = match self.decide(&asks, now) {
            Decision::Wait(wait) => (wait.target, wait.wake, wait.claims),
            // It has waited by having come here; its turn is with the keeper.
            Decision::Go(..) | Decision::Refuse(_) => {
                (super::sweep::target(demand, wait), now, None)
            }
        };
        let Some(pool) = self.pools.get_mut(demand.pool.at()) else {
            return Entrance::Refused(FULL);
        };
        if pool.waiting >= pool.max_waiting {
            return Entrance::Refused(FULL);
        }
        let key = LaneKey {
            pool: demand.pool,
            group: demand.limit_group.clone(),
            model: demand.model.clone().filter(|_| pool.restricts),
            target,
            tried,
            links: demand.links.clone(),
        };
        let newcomer = Waiter {
            arrival: demand.arrival,
            deadline,
            session: demand.affinity.session(),
            entropy: demand.entropy,
            client: demand.client,
            priority: demand.priority,
            turn: demand.turn,
            size: demand.size,
        };
        let Some((waiter, lane)) = self.queue.enter(key, newcomer, now) else {
            return Entrance::Refused(FULL);
        };
        pool.waiting += 1;
        let first = self.queue.head(lane).is_some_and(|(id, _)| id == waiter);
        // It may come before some of those whose claims one who arrives respects.
        let before = self.claimed_before(waiter, self.queue.rank(waiter, now), now);
        let wake = if before.len() < claimed.len() {
            now
        } else {
            wake
        };
        self.wait_in(lane, waiter, wake, claims.filter(|_| first), now);
        self.rearm(consequences);
        Entrance::Waiting { waiter, deadline }
    }

    /// `None`: every ticket of the process is out, or the retry budget is spent.
    fn take_for(
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

    /// Grants and refuses what is due by time. `false`: more is due than the consequences hold.
    pub fn wake(&mut self, now: Timestamp, consequences: &mut Consequences) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        if self.next_wake() <= now {
            self.sweep(Touch::All, now, consequences);
        }
        self.next_wake() > now
    }
}

/// Everything is out that can be: an event ends it.
pub(super) fn limited(now: Timestamp) -> Refused {
    Refused {
        reason: RefusalReason::PoolLimited,
        earliest: Some(now + EVENT),
    }
}
