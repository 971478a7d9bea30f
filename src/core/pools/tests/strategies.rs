//! C2: each strategy by what it chooses, tiers before it and ties after it.

use proptest::prelude::*;

use super::*;
use crate::core::choice::strategy::Strategy;
use crate::core::limit::reading::{Reading, Refill};

/// One pool with this strategy.
fn pool_of(strategy: Strategy, mut layout: Layout) -> World {
    layout.pools[0].strategy = strategy;
    World::new(layout)
}

fn limits(limits: &[f64]) -> Layout {
    let mut layout = layout(limits.len());
    for (own, limit) in layout.subscriptions.iter_mut().zip(limits) {
        own.limits[0].limit = *limit;
    }
    layout
}

impl World {
    /// Who is taken, so many times, each answered at once.
    fn turns(&mut self, turns: usize) -> Vec<u16> {
        let served = (0..turns).map(|_| {
            let ticket = self.take();
            let on = ticket.subscription().0;
            self.answer(ticket, Verdict::OK);
            on
        });
        served.collect()
    }

    /// Its answer states a window of so many requests, and when that ends.
    fn window_on(&mut self, on: SubscriptionIndex, remaining: f64, reset: Duration) {
        let mut readings = Readings::NONE;
        readings.dimensions[Dimension::Requests.at()] = Some(Reading {
            limit: 100.0,
            remaining,
            below: 0.0,
            above: 0.0,
            period: seconds(3_600),
            refill: Refill::AtReset,
            reset: Some(reset),
        });
        let ticket = self.take_on(on);
        self.pools
            .observe(&ticket, &Verdict::OK, &readings, self.now, &mut self.out);
        self.answer(ticket, Verdict::OK);
    }
}

fn count(turns: &[u16], of: u16) -> usize {
    turns.iter().filter(|on| **on == of).count()
}

// C2, 16.9
#[test]
fn headroom_takes_the_largest_share_so_that_uneven_keys_run_dry_together() {
    let mut world = pool_of(Strategy::Headroom, limits(&[10.0, 40.0, 50.0]));
    let turns = world.turns(50);
    assert_eq!([0, 1, 2].map(|of| count(&turns, of)), [5, 20, 25]);
    let rest = world.turns(50);
    assert_eq!([0, 1, 2].map(|of| count(&rest, of)), [5, 20, 25]);
    let demand = world.demand();
    assert!(matches!(
        world.try_acquire(&demand, &Tried::new()),
        Acquisition::MustWait
    ));
}

// C2: unknown counts 0.5
#[test]
fn headroom_counts_the_unknown_as_half() {
    for (used, expected) in [(3, 0), (6, 1)] {
        let mut layout = limits(&[10.0, 10.0]);
        layout.subscriptions[1].limits.clear();
        let mut world = pool_of(Strategy::Headroom, layout);
        // The share that a request would leave counts.
        for _ in 0..used {
            let ticket = world.take_on(sub(0));
            world.answer(ticket, Verdict::OK);
        }
        assert_eq!(world.turns(1), [expected], "{used}");
    }
}

