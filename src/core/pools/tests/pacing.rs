//! Pacing as the pools use it (C1, C4, D3, D8): who waits for room, what is handed back, who shares what.

use super::*;
use crate::core::limit::pacing::Room;
use crate::core::limit::reading::{Counting, Reading, Refill};

fn limit(dimension: Dimension, limit: f64) -> LimitLayout {
    LimitLayout {
        dimension,
        limit,
        period: seconds(60),
        models: Vec::new(),
    }
}

/// So many of whom nothing is configured.
fn strangers(subscriptions: usize) -> Layout {
    let mut layout = layout(subscriptions);
    for own in &mut layout.subscriptions {
        own.limits.clear();
    }
    layout
}

fn limited_to(limits: Vec<LimitLayout>) -> World {
    let mut layout = layout(1);
    layout.subscriptions[0].limits = limits;
    World::new(layout)
}

/// What an answer states of requests.
fn told(limit: f64, remaining: f64) -> Readings {
    let mut readings = Readings::NONE;
    readings.dimensions[Dimension::Requests.at()] = Some(Reading {
        limit,
        remaining,
        below: 0.0,
        above: 0.0,
        period: seconds(60),
        refill: Refill::Continuous,
        reset: None,
    });
    readings
}

fn of_organisation(organisation: u64, readings: Readings) -> Readings {
    Readings {
        organisation: Some(organisation),
        ..readings
    }
}

impl World {
    fn tell(&mut self, ticket: &Ticket, readings: &Readings) {
        self.pools
            .observe(ticket, &Verdict::OK, readings, self.now, &mut self.out);
        self.carry_out();
    }

    /// One request on this subscription whose answer states this.
    #[track_caller]
    fn served_on(&mut self, on: SubscriptionIndex, readings: &Readings) {
        let ticket = self.take_on(on);
        self.tell(&ticket, readings);
        self.answer(ticket, Verdict::OK);
    }

    /// A request of so many prompt tokens.
    fn of_tokens(&self, tokens: u64) -> Demand {
        Demand {
            size: Size {
                bytes: tokens * 4,
                max_tokens: Some(0),
                estimated: Some(tokens),
            },
            ..self.demand()
        }
    }

    /// The share that is left for `m1`.
    #[track_caller]
    fn share(&self, of: SubscriptionIndex) -> f64 {
        let domain = self.pools.domain_at(of).unwrap();
        let place = self.pools.book.find(&group("m1"));
        let book = &self.pools.book;
        match book.room(domain, place, Some("m1"), &[0.0; 4], self.now) {
            Room::Open(share) => (share * 1e4).round() / 1e4,
            other => panic!("{other:?}"),
        }
    }
}

// C1, C4, C5: "pacing has room"
#[test]
fn an_arrival_without_room_waits_and_goes_at_the_instant_at_which_there_is() {
    let mut world = limited_to(vec![limit(Dimension::Requests, 60.0)]);
    for _ in 0..60 {
        let ticket = world.take();
        world.answer(ticket, Verdict::OK);
    }
    let demand = world.demand();
    assert!(matches!(
        world.try_acquire(&demand, &Tried::new()),
        Acquisition::MustWait
    ));
    let waiters: Vec<_> = (0..3).map(|_| world.wait(&demand)).collect();
    for waiter in waiters {
        let wake = world.pools.arm(world.now, &mut world.out);
        let off = wake.since(world.now + seconds(1)) + (world.now + seconds(1)).since(wake);
        assert!(off <= Duration::from_micros(3), "off by {off:?}");
        world.pass(wake.since(world.now) - Duration::from_micros(1));
        assert_eq!(world.grantees(), []);
        world.pass(Duration::from_micros(1));
        assert_eq!(world.granted.len(), 1);
        let (granted, ticket) = world.granted.pop().unwrap();
        assert_eq!(granted, waiter);
        world.answer(ticket, Verdict::OK);
    }
}

