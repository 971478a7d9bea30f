//! The error that an answer carries, whatever shape it has: an object, a string, a list, one inside the other,
//! or JSON written into a message. Only structure is followed; what labels and sentences mean is not decided
//! here. Depth, breadth and length of what is taken are bounded.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::body::tree;
use super::details::{Stated, Violation};
use super::labels::normal;

/// How deep errors within errors are followed.
const MAX_DEPTH: usize = 6;
/// How many labels, waits, violations and elements of one list are taken.
pub(super) const MAX_ITEMS: usize = 16;
/// How many headers are taken from inside a body.
const MAX_HEADERS: usize = 64;
/// How many bytes of messages are taken.
const MAX_MESSAGE: usize = 8_192;

/// Where errors lie within errors. The innermost tells most.
const INNER: [&str; 6] = ["error", "errors", "innererror", "fault", "raw", "base_resp"];
const LABELS: [&str; 12] = [
    "code",
    "type",
    "error_code",
    "errorCode",
    "error_type",
    "reason",
    "__type",
    "status",
    "limit_source",
    "rate_limit_type",
    "error_name",
    "name",
];
const STATUS: [&str; 6] = [
    "code",
    "status",
    "status_code",
    "statusCode",
    "raw_status_code",
    "http_status",
];
const MESSAGES: [&str; 10] = [
    "message",
    "Message",
    "msg",
    "status_msg",
    "detail",
    "error",
    "error_description",
    "title",
    "raw",
    "description",
];

/// What an error says.
#[derive(Debug, Default)]
pub(super) struct Fault {
    /// Its codes, types and reasons as [`normal`] writes them, the innermost first.
    pub(super) labels: Vec<String>,
    /// The status that it names itself.
    pub(super) status: Option<u16>,
    /// Its sentences, one a line.
    pub(super) message: String,
    /// Waits in fields of their own.
    pub(super) waits: Vec<Stated>,
    /// Quotas that Google says are spent.
    pub(super) violations: Vec<Violation>,
    /// Whether it names the model that it concerns in a field of its own.
    pub(super) names_model: bool,
    /// Whether it says that the input was flagged.
    pub(super) is_moderation: bool,
    /// Headers that travel inside the body.
    pub(super) headers: HeaderMap,
}

impl Fault {
    /// The error of an answer that is one by its status, whatever shape it has.
    pub(super) fn of_error(value: &Value) -> Self {
        let mut fault = Self::default();
        fault.collect(value, 0);
        fault
    }

    /// An error of which there is only text.
    pub(super) fn of_text(text: &str) -> Self {
        let mut fault = Self::default();
        fault.say(text);
        fault
    }

    /// The error that a JSON value of a served answer or stream carries; `None`: it carries none.
    pub(super) fn within(value: &Value, event: Option<&str>) -> Option<Self> {
        let object = match value {
            Value::Object(object) => object,
            _ if matches!(event, Some("error" | "exception")) => {
                return Some(Self::of_error(value));
            }
            _ => return None,
        };
        let kind = object.get("type").and_then(Value::as_str);
        let is_named = |name: &str| event == Some(name) || kind == Some(name);
        if object.get("error").is_some_and(is_something)
            || is_named("error")
            || event == Some("exception")
        {
            return Some(Self::of_error(value));
        }
        if is_named("response.failed") {
            let response = object.get("response").unwrap_or(value);
            return Some(Self::of_error(response));
        }
        None
    }

    fn collect(&mut self, value: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(text) => self.collect_text(text, depth),
            Value::Array(items) => {
                for item in items.iter().take(MAX_ITEMS) {
                    self.collect(item, depth + 1);
                }
            }
            Value::Object(object) => self.collect_object(object, depth),
            _ => {}
        }
    }

    /// A sentence, or JSON that was written into one.
    fn collect_text(&mut self, text: &str, depth: usize) {
        let trimmed = text.trim_start();
        if trimmed.starts_with(['{', '['])
            && let Some(value @ (Value::Object(_) | Value::Array(_))) = tree(trimmed.as_bytes())
        {
            self.collect(&value, depth + 1);
            return;
        }
        self.say(text);
    }

    fn collect_object(&mut self, object: &Map<String, Value>, depth: usize) {
        for name in INNER {
            if let Some(value @ (Value::Object(_) | Value::Array(_))) = object.get(name) {
                self.collect(value, depth + 1);
            }
        }
        if let Some(Value::Object(metadata)) = object.get("metadata") {
            self.collect_metadata(metadata, depth);
        }
        if let Some(Value::Array(details)) = object.get("details") {
            for detail in details.iter().filter_map(Value::as_object).take(MAX_ITEMS) {
                self.collect_detail(detail);
            }
        }
        for name in MESSAGES {
            match object.get(name) {
                Some(Value::String(text)) => self.collect_text(text, depth),
                Some(value) if matches!(name, "detail" | "message") => {
                    self.collect(value, depth + 1);
                }
                _ => {}
            }
        }
        for name in LABELS {
            match object.get(name) {
                Some(Value::String(label)) => self.label(label),
                Some(Value::Number(number)) => self.label(&number.to_string()),
                _ => {}
            }
        }
        for name in STATUS {
            if self.status.is_none() {
                self.status = object.get(name).and_then(status);
            }
        }
        self.collect_waits(object);
        if let Some(Value::Object(headers)) = object.get("headers") {
            self.collect_headers(headers);
        }
    }

    /// What a gateway adds of the provider behind it.
    fn collect_metadata(&mut self, metadata: &Map<String, Value>, depth: usize) {
        self.is_moderation |=
            metadata.contains_key("flagged_input") || metadata.contains_key("patterns");
        self.collect_object(metadata, depth + 1);
    }

    fn collect_headers(&mut self, headers: &Map<String, Value>) {
        for (name, value) in headers.iter().take(MAX_HEADERS) {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&text)) {
                self.headers.append(name, value);
            }
        }
    }

    pub(super) fn label(&mut self, label: &str) {
        let label = normal(label);
        if !label.is_empty() && self.labels.len() < MAX_ITEMS && !self.labels.contains(&label) {
            self.labels.push(label);
        }
    }

    fn say(&mut self, text: &str) {
        let room = MAX_MESSAGE.saturating_sub(self.message.len());
        if text.is_empty() || room == 0 {
            return;
        }
        if !self.message.is_empty() {
            self.message.push('\n');
        }
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.message.push_str(text.get(..end).unwrap_or_default());
    }
}

