//! Laws that every history keeps: caps, one settling, order, nothing that latches, no grant against a bar, no waiter
//! past its time. The oracle is a list of what was granted and what was answered, kept by hand.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::core::pools::decide::{Asks, Decision};

#[derive(Clone, Debug)]
enum Step {
    Arrive {
        pool: u16,
        model: u8,
        affinity: u8,
        max_wait: Option<u16>,
        entropy: u64,
    },
    /// Observe or settle the nth ticket that is out.
    Answer {
        nth: usize,
        verdict: Verdict,
        observe: bool,
    },
    Silence {
        nth: usize,
        sent: bool,
    },
    Abandon {
        nth: usize,
    },
    Leave {
        nth: usize,
    },
    Pass {
        millis: u32,
    },
    Reload {
        toggle: u8,
    },
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let class = prop_oneof![
        6 => Just(Class::Ok),
        4 => Just(Class::RateLimited),
        1 => Just(Class::QuotaExhausted),
        1 => Just(Class::Overloaded),
        1 => Just(Class::CredentialInvalid),
        1 => Just(Class::ClientError),
        2 => Just(Class::UpstreamError),
    ];
    let scope = prop_oneof![
        4 => Just(Scope::NONE),
        3 => Just(Scope::PER_MODEL),
        2 => Just(Scope::PER_CREDENTIAL),
        1 => Just(Scope::PER_IP),
        1 => Just(Scope::PER_CREDENTIAL | Scope::PER_MODEL),
    ];
    let wait = proptest::option::of((0_u64..90_000).prop_map(millis));
    (class, scope, wait).prop_map(|(class, scope, wait)| Verdict { class, scope, wait })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_u16..2, 0_u8..3, 0_u8..8, proptest::option::of(0_u16..40_000), any::<u64>()).prop_map(
            |(pool, model, affinity, max_wait, entropy)| Step::Arrive { pool, model, affinity, max_wait, entropy }
        ),
        6 => (0_usize..32, verdicts(), any::<bool>())
            .prop_map(|(nth, verdict, observe)| Step::Answer { nth, verdict, observe }),
        1 => (0_usize..32, any::<bool>()).prop_map(|(nth, sent)| Step::Silence { nth, sent }),
        1 => (0_usize..32).prop_map(|nth| Step::Abandon { nth }),
        1 => (0_usize..32).prop_map(|nth| Step::Leave { nth }),
        4 => (0_u32..8_000).prop_map(|millis| Step::Pass { millis }),
        1 => (0_u8..12).prop_map(|toggle| Step::Reload { toggle }),
    ]
}

/// Two pools that share a subscription, a named domain, caps, tiers, restricted models.
fn mixed() -> Layout {
    let mut layout = layout(5);
    for own in &mut layout.subscriptions[..2] {
        own.domain = Arc::from("shared");
        own.domain_named = true;
    }
    layout.subscriptions[0].max_in_flight = Some(2);
    layout.subscriptions[1].max_in_flight = Some(3);
    layout.subscriptions[2].max_in_flight = Some(1);
    layout.subscriptions[2].deny_models = vec!["m2".to_owned()];
    layout.subscriptions[3].priority = 1;
    layout.subscriptions[3].max_in_flight = Some(4);
    layout.subscriptions[4].max_in_flight = Some(2);
    layout.subscriptions[4].provider = Arc::from("other");
    for own in &mut layout.subscriptions[3..] {
        own.deny_models = vec!["none of these".to_owned()];
        own.endpoint = Arc::from("https://elsewhere");
    }
    layout.pools = vec![pool("main", &[0, 1, 2, 3]), pool("other", &[2, 4])];
    layout.pools[0].max_waiting = 40;
    layout
}

/// To the other pool.
fn chain(pool: u16, model: u8, bits: u64) -> Links {
    let model = match bits % 8 {
        0..3 => model,
        3 => 2,
        _ => return None,
    };
    let link = Link {
        pool: PoolIndex(pool),
        limit_group: group(&format!("m{model}")),
        model: Some(Arc::from(format!("m{model}"))),
    };
    Some(Arc::from([link]))
}

