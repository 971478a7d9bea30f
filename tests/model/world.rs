//! What laws are stated in: a balancer over a few subscriptions, its keeper, who asks, and how many hold at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shuttle::future::{JoinHandle, block_on, spawn};

use crate::balancer::{Acquired, Balancer, Lease, Refused, Tried, Waiting};
use crate::clock::Clock;
use crate::core::choice::strategy::Strategy;
use crate::core::id::{LimitGroup, PoolIndex};
use crate::core::limit::reading::{Dimension, Readings};
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::pools::{Demand, Layout, LimitLayout, PoolLayout, SubscriptionLayout};
use crate::records::Records;

/// A balancer at the start of a schedule. Clones share it.
#[derive(Clone)]
pub struct World {
    pub balancer: Balancer,
    pub clock: Clock,
    held: Arc<AtomicU32>,
    cap: u32,
}

/// A lease that counts while it is held.
pub struct Held {
    lease: Option<Lease>,
    held: Arc<AtomicU32>,
}

impl Held {
    /// Its answer's verdict, at once.
    pub fn observe(&self, verdict: &Verdict) {
        if let Some(lease) = &self.lease {
            lease.observe(verdict, &Readings::NONE);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        drop(self.lease.take());
    }
}

/// One subscription for each cap, all in one pool.
pub fn layout(caps: &[u32]) -> Layout {
    let row = |(index, &cap): (usize, &u32)| SubscriptionLayout {
        id: Arc::from(format!("s{index}")),
        provider: Arc::from("provider"),
        endpoint: Arc::from("https://endpoint"),
        domain: Arc::from(format!("s{index}")),
        max_in_flight: Some(cap),
        fingerprint: 1,
        // Known, and out of reach: no slow start is in the way.
        limits: vec![LimitLayout {
            dimension: Dimension::Requests,
            limit: 1e9,
            period: Duration::from_secs(60),
            models: Vec::new(),
        }],
        ..SubscriptionLayout::default()
    };
    Layout {
        subscriptions: caps.iter().enumerate().map(row).collect(),
        pools: vec![PoolLayout {
            id: Arc::from("main"),
            members: (0..caps.len()).collect(),
            max_wait: Duration::from_secs(30),
            max_waiting: 100,
            strategy: Strategy::LeastInFlight,
            ..PoolLayout::default()
        }],
        max_sessions: 4,
        max_handles: 4,
    }
}

/// "Come back after so long", or without a word about when.
pub fn limited(wait: Option<Duration>) -> Verdict {
    Verdict {
        wait,
        ..Verdict::of(Class::RateLimited)
    }
}

impl World {
    pub fn new(caps: &[u32]) -> Self {
        Self::of(&layout(caps))
    }

    pub fn of(layout: &Layout) -> Self {
        let clock = Clock::new();
        fastrand::seed(1);
        let (balancer, _) = Balancer::new(layout, clock, Records::new(100));
        let caps = layout.subscriptions.iter().map(|row| row.max_in_flight);
        Self {
            balancer,
            clock,
            held: Arc::default(),
            cap: caps.flatten().sum(),
        }
    }

    /// A reload will allow so many at once.
    pub fn allowing(self, cap: u32) -> Self {
        Self { cap, ..self }
    }

    pub fn demand(&self) -> Demand {
        Demand::new(PoolIndex(0), LimitGroup::new("m1"), self.clock.now())
    }

    /// One who can go now.
    #[track_caller]
    pub fn grant(&self) -> Held {
        match self.balancer.acquire(&self.demand(), &Tried::new()) {
            Acquired::Granted(lease) => self.hold(lease),
            Acquired::Waiting(_) => panic!("waits"),
            Acquired::Refused(refused) => panic!("{refused:?}"),
        }
    }

    /// One who cannot go now.
    #[track_caller]
    pub fn wait(&self) -> Waiting {
        self.wait_at_most(Duration::from_secs(30))
    }

    /// The same with less time.
    #[track_caller]
    pub fn wait_at_most(&self, max_wait: Duration) -> Waiting {
        let demand = Demand {
            max_wait: Some(max_wait),
            ..self.demand()
        };
        match self.balancer.acquire(&demand, &Tried::new()) {
            Acquired::Waiting(waiting) => waiting,
            Acquired::Granted(lease) => panic!("{lease:?}"),
            Acquired::Refused(refused) => panic!("{refused:?}"),
        }
    }

    /// One who asks, waits where it must, and holds what it gets.
    pub async fn acquire(&self) -> Result<Held, Refused> {
        match self.balancer.acquire(&self.demand(), &Tried::new()) {
            Acquired::Granted(lease) => Ok(self.hold(lease)),
            Acquired::Waiting(waiting) => waiting.await.map(|lease| self.hold(lease)),
            Acquired::Refused(refused) => Err(refused),
        }
    }

    /// Counts it. Law: never more than the caps allow are held at once.
    pub fn hold(&self, lease: Lease) -> Held {
        let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(held <= self.cap, "{held} held, {} allowed", self.cap);
        Held {
            lease: Some(lease),
            held: Arc::clone(&self.held),
        }
    }

    /// Its task: waits for its answer, then lets go of whatever it is.
    pub fn spawn_waiting(&self, waiting: Waiting) -> JoinHandle<Result<(), Refused>> {
        let world = self.clone();
        spawn(async move { waiting.await.map(|lease| drop(world.hold(lease))) })
    }

    /// C5's keeper, in a task of its own.
    pub fn keeper(&self) -> JoinHandle<()> {
        spawn(self.balancer.keep())
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let snapshot = self.balancer.snapshot();
        snapshot.pools.iter().map(|pool| pool.waiting).sum()
    }

    /// Nothing is out, nobody waits, and every slot can be taken.
    pub fn is_at_rest(&self) {
        assert_eq!(self.waiting(), 0, "waiting");
        let snapshot = self.balancer.snapshot();
        let subscriptions = &snapshot.subscriptions;
        let in_flight: u32 = subscriptions.iter().map(|view| view.in_flight).sum();
        assert_eq!(in_flight, 0, "in flight");
        let all: Vec<Held> = (0..self.cap).map(|_| self.grant()).collect();
        let one_more = self.wait();
        drop(all);
        assert!(block_on(one_more).is_ok(), "the one more");
    }
}

/// Ends the keeper.
pub fn stop(keeper: JoinHandle<()>) {
    keeper.abort();
    assert!(block_on(keeper).is_err(), "the keeper never ends by itself");
}
