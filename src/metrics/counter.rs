//! Counts records into the series, on the control thread: as the one reader of the records it resolves a series once
//! and keeps it at hand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prometheus::{Histogram, IntCounter};

use super::{Metrics, Series, is_printable};
use crate::core::event::{AttemptRecord, Change, Event, RequestRecord};
use crate::core::ledger::usage::Usage;
use crate::core::limit::verdict::Class;
use crate::records::{Names, Record, Sink};

/// Models beyond this many fold into `other`.
const MODELS: usize = 64;

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
                Record::Event(event) => self.event(event),
            }
        }
    }
}

impl Counter {
    /// Nothing counted yet.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            models: HashSet::new(),
            requests: HashMap::new(),
            attempts: HashMap::new(),
            pools: HashMap::new(),
        }
    }

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

    fn event(&self, event: &Event) {
        if let Change::FellBack { from, to } = &event.change {
            let fallbacks = &self.metrics.0.fallbacks;
            fallbacks.with_label_values(&[&**from, &**to]).inc();
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
