//! Bars: whose they are, how long they last, how they end.

use super::*;

// D3
#[test]
fn scope_words_say_which_subscriptions_and_which_models_a_limit_stops() {
    // s0 and s1 share a domain, s2 only the provider, s3 nothing.
    let shared = || {
        let mut layout = layout(4);
        for own in &mut layout.subscriptions[..2] {
            own.domain = Arc::from("shared");
            own.domain_named = true;
        }
        layout.subscriptions[3].provider = Arc::from("other");
        layout
    };
    let limited = Class::RateLimited;
    for (class, scope, stopped, other_model) in [
        (limited, Scope::NONE, [true, true, false, false], true),
        (
            limited,
            Scope::REQUESTS | Scope::PER_ORG,
            [true, true, false, false],
            true,
        ),
        (limited, Scope::PER_MODEL, [true, true, false, false], false),
        (
            limited,
            Scope::PER_CREDENTIAL,
            [true, false, false, false],
            true,
        ),
        (
            limited,
            Scope::PER_CREDENTIAL | Scope::PER_MODEL,
            [true, false, false, false],
            false,
        ),
        (limited, Scope::PER_IP, [true, true, true, false], true),
        (
            Class::QuotaExhausted,
            Scope::SPEND | Scope::MONTH,
            [true, true, false, false],
            true,
        ),
        (
            Class::CredentialInvalid,
            Scope::NONE,
            [true, false, false, false],
            true,
        ),
        (
            Class::CredentialInvalid,
            Scope::PER_MODEL,
            [true, false, false, false],
            false,
        ),
    ] {
        let mut world = World::new(shared());
        world.answered_on(sub(0), scoped(class, scope, Some(seconds(7))));
        let (same, other) = (world.demand(), world.of_model("m2"));
        for (index, stopped) in stopped.into_iter().enumerate() {
            let index = sub(u16::try_from(index).unwrap());
            assert_eq!(
                world.is_open(index, &same),
                !stopped,
                "{class:?} {scope:?} {index:?}"
            );
            assert_eq!(
                world.is_open(index, &other),
                !(stopped && other_model),
                "{scope:?} {index:?}"
            );
        }
    }
}

// D4, D5
#[test]
fn a_stated_wait_is_kept_to_the_microsecond() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(7))));
    world.pass(seconds(7) - Duration::from_micros(1));
    assert!(!world.opens(sub(0)));
    world.pass(Duration::from_micros(1));
    let (one, two) = (world.take(), world.take());
    assert!(!one.is_probe() && !two.is_probe());
}

// D4
#[test]
fn a_stated_wait_is_bounded_at_thirty_five_days_only() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(Some(seconds(40 * 86_400))));
    let refused = world.refusal_of(&world.demand());
    assert_eq!(refused.earliest, Some(world.now + seconds(35 * 86_400)));
}

// D4
#[test]
fn guesses_climb_one_step_an_episode_with_jitter_and_a_success_starts_anew() {
    for (class, rungs) in [
        (
            Class::RateLimited,
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600],
        ),
        (
            Class::QuotaExhausted,
            [
                600, 1_200, 2_400, 3_600, 3_600, 3_600, 3_600, 3_600, 3_600, 3_600, 3_600, 3_600,
            ],
        ),
    ] {
        let mut world = World::of(1);
        for rung in rungs {
            // A stated zero counts as not stated.
            let verdict = Verdict {
                wait: Some(Duration::ZERO),
                ..Verdict::of(class)
            };
            let ticket = world.take();
            world.answer(ticket, verdict);
            let Some(Change::Cooling {
                until,
                stated: false,
                ..
            }) = world.changes().pop()
            else {
                panic!("no guess");
            };
            let guess = until.since(world.now);
            assert!(
                seconds(rung) <= guess && guess < seconds(rung) * 12 / 10,
                "{rung} {guess:?}"
            );
            world.pass(guess);
        }
        let probe = world.take();
        assert!(probe.is_probe());
        world.answer(probe, Verdict::OK);
        world.answered_on(sub(0), Verdict::of(class));
        let Some(Change::Cooling { until, .. }) = world.changes().pop() else {
            panic!()
        };
        assert!(until.since(world.now) < seconds(rungs[0]) * 12 / 10);
    }
}

