//! When the first byte of an answer goes to the client (C9). Until then the answer is held and read, so that an
//! error behind a 200 can still fail over; what is held is bounded in bytes and time.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::response::Parts;
use http_body::Body;
use http_body_util::BodyExt;

use super::head;
use crate::clock::Clock;
use crate::core::dialect::Dialect;
use crate::core::dialect::answer::{self, Answer as Read};
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::dialect::read::body::{BodyReader, Kind};
use crate::core::limit::reading::Readings;
use crate::core::limit::rules::Rules;
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::time::WallTime;
use crate::upstream::{BodyError, Incoming};

/// The most of an answer that is held before commit, in raw bytes.
const HELD: usize = 64 * 1024;
/// A JSON answer of a metered endpoint is held whole up to this.
const SMALL: u64 = 16 * 1024;
const STREAM_HOLD: Duration = Duration::from_secs(10);
const ERROR_HOLD: Duration = Duration::from_secs(5);

/// What was asked, as far as reading the answer needs it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The provider's language.
    pub dialect: Dialect,
    /// Its habits.
    pub flavour: Flavour,
    /// The operation.
    pub endpoint: Endpoint,
    /// Whether the request asked for a stream.
    pub stream: bool,
    /// Whether it was a HEAD request: there is no body, whatever the head says.
    pub head_only: bool,
}

/// An answer of which nothing has gone to the client yet.
#[derive(Debug)]
pub struct Answer {
    /// As received.
    pub parts: Parts,
    /// What was read of the body, in order.
    pub held: VecDeque<Bytes>,
    /// The rest of the body.
    pub rest: Incoming,
    /// Has read everything in `held`.
    pub reader: BodyReader,
    /// What the answer means, as far as it was read.
    pub verdict: Verdict,
    /// What its head says of limits.
    pub readings: Readings,
}

impl Answer {
    /// As far as its head tells.
    fn of_head(response: Response<Incoming>, asked: &Asked, received_at: WallTime) -> Self {
        let (parts, rest) = response.into_parts();
        let Asked {
            dialect,
            flavour,
            endpoint,
            ..
        } = *asked;
        let (status, headers) = (parts.status.as_u16(), &parts.headers);
        Self {
            held: VecDeque::new(),
            rest,
            reader: BodyReader::new(dialect, flavour, endpoint, headers, received_at),
            verdict: answer::head_verdict(flavour, endpoint, status, headers, received_at),
            readings: answer::readings(flavour, headers, received_at),
            parts,
        }
    }

    /// A 403 or 407 that something in between made: never passed, since it would be taken for the client's fault.
    pub fn is_a_page_in_between(&self) -> bool {
        matches!(self.parts.status.as_u16(), 403 | 407)
            && self.verdict.class == Class::UpstreamError
    }
}

/// How long an answer is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Not at all.
    Head,
    /// Until an event that is not a lifecycle event.
    Content,
    /// A JSON array: until its first element. Anything else: as the second word says.
    Array { whole: bool },
    /// To its end.
    Whole,
    /// An error: to its end, but not as long.
    Error,
}

