//! Who is taken, who is not tried twice, and what a refusal says.

use super::*;

// C1
#[test]
fn disabled_subscriptions_and_models_not_allowed_serve_nothing() {
    let mut layout = layout(3);
    layout.subscriptions[0].enabled = false;
    layout.subscriptions[1].models = vec!["other-*".to_owned()];
    let mut world = World::new(layout);
    assert_eq!(world.state(sub(0)), State::Disabled);
    for _ in 0..6 {
        assert_eq!(world.take().subscription(), sub(2));
    }
    assert_eq!(
        world.grant(&world.of_model("other-x")).subscription(),
        sub(1)
    );
}

// C1: a cap is never exceeded by one
#[test]
fn an_in_flight_cap_is_kept() {
    let mut layout = layout(2);
    for own in &mut layout.subscriptions {
        own.max_in_flight = Some(3);
    }
    let mut world = World::new(layout);
    let mut taken: Vec<_> = (0..6).map(|_| world.take()).collect();
    assert!(matches!(
        world.try_acquire(&world.demand(), &Tried::new()),
        Acquisition::MustWait
    ));
    let freed = taken.pop().unwrap();
    let on = freed.subscription();
    world.settle(freed, Outcome::Abandoned);
    assert_eq!(world.take().subscription(), on);
}

// C2
#[test]
fn the_lowest_tier_serves_then_the_least_in_flight_then_the_longest_unused() {
    let mut layout = layout(4);
    layout.subscriptions[0].priority = 5;
    layout.subscriptions[1].priority = -1;
    layout.subscriptions[2].priority = -1;
    layout.subscriptions[1].max_in_flight = Some(2);
    layout.subscriptions[2].max_in_flight = Some(2);
    layout.subscriptions[3].priority = 5;
    let mut world = World::new(layout);
    let taken: Vec<_> = (0..6).map(|_| world.take()).collect();
    let order: Vec<_> = taken.iter().map(|ticket| ticket.subscription().0).collect();
    assert_eq!(order, [1, 2, 1, 2, 0, 3]);
    for ticket in taken {
        world.answer(ticket, Verdict::OK);
    }
    let order: Vec<_> = (0..4)
        .map(|_| {
            let ticket = world.take();
            let on = ticket.subscription().0;
            world.answer(ticket, Verdict::OK);
            on
        })
        .collect();
    assert_eq!(order, [1, 2, 1, 2]);
}

// C8 (a), HARDENING 22
#[test]
fn one_good_subscription_of_ten_serves_everybody() {
    let mut world = World::of(10);
    for _ in 0..200 {
        let demand = world.demand();
        let mut tried = Tried::new();
        loop {
            let ticket = world.grant_to(&demand, &tried);
            let on = ticket.subscription();
            assert!(!tried.has_refused(on));
            if on == sub(7) {
                world.answer(ticket, Verdict::OK);
                break;
            }
            tried.refused(on);
            world.answer(ticket, limited(Some(millis(20))));
        }
        world.pass(millis(7));
    }
}

// C8 (a): until the request has waited, neither the subscription nor its domain is tried again
#[test]
fn who_refused_is_not_tried_again_before_the_request_has_waited() {
    let mut shared = layout(3);
    for own in &mut shared.subscriptions[..2] {
        own.domain = Arc::from("shared");
        own.domain_named = true;
    }
    let mut world = World::new(shared);
    let demand = world.demand();
    let ticket = world.take_on(sub(0));
    world.answer(ticket, limited(Some(millis(20))));
    let mut tried = Tried::new();
    tried.refused(sub(0));
    world.pass(millis(30));
    let ticket = world.grant_to(&demand, &tried);
    assert_eq!(ticket.subscription(), sub(2));
    world.answer(ticket, limited(Some(seconds(60))));
    tried.refused(sub(2));
    assert!(matches!(
        world.try_acquire(&demand, &tried),
        Acquisition::MustWait
    ));
    let waiter = world.wait_with(&demand, &tried);
    world.pass(Duration::ZERO);
    assert_eq!(world.grantees(), [waiter]);
}

// C8 (a): a credential's refusal says nothing about its domain
#[test]
fn a_bad_credential_leaves_the_others_of_its_domain() {
    let mut shared = layout(2);
    for own in &mut shared.subscriptions {
        own.domain = Arc::from("shared");
        own.domain_named = true;
    }
    let mut world = World::new(shared);
    let demand = world.demand();
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    let mut tried = Tried::new();
    tried.refused(sub(0));
    assert_eq!(world.grant_to(&demand, &tried).subscription(), sub(1));
}

// C8 (c)
#[test]
fn after_an_upstream_error_another_subscription_or_nobody() {
    let mut world = World::of(2);
    let mut tried = Tried::new();
    tried.errored(sub(0));
    let demand = Demand {
        max_wait: Some(Duration::ZERO),
        ..world.demand()
    };
    for _ in 0..3 {
        assert_eq!(world.grant_to(&demand, &tried).subscription(), sub(1));
    }
    tried.errored(sub(1));
    let refused = world.try_acquire(&demand, &tried);
    assert!(matches!(refused, Acquisition::Refused(_)), "{refused:?}");
    // A later refusal elsewhere: the next eligible one, even if it erred before.
    let mut tried = Tried::new();
    tried.errored(sub(0));
    tried.refused(sub(1));
    assert_eq!(world.grant_to(&demand, &tried).subscription(), sub(0));
}