// C6: never below the truth
#[test]
fn a_refusal_for_want_of_room_states_when_there_is() {
    let mut world = limited_to(vec![limit(Dimension::Tokens, 6_000.0)]);
    let ticket = world.grant(&world.of_tokens(6_000));
    world.answer(ticket, Verdict::OK);
    for (tokens, wait) in [(100, 1), (2_000, 20), (6_000, 60), (90_000, 60)] {
        let demand = Demand {
            max_wait: Some(Duration::ZERO),
            ..world.of_tokens(tokens)
        };
        let refused = world.refusal_of(&demand);
        assert_eq!(refused.reason, RefusalReason::PoolLimited);
        let earliest = refused.earliest.unwrap();
        let truth = world.now + seconds(wait);
        let off = earliest.since(truth) + truth.since(earliest);
        assert!(off <= millis(1), "{tokens}: off by {off:?}");
        // There it goes.
        let mut later = World {
            now: earliest,
            ..limited_to(vec![limit(Dimension::Tokens, 6_000.0)])
        };
        later.now = later.now.max(world.now);
        assert!(later.is_open(sub(0), &demand));
    }
    // One that waits for the same is woken then.
    let waiter = world.wait(&world.of_tokens(2_000));
    world.pass(seconds(20) - millis(1));
    assert_eq!(world.grantees(), []);
    world.pass(millis(2));
    assert_eq!(world.grantees(), [waiter]);
}

// C4: reserved before sending, settled after, on every path
#[test]
fn what_was_reserved_and_not_used_is_free_again_on_every_path() {
    let used = Usage {
        input: Some(100),
        output: Some(50),
        ..Usage::default()
    };
    let unknown = Usage::default();
    let answered = |class| Outcome::Answered(Verdict::of(class));
    for (outcome, usage, tokens, requests) in [
        (answered(Class::Ok), used, 150, 1),
        (answered(Class::Ok), unknown, 600, 1),
        (answered(Class::ClientError), unknown, 0, 1),
        (answered(Class::UpstreamError), unknown, 0, 1),
        (answered(Class::UpstreamError), used, 150, 1),
        (answered(Class::Overloaded), unknown, 0, 1),
        (answered(Class::RateLimited), unknown, 0, 0),
        (answered(Class::QuotaExhausted), unknown, 0, 0),
        (answered(Class::CredentialInvalid), unknown, 0, 0),
        (Outcome::Silence { sent: false }, unknown, 0, 0),
        (Outcome::Unsent, unknown, 0, 0),
        (Outcome::Silence { sent: true }, unknown, 600, 1),
        (Outcome::Abandoned, unknown, 600, 1),
        (Outcome::Abandoned, used, 150, 1),
    ] {
        for (dimension, most, expected, reserved) in [
            (Dimension::Tokens, 1_000.0, tokens, 600.0),
            (Dimension::Requests, 10.0, requests, 1.0),
        ] {
            for observed in [false, true] {
                let mut world = limited_to(vec![limit(dimension, most)]);
                let ticket = world.grant(&world.of_tokens(600));
                assert_eq!(world.share(sub(0)), 1.0 - reserved / most);
                if let (true, Outcome::Answered(verdict)) = (observed, outcome) {
                    world.observe(&ticket, verdict);
                }
                world
                    .pools
                    .settle(ticket, outcome, &usage, world.now, &mut world.out);
                let left = 1.0 - f64::from(expected) / most;
                assert_eq!(
                    world.share(sub(0)),
                    left,
                    "{outcome:?} {dimension:?} {observed}"
                );
            }
        }
    }
}

// C4: a waiter takes what a settling hands back
#[test]
fn what_is_handed_back_lets_a_waiter_go_at_once() {
    let mut world = limited_to(vec![limit(Dimension::Tokens, 1_000.0)]);
    let ticket = world.grant(&world.of_tokens(900));
    let waiter = world.wait(&world.of_tokens(400));
    world.settle(ticket, Outcome::Unsent);
    assert_eq!(world.grantees(), [waiter]);
}

// C4: input estimates less what the provider's limiter ignores
#[test]
fn what_a_prompt_takes_is_counted_as_the_provider_does() {
    let anthropic = Counting {
        input_without_cache: true,
        ignores_cache_reads: true,
        ..Counting::default()
    };
    let includes = Counting::default();
    let ignores = Counting {
        ignores_cache_reads: true,
        ..includes
    };
    for (counting, input, cache_read, cache_write, expected) in [
        (anthropic, 100, Some(400), Some(50), 150.0),
        (anthropic, 100, None, None, 100.0),
        (includes, 500, Some(400), None, 500.0),
        (ignores, 500, Some(400), None, 100.0),
    ] {
        let mut layout = layout(1);
        layout.subscriptions[0].limits = vec![limit(Dimension::InputTokens, 1_000.0)];
        layout.subscriptions[0].counting = counting;
        let mut world = World::new(layout);
        let ticket = world.grant(&world.of_tokens(600));
        let usage = Usage {
            input: Some(input),
            output: Some(70),
            cache_read,
            cache_write,
            reasoning: None,
        };
        let outcome = Outcome::Answered(Verdict::OK);
        world
            .pools
            .settle(ticket, outcome, &usage, world.now, &mut world.out);
        assert_eq!(
            world.share(sub(0)),
            1.0 - expected / 1_000.0,
            "{counting:?}"
        );
    }
}

