//! The waiting room: who waits, who goes first, who is refused.

use super::*;

/// A pool of this many, each with room for one.
fn narrow(subscriptions: usize) -> World {
    let mut layout = layout(subscriptions);
    for own in &mut layout.subscriptions {
        own.max_in_flight = Some(1);
    }
    World::new(layout)
}

// C5, acceptance 5
#[test]
fn a_burst_that_waits_for_stated_resets_goes_at_the_reset_and_not_before() {
    for subscriptions in [1, 3] {
        let mut world = World::of(subscriptions);
        for index in 0..subscriptions {
            world.answered_on(
                sub(u16::try_from(index).unwrap()),
                limited(Some(seconds(3))),
            );
        }
        let waiters: Vec<_> = (0..50).map(|_| world.wait(&world.demand())).collect();
        world.pass(seconds(3) - Duration::from_micros(1));
        assert_eq!(world.grantees(), []);
        world.pass(Duration::from_micros(1));
        assert_eq!(world.grantees(), waiters);
    }
}

// C5, D5
#[test]
fn after_a_guess_one_goes_first_and_the_rest_slowly_on_its_answer_or_after_five_seconds() {
    for answered in [true, false] {
        let mut world = World::of(1);
        world.answered_on(sub(0), limited(None));
        let waiters: Vec<_> = (0..100).map(|_| world.wait(&world.demand())).collect();
        world.pass(seconds(2));
        assert_eq!(world.granted.len(), 1);
        let (first, probe) = world.granted.pop().unwrap();
        assert_eq!(first, waiters[0]);
        assert!(probe.is_probe());
        if answered {
            world.observe(&probe, Verdict::OK);
        } else {
            assert_eq!(
                world.pools.arm(world.now, &mut world.out),
                world.now + seconds(5)
            );
            world.pass(seconds(5));
        }
        // The others follow by slow start (C4): one, and one more for each that is answered.
        let mut served = Vec::new();
        let mut most = 0;
        assert_eq!(world.granted.len(), 1);
        while !world.granted.is_empty() {
            let (waiter, ticket) = world.granted.remove(0);
            let others = world.granted.len();
            served.push(waiter);
            world.answer(ticket, Verdict::OK);
            most = most.max(world.granted.len());
            assert!(world.granted.len() <= others + 2 || served.len() >= 14);
        }
        assert!(most > 2);
        assert_eq!(served, waiters[1..]);
    }
}

// C5: an arrival takes capacity only if no waiter could use it
#[test]
fn who_arrives_does_not_overtake_who_waits() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(3))));
    let waiter = world.wait(&world.demand());
    // The reset is past and the keeper has not looked yet.
    world.now = world.now + seconds(3);
    let newcomer = world.take();
    assert_eq!(world.granted.len(), 1);
    assert_eq!(world.granted[0].0, waiter);
    assert!(world.granted[0].1.attempt.sequence < newcomer.attempt.sequence);
}

// C5: settle grants directly
#[test]
fn a_freed_slot_goes_to_the_first_in_line() {
    let mut world = narrow(2);
    let held = [world.take(), world.take()];
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            world.pass(millis(1));
            world.wait(&world.demand())
        })
        .collect();
    assert!(matches!(
        world.try_acquire(&world.demand(), &Tried::new()),
        Acquisition::MustWait
    ));
    for (ticket, waiter) in held.into_iter().zip(&waiters) {
        let on = ticket.subscription();
        world.settle(ticket, Outcome::Abandoned);
        let (granted, ticket) = world.granted.pop().unwrap();
        assert_eq!((granted, ticket.subscription()), (*waiter, on));
        assert_eq!(world.granted.len(), 0);
        std::mem::forget(ticket);
    }
}

// C5: a request tried again keeps its place
#[test]
fn a_request_tried_again_stands_by_its_arrival() {
    let mut world = narrow(1);
    let early = world.demand();
    let held = world.take();
    world.pass(millis(5));
    let late: Vec<_> = (0..3).map(|_| world.wait(&world.demand())).collect();
    world.pass(millis(5));
    let again = world.wait(&early);
    world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = world.granted.pop() {
        order.push(waiter);
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, [again, late[0], late[1], late[2]]);
}

