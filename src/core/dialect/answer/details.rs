//! What an error says in fields of its own rather than in words: waits, and Google's typed details (quotas that
//! are spent, reasons, delays). Where such fields lie is `fault`'s to know.

use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::{Fault, MAX_ITEMS};
use super::times;
use super::wording::spelt_out;
use crate::core::time::WallTime;

/// A wait that stands in a field of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stated {
    /// For so long.
    For(Duration),
    /// Until then.
    Until(WallTime),
}

/// One quota that Google says is spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Violation {
    /// The quota's name, spelt out.
    pub(super) name: String,
    /// Whether it is counted for a model.
    pub(super) per_model: bool,
    /// Whether nothing at all is allowed.
    pub(super) is_zero: bool,
}

impl Fault {
    /// One of Google's typed details.
    pub(super) fn collect_detail(&mut self, detail: &Map<String, Value>) {
        if let Some(reason) = detail.get("reason").and_then(Value::as_str) {
            self.label(reason);
        }
        self.collect_waits(detail);
        let violations = detail.get("violations").and_then(Value::as_array);
        for violation in violations.into_iter().flatten().take(MAX_ITEMS) {
            self.violation(&Violation::of(violation));
        }
        if let Some(Value::Object(metadata)) = detail.get("metadata") {
            self.names_model |= metadata.contains_key("model");
            self.collect_waits(metadata);
            if let Some(limit) = metadata.get("quota_limit").and_then(Value::as_str) {
                self.violation(&Violation {
                    name: spelt_out(limit),
                    per_model: false,
                    is_zero: metadata.get("quota_limit_value").is_some_and(is_zero),
                });
            }
        }
    }

    pub(super) fn collect_waits(&mut self, object: &Map<String, Value>) {
        let number = |name: &str| object.get(name).and_then(as_number);
        let units = [
            ("resets_in_seconds", 1.0),
            ("retry_after", 1.0),
            ("retry_after_seconds", 1.0),
            ("retryAfter", 1.0),
            ("estimated_time", 1.0),
            ("retry_after_ms", 1e-3),
        ];
        for (name, unit) in units {
            if let Some(wait) = number(name).and_then(|number| times::span(number, unit)) {
                self.wait(Stated::For(wait));
            }
        }
        for name in ["retryDelay", "quotaResetDelay", "retry_delay"] {
            let text = object.get(name).and_then(Value::as_str);
            if let Some(wait) = text.and_then(times::duration) {
                self.wait(Stated::For(wait));
            }
        }
        for name in ["resets_at", "reset_at", "resetsAt", "resetAt", "reset_time"] {
            let text = object.get(name).and_then(Value::as_str);
            let instant = number(name)
                .and_then(times::epoch)
                .or_else(|| times::instant(text?));
            if let Some(instant) = instant {
                self.wait(Stated::Until(instant));
            }
        }
    }

    fn wait(&mut self, wait: Stated) {
        if self.waits.len() < MAX_ITEMS {
            self.waits.push(wait);
        }
    }

    fn violation(&mut self, violation: &Violation) {
        if self.violations.len() < MAX_ITEMS {
            self.violations.push(violation.clone());
        }
    }
}

impl Violation {
    fn of(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let dimensions = value.get("quotaDimensions");
        let name = text("quotaId")
            .or_else(|| text("quotaMetric"))
            .or_else(|| text("subject"))
            .unwrap_or_default();
        Self {
            name: spelt_out(name),
            per_model: dimensions.is_some_and(|dimensions| dimensions.get("model").is_some()),
            is_zero: value.get("quotaValue").is_some_and(is_zero),
        }
    }
}

fn is_zero(value: &Value) -> bool {
    as_number(value).is_some_and(|number| number == 0.0)
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => times::number(text),
        _ => None,
    }
}
