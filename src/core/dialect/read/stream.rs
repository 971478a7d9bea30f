//! What the events of a stream mean: which are only lifecycle (C9), which report usage (U1), which are errors (D2),
//! which are the end. The structure decides, never a search of the text: a search only says that an event is not
//! worth parsing. A model's delta costs a look at its name or one search, nothing more.

use memchr::memmem::Finder;
use serde_json::Value;

use super::json::Scanner;
use super::members::{self, Found, Kind, Tag};
use super::report::Report;
use crate::core::sse::{self, Event, Sink};

/// How the keys `usage` and, of Gemini, `usageMetadata` begin.
const USAGE: &[u8] = b"\"usage";

/// Reads the events of one stream.
pub(super) struct StreamReader {
    scanner: sse::Scanner,
    events: Events,
}

struct Events {
    usage: Finder<'static>,
    error: Finder<'static>,
    /// An event too large to be handed on whole.
    large: Option<Box<(Scanner<Tag>, Found)>>,
}

impl StreamReader {
    pub(super) fn new() -> Self {
        Self {
            scanner: sse::Scanner::new(),
            events: Events {
                usage: Finder::new(USAGE),
                error: Finder::new(b"\"error\""),
                large: None,
            },
        }
    }

    pub(super) fn at_boundary(&self) -> bool {
        self.scanner.at_boundary()
    }

    pub(super) fn feed(&mut self, bytes: &[u8], report: &mut Report) {
        self.scanner.feed(bytes, &mut self.events.with(report));
    }

    pub(super) fn finish(&mut self, report: &mut Report) {
        self.scanner.finish(&mut self.events.with(report));
    }
}

struct Hearing<'a> {
    events: &'a mut Events,
    report: &'a mut Report,
}

impl Events {
    fn with<'a>(&'a mut self, report: &'a mut Report) -> Hearing<'a> {
        Hearing {
            events: self,
            report,
        }
    }

    /// Whether an event may report usage or an error. Within a JSON string quotes are escaped, so that both words
    /// with bare quotes are a key or a whole string: a text about them is not mistaken.
    fn may_matter(&self, data: &[u8]) -> bool {
        let reports_usage = self.usage.find_iter(data).any(|at| {
            let after = data.get(at + USAGE.len()..).unwrap_or_default();
            let after = after.strip_prefix(b"Metadata").unwrap_or(after);
            let after = after.strip_prefix(b"\"").map(<[u8]>::trim_ascii_start);
            match after.and_then(|after| after.strip_prefix(b":")) {
                Some(value) => !value.trim_ascii_start().starts_with(b"null"),
                None => false,
            }
        });
        reports_usage || self.error.find(data).is_some()
    }
}

impl Sink for Hearing<'_> {
    fn event(&mut self, event: Event<'_>) {
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            return self.report.end();
        }
        if data.is_empty() {
            return;
        }
        let kind = Kind::of(event.name).or_else(|| Kind::of(leading_type(data)?));
        match kind {
            Some(Kind::Delta) => self.report.content(),
            Some(Kind::Ping) => {}
            Some(Kind::End) => self.report.end(),
            None if self.report.has_begun() && !self.events.may_matter(data) => {}
            _ => {
                let found = Found::read(data);
                let lifecycle = found.has_choices && !self.report.has_begun() && !has_output(data);
                self.found(kind, found, event.name, Some(data), lifecycle);
            }
        }
    }

    fn part(&mut self, data: &[u8]) {
        let (scanner, found) = &mut **self
            .events
            .large
            .get_or_insert_with(|| Box::new((members::scanner(false), Found::default())));
        scanner.feed(data, found);
        // At once: a stream that breaks off is counted with what was seen.
        self.report.usage(found.usage);
    }

    fn end(&mut self, name: &[u8]) {
        if let Some(large) = self.events.large.take() {
            self.found(Kind::of(name), large.1, name, None, false);
        }
    }
}

impl Hearing<'_> {
    /// `data`: the whole event, where it was small enough to be had. `lifecycle`: a chat chunk without output.
    fn found(
        &mut self,
        kind: Option<Kind>,
        mut found: Found,
        name: &[u8],
        data: Option<&[u8]>,
        lifecycle: bool,
    ) {
        self.report.usage(found.usage);
        self.report.response_id(found.response_id.take());
        let kind = kind.or(found.kind);
        if kind == Some(Kind::Failed) || found.has_error() {
            let is_error = match data {
                Some(data) => self.report.error(data, name),
                None => self.report.error(&found.error(), name),
            };
            if is_error {
                return;
            }
        }
        match kind {
            Some(Kind::Opening | Kind::Ping) => {}
            Some(Kind::End | Kind::Closing) => self.report.end(),
            None if lifecycle => {}
            Some(Kind::Delta | Kind::Reported | Kind::Failed) | None => self.report.content(),
        }
    }
}

/// The `type` of an object that begins with it, as events without a name do.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"{")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"type\"")?.trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"")?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

/// Whether a chat or completion chunk has text, a tool call or a refusal (C9): any member of a delta but the role
/// that is not empty, so that a kind of output not yet known to us counts.
fn has_output(data: &[u8]) -> bool {
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else {
        return true;
    };
    let choices = chunk.get("choices").and_then(Value::as_array);
    choices.into_iter().flatten().any(|choice| {
        let deltas = [choice.get("delta"), choice.get("message")];
        let mut members = deltas.into_iter().flatten().filter_map(Value::as_object);
        members.any(|delta| {
            let mut output = delta.iter().filter(|(name, _)| *name != "role");
            output.any(|(_, value)| !is_empty(value))
        }) || choice.get("text").is_some_and(|text| !is_empty(text))
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
