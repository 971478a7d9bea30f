//! Who of the waiters may go now (C5): heads in their order, each lane until its head is blocked; then those behind
//! it who need less. Also when the keeper is to look again. Laws: after a sweep every lane that it touched is blocked,
//! or due at once; of those who are alike but for what they need, at most one is asked and stays for each need.

use std::time::Duration;

use super::Pools;
use super::acquire::Taking;
use super::chain::place;
use super::claims::Blocked;
use super::consequences::Consequences;
use super::decide::{Asks, Decision, Wait};
use super::demand::{Affinity, Demand, Refused};
use crate::core::choice::chain::Via;
use crate::core::choice::queue::{Claim, Lane, LaneId, LaneKey, Rank, Target, Waiter, WaiterId};
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

/// What comes of asking one who waits.
enum Asked {
    Goes(Pick, Via),
    Leaves(Refused),
    Moves(Wait),
    Stays(Wait),
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
        self.queue.reorder(now);
        let mut touch = touch;
        while let Some(lane) = self.next_lane(touch, round, now) {
            if consequences.is_full() {
                consequences.overflowed = true;
                if let Some(lane) = self.queue.lane_mut(lane) {
                    lane.wake = now;
                }
                break;
            }
            let claim = self.claim(lane);
            self.ask_head(lane, round, now, consequences);
            if claim.is_some() && claim != self.claim(lane) {
                // What others were kept off is theirs.
                touch = Touch::All;
            }
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

    /// The lane whose head comes first, among those not yet found blocked.
    fn next_lane(&self, touch: Touch, round: u64, now: Timestamp) -> Option<LaneId> {
        self.queue
            .lanes()
            .filter(|(_, lane)| lane.blocked != round && self.concerns(touch, lane))
            .min_by_key(|(id, _)| self.queue.head_rank(*id, now))
            .map(|(id, _)| id)
    }

    fn concerns(&self, touch: Touch, lane: &Lane) -> bool {
        match touch {
            Touch::All => true,
            Touch::Subscription(subscription) => self.could_use(subscription, &lane.key),
        }
    }

    /// Whether a subscription is one of those that they wait for.
    pub(super) fn could_use(&self, subscription: SubscriptionIndex, key: &LaneKey) -> bool {
        match key.target {
            Target::Any => self.is_in_chain(subscription, key),
            Target::Own => self.is_member(subscription, key.pool),
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
        let Some((id, _)) = self.queue.head(lane) else {
            return;
        };
        match self.ask(id, self.queue.rank(id, now), now) {
            Some(Asked::Goes(pick, via)) => {
                let granted = self.grant(lane, id, (pick, via), now, consequences);
                if !granted {
                    self.block(lane, round, now + EVENT);
                }
            }
            Some(Asked::Leaves(refused)) => self.refuse(id, refused, now, consequences),
            Some(Asked::Moves(wait)) => self.retarget(id, wait.target, wait.wake, now),
            Some(Asked::Stays(wait)) => {
                self.block(lane, round, wait.wake);
                self.claim_for(lane, id, wait.claims);
                let mut blocked = Blocked::default();
                if let Some((head, _)) = self.queue.waiter(id) {
                    blocked.add(&head.size, wait);
                }
                self.ask_behind(lane, &mut blocked, now, consequences);
                self.refuse_beyond(lane, &blocked, now, consequences);
                self.lose_patience(lane, now);
                self.wake_to_overtake(lane);
            }
            None => {}
        }
    }

    /// `None`: it waits no longer.
    fn ask(&self, id: WaiterId, rank: Option<Rank>, now: Timestamp) -> Option<Asked> {
        let (waiter, lane) = self.queue.waiter(id)?;
        let key = &self.queue.lane(lane)?.key;
        let claimed = self.claimed_before(id, rank, now);
        let asks = Asks {
            claimed: &claimed,
            ..Asks::of_waiter(key, waiter)
        };
        let late = waiter.deadline + LATENESS < now;
        Some(match self.decide(&asks, now) {
            Decision::Go(pick, via) if !late => Asked::Goes(pick, via),
            Decision::Go(..) | Decision::Refuse(_) => Asked::Leaves(self.truth(key, waiter, now)),
            Decision::Wait(wait) if wait.target == key.target => Asked::Stays(wait),
            Decision::Wait(wait) => Asked::Moves(wait),
        })
    }

    /// SPEC 16.10: those behind a blocked head may go where it does not claim the room. Who needs no less than one
    /// that was found blocked is blocked as well.
    fn ask_behind(
        &mut self,
        lane: LaneId,
        blocked: &mut Blocked,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let mut unasked = false;
        while !blocked.bars_all() {
            let line = self.queue.line(lane, now);
            let mut fewer = false;
            for (rank, id) in line.behind() {
                if consequences.is_full() {
                    consequences.overflowed = true;
                    self.wake_lane(lane, now);
                    return;
                }
                let size = self.queue.waiter(id).map(|(own, _)| own.size);
                let Some(size) = size.filter(|size| !blocked.bars(size)) else {
                    continue;
                };
                match self.ask(id, Some(rank), now) {
                    Some(Asked::Goes(pick, via)) => {
                        if !self.grant(lane, id, (pick, via), now, consequences) {
                            self.wake_lane(lane, now + EVENT);
                            return;
                        }
                        fewer = true;
                    }
                    Some(Asked::Leaves(refused)) => {
                        self.refuse(id, refused, now, consequences);
                        fewer = true;
                    }
                    Some(Asked::Moves(wait)) => {
                        self.retarget(id, wait.target, wait.wake, now);
                        fewer = true;
                    }
                    Some(Asked::Stays(wait)) => {
                        blocked.add(&size, wait);
                        self.wake_lane(lane, wait.wake);
                    }
                    None => {}
                }
            }
            unasked = line.more;
            if !fewer || !unasked {
                break;
            }
        }
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.unasked = unasked && !blocked.bars_all();
        }
    }

    /// C5, S2: those whose time for their own pool or subscription alone is over, wherever they stand in its line, wait
    /// for any.
    fn lose_patience(&mut self, lane: LaneId, now: Timestamp) {
        let Some(own) = self.queue.lane(lane) else {
            return;
        };
        let pool = self.pools.get(own.key.pool.at());
        let patience = match (own.key.target, pool) {
            (Target::Own, Some(pool)) => pool.fallback_after,
            (Target::Stick(_), Some(pool)) => pool.stick_wait,
            _ => return,
        };
        let mut oldest = own.oldest;
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

    fn block(&mut self, lane: LaneId, round: u64, wake: Timestamp) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.blocked = round;
            lane.wake = wake;
            lane.claim = None;
            lane.unasked = false;
        }
    }