// C2
#[test]
fn round_robin_takes_all_in_turn() {
    let mut world = pool_of(Strategy::RoundRobin, layout(3));
    assert_eq!(world.turns(9), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    // Whatever is in flight.
    let held = [world.take(), world.take(), world.take()];
    assert_eq!(
        held.each_ref().map(|held| held.subscription()),
        [0, 1, 2].map(sub)
    );
    let [first, ..] = held;
    world.settle(first, Outcome::Abandoned);
    assert_eq!(world.turns(3), [0, 1, 2]);
    // Who is barred is left out, and is next when it is back.
    world.answered_on(sub(1), limited(Some(seconds(5))));
    assert_eq!(world.turns(4), [0, 2, 0, 2]);
    world.pass(seconds(5));
    assert_eq!(world.turns(3), [1, 0, 2]);
}

proptest! {
    // C2: nobody is a whole request of his ahead of anybody
    #[test]
    fn weighted_is_in_proportion_to_the_weights_within_one_request_of_each(
        weights in prop::collection::vec(1_u16..20, 2..6),
        turns in 1_usize..200,
    ) {
        let mut layout = layout(weights.len());
        for (own, weight) in layout.subscriptions.iter_mut().zip(&weights) {
            own.weight = *weight;
        }
        let mut world = pool_of(Strategy::Weighted, layout);
        let turns = world.turns(turns);
        for run in 1..=turns.len() {
            let served = |of| count(&turns[..run], of) as f64;
            for (one, own) in (0..).zip(&weights) {
                for (other, theirs) in (0..).zip(&weights) {
                    let ahead = (served(one) - 1.0) / f64::from(*own);
                    let behind = served(other) / f64::from(*theirs);
                    prop_assert!(ahead <= behind + 1e-3, "{:?} {:?}", weights, &turns[..run]);
                }
            }
        }
    }
}

// C2: who was away does not make up for it
#[test]
fn weighted_saves_nothing_up_for_who_was_barred() {
    let mut world = pool_of(Strategy::Weighted, layout(2));
    world.answered_on(sub(1), limited(Some(seconds(5))));
    assert_eq!(count(&world.turns(20), 0), 20);
    world.pass(seconds(5));
    let turns = world.turns(20);
    assert!((9..=11).contains(&count(&turns, 1)), "{turns:?}");
}

// C2
#[test]
fn least_in_flight_takes_the_fewest_then_the_longest_unused() {
    let mut world = pool_of(Strategy::LeastInFlight, layout(3));
    let mut held: Vec<_> = (0..4).map(|_| world.take()).collect();
    let on: Vec<_> = held.iter().map(|held| held.subscription().0).collect();
    assert_eq!(on, [0, 1, 2, 0]);
    // Now 2, 1, 1: the longest unused of the two.
    assert_eq!(world.turns(2), [1, 2]);
    world.settle(held.remove(3), Outcome::Abandoned);
    world.settle(held.remove(0), Outcome::Abandoned);
    assert_eq!(world.turns(3), [0, 0, 0]);
}

// C2
#[test]
fn fill_first_takes_the_first_of_the_list_that_is_open() {
    let mut layout = limits(&[2.0, 3.0, 100.0]);
    layout.pools[0].members = vec![1, 0, 2];
    let mut world = pool_of(Strategy::FillFirst, layout);
    assert_eq!(world.turns(7), [1, 1, 1, 0, 0, 2, 2]);
    world.pass(seconds(60));
    assert_eq!(world.turns(1), [1]);
}

// C2: use what expires first
#[test]
fn soonest_reset_takes_what_would_be_lost_first() {
    let mut layout = layout(4);
    for own in &mut layout.subscriptions[..3] {
        own.limits.clear();
    }
    let mut world = pool_of(Strategy::SoonestReset, layout);
    world.window_on(sub(0), 50.0, seconds(300));
    world.window_on(sub(1), 4.0, seconds(200));
    world.window_on(sub(2), 50.0, seconds(400));
    // The last one states nothing.
    assert_eq!(world.turns(4), [1; 4]);
    assert_eq!(world.turns(3), [0; 3]);
    world.pass(seconds(200));
    assert_eq!(world.turns(3), [0; 3], "the next window of s1 is an hour");
    world.pass(seconds(100));
    assert_eq!(world.turns(2), [2; 2]);
}

// C2: tiers come before strategy
#[test]
fn a_lower_tier_goes_first_whatever_the_strategy_says() {
    for strategy in Strategy::ALL {
        // The second tier has all the better figures.
        let mut layout = limits(&[4.0, 1e6, 1e6]);
        for (at, own) in layout.subscriptions.iter_mut().enumerate() {
            own.priority = i32::from(at > 0);
            own.weight = if at == 0 { 1 } else { 100 };
        }
        layout.pools[0].members = vec![2, 1, 0];
        let mut world = pool_of(strategy, layout);
        let held: Vec<_> = (0..4).map(|_| world.take()).collect();
        assert!(
            held.iter().all(|held| held.subscription() == sub(0)),
            "{strategy:?}"
        );
        // It is spent: the next tier.
        assert_ne!(world.take().subscription(), sub(0), "{strategy:?}");
    }
}

// C2: ties
#[test]
fn of_equals_the_fewest_in_flight_then_the_least_recently_used_goes() {
    for strategy in [Strategy::Headroom, Strategy::SoonestReset] {
        let mut layout = layout(3);
        for own in &mut layout.subscriptions {
            own.limits[0].limit = 1e12;
        }
        let mut world = pool_of(strategy, layout);
        let held = [world.take(), world.take()];
        assert_eq!(
            held.each_ref().map(|held| held.subscription()),
            [0, 1].map(sub)
        );
        assert_eq!(world.turns(2), [2, 2], "{strategy:?}");
        let [first, second] = held;
        world.settle(second, Outcome::Abandoned);
        world.settle(first, Outcome::Abandoned);
        assert_eq!(world.turns(3), [0, 1, 2], "{strategy:?}");
    }
}