// D4
#[test]
fn parallel_refusals_are_one_episode_and_one_step() {
    let mut world = World::of(1);
    let straggler = world.take();
    let parallel: Vec<_> = (0..20).map(|_| world.take()).collect();
    for ticket in parallel {
        world.answer(ticket, limited(None));
        world.now = world.now + millis(1);
    }
    assert_eq!(world.changes().len(), 1);
    world.pass(seconds(2));
    world.answered_on(sub(0), Verdict::OK);
    world.changes();
    // A straggler of that episode, long after its cooldown, neither steps nor bars anew.
    world.answer(straggler, limited(None));
    assert_eq!(world.changes(), []);
    assert!(world.opens(sub(0)));
}

// D4
#[test]
fn a_stated_wait_of_an_older_attempt_counts_where_it_is_later() {
    let mut world = World::of(1);
    let [first, older, oldest] = [world.take(), world.take(), world.take()];
    world.answer(first, limited(Some(seconds(10))));
    world.answer(older, limited(Some(seconds(3))));
    assert_eq!(
        world
            .refusal_of(&Demand {
                max_wait: Some(Duration::ZERO),
                ..world.demand()
            })
            .earliest,
        Some(world.now + seconds(10))
    );
    world.answer(oldest, limited(Some(seconds(20))));
    let refused = world.refusal_of(&Demand {
        max_wait: Some(Duration::ZERO),
        ..world.demand()
    });
    assert_eq!(refused.earliest, Some(world.now + seconds(20)));
}

// D4: a success resets only if its attempt began after the cooldown ended
#[test]
fn an_older_success_neither_ends_nor_resets_a_cooldown() {
    let mut world = World::of(1);
    let older = world.take();
    world.answered_on(sub(0), limited(None));
    world.answer(older, Verdict::OK);
    assert!(!world.opens(sub(0)));
    world.pass(seconds(2));
    let older = world.take();
    world.answer(older, limited(None));
    let Some(Change::Cooling { until, .. }) = world.changes().pop() else {
        panic!()
    };
    assert!(until.since(world.now) >= seconds(2), "the second step");
}

// D5
#[test]
fn only_a_guess_or_a_long_cooldown_ends_with_a_probe() {
    for (wait, probes) in [
        (None, true),
        (Some(seconds(59)), false),
        (Some(seconds(60)), true),
        (Some(seconds(3_600)), true),
    ] {
        let mut world = World::of(1);
        world.answered_on(sub(0), limited(wait));
        world.pass(wait.unwrap_or(seconds(2)));
        let first = world.take();
        assert_eq!(first.is_probe(), probes, "{wait:?}");
        assert_eq!(world.opens(sub(0)), !probes, "{wait:?}");
        assert_eq!(world.state(sub(0)) == State::Probing, probes);
    }
}

// D5
#[test]
fn a_probe_passes_by_an_answer_or_by_five_seconds() {
    for (verdict, passes) in [
        (Verdict::OK, true),
        (Verdict::of(Class::ClientError), true),
        (Verdict::of(Class::Overloaded), false),
        (Verdict::of(Class::UpstreamError), false),
    ] {
        let mut world = World::of(1);
        world.answered_on(sub(0), limited(None));
        world.pass(seconds(2));
        world.changes();
        let probe = world.take();
        assert!(probe.is_probe());
        world.observe(&probe, verdict);
        let next = world.take();
        assert_eq!(next.is_probe(), !passes, "{verdict:?}");
        assert_eq!(world.changes().len(), usize::from(passes));
    }
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(None));
    world.pass(seconds(2));
    let probe = world.take();
    world.pass(seconds(5) - Duration::from_micros(1));
    assert!(!world.opens(sub(0)));
    world.pass(Duration::from_micros(1));
    assert!(!world.take().is_probe());
    // What it says after all is a new episode, one step longer.
    world.changes();
    world.answer(probe, limited(None));
    let Some(Change::Cooling { until, .. }) = world.changes().pop() else {
        panic!()
    };
    assert!(until.since(world.now) >= seconds(2));
}

