//! Who of the waiters may go now (C5): heads in the order of arrival, each lane until its head is blocked. Also when
//! the keeper is to look again. Law: after a sweep every lane that it touched is blocked, or due at once.

use std::time::Duration;

use super::Pools;
use super::acquire::Taking;
use super::chain::place;
use super::consequences::Consequences;
use super::decide::{Asks, Decision, Wait};
use super::demand::{Affinity, Demand, Refused};
use crate::core::choice::chain::Via;
use crate::core::choice::queue::{Lane, LaneId, Target, Waiter, WaiterId};
use crate::core::choice::select::Pick;
use crate::core::choice::standing::EVENT;
use crate::core::id::{PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::time::Timestamp;

/// Timers fire late by a little: a waiter whose instant is its deadline goes all the same.
const LATENESS: Duration = Duration::from_millis(20);

/// Whose state changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Touch {
    All,
    /// It has room again.
    Subscription(SubscriptionIndex),
}

/// What one waits for who enters; `None`: it could have gone, but others are before it.
pub(super) fn target(demand: &Demand, wait: Option<Wait>) -> Target {
    match (demand.affinity, wait) {
        (Affinity::Must { owner, .. }, _) => Target::Must(owner),
        (_, Some(wait)) => wait.target,
        (_, None) => Target::Any,
    }
}

impl Pools {
    /// Asks those whom the change may concern again.
    pub(super) fn sweep(&mut self, touch: Touch, now: Timestamp, consequences: &mut Consequences) {
        if self.queue.is_empty() {
            return;
        }
        self.sweeps += 1;
        let round = self.sweeps;
        while let Some(lane) = self.next_lane(touch, round) {
            if consequences.is_full() {
                consequences.overflowed = true;
                if let Some(lane) = self.queue.lane_mut(lane) {
                    lane.wake = now;
                }
                break;
            }
            self.ask_head(lane, round, now, consequences);
        }
        self.rearm(consequences);
    }

    /// When time alone could let a head go. [`Timestamp::MAX`]: never.
    pub(super) fn next_wake(&self) -> Timestamp {
        let wakes = self.queue.lanes().map(|(_, lane)| lane.wake);
        wakes.min().unwrap_or(Timestamp::MAX)
    }

    /// For the keeper: lets go what is due and returns when to call again; [`Timestamp::MAX`]: only when told so by
    /// [`Consequences::rearm`].
    pub fn arm(&mut self, now: Timestamp, consequences: &mut Consequences) -> Timestamp {
        self.wake(now, consequences);
        self.armed = self.next_wake();
        consequences.rearm = false;
        self.armed
    }

    /// Tells the keeper where it would sleep too long.
    pub(super) fn rearm(&mut self, consequences: &mut Consequences) {
        let next = self.next_wake();
        if next < self.armed {
            self.armed = next;
            consequences.rearm = true;
        }
    }

    /// The lane whose head came first, among those not yet found blocked.
    fn next_lane(&self, touch: Touch, round: u64) -> Option<LaneId> {
        self.queue
            .lanes()
            .filter(|(_, lane)| lane.blocked != round && self.concerns(touch, lane))
            .min_by_key(|(id, _)| self.queue.precedence(*id))
            .map(|(id, _)| id)
    }

    fn concerns(&self, touch: Touch, lane: &Lane) -> bool {
        let Touch::Subscription(subscription) = touch else {
            return true;
        };
        match lane.key.target {
            Target::Any => self.is_in_chain(subscription, &lane.key),
            Target::Own => self.is_member(subscription, lane.key.pool),
            Target::Must(owner) | Target::Stick(owner) => self.successor(owner) == subscription,
        }
    }