// C5: queues that could use the same capacity, the head first in that order
#[test]
fn heads_of_several_queues_go_by_arrival() {
    let mut world = narrow(1);
    let held = world.take();
    let mut waiters = Vec::new();
    for (client, model) in (1..).zip(["m3", "m1", "m2", "m1", "m3"]) {
        world.pass(millis(1));
        let demand = Demand {
            client: ClientIndex(client),
            ..world.of_model(model)
        };
        waiters.push(world.wait(&demand));
    }
    world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = world.granted.pop() {
        order.push(waiter);
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, waiters);
}

// C5: a head that cannot go does not block those who can
#[test]
fn a_blocked_limit_group_does_not_block_another() {
    let mut world = narrow(1);
    let held = world.take();
    world.observe(
        &held,
        scoped(Class::RateLimited, Scope::PER_MODEL, Some(seconds(9))),
    );
    let blocked = world.wait(&world.demand());
    world.pass(millis(1));
    let free = world.wait(&world.of_model("m2"));
    world.settle(held, Outcome::Abandoned);
    assert_eq!(world.grantees(), [free]);
    world.pass(seconds(9));
    assert_eq!(world.grantees(), [blocked]);
}

// C5
#[test]
fn the_room_is_bounded_over_all_queues_of_a_pool() {
    let mut layout = layout(1);
    layout.pools[0].max_waiting = 3;
    let mut world = World::new(layout);
    world.answered_on(sub(0), limited(Some(seconds(3))));
    let waiters: Vec<_> = ["m1", "m2", "m1"]
        .map(|model| world.wait(&world.of_model(model)))
        .into();
    let full = world
        .pools
        .enter(&world.demand(), &Tried::new(), world.now, &mut world.out);
    assert!(matches!(
        full,
        Entrance::Refused(Refused {
            reason: RefusalReason::QueueFull,
            earliest: None
        })
    ));
    assert!(world.leave(waiters[1]));
    assert!(!world.leave(waiters[1]));
    let next = world.wait(&world.demand());
    assert_ne!(next, waiters[1], "the same place, another generation");
    assert_eq!(world.snapshot().pools[0].waiting, 3);
}

// C5: refused as soon as news puts every instant beyond its time
#[test]
fn bad_news_refuses_those_whose_time_will_not_do() {
    let mut world = World::of(1);
    let [one, two] = [world.take(), world.take()];
    world.answer(one, limited(Some(seconds(3))));
    let short = world.wait(&Demand {
        max_wait: Some(seconds(5)),
        ..world.demand()
    });
    let long = world.wait(&world.demand());
    let short_too = world.wait(&Demand {
        max_wait: Some(seconds(6)),
        ..world.demand()
    });
    world.answer(two, limited(Some(seconds(20))));
    let refused: Vec<_> = world.refused.drain(..).collect();
    let expected = Refused {
        reason: RefusalReason::PoolLimited,
        earliest: Some(world.now + seconds(20)),
    };
    assert_eq!(refused, [(short, expected), (short_too, expected)]);
    world.pass(seconds(20));
    assert_eq!(world.grantees(), [long]);
}

// C5, C6
#[test]
fn a_waiter_is_refused_at_its_deadline_with_the_truth() {
    let mut world = narrow(1);
    let held = world.take();
    let waiter = world.wait(&Demand {
        max_wait: Some(seconds(4)),
        ..world.demand()
    });
    world.pass(millis(3_500));
    // Less than a second is left: what ends by an event is waited for to the end.
    assert_eq!(world.refused, []);
    world.pass(millis(500));
    let refused = world.pools.expire(waiter, world.now, &mut world.out);
    let expected = Refused {
        reason: RefusalReason::PoolLimited,
        earliest: Some(world.now + seconds(1)),
    };
    assert_eq!(refused, Some(expected));
    assert_eq!(world.pools.expire(waiter, world.now, &mut world.out), None);
    world.settle(held, Outcome::Abandoned);
    assert_eq!(world.grantees(), []);
    assert_eq!(world.in_flight(), 0);
}