/// D3's holders, by name; a domain that is not named is its subscription's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Credential(SubscriptionIndex),
    Domain(Arc<str>),
    OwnDomain(SubscriptionIndex),
    Provider(Arc<str>),
}

/// Priority, the tag of who was let go before, arrival.
type Place = (Priority, u64, Timestamp);

struct History {
    world: World,
    out: Vec<Ticket>,
    waiters: HashMap<WaiterId, (Demand, Timestamp)>,
    /// Where those who wait stand (C5): their class and turn as they came in, and when that was.
    places: HashMap<WaiterId, (Place, Timestamp)>,
    /// Turns that were let go, each with its demand: to be tried again.
    turns: Vec<Demand>,
    /// Endpoints out of reach for those who wait.
    kept: HashMap<WaiterId, Tried>,
    granted: usize,
    settled: usize,
    /// What was stated of a limit: whose it is, which model it stops, and until when nothing may be granted.
    stated: HashMap<(Whose, Option<LimitGroup>), Timestamp>,
}

impl History {
    fn new() -> Self {
        let mut world = World::new(mixed());
        world.scarce(sub(2), 3_000, 12_000);
        world.scarce(sub(3), 1_500, 12_000);
        Self {
            world,
            out: Vec::new(),
            waiters: HashMap::new(),
            places: HashMap::new(),
            turns: Vec::new(),
            kept: HashMap::new(),
            granted: 0,
            settled: 0,
            stated: HashMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive {
                pool,
                model,
                affinity,
                max_wait,
                entropy,
            } => {
                self.arrive(pool, model, affinity, max_wait, entropy);
            }
            Step::Answer {
                nth,
                verdict,
                observe,
            } => self.answer(nth, verdict, observe),
            Step::Silence { nth, sent } => self.settle(nth, Outcome::Silence { sent }),
            Step::Abandon { nth } => self.settle(nth, Outcome::Abandoned),
            Step::Leave { nth } => {
                let waiter = self
                    .waiters
                    .keys()
                    .min_by_key(|id| (id.at() + nth) % 37)
                    .copied();
                if let Some(waiter) = waiter {
                    self.waiters.remove(&waiter);
                    assert!(self.world.leave(waiter));
                }
            }
            Step::Pass { millis } => self.pass(super::millis(u64::from(millis))),
            Step::Reload { toggle } => {
                let at = usize::from(toggle) % 5;
                let own = &mut self.world.layout.subscriptions[at];
                if toggle < 5 {
                    own.enabled = !own.enabled;
                } else if toggle < 10 {
                    own.fingerprint += 1;
                }
                self.world.reload();
            }
        }
        self.check();
    }

    fn arrive(&mut self, pool: u16, model: u8, affinity: u8, max_wait: Option<u16>, entropy: u64) {
        let key = SessionKey([affinity; 16]);
        let owner = self.world.applied.subscriptions[usize::from(affinity) % 5];
        let demand = Demand {
            pool: PoolIndex(pool),
            affinity: match affinity {
                0..4 => Affinity::None,
                4 | 5 => Affinity::Should(key),
                _ => Affinity::Must {
                    owner,
                    session: Some(key),
                },
            },
            max_wait: max_wait.map(|wait| super::millis(u64::from(wait))),
            entropy,
            client: ClientIndex(entropy as u16 >> 4 & 3),
            priority: [
                Priority::Normal,
                Priority::High,
                Priority::Low,
                Priority::Normal,
            ][entropy as usize >> 6 & 3],
            size: Size {
                bytes: entropy >> 8 & 0xff00,
                ..Size::default()
            },
            ..self.world.of_model(&format!("m{model}"))
        };
        // A third of them are requests tried again: they came earlier, and know who refused them.
        let again = entropy.is_multiple_of(3);
        let earlier = super::millis(if again { entropy >> 16 & 0xfff } else { 0 });
        let demand = Demand {
            arrival: demand.arrival - earlier,
            turn: self.earlier(&demand).filter(|_| again),
            ..demand
        };
        let tried = if again {
            self.tried(entropy >> 32)
        } else {
            Tried::new()
        };
        // Half of them may fall back to the other pool, some by another name of the model.
        let demand = Demand {
            links: chain(1 - pool, model, entropy >> 8),
            ..demand
        };
        let truthful =
            |refused: &Refused, now| refused.earliest.is_none_or(|earliest| now <= earliest);
        match self.world.try_acquire(&demand, &tried) {
            Acquisition::Granted(ticket) => {
                assert!(!tried.has_refused(ticket.subscription()));
                self.check_reach(&ticket, &tried);
                self.check_chain(&ticket, &demand);
                self.turns.push(Demand {
                    turn: ticket.turn(),
                    ..demand
                });
                self.grant(ticket);
                self.world.pools.queue.wake_all(self.world.now);
                self.world.pass(Duration::ZERO);
            }
            Acquisition::Refused(refused) => assert!(truthful(&refused, self.world.now)),
            Acquisition::MustWait => {
                let (world, out) = (&mut self.world.pools, &mut self.world.out);
                match world.enter(&demand, &tried, self.world.now, out) {
                    Entrance::Waiting { waiter, deadline } => {
                        assert!(self.world.now <= deadline);
                        let tag = demand.turn.map_or(u64::MAX, |turn| turn.tag());
                        let place = (demand.priority, tag, demand.arrival);
                        self.places.insert(waiter, (place, self.world.now));
                        self.waiters.insert(waiter, (demand, deadline));
                        self.kept.insert(waiter, tried.waiting());
                        // Whoever refused it may be open again: that grant is the keeper's.
                        self.world.pass(Duration::ZERO);
                    }
                    Entrance::Refused(refused) => {
                        assert_eq!(refused.reason, RefusalReason::QueueFull)
                    }
                    Entrance::Granted(_) => panic!("nothing has changed since"),
                }
            }
        }
    }

