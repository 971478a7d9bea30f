//! Who of those who wait for the same goes first (C5): the class, which rises with the time waited, then fairness
//! between clients of equal weight, then arrival. Fairness is start-time fair queueing (SPEC 16.11): a request's tag is
//! what its client has been given in its queue, at least the queue's clock; the smallest goes first. Whether it may go
//! at all, `pools` decides. Laws: a clock never goes back; nobody pays for what was not given, or while nobody else
//! wanted it; the tables never grow.

use std::time::Duration;

use crate::core::id::{ClientIndex, LimitGroup, PoolIndex};
use crate::core::pools::Priority;
use crate::core::time::Timestamp;

/// C5: one class up for so long waited.
pub const STEP: Duration = Duration::from_secs(10);
/// Queues with a clock of their own, in each pool; beyond, some share the last one.
const CLOCKS: usize = 64;
/// Clients and queues that are remembered at once, in each pool.
const PLACES: usize = 1_024;
/// How far from its home a place may lie.
const REACH: usize = 8;

/// A request's share in its queue: taken once, when it is first let go, and kept when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pool: PoolIndex,
    clock: ClockId,
    tag: u64,
}

/// A queue's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockId(u8);

/// Where a client's count in a queue is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceId(u16);

impl Turn {
    /// What its client had been given: the smaller goes first.
    pub const fn tag(self) -> u64 {
        self.tag
    }
}

/// The class of one who has stood first of its own client's since then; [`Timestamp::MAX`]: it does not yet. Zero is
/// served first.
pub fn class(priority: Priority, first_since: Timestamp, now: Timestamp) -> u8 {
    let steps = now.since(first_since).as_secs() / STEP.as_secs();
    let class = match priority {
        Priority::High => 0_u8,
        Priority::Normal => 1,
        Priority::Low => 2,
    };
    class.saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX))
}

/// When it rises next; [`Timestamp::MAX`]: no more, or it does not age.
pub fn rises(priority: Priority, first_since: Timestamp, now: Timestamp) -> Timestamp {
    if class(priority, first_since, now) == 0 || now < first_since {
        return Timestamp::MAX;
    }
    let steps = now.since(first_since).as_secs() / STEP.as_secs();
    first_since + STEP * u32::try_from(steps + 1).unwrap_or(u32::MAX)
}

/// The virtual time of one queue.
#[derive(Clone, Debug)]
struct Clock {
    group: LimitGroup,
    /// The greatest tag that was let go.
    now: u64,
    /// Lanes of it in which somebody waits.
    lanes: u32,
    used: u64,
}

/// What a client has been given in a queue.
#[derive(Clone, Copy, Debug)]
struct Place {
    client: ClientIndex,
    clock: ClockId,
    finish: u64,
    /// Flows that count on it: until they are gone it is nobody else's.
    flows: u32,
}

/// The shares of the clients of one pool.
#[derive(Clone, Debug)]
pub struct Shares {
    pool: PoolIndex,
    clocks: Vec<Clock>,
    places: Vec<Place>,
    uses: u64,
}

impl Shares {
    /// Allocates all that it will need.
    pub fn new(pool: PoolIndex) -> Self {
        let empty = Place {
            client: ClientIndex(0),
            clock: ClockId(0),
            finish: 0,
            flows: 0,
        };
        Self {
            pool,
            clocks: Vec::with_capacity(CLOCKS),
            places: vec![empty; PLACES],
            uses: 0,
        }
    }

    /// Gives one a turn who goes at once. `had`: it was let go before, and keeps its own.
    pub fn pass(&mut self, had: Option<Turn>, group: &LimitGroup, client: ClientIndex) -> Turn {
        let clock = self.clock(group);
        let kept = self.kept(had, clock);
        let place = self.place(client, clock);
        let tag = match kept {
            Some(kept) => kept.tag,
            None => self.now(clock).max(self.given(place)),
        };
        self.serve(clock, place, tag, kept.is_some())
    }

    /// One is let go. Unless it was before, it counts for its client.
    pub fn serve(&mut self, clock: ClockId, place: Option<PlaceId>, tag: u64, kept: bool) -> Turn {
        if let Some(clock) = self.clocks.get_mut(usize::from(clock.0)) {
            clock.now = clock.now.max(tag);
        }
        let place = place.and_then(|place| self.places.get_mut(usize::from(place.0)));
        if let Some(place) = place.filter(|_| !kept) {
            place.finish = tag + 1;
        }
        Turn {
            pool: self.pool,
            clock,
            tag,
        }
    }

