//! The order of those who wait, and who of a lane comes first in it now. Law: ranks are a total order at any one
//! instant, in which nobody stands before those of its own flow that come before it there.

use super::lane::LaneId;
use super::{NONE, Queue, WaiterId};
use crate::core::choice::fair;
use crate::core::time::Timestamp;

/// How far behind a lane's head others are asked (SPEC 16.10).
pub const DEPTH: usize = 16;

/// A waiter's place among those of its queue: the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// See [`fair::class`].
    pub class: u8,
    /// How far its turn is from the clock of its queue: comparable between queues.
    pub distance: i64,
    /// When it arrived.
    pub arrival: Timestamp,
    /// Breaks ties: no two have the same.
    pub order: u64,
}

/// The first of a lane, in their order.
#[derive(Clone, Debug)]
pub struct Line {
    places: [Option<(Rank, WaiterId)>; DEPTH + 1],
    /// Whether there are further ones.
    pub more: bool,
}

impl Line {
    const EMPTY: Self = Self {
        places: [None; DEPTH + 1],
        more: false,
    };

    /// Those behind the head.
    pub fn behind(&self) -> impl Iterator<Item = (Rank, WaiterId)> {
        self.places.iter().skip(1).flatten().copied()
    }

    /// `false`: it, and whoever comes after it, is too far behind.
    fn offer(&mut self, rank: Rank, id: WaiterId) -> bool {
        let mut carried = Some((rank, id));
        for place in &mut self.places {
            if place.is_none_or(|(other, _)| carried.is_some_and(|(own, _)| own < other)) {
                std::mem::swap(place, &mut carried);
            }
            if carried.is_none() {
                return true;
            }
        }
        self.more = true;
        carried.is_some_and(|(_, last)| last != id)
    }
}

impl Queue {
    /// The first of a lane, at most [`DEPTH`] behind its head.
    pub fn line(&self, id: LaneId, now: Timestamp) -> Line {
        let mut line = Line::EMPTY;
        let mut flow = self.lane(id).map_or(NONE, |lane| lane.flows);
        while let Some(own) = self.flows.get(flow as usize) {
            let mut class = 0;
            let mut least = i64::MIN;
            let mut slot = own.head;
            while let (Some((waiter, _)), Some(mut rank)) =
                (self.occupant(slot), self.rank_of(slot, now))
            {
                // One that was moved here may have aged more than those before it: it still goes after them.
                rank.class = rank.class.max(class);
                rank.distance = rank.distance.max(least);
                class = rank.class;
                least = rank.distance + 1;
                if !line.offer(rank, waiter) {
                    break;
                }
                slot = self.slots.get(slot as usize).map_or(NONE, |own| own.after);
            }
            flow = own.after;
        }
        line
    }

    /// A waiter's place, while it waits.
    pub fn rank(&self, id: WaiterId, now: Timestamp) -> Option<Rank> {
        self.valid(id)?;
        self.rank_of(id.slot, now)
    }

    /// Of a lane's head.
    pub fn head_rank(&self, id: LaneId, now: Timestamp) -> Option<Rank> {
        self.rank_of(self.head_slot(id)?, now)
    }

    /// Finds the heads of all lanes: classes rise with time.
    pub fn reorder(&mut self, now: Timestamp) {
        for at in 0..self.active.len() {
            if let Some(&id) = self.active.get(at) {
                self.choose(LaneId(id), now);
            }
        }
    }

    pub(super) fn rank_of(&self, slot: u32, now: Timestamp) -> Option<Rank> {
        let own = self.slots.get(slot as usize)?;
        let waiter = own.waiter.as_ref()?;
        let (tag, _, clock) = self.tag(slot)?;
        Some(Rank {
            class: fair::class(waiter.priority, own.first_since, now),
            distance: tag.cast_signed() - clock.cast_signed(),
            arrival: waiter.arrival,
            order: own.order,
        })
    }

    /// Its tag, whether it has been let go before, and where its queue's clock stands.
    pub(super) fn tag(&self, slot: u32) -> Option<(u64, bool, u64)> {
        let own = self.slots.get(slot as usize)?;
        let flow = self.flows.get(own.flow as usize)?;
        let lane = self.lane(LaneId(flow.lane))?;
        let shares = self.shares.get(lane.key.pool.at())?;
        let clock = shares.now(lane.clock);
        let kept = shares.kept(own.waiter.as_ref()?.turn, lane.clock);
        let tag = match kept {
            Some(kept) => kept.tag(),
            None => own.came.max(shares.given(flow.place)),
        };
        Some((tag, kept.is_some(), clock))
    }

    pub(super) fn choose(&mut self, id: LaneId, now: Timestamp) {
        let mut best: Option<(Rank, u32)> = None;
        let mut rises = Timestamp::MAX;
        let mut flow = self.lane(id).map_or(NONE, |lane| lane.flows);
        while let Some(own) = self.flows.get(flow as usize) {
            if let Some(rank) = self.rank_of(own.head, now)
                && best.is_none_or(|(other, _)| rank < other)
            {
                best = Some((rank, flow));
            }
            rises = rises.min(self.rises(own.head, now));
            flow = own.after;
        }
        if let Some(lane) = self.lane_mut(id) {
            lane.rises = rises;
            lane.best = best.map_or(NONE, |(_, flow)| flow);
        }
    }

    pub(super) fn rises(&self, slot: u32, now: Timestamp) -> Timestamp {
        let own = self.slots.get(slot as usize);
        let waiter = own.and_then(|own| own.waiter.as_ref().zip(Some(own.first_since)));
        waiter.map_or(Timestamp::MAX, |(waiter, since)| {
            fair::rises(waiter.priority, since, now)
        })
    }
}
