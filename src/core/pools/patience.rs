//! Who waits no longer for what its lane waits for, wherever it stands there (C5, S2): its time for its own pool or its
//! warm subscription is over or will not do, its deadline comes before what they wait for, or its session has moved.
//! Law: nobody is kept in a lane for what will not come in its time, once that is known.

use std::time::Duration;

use super::Pools;
use super::behind::Blocked;
use super::consequences::Consequences;
use super::decide::Wait;
use super::demand::Refused;
use crate::core::choice::queue::{Lane, LaneId, Target, Waiter, WaiterId};
use crate::core::id::{PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::time::Timestamp;

impl Pools {
    /// How long after its arrival one waits for its own pool or subscription alone; `None`: those of this lane have no
    /// choice.
    pub(super) fn patience(&self, lane: LaneId) -> Option<Duration> {
        let key = &self.queue.lane(lane)?.key;
        let pool = self.pools.get(key.pool.at())?;
        match key.target {
            Target::Own => Some(pool.fallback_after),
            Target::Stick(_) => Some(pool.stick_wait),
            Target::Any | Target::Must(_) => None,
        }
    }

    /// C5, S2: those whose time for their own pool or subscription alone is over, wherever they stand in its line, wait
    /// for any.
    pub(super) fn lose_patience(&mut self, lane: LaneId, now: Timestamp) {
        let own = self.queue.lane(lane).map(|own| own.oldest);
        let (Some(mut oldest), Some(patience)) = (own, self.patience(lane)) else {
            return;
        };
        if oldest + patience <= now {
            oldest = Timestamp::MAX;
            let mut next = self.queue.any(lane);
            while let Some(id) = next {
                next = self.queue.next(id);
                let arrival = self.queue.waiter(id).map(|(own, _)| own.arrival);
                match arrival {
                    Some(arrival) if now < arrival + patience => oldest = oldest.min(arrival),
                    Some(_) => self.ask_elsewhere(id, now),
                    None => {}
                }
            }
        }
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.oldest = oldest;
            lane.wake = lane.wake.min(oldest + patience);
        }
    }

    fn ask_elsewhere(&mut self, id: WaiterId, now: Timestamp) {
        self.retarget(id, Target::Any, now, now);
        let lane = self.queue.waiter(id).map(|(_, lane)| lane);
        if let Some(lane) = lane.and_then(|lane| self.queue.lane_mut(lane)) {
            // To be asked in this sweep, also where those there were asked before.
            lane.blocked = 0;
        }
    }

    /// News has put what those wait for who were asked beyond the time of some who need no less: they wait for any, or
    /// are refused now.
    pub(super) fn leave_beyond(
        &mut self,
        lane: LaneId,
        blocked: &Blocked,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let own = self.queue.lane(lane);
        let soonest = own.map(|own| blocked.limit(own.soonest_deadline, own.oldest));
        if soonest.is_none_or(|soonest| blocked.latest() <= soonest) {
            return;
        }
        let mut soonest = Timestamp::MAX;
        let mut oldest = Timestamp::MAX;
        let mut due = false;
        let mut next = self.queue.any(lane);
        while let Some(id) = next {
            next = self.queue.next(id);
            let Some((waiter, _)) = self.queue.waiter(id) else {
                break;
            };
            let (deadline, arrival) = (waiter.deadline, waiter.arrival);
            match blocked.beyond(waiter) {
                Some(_) if consequences.is_full() => due = true,
                Some((wait, alike)) => {
                    self.turn_away(id, wait, alike, now, consequences);
                    continue;
                }
                None => {}
            }
            soonest = soonest.min(deadline);
            oldest = oldest.min(arrival);
        }
        consequences.overflowed |= due;
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.soonest_deadline = soonest;
            lane.oldest = oldest;
            if due {
                lane.wake = now;
            }
        }
    }

    /// What those wait for who were asked comes too late for this one, who needs no less; `alike`: and no more.
    fn turn_away(
        &mut self,
        id: WaiterId,
        wait: &Wait,
        alike: bool,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        if matches!(wait.target, Target::Stick(_) | Target::Own) {
            self.ask_elsewhere(id, now);
            return;
        }
        let truth = if alike { None } else { self.truth_of(id, now) };
        let refused = truth.unwrap_or(Refused {
            reason: wait.reason,
            earliest: Some(wait.earliest),
        });
        self.refuse(id, refused, now, consequences);
    }

    /// S2: a session has moved; those of it who wait for its former subscription wait for the new one, if at all.
    pub(super) fn follow(
        &mut self,
        pool: PoolIndex,
        session: SessionKey,
        left: SubscriptionIndex,
        now_at: SubscriptionIndex,
        now: Timestamp,
    ) {
        let of_it = |waiter: &Waiter| waiter.session == Some(session);
        let sticks = |pools: &Self, lane: &Lane| match lane.key.target {
            Target::Stick(warm) => lane.key.pool == pool && pools.successor(warm) == left,
            Target::Any | Target::Own | Target::Must(_) => false,
        };
        while let Some(id) = self.queue.find_waiter(|lane| sticks(self, lane), of_it) {
            self.retarget(id, Target::Stick(now_at), Timestamp::ZERO, now);
        }
    }
}
