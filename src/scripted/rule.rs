//! What a script says: which requests a rule is for, how often, and what is done with them. How it is read from JSON
//! stands in `written`, when a rule applies in `script`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// One line of a script: the first that fits a request decides what is done with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Which requests it is for.
    pub matches: Match,
    /// How many requests it serves before it is spent; `None`: never spent.
    pub times: Option<u64>,
    /// The part of the fitting requests it takes, 0 to 1, drawn from the provider's seed; `None`: all. Those it
    /// does not take go on to the next rule.
    pub chance: Option<f64>,
    /// What is done.
    pub action: Action,
    /// How long is waited before that, once the request has been read. What is done before the body is read does not
    /// wait.
    pub delay: Duration,
}

/// Which requests a rule is for. An absent member fits every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The credential, exactly.
    pub credential: Option<String>,
    /// The model, exactly. A rule that names one decides only once the body has been read.
    pub model: Option<String>,
    /// The end of the path without its query, or with a `*` at its end the beginning of the path.
    pub path: Option<String>,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Action {
    /// It is served, as if there were no rule.
    #[default]
    Serve,
    /// The corpus's case of that id, with these headers put over the recorded ones (`None` removes one).
    Corpus {
        /// The case's id.
        id: String,
        /// Lower-case name to value.
        headers: BTreeMap<String, Option<String>>,
    },
    /// These words.
    Answer {
        /// 200 to 999.
        status: u16,
        /// Name to value.
        headers: BTreeMap<String, Option<String>>,
        /// The body; its length is stated.
        body: String,
    },
    /// These bytes, whatever they are, once the request has been read.
    Raw(Raw),
    /// Something goes wrong.
    Fault(Fault),
}

/// An answer byte by byte: for what no proper provider would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The bytes, head and all.
    pub bytes: Vec<u8>,
    /// How often they are sent; `None`: until the client leaves.
    pub repeat: Option<u64>,
    /// Bytes written at a time; 0: all.
    pub piece: usize,
    /// Pause between two pieces, in milliseconds.
    pub gap_ms: u64,
    /// What becomes of the connection.
    pub then: Then,
}

/// What becomes of a connection after a raw answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The next request is read from it.
    #[default]
    Keep,
    /// It is closed in order.
    Close,
    /// It is reset.
    Reset,
    /// It stays open and silent until the client leaves.
    Hang,
}

/// A way in which a provider fails.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The head comes late; then the request is served.
    Delay {
        /// Milliseconds before the head.
        ms: u64,
    },
    /// A stream with pauses, else served as usual.
    SlowStream {
        /// Milliseconds between two events.
        gap_ms: u64,
        /// How many content events there are; absent: as the request asks.
        #[serde(default)]
        events: Option<u64>,
    },
    /// 429 as soon as the head has been read; a large body is never read and the connection stays open.
    #[serde(rename = "early_429")]
    Early429 {
        /// Stated as `retry-after-ms`, and rounded up as `retry-after`.
        #[serde(default)]
        retry_after_ms: Option<u64>,
        /// After how long the connection is reset from here; absent: when the client closes it.
        #[serde(default)]
        hold_ms: Option<u64>,
        /// A body of a stated length up to this is read after the answer, and the connection serves on: it fits the
        /// kernel's buffers, so that a client takes the exchange for whole. Absent: 1 MiB.
        #[serde(default)]
        drain_bytes: Option<u64>,
    },
    /// Reset as soon as a connection is accepted; the rule's match says nothing here.
    ResetOnAccept,
    /// Reset once the request's head has been read: no byte of its body is, and none is answered.
    ResetBefore,
    /// Reset once the request has been read in full, before a head.
    ResetAfterRequest,
    /// Reset within the head of the answer.
    ResetWithin {
        /// How many bytes of the head are written; absent: half of it.
        #[serde(default)]
        bytes: Option<usize>,
    },
    /// Reset after the head and a part of the body.
    ResetAfterHead {
        /// How many events; of an answer that is no stream half is sent.
        #[serde(default = "one")]
        events: usize,
    },
    /// The stream ends after some events, without its terminal one.
    CutStream {
        /// How many events, of whatever kind; of an answer that is no stream half is sent.
        events: usize,
        /// Whether the body's framing ends in order.
        #[serde(default)]
        clean: bool,
    },
    /// An error event before any content, behind a 200. Where no stream was asked: the same error with its status.
    ErrorEventFirst {
        /// Which error.
        #[serde(default)]
        error: ErrorKind,
    },
    /// An error event after some content.
    ErrorEventLater {
        /// After how many content events.
        #[serde(default = "one")]
        events: usize,
        /// Which error.
        #[serde(default)]
        error: ErrorKind,
    },
    /// A page of something in between.
    #[serde(rename = "html_403")]
    Html403,
    /// The request is read and never answered.
    Hang,
    /// The head comes byte by byte; then the request is served.
    Trickle {
        /// Milliseconds between two bytes.
        gap_ms: u64,
    },
}

impl Fault {
    /// Its name in a script.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delay { .. } => "delay",
            Self::SlowStream { .. } => "slow_stream",
            Self::Early429 { .. } => "early_429",
            Self::ResetOnAccept => "reset_on_accept",
            Self::ResetBefore => "reset_before",
            Self::ResetAfterRequest => "reset_after_request",
            Self::ResetWithin { .. } => "reset_within",
            Self::ResetAfterHead { .. } => "reset_after_head",
            Self::CutStream { .. } => "cut_stream",
            Self::ErrorEventFirst { .. } => "error_event_first",
            Self::ErrorEventLater { .. } => "error_event_later",
            Self::Html403 => "html_403",
            Self::Hang => "hang",
            Self::Trickle { .. } => "trickle",
        }
    }

    /// Whether nothing about it can be set.
    pub(super) const fn is_bare(&self) -> bool {
        matches!(
            self,
            Self::ResetOnAccept
                | Self::ResetBefore
                | Self::ResetAfterRequest
                | Self::Html403
                | Self::Hang
        )
    }
}

/// Which error is told, each dialect in its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A rate limit (429).
    #[default]
    RateLimit,
    /// No capacity (529, or 503 in OpenAI's dialect).
    Overloaded,
    /// A fault within the provider (500).
    Server,
}

const fn one() -> usize {
    1
}

/// Why a script is none.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It is not JSON, neither as a whole nor line by line.
    #[error("the script is not JSON")]
    Syntax(#[source] serde_json::Error),
    /// A rule has another shape; it is counted from 1.
    #[error("rule {rule} is not understood: {reason}")]
    Rule {
        /// Which, counted from 1.
        rule: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Limits have another shape.
    #[error("the limits of {credential} are not understood")]
    Limits {
        /// Whose.
        credential: String,
        /// What is wrong with them.
        source: serde_json::Error,
    },
}
