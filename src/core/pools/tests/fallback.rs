//! The further pools of a chain: when they are asked, who waits for what, and what a refusal states (C5, C6, C7, D6).

use super::*;

const SECOND: PoolIndex = PoolIndex(1);
const THIRD: PoolIndex = PoolIndex(2);
const SESSION: SessionKey = SessionKey([7; 16]);

/// Three pools of one subscription each, of one provider each.
fn three() -> Layout {
    let mut layout = layout(3);
    for (own, provider) in layout.subscriptions.iter_mut().zip(["one", "two", "three"]) {
        own.provider = Arc::from(provider);
        own.endpoint = Arc::from(provider);
    }
    layout.pools = ["main", "second", "third"]
        .into_iter()
        .enumerate()
        .map(|(at, id)| pool(id, &[at]))
        .collect();
    layout
}

fn world() -> World {
    World::new(three())
}

fn link(pool: PoolIndex, model: &str) -> Link {
    Link {
        pool,
        limit_group: group(model),
        model: Some(Arc::from(model)),
    }
}

fn with(demand: Demand, links: &[Link]) -> Demand {
    Demand {
        links: Some(Arc::from(links)),
        ..demand
    }
}

/// To the second pool, then the third.
fn chained(world: &World) -> Demand {
    with(world.demand(), &[link(SECOND, "m1"), link(THIRD, "m1")])
}

/// The subscriptions of the pools, cooling for so long.
fn cooling(waits: &[(PoolIndex, Duration)]) -> World {
    let mut world = world();
    for &(pool, wait) in waits {
        world.answered_on_pool(pool, limited(Some(wait)));
    }
    world.events.clear();
    world
}

#[track_caller]
fn went(ticket: &Ticket, pool: PoolIndex) {
    assert_eq!(ticket.pool(), pool);
    assert_eq!(ticket.subscription(), sub(pool.0));
    assert_eq!(ticket.via() == Via::OWN, pool == MAIN);
}

// C5, step 1
#[test]
fn its_own_pool_serves_while_it_can_and_nothing_is_told() {
    let mut world = world();
    let demand = chained(&world);
    went(&world.grant(&demand), MAIN);
    assert_eq!(world.changes(), []);
}

// C5, steps 2 and 3: fallback_after is the border, counted from the arrival
#[test]
fn what_frees_within_fallback_after_is_waited_for_and_not_longer() {
    let mut world = cooling(&[(MAIN, seconds(2))]);
    let demand = chained(&world);
    let waiter = world.wait(&demand);
    world.pass(seconds(2) - millis(1));
    assert_eq!(world.grantees(), []);
    world.pass(millis(1));
    went(&world.granted[0].1, MAIN);
    assert_eq!(world.grantees(), [waiter]);

    let mut world = cooling(&[(MAIN, seconds(2) + millis(1))]);
    let demand = chained(&world);
    went(&world.grant(&demand), SECOND);
    let late = Demand {
        arrival: demand.arrival - seconds(1),
        ..demand
    };
    world.pass(seconds(1));
    went(&world.grant(&late), SECOND);
}

// C7: counted, evented
#[test]
fn a_fallback_is_told_with_both_pools() {
    let mut world = cooling(&[(MAIN, seconds(9)), (SECOND, seconds(9))]);
    let demand = chained(&world);
    went(&world.grant(&demand), THIRD);
    let told = Change::FellBack {
        from: Arc::from("main"),
        to: Arc::from("third"),
    };
    assert_eq!(world.changes(), [told]);
}

// C5, step 2: news that puts the pool's instant off lets the waiter go elsewhere at once
#[test]
fn a_waiter_falls_back_when_its_pool_will_not_free_in_time_after_all() {
    let mut layout = three();
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let held = world.take();
    let demand = chained(&world);
    let waiter = world.wait(&demand);
    world.pass(millis(500));
    assert_eq!(world.grantees(), []);
    world.observe(&held, limited(Some(seconds(5))));
    went(&world.granted[0].1, SECOND);
    assert_eq!(world.grantees(), [waiter]);
}