// D5
#[test]
fn a_probe_that_ends_without_a_verdict_is_free_for_the_next() {
    for outcome in [
        Outcome::Abandoned,
        Outcome::Unsent,
        Outcome::Silence { sent: false },
        Outcome::Silence { sent: true },
    ] {
        let mut world = World::of(1);
        world.answered_on(sub(0), limited(None));
        world.pass(seconds(2));
        let probe = world.take();
        world.settle(probe, outcome);
        assert!(world.take().is_probe());
    }
}

// D5: a bar set anew in the meantime takes the probe away
#[test]
fn a_bar_set_anew_takes_the_probe_away() {
    let mut world = World::of(1);
    let older = world.take();
    world.answered_on(sub(0), limited(None));
    world.pass(seconds(2));
    let probe = world.take();
    world.answer(older, limited(Some(seconds(90))));
    world.answer(probe, Verdict::OK);
    assert!(!world.opens(sub(0)));
    world.pass(seconds(90));
    assert!(world.take().is_probe());
}

// D5: one request may be the probe of several bars at once, each ended by its own verdict
#[test]
fn one_request_probes_several_bars() {
    let mut world = World::of(2);
    let [one, two] = [world.take_on(sub(0)), world.take_on(sub(0))];
    world.answer(one, limited(None));
    world.answer(two, scoped(Class::RateLimited, Scope::PER_MODEL, None));
    world.pass(seconds(2));
    let probe = world.take_on(sub(0));
    assert!(probe.is_probe());
    world.answer(probe, scoped(Class::RateLimited, Scope::PER_MODEL, None));
    // The bar of the model stands anew; the bar for all awaits its probe still.
    assert!(!world.opens(sub(0)));
    let other = world.grant(&Demand {
        affinity: Affinity::Must {
            owner: sub(0),
            session: None,
        },
        ..world.of_model("m2")
    });
    assert!(other.is_probe());
}

// D6
#[test]
fn overload_bars_nothing() {
    let mut world = World::of(1);
    for _ in 0..20 {
        world.answered_on(
            sub(0),
            Verdict {
                wait: Some(seconds(9)),
                ..Verdict::of(Class::Overloaded)
            },
        );
    }
    assert_eq!(world.changes(), []);
    assert_eq!(world.state(sub(0)), State::Ready);
}

// D7
#[test]
fn a_refused_credential_is_tried_again_by_one_request_after_15_min_doubling_to_6_h() {
    let mut world = World::of(2);
    for minutes in [15, 30, 60, 120, 240, 360, 360] {
        world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
        let recheck = world.now + seconds(minutes * 60);
        assert_eq!(
            world.changes(),
            [Change::Quarantined {
                limit_group: None,
                recheck
            }]
        );
        assert_eq!(world.state(sub(0)), State::Quarantined);
        world.pass(seconds(minutes * 60) - millis(1));
        for _ in 0..4 {
            assert_eq!(world.take().subscription(), sub(1));
        }
        world.pass(millis(1));
    }
    let probe = world.take_on(sub(0));
    assert!(probe.is_probe());
    assert!(!world.opens(sub(0)));
    world.answer(probe, Verdict::OK);
    assert!(world.opens(sub(0)));
    world.changes();
    world.answered_on(sub(0), Verdict::of(Class::CredentialInvalid));
    let recheck = world.now + seconds(900);
    assert_eq!(
        world.changes(),
        [Change::Quarantined {
            limit_group: None,
            recheck
        }]
    );
}

// D7, C6
#[test]
fn a_credential_refused_for_one_model_is_barred_for_that_model_for_an_hour() {
    let mut world = World::of(2);
    let refused = scoped(Class::CredentialInvalid, Scope::PER_MODEL, None);
    world.answered_on(sub(0), refused);
    assert_ne!(world.state(sub(0)), State::Quarantined);
    assert_eq!(world.take().subscription(), sub(1));
    world.answered_on(sub(1), refused);
    let none = world.refusal_of(&world.demand());
    assert_eq!(
        none,
        Refused {
            reason: RefusalReason::ModelUnavailable,
            earliest: None
        }
    );
    let other = world.of_model("m2");
    assert!(world.is_open(sub(0), &other) && world.is_open(sub(1), &other));
    world.pass(seconds(3_600));
    assert!(world.take().is_probe());
}