// C8 (d)
#[test]
fn an_unreachable_endpoint_is_out_until_it_is_forgiven_once() {
    let mut layout = layout(3);
    layout.subscriptions[2].endpoint = Arc::from("https://elsewhere");
    let mut world = World::new(layout);
    let demand = world.demand();
    let mut tried = Tried::new();
    tried.failed(sub(0));
    for _ in 0..4 {
        assert_eq!(world.grant_to(&demand, &tried).subscription(), sub(2));
    }
    tried.failed(sub(2));
    assert!(matches!(
        world.try_acquire(&demand, &tried),
        Acquisition::Refused(Refused {
            reason: RefusalReason::PoolUnavailable,
            earliest: None
        })
    ));
    assert!(tried.once_more());
    let again = world.grant_to(&demand, &tried);
    tried.failed(again.subscription());
    assert!(!tried.once_more());
}

// C6
#[test]
fn a_refusal_states_the_pools_earliest_instant_and_the_code_of_that_bar() {
    let mut world = World::of(2);
    let impatient = |world: &World| Demand {
        max_wait: Some(Duration::ZERO),
        ..world.demand()
    };
    world.answered_on(sub(0), limited(Some(seconds(50))));
    world.answered_on(sub(1), limited(Some(seconds(40))));
    let refused = world.refusal_of(&impatient(&world));
    let expected = Some(world.now + seconds(40));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolLimited,
            earliest: expected
        }
    );
    // The latest of all that bars one, the least of all subscriptions.
    let mut world = World::of(2);
    let [one, two] = [world.take_on(sub(0)), world.take_on(sub(0))];
    world.answer(one, limited(Some(seconds(50))));
    world.answer(
        two,
        scoped(Class::QuotaExhausted, Scope::PER_MODEL, Some(seconds(90))),
    );
    world.answered_on(sub(1), limited(Some(seconds(70))));
    let refused = world.refusal_of(&impatient(&world));
    assert_eq!(refused.earliest, Some(world.now + seconds(70)));
}

// C6
#[test]
fn what_ends_by_an_event_stands_for_a_second() {
    let mut layout = layout(1);
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let _held = world.take();
    let impatient = Demand {
        max_wait: Some(millis(999)),
        ..world.demand()
    };
    let refused = world.refusal_of(&impatient);
    let expected = Some(world.now + seconds(1));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolLimited,
            earliest: expected
        }
    );
    let patient = Demand {
        max_wait: Some(seconds(1)),
        ..impatient
    };
    assert!(matches!(
        world.try_acquire(&patient, &Tried::new()),
        Acquisition::MustWait
    ));
}

// C6
#[test]
fn nobody_left_has_no_instant() {
    let unavailable = Refused {
        reason: RefusalReason::PoolUnavailable,
        earliest: None,
    };
    let mut world = World::of(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.answered_on(sub(1), Verdict::of(Class::CredentialInvalid));
    assert_eq!(world.refusal_of(&world.demand()), unavailable);
    // One for the model alone, one altogether: not the model's fault only.
    let mut world = World::of(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.answered_on(
        sub(1),
        scoped(Class::CredentialInvalid, Scope::PER_MODEL, None),
    );
    assert_eq!(world.refusal_of(&world.demand()), unavailable);
    // A quarantined one is left out; the limited one's instant is the pool's.
    let mut world = World::of(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.answered_on(sub(1), limited(Some(seconds(40))));
    let refused = world.refusal_of(&world.demand());
    let expected = Some(world.now + seconds(40));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolLimited,
            earliest: expected
        }
    );
    // A pool that does not exist.
    let nowhere = Demand {
        pool: PoolIndex(9),
        ..world.demand()
    };
    assert_eq!(world.refusal_of(&nowhere), unavailable);
}

// C6, D11
#[test]
fn an_ejection_that_sets_the_instant_is_no_limit() {
    let mut world = World::of(2);
    for _ in 0..5 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
    }
    world.answered_on(sub(1), limited(Some(seconds(40))));
    let impatient = Demand {
        max_wait: Some(Duration::ZERO),
        ..world.demand()
    };
    let refused = world.refusal_of(&impatient);
    let expected = Some(world.now + seconds(1));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolUnavailable,
            earliest: expected
        }
    );
}

// C8
#[test]
fn every_pool_has_a_retry_budget_of_its_own() {
    let mut two = layout(1);
    two.pools.push(pool("other", &[0]));
    let mut world = World::new(two);
    for _ in 0..50 {
        world.pools.arrived(MAIN, world.now);
    }
    let spent = |world: &mut World, pool| {
        (0..100)
            .filter(|_| world.pools.charge_retry(pool, world.now))
            .count()
    };
    assert_eq!(spent(&mut world, MAIN), 13);
    assert_eq!(spent(&mut world, PoolIndex(1)), 3);
    assert_eq!(spent(&mut world, PoolIndex(7)), 0);
}