/// Whether a member named `error` is one: neither null nor what serialisers write for none.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// An HTTP status of an error, as a number or its numeral.
fn status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (400..600)
        .contains(&number)
        .then(|| u16::try_from(number).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, labels: &[&str], status: Option<u16>, message: &str) {
        let fault = Fault::of_error(&value);
        for label in labels {
            assert!(
                fault.labels.iter().any(|known| known == label),
                "{value}: {:?}",
                fault.labels
            );
        }
        assert_eq!(fault.status, status, "{value}");
        assert!(
            fault.message.contains(message),
            "{value}: {}",
            fault.message
        );
    }

    // Corpus rule 2; CLIENTS, Parsing: the shapes of the wild.
    #[test]
    fn an_error_is_found_in_every_shape() {
        check(
            json!({"error": {"type": "rate_limit_error", "message": "slow", "code": null}}),
            &["ratelimiterror"],
            None,
            "slow",
        );
        check(
            json!({"code": "c-d", "error": "text"}),
            &["cd"],
            None,
            "text",
        );
        check(
            json!({"detail": [{"msg": "bad", "type": "missing"}]}),
            &["missing"],
            None,
            "bad",
        );
        check(
            json!([{"error": {"code": 429, "message": "m"}}]),
            &["429"],
            Some(429),
            "m",
        );
        check(
            json!({"message": "m", "raw_status_code": 429}),
            &[],
            Some(429),
            "m",
        );
        check(
            json!({"error": {"message": "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"in\"}}"}}),
            &["overloadederror"],
            None,
            "in",
        );
        check(
            json!({"error": {"message": "out", "metadata": {"raw": "{\"error\":{\"type\":\"t_u\"}}"}}}),
            &["tu"],
            None,
            "out",
        );
        check(json!({"__type": "a#SlowDown"}), &["slowdown"], None, "");
    }

    // Corpus rule 1: `"error": null` is no error, `response.incomplete` is a normal end.
    #[test]
    fn a_served_answer_is_an_error_only_by_its_structure() {
        let none = [
            json!({"error": null, "choices": []}),
            json!({"type": "response.incomplete", "response": {"error": null}}),
            json!({"choices": [{"message": {"content": "{\"error\":1}"}}]}),
            json!({"response": {"error": {"code": "x"}}}),
            json!("error"),
        ];
        for value in none {
            assert!(Fault::within(&value, None).is_none(), "{value}");
        }
        let some = [
            json!({"error": "x"}),
            json!({"type": "error", "code": "x"}),
            json!({"type": "response.failed", "response": {"error": {"code": "x"}}}),
        ];
        for value in some {
            let fault = Fault::within(&value, None).unwrap();
            assert!(fault.labels.contains(&"x".to_owned()) || fault.message == "x");
        }
    }

    #[test]
    fn headers_inside_a_body_are_headers() {
        let value =
            json!({"error": {"metadata": {"headers": {"X-RateLimit-Reset": 17, "bad name": "x"}}}});
        let fault = Fault::of_error(&value);
        assert_eq!(fault.headers.get("x-ratelimit-reset").unwrap(), "17");
        assert_eq!(fault.headers.len(), 1);
    }

    #[test]
    fn an_error_nested_without_end_is_followed_so_far_and_no_further() {
        let mut value = json!({"code": "deep"});
        for _ in 0..60 {
            value = json!({"error": value});
        }
        assert!(Fault::of_error(&value).labels.is_empty());
    }
}