// C5, step 2, SPEC 16.10: the pool will do for those before it, and not for what it needs
#[test]
fn one_who_needs_more_falls_back_while_those_before_it_still_wait_for_their_pool() {
    let mut world = world();
    world.scarce(sub(0), 1_000, 12_000);
    let of = |world: &World, tokens| Demand {
        size: Size {
            estimated: Some(tokens),
            ..Size::default()
        },
        ..chained(world)
    };
    let small = [500, 500].map(|tokens| world.wait(&of(&world, tokens)));
    let large = world.wait(&of(&world, 1_800));
    world.pass(millis(500));
    // What the first took puts the large one beyond its patience.
    went(&world.granted[0].1, MAIN);
    went(&world.granted[1].1, SECOND);
    assert_eq!(world.grantees(), [small[0], large]);
    world.pass(millis(500));
    went(&world.granted[0].1, MAIN);
    assert_eq!(world.grantees(), [small[1]]);
}

// C5, step 2: one of a lower class may have come earlier than those before it
#[test]
fn one_who_came_earlier_falls_back_while_those_before_it_still_wait_for_their_pool() {
    let mut layout = three();
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let held = world.take();
    let first = Demand {
        priority: Priority::High,
        ..chained(&world)
    };
    let earlier = Demand {
        arrival: world.now - millis(900),
        priority: Priority::Low,
        ..chained(&world)
    };
    let first = world.wait(&first);
    let earlier = world.wait(&earlier);
    world.answer(held, limited(Some(millis(1_500))));
    went(&world.granted[0].1, SECOND);
    assert_eq!(world.grantees(), [earlier]);
    world.pass(millis(1_500));
    went(&world.granted[0].1, MAIN);
    assert_eq!(world.grantees(), [first]);
}

// C5, step 2: what ends by an event sets no timer, but fallback_after does
#[test]
fn a_waiter_for_a_full_pool_falls_back_when_its_patience_ends() {
    let mut layout = three();
    layout.subscriptions[0].max_in_flight = Some(1);
    layout.pools[0].fallback_after = millis(700);
    let mut world = World::new(layout);
    let _held = world.take();
    let demand = chained(&world);
    // What ends by an event stands for a second from now: beyond this patience.
    went(&world.grant(&demand), SECOND);

    let mut layout = three();
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let _held = world.take();
    let demand = chained(&world);
    let waiter = world.wait(&demand);
    let wake = world.pools.arm(world.now, &mut world.out);
    assert_eq!(wake, world.now + seconds(2));
    world.pass(seconds(2));
    went(&world.granted[0].1, SECOND);
    assert_eq!(world.grantees(), [waiter]);
}

// C5, step 4: whichever of the chain frees first
#[test]
fn a_waiter_goes_where_the_chain_frees_first() {
    for (waits, expected) in [([9, 4, 6], SECOND), ([9, 6, 4], THIRD), ([4, 6, 9], MAIN)] {
        let all = [MAIN, SECOND, THIRD];
        let waits: Vec<_> = all.into_iter().zip(waits.map(seconds)).collect();
        let mut world = cooling(&waits);
        let demand = chained(&world);
        let waiter = world.wait(&demand);
        world.pass(seconds(4) - millis(1));
        assert_eq!(world.grantees(), []);
        world.pass(millis(1));
        went(&world.granted[0].1, expected);
        assert_eq!(world.grantees(), [waiter]);
    }
}

// C5: the room that an event makes in a further pool goes to whoever waits for the chain, first come first
#[test]
fn waiters_of_two_pools_share_what_frees_in_the_order_of_their_arrival() {
    let mut layout = three();
    layout.subscriptions[1].max_in_flight = Some(1);
    layout.pools[0].fallback_after = Duration::ZERO;
    let mut world = World::new(layout);
    world.answered_on(sub(0), limited(Some(seconds(20))));
    let second = Demand {
        pool: SECOND,
        ..world.demand()
    };
    let held = world.grant(&second);
    let mut waiters = Vec::new();
    for main in [false, true, false, true] {
        world.pass(millis(1));
        let demand = if main {
            with(world.demand(), &[link(SECOND, "m1")])
        } else {
            Demand {
                arrival: world.now,
                ..second.clone()
            }
        };
        waiters.push(world.wait(&demand));
    }
    world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = world.granted.pop() {
        order.push(waiter);
        assert_eq!(ticket.pool(), SECOND);
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, waiters);
}

// C6: a refusal states the chain's, its reason is that of the bar that sets it
#[test]
fn a_refusal_states_the_earliest_of_the_chain() {
    let mut world = cooling(&[
        (MAIN, seconds(90)),
        (SECOND, seconds(50)),
        (THIRD, seconds(70)),
    ]);
    let demand = chained(&world);
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.earliest, Some(world.now + seconds(50)));
    assert_eq!(refused.reason, RefusalReason::PoolLimited);
    let alone = world.refusal_of(&world.demand());
    assert_eq!(alone.earliest, Some(world.now + seconds(90)));
}