    fn ask_head(
        &mut self,
        lane: LaneId,
        round: u64,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let Some((id, waiter)) = self.queue.head(lane) else {
            return;
        };
        let Some(own) = self.queue.lane(lane) else {
            return;
        };
        let late = waiter.deadline + LATENESS < now;
        match self.decide(&Asks::of_waiter(&own.key, waiter), now) {
            Decision::Go(pick, via) if !late => {
                if !self.grant(lane, id, (pick, via), now, consequences) {
                    self.block(lane, round, now + EVENT);
                }
            }
            Decision::Go(..) | Decision::Refuse(_) => {
                let refused = self.truth(&own.key, waiter, now);
                self.refuse(id, refused, consequences);
            }
            Decision::Wait(wait) if wait.target == own.key.target => {
                let beyond = own.soonest_deadline < wait.earliest;
                self.block(lane, round, wait.wake);
                if beyond {
                    self.refuse_beyond(lane, wait, now, consequences);
                }
            }
            Decision::Wait(wait) => self.retarget(id, wait.target, wait.wake),
        }
    }

    fn block(&mut self, lane: LaneId, round: u64, wake: Timestamp) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.blocked = round;
            lane.wake = wake;
        }
    }

    fn retarget(&mut self, id: WaiterId, target: Target, wake: Timestamp) {
        let lane = self.queue.retarget(id, target);
        if let Some(lane) = lane.and_then(|lane| self.queue.lane_mut(lane)) {
            lane.wake = lane.wake.min(wake);
        }
    }

    /// S2: a session has moved; those of it who wait for its former subscription wait for the new one, if at all.
    pub(super) fn follow(
        &mut self,
        pool: PoolIndex,
        session: SessionKey,
        left: SubscriptionIndex,
        now_at: SubscriptionIndex,
    ) {
        let of_it = |waiter: &Waiter| waiter.session == Some(session);
        let sticks = |pools: &Self, lane: &Lane| match lane.key.target {
            Target::Stick(warm) => lane.key.pool == pool && pools.successor(warm) == left,
            Target::Any | Target::Own | Target::Must(_) => false,
        };
        while let Some(id) = self.queue.find_waiter(|lane| sticks(self, lane), of_it) {
            self.retarget(id, Target::Stick(now_at), Timestamp::ZERO);
        }
    }

    /// `false`: every ticket of the process is out.
    pub(super) fn grant(
        &mut self,
        lane: LaneId,
        id: WaiterId,
        (pick, via): (Pick, Via),
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let Some(key) = self.queue.lane(lane).map(|lane| &lane.key) else {
            return false;
        };
        let own = key.pool;
        let (pool, group, model) = place(via, (own, &key.group, &key.model), &key.links);
        let Some((waiter, _)) = self.queue.waiter(id) else {
            return false;
        };
        let taking = Taking {
            pool,
            group: group.clone(),
            model: model.clone(),
            session: waiter.session,
            size: waiter.size,
            entropy: waiter.entropy,
        };
        let Some(mut ticket) = self.take(taking, pick, now) else {
            return false;
        };
        self.mark_via(&mut ticket, own, via, now, consequences);
        self.leave(id);
        consequences.grants.push((id, ticket));
        true
    }

    fn refuse(&mut self, id: WaiterId, refused: Refused, consequences: &mut Consequences) {
        self.leave(id);
        consequences.refusals.push((id, refused));
    }

    /// News has put the lane's instant beyond the deadline of some: they are refused now, or no longer stick.
    fn refuse_beyond(
        &mut self,
        lane: LaneId,
        wait: Wait,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let sticks = matches!(wait.target, Target::Stick(_) | Target::Own);
        let refused = Refused {
            reason: wait.reason,
            earliest: Some(wait.earliest),
        };
        let mut soonest = Timestamp::MAX;
        let mut due = false;
        let mut next = self.queue.head(lane).map(|(id, _)| id);
        while let Some(id) = next {
            next = self.queue.behind(id).map(|(behind, _)| behind);
            let Some((waiter, _)) = self.queue.waiter(id) else {
                break;
            };
            if wait.earliest <= waiter.deadline {
                soonest = soonest.min(waiter.deadline);
            } else if consequences.is_full() {
                consequences.overflowed = true;
                due = true;
                soonest = soonest.min(waiter.deadline);
            } else if sticks {
                self.retarget(id, Target::Any, now);
            } else {
                self.refuse(id, refused, consequences);
            }
        }
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.soonest_deadline = soonest;
            if due {
                lane.wake = now;
            }
        }
    }
}
