//! The log (O9): one line a request and one line an event, as text (`key=value`) or JSON, written in batches on the
//! control thread, so that no request waits for it. Never the query; what clients choose is shown only in the
//! characters that names are made of.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::config::LogConfig;
use crate::core::event::{Change, Event, RequestRecord};
use crate::core::id::LimitGroup;
use crate::core::time::Timestamp;
use crate::metrics::is_printable;
use crate::records::{Names, Record, Sink};

/// Writes the lines of requests and events.
pub struct Log<W> {
    out: W,
    json: bool,
    requests: bool,
    events: bool,
    line: String,
    clock: Clock,
}

impl<W: Write + Send> Log<W> {
    /// Requests are logged at `info`, changes for the worse at `warn`.
    pub fn new(out: W, config: LogConfig, clock: Clock) -> Self {
        Self {
            out,
            json: config.json,
            requests: config.level >= tracing::Level::INFO,
            events: config.level >= tracing::Level::WARN,
            line: String::with_capacity(16 * 1024),
            clock,
        }
    }
}

impl<W> Log<W> {
    /// A fallback comes once a request, and is told as requests are.
    fn shows(&self, event: &Event) -> bool {
        match event.change {
            Change::FellBack { .. } => self.requests,
            _ => self.events,
        }
    }
}

impl<W: Write + Send> Sink for Log<W> {
    fn take(&mut self, records: &[Record], names: &Names) {
        self.line.clear();
        // Instants are monotonic; people read wall time, which may have been set since the start.
        let now = i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX);
        let offset = self.clock.wall().as_micros().saturating_sub(now);
        for record in records {
            match record {
                Record::Request(request) if self.requests => {
                    let mut line = Line::begin(
                        &mut self.line,
                        self.json,
                        wall(request.at, offset),
                        "INFO",
                        "request",
                    );
                    request_fields(&mut line, request);
                    line.end();
                }
                Record::Event(event) if self.shows(event) => {
                    let (level, msg) = event_words(event);
                    let mut line = Line::begin(
                        &mut self.line,
                        self.json,
                        wall(event.at, offset),
                        level,
                        msg,
                    );
                    event_fields(&mut line, event, names);
                    line.end();
                }
                Record::Request(_) | Record::Event(_) | Record::Attempt(_) => {}
            }
        }
        // A log that cannot be written must not stop the proxy; there is nowhere left to say so.
        let _ = self.out.write_all(self.line.as_bytes());
    }
}

fn wall(at: Timestamp, offset: i64) -> jiff::Timestamp {
    let micros = i64::try_from(at.as_micros())
        .unwrap_or(i64::MAX)
        .saturating_add(offset);
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default()
}

fn request_fields(line: &mut Line<'_>, request: &RequestRecord) {
    let mut buffer = Uuid::encode_buffer();
    line.text(
        "request_id",
        Some(
            Uuid::from_u128(request.request_id)
                .hyphenated()
                .encode_lower(&mut buffer),
        ),
    );
    line.text("client", request.client.as_deref());
    line.text("pool", request.pool.as_deref());
    line.text("route", request.route.as_deref());
    line.text("method", Some(request.method.as_str()));
    line.named("path", Some(&request.path));
    line.named("model", request.model.as_deref());
    if let Some(pool) = &request.served_by_pool {
        line.text("served_by_pool", Some(pool));
    }
    line.text("subscription", request.subscription.as_deref());
    line.number("attempts", Some(u64::from(request.attempts)));
    line.text("verdict", request.verdict.map(|class| class.name()));
    line.number("status", Some(u64::from(request.status)));
    line.text("code", request.code);
    line.flag("stream", request.stream);
    line.number("bytes_in", Some(request.bytes_in));
    line.number("bytes_out", Some(request.bytes_out));
    line.number("tokens_in", request.usage.input);
    line.number("tokens_out", request.usage.output);
    line.number("cost_micro_usd", None);
    line.millis("wait_ms", Some(request.wait));
    line.millis("ttfb_ms", request.time_to_first_byte);
    line.millis("duration_ms", Some(request.duration));
    line.flag("aborted", request.aborted);
}

