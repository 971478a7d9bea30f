//! Room that is saved up for a large request, and who may go meanwhile (C5, SPEC 16.10).

use super::*;

fn of(world: &World, client: u16, tokens: u64) -> Demand {
    Demand {
        client: ClientIndex(client),
        size: Size {
            estimated: Some(tokens),
            ..Size::default()
        },
        ..world.demand()
    }
}

/// Subscriptions that gain so many tokens a second, and have none.
fn scarce(per_second: &[u64]) -> World {
    let mut layout = layout(per_second.len());
    for own in &mut layout.subscriptions {
        own.max_in_flight = Some(1);
        // So that each is asked for.
        own.deny_models = vec!["none of these".to_owned()];
    }
    let mut world = World::new(layout);
    for (index, &gain) in (0..).zip(per_second) {
        world.scarce(sub(index), gain, 20_000);
    }
    world
}

/// Lets time pass in small steps, and ends what is granted at once. Returns who went when, and where.
fn run(world: &mut World, duration: Duration) -> Vec<(WaiterId, u128, u16)> {
    let begin = world.now;
    let mut gone = Vec::new();
    while world.now < begin + duration {
        world.pass(millis(10));
        while let Some((waiter, ticket)) = world.granted.pop() {
            let on = ticket.subscription();
            gone.push((waiter, world.now.since(begin).as_millis(), on.0));
            world.settle(ticket, Outcome::Abandoned);
        }
    }
    gone
}

#[test]
fn a_large_head_is_not_starved_by_a_stream_of_small_ones() {
    let mut world = scarce(&[1_000]);
    let large = world.wait(&of(&world, 1, 16_000));
    let mut sizes = vec![(large, 16_000)];
    let mut gone = Vec::new();
    for step in 0..40 {
        let small = world.wait(&of(&world, 2, 1_000));
        sizes.push((small, 1_000));
        let went = run(&mut world, millis(500));
        gone.extend(went.into_iter().map(|(id, at, _)| (id, at + step * 500)));
    }
    assert_eq!(gone[0], (large, 16_000));
    assert!((4..=5).contains(&gone.len()), "{gone:?}");
}

#[test]
fn small_ones_behind_a_large_head_use_what_it_does_not_claim() {
    let mut world = scarce(&[4_000, 1_000]);
    let large = world.wait(&of(&world, 1, 16_000));
    let small = [(); 2].map(|()| world.wait(&of(&world, 1, 1_000)));
    // The keeper's instant is that of the first who could go.
    assert_eq!(
        world.pools.arm(world.now, &mut world.out),
        world.now + seconds(1)
    );
    let gone = run(&mut world, seconds(5));
    assert_eq!(
        gone,
        [
            (small[0], 1_000, 1),
            (small[1], 2_000, 1),
            (large, 4_000, 0)
        ]
    );
}

#[test]
fn a_claim_is_on_the_whole_domain() {
    for (named, at) in [(false, 1_000), (true, 4_250)] {
        let mut layout = layout(2);
        for own in &mut layout.subscriptions {
            own.domain = Arc::from("shared");
            own.domain_named = named;
            own.max_in_flight = Some(1);
            own.deny_models = vec!["none of these".to_owned()];
        }
        let mut world = World::new(layout);
        world.scarce(sub(1), 1_000, 20_000);
        world.scarce(sub(0), 4_000, 20_000);
        let _large = world.wait(&of(&world, 1, 16_000));
        let small = world.wait(&of(&world, 1, 1_000));
        let gone = run(&mut world, seconds(6));
        let small = gone.iter().find(|(id, ..)| *id == small);
        assert_eq!(small.map(|(_, at, _)| *at), Some(at), "{gone:?}");
    }
}

#[test]
fn one_who_needs_no_less_than_a_blocked_one_waits_behind_it() {
    let mut world = scarce(&[4_000, 1_000]);
    let sizes = [16_000, 2_000, 2_000, 3_000, 1_000].map(|tokens| {
        let waiter = world.wait(&of(&world, 1, tokens));
        (waiter, tokens)
    });
    world.pass(millis(1_500));
    // Not the 2,000s, of which there is room for in half a second; they do not claim it, being no heads.
    assert_eq!(world.granted.len(), 1);
    assert_eq!(world.granted[0].0, sizes[4].0);
}

#[test]
fn who_arrives_leaves_alone_what_is_claimed_by_a_class_not_below_its_own() {
    for (priority, goes) in [
        (Priority::High, true),
        (Priority::Normal, false),
        (Priority::Low, false),
    ] {
        let mut world = scarce(&[1_000]);
        let _large = world.wait(&of(&world, 1, 16_000));
        world.pass(seconds(2));
        let demand = Demand {
            priority,
            ..of(&world, 2, 1_000)
        };
        let acquisition = world.try_acquire(&demand, &Tried::new());
        assert_eq!(
            matches!(acquisition, Acquisition::Granted(_)),
            goes,
            "{acquisition:?}"
        );
    }
}

#[test]
fn the_other_clients_fresh_one_does_not_wait_for_the_greedy_ones_large_ones() {
    let mut world = scarce(&[1_000]);
    for _ in 0..5 {
        let took = world.grant(&of(&world, 1, 0));
        world.settle(took, Outcome::Abandoned);
    }
    let _large = world.wait(&of(&world, 1, 16_000));
    world.pass(seconds(2));
    let small = world.wait(&of(&world, 2, 1_000));
    assert!(
        world.out.rearm,
        "it comes first and could go: the keeper is told"
    );
    let gone = run(&mut world, seconds(1));
    assert_eq!(gone[0].0, small);
}

