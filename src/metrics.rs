//! What Prometheus scrapes (O6). Counters grow from records, on the control thread, where the one reader keeps the
//! resolved series at hand; gauges are computed from a snapshot at each scrape.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::core::event::{AttemptRecord, RequestRecord};
use crate::core::ledger::usage::Usage;
use crate::core::limit::verdict::Class;
use crate::core::pools::{PoolsSnapshot, State};
use crate::records::{Names, Record, Sink};

/// Models beyond this many fold into `other`.
const MODELS: usize = 64;
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
    duration: HistogramVec,
    first_byte: HistogramVec,
    wait: HistogramVec,
    tokens: IntCounterVec,
    usage_unknown: IntCounterVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    cooldown: GaugeVec,
    state: IntGaugeVec,
    connections: IntGaugeVec,
    dropped: Gauge,
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
        let series = Series {
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
            dropped: made.float(
                "events_dropped_total",
                "Records that found their ring full.",
            )?,
            scrape: Mutex::new(()),
            registry,
        };
        Ok(Self(Arc::new(series)))
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
        Counter {
            metrics: self.clone(),
            models: HashSet::new(),
            requests: HashMap::new(),
            attempts: HashMap::new(),
            pools: HashMap::new(),
        }
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

    fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let made = Gauge::with_opts(opts(name, help))?;
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
    fn show(&self, snapshot: &PoolsSnapshot, readings: &Readings) {
        self.cooldown.reset();
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
            self.cooldown
                .with_label_values(&[id, group])
                .set(cooldown.remaining.as_secs_f64());
        }
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
        self.dropped.set(readings.dropped as f64);
    }
}

/// Counts records into the series. It resolves a series once and keeps it.
pub struct Counter {
    metrics: Metrics,
    models: HashSet<Arc<str>>,
    requests: HashMap<RequestLabels, RequestSeries>,
    attempts: HashMap<(u16, &'static str), IntCounter>,
    pools: HashMap<Option<Arc<str>>, PoolSeries>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct RequestLabels {
    pool: Option<Arc<str>>,
    subscription: Option<Arc<str>>,
    model: Arc<str>,
}

struct RequestSeries {
    by_status: HashMap<&'static str, IntCounter>,
    tokens: [Option<IntCounter>; 5],
}

struct PoolSeries {
    duration: Histogram,
    first_byte: Histogram,
    wait: Histogram,
}

const KINDS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];

impl Sink for Counter {
    fn take(&mut self, records: &[Record], names: &Names) {
        for record in records {
            match record {
                Record::Request(request) => self.request(request, names),
                Record::Attempt(attempt) => self.attempt(attempt, names),
                Record::Event(_) => {}
            }
        }
    }
}

impl Counter {
    fn request(&mut self, request: &RequestRecord, names: &Names) {
        let series = Arc::clone(&self.metrics.0);
        let pool = request.pool.as_deref().unwrap_or("");
        let model = self.model(request.model.as_deref());
        let labels = RequestLabels {
            pool: request.pool.clone(),
            subscription: request.subscription.clone(),
            model,
        };
        let subscription = request.subscription.as_deref().unwrap_or("");
        let resolved = self
            .requests
            .entry(labels.clone())
            .or_insert_with(|| RequestSeries {
                by_status: HashMap::new(),
                tokens: [const { None }; 5],
            });
        let status = status(request.status);
        resolved
            .by_status
            .entry(status)
            .or_insert_with(|| {
                series
                    .requests
                    .with_label_values(&[pool, subscription, &*labels.model, status])
            })
            .inc();
        // What was not reported has no series: unknown is not zero.
        for ((slot, kind), count) in resolved
            .tokens
            .iter_mut()
            .zip(KINDS)
            .zip(counts(&request.usage))
        {
            let Some(count) = count else { continue };
            let labels = [pool, subscription, &*labels.model, kind];
            slot.get_or_insert_with(|| series.tokens.with_label_values(&labels))
                .inc_by(count);
        }
        if let Some(code) = request.code {
            series.refusals.with_label_values(&[pool, code]).inc();
        }
        if request.metered && request.verdict == Some(Class::Ok) && request.usage.is_unknown() {
            series
                .usage_unknown
                .with_label_values(&[names.provider_of(subscription)])
                .inc();
        }
        self.times(request, &series);
    }

    fn times(&mut self, request: &RequestRecord, series: &Series) {
        let pool = request.pool.as_deref().unwrap_or("");
        let times = self
            .pools
            .entry(request.pool.clone())
            .or_insert_with(|| PoolSeries {
                duration: series.duration.with_label_values(&[pool]),
                first_byte: series.first_byte.with_label_values(&[pool]),
                wait: series.wait.with_label_values(&[pool]),
            });
        times.duration.observe(request.duration.as_secs_f64());
        if let Some(first_byte) = request.time_to_first_byte {
            times.first_byte.observe(first_byte.as_secs_f64());
        }
        if !request.wait.is_zero() {
            times.wait.observe(request.wait.as_secs_f64());
        }
    }

    fn attempt(&mut self, attempt: &AttemptRecord, names: &Names) {
        let series = &self.metrics.0;
        let index = attempt.subscription;
        self.attempts
            .entry((index.0, attempt.verdict))
            .or_insert_with(|| {
                let labels = [
                    names.provider(index),
                    names.subscription(index),
                    attempt.verdict,
                ];
                series.attempts.with_label_values(&labels)
            })
            .inc();
        if matches!(attempt.next, "failover" | "retry") {
            let reason = match attempt.verdict {
                "rate_limited" | "quota_exhausted" => "limited",
                "credential_invalid" => "credential",
                "overloaded" => "overloaded",
                "silence" if attempt.next == "failover" => "not_processed",
                _ => "upstream_error",
            };
            series
                .retries
                .with_label_values(&[attempt.pool.as_deref().unwrap_or(""), reason])
                .inc();
        }
    }

    /// The label of a model: bounded in number and in characters, since clients choose it.
    fn model(&mut self, model: Option<&str>) -> Arc<str> {
        let Some(model) = model else {
            return Arc::from("");
        };
        if let Some(known) = self.models.get(model) {
            return Arc::clone(known);
        }
        if self.models.len() >= MODELS || !is_printable(model) {
            return Arc::from("other");
        }
        let model: Arc<str> = Arc::from(model);
        self.models.insert(Arc::clone(&model));
        model
    }
}

/// Whether a name that a client chose may be shown: what models are called, and nothing that could carry more.
pub fn is_printable(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte);
    name.len() <= 128 && name.bytes().all(is_allowed)
}

fn status(status: u16) -> &'static str {
    match status {
        0 => "aborted",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

fn counts(usage: &Usage) -> [Option<u64>; 5] {
    [
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write,
        usage.reasoning,
    ]
}