// C4, C8 (d), D11: nobody failed, and nothing was spent
#[test]
fn what_was_never_begun_gives_back_what_it_had_reserved_and_counts_against_nobody() {
    let mut layout = layout(2);
    layout.subscriptions[0].limits = vec![LimitLayout {
        limit: 5.0,
        ..boundless()
    }];
    let mut world = World::new(layout);
    for _ in 0..20 {
        let ticket = world.take_on(sub(0));
        world.settle(ticket, Outcome::Unsent);
    }
    // Asking so spends one each time.
    let left = (0..20).filter(|_| world.opens(sub(0))).count();
    assert!((3..=5).contains(&left), "{left}");
}

// D11
#[test]
fn five_failures_within_ten_seconds_eject_and_a_passed_probe_sets_the_step_back() {
    let mut world = World::of(2);
    let fail = |world: &mut World, times: usize| {
        for _ in 0..times {
            let ticket = world.take_on(sub(0));
            world.settle(ticket, Outcome::Silence { sent: false });
        }
    };
    fail(&mut world, 4);
    world.answered_on(sub(0), limited(Some(millis(1))));
    world.pass(millis(1));
    fail(&mut world, 4);
    world.changes();
    assert!(world.opens(sub(0)), "an answer starts the count anew");
    // Overload neither counts nor starts it anew.
    world.answered_on(sub(0), Verdict::of(Class::Overloaded));
    fail(&mut world, 1);
    for step in [1, 2, 4, 8, 16, 32, 60, 60] {
        let until = world.now + seconds(step);
        assert_eq!(world.changes(), [Change::Ejected { until }]);
        assert_eq!(world.state(sub(0)), State::Ejected);
        world.pass(seconds(step) - millis(1));
        assert!(!world.opens(sub(0)));
        world.pass(millis(1));
        let probe = world.take_on(sub(0));
        assert!(probe.is_probe());
        world.answer(probe, Verdict::of(Class::UpstreamError));
    }
    world.changes();
    world.pass(seconds(60));
    world.answered_on(sub(0), Verdict::OK);
    assert_eq!(world.changes(), [Change::Recovered { limit_group: None }]);
    fail(&mut world, 5);
    let until = world.now + seconds(1);
    assert_eq!(world.changes(), [Change::Ejected { until }]);
}

// D11
#[test]
fn failures_further_apart_do_not_eject() {
    let mut world = World::of(2);
    for _ in 0..20 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
        world.pass(millis(2_501));
    }
    assert_eq!(world.changes(), []);
}

// D5, D11: 30 s without a head refuse the probe of an ejection, without a timer
#[test]
fn an_ejections_probe_without_a_head_is_refused_after_thirty_seconds() {
    let mut world = World::of(2);
    for _ in 0..5 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
    }
    world.pass(seconds(1));
    let probe = world.take_on(sub(0));
    world.pass(seconds(29));
    assert!(!world.opens(sub(0)));
    world.pass(seconds(1));
    assert!(!world.opens(sub(0)));
    world.pass(seconds(2) - millis(1));
    assert!(!world.opens(sub(0)));
    world.answer(probe, Verdict::OK);
    assert!(!world.opens(sub(0)), "it is the probe no more");
    world.pass(millis(1));
    assert!(world.take_on(sub(0)).is_probe());
}