    /// Where something is claimed, one whose class rises may come before the holder.
    fn wake_to_overtake(&mut self, lane: LaneId) {
        let Some(own) = self.queue.lane(lane) else {
            return;
        };
        let (group, rises) = (&own.key.group, own.rises);
        let claims = |other: &Lane| other.claim.is_some() && other.key.group == *group;
        if self.queue.lanes().any(|(_, other)| claims(other)) {
            self.wake_lane(lane, rises);
        }
    }

    fn wake_lane(&mut self, lane: LaneId, wake: Timestamp) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.wake = lane.wake.min(wake);
        }
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

    fn claim(&self, lane: LaneId) -> Option<Claim> {
        self.queue.lane(lane)?.claim
    }

    fn claim_for(&mut self, lane: LaneId, by: WaiterId, on: Option<SubscriptionIndex>) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.claim = on.map(|on| Claim { by, on });
        }
    }

    fn retarget(&mut self, id: WaiterId, target: Target, wake: Timestamp, now: Timestamp) {
        if let Some(lane) = self.queue.retarget(id, target, now) {
            self.wake_lane(lane, wake);
        }
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
        let ticket = match self.serve(id, now) {
            Some(turn) => ticket.in_turn(turn),
            None => ticket,
        };
        consequences.grants.push((id, ticket));
        true
    }

    fn refuse(
        &mut self,
        id: WaiterId,
        refused: Refused,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        self.remove(id, now);
        consequences.refusals.push((id, refused));
    }

    /// News has put what those wait for who were asked beyond the deadline of some who need no less: they are refused
    /// now, or no longer stick.
    fn refuse_beyond(
        &mut self,
        lane: LaneId,
        blocked: &Blocked,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let own = self.queue.lane(lane);
        if own.is_none_or(|own| blocked.latest() <= own.soonest_deadline) {
            return;
        }
        let mut soonest = Timestamp::MAX;
        let mut due = false;
        let mut next = self.queue.any(lane);
        while let Some(id) = next {
            next = self.queue.next(id);
            let Some((waiter, _)) = self.queue.waiter(id) else {
                break;
            };
            let deadline = waiter.deadline;
            let Some((wait, alike)) = blocked.beyond(waiter) else {
                soonest = soonest.min(deadline);
                continue;
            };
            if consequences.is_full() {
                consequences.overflowed = true;
                due = true;
                soonest = soonest.min(deadline);
            } else if matches!(wait.target, Target::Stick(_) | Target::Own) {
                self.retarget(id, Target::Any, now, now);
            } else {
                let truth = if alike { None } else { self.truth_of(id, now) };
                let refused = truth.unwrap_or(Refused {
                    reason: wait.reason,
                    earliest: Some(wait.earliest),
                });
                self.refuse(id, refused, now, consequences);
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