#[test]
fn what_was_saved_up_is_for_others_when_its_holder_leaves() {
    for expires in [false, true] {
        let mut world = scarce(&[1_000]);
        let large = world.wait(&Demand {
            max_wait: Some(seconds(17)),
            ..of(&world, 1, 16_000)
        });
        let small = world.wait(&of(&world, 1, 1_000));
        world.pass(seconds(2));
        assert_eq!(world.grantees(), []);
        if expires {
            world.scarce(sub(0), 100, 20_000);
            let refused = world.pools.expire(large, world.now, &mut world.out);
            assert!(refused.is_some());
            world.carry_out();
        } else {
            assert!(world.leave(large));
        }
        let expected = if expires { vec![] } else { vec![small] };
        assert_eq!(world.grantees(), expected);
    }
}

#[test]
fn at_most_sixteen_behind_the_head_are_asked_and_who_arrives_does_not_pass_the_others() {
    let mut world = scarce(&[4_000, 500]);
    let large = world.wait(&of(&world, 1, 16_000));
    let medium: Vec<_> = (0..16).map(|_| world.wait(&of(&world, 1, 8_000))).collect();
    let small = world.wait(&of(&world, 1, 1_000));
    world.pass(seconds(2) + millis(500));
    assert_eq!(world.grantees(), []);
    let demand = of(&world, 2, 1_000);
    assert!(matches!(
        world.try_acquire(&demand, &Tried::new()),
        Acquisition::MustWait
    ));
    assert!(world.leave(medium[3]));
    assert_eq!(world.grantees(), [small]);
    assert!(world.leave(large));
}

#[test]
fn news_refuses_only_those_who_need_no_less() {
    let mut world = scarce(&[4_000, 1_000]);
    let short = Some(seconds(3));
    let long = world.wait(&of(&world, 1, 16_000));
    let alike = Demand {
        max_wait: short,
        ..of(&world, 1, 8_000)
    };
    let alike = world.wait(&alike);
    let small = world.wait(&Demand {
        max_wait: short,
        ..of(&world, 1, 1_000)
    });
    // Both gain less than was thought.
    world.scarce(sub(0), 2_000, 20_000);
    world.scarce(sub(1), 500, 20_000);
    let held = world.grant(&of(&world, 1, 0).clone());
    world.observe(&held, Verdict::OK);
    world.settle(held, Outcome::Abandoned);
    world.pass(seconds(2));
    let refused: Vec<_> = world.refused.iter().map(|(id, _)| *id).collect();
    assert_eq!(refused, [alike]);
    assert_eq!(world.grantees(), [small]);
    assert!(world.leave(long));
}

#[test]
fn a_thousand_clients_of_different_needs_cost_a_sweep_no_more_than_the_head_and_sixteen() {
    let mut world = scarce(&[1_000]);
    for client in 0..1_000_u16 {
        world.wait(&of(&world, client, 19_000 - u64::from(client)));
    }
    let before = world.pools.book.asked.get();
    world.pools.queue.wake_all(world.now);
    world.pass(Duration::ZERO);
    let asked = world.pools.book.asked.get() - before;
    assert_eq!(asked, 17);
}

#[test]
fn one_whose_class_rises_above_the_holders_goes_at_that_instant() {
    let mut world = scarce(&[1_000]);
    // Both classes rise; the small one's client has been given less.
    for _ in 0..3 {
        let took = world.grant(&of(&world, 1, 0));
        world.settle(took, Outcome::Abandoned);
    }
    let large = world.wait(&of(&world, 1, 19_000));
    let begin = world.now;
    let small = world.wait(&Demand {
        priority: Priority::Low,
        ..of(&world, 2, 1_000)
    });
    world.pass(millis(9_999));
    assert_eq!(world.grantees(), []);
    // The large one's has risen as well, so it takes another ten seconds: by then that one has gone.
    world.pass(millis(1));
    assert_eq!(world.grantees(), []);
    let wake = world.pools.arm(world.now, &mut world.out);
    // Gauges are good to a microsecond.
    let late = wake.since(begin + seconds(19));
    assert!(late <= Duration::from_micros(1), "{late:?}");
    world.pass(seconds(9) + Duration::from_micros(1));
    assert_eq!(world.grantees(), [large]);
    world.pass(seconds(1) + Duration::from_micros(1));
    assert_eq!(world.grantees(), [small]);

    let mut world = scarce(&[1_000]);
    for _ in 0..3 {
        let took = world.grant(&of(&world, 1, 0));
        world.settle(took, Outcome::Abandoned);
    }
    let _large = world.wait(&Demand {
        priority: Priority::High,
        ..of(&world, 1, 19_000)
    });
    let small = world.wait(&of(&world, 2, 1_000));
    world.pass(millis(9_999));
    assert_eq!(world.grantees(), []);
    assert_eq!(
        world.pools.arm(world.now, &mut world.out),
        begin + seconds(10)
    );
    world.pass(millis(1));
    assert_eq!(world.grantees(), [small]);
}
