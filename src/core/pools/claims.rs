//! Who goes before whom among all who wait, and whose room is being saved up (C5, SPEC 16.10). The first of a lane,
//! where it is blocked, claims the subscription that is soonest ready for it; whoever comes after it may use the others.
//! Law: a claim keeps off only those who come after its holder, of the same limit group, and is over when the holder
//! has gone or finds itself blocked otherwise.

use super::Pools;
use super::decide::{Asks, Wait};
use super::demand::{Demand, Size};
use crate::core::choice::fair;
use crate::core::choice::queue::{Claim, DEPTH, Lane, LaneId, Rank, Target, Waiter, WaiterId};
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

/// What those need of one lane who were found blocked, and what they wait for: whoever needs no less is blocked as
/// well, and no sooner ready.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    waits: [Option<((u64, u64), Wait)>; DEPTH + 1],
    len: usize,
}

impl Blocked {
    pub(super) fn add(&mut self, size: &Size, wait: Wait) {
        if let Some(place) = self.waits.get_mut(self.len) {
            *place = Some((size.rough(), wait));
            self.len += 1;
        }
    }

    /// Also where nothing more can be remembered: then nobody else is asked.
    pub(super) fn bars(&self, size: &Size) -> bool {
        self.len > DEPTH || self.barring(size).next().is_some()
    }

    /// Whether nobody can need less.
    pub(super) fn bars_all(&self) -> bool {
        self.bars(&Size::default())
    }

    /// What one waits for in vain, in whose time nobody of them is ready who needs no more than it does; and whether it
    /// needs just as much.
    pub(super) fn beyond(&self, waiter: &Waiter) -> Option<(&Wait, bool)> {
        let mut beyond = self
            .barring(&waiter.size)
            .filter(|(_, wait)| waiter.deadline < wait.earliest);
        beyond
            .next()
            .map(|(need, wait)| (wait, *need == waiter.size.rough()))
    }

    /// The latest instant of all.
    pub(super) fn latest(&self) -> Timestamp {
        let waits = self.waits.iter().flatten();
        waits
            .map(|(_, wait)| wait.earliest)
            .max()
            .unwrap_or_default()
    }

    fn barring(&self, size: &Size) -> impl Iterator<Item = &((u64, u64), Wait)> {
        let (input, output) = size.rough();
        let waits = self.waits.iter().take(self.len).flatten();
        waits.filter(move |(own, _)| own.0 <= input && own.1 <= output)
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
}
