//! What the configuration says of subscriptions and pools, as the pools take it: `app` makes it, `Pools::apply` reads
//! it. Holds no secret: a credential shows only as a fingerprint.

use std::sync::Arc;
use std::time::Duration;

use crate::core::choice::strategy::Strategy;
use crate::core::id::{PoolIndex, SubscriptionIndex};
use crate::core::limit::reading::{Counting, Dimension};

/// Everything there is to choose from.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Ids are unique. At most 65,535 over the life of the process, changed credentials counted.
    pub subscriptions: Vec<SubscriptionLayout>,
    /// Ids are unique.
    pub pools: Vec<PoolLayout>,
    /// Remembered sessions, allocated at the start; a change takes a restart.
    pub max_sessions: u32,
    /// Remembered `must` handles, allocated at the start; a change takes a restart.
    pub max_handles: u32,
}

/// One entitlement.
#[derive(Clone, Debug)]
pub struct SubscriptionLayout {
    /// As metrics and logs show it.
    pub id: Arc<str>,
    /// The provider's id: whose subscriptions share a `per_ip` limit (D3).
    pub provider: Arc<str>,
    /// Where connections go: subscriptions with equal ones fail to connect together (C8 d, D11).
    pub endpoint: Arc<str>,
    /// The quota domain. Heeded where it is named; else the subscription is a domain of its own.
    pub domain: Arc<str>,
    /// Whether the configuration names the domain: its cooldowns then outlive a changed credential (D7).
    pub domain_named: bool,
    /// `false`: it serves nothing (C1).
    pub enabled: bool,
    /// Its tier: the lower number first (C2).
    pub priority: i32,
    /// Attempts at once; `None`: no cap.
    pub max_in_flight: Option<u32>,
    /// Globs; none at all allows every model.
    pub models: Vec<String>,
    /// Globs; they win.
    pub deny_models: Vec<String>,
    /// Changes when credential or provider changed: the subscription then starts fresh (D7).
    pub fingerprint: u64,
    /// What `weighted` shares out by; from 1.
    pub weight: u16,
    /// Limits of its domain as configured; of a named domain, those of all its subscriptions together, the lower
    /// of two alike.
    pub limits: Vec<LimitLayout>,
    /// How its provider's limiter counts tokens.
    pub counting: Counting,
}

impl Default for SubscriptionLayout {
    fn default() -> Self {
        let nobody: Arc<str> = Arc::from("");
        Self {
            id: Arc::clone(&nobody),
            provider: Arc::clone(&nobody),
            endpoint: Arc::clone(&nobody),
            domain: nobody,
            domain_named: false,
            enabled: true,
            priority: 0,
            max_in_flight: None,
            models: Vec::new(),
            deny_models: Vec::new(),
            fingerprint: 0,
            weight: 1,
            limits: Vec::new(),
            counting: Counting::default(),
        }
    }
}

/// A configured limit: a bucket that gains `limit` in a `period`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitLayout {
    /// What is counted.
    pub dimension: Dimension,
    /// How much; above zero.
    pub limit: f64,
    /// In which time.
    pub period: Duration,
    /// Globs of the limit groups that share it; none at all: every one. Those that share a limit share one bucket.
    pub models: Vec<String>,
}

/// A set of subscriptions that can serve the same requests.
#[derive(Clone, Debug)]
pub struct PoolLayout {
    /// As metrics and logs show it.
    pub id: Arc<str>,
    /// Positions in [`Layout::subscriptions`]; others are ignored.
    pub members: Vec<usize>,
    /// How long a request may wait, from its arrival (C5).
    pub max_wait: Duration,
    /// How many may wait; all pools together, [`MOST_WAITERS`](crate::core::choice::queue::MOST_WAITERS).
    pub max_waiting: usize,
    /// How long a `should` session waits for its own subscription, from the arrival (S2).
    pub stick_wait: Duration,
    /// A request that falls back does so only where this pool's own instant lies beyond this, from its arrival (C5).
    pub fallback_after: Duration,
    /// How it chooses among what is open.
    pub strategy: Strategy,
}

impl Default for PoolLayout {
    fn default() -> Self {
        Self {
            id: Arc::from(""),
            members: Vec::new(),
            max_wait: Duration::from_secs(30),
            max_waiting: 1_000,
            stick_wait: Duration::from_secs(2),
            fallback_after: Duration::from_secs(2),
            strategy: Strategy::default(),
        }
    }
}

/// Where the parts of a layout are now, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// A changed credential or provider has a new index; so has an id that was away. `u16::MAX`: the table is full,
    /// and this one serves nothing until a restart.
    pub subscriptions: Vec<SubscriptionIndex>,
    /// By id; a pool that was away has its old index.
    pub pools: Vec<PoolIndex>,
}