    /// A turn that such a request had.
    fn earlier(&mut self, demand: &Demand) -> Option<Turn> {
        let alike = |was: &Demand| {
            (was.pool, was.client, &was.limit_group)
                == (demand.pool, demand.client, &demand.limit_group)
        };
        let at = self.turns.iter().position(alike)?;
        self.turns.swap_remove(at).turn
    }

    /// Four bits for each subscription: mostly untried.
    fn tried(&self, bits: u64) -> Tried {
        let mut tried = Tried::new();
        for (place, &index) in self.world.applied.subscriptions.iter().enumerate() {
            match bits >> (4 * place) & 0xf {
                0..3 => tried.refused(index),
                3 => tried.errored(index),
                4 => tried.failed(index),
                _ => {}
            }
        }
        tried
    }

    /// C8 (d): nobody goes to an endpoint that it could not reach.
    fn check_reach(&self, ticket: &Ticket, tried: &Tried) {
        let endpoint = |of: SubscriptionIndex| self.world.pools.subscriptions[of.at()].endpoint;
        let on = endpoint(ticket.subscription());
        assert!(tried.unreachable().all(|failed| endpoint(failed) != on));
    }

    /// C7, F10: it goes through a pool of its chain, to one of that pool, which takes the model that is sent there.
    fn check_chain(&self, ticket: &Ticket, demand: &Demand) {
        let link = ticket.via().link().map(|at| {
            let link = &demand.links.as_ref().unwrap()[at];
            (link.pool, &link.limit_group, &link.model)
        });
        let (pool, group, model) =
            link.unwrap_or((demand.pool, &demand.limit_group, &demand.model));
        assert_eq!((ticket.pool(), &ticket.group), (pool, group));
        let pools = &self.world.pools;
        assert!(pools.is_member(ticket.subscription(), pool));
        let own = &pools.subscriptions[ticket.subscription().at()];
        assert!(own.models.allow(model.as_deref()));
    }

    fn answer(&mut self, nth: usize, verdict: Verdict, observe: bool) {
        if self.out.is_empty() {
            return;
        }
        let nth = nth % self.out.len();
        let on = self.out[nth].subscription();
        let stated = verdict.wait.filter(|wait| !wait.is_zero());
        let limits = matches!(verdict.class, Class::RateLimited | Class::QuotaExhausted);
        if let Some(wait) = stated.filter(|_| limits) {
            let [credential, domain, provider] = self.holders(on);
            let whose = if verdict.scope.contains(Scope::PER_CREDENTIAL) {
                credential
            } else if verdict.scope.contains(Scope::PER_IP) {
                provider
            } else {
                domain
            };
            let model = verdict.scope.contains(Scope::PER_MODEL);
            let model = model.then(|| self.out[nth].group.clone());
            let until = self.world.now + wait;
            let known = self.stated.entry((whose, model)).or_insert(until);
            *known = until.max(*known);
        }
        if observe {
            self.world.observe(&self.out[nth], verdict);
        } else {
            self.settle(nth, Outcome::Answered(verdict));
        }
    }