// C5: the first pool's max_wait counts, not a further one's
#[test]
fn the_wait_is_that_of_its_own_pool() {
    let mut layout = three();
    layout.pools[0].max_wait = seconds(3);
    layout.pools[1].max_wait = seconds(600);
    let mut world = World::new(layout);
    for (pool, wait) in [(MAIN, 60), (SECOND, 10)] {
        world.answered_on_pool(pool, limited(Some(seconds(wait))));
    }
    let demand = with(world.demand(), &[link(SECOND, "m1")]);
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.earliest, Some(world.now + seconds(10)));
}

// C5: a wish for less patience does not wait for what comes too late for it
#[test]
fn a_request_that_may_not_wait_falls_back_at_once() {
    let mut world = cooling(&[(MAIN, seconds(1))]);
    let demand = Demand {
        max_wait: Some(millis(300)),
        ..chained(&world)
    };
    went(&world.grant(&demand), SECOND);
    let demand = Demand {
        max_wait: Some(Duration::ZERO),
        ..chained(&world)
    };
    went(&world.grant(&demand), SECOND);
}

// C5, C6: a pool where nobody has an instant falls through at once
#[test]
fn a_pool_without_an_instant_is_passed_over() {
    let mut layout = three();
    layout.subscriptions[0].enabled = false;
    let mut world = World::new(layout);
    let demand = chained(&world);
    went(&world.grant(&demand), SECOND);
    world.answered_on_pool(SECOND, Verdict::of(Class::CredentialInvalid));
    went(&world.grant(&demand), THIRD);
    world.answered_on_pool(THIRD, Verdict::of(Class::CredentialInvalid));
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.reason, RefusalReason::PoolUnavailable);
    assert_eq!(refused.earliest, None);
}

// C6, D7: 404 only if the model's own bar is all there is, in the whole chain
#[test]
fn a_model_is_unavailable_only_where_every_pool_says_so() {
    let mut world = world();
    let barred = scoped(Class::CredentialInvalid, Scope::PER_MODEL, None);
    world.answered_on_pool(MAIN, barred);
    world.answered_on_pool(SECOND, barred);
    let demand = with(world.demand(), &[link(SECOND, "m1")]);
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.reason, RefusalReason::ModelUnavailable);
    world.answered_on_pool(THIRD, Verdict::of(Class::CredentialInvalid));
    let demand = chained(&world);
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.reason, RefusalReason::PoolUnavailable);
}

// F10: limits and restrictions are those of the model that is sent there
#[test]
fn a_link_is_judged_by_the_model_that_is_sent_there() {
    let mut layout = three();
    layout.subscriptions[1].models = vec!["big".to_owned()];
    let mut world = World::new(layout);
    world.answered_on(sub(0), limited(Some(seconds(9))));
    let demand = with(world.demand(), &[link(SECOND, "m1"), link(THIRD, "m1")]);
    went(&world.grant(&demand), THIRD);
    let demand = with(world.demand(), &[link(SECOND, "big"), link(THIRD, "m1")]);
    let ticket = world.grant(&demand);
    went(&ticket, SECOND);
    assert_eq!(ticket.group, group("big"));
    let per_model = scoped(Class::RateLimited, Scope::PER_MODEL, Some(seconds(8)));
    world.answer(ticket, per_model);
    went(&world.grant(&demand), THIRD);
}

// C4, C5: pacing without room is a bar like any other, and each link has its own
#[test]
fn a_pool_whose_pacing_has_no_room_falls_back() {
    let mut layout = three();
    for own in &mut layout.subscriptions[..2] {
        own.limits = vec![LimitLayout {
            limit: 2.0,
            ..boundless()
        }];
    }
    let mut world = World::new(layout);
    let demand = chained(&world);
    for pool in [MAIN, MAIN, SECOND, SECOND, THIRD] {
        let ticket = world.grant(&demand);
        went(&ticket, pool);
        world.answer(ticket, Verdict::OK);
    }
}