    /// Its turn, if it is one of this queue.
    pub fn kept(&self, had: Option<Turn>, clock: ClockId) -> Option<Turn> {
        had.filter(|had| had.pool == self.pool && had.clock == clock)
    }

    /// How far a queue has come.
    pub fn now(&self, clock: ClockId) -> u64 {
        let clock = self.clocks.get(usize::from(clock.0));
        clock.map_or(0, |clock| clock.now)
    }

    /// What a client has been given so far.
    pub fn given(&self, place: Option<PlaceId>) -> u64 {
        let place = place.and_then(|place| self.places.get(usize::from(place.0)));
        place.map_or(0, |place| place.finish)
    }

    /// Somebody begins to wait in a lane of this queue: its clock stays its own until nobody does.
    pub fn open_lane(&mut self, group: &LimitGroup) -> ClockId {
        let at = self.clock(group);
        if let Some(clock) = self.clocks.get_mut(usize::from(at.0)) {
            clock.lanes += 1;
        }
        at
    }

    /// Nobody waits in it any longer.
    pub fn close_lane(&mut self, at: ClockId) {
        if let Some(clock) = self.clocks.get_mut(usize::from(at.0)) {
            clock.lanes = clock.lanes.saturating_sub(1);
        }
    }

    /// A client begins to wait. `None`: so many do that its count is not kept.
    pub fn open_flow(&mut self, client: ClientIndex, clock: ClockId) -> Option<PlaceId> {
        let at = self.place(client, clock)?;
        let place = self.places.get_mut(usize::from(at.0))?;
        place.flows += 1;
        Some(at)
    }

    /// It waits no longer.
    pub fn close_flow(&mut self, at: Option<PlaceId>) {
        let place = at.and_then(|at| self.places.get_mut(usize::from(at.0)));
        if let Some(place) = place {
            place.flows = place.flows.saturating_sub(1);
        }
    }

    /// The clock of a queue: its own, or that of one where nobody waits, which goes on from where it stands.
    fn clock(&mut self, group: &LimitGroup) -> ClockId {
        self.uses += 1;
        let known = self.clocks.iter().position(|clock| clock.group == *group);
        let at = known.unwrap_or_else(|| self.new_clock(group));
        if let Some(clock) = self.clocks.get_mut(at) {
            clock.used = self.uses;
        }
        ClockId(u8::try_from(at).unwrap_or(u8::MAX))
    }

    fn new_clock(&mut self, group: &LimitGroup) -> usize {
        if self.clocks.len() < CLOCKS {
            self.clocks.push(Clock {
                group: group.clone(),
                now: 0,
                lanes: 0,
                used: 0,
            });
            return self.clocks.len() - 1;
        }
        let idle = self.clocks.iter().enumerate();
        let idle = idle.filter(|(_, clock)| clock.lanes == 0);
        let Some((at, _)) = idle.min_by_key(|(_, clock)| clock.used) else {
            return CLOCKS - 1;
        };
        if let Some(clock) = self.clocks.get_mut(at) {
            clock.group = group.clone();
        }
        at
    }