// C4: less what this session's last answer read from cache, where the limiter ignores cache reads
#[test]
fn a_warm_session_reserves_only_what_is_new() {
    let session = SessionKey([7; 16]);
    for (ignores_cache_reads, affinity, expected) in [
        (true, Affinity::Should(session), 0.6),
        (false, Affinity::Should(session), 0.3),
        (true, Affinity::None, 0.3),
    ] {
        let mut layout = layout(1);
        layout.subscriptions[0].limits = vec![limit(Dimension::InputTokens, 1_000.0)];
        layout.subscriptions[0].counting = Counting {
            ignores_cache_reads,
            ..Counting::default()
        };
        let mut world = World::new(layout);
        let demand = Demand {
            affinity,
            ..world.of_tokens(400)
        };
        let ticket = world.grant(&demand);
        let usage = Usage {
            input: Some(300),
            cache_read: Some(300),
            ..Usage::default()
        };
        let outcome = Outcome::Answered(Verdict::OK);
        world
            .pools
            .settle(ticket, outcome, &usage, world.now, &mut world.out);
        world.pass(seconds(60));
        assert_eq!(world.share(sub(0)), 1.0);
        let demand = Demand {
            affinity,
            ..world.of_tokens(700)
        };
        let _warm = world.grant(&demand);
        assert_eq!(world.share(sub(0)), expected);
    }
}

// D3, D8
#[test]
fn what_one_model_has_spent_benches_no_other() {
    let mut world = World::new(strangers(1));
    world.served_on(sub(0), &told(60.0, 0.0));
    assert!(!world.opens(sub(0)));
    assert!(world.is_open(sub(0), &world.of_model("m2")));
    world.pass(seconds(1));
    assert!(world.opens(sub(0)));
}

// D8: per domain
#[test]
fn subscriptions_of_a_named_domain_share_their_accounts() {
    for named in [true, false] {
        let mut layout = strangers(2);
        for own in &mut layout.subscriptions {
            own.domain = Arc::from("shared");
            own.domain_named = named;
        }
        let mut world = World::new(layout);
        world.served_on(sub(0), &told(60.0, 0.0));
        assert!(!world.opens(sub(0)));
        assert_eq!(world.opens(sub(1)), !named);
    }
}

/// Two whose answers name an organisation each and state a limit each.
fn told_both(layout: Layout, organisations: [u64; 2], limits: [f64; 2]) -> World {
    let mut world = World::new(layout);
    for at in 0..2 {
        let readings = of_organisation(organisations[at], told(limits[at], limits[at] / 2.0));
        world.served_on(sub(u16::try_from(at).unwrap()), &readings);
    }
    world
}

fn joined(world: &mut World) -> bool {
    let with = Change::Joined { with: sub(0) };
    let told = world.changes().contains(&with);
    let domains = [0, 1].map(|at| world.pools.domain_at(sub(at)).unwrap());
    assert_eq!(told, domains[0] == domains[1]);
    told
}

// D8
#[test]
fn one_organisation_with_equal_limits_is_one_domain_unless_the_configuration_names_it() {
    let plain = || strangers(2);
    let named = |which: &[usize]| {
        let mut layout = strangers(2);
        for at in which {
            layout.subscriptions[*at].domain_named = true;
        }
        layout
    };
    let elsewhere = || {
        let mut layout = strangers(2);
        layout.subscriptions[1].provider = Arc::from("other");
        layout
    };
    for (layout, organisations, limits, expected) in [
        (plain(), [7, 7], [100.0, 100.0], true),
        (plain(), [7, 8], [100.0, 100.0], false),
        (plain(), [7, 7], [100.0, 101.0], false),
        (named(&[0, 1]), [7, 7], [100.0, 100.0], false),
        (named(&[0]), [7, 7], [100.0, 100.0], false),
        (named(&[1]), [7, 7], [100.0, 100.0], false),
        (elsewhere(), [7, 7], [100.0, 100.0], false),
    ] {
        let mut world = told_both(layout, organisations, limits);
        assert_eq!(joined(&mut world), expected, "{organisations:?} {limits:?}");
    }
}

