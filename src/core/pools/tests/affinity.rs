//! Sessions that stay where their prompt cache is, and state that lies at one account (S1, S2).

use super::*;

const SESSION: SessionKey = SessionKey([7; 16]);

fn should(world: &World) -> Demand {
    Demand {
        affinity: Affinity::Should(SESSION),
        ..world.demand()
    }
}

/// A world where the session is bound to s0.
fn bound(subscriptions: usize) -> World {
    let mut world = World::of(subscriptions);
    let demand = should(&world);
    let ticket = world.grant(&demand);
    assert_eq!(ticket.subscription(), sub(0));
    world.answer(ticket, Verdict::OK);
    world
}

// S2, should
#[test]
fn a_session_stays_with_its_subscription_whatever_is_in_flight() {
    let mut world = bound(3);
    let demand = should(&world);
    let taken: Vec<_> = (0..8).map(|_| world.grant(&demand)).collect();
    assert!(taken.iter().all(|ticket| ticket.subscription() == sub(0)));
    assert_eq!(world.snapshot().subscriptions[0].sessions, 1);
}

// S2, should: frees within stick_wait of the arrival: wait, the binding stays
#[test]
fn a_session_waits_for_its_subscription_if_that_frees_in_time() {
    let mut world = bound(2);
    world.answered_on(sub(0), limited(Some(seconds(2))));
    let demand = should(&world);
    assert!(matches!(
        world.try_acquire(&demand, &Tried::new()),
        Acquisition::MustWait
    ));
    let waiter = world.wait(&demand);
    world.pass(seconds(2) - millis(1));
    assert_eq!(world.grantees(), []);
    world.pass(millis(1));
    assert_eq!(world.granted[0].1.subscription(), sub(0));
    assert_eq!(world.grantees(), [waiter]);
}

// S2, should: else the request moves and the binding with it
#[test]
fn a_session_moves_where_its_subscription_does_not_free_in_time() {
    let mut world = bound(2);
    world.answered_on(sub(0), limited(Some(seconds(2) + millis(1))));
    let demand = should(&world);
    assert_eq!(world.grant(&demand).subscription(), sub(1));
    world.pass(seconds(9));
    let demand = should(&world);
    assert_eq!(
        world.grant(&demand).subscription(),
        sub(1),
        "the binding has moved"
    );
    let snapshot = world.snapshot();
    assert_eq!(snapshot.session_moves, 1);
    let sessions: Vec<_> = snapshot
        .subscriptions
        .iter()
        .map(|view| view.sessions)
        .collect();
    assert_eq!(sessions, [0, 1]);
}

// S2, should: no time to wait
#[test]
fn an_impatient_session_moves_at_once() {
    let mut world = bound(2);
    world.answered_on(sub(0), limited(Some(seconds(1))));
    let demand = Demand {
        max_wait: Some(Duration::ZERO),
        ..should(&world)
    };
    assert_eq!(world.grant(&demand).subscription(), sub(1));
}

// S2, C5: what ends by an event is waited for until stick_wait, and then the session moves
#[test]
fn a_session_that_waited_for_a_slot_in_vain_moves_at_the_end_of_stick_wait() {
    let mut layout = layout(2);
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let demand = should(&world);
    let held = world.grant(&demand);
    assert_eq!(held.subscription(), sub(0));
    let waiter = world.wait(&should(&world));
    assert_eq!(
        world.pools.arm(world.now, &mut world.out),
        world.now + seconds(2)
    );
    world.pass(seconds(2) - millis(1));
    assert_eq!(world.grantees(), []);
    world.pass(millis(1));
    assert_eq!(world.granted[0].1.subscription(), sub(1));
    assert_eq!(world.grantees(), [waiter]);
}

// S2, should: bad news while it waits
#[test]
fn a_waiting_session_moves_when_its_subscription_will_be_longer() {
    let mut world = bound(2);
    let [one, two] = [world.take_on(sub(0)), world.take_on(sub(0))];
    world.answer(one, limited(Some(seconds(1))));
    let waiter = world.wait(&should(&world));
    let impatient = world.wait(&Demand {
        max_wait: Some(seconds(1)),
        ..should(&world)
    });
    world.answer(two, limited(Some(seconds(60))));
    assert!(
        world
            .granted
            .iter()
            .all(|(_, ticket)| ticket.subscription() == sub(1))
    );
    assert_eq!(world.grantees(), [waiter, impatient]);
}

// S2, should: its own subscription first when all come back
#[test]
fn after_a_long_wait_a_session_goes_back_to_its_own() {
    let mut world = bound(4);
    for index in 0..4 {
        world.answered_on(sub(index), limited(Some(seconds(9))));
    }
    let waiters: Vec<_> = (0..3).map(|_| world.wait(&should(&world))).collect();
    world.pass(seconds(9));
    assert!(
        world
            .granted
            .iter()
            .all(|(_, ticket)| ticket.subscription() == sub(0))
    );
    assert_eq!(world.grantees(), waiters);
}