    fn settle(&mut self, nth: usize, outcome: Outcome) {
        if self.out.is_empty() {
            return;
        }
        let ticket = self.out.swap_remove(nth % self.out.len());
        self.settled += 1;
        self.world.settle(ticket, outcome);
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        loop {
            // The keeper and the waiters' own timers, whichever is due first.
            let wake = self.world.pools.arm(self.world.now, &mut self.world.out);
            self.world.carry_out();
            self.check();
            let deadline = self.waiters.values().map(|(_, deadline)| *deadline).min();
            let next = wake.min(deadline.unwrap_or(Timestamp::MAX));
            if end < next {
                break;
            }
            self.world.now = self.world.now.max(next);
            let due = self
                .waiters
                .iter()
                .filter(|(_, (_, deadline))| *deadline <= self.world.now);
            let due: Vec<_> = due.map(|(id, _)| *id).collect();
            for waiter in due {
                let (pools, out) = (&mut self.world.pools, &mut self.world.out);
                if let Some(refused) = pools.expire(waiter, self.world.now, out) {
                    assert!(
                        refused
                            .earliest
                            .is_none_or(|earliest| self.world.now < earliest),
                        "{refused:?}"
                    );
                    self.waiters.remove(&waiter);
                }
                self.world.carry_out();
                self.check();
            }
        }
        self.world.now = end;
    }

    fn grant(&mut self, ticket: Ticket) {
        self.granted += 1;
        let on = ticket.subscription();
        for whose in self.holders(on) {
            for model in [None, Some(ticket.group.clone())] {
                let until = self.stated.get(&(whose.clone(), model));
                let until = until.copied().unwrap_or(Timestamp::ZERO);
                assert!(
                    until <= self.world.now,
                    "{on:?} was granted against {whose:?}"
                );
            }
        }
        self.out.push(ticket);
    }

    fn holders(&self, of: SubscriptionIndex) -> [Whose; 3] {
        let named = self
            .world
            .applied
            .subscriptions
            .iter()
            .position(|index| *index == of);
        let id = &self.world.pools.subscriptions[of.at()].id;
        let row = self
            .world
            .layout
            .subscriptions
            .iter()
            .find(|row| row.id == *id)
            .unwrap();
        let domain = match row.domain_named {
            true => Whose::Domain(Arc::clone(&row.domain)),
            false => Whose::OwnDomain(of),
        };
        assert!(named.is_some() || self.world.pools.subscriptions[of.at()].draining);
        [
            Whose::Credential(of),
            domain,
            Whose::Provider(Arc::clone(&row.provider)),
        ]
    }

    /// Takes in what was decided and holds it against the laws.
    fn check(&mut self) {
        while !self.world.granted.is_empty() {
            self.check_grants();
            // What they cost is news to the others.
            self.world.pools.queue.wake_all(self.world.now);
            self.world.pass(Duration::ZERO);
        }
        for (waiter, refused) in std::mem::take(&mut self.world.refused) {
            self.waiters.remove(&waiter).expect("it waited");
            assert!(
                refused
                    .earliest
                    .is_none_or(|earliest| self.world.now < earliest),
                "{refused:?}"
            );
        }
        self.check_counts();
    }

