//! What one request costs under the pools' guard (X2): arrive, acquire, observe and settle, with everything open, with
//! a session each, and with a bar on every subscription for another model. One thread, no contention.

use std::sync::Arc;
use std::time::Duration;

use authpool::balancer::{Acquired, Balancer, Tried};
use authpool::clock::Clock;
use authpool::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::Readings;
use authpool::core::limit::scope::Scope;
use authpool::core::limit::verdict::{Class, Outcome, Verdict};
use authpool::core::pools::{Affinity, Demand, Layout, PoolLayout, SubscriptionLayout};
use authpool::records::Records;
use criterion::{Criterion, criterion_group, criterion_main};

fn layout(subscriptions: usize) -> Layout {
    let row = |index: usize| SubscriptionLayout {
        id: Arc::from(format!("s{index}")),
        provider: Arc::from("provider"),
        endpoint: Arc::from("https://endpoint"),
        domain: Arc::from(format!("s{index}")),
        max_in_flight: Some(1_000),
        models: vec!["*".to_owned()],
        fingerprint: 1,
        ..SubscriptionLayout::default()
    };
    Layout {
        subscriptions: (0..subscriptions).map(row).collect(),
        pools: vec![PoolLayout {
            id: Arc::from("main"),
            members: (0..subscriptions).collect(),
            ..PoolLayout::default()
        }],
        max_sessions: 100_000,
        max_handles: 100_000,
    }
}

fn demand(clock: Clock, model: &str, affinity: Affinity) -> Demand {
    let group = LimitGroup::new(model);
    Demand {
        model: Some(Arc::from(model)),
        affinity,
        ..Demand::new(PoolIndex(0), group, clock.now())
    }
}

fn round(balancer: &Balancer, demand: &Demand, outcome: Outcome) {
    balancer.arrived(demand.pool);
    if let Acquired::Granted(lease) = balancer.acquire(demand, &Tried::new()) {
        lease.observe(&Verdict::OK, &Readings::NONE);
        lease.settle(outcome, &Usage::default());
    }
}

fn acquire(criterion: &mut Criterion) {
    const OK: Outcome = Outcome::Answered(Verdict::OK);
    for subscriptions in [8, 128, 1_024] {
        let clock = Clock::new();
        let (balancer, _) = Balancer::new(&layout(subscriptions), clock, Records::new(1_000));
        let plain = demand(clock, "m1", Affinity::None);
        let mut group = criterion.benchmark_group(format!("acquire/{subscriptions}"));
        group.bench_function("open", |bencher| {
            bencher.iter(|| round(&balancer, &plain, OK))
        });
        let mut session = 0_u64;
        group.bench_function("session", |bencher| {
            bencher.iter(|| {
                session = (session + 1) % 100_000;
                let mut key = [0; 16];
                key[..8]
                    .copy_from_slice(&session.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
                let affinity = Affinity::Should(SessionKey(key));
                let demand = Demand {
                    affinity,
                    ..plain.clone()
                };
                round(&balancer, &demand, OK);
            });
        });
        for index in 0..subscriptions {
            let owner = SubscriptionIndex(u16::try_from(index).unwrap_or(0));
            let other = demand(
                clock,
                "m2",
                Affinity::Must {
                    owner,
                    session: None,
                },
            );
            let barred = Verdict {
                scope: Scope::PER_MODEL,
                wait: Some(Duration::from_secs(86_400)),
                ..Verdict::of(Class::RateLimited)
            };
            if let Acquired::Granted(lease) = balancer.acquire(&other, &Tried::new()) {
                lease.settle(Outcome::Answered(barred), &Usage::default());
            }
        }
        group.bench_function("barred", |bencher| {
            bencher.iter(|| round(&balancer, &plain, OK))
        });
        group.finish();
    }
}

criterion_group!(benches, acquire);
criterion_main!(benches);
