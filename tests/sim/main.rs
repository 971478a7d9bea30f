//! The balancer on simulated time: who waits is woken at the exact instant, whoever leaves leaves nothing behind.
//! Nothing here touches a socket; the clock moves only when everybody waits.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

mod cancelling;
mod limits;
mod retries;

use std::sync::Arc;
use std::time::Duration;

use authpool::balancer::{Acquired, Balancer, Lease, Refused, Tried, Waiting};
use authpool::clock::Clock;
use authpool::core::choice::strategy::Strategy;
use authpool::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::{Dimension, Readings};
use authpool::core::limit::scope::Scope;
use authpool::core::limit::verdict::{Class, Outcome, Verdict};
use authpool::core::pools::{
    Affinity, Demand, Layout, LimitLayout, PoolLayout, SubscriptionLayout,
};
use authpool::core::time::Timestamp;
use authpool::records::{Record, Records};
use authpool::tasks::Tasks;

/// A balancer with its keeper, on paused time.
struct Sim {
    balancer: Balancer,
    clock: Clock,
    records: Records,
    tasks: Tasks,
    start: Timestamp,
}

/// So that no slow start is in the way: limits are known, and out of reach.
fn boundless() -> LimitLayout {
    LimitLayout {
        dimension: Dimension::Requests,
        limit: 1e9,
        period: Duration::from_secs(60),
        models: Vec::new(),
    }
}

fn layout(subscriptions: usize, max_in_flight: Option<u32>) -> Layout {
    let row = |index: usize| SubscriptionLayout {
        id: Arc::from(format!("s{index}")),
        provider: Arc::from("provider"),
        endpoint: Arc::from("https://endpoint"),
        domain: Arc::from(format!("s{index}")),
        max_in_flight,
        models: vec!["*".to_owned()],
        fingerprint: 1,
        limits: vec![boundless()],
        ..SubscriptionLayout::default()
    };
    Layout {
        subscriptions: (0..subscriptions).map(row).collect(),
        pools: vec![PoolLayout {
            id: Arc::from("main"),
            members: (0..subscriptions).collect(),
            strategy: Strategy::LeastInFlight,
            ..PoolLayout::default()
        }],
        max_sessions: 100,
        max_handles: 100,
    }
}

impl Sim {
    fn new(subscriptions: usize, max_in_flight: Option<u32>) -> Self {
        let clock = Clock::new();
        let records = Records::new(1_000);
        let (balancer, _) = Balancer::new(
            &layout(subscriptions, max_in_flight),
            clock,
            records.clone(),
        );
        let tasks = Tasks::new();
        let _keeper = tasks.spawn(balancer.keep());
        Self {
            balancer,
            clock,
            records,
            tasks,
            start: clock.now(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.start)
    }

    fn demand(&self) -> Demand {
        let group = LimitGroup::new("m1");
        Demand {
            model: Some(Arc::from("m1")),
            ..Demand::new(PoolIndex(0), group, self.clock.now())
        }
    }

    #[track_caller]
    fn grant(&self, demand: &Demand) -> Lease {
        match self.balancer.acquire(demand, &Tried::new()) {
            Acquired::Granted(lease) => lease,
            Acquired::Waiting(_) => panic!("waits"),
            Acquired::Refused(refused) => panic!("{refused:?}"),
        }
    }

    #[track_caller]
    fn wait(&self, demand: &Demand) -> Waiting {
        match self.balancer.acquire(demand, &Tried::new()) {
            Acquired::Waiting(waiting) => waiting,
            Acquired::Granted(lease) => panic!("{lease:?}"),
            Acquired::Refused(refused) => panic!("{refused:?}"),
        }
    }

    /// A lease, or the refusal, after whatever wait.
    async fn acquire(&self, demand: &Demand) -> Result<Lease, Refused> {
        match self.balancer.acquire(demand, &Tried::new()) {
            Acquired::Granted(lease) => Ok(lease),
            Acquired::Waiting(waiting) => waiting.await,
            Acquired::Refused(refused) => Err(refused),
        }
    }

    /// Every subscription answers one request so.
    fn all_answer(&self, subscriptions: usize, verdict: Verdict) {
        for index in 0..subscriptions {
            let owner = SubscriptionIndex(u16::try_from(index).unwrap());
            let lease = self.grant(&Demand {
                affinity: Affinity::Must {
                    owner,
                    session: None,
                },
                ..self.demand()
            });
            lease.settle(Outcome::Answered(verdict), &Usage::default());
        }
    }

    fn in_flight(&self) -> u32 {
        let snapshot = self.balancer.snapshot();
        snapshot
            .subscriptions
            .iter()
            .map(|view| view.in_flight)
            .sum()
    }

    fn waiting(&self) -> usize {
        self.balancer
            .snapshot()
            .pools
            .iter()
            .map(|pool| pool.waiting)
            .sum()
    }
}

fn limited(wait: Option<Duration>) -> Verdict {
    Verdict {
        wait,
        ..Verdict::of(Class::RateLimited)
    }
}
