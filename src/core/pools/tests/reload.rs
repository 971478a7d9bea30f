//! A new configuration over the running state (D7, O2, STYLE Reload).

use super::*;

// D7
#[test]
fn a_reload_keeps_what_is_known_and_makes_rechecks_due() {
    let mut world = World::of(3);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.answered_on(sub(1), limited(Some(seconds(40))));
    world.answered_on(
        sub(2),
        scoped(Class::CredentialInvalid, Scope::PER_MODEL, None),
    );
    world.reload();
    assert_eq!(world.applied.subscriptions, [sub(0), sub(1), sub(2)]);
    assert!(!world.opens(sub(1)));
    assert!(world.take_on(sub(0)).is_probe());
    assert!(world.take_on(sub(2)).is_probe());
}

// D7: a changed credential starts fresh, except for the cooldowns of a named domain
#[test]
fn a_changed_credential_starts_fresh_but_for_its_named_domain() {
    let mut layout = layout(2);
    layout.subscriptions[1].domain = Arc::from("organisation");
    layout.subscriptions[1].domain_named = true;
    let mut world = World::new(layout);
    for index in 0..2 {
        let [one, two] = [world.take_on(sub(index)), world.take_on(sub(index))];
        world.answer(one, Verdict::of(Class::CredentialInvalid));
        world.answer(two, limited(Some(seconds(40))));
    }
    for own in &mut world.layout.subscriptions {
        own.fingerprint = 2;
    }
    world.reload();
    let [fresh, named] = world.applied.subscriptions[..] else {
        panic!()
    };
    assert!(world.opens(fresh));
    let refused = world.refusal_of(&Demand {
        affinity: Affinity::Must {
            owner: named,
            session: None,
        },
        ..world.demand()
    });
    let expected = Some(world.now + seconds(40));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolLimited,
            earliest: expected
        }
    );
    assert_eq!(world.state(named), State::Cooling);
}

// D7: what the old credential is still told is not the new one's
#[test]
fn a_verdict_on_the_old_credential_does_not_bar_the_new_one() {
    let mut world = World::of(2);
    let old = world.take_on(sub(0));
    world.layout.subscriptions[0].fingerprint = 2;
    world.reload();
    world.answer(old, Verdict::of(Class::CredentialInvalid));
    let fresh = world.applied.subscriptions[0];
    assert!(world.opens(fresh));
}

// C1, O2: attempts of the old credential count against the cap until they have ended
#[test]
fn a_cap_holds_over_a_changed_credential() {
    let mut layout = layout(1);
    layout.subscriptions[0].max_in_flight = Some(2);
    let mut world = World::new(layout);
    let old = [world.take(), world.take()];
    world.layout.subscriptions[0].fingerprint = 2;
    world.reload();
    let waiter = world.wait(&world.demand());
    assert_eq!(world.snapshot().subscriptions.len(), 1);
    assert_eq!(world.in_flight(), 2);
    for ticket in old {
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(world.grantees(), [waiter]);
    assert_eq!(world.in_flight(), 0);
}

// O2
#[test]
fn a_removed_subscription_drains_and_its_index_is_not_used_again() {
    let mut world = World::of(2);
    let ticket = world.take_on(sub(1));
    let gone = world.layout.subscriptions.pop().unwrap();
    world.layout.pools[0].members.pop();
    world.reload();
    assert_eq!(world.state(sub(1)), State::Draining);
    for _ in 0..4 {
        assert_eq!(world.take().subscription(), sub(0));
    }
    world.answer(ticket, Verdict::OK);
    assert_eq!(world.snapshot().subscriptions.len(), 1);
    world.layout.subscriptions.push(gone);
    world.layout.pools[0].members.push(1);
    world.reload();
    assert_eq!(world.applied.subscriptions, [sub(0), sub(2)]);
    assert_eq!(world.applied.pools, [MAIN]);
}

// D4: a wait that was stated holds for the same credential, also after it was away
#[test]
fn a_subscription_that_comes_back_with_its_credential_is_still_limited() {
    let mut world = World::of(2);
    world.answered_on(sub(1), limited(Some(seconds(40))));
    let gone = world.layout.subscriptions.pop().unwrap();
    world.reload();
    world.layout.subscriptions.push(gone);
    world.reload();
    let back = world.applied.subscriptions[1];
    assert_ne!(back, sub(1));
    assert!(!world.opens(back));
    world.pass(seconds(40));
    assert!(world.opens(back));
}

// D3, O2: two subscriptions that turn out to share a domain share what is known of it
#[test]
fn on_joining_a_domain_the_later_instant_stays() {
    let mut world = World::of(2);
    world.answered_on(sub(0), limited(Some(seconds(10))));
    world.answered_on(sub(1), limited(Some(seconds(25))));
    for own in &mut world.layout.subscriptions {
        own.domain = Arc::from("organisation");
        own.domain_named = true;
    }
    world.reload();
    world.pass(seconds(10));
    assert!(!world.opens(sub(0)));
    world.pass(seconds(15));
    assert!(world.opens(sub(0)) && world.opens(sub(1)));
}

// C5, O2
#[test]
fn waiters_are_asked_again_after_a_reload() {
    let mut two = layout(1);
    two.pools.push(pool("other", &[0]));
    let mut world = World::new(two);
    world.answered_on(sub(0), limited(Some(seconds(20))));
    let stays = world.wait(&world.demand());
    let goes = world.wait(&Demand {
        pool: PoolIndex(1),
        ..world.demand()
    });
    world.layout.subscriptions.push(subscription("new"));
    world.layout.pools.pop();
    world.layout.pools[0].members.push(1);
    world.reload();
    assert_eq!(world.grantees(), [stays]);
    let unavailable = Refused {
        reason: RefusalReason::PoolUnavailable,
        earliest: None,
    };
    assert_eq!(world.refused, [(goes, unavailable)]);
}

// D11: a pool of one never ejects
#[test]
fn who_is_left_alone_is_let_back_in() {
    let mut world = World::of(2);
    for _ in 0..5 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
    }
    assert_eq!(world.state(sub(0)), State::Ejected);
    world.layout.pools[0].members = vec![0];
    world.reload();
    assert!(world.opens(sub(0)));
}

// STYLE, State: after a panic under the guard
#[test]
fn in_flight_can_be_counted_again_from_the_tickets() {
    let mut world = World::of(2);
    let held = [
        world.take_on(sub(0)),
        world.take_on(sub(0)),
        world.take_on(sub(1)),
    ];
    world.layout.subscriptions[0].fingerprint = 2;
    world.reload();
    let before = world.snapshot();
    for seat in &mut world.pools.seats {
        seat.in_flight = 99;
    }
    world.pools.recount();
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.in_flight(), 3);
    for ticket in held {
        world.answer(ticket, Verdict::OK);
    }
    assert_eq!(world.in_flight(), 0);
}