// S2, must: only the pool that has the owner, and no other
#[test]
fn state_at_an_account_never_falls_back_from_it() {
    let mut world = cooling(&[(MAIN, seconds(50))]);
    let must = |world: &World, owner| Demand {
        affinity: Affinity::Must {
            owner,
            session: None,
        },
        ..chained(world)
    };
    let demand = must(&world, sub(0));
    let refused = world.refusal_of(&demand);
    assert_eq!(refused.earliest, Some(world.now + seconds(50)));
    // What a request that fell back has left there is found there.
    let demand = must(&world, sub(1));
    went(&world.grant(&demand), SECOND);
    let alone = Demand {
        links: None,
        ..demand
    };
    assert_eq!(
        world.refusal_of(&alone).reason,
        RefusalReason::OwnerUnavailable
    );
}

// S2: bound in the pool that served; its own pool's binding stays
#[test]
fn a_session_is_bound_in_the_pool_that_serves_it() {
    let mut layout = three();
    layout.subscriptions.push(subscription("s3"));
    layout.pools[1].members = vec![1, 3];
    let mut world = World::new(layout);
    let session = |world: &World| Demand {
        affinity: Affinity::Should(SESSION),
        ..chained(world)
    };
    let demand = session(&world);
    let ticket = world.grant(&demand);
    went(&ticket, MAIN);
    world.answer(ticket, limited(Some(seconds(60))));
    let ticket = world.grant(&demand);
    let warm = ticket.subscription();
    assert_eq!(ticket.pool(), SECOND);
    world.answer(ticket, Verdict::OK);
    // The other one is the less used; the prompt cache is at this one.
    for _ in 0..3 {
        let ticket = world.grant(&demand);
        assert_eq!((ticket.pool(), ticket.subscription()), (SECOND, warm));
        std::mem::forget(ticket);
    }
    world.pass(seconds(60));
    let demand = session(&world);
    went(&world.grant(&demand), MAIN);
    assert_eq!(world.snapshot().session_moves, 0);
}

// D6: another provider's, at once, not the pool's own and not those that were overloaded
#[test]
fn after_an_overload_only_another_provider_of_the_chain_is_asked() {
    let mut layout = three();
    layout.subscriptions[1].provider = Arc::from("one");
    let mut world = World::new(layout);
    let mut tried = Tried::new();
    tried.overloaded(sub(0));
    let elsewhere = |world: &World| Demand {
        elsewhere: true,
        max_wait: Some(Duration::ZERO),
        ..chained(world)
    };
    let demand = elsewhere(&world);
    went(&world.grant_to(&demand, &tried), THIRD);
    // A retry by (b) heeds no such mark.
    let demand = chained(&world);
    went(&world.grant_to(&demand, &tried), MAIN);
    tried.overloaded(sub(2));
    let demand = elsewhere(&world);
    assert!(matches!(
        world.try_acquire(&demand, &tried),
        Acquisition::Refused(_)
    ));
}

// C8: a retry is charged when it is granted, to the request's own pool
#[test]
fn a_retry_that_falls_back_is_charged_to_its_own_pool() {
    let mut world = cooling(&[(MAIN, seconds(60))]);
    let retry = Demand {
        retry: true,
        ..chained(&world)
    };
    let mut granted = 0;
    while let Acquisition::Granted(ticket) = world.try_acquire(&retry, &Tried::new()) {
        went(&ticket, SECOND);
        std::mem::forget(ticket);
        granted += 1;
    }
    assert_eq!(granted, 3);
    assert!(!world.pools.charge_retry(MAIN, world.now));
    assert!(world.pools.charge_retry(SECOND, world.now));
    assert_eq!(world.changes().len(), granted, "one for each that went");
}

// C8 (c), (d): its own pool has nobody else, a further one has
#[test]
fn a_failed_attempt_goes_on_in_the_next_pool() {
    let mut world = world();
    let demand = Demand {
        max_wait: Some(Duration::ZERO),
        ..chained(&world)
    };
    let mut tried = Tried::new();
    tried.errored(sub(0));
    went(&world.grant_to(&demand, &tried), SECOND);
    let mut tried = Tried::new();
    tried.failed(sub(0));
    went(&world.grant_to(&demand, &tried), SECOND);
}

// O2: a pool that is gone from the configuration is no place to fall back to
#[test]
fn a_removed_pool_is_passed_over() {
    let mut world = cooling(&[(MAIN, seconds(60))]);
    let demand = chained(&world);
    world.layout.pools.remove(1);
    world.reload();
    went(&world.grant(&demand), THIRD);
}