// D11
#[test]
fn at_most_half_of_a_pool_is_ejected_and_never_its_last_eligible_member() {
    for (members, expected) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let mut world = World::of(members);
        for _ in 0..6 {
            for index in 0..members {
                let index = sub(u16::try_from(index).unwrap());
                if world.opens(index) {
                    world.answered_on(index, Verdict::of(Class::UpstreamError));
                }
            }
        }
        let snapshot = world.snapshot();
        let ejected = snapshot
            .subscriptions
            .iter()
            .filter(|view| view.state == State::Ejected);
        assert_eq!(ejected.count(), expected, "of {members}");
    }
    // The other member is limited: nobody could stand in.
    let mut world = World::of(2);
    world.answered_on(sub(1), limited(Some(seconds(30))));
    for _ in 0..6 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
    }
    assert!(world.opens(sub(0)));
    // Of two pools, the one where it is alone keeps it in.
    let mut two = layout(2);
    two.pools.push(pool("alone", &[0]));
    let mut world = World::new(two);
    for _ in 0..6 {
        world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
    }
    assert!(world.opens(sub(0)));
}

// HARDENING 22: a verdict observed acts at once, and the same one at the end counts nothing more
#[test]
fn a_verdict_acts_when_it_is_observed_and_counts_once() {
    let mut world = World::of(2);
    let ticket = world.take_on(sub(0));
    world.observe(&ticket, limited(None));
    assert!(!world.opens(sub(0)));
    assert_eq!(world.changes().len(), 1);
    world.pass(seconds(2));
    world.answer(ticket, limited(None));
    assert_eq!(world.changes(), []);
    for _ in 0..4 {
        let ticket = world.take_on(sub(1));
        world.observe(&ticket, Verdict::of(Class::UpstreamError));
        world.answer(ticket, Verdict::of(Class::UpstreamError));
    }
    let ticket = world.take_on(sub(1));
    world.settle(ticket, Outcome::Abandoned);
    assert_eq!(world.changes(), [], "four failures, not eight");
}

// STYLE, Types: of many limit groups the bar that ends first makes room
#[test]
fn bars_of_limit_groups_are_bounded() {
    let mut world = World::of(1);
    for model in 0..200 {
        let demand = world.of_model(&format!("m{model}"));
        let ticket = world.grant(&demand);
        let wait = seconds(1_000 + model);
        world.answer(
            ticket,
            scoped(Class::RateLimited, Scope::PER_MODEL, Some(wait)),
        );
    }
    assert_eq!(world.snapshot().cooldowns.len(), 64);
    let (first, last) = (world.of_model("m0"), world.of_model("m199"));
    assert!(world.is_open(sub(0), &first));
    assert!(!world.is_open(sub(0), &last));
}

// D5, D11: a client that leaves later changes nothing about the thirty seconds
#[test]
fn an_ejections_probe_that_is_abandoned_too_late_was_refused() {
    for (after, free) in [(seconds(29), true), (seconds(31), false)] {
        let mut world = World::of(2);
        for _ in 0..5 {
            world.answered_on(sub(0), Verdict::of(Class::UpstreamError));
        }
        world.pass(seconds(1));
        let probe = world.take_on(sub(0));
        world.pass(after);
        world.settle(probe, Outcome::Abandoned);
        assert_eq!(world.opens(sub(0)), free, "{after:?}");
    }
}

// C8: no attempt starts on a subscription after a verdict against it was observed
#[test]
fn a_grant_is_overtaken_by_a_verdict_against_its_subscription() {
    let mut world = World::of(2);
    let [one, two, other] = [
        world.take_on(sub(0)),
        world.take_on(sub(0)),
        world.take_on(sub(1)),
    ];
    assert!(!world.pools.is_overtaken(&two, world.now));
    world.answer(one, limited(Some(seconds(3))));
    assert!(world.pools.is_overtaken(&two, world.now));
    assert!(!world.pools.is_overtaken(&other, world.now));
    world.pass(seconds(3));
    assert!(!world.pools.is_overtaken(&two, world.now));
}

// D4: what the provider said is never shortened, by a newer guess neither
#[test]
fn a_newer_guess_does_not_shorten_a_stated_wait() {
    let mut world = World::of(1);
    let straggler = world.take();
    world.answered_on(sub(0), limited(Some(seconds(3))));
    world.pass(seconds(3));
    let newer = world.take();
    world.answer(straggler, limited(Some(seconds(50))));
    world.answer(newer, limited(None));
    world.pass(seconds(49));
    assert!(!world.opens(sub(0)));
    world.pass(seconds(1));
    assert!(world.take().is_probe());
}
