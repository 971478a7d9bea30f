//! Who waits, in which order (C5). Waiters that any change would let go or keep alike, but for what they need, share a
//! lane; within it, those of one client and priority share a flow. The lanes of one pool and limit group are that
//! queue. Whether one may go, `pools` decides. Law: a waiter is in exactly one flow of one lane, neither is ever empty,
//! and nothing grows while somebody arrives.

mod flow;
mod lane;
mod order;

#[cfg(test)]
mod tests;

pub use lane::{Claim, Lane, LaneId, LaneKey, Target};
pub use order::{DEPTH, Line, Rank};

use self::flow::Flow;
use super::fair::{Shares, Turn};
use crate::core::id::{ClientIndex, LimitGroup, PoolIndex, SessionKey};
use crate::core::limit::pacing::Size;
use crate::core::pools::Priority;
use crate::core::time::Timestamp;

const NONE: u32 = u32::MAX;
/// More than this many wait nowhere: the memory is allocated at the start.
pub const MOST_WAITERS: usize = 1 << 18;

/// A waiter's place. A place is used again with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaiterId {
    slot: u32,
    generation: u32,
}

impl WaiterId {
    /// As a position in a table beside the queue.
    pub const fn at(self) -> usize {
        self.slot as usize
    }
}

/// One who waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Its place in the order.
    pub arrival: Timestamp,
    /// Not granted after this.
    pub deadline: Timestamp,
    /// To be bound to who serves it.
    pub session: Option<SessionKey>,
    /// For the jitter of a guess.
    pub entropy: u64,
    /// Whose it is.
    pub client: ClientIndex,
    /// The class that it entered in.
    pub priority: Priority,
    /// Its share, where it was let go before.
    pub turn: Option<Turn>,
    /// What is known of its tokens.
    pub size: Size,
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u32,
    waiter: Option<Waiter>,
    /// Breaks ties of arrival.
    order: u64,
    /// Where the queue's clock stood when it came.
    came: u64,
    /// Since when it has been the first of its flow; [`Timestamp::MAX`]: it has not been.
    first_since: Timestamp,
    flow: u32,
    before: u32,
    after: u32,
}

/// All who wait.
#[derive(Clone, Debug)]
pub struct Queue {
    slots: Vec<Slot>,
    free: Vec<u32>,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
    /// By pool.
    shares: Vec<Shares>,
    lanes: Vec<Option<Lane>>,
    free_lanes: Vec<u32>,
    active: Vec<u32>,
    order: u64,
    waiting: usize,
    capacity: usize,
}