// C5
#[test]
fn an_instant_at_the_deadline_is_still_in_time() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(30))));
    let waiter = world.wait(&world.demand());
    world.now = world.now + seconds(30);
    assert_eq!(world.pools.expire(waiter, world.now, &mut world.out), None);
    world.carry_out();
    assert_eq!(world.grantees(), [waiter]);
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(30) + millis(1))));
    assert!(matches!(
        world.try_acquire(&world.demand(), &Tried::new()),
        Acquisition::Refused(_)
    ));
}

// C5: more waiters than one call answers
#[test]
fn a_large_crowd_is_let_go_whole_and_in_order() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(3))));
    let waiters: Vec<_> = (0..900).map(|_| world.wait(&world.demand())).collect();
    world.now = world.now + seconds(3);
    assert!(!world.pools.wake(world.now, &mut world.out));
    // Who arrives meanwhile comes after them.
    assert!(matches!(
        world
            .pools
            .acquire(&world.demand(), &Tried::new(), world.now, &mut world.out),
        Acquisition::MustWait
    ));
    world.carry_out();
    assert_eq!(world.grantees(), waiters);
}

// C8 (d): a waiter does not go to an endpoint that it could not reach
#[test]
fn a_waiter_keeps_off_unreachable_endpoints() {
    let mut layout = layout(2);
    layout.subscriptions[1].endpoint = Arc::from("https://elsewhere");
    let mut world = World::new(layout);
    world.answered_on(sub(1), limited(Some(seconds(3))));
    let mut tried = Tried::new();
    tried.failed(sub(0));
    let waiter = world.wait_with(&world.demand(), &tried);
    world.pass(seconds(2));
    assert_eq!(world.grantees(), []);
    world.pass(seconds(1));
    assert_eq!(world.granted[0].1.subscription(), sub(1));
    assert_eq!(world.grantees(), [waiter]);
}

// C5: the keeper's instant
#[test]
fn the_keeper_is_told_when_it_sleeps_too_long_and_sets_no_timer_for_events() {
    let mut world = narrow(2);
    assert_eq!(world.pools.arm(world.now, &mut world.out), Timestamp::MAX);
    let held = [world.take_on(sub(0)), world.take_on(sub(1))];
    let _waiter = world.wait(&world.demand());
    assert!(!world.out.rearm);
    assert_eq!(world.pools.arm(world.now, &mut world.out), Timestamp::MAX);
    let [one, two] = held;
    world.observe(&one, limited(Some(seconds(9))));
    world.settle(one, Outcome::Abandoned);
    assert!(std::mem::take(&mut world.out.rearm));
    assert_eq!(
        world.pools.arm(world.now, &mut world.out),
        world.now + seconds(9)
    );
    world.settle(two, Outcome::Abandoned);
    assert_eq!(world.grantees().len(), 1);
}

// C5, D7: a re-check that falls due lets a waiter go as its probe
#[test]
fn a_waiter_takes_a_recheck_that_falls_due() {
    let mut world = World::of(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.pass(seconds(890));
    world.answered_on(sub(1), limited(Some(seconds(25))));
    let waiter = world.wait(&world.demand());
    assert_eq!(
        world.pools.arm(world.now, &mut world.out),
        world.now + seconds(10)
    );
    world.pass(seconds(10));
    assert!(world.granted[0].1.is_probe());
    assert_eq!(world.grantees(), [waiter]);
}

// C5: of those who wait for one slot, the session that belongs there and the others go by arrival
#[test]
fn sessions_and_others_share_a_slot_by_arrival() {
    let mut world = narrow(1);
    let should = |world: &World| Demand {
        affinity: Affinity::Should(SessionKey([3; 16])),
        ..world.demand()
    };
    let held = world.grant(&should(&world));
    let mut waiters = Vec::new();
    for stick in [false, true, false, true] {
        world.pass(millis(1));
        let demand = if stick {
            should(&world)
        } else {
            world.demand()
        };
        waiters.push(world.wait(&demand));
    }
    world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = world.granted.pop() {
        order.push(waiter);
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, waiters);
}
