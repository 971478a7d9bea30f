//! Who of the waiters may go now (C5): heads in their order, each lane until its head is blocked; then those behind
//! it, see `behind` and `patience`. When the next sweep is due, `keeper` says. Law: after a sweep every lane that it
//! touched is blocked, or due at once.

use std::time::Duration;

use super::Pools;
use super::acquire::Taking;
use super::behind::Blocked;
use super::chain::place;
use super::consequences::Consequences;
use super::decide::{Asks, Decision, Wait};
use super::demand::Refused;
use crate::core::choice::chain::Via;
use crate::core::choice::queue::{Lane, LaneId, LaneKey, Rank, Target, WaiterId};
use crate::core::choice::select::Pick;
use crate::core::choice::standing::EVENT;
use crate::core::id::SubscriptionIndex;
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
pub(super) enum Asked {
    Goes(Pick, Via),
    Leaves(Refused),
    Moves(Wait),
    Stays(Wait),
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
                let mut blocked = Blocked::new(self.patience(lane));
                if let Some((head, _)) = self.queue.waiter(id) {
                    blocked.add(&head.size, wait);
                }
                self.ask_behind(lane, &mut blocked, now, consequences);
                self.leave_beyond(lane, &blocked, now, consequences);
                self.lose_patience(lane, now);
                self.wake_to_overtake(lane);
            }
            None => {}
        }
    }

    /// `None`: it waits no longer.
    pub(super) fn ask(&self, id: WaiterId, rank: Option<Rank>, now: Timestamp) -> Option<Asked> {
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

    pub(super) fn block(&mut self, lane: LaneId, round: u64, wake: Timestamp) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.blocked = round;
            lane.wake = wake;
            lane.claim = None;
            lane.unasked = false;
        }
    }

    pub(super) fn wake_lane(&mut self, lane: LaneId, wake: Timestamp) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.wake = lane.wake.min(wake);
        }
    }

    pub(super) fn retarget(
        &mut self,
        id: WaiterId,
        target: Target,
        wake: Timestamp,
        now: Timestamp,
    ) {
        if let Some(lane) = self.queue.retarget(id, target, now) {
            self.wake_lane(lane, wake);
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

    pub(super) fn refuse(
        &mut self,
        id: WaiterId,
        refused: Refused,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        self.remove(id, now);
        consequences.refusals.push((id, refused));
    }
}