// S2
#[test]
fn a_quarantined_or_disabled_binding_moves() {
    let mut world = bound(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    let demand = should(&world);
    assert_eq!(world.grant(&demand).subscription(), sub(1));
    world.layout.subscriptions[1].enabled = false;
    world.layout.subscriptions[0].fingerprint = 2;
    world.reload();
    let demand = should(&world);
    assert_eq!(
        world.grant(&demand).subscription(),
        world.applied.subscriptions[0]
    );
}

fn must(world: &World, owner: SubscriptionIndex) -> Demand {
    Demand {
        affinity: Affinity::Must {
            owner,
            session: Some(SESSION),
        },
        ..world.demand()
    }
}

// S2, must
#[test]
fn state_at_one_account_waits_for_that_account_alone() {
    let mut world = World::of(2);
    world.answered_on(sub(1), limited(Some(seconds(9))));
    let demand = must(&world, sub(1));
    let waiter = world.wait(&demand);
    world.pass(seconds(9));
    assert_eq!(world.granted[0].1.subscription(), sub(1));
    assert_eq!(world.grantees(), [waiter]);
    // The session found beside it is then bound to the owner (S1).
    let demand = should(&world);
    assert_eq!(world.grant(&demand).subscription(), sub(1));
    world.answered_on(sub(1), limited(Some(seconds(40))));
    let refused = world.refusal_of(&must(&world, sub(1)));
    let expected = Some(world.now + seconds(40));
    assert_eq!(
        refused,
        Refused {
            reason: RefusalReason::PoolLimited,
            earliest: expected
        }
    );
}

// S2, must
#[test]
fn an_owner_that_is_gone_is_unavailable_and_never_replaced() {
    let unavailable = Refused {
        reason: RefusalReason::OwnerUnavailable,
        earliest: None,
    };
    let mut world = World::of(3);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    assert_eq!(world.refusal_of(&must(&world, sub(0))), unavailable);
    world.layout.subscriptions[1].enabled = false;
    world.layout.subscriptions.pop();
    world.reload();
    assert_eq!(world.refusal_of(&must(&world, sub(1))), unavailable);
    assert_eq!(world.refusal_of(&must(&world, sub(2))), unavailable);
    assert_eq!(world.refusal_of(&must(&world, sub(999))), unavailable);
}

// S2, D7: the re-check of a quarantined owner is due
#[test]
fn a_quarantined_owner_is_tried_when_its_recheck_is_due() {
    let mut world = World::of(2);
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    world.pass(seconds(900));
    assert!(world.grant(&must(&world, sub(0))).is_probe());
}

// S3
#[test]
fn handles_are_their_owners_and_follow_a_changed_credential() {
    let mut world = World::of(2);
    let handle = SessionKey([9; 16]);
    world.pools.remember_handle(handle, 5, sub(0), MAIN);
    assert_eq!(
        world.pools.handle_owner(&handle, 5),
        HandleOwner::Known(sub(0))
    );
    assert_eq!(world.pools.handle_owner(&handle, 6), HandleOwner::NotYours);
    assert_eq!(world.snapshot().pools[0].handles, 1);
    world.layout.subscriptions[0].fingerprint = 2;
    world.reload();
    let owner = world.applied.subscriptions[0];
    assert_ne!(owner, sub(0));
    assert_eq!(
        world.pools.handle_owner(&handle, 5),
        HandleOwner::Known(owner)
    );
    assert_eq!(world.grant(&must(&world, sub(0))).subscription(), owner);
}

// S2, C5: when another request of the session moves it, those who wait go where it went
#[test]
fn waiters_follow_their_session() {
    for changed_credential in [false, true] {
        let mut layout = layout(2);
        layout.subscriptions[0].max_in_flight = Some(1);
        let mut world = World::new(layout);
        let demand = should(&world);
        let _held = world.grant(&demand);
        if changed_credential {
            world.layout.subscriptions[0].fingerprint = 2;
            world.reload();
        }
        let waiters: Vec<_> = (0..2).map(|_| world.wait(&should(&world))).collect();
        let impatient = Demand {
            max_wait: Some(Duration::ZERO),
            ..should(&world)
        };
        let moved = world.grant(&impatient);
        assert_eq!(moved.subscription(), sub(1));
        assert_eq!(world.grantees(), waiters);
        assert_eq!(world.snapshot().session_moves, 1);
    }
}

// S2: who has less time than stick_wait moves when it ends, also behind others of its session
#[test]
fn an_almost_impatient_session_moves_at_its_deadline() {
    let mut layout = layout(2);
    layout.subscriptions[0].max_in_flight = Some(1);
    let mut world = World::new(layout);
    let demand = should(&world);
    let _held = world.grant(&demand);
    let patient = world.wait(&should(&world));
    let hasty = world.wait(&Demand {
        max_wait: Some(seconds(1)),
        ..should(&world)
    });
    world.pass(seconds(1));
    assert_eq!(world.pools.expire(hasty, world.now, &mut world.out), None);
    world.carry_out();
    assert_eq!(world.granted[0].1.subscription(), sub(1));
    assert_eq!(world.grantees()[0], hasty);
    let _ = patient;
}
