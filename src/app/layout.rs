//! The configuration as the core wants it: no secret, no file, only what choosing needs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use crate::config::{Config, Glob, LimitConfig, SubscriptionConfig};
use crate::core::pools::{Applied, Layout, LimitLayout, PoolLayout, SubscriptionLayout};
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
                strategy: pool.strategy,
                fallback_after: pool.fallback_after,
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
        weight: subscription.weight.get(),
        limits: subscription.limits.iter().map(limit).collect(),
        counting: provider.flavour.counting(),
    }
}

fn limit(limit: &LimitConfig) -> LimitLayout {
    let all = limit.models.iter().any(Glob::matches_all);
    LimitLayout {
        dimension: limit.dimension,
        // At most 10^12, which a float holds exactly.
        limit: limit.limit.get() as f64,
        period: limit.per,
        models: if all {
            Vec::new()
        } else {
            globs(&limit.models)
        },
    }
}

fn globs(globs: &[Glob]) -> Vec<String> {
    globs.iter().map(|glob| glob.0.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::Surroundings;
    use crate::core::choice::strategy::Strategy;
    use crate::core::limit::reading::{Counting, Dimension};

    struct Nowhere;

    impl Surroundings for Nowhere {
        fn variable(&self, _name: &str) -> Option<OsString> {
            Some("a-key-of-some-length-0123456789".into())
        }

        fn file(&self, _path: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn cores(&self) -> usize {
            1
        }

        fn memory_limit(&self) -> Option<u64> {
            None
        }
    }

    /// Of a file with this provider, and these lines of its subscription and its pool.
    fn laid_out(provider: &str, subscription: &str, pool: &str) -> Layout {
        let text = format!(
            "[[provider]]\nid = \"p\"\n{provider}\n\
             [[subscription]]\nid = \"a\"\nprovider = \"p\"\ncredential = {{ env = \"KEY\" }}\n{subscription}\n\
             [[pool]]\nid = \"main\"\nsubscriptions = [\"a\"]\n{pool}\n"
        );
        layout(
            &Config::parse(&text, &Nowhere).unwrap(),
            &RandomState::new(),
        )
    }

    const OPENAI: &str = "dialect = \"openai\"\nbase_url = \"https://api.openai.com/v1\"";

    // C2
    #[test]
    fn weight_and_strategy_are_the_files_else_one_and_headroom() {
        let plain = laid_out(OPENAI, "", "");
        assert_eq!(plain.subscriptions[0].weight, 1);
        assert!(plain.subscriptions[0].limits.is_empty());
        assert_eq!(plain.pools[0].strategy, Strategy::Headroom);
        for strategy in Strategy::ALL {
            let pool = format!("strategy = {:?}", strategy.name());
            let layout = laid_out(OPENAI, "weight = 1000", &pool);
            assert_eq!(layout.subscriptions[0].weight, 1000);
            assert_eq!(layout.pools[0].strategy, strategy);
        }
    }

    // C4
    #[test]
    fn limits_are_amounts_in_a_time_and_for_all_models_unless_some_are_named() {
        let limits = r#"limits = [
            { dimension = "requests", per = "second", limit = 50 },
            { dimension = "input_tokens", per = "minute", limit = 400_000, models = ["gpt-5*", "o4"] },
            { dimension = "output_tokens", per = "hour", limit = 1, models = ["x", "*"] },
            { dimension = "tokens", per = "day", limit = 1_000_000_000_000 },
        ]"#;
        let expected = |dimension, limit, seconds, models: &[&str]| LimitLayout {
            dimension,
            limit,
            period: Duration::from_secs(seconds),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
        };
        assert_eq!(
            laid_out(OPENAI, limits, "").subscriptions[0].limits,
            [
                expected(Dimension::Requests, 50.0, 1, &[]),
                expected(Dimension::InputTokens, 4e5, 60, &["gpt-5*", "o4"]),
                expected(Dimension::OutputTokens, 1.0, 3600, &[]),
                expected(Dimension::Tokens, 1e12, 86_400, &[]),
            ]
        );
    }

    // C4, D1
    #[test]
    fn tokens_are_counted_as_the_flavour_says() {
        let counting = |provider| laid_out(provider, "", "").subscriptions[0].counting;
        assert!(counting(OPENAI).reserves_max_tokens);
        let anthropic = "dialect = \"anthropic\"\nbase_url = \"https://api.anthropic.com\"";
        assert!(counting(anthropic).input_without_cache && counting(anthropic).ignores_cache_reads);
        let groq = "dialect = \"openai\"\nbase_url = \"https://api.groq.com/openai/v1\"";
        assert_eq!(counting(groq), Counting::default());
    }
}
