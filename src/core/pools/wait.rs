//! Entering the waiting room and leaving it (C5): to be served, because its client has left, or at its deadline. Who of
//! those within may go, `sweep` says. Law: whoever is refused is told the same as one who arrives.

use super::Pools;
use super::acquire::limited;
use super::consequences::Consequences;
use super::decide::{Asks, Decision, Wait};
use super::demand::{Affinity, Demand, RefusalReason, Refused};
use super::sweep::Touch;
use super::ticket::Ticket;
use crate::core::choice::fair::Turn;
use crate::core::choice::queue::{LaneId, LaneKey, Target, Waiter, WaiterId};
use crate::core::choice::tried::Tried;
use crate::core::id::SubscriptionIndex;
use crate::core::time::Timestamp;

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

/// What one waits for who enters; `None`: it could have gone, but others are before it.
fn target(demand: &Demand, wait: Option<Wait>) -> Target {
    match (demand.affinity, wait) {
        (Affinity::Must { owner, .. }, _) => Target::Must(owner),
        (_, Some(wait)) => wait.target,
        (_, None) => Target::Any,
    }
}

impl Pools {
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
    pub(super) fn deadline(&self, demand: &Demand) -> Timestamp {
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
            Decision::Go(..) | Decision::Refuse(_) => (target(demand, wait), now, None),
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
        let Some((waiter, lane)) = self.queue.enter(key, newcomer(demand, deadline), now) else {
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

    /// One has come to wait: if first of its lane, with a claim. A claim that ends thereby is looked after at once.
    pub(super) fn wait_in(
        &mut self,
        lane: LaneId,
        id: WaiterId,
        wake: Timestamp,
        claims: Option<SubscriptionIndex>,
        now: Timestamp,
    ) {
        self.wake_lane(lane, wake);
        if let Some(on) = claims {
            if self.claim(lane).is_some_and(|claim| claim.on != on) {
                self.wake_lane(lane, now);
            }
            self.claim_for(lane, id, Some(on));
        }
        self.wake_to_overtake(lane);
    }
}

/// One who comes to wait.
fn newcomer(demand: &Demand, deadline: Timestamp) -> Waiter {
    Waiter {
        arrival: demand.arrival,
        deadline,
        session: demand.affinity.session(),
        entropy: demand.entropy,
        client: demand.client,
        priority: demand.priority,
        turn: demand.turn,
        size: demand.size,
    }
}
