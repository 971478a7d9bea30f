//! What the configuration says of subscriptions and pools, as the pools take it: `app` makes it, `Pools::apply` reads
//! it. Holds no secret: a credential shows only as a fingerprint.

use std::sync::Arc;
use std::time::Duration;

use crate::core::id::{PoolIndex, SubscriptionIndex};

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
