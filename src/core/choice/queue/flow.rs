//! Flows: one client's requests of one priority in one lane; those that are tried again by their turns, then the others
//! by arrival. The lane's head is the head of the flow that goes first, see `order`. Law: a flow is never empty,
//! and its first has begun to age.

use super::lane::LaneId;
use super::{NONE, Queue, WaiterId};
use crate::core::choice::fair::{PlaceId, Turn};
use crate::core::id::ClientIndex;
use crate::core::pools::Priority;
use crate::core::time::Timestamp;

/// One client's requests of one priority in one lane.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) lane: u32,
    client: ClientIndex,
    priority: Priority,
    /// Of its client.
    pub(super) place: Option<PlaceId>,
    pub(super) head: u32,
    tail: u32,
    /// Its neighbours in the lane.
    before: u32,
    pub(super) after: u32,
}

impl Queue {
    /// Those of a lane, in no order.
    pub fn any(&self, id: LaneId) -> Option<WaiterId> {
        let flow = self.flows.get(self.lane(id)?.flows as usize)?;
        self.occupant(flow.head).map(|(id, _)| id)
    }

    /// The next of those, while this one is there.
    pub fn next(&self, id: WaiterId) -> Option<WaiterId> {
        let slot = self.valid(id)?;
        let next = self.occupant(slot.after).or_else(|| {
            let flow = self.flows.get(slot.flow as usize)?;
            let next = self.flows.get(flow.after as usize)?;
            self.occupant(next.head)
        });
        next.map(|(id, _)| id)
    }

    pub(super) fn head_slot(&self, id: LaneId) -> Option<u32> {
        let flow = self.flows.get(self.lane(id)?.best as usize)?;
        Some(flow.head)
    }

    /// The turn of one who is let go.
    pub(super) fn take_turn(&mut self, id: WaiterId) -> Option<Turn> {
        self.valid(id)?;
        let (tag, kept, _) = self.tag(id.slot)?;
        let flow = self.flows.get(self.valid(id)?.flow as usize)?;
        let (place, lane) = (flow.place, self.lane(LaneId(flow.lane))?);
        let (pool, clock) = (lane.key.pool, lane.clock);
        let shares = self.shares.get_mut(pool.at())?;
        Some(shares.serve(clock, place, tag, kept))
    }

    pub(super) fn clock_of(&self, id: LaneId) -> u64 {
        let lane = self.lane(id);
        let clock = lane.and_then(|lane| {
            let shares = self.shares.get(lane.key.pool.at())?;
            Some(shares.now(lane.clock))
        });
        clock.unwrap_or_default()
    }

    /// Puts one into its flow of a lane. Who comes to stand first begins to age, where it has not begun before.
    pub(super) fn line_up(&mut self, slot: u32, id: LaneId, now: Timestamp) {
        let Some(waiter) = self
            .slots
            .get(slot as usize)
            .and_then(|own| own.waiter.as_ref())
        else {
            return;
        };
        let (client, priority) = (waiter.client, waiter.priority);
        let flow = self.flow(id, client, priority);
        let (before, after) = self.gap(flow, slot);
        if let Some(other) = self.slots.get_mut(before as usize) {
            other.after = slot;
        }
        let mut since = now;
        if let Some(other) = self.slots.get_mut(after as usize) {
            other.before = slot;
            since = since.min(other.first_since);
        }
        if let Some(own) = self.slots.get_mut(slot as usize) {
            (own.flow, own.before, own.after) = (flow, before, after);
            if before == NONE {
                own.first_since = own.first_since.min(since);
            }
        }
        if let Some(flow) = self.flows.get_mut(flow as usize) {
            if before == NONE {
                flow.head = slot;
            }
            if after == NONE {
                flow.tail = slot;
            }
        }
        let first = self.head_slot(id).and_then(|head| self.rank_of(head, now));
        let comes_first = first.is_none_or(|first| self.rank_of(slot, now) < Some(first));
        let rises = self.rises(slot, now);
        if before == NONE
            && let Some(lane) = self.lane_mut(id)
        {
            lane.rises = lane.rises.min(rises);
            if comes_first {
                lane.best = flow;
            }
        }
    }

