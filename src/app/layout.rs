//! The configuration as the core wants it: no secret, no file, only what choosing needs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use crate::config::{Config, Glob, SubscriptionConfig};
use crate::core::pools::{Applied, Layout, PoolLayout, SubscriptionLayout};
use crate::records::Names;

/// Stored objects remembered at most.
const HANDLES: u32 = 100_000;

/// From a configuration. `state`: one for the process, so that equal credentials have equal fingerprints.
pub fn layout(config: &Config, state: &RandomState) -> Layout {
    let place = |id: &Arc<str>| {
        config
            .subscriptions
            .iter()
            .position(|subscription| subscription.id == *id)
    };
    Layout {
        subscriptions: config
            .subscriptions
            .iter()
            .map(|subscription| one(subscription, state))
            .collect(),
        pools: config
            .pools
            .iter()
            .map(|pool| PoolLayout {
                id: Arc::clone(&pool.id),
                members: pool.subscriptions.iter().filter_map(place).collect(),
                max_wait: pool.max_wait,
                max_waiting: pool.max_waiting,
                stick_wait: pool.stick_wait,
                fallback_after: pool.fallback_after,
                ..PoolLayout::default()
            })
            .collect(),
        max_sessions: config.sessions.max.get(),
        max_handles: HANDLES,
    }
}

/// What the indices of records mean, on top of what they meant before.
pub fn names(config: &Config, applied: &Applied, before: &Names) -> Names {
    let mut subscriptions = before.subscriptions.clone();
    for (subscription, index) in config.subscriptions.iter().zip(&applied.subscriptions) {
        // The pools' table is full: this one never serves.
        if index.0 == u16::MAX {
            continue;
        }
        if subscriptions.len() <= index.at() {
            subscriptions.resize(index.at() + 1, (Arc::from(""), Arc::from("")));
        }
        if let Some(slot) = subscriptions.get_mut(index.at()) {
            *slot = (
                Arc::clone(&subscription.id),
                Arc::clone(&subscription.provider.id),
            );
        }
    }
    Names { subscriptions }
}

fn one(subscription: &SubscriptionConfig, state: &RandomState) -> SubscriptionLayout {
    let provider = &subscription.provider;
    let url = &provider.base_url;
    let mut fingerprint = state.build_hasher();
    fingerprint.write(subscription.credential.value.as_bytes());
    fingerprint.write(subscription.credential.name.as_str().as_bytes());
    fingerprint.write(provider.id.as_bytes());
    fingerprint.write(url.authority.as_bytes());
    fingerprint.write(url.path.as_bytes());
    let scheme = if url.tls { "https" } else { "http" };
    SubscriptionLayout {
        id: Arc::clone(&subscription.id),
        provider: Arc::clone(&provider.id),
        endpoint: format!("{scheme}://{}:{}", url.host, url.port).into(),
        domain: Arc::clone(&subscription.domain),
        domain_named: subscription.domain_named,
        enabled: subscription.enabled,
        priority: subscription.priority,
        max_in_flight: subscription.max_in_flight,
        models: globs(&subscription.models),
        deny_models: globs(&subscription.deny_models),
        fingerprint: fingerprint.finish(),
        ..SubscriptionLayout::default()
    }
}

fn globs(globs: &[Glob]) -> Vec<String> {
    globs.iter().map(|glob| glob.0.to_string()).collect()
}