fn event_words(event: &Event) -> (&'static str, &'static str) {
    match event.change {
        Change::Cooling { .. } => ("WARN", "cooling"),
        Change::Quarantined { .. } => ("WARN", "quarantined"),
        Change::Ejected { .. } => ("WARN", "ejected"),
        Change::Joined { .. } => ("WARN", "joined"),
        Change::Recovered { .. } => ("INFO", "recovered"),
        Change::FellBack { .. } => ("INFO", "fell_back"),
    }
}

fn event_fields(line: &mut Line<'_>, event: &Event, names: &Names) {
    line.text("subscription", Some(names.subscription(event.subscription)));
    let group = |group: &Option<LimitGroup>| -> Arc<str> {
        Arc::from(group.as_ref().map_or("all", |group| group.name()))
    };
    match &event.change {
        Change::Cooling {
            limit_group,
            until,
            class,
            stated,
        } => {
            line.named("limit_group", Some(&group(limit_group)));
            line.text("class", Some(class.name()));
            line.flag("stated", *stated);
            line.millis("for_ms", Some(until.since(event.at)));
        }
        Change::Quarantined {
            limit_group,
            recheck,
        } => {
            line.named("limit_group", Some(&group(limit_group)));
            line.millis("recheck_ms", Some(recheck.since(event.at)));
        }
        Change::Ejected { until } => line.millis("for_ms", Some(until.since(event.at))),
        Change::Joined { with } => line.text("with", Some(names.subscription(*with))),
        Change::Recovered { limit_group } => line.named("limit_group", Some(&group(limit_group))),
        Change::FellBack { from, to } => {
            line.text("from", Some(from));
            line.text("to", Some(to));
        }
    }
}

/// One line in the making.
struct Line<'a> {
    out: &'a mut String,
    json: bool,
}

impl<'a> Line<'a> {
    fn begin(
        out: &'a mut String,
        json: bool,
        time: jiff::Timestamp,
        level: &str,
        msg: &str,
    ) -> Self {
        let _ = if json {
            write!(
                out,
                "{{\"time\":\"{time:.6}\",\"level\":\"{level}\",\"msg\":\"{msg}\""
            )
        } else {
            write!(out, "{time:.6} {level} msg={msg}")
        };
        Self { out, json }
    }

    fn key(&mut self, key: &str) {
        let (before, after) = if self.json {
            (",\"", "\":")
        } else {
            (" ", "=")
        };
        self.out.push_str(before);
        self.out.push_str(key);
        self.out.push_str(after);
    }

    /// A word of ours or of the configuration: it needs no escape. Unknown is `null` or `-`.
    fn text(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        match value.filter(|value| !value.is_empty()) {
            Some(value) if self.json => {
                self.out.push('"');
                self.out.push_str(value);
                self.out.push('"');
            }
            Some(value) => self.out.push_str(value),
            None => self.unknown(),
        }
    }

    /// A word that a client chose.
    fn named(&mut self, key: &str, value: Option<&str>) {
        self.text(
            key,
            value.map(|value| {
                if is_printable(value) {
                    value
                } else {
                    "unprintable"
                }
            }),
        );
    }

    fn number(&mut self, key: &str, value: Option<u64>) {
        self.key(key);
        match value {
            Some(value) => self.digits(value, 1),
            None => self.unknown(),
        }
    }

    /// Milliseconds to three places.
    fn millis(&mut self, key: &str, value: Option<Duration>) {
        self.key(key);
        match value {
            Some(value) => {
                let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
                self.digits(micros / 1000, 1);
                self.out.push('.');
                self.digits(micros % 1000, 3);
            }
            None => self.unknown(),
        }
    }

    /// At least so many digits. A line has ten numbers: formatting them was half of its cost.
    fn digits(&mut self, value: u64, least: usize) {
        let mut digits = [b'0'; 20];
        let (mut left, mut at) = (value, digits.len());
        while let Some(digit) = at.checked_sub(1).and_then(|next| digits.get_mut(next))
            && (left > 0 || 20 - at < least)
        {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
            at -= 1;
        }
        let digits = digits.get(at..).unwrap_or_default();
        self.out
            .push_str(std::str::from_utf8(digits).unwrap_or_default());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    fn unknown(&mut self) {
        self.out.push_str(if self.json { "null" } else { "-" });
    }

    fn end(self) {
        self.out.push_str(if self.json { "}\n" } else { "\n" });
    }
}