/// Reads an answer until it is known what to do with it. `rules`: the operator's for this provider, which come first
/// (D10).
///
/// # Errors
/// A 2xx that broke off while held: its outcome is unknown (C8 e).
pub async fn hold(
    response: Response<Incoming>,
    asked: &Asked,
    rules: &Rules,
    clock: &Clock,
) -> Result<Answer, BodyError> {
    let received_at = clock.wall();
    let mut answer = Answer::of_head(response, asked, received_at);
    let hold = how_long(&answer, asked);
    // An error waits for its body; whatever else is ruled on is so by its head.
    let ruled = (hold != Hold::Error)
        .then(|| by_rule(&answer, rules))
        .flatten();
    if let Some(verdict) = ruled {
        answer.verdict = verdict;
        if !matches!(verdict.class, Class::Ok | Class::ClientError) {
            return Ok(answer);
        }
    }
    if hold == Hold::Head {
        return Ok(answer);
    }
    let limit = if hold == Hold::Error {
        ERROR_HOLD
    } else {
        STREAM_HOLD
    };
    match tokio::time::timeout(limit, read(&mut answer, hold)).await {
        Ok(Err(error)) if hold != Hold::Error => return Err(error),
        // An error's body that breaks off is judged by what came of it; a limit of time merely ends the hold.
        Ok(_) | Err(_) => {}
    }
    answer.verdict = match hold {
        // What a stream says of itself is not subject to rules.
        Hold::Content => answer.reader.progress().error.unwrap_or(answer.verdict),
        Hold::Error => {
            by_rule(&answer, rules).unwrap_or_else(|| judge(&answer, hold, asked, received_at))
        }
        _ => ruled.unwrap_or_else(|| judge(&answer, hold, asked, received_at)),
    };
    Ok(answer)
}

/// What the operator's rules say of an answer, as far as it was read; `None`: nothing.
fn by_rule(answer: &Answer, rules: &Rules) -> Option<Verdict> {
    if rules.is_empty() {
        return None;
    }
    let (status, headers) = (answer.parts.status.as_u16(), &answer.parts.headers);
    let body = joined(&answer.held);
    let rule = rules.first(status, headers, || answer::decode(headers, &body))?;
    Some(rule.verdict)
}

fn how_long(answer: &Answer, asked: &Asked) -> Hold {
    let status = answer.parts.status;
    if asked.head_only || answer.rest.is_end_stream() || status.is_redirection() {
        return Hold::Head;
    }
    if status.is_client_error() || status.is_server_error() {
        return Hold::Error;
    }
    let headers = &answer.parts.headers;
    match answer.reader.kind() {
        Kind::Opaque => Hold::Head,
        Kind::Sse => Hold::Content,
        Kind::Json | Kind::JsonArray => match head::content_length(headers) {
            Some(length) if asked.endpoint.is_metered() && length <= SMALL => Hold::Whole,
            Some(_) => Hold::Head,
            None => Hold::Array {
                whole: asked.endpoint.is_metered() && !asked.stream,
            },
        },
    }
}

async fn read(answer: &mut Answer, hold: Hold) -> Result<(), BodyError> {
    let most = match hold {
        Hold::Whole | Hold::Array { whole: true } => SMALL as usize,
        _ => HELD,
    };
    let mut bytes = 0;
    while bytes < most {
        let Some(frame) = answer.rest.frame().await.transpose()? else {
            answer.reader.end();
            return Ok(());
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        bytes += data.len();
        let progress = answer.reader.feed(&data);
        answer.held.push_back(data);
        let decided = progress.content || progress.error.is_some() || progress.terminal;
        match hold {
            Hold::Content if decided => return Ok(()),
            Hold::Array { whole } => match answer.reader.kind() {
                Kind::JsonArray if decided => return Ok(()),
                Kind::JsonArray => {}
                _ if whole => {}
                _ => return Ok(()),
            },
            _ => {}
        }
    }
    Ok(())
}

fn judge(answer: &Answer, hold: Hold, asked: &Asked, received_at: WallTime) -> Verdict {
    let status = answer.parts.status.as_u16();
    let body = joined(&answer.held);
    // A body that has no such member has no error in it: the common answer is not parsed for it.
    if hold != Hold::Error && memchr::memmem::find(&body, b"\"error\"").is_none() {
        return answer.verdict;
    }
    answer::verdict(&Read {
        flavour: asked.flavour,
        endpoint: asked.endpoint,
        status,
        headers: &answer.parts.headers,
        body: &body,
        received_at,
    })
}

/// The held frames as one piece; copied only where there are several.
fn joined(held: &VecDeque<Bytes>) -> Bytes {
    if held.len() <= 1 {
        return held.front().cloned().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(held.iter().map(Bytes::len).sum());
    for frame in held {
        whole.extend_from_slice(frame);
    }
    whole.freeze()
}