    /// Its own place, else one that says no more than the clock does, else its home, which forgets another. `None`:
    /// all in reach are counted on.
    fn place(&mut self, client: ClientIndex, clock: ClockId) -> Option<PlaceId> {
        let home = (client.at() + usize::from(clock.0) * 97) % PLACES;
        let mut free: Option<(usize, bool)> = None;
        for at in (home..home + REACH).map(|at| at % PLACES) {
            let place = self.places.get(at)?;
            if (place.client, place.clock) == (client, clock) {
                return u16::try_from(at).ok().map(PlaceId);
            }
            if place.flows == 0 {
                let says_nothing = place.finish <= self.now(place.clock);
                let better = says_nothing && free.is_none_or(|(_, nothing)| !nothing);
                if better || free.is_none() {
                    free = Some((at, says_nothing));
                }
            }
        }
        let (at, _) = free?;
        *self.places.get_mut(at)? = Place {
            client,
            clock,
            finish: 0,
            flows: 0,
        };
        u16::try_from(at).ok().map(PlaceId)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn group(number: u16) -> LimitGroup {
        LimitGroup::new(&format!("m{number}"))
    }

    // C5
    #[test]
    fn a_class_rises_by_one_in_ten_seconds_and_not_beyond_the_highest() {
        let begin = Timestamp::from_micros(1);
        for (priority, after, expected) in [
            (Priority::High, 0, 0),
            (Priority::Normal, 9_999, 1),
            (Priority::Normal, 10_000, 0),
            (Priority::Normal, 60_000, 0),
            (Priority::Low, 9_999, 2),
            (Priority::Low, 10_000, 1),
            (Priority::Low, 20_000, 0),
        ] {
            let now = begin + Duration::from_millis(after);
            assert_eq!(
                class(priority, begin, now),
                expected,
                "{priority:?} {after}"
            );
            assert_eq!(
                class(priority, Timestamp::MAX, now),
                class(priority, now, now)
            );
        }
    }

    // C5
    #[test]
    fn the_instant_at_which_a_class_rises_is_when_it_rises() {
        let begin = Timestamp::from_micros(1);
        for (priority, after) in [
            (Priority::Normal, 0),
            (Priority::Normal, 9_999),
            (Priority::Low, 3),
            (Priority::Low, 10_000),
        ] {
            let now = begin + Duration::from_millis(after);
            let next = rises(priority, begin, now);
            let before = next - Duration::from_micros(1);
            assert_eq!(class(priority, begin, before), class(priority, begin, now));
            assert_eq!(
                class(priority, begin, next) + 1,
                class(priority, begin, now)
            );
        }
        for (priority, since) in [
            (Priority::High, begin),
            (Priority::Low, Timestamp::MAX),
            (Priority::Low, begin),
        ] {
            assert_eq!(rises(priority, since, begin + STEP * 2), Timestamp::MAX);
        }
    }

    // SPEC 16.11
    #[test]
    fn a_turn_is_kept_and_costs_once() {
        let mut shares = Shares::new(PoolIndex(0));
        let client = ClientIndex(7);
        let first = shares.pass(None, &group(1), client);
        assert_eq!(shares.pass(Some(first), &group(1), client), first);
        assert_eq!(shares.pass(None, &group(1), client).tag(), 1);
        let elsewhere = Shares::new(PoolIndex(1)).pass(None, &group(1), client);
        let third = shares.pass(Some(elsewhere), &group(1), client);
        assert_eq!(third.tag(), 2, "another pool's turn is none here");
    }

    // SPEC 16.11: more queues than clocks, with some who wait
    #[test]
    fn a_queue_in_which_somebody_waits_keeps_its_clock() {
        let mut shares = Shares::new(PoolIndex(0));
        let waits = shares.open_lane(&group(0));
        for number in 1..200 {
            shares.pass(None, &group(number), ClientIndex(2));
        }
        assert_eq!(shares.clocks.len(), CLOCKS);
        assert_eq!(shares.open_lane(&group(0)), waits);
        shares.close_lane(waits);
        shares.close_lane(waits);
        for number in 200..300 {
            shares.pass(None, &group(number), ClientIndex(2));
        }
        let other = shares.clocks[usize::from(waits.0)].group.clone();
        assert_ne!(other, group(0), "nobody waits: it is another's");
    }

    // SPEC 16.11: more clients wait than are remembered in reach of one another
    #[test]
    fn a_place_that_is_counted_on_is_nobody_elses() {
        let mut shares = Shares::new(PoolIndex(0));
        let clock = shares.open_lane(&group(0));
        let clients = (0..20_u16).map(|number| ClientIndex(number * 1_024 + 5));
        let places: Vec<_> = clients
            .map(|client| shares.open_flow(client, clock))
            .collect();
        assert_eq!(places.iter().flatten().count(), REACH);
        assert_eq!(shares.given(places[19]), 0);
        shares.close_flow(places[0]);
        let next = shares.open_flow(ClientIndex(19 * 1_024 + 5), clock);
        assert_eq!(next, places[0]);
    }

    proptest! {
        // SPEC 16.11: the tables say what unbounded ones would
        #[test]
        fn tags_are_those_of_start_time_fair_queueing(
            steps in proptest::collection::vec((0_u16..300, 0_u16..4), 1..400)
        ) {
            let mut shares = Shares::new(PoolIndex(0));
            let mut finish: HashMap<(u16, u16), u64> = HashMap::new();
            let mut clocks: HashMap<u16, u64> = HashMap::new();
            for (client, number) in steps {
                let turn = shares.pass(None, &group(number), ClientIndex(client));
                let now = clocks.entry(number).or_default();
                let own = finish.entry((client, number)).or_default();
                let tag = *now.max(own);
                *own = tag + 1;
                *now = tag.max(*now);
                prop_assert_eq!(turn.tag(), tag);
                prop_assert_eq!(shares.now(turn.clock), *now);
            }
        }
    }
}