    fn check_grants(&mut self) {
        let granted = std::mem::take(&mut self.world.granted);
        for (waiter, ticket) in granted {
            let (demand, deadline) = self.waiters.remove(&waiter).expect("it waited");
            assert!(self.world.now <= deadline, "granted past its deadline");
            if let Affinity::Must { owner, .. } = demand.affinity {
                assert_eq!(self.world.pools.successor(owner), ticket.subscription());
            }
            let kept = self.kept.remove(&waiter).expect("it waited");
            self.check_reach(&ticket, &kept);
            self.check_chain(&ticket, &demand);
            let (place, since) = self.places.remove(&waiter).expect("it waited");
            let fresh = self.world.now.since(since) < seconds(10);
            let own = ticket.via() == Via::OWN;
            if own && demand.affinity == Affinity::None && kept.is_empty() {
                // Of those alike, who comes first in the order goes first.
                let overtaken = self.waiters.iter().filter(|(id, (other, _))| {
                    let flow = (demand.client, demand.priority) == (other.client, other.priority);
                    other.pool == demand.pool
                        && other.model == demand.model
                        && other.links == demand.links
                        && other.affinity == Affinity::None
                        && self.kept[*id].is_empty()
                        && other.size.rough() <= demand.size.rough()
                        && (flow || fresh && other.priority < demand.priority)
                        && self.places[*id].0 < place
                });
                assert_eq!(overtaken.count(), 0, "overtaken");
            }
            self.grant(ticket);
        }
    }

    fn check_counts(&self) {
        let snapshot = self.world.snapshot();
        for (row, &index) in self
            .world
            .layout
            .subscriptions
            .iter()
            .zip(&self.world.applied.subscriptions)
        {
            let view = snapshot
                .subscriptions
                .iter()
                .find(|view| view.index == index)
                .unwrap();
            let out = self.out.iter();
            let expected =
                out.filter(|ticket| self.world.pools.successor(ticket.subscription()) == index);
            assert_eq!(view.in_flight as usize, expected.count());
            assert!(view.in_flight <= row.max_in_flight.unwrap_or(u32::MAX));
        }
        let waiting: usize = snapshot.pools.iter().map(|pool| pool.waiting).sum();
        assert_eq!(waiting, self.waiters.len());
        assert_eq!(self.granted - self.settled, self.out.len());
        self.check_nobody_could_go();
    }

    /// C5: whoever still waits could not go.
    fn check_nobody_could_go(&self) {
        let pools = &self.world.pools;
        for waiter in self.waiters.keys() {
            let (own, lane) = pools.queue.waiter(*waiter).unwrap();
            let key = &pools.queue.lane(lane).unwrap().key;
            let asks = Asks {
                claimed: &pools.claimed_before(
                    *waiter,
                    pools.queue.rank(*waiter, self.world.now),
                    self.world.now,
                ),
                ..Asks::of_waiter(key, own)
            };
            let decision = pools.decide(&asks, self.world.now);
            // One behind somebody who needs less is not asked: it may be told at its deadline only.
            let behind = || {
                self.waiters.keys().any(|other| {
                    let (other, at) = pools.queue.waiter(*other).unwrap();
                    at == lane && other.size.rough() < own.size.rough()
                })
            };
            assert!(
                matches!(decision, Decision::Wait(_))
                    || matches!(decision, Decision::Refuse(_)) && behind(),
                "{own:?} {key:?}: {decision:?}"
            );
        }
    }

    /// Time and no traffic: everything comes back by itself.
    fn end(mut self) {
        self.pass(seconds(40));
        assert!(self.waiters.is_empty(), "no deadline is later than 30 s");
        while !self.out.is_empty() {
            self.settle(0, Outcome::Abandoned);
            self.check();
        }
        assert_eq!(self.world.in_flight(), 0);
        self.world
            .layout
            .subscriptions
            .iter_mut()
            .for_each(|own| own.enabled = true);
        self.world.reload();
        self.pass(seconds(36 * 86_400));
        for (pool, at) in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 4)] {
            let demand = Demand {
                pool: PoolIndex(pool),
                ..self.world.demand()
            };
            let index = self.world.applied.subscriptions[at];
            assert!(self.world.is_open(index, &demand), "{at} is latched");
        }
        let snapshot = self.world.snapshot();
        assert_eq!(snapshot.cooldowns, []);
    }
}

proptest! {
    // Histories that once broke a law stand beside this file and are run first.
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("seeds"))),
        ..ProptestConfig::default()
    })]

    // C1, C5, D4, D5, STYLE Invariants 4, 5, 9
    #[test]
    fn every_history_keeps_the_laws(steps in proptest::collection::vec(steps(), 1..250)) {
        let mut history = History::new();
        for step in steps {
            history.step(step);
        }
        history.end();
    }
}
