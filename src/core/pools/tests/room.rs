//! What clients are told of a whole pool (D9).

use super::*;
use crate::core::limit::reading::{PoolRoom, Reading, Refill, Window, WindowReading};

/// An answer that says of requests what is left of 100 a minute.
fn told(remaining: f64) -> Readings {
    let mut readings = Readings::NONE;
    readings.dimensions[Dimension::Requests.at()] = Some(Reading {
        limit: 100.0,
        remaining,
        below: 0.0,
        above: 0.0,
        period: seconds(60),
        refill: Refill::Continuous,
        reset: None,
    });
    readings
}

fn window(remaining: f64, reset: u64) -> Readings {
    let mut readings = Readings::NONE;
    readings.windows[Window::FiveHours.at()] = Some(WindowReading {
        remaining,
        reset: Some(seconds(reset)),
    });
    readings
}

impl World {
    /// One request on this subscription whose answer says this.
    fn tells(&mut self, wanted: SubscriptionIndex, readings: &Readings) {
        let ticket = self.take_on(wanted);
        let (now, out) = (self.now, &mut self.out);
        self.pools
            .observe(&ticket, &Verdict::OK, readings, now, out);
        self.carry_out();
        self.answer(ticket, Verdict::OK);
    }

    fn room(&mut self) -> PoolRoom {
        self.pools.pool_room(MAIN, &group("m1"), self.now)
    }

    /// Limit and remaining of requests.
    fn requests(&mut self) -> Option<(f64, f64)> {
        let reading = self.room().dimension(Dimension::Requests)?;
        Some((reading.limit, reading.remaining.round()))
    }
}

#[test]
fn of_what_nobody_told_nothing_is_told() {
    let mut world = World::of(2);
    assert_eq!(world.room(), PoolRoom::NONE);
    world.answered_on(sub(0), Verdict::OK);
    assert_eq!(world.room(), PoolRoom::NONE);
    world.tells(sub(0), &told(80.0));
    let other = world.pools.pool_room(MAIN, &group("m2"), world.now);
    assert_eq!(other, PoolRoom::NONE);
}

#[test]
fn limits_and_what_is_left_add_up_over_those_that_told_them() {
    let mut world = World::of(3);
    world.tells(sub(0), &told(80.0));
    assert_eq!(world.requests(), Some((100.0, 80.0)));
    world.tells(sub(1), &told(10.0));
    assert_eq!(world.requests(), Some((200.0, 90.0)));
    let full_in = world.room().dimension(Dimension::Requests).unwrap().full_in;
    assert_eq!(full_in.as_secs_f64().round(), 54.0);
    // Both gain 100 a minute, and the first is full before.
    world.pass(seconds(30));
    assert_eq!(world.requests(), Some((200.0, 160.0)));
    world.pass(seconds(30));
    let room = world.room().dimension(Dimension::Requests).unwrap();
    assert_eq!((room.remaining, room.full_in), (200.0, Duration::ZERO));
}

#[test]
fn a_domain_counts_once_and_what_is_disabled_not_at_all() {
    let mut layout = layout(3);
    for row in &mut layout.subscriptions[..2] {
        row.domain = Arc::from("org");
        row.domain_named = true;
    }
    let mut world = World::new(layout);
    for index in [sub(0), sub(1), sub(2)] {
        world.tells(index, &told(50.0));
    }
    assert_eq!(world.requests().unwrap().0, 200.0);
    world.layout.subscriptions[2].enabled = false;
    world.reload();
    assert_eq!(world.requests().unwrap().0, 100.0);
}

#[test]
fn windows_are_means_and_begin_anew_with_the_last() {
    let mut world = World::of(3);
    world.tells(sub(0), &window(0.8, 100));
    world.tells(sub(1), &window(0.4, 1_000));
    let five_hours = world.room().window(Window::FiveHours).unwrap();
    assert!((five_hours.remaining - 0.6).abs() < 1e-9);
    assert_eq!(five_hours.reset, Some(seconds(1_000)));
    assert_eq!(world.room().window(Window::Week), None);
    // The first is whole again.
    world.pass(seconds(101));
    let five_hours = world.room().window(Window::FiveHours).unwrap();
    assert!((five_hours.remaining - 0.7).abs() < 1e-9);
    assert_eq!(five_hours.reset, Some(seconds(899)));
}

#[test]
fn a_large_pools_sum_is_a_tenth_of_a_second_old_at_most() {
    let mut world = World::of(40);
    world.tells(sub(0), &told(50.0));
    assert_eq!(world.requests().unwrap().0, 100.0);
    world.tells(sub(1), &told(50.0));
    assert_eq!(world.requests().unwrap().0, 100.0);
    world.pass(millis(100));
    assert_eq!(world.requests().unwrap().0, 200.0);
}