    /// Takes one out of its flow. Returns its lane, and whether nobody is left there.
    pub(super) fn step_out(&mut self, slot: u32, now: Timestamp) -> Option<(LaneId, bool)> {
        let own = self.slots.get(slot as usize)?;
        let (at, before, after) = (own.flow, own.before, own.after);
        if let Some(other) = self.slots.get_mut(before as usize) {
            other.after = after;
        }
        if let Some(other) = self.slots.get_mut(after as usize) {
            other.before = before;
            if before == NONE {
                other.first_since = other.first_since.min(now);
            }
        }
        let flow = self.flows.get_mut(at as usize)?;
        let id = LaneId(flow.lane);
        if before == NONE {
            flow.head = after;
        }
        if after == NONE {
            flow.tail = before;
        }
        if flow.head == NONE {
            self.end_flow(at);
        }
        let lane = self.lane(id)?;
        let last = lane.flows == NONE;
        if !last && before == NONE && lane.best == at {
            self.choose(id, now);
        }
        Some((id, last))
    }

    fn flow(&mut self, id: LaneId, client: ClientIndex, priority: Priority) -> u32 {
        let first = self.lane(id).map_or(NONE, |lane| lane.flows);
        let mut at = first;
        while let Some(flow) = self.flows.get(at as usize) {
            if (flow.client, flow.priority) == (client, priority) {
                return at;
            }
            at = flow.after;
        }
        let flow = Flow {
            lane: id.0,
            client,
            priority,
            place: self.open_place(id, client),
            head: NONE,
            tail: NONE,
            before: NONE,
            after: first,
        };
        let at = match self.free_flows.pop() {
            Some(at) => at,
            None => {
                self.flows.push(flow.clone());
                u32::try_from(self.flows.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(place) = self.flows.get_mut(at as usize) {
            *place = flow;
        }
        if let Some(other) = self.flows.get_mut(first as usize) {
            other.before = at;
        }
        if let Some(lane) = self.lane_mut(id) {
            lane.flows = at;
        }
        at
    }

    fn open_place(&mut self, id: LaneId, client: ClientIndex) -> Option<PlaceId> {
        let lane = self.lane(id)?;
        let (pool, clock) = (lane.key.pool, lane.clock);
        self.shares.get_mut(pool.at())?.open_flow(client, clock)
    }

    fn end_flow(&mut self, at: u32) {
        let Some(flow) = self.flows.get(at as usize) else {
            return;
        };
        let (id, before, after, place) = (LaneId(flow.lane), flow.before, flow.after, flow.place);
        let pool = self.lane(id).map(|lane| lane.key.pool);
        if let Some(shares) = pool.and_then(|pool| self.shares.get_mut(pool.at())) {
            shares.close_flow(place);
        }
        if let Some(other) = self.flows.get_mut(before as usize) {
            other.after = after;
        }
        if let Some(other) = self.flows.get_mut(after as usize) {
            other.before = before;
        }
        if let Some(lane) = self.lane_mut(id)
            && before == NONE
        {
            lane.flows = after;
        }
        self.free_flows.push(at);
    }

    /// Between whom it belongs: by arrival, but those that were let go before come before the others.
    fn gap(&self, flow: u32, slot: u32) -> (u32, u32) {
        let Some(flow) = self.flows.get(flow as usize) else {
            return (NONE, NONE);
        };
        let turn = |slot: u32| {
            let slot = self.slots.get(slot as usize)?;
            let waiter = slot.waiter.as_ref()?;
            let kept = waiter.turn.map_or(u64::MAX, |turn| turn.tag());
            Some((kept, waiter.arrival, slot.order))
        };
        let own = turn(slot);
        if flow.head == NONE || own < turn(flow.head) {
            return (NONE, flow.head);
        }
        let mut before = flow.tail;
        while before != NONE && own < turn(before) {
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
}
