//! What Prometheus scrapes (O6). Counters grow from records, on the control thread, where the one reader keeps the
//! resolved series at hand; gauges are computed from a snapshot at each scrape.

mod counter;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use self::counter::Counter;
use crate::core::pools::{PoolsSnapshot, State};

const DURATIONS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0,
];
const WAITS: [f64; 10] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The registry and its series. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

struct Series {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    attempts: IntCounterVec,
    retries: IntCounterVec,
    fallbacks: IntCounterVec,
    duration: HistogramVec,
    first_byte: HistogramVec,
    wait: HistogramVec,
    tokens: IntCounterVec,
    usage_unknown: IntCounterVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    cooldown: GaugeVec,
    headroom: GaugeVec,
    state: IntGaugeVec,
    connections: IntGaugeVec,
    dropped: IntCounter,
    scrape: Mutex<()>,
}

/// What is read at a scrape and not from the pools.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Provider, idle and active upstream connections.
    pub connections: Vec<(Arc<str>, i64, i64)>,
    /// Records that found a ring full.
    pub dropped: u64,
}

impl Metrics {
    /// Registers every series.
    ///
    /// # Errors
    /// Two series of one name: a fault of ours.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let made = Maker(&registry);
        let build = made.gauges("build_info", "The version that runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self(Arc::new(Series::register(registry)?)))
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// A series that cannot be written: a fault of ours.
    pub fn render(
        &self,
        snapshot: &PoolsSnapshot,
        readings: &Readings,
    ) -> Result<String, prometheus::Error> {
        let series = &self.0;
        let _one_at_a_time = series.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        series.show(snapshot, readings);
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&series.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The sink that counts records.
    pub fn sink(&self) -> Counter {
        Counter::new(self.clone())
    }
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let made = IntCounterVec::new(opts(name, help), labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let made = IntGaugeVec::new(opts(name, help), labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn floats(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let made = GaugeVec::new(opts(name, help), labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let made = IntCounter::with_opts(opts(name, help))?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let made = HistogramVec::new(
            HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec()),
            &["pool"],
        )?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

/// All of ours have one prefix; the process's own keep the names that everybody graphs.
fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("authpool_{name}"), help)
}

impl Series {
    fn register(registry: Registry) -> Result<Self, prometheus::Error> {
        let made = Maker(&registry);
        Ok(Self {
            requests: made.counters(
                "requests_total",
                "Requests that ended, by what the client saw.",
                &["pool", "subscription", "model", "status"],
            )?,
            refusals: made.counters(
                "refusals_total",
                "Answers of authpool's own.",
                &["pool", "code"],
            )?,
            attempts: made.counters(
                "attempts_total",
                "Tries upstream.",
                &["provider", "subscription", "verdict"],
            )?,
            retries: made.counters(
                "retries_total",
                "Tries after the first.",
                &["pool", "reason"],
            )?,
            fallbacks: made.counters(
                "fallbacks_total",
                "Tries through a pool of the fallback list.",
                &["pool", "to"],
            )?,
            duration: made.histogram(
                "request_duration_seconds",
                "From head to end.",
                &DURATIONS,
            )?,
            first_byte: made.histogram(
                "time_to_first_byte_seconds",
                "From head to the answer's head.",
                &DURATIONS,
            )?,
            wait: made.histogram(
                "wait_seconds",
                "Spent in the waiting room, by those who waited.",
                &WAITS,
            )?,
            tokens: made.counters(
                "tokens_total",
                "Tokens that answers reported.",
                &["pool", "subscription", "model", "kind"],
            )?,
            usage_unknown: made.counters(
                "usage_unknown_total",
                "Served answers of metered endpoints that reported no usage.",
                &["provider"],
            )?,
            in_flight: made.gauges("in_flight", "Attempts under way.", &["subscription"])?,
            waiting: made.gauges("waiting", "Requests in the waiting room.", &["pool"])?,
            cooldown: made.floats(
                "cooldown_seconds",
                "Until the subscription is usable again for the limit group.",
                &["subscription", "limit_group"],
            )?,
            headroom: made.floats(
                "headroom_ratio",
                "What is left of a limit.",
                &["domain", "limit_group", "dimension"],
            )?,
            state: made.gauges(
                "subscription_state",
                "Exactly one state is 1.",
                &["subscription", "state"],
            )?,
            connections: made.gauges(
                "upstream_connections",
                "Connections to a provider.",
                &["provider", "state"],
            )?,
            dropped: made.counter(
                "events_dropped_total",
                "Records that found their ring full.",
            )?,
            scrape: Mutex::new(()),
            registry,
        })
    }

    /// Of groups that may not be shown by name the least.
    fn show_headrooms(&self, snapshot: &PoolsSnapshot) {
        for headroom in &snapshot.headrooms {
            let group = headroom.limit_group.name();
            let hidden = !is_printable(group);
            let group = if hidden { "other" } else { group };
            let labels = [&*headroom.domain, group, headroom.dimension];
            let shown = self.headroom.with_label_values(&labels);
            let known = if hidden && shown.get() > 0.0 {
                shown.get().min(headroom.share)
            } else {
                headroom.share
            };
            shown.set(known);
        }
    }

    fn show(&self, snapshot: &PoolsSnapshot, readings: &Readings) {
        self.cooldown.reset();
        self.headroom.reset();
        self.state.reset();
        self.in_flight.reset();
        self.waiting.reset();
        self.connections.reset();
        for subscription in &snapshot.subscriptions {
            let id = &*subscription.id;
            self.in_flight
                .with_label_values(&[id])
                .set(i64::from(subscription.in_flight));
            for state in State::ALL {
                let is = i64::from(state == subscription.state);
                self.state.with_label_values(&[id, state.name()]).set(is);
            }
        }
        for cooldown in &snapshot.cooldowns {
            let known = snapshot
                .subscriptions
                .iter()
                .find(|known| known.index == cooldown.subscription);
            let id = known.map_or("", |known| &known.id);
            let group = cooldown
                .limit_group
                .as_ref()
                .map_or("all", |group| group.name());
            // Named by a client's model, as a rule.
            let group = if is_printable(group) { group } else { "other" };
            let longest = self.cooldown.with_label_values(&[id, group]);
            longest.set(longest.get().max(cooldown.remaining.as_secs_f64()));
        }
        self.show_headrooms(snapshot);
        for pool in &snapshot.pools {
            self.waiting
                .with_label_values(&[&*pool.id])
                .set(i64::try_from(pool.waiting).unwrap_or(i64::MAX));
        }
        for (provider, idle, active) in &readings.connections {
            self.connections
                .with_label_values(&[&**provider, "idle"])
                .set(*idle);
            self.connections
                .with_label_values(&[&**provider, "active"])
                .set(*active);
        }
        self.dropped
            .inc_by(readings.dropped.saturating_sub(self.dropped.get()));
    }
}

/// Whether a name that a client chose may be shown: what models are called, and nothing that could carry more.
pub fn is_printable(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte);
    // A version follows an `@` in the names of models; anything else there would be an address.
    let mut behind_at = name.split('@').skip(1);
    let is_versioned = behind_at.all(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    name.len() <= 128 && is_versioned && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::id::{LimitGroup, SubscriptionIndex};
    use crate::core::pools::CooldownView;

    // O9, K4
    #[test]
    fn a_name_that_could_be_an_address_is_not_shown() {
        for shown in [
            "claude-3-5-sonnet@20240620",
            "openai/gpt-4o:free",
            "ft:gpt-4o:org::id",
        ] {
            assert!(is_printable(shown), "{shown}");
        }
        for hidden in ["someone@example.com", "a b", "gpt@1@x", "naïve"] {
            assert!(!is_printable(hidden), "{hidden}");
        }
    }

    // O6, K4: the group's name is the client's model where no table knows it
    #[test]
    fn a_limit_group_that_is_no_name_is_shown_as_other_with_the_longest_cooldown() {
        let cooldowns = [("odd model\"", 9), ("m\u{e9}", 3), ("gpt-x", 5)];
        let snapshot = PoolsSnapshot {
            cooldowns: cooldowns
                .map(|(group, seconds)| CooldownView {
                    subscription: SubscriptionIndex(0),
                    limit_group: Some(LimitGroup::new(group)),
                    remaining: Duration::from_secs(seconds),
                })
                .into(),
            ..PoolsSnapshot::default()
        };
        let metrics = Metrics::new().unwrap();
        let text = metrics.render(&snapshot, &Readings::default()).unwrap();
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("authpool_cooldown_seconds{"))
            .filter_map(|line| line.split_once("limit_group="))
            .map(|(_, rest)| rest)
            .collect();
        assert_eq!(
            shown,
            [
                "\"gpt-x\",subscription=\"\"} 5",
                "\"other\",subscription=\"\"} 9"
            ]
        );
    }
}
