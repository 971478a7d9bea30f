//! An answer before it is written: status, header lines, and a body or a stream of events. How it is delivered, and
//! where that goes wrong, is decided elsewhere.

use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;

use super::dates::Dates;

/// What a client is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Header lines, each with its CRLF, without those that frame the message.
    pub(super) lines: Vec<u8>,
    /// Whether the lines hold a date of their own.
    pub(super) dated: bool,
    pub(super) payload: Payload,
    /// Told no: by status or by an error event.
    pub(super) refused: bool,
    /// Tokens of the prompt that this answer accounts for.
    pub(super) input_tokens: u64,
    /// Tokens of an answer that is no stream; those of a stream are its content events.
    pub(super) output_tokens: u64,
}

#[derive(Debug)]
pub(super) enum Payload {
    Whole(Bytes),
    Events(Events),
}

/// A stream, ready to be written, with where its events end.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Which of them are content; each counts as one token.
    pub(super) content: Range<usize>,
}

impl Answer {
    /// Without a single header.
    pub(super) fn bare(status: u16, payload: Payload) -> Self {
        Self {
            status,
            lines: Vec::with_capacity(1_024),
            dated: false,
            payload,
            refused: status >= 400,
            input_tokens: 0,
            output_tokens: 0,
        }
    }

    pub(super) fn new(status: u16, content_type: &str, payload: Payload) -> Self {
        let mut answer = Self::bare(status, payload);
        answer.line("content-type", content_type);
        answer
    }

    /// A body of JSON.
    pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", Payload::Whole(body.into()))
    }

    /// A stream of events.
    pub(super) fn events(events: Events) -> Self {
        let mut answer = Self::new(
            200,
            "text/event-stream; charset=utf-8",
            Payload::Events(events),
        );
        answer.line("cache-control", "no-cache");
        answer
    }

    /// Adds a header of our own, not the date.
    pub(super) fn line(&mut self, name: impl Display, value: impl Display) {
        let _ = write!(self.lines, "{name}: {value}\r\n");
    }

    /// Adds a header that a script or the corpus brought. What would end the line early is left out: whoever wants
    /// that writes a raw answer.
    pub(super) fn put(&mut self, name: &str, value: &str) {
        let breaks = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if !breaks(name) && !breaks(value) {
            self.line(name, value);
            self.dated |= name.eq_ignore_ascii_case("date");
        }
    }

    /// Writes the head, to its empty line.
    pub(super) fn write_head(&self, dates: &Dates, framing: Framing, out: &mut Vec<u8>) {
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown");
        if self.status == 200 {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", self.status);
        }
        if !self.dated {
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(dates.http().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&self.lines);
        let bodiless = self.status == 204 || self.status == 304;
        match (&self.payload, framing.chunked) {
            _ if bodiless => {}
            (Payload::Whole(body), _) => {
                let _ = write!(out, "content-length: {}\r\n", body.len());
            }
            (Payload::Events(_), true) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (Payload::Events(_), false) => {}
        }
        if framing.closes {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// How the end of an answer is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// Streams are chunked; else they end with the connection.
    pub(super) chunked: bool,
    /// The connection ends with the answer.
    pub(super) closes: bool,
}

impl Events {
    pub(super) fn with_capacity(events: u64) -> Self {
        let events = usize::try_from(events).unwrap_or(0).min(65_536);
        Self {
            bytes: Vec::with_capacity(2_048 + events * 256),
            ends: Vec::with_capacity(events + 12),
            content: 0..0,
        }
    }

    /// Appends what `write` writes as one event.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Appends one event of a name and one line of data. The name is left out where it is empty.
    pub(super) fn event(&mut self, name: &str, data: std::fmt::Arguments<'_>) {
        self.push(|bytes| {
            if !name.is_empty() {
                let _ = writeln!(bytes, "event: {name}");
            }
            let _ = write!(bytes, "data: {data}\n\n");
        });
    }

    /// The events that follow are content.
    pub(super) fn content_begins(&mut self) {
        self.content = self.ends.len()..self.ends.len();
    }

    /// Those up to here were content.
    pub(super) fn content_ends(&mut self) {
        self.content.end = self.ends.len();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of one event. `None` past the last.
    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// Drops every event from `index` on.
    pub(super) fn truncate(&mut self, index: usize) {
        self.ends.truncate(index);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        self.content.end = self.content.end.min(index);
        self.content.start = self.content.start.min(index);
    }

    /// How many tokens the first `events` events hold.
    pub(super) fn tokens(&self, events: usize) -> u64 {
        let end = events.min(self.content.end);
        end.saturating_sub(self.content.start) as u64
    }

    /// A recorded body, cut after its empty lines.
    pub(super) fn recorded(body: &[u8]) -> Self {
        let mut events = Self::with_capacity(16);
        let mut rest = body;
        while let Some(at) = memchr::memmem::find(rest, b"\n\n") {
            let (event, after) = rest.split_at(at + 2);
            events.push(|bytes| bytes.extend_from_slice(event));
            rest = after;
        }
        if !rest.is_empty() {
            events.push(|bytes| bytes.extend_from_slice(rest));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(answer: &Answer, closes: bool) -> String {
        let mut out = Vec::new();
        let mut dates = Dates::default();
        dates.turn_to(crate::core::time::Timestamp::ZERO);
        let framing = Framing {
            chunked: true,
            closes,
        };
        answer.write_head(&dates, framing, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_states_its_length_and_its_date() {
        let answer = Answer::json(200, "{}");
        assert_eq!(
            head(&answer, true),
            "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-type: application/json\r\n\
             content-length: 2\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_recorded_date_is_kept_and_a_broken_header_is_not() {
        let mut answer = Answer::json(529, "");
        answer.put("Date", "yesterday");
        answer.put("x", "a\r\nb: c");
        let head = head(&answer, false);
        assert!(head.starts_with("HTTP/1.1 529 Unknown\r\n"), "{head}");
        assert!(head.contains("Date: yesterday\r\n") && !head.contains("1970"));
        assert!(!head.contains("b: c"));
    }

    #[test]
    fn events_are_cut_where_they_end() {
        let mut events = Events::recorded(b"a\n\nb: 1\nc\n\nrest");
        assert_eq!(events.len(), 3);
        assert_eq!(events.get(1), Some(b"b: 1\nc\n\n".as_slice()));
        assert_eq!(events.get(3), None);
        events.truncate(1);
        assert_eq!(
            (events.len(), events.get(0)),
            (1, Some(b"a\n\n".as_slice()))
        );
        assert_eq!(events.get(1), None);
    }

    #[test]
    fn tokens_are_the_content_among_the_events_written() {
        let mut events = Events::with_capacity(3);
        events.event("start", format_args!("1"));
        events.content_begins();
        events.event("", format_args!("2"));
        events.event("", format_args!("3"));
        events.content_ends();
        events.event("end", format_args!("4"));
        let tokens: Vec<u64> = (0..=5).map(|written| events.tokens(written)).collect();
        assert_eq!(tokens, [0, 0, 1, 2, 2, 2]);
    }
}