// D8: of two accounts the lower stays, and both are one from then on
#[test]
fn joined_subscriptions_have_one_account_the_lower() {
    let mut world = World::new(strangers(2));
    world.served_on(sub(0), &of_organisation(7, told(100.0, 80.0)));
    world.served_on(sub(1), &of_organisation(7, told(100.0, 3.0)));
    assert!(joined(&mut world));
    for left in [3, 2, 1] {
        assert_eq!(world.share(sub(0)), f64::from(left) / 100.0);
        assert_eq!(world.share(sub(1)), f64::from(left) / 100.0);
        let ticket = world.take_on(sub(left % 2));
        world.answer(ticket, Verdict::OK);
    }
    assert!(!world.opens(sub(0)));
    assert!(!world.opens(sub(1)));
}

// D8: of two cooldowns the later instant stays
#[test]
fn joined_subscriptions_have_the_later_cooldown() {
    for waits in [[10, 20], [20, 10]] {
        let mut world = World::new(strangers(2));
        let other = world.of_model("m2");
        for at in 0..2_u16 {
            let demand = Demand {
                affinity: Affinity::Must {
                    owner: sub(at),
                    session: None,
                },
                ..other.clone()
            };
            let ticket = world.grant(&demand);
            let wait = Some(seconds(waits[usize::from(at)]));
            world.answer(ticket, scoped(Class::RateLimited, Scope::PER_MODEL, wait));
        }
        for at in 0..2 {
            world.served_on(sub(at), &of_organisation(7, told(100.0, 50.0)));
        }
        assert!(joined(&mut world));
        world.pass(seconds(20) - Duration::from_micros(1));
        for at in 0..2 {
            assert!(!world.is_open(sub(at), &other), "{waits:?} {at}");
            assert!(world.opens(sub(at)));
        }
        world.pass(Duration::from_micros(1));
        for at in 0..2 {
            assert!(world.is_open(sub(at), &other), "{waits:?} {at}");
        }
    }
}

// D8, 16.4: what is in flight adds up
#[test]
fn of_joined_subscriptions_what_is_under_way_adds_up() {
    let mut world = World::new(strangers(2));
    for at in 0..2 {
        world.served_on(sub(at), &told(100.0, 50.0));
    }
    let out = [world.take_on(sub(0)), world.take_on(sub(1))];
    for at in 0..2 {
        world.served_on(sub(at), &of_organisation(7, told(100.0, 49.0)));
    }
    assert!(joined(&mut world));
    let share = world.share(sub(0));
    // Two more than there are may be those under way; a third is not.
    world.pass(Duration::from_micros(1));
    world.served_on(sub(0), &told(100.0, share * 100.0 + 2.0));
    let lower = world.share(sub(0));
    assert!(lower <= share, "{lower} {share}");
    for ticket in out {
        world.answer(ticket, Verdict::OK);
    }
    assert_eq!(world.in_flight(), 0);
}

// D7, D8: a changed credential is somebody else's until its answers say otherwise
#[test]
fn a_changed_credential_leaves_the_domain_that_it_had_joined() {
    let mut world = told_both(strangers(2), [7, 7], [100.0, 100.0]);
    assert!(joined(&mut world));
    world.layout.subscriptions[1].fingerprint = 2;
    world.reload();
    let fresh = world.applied.subscriptions[1];
    assert_ne!(world.pools.domain_at(fresh), world.pools.domain_at(sub(0)));
    assert_eq!(world.share(fresh), 0.5);
}

// C4, D5
#[test]
fn after_a_passed_probe_the_others_follow_slowly_whatever_room_there_is() {
    let mut world = World::of(1);
    world.answered_on(sub(0), limited(None));
    world.pass(seconds(2));
    let probe = world.take();
    assert!(probe.is_probe());
    world.answer(probe, Verdict::OK);
    let mut flying = Vec::new();
    for answered in 1..15 {
        while let Acquisition::Granted(ticket) = {
            let demand = world.demand();
            world.try_acquire(&demand, &Tried::new())
        } {
            flying.push(ticket);
            assert!(flying.len() <= answered, "{answered}");
        }
        assert_eq!(flying.len(), answered);
        let ticket = flying.remove(0);
        world.answer(ticket, Verdict::OK);
        // One has left and one more may go: two at the next look.
    }
}