impl Queue {
    /// Nobody waits, and nobody can.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            flows: Vec::new(),
            free_flows: Vec::new(),
            shares: Vec::new(),
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            active: Vec::new(),
            order: 0,
            waiting: 0,
            capacity: 0,
        }
    }

    /// Allocates room for this many, at most [`MOST_WAITERS`], and for the shares of these pools; never less than
    /// before.
    pub fn reserve(&mut self, waiters: usize, pools: usize) {
        for pool in self.shares.len()..pools {
            let pool = PoolIndex(u16::try_from(pool).unwrap_or(u16::MAX));
            self.shares.push(Shares::new(pool));
        }
        self.capacity = waiters.min(MOST_WAITERS).max(self.capacity);
        let more = |len: usize| self.capacity - len;
        self.slots.reserve_exact(more(self.slots.len()));
        self.free.reserve_exact(more(self.free.len()));
        self.flows.reserve_exact(more(self.flows.len()));
        self.free_flows.reserve_exact(more(self.free_flows.len()));
        self.lanes.reserve_exact(more(self.lanes.len()));
        self.free_lanes.reserve_exact(more(self.free_lanes.len()));
        self.active.reserve_exact(more(self.active.len()));
    }

    /// How many can wait.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The lanes in use.
    pub fn lanes(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.active
            .iter()
            .filter_map(|&id| Some((LaneId(id), self.lanes.get(id as usize)?.as_ref()?)))
    }

    /// A lane; `None`: its last waiter has left.
    pub fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(id.0 as usize)?.as_ref()
    }

    /// The same, to be marked.
    pub fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.get_mut(id.0 as usize)?.as_mut()
    }

    /// The lane with this key, if somebody waits in it.
    pub fn find(&self, key: &LaneKey) -> Option<LaneId> {
        self.lanes()
            .find(|(_, lane)| lane.key == *key)
            .map(|(id, _)| id)
    }

    /// The first of a lane, as of when it was last looked for.
    pub fn head(&self, id: LaneId) -> Option<(WaiterId, &Waiter)> {
        self.occupant(self.head_slot(id)?)
    }

    /// Whether others may be blocked because of this one: it has a claim, or holds back some that were not asked.
    pub fn is_in_the_way(&self, id: WaiterId) -> bool {
        let lane = self.waiter(id).and_then(|(_, lane)| self.lane(lane));
        lane.is_some_and(|lane| lane.unasked || lane.claim.is_some_and(|claim| claim.by == id))
    }

    /// A waiter, while it waits.
    pub fn waiter(&self, id: WaiterId) -> Option<(&Waiter, LaneId)> {
        let slot = self.valid(id)?;
        Some((
            slot.waiter.as_ref()?,
            LaneId(self.flows.get(slot.flow as usize)?.lane),
        ))
    }

    /// The first waiter that fits, in the lanes that fit.
    pub fn find_waiter(
        &self,
        lane: impl Fn(&Lane) -> bool,
        waiter: impl Fn(&Waiter) -> bool,
    ) -> Option<WaiterId> {
        self.lanes()
            .filter(|(_, own)| lane(own))
            .find_map(|(id, _)| {
                let mut next = self.any(id);
                while let Some(place) = next {
                    if self.waiter(place).is_some_and(|(own, _)| waiter(own)) {
                        return Some(place);
                    }
                    next = self.next(place);
                }
                None
            })
    }

    /// Lets one in, by its turn. `None`: there is no room.
    pub fn enter(
        &mut self,
        key: LaneKey,
        waiter: Waiter,
        now: Timestamp,
    ) -> Option<(WaiterId, LaneId)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => {
                self.slots.push(Slot {
                    generation: 0,
                    waiter: None,
                    order: 0,
                    came: 0,
                    first_since: Timestamp::MAX,
                    flow: NONE,
                    before: NONE,
                    after: NONE,
                });
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
            None => return None,
        };
        self.order += 1;
        let order = self.order;
        let place = self.slots.get_mut(slot as usize)?;
        place.order = order;
        place.first_since = Timestamp::MAX;
        place.came = 0;
        place.waiter = Some(waiter);
        let id = WaiterId {
            slot,
            generation: place.generation,
        };
        self.waiting += 1;
        let lane = self.link(slot, key, now);
        let came = self.clock_of(lane);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.came = came;
        }
        Some((id, lane))
    }

    /// The turn of one who goes without having waited. `None`: no such pool.
    pub fn pass(
        &mut self,
        (pool, group): (PoolIndex, &LimitGroup),
        client: ClientIndex,
        had: Option<Turn>,
    ) -> Option<Turn> {
        let shares = self.shares.get_mut(pool.at())?;
        Some(shares.pass(had, group, client))
    }

    /// Lets one go who has waited, and gives it its turn. `None`: it no longer waits.
    pub fn serve(&mut self, id: WaiterId, now: Timestamp) -> Option<(Turn, PoolIndex)> {
        let turn = self.take_turn(id)?;
        let (_, pool) = self.leave(id, now)?;
        Some((turn, pool))
    }

    /// Lets one out. `None`: it no longer waits.
    pub fn leave(&mut self, id: WaiterId, now: Timestamp) -> Option<(Waiter, PoolIndex)> {
        self.valid(id)?;
        let pool = self.unlink(id, now)?;
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        let waiter = slot.waiter.take()?;
        self.free.push(id.slot);
        self.waiting -= 1;
        Some((waiter, pool))
    }

    /// Moves one to another lane of its pool; its place in the order stays.
    pub fn retarget(&mut self, id: WaiterId, target: Target, now: Timestamp) -> Option<LaneId> {
        let (_, lane) = self.waiter(id)?;
        let mut key = self.lane(lane)?.key.clone();
        key.target = target;
        self.unlink(id, now)?;
        Some(self.link(id.slot, key, now))
    }

    /// Every lane is to be looked at.
    pub fn wake_all(&mut self, now: Timestamp) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.wake = now;
        }
    }

    fn valid(&self, id: WaiterId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.generation == id.generation && slot.waiter.is_some()).then_some(slot)
    }

    fn occupant(&self, slot: u32) -> Option<(WaiterId, &Waiter)> {
        let place = self.slots.get(slot as usize)?;
        let generation = place.generation;
        Some((WaiterId { slot, generation }, place.waiter.as_ref()?))
    }

    fn link(&mut self, slot: u32, key: LaneKey, now: Timestamp) -> LaneId {
        let id = self.find(&key).unwrap_or_else(|| self.open(key));
        self.line_up(slot, id, now);
        let times = self
            .occupant(slot)
            .map(|(_, waiter)| (waiter.arrival, waiter.deadline));
        if let (Some(lane), Some((arrival, deadline))) = (self.lane_mut(id), times) {
            lane.oldest = lane.oldest.min(arrival);
            lane.soonest_deadline = lane.soonest_deadline.min(deadline);
        }
        id
    }

    /// What it had claimed is free again.
    fn unlink(&mut self, id: WaiterId, now: Timestamp) -> Option<PoolIndex> {
        let (at, last) = self.step_out(id.slot, now)?;
        let lane = self.lane_mut(at)?;
        let pool = lane.key.pool;
        if lane.claim.is_some_and(|claim| claim.by == id) {
            lane.claim = None;
        }
        if last {
            self.close(at);
        }
        Some(pool)
    }

    fn open(&mut self, key: LaneKey) -> LaneId {
        let shares = self.shares.get_mut(key.pool.at());
        let clock = shares.map(|shares| shares.open_lane(&key.group));
        let lane = Lane::new(key, clock.unwrap_or_default());
        let id = self.free_lanes.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            u32::try_from(self.lanes.len() - 1).unwrap_or(NONE)
        });
        if let Some(place) = self.lanes.get_mut(id as usize) {
            *place = Some(lane);
        }
        self.active.push(id);
        LaneId(id)
    }

    fn close(&mut self, id: LaneId) {
        let lane = self.lanes.get_mut(id.0 as usize).and_then(Option::take);
        if let Some(lane) = lane
            && let Some(shares) = self.shares.get_mut(lane.key.pool.at())
        {
            shares.close_lane(lane.clock);
        }
        if let Some(at) = self.active.iter().position(|&active| active == id.0) {
            self.active.swap_remove(at);
        }
        self.free_lanes.push(id.0);
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
