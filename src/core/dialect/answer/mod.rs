//! What an answer means: its verdict, its limits, its usage (corpus, Classes and rules). Pure and bounded on any
//! input: nothing here panics, and nothing grows beyond what the bytes given allow.
//!
//! A status of 400 and above is an error whatever its body; a served answer is one only if its structure says so
//! (`fault`), never because its text does. Something in between is recognised first (`edge`), then labels
//! (`labels`), sentences (`wording`) and status are weighed (`judge`). What an answer does to a subscription is
//! the breaker's, what the client is told the proxy's.

mod base64;
mod body;
mod details;
mod edge;
mod ending;
mod fault;
mod frames;
mod habits;
mod judge;
mod labels;
mod limits;
mod paced;
mod phrases;
mod readings;
mod stated;
mod times;
mod usage;
mod wait;
mod windows;
mod wording;

use http::HeaderMap;
use memchr::memmem;

pub use self::base64::decode as decode_base64;
pub use self::body::decode;
pub use self::edge::is_intermediary_page;
pub use self::ending::breaks_off;
pub use self::paced::readings;
pub use self::readings::headroom;
pub use self::times::instant;
pub(super) use self::usage::report_of;
pub use self::usage::{head_usage, usage};

use self::fault::Fault;
use self::judge::Case;
use super::endpoint::Endpoint;
use super::flavour::Flavour;
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::time::WallTime;

/// An answer as it came. Not `Debug`: head and body are the client's.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// Whose habits to expect.
    pub flavour: Flavour,
    /// What was asked.
    pub endpoint: Endpoint,
    /// The HTTP status; 0: no answer came, and the body is the transport's error.
    pub status: u16,
    /// The head's fields.
    pub headers: &'a HeaderMap,
    /// The body as on the wire, perhaps compressed, perhaps only its beginning.
    pub body: &'a [u8],
    /// When the head came, by wall time: absolute resets are read against it.
    pub received_at: WallTime,
}

/// What a whole answer means. A body of which only the beginning is given decides as far as it goes: a stream
/// that was cut is not told from one that goes on.
pub fn verdict(answer: &Answer<'_>) -> Verdict {
    match answer.status {
        0 => Verdict::of(Class::UpstreamError),
        200..=299 => served(answer),
        1..=399 => Verdict::OK,
        _ => bounded(refused(answer)),
    }
}

/// No wait beyond 35 days is believed (D4).
fn bounded(verdict: Verdict) -> Verdict {
    Verdict {
        wait: verdict.wait.map(|stated| stated.min(wait::MAX_WAIT)),
        ..verdict
    }
}

/// What the head alone says. 2xx and 3xx are `Ok`, at the cost of one comparison; of an error without its body
/// the status, the limit headers and who sent it tell.
pub fn head_verdict(
    flavour: Flavour,
    endpoint: Endpoint,
    status: u16,
    headers: &HeaderMap,
    received_at: WallTime,
) -> Verdict {
    if (1..400).contains(&status) {
        return Verdict::OK;
    }
    verdict(&Answer {
        flavour,
        endpoint,
        status,
        headers,
        body: b"",
        received_at,
    })
}

/// What an event of a served stream means if it is an error (D2): `data` is the JSON of one SSE event's data, of
/// one array element or of one line, `event` the event's name. `None`: this event is no error; that costs one
/// search for a quoted word, no parse.
pub fn stream_error(
    flavour: Flavour,
    endpoint: Endpoint,
    headers: &HeaderMap,
    data: &[u8],
    event: Option<&str>,
    received_at: WallTime,
) -> Option<Verdict> {
    let fault = fault_of(data, event)?;
    let case = Case {
        flavour,
        endpoint,
        status: fault.status,
        headers,
        fault: &fault,
        now: received_at,
    };
    Some(bounded(case.verdict()))
}

/// The error in one event, element or line.
fn fault_of(data: &[u8], event: Option<&str>) -> Option<Fault> {
    let is_named = matches!(event, Some("error" | "exception" | "response.failed"));
    let may_be = is_named
        || memmem::find(data, b"\"error\"").is_some()
        || memmem::find(data, b"\"response.failed\"").is_some();
    if !may_be {
        return None;
    }
    match body::tree(data) {
        Some(value) => Fault::within(&value, event),
        None if is_named => Some(Fault::of_text(&String::from_utf8_lossy(data))),
        None => None,
    }
}

/// A 2xx: an error only by its structure.
fn served(answer: &Answer<'_>) -> Verdict {
    // A stored response that failed, and a job that did, are served well.
    if matches!(answer.endpoint, Endpoint::StoredResponse | Endpoint::Models) {
        return Verdict::OK;
    }
    let body = decode(answer.headers, answer.body);
    body::pieces(&body)
        .find_map(|piece| {
            stream_error(
                answer.flavour,
                answer.endpoint,
                answer.headers,
                &piece.data,
                piece.event.as_deref(),
                answer.received_at,
            )
        })
        .unwrap_or(Verdict::OK)
}

/// A 4xx or 5xx, whatever its body.
fn refused(answer: &Answer<'_>) -> Verdict {
    let body = decode(answer.headers, answer.body);
    let between = edge::verdict(answer.status, answer.headers, &body, answer.received_at);
    if let Some(verdict) = between {
        return verdict;
    }
    let fault = fault_of_error(answer.headers, &body);
    let case = Case {
        flavour: answer.flavour,
        endpoint: answer.endpoint,
        status: Some(answer.status),
        headers: answer.headers,
        fault: &fault,
        now: answer.received_at,
    };
    case.verdict()
}

/// The error of a body whose status says that it is one. Pages have no sentences to read.
fn fault_of_error(headers: &HeaderMap, body: &[u8]) -> Fault {
    if edge::is_html(headers, body) {
        return Fault::default();
    }
    if let Some(value) = body::tree(body::bare(body)).filter(|value| !value.is_number()) {
        return Fault::of_error(&value);
    }
    // A stream, or text. Of a stream the first error is it.
    body::pieces(body)
        .find_map(|piece| fault_of(&piece.data, piece.event.as_deref()))
        .unwrap_or_else(|| Fault::of_text(&String::from_utf8_lossy(body)))
}

#[cfg(test)]
mod tests;
