//! Who waits, in which order (C5). Waiters that any change would let go or keep alike share a lane, ordered by
//! arrival; the lanes of one pool and limit group are that queue. Whether a head may go, `pools` decides. Law: a
//! waiter is in exactly one lane, a lane has a waiter, and nothing grows while somebody arrives.

use std::sync::Arc;

use super::chain::Links;
use super::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::limit::pacing::Size;
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

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whichever subscription of the chain frees first.
    Any,
    /// Whichever of its own pool frees first, for a while (C5, `fallback_after`).
    Own,
    /// The owner of its provider-side state.
    Must(SubscriptionIndex),
    /// The warm one, for a while (S2).
    Stick(SubscriptionIndex),
}

/// What waiters of one lane share.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneKey {
    /// Their pool.
    pub pool: PoolIndex,
    /// Their limit group.
    pub group: LimitGroup,
    /// Their model, where the pool's subscriptions restrict models.
    pub model: Option<Arc<str>>,
    /// What they wait for.
    pub target: Target,
    /// Endpoints out of reach for them.
    pub tried: Tried,
    /// Where they may fall back to, and what they ask there.
    pub links: Links,
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
    /// What is known of its tokens.
    pub size: Size,
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u32,
    waiter: Option<Waiter>,
    /// Breaks ties of arrival.
    order: u64,
    lane: u32,
    before: u32,
    after: u32,
}

/// A lane, as `pools` sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What its waiters share.
    pub key: LaneKey,
    /// When its head could go by time alone; [`Timestamp::MAX`]: never.
    pub wake: Timestamp,
    /// No waiter's deadline is earlier.
    pub soonest_deadline: Timestamp,
    /// The sweep that found it blocked.
    pub blocked: u64,
    head: u32,
    tail: u32,
}

/// A lane's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneId(u32);

/// All who wait.
#[derive(Clone, Debug)]
pub struct Queue {
    slots: Vec<Slot>,
    free: Vec<u32>,
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
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            active: Vec::new(),
            order: 0,
            waiting: 0,
            capacity: 0,
        }
    }

    /// Allocates room for this many, at most [`MOST_WAITERS`]; never less than before.
    pub fn reserve(&mut self, waiters: usize) {
        self.capacity = waiters.min(MOST_WAITERS).max(self.capacity);
        let more = |len: usize| self.capacity - len;
        self.slots.reserve_exact(more(self.slots.len()));
        self.free.reserve_exact(more(self.free.len()));
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

    /// The first of a lane.
    pub fn head(&self, id: LaneId) -> Option<(WaiterId, &Waiter)> {
        let lane = self.lane(id)?;
        self.occupant(lane.head)
    }

    /// The order of a lane's head among all heads.
    pub fn precedence(&self, id: LaneId) -> Option<(Timestamp, u64)> {
        let slot = self.slots.get(self.lane(id)?.head as usize)?;
        Some((slot.waiter.as_ref()?.arrival, slot.order))
    }

    /// The waiter behind another in its lane.
    pub fn behind(&self, id: WaiterId) -> Option<(WaiterId, &Waiter)> {
        self.occupant(self.valid(id)?.after)
    }

    /// A waiter, while it waits.
    pub fn waiter(&self, id: WaiterId) -> Option<(&Waiter, LaneId)> {
        let slot = self.valid(id)?;
        Some((slot.waiter.as_ref()?, LaneId(slot.lane)))
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
                let mut next = self.head(id);
                while let Some((place, own)) = next {
                    if waiter(own) {
                        return Some(place);
                    }
                    next = self.behind(place);
                }
                None
            })
    }

    /// Lets one in, by arrival. `None`: there is no room.
    pub fn enter(&mut self, key: LaneKey, waiter: Waiter) -> Option<(WaiterId, LaneId)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => {
                self.slots.push(Slot {
                    generation: 0,
                    waiter: None,
                    order: 0,
                    lane: NONE,
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
        place.waiter = Some(waiter);
        let id = WaiterId {
            slot,
            generation: place.generation,
        };
        self.waiting += 1;
        let lane = self.link(slot, key);
        Some((id, lane))
    }

    /// Lets one go. `None`: it no longer waits.
    pub fn leave(&mut self, id: WaiterId) -> Option<(Waiter, PoolIndex)> {
        self.valid(id)?;
        let pool = self.unlink(id.slot)?;
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        let waiter = slot.waiter.take()?;
        self.free.push(id.slot);
        self.waiting -= 1;
        Some((waiter, pool))
    }

    /// Moves one to another lane of its pool; its place in the order stays.
    pub fn retarget(&mut self, id: WaiterId, target: Target) -> Option<LaneId> {
        let slot = self.valid(id)?;
        let mut key = self.lane(LaneId(slot.lane))?.key.clone();
        key.target = target;
        self.unlink(id.slot)?;
        Some(self.link(id.slot, key))
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

    fn link(&mut self, slot: u32, key: LaneKey) -> LaneId {
        let id = self.find(&key).unwrap_or_else(|| self.open(key));
        let (before, after) = self.gap(id, slot);
        let mut deadline = Timestamp::MAX;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.lane = id.0;
            place.before = before;
            place.after = after;
            deadline = place
                .waiter
                .as_ref()
                .map_or(deadline, |waiter| waiter.deadline);
        }
        if let Some(other) = self.slots.get_mut(before as usize) {
            other.after = slot;
        }
        if let Some(other) = self.slots.get_mut(after as usize) {
            other.before = slot;
        }
        if let Some(lane) = self.lane_mut(id) {
            lane.soonest_deadline = lane.soonest_deadline.min(deadline);
            if before == NONE {
                lane.head = slot;
            }
            if after == NONE {
                lane.tail = slot;
            }
        }
        id
    }

    /// Between whom it belongs: usually at the end; a request tried again, at the front.
    fn gap(&self, id: LaneId, slot: u32) -> (u32, u32) {
        let Some(lane) = self.lane(id) else {
            return (NONE, NONE);
        };
        let rank = |slot: u32| {
            let slot = self.slots.get(slot as usize)?;
            Some((slot.waiter.as_ref()?.arrival, slot.order))
        };
        let own = rank(slot);
        if lane.head == NONE || own < rank(lane.head) {
            return (NONE, lane.head);
        }
        let mut before = lane.tail;
        while before != NONE && own < rank(before) {
            before = self
                .slots
                .get(before as usize)
                .map_or(NONE, |slot| slot.before);
        }
        let after = self
            .slots
            .get(before as usize)
            .map_or(NONE, |slot| slot.after);
        (before, after)
    }

    fn unlink(&mut self, slot: u32) -> Option<PoolIndex> {
        let place = self.slots.get(slot as usize)?;
        let (id, before, after) = (LaneId(place.lane), place.before, place.after);
        if let Some(other) = self.slots.get_mut(before as usize) {
            other.after = after;
        }
        if let Some(other) = self.slots.get_mut(after as usize) {
            other.before = before;
        }
        let lane = self.lane_mut(id)?;
        let pool = lane.key.pool;
        if before == NONE {
            lane.head = after;
        }
        if after == NONE {
            lane.tail = before;
        }
        if lane.head == NONE {
            self.close(id);
        }
        Some(pool)
    }

    fn open(&mut self, key: LaneKey) -> LaneId {
        let lane = Lane {
            key,
            wake: Timestamp::MAX,
            soonest_deadline: Timestamp::MAX,
            blocked: 0,
            head: NONE,
            tail: NONE,
        };
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
        if let Some(place) = self.lanes.get_mut(id.0 as usize) {
            *place = None;
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
