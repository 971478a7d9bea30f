//! The rows of the tables: subscriptions, domains, providers, pools. Facts only; what follows from them is computed in
//! `decide`.

use std::sync::Arc;
use std::time::Duration;

use super::room::Told;
use crate::core::choice::globs::Models;
use crate::core::choice::select::Member;
use crate::core::choice::strategy::Strategy;
use crate::core::id::{PoolIndex, SubscriptionIndex};
use crate::core::limit::breaker::Bars;
use crate::core::limit::ejection::Ejection;
use crate::core::limit::reading::Counting;
use crate::core::limit::retry::RetryBudget;

/// Bars of limit groups that a subscription, a domain and a provider remember.
pub(super) const SUBSCRIPTION_BARS: usize = 16;
pub(super) const DOMAIN_BARS: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) id: Arc<str>,
    pub(super) provider: usize,
    pub(super) endpoint: usize,
    pub(super) domain: usize,
    pub(super) enabled: bool,
    /// Removed or replaced: serves no new attempt.
    pub(super) draining: bool,
    /// What replaced it when its credential or provider changed.
    pub(super) successor: Option<SubscriptionIndex>,
    pub(super) fingerprint: u64,
    pub(super) models: Models,
    pub(super) counting: Counting,
    pub(super) bars: Bars,
    pub(super) ejection: Ejection,
    /// The pools that it belongs to.
    pub(super) pools: Vec<PoolIndex>,
    pub(super) sessions: u32,
}

impl Subscription {
    pub(super) fn is_closed(&self) -> bool {
        !self.enabled || self.draining
    }
}

#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// `None`: one subscription's own.
    pub(super) name: Option<Arc<str>>,
    pub(super) bars: Bars,
    /// What its answers name (D8).
    pub(super) organisation: Option<u64>,
    /// Whether more than one subscription belongs to it.
    pub(super) shared: bool,
    /// The latest sum that counted it.
    pub(super) told: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) id: Arc<str>,
    pub(super) bars: Bars,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) id: Arc<str>,
    pub(super) removed: bool,
    /// By tier.
    pub(super) members: Vec<Member>,
    /// Whether a member restricts models.
    pub(super) restricts: bool,
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) stick_wait: Duration,
    pub(super) fallback_after: Duration,
    pub(super) strategy: Strategy,
    pub(super) retries: RetryBudget,
    pub(super) waiting: usize,
    pub(super) handles: u32,
    /// What its clients were told last (D9).
    pub(super) told: Option<Told>,
}
