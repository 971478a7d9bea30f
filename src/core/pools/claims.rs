//! Who goes before whom among all who wait, and whose room is being saved up (C5, SPEC 16.10). The first of a lane,
//! where it is blocked, claims the subscription that is soonest ready for it; whoever comes after it may use the others.
//! Law: a claim keeps off only those who come after its holder, of the same limit group, and is over when the holder
//! has gone or finds itself blocked otherwise.

use super::Pools;
use super::decide::Asks;
use super::demand::Demand;
use crate::core::choice::fair;
use crate::core::choice::queue::{Claim, Lane, LaneId, Rank, Target, WaiterId};
use crate::core::id::{LimitGroup, SubscriptionIndex};
use crate::core::time::Timestamp;

/// Subscriptions whose room is being saved up for those who come first. Inline; beyond its size the last are not
/// heeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed {
    /// Whose, and whether all of its domain is meant.
    on: [(SubscriptionIndex, bool); 16],
    len: u8,
}

impl Claimed {
    pub(super) const NONE: Self = Self {
        on: [(SubscriptionIndex(0), false); 16],
        len: 0,
    };

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn add(&mut self, subscription: SubscriptionIndex, whole_domain: bool) {
        if let Some(place) = self.on.get_mut(usize::from(self.len)) {
            *place = (subscription, whole_domain);
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (SubscriptionIndex, bool)> {
        self.on.iter().take(usize::from(self.len)).copied()
    }
}

impl Pools {
    /// What those claim who come before a waiter of this rank.
    pub(super) fn claimed_before(
        &self,
        id: WaiterId,
        rank: Option<Rank>,
        now: Timestamp,
    ) -> Claimed {
        let lane = self.queue.waiter(id).map(|(_, lane)| lane);
        let Some(lane) = lane.and_then(|lane| self.queue.lane(lane)) else {
            return Claimed::NONE;
        };
        self.claimed(&lane.key.group, |by| {
            by != id && self.queue.rank(by, now) < rank
        })
    }

    /// What those claim who come before one who arrives: all whose class is not below its own.
    pub(super) fn claimed_from(&self, demand: &Demand, now: Timestamp) -> Claimed {
        if self.queue.is_empty() {
            return Claimed::NONE;
        }
        let class = fair::class(demand.priority, Timestamp::MAX, now);
        self.claimed(&demand.limit_group, |by| {
            let by = self.queue.rank(by, now);
            by.is_some_and(|by| by.class <= class)
        })
    }

    fn claimed(&self, group: &LimitGroup, heeds: impl Fn(WaiterId) -> bool) -> Claimed {
        let mut claimed = Claimed::NONE;
        for (_, lane) in self.queue.lanes() {
            if let Some(Claim { by, on }) = lane.claim
                && lane.key.group == *group
                && heeds(by)
            {
                // Who may have any of a domain would have it, were the domain not short.
                let anybody = lane.key.target == Target::Any && lane.key.tried.is_empty();
                claimed.add(on, anybody);
            }
        }
        claimed
    }

    /// Whether others were not asked, for their number, who could perhaps use what one who arrives would take.
    pub(super) fn passes_over(
        &self,
        demand: &Demand,
        taken: SubscriptionIndex,
        now: Timestamp,
    ) -> bool {
        let class = fair::class(demand.priority, Timestamp::MAX, now);
        let before = |(id, lane): (LaneId, &Lane)| {
            lane.unasked
                && lane.key.group == demand.limit_group
                && self.could_use(taken, &lane.key)
                && self
                    .queue
                    .head_rank(id, now)
                    .is_some_and(|head| head.class <= class)
        };
        self.queue.lanes().any(before)
    }

    /// Whether its room is saved up for somebody else. What is short may be the domain's, whichever of it is named.
    pub(super) fn is_claimed(&self, subscription: SubscriptionIndex, asks: &Asks<'_>) -> bool {
        let domain = |of: SubscriptionIndex| self.subscriptions.get(of.at()).map(|own| own.domain);
        let mut claimed = asks.claimed.iter();
        claimed.any(|(claimed, whole_domain)| {
            claimed == subscription || whole_domain && domain(claimed) == domain(subscription)
        })
    }

    pub(super) fn claim(&self, lane: LaneId) -> Option<Claim> {
        self.queue.lane(lane)?.claim
    }

    pub(super) fn claim_for(&mut self, lane: LaneId, by: WaiterId, on: Option<SubscriptionIndex>) {
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.claim = on.map(|on| Claim { by, on });
        }
    }

    /// Where something is claimed, one whose class rises may come before the holder.
    pub(super) fn wake_to_overtake(&mut self, lane: LaneId) {
        let Some(own) = self.queue.lane(lane) else {
            return;
        };
        let (group, rises) = (&own.key.group, own.rises);
        let claims = |other: &Lane| other.claim.is_some() && other.key.group == *group;
        if self.queue.lanes().any(|(_, other)| claims(other)) {
            self.wake_lane(lane, rises);
        }
    }
}
