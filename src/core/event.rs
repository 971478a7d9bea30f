//! What happened, as values: the core and the request path hand them on, sinks make lines and figures of them.

use std::sync::Arc;
use std::time::Duration;

use super::id::{LimitGroup, SubscriptionIndex};
use super::ledger::usage::Usage;
use super::limit::scope::Scope;
use super::limit::verdict::Class;
use super::time::Timestamp;

/// A change of state worth telling.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it was decided.
    pub at: Timestamp,
    /// Whose state changed.
    pub subscription: SubscriptionIndex,
    /// What changed.
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Not usable for this limit group (`None`: any) until the instant.
    Cooling {
        /// `None`: all models.
        limit_group: Option<LimitGroup>,
        /// When it ends.
        until: Timestamp,
        /// `rate_limited` or `quota_exhausted`.
        class: Class,
        /// Whether the provider named the wait.
        stated: bool,
    },
    /// The credential was refused; re-checked at the instant. `Some`: for this limit group alone (D7).
    Quarantined {
        /// `None`: the whole credential.
        limit_group: Option<LimitGroup>,
        /// When one real request may try it again.
        recheck: Timestamp,
    },
    /// Taken out for failures of its connection or server (D11).
    Ejected {
        /// When a probe may go.
        until: Timestamp,
    },
    /// Its quota domain is another's too: their answers name one organisation and equal limits (D8).
    Joined {
        /// One who was there.
        with: SubscriptionIndex,
    },
    /// A probe passed or a re-check found the credential good: usable again.
    Recovered {
        /// `None`: for all models.
        limit_group: Option<LimitGroup>,
    },
    /// It serves a request that its own pool could not (C7).
    FellBack {
        /// The pool of the request's route.
        from: Arc<str>,
        /// The one that serves.
        to: Arc<str>,
    },
}

/// One request, told once, when it has ended.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// When it ended.
    pub at: Timestamp,
    /// The UUIDv7 that the client was told, as 128 bits.
    pub request_id: u128,
    /// `None`: not authenticated, or the listener asks for no key.
    pub client: Option<Arc<str>>,
    /// `None`: no pool was chosen.
    pub pool: Option<Arc<str>>,
    /// The path prefix of the route that matched; `None`: no route.
    pub route: Option<Arc<str>>,
    /// The request's method.
    pub method: http::Method,
    /// The request's path, never its query.
    pub path: Box<str>,
    /// The model that the request names.
    pub model: Option<Arc<str>>,
    /// The pool that served it, where another than `pool` did (C7).
    pub served_by_pool: Option<Arc<str>>,
    /// Who served it, or whose answer was passed on last.
    pub subscription: Option<Arc<str>>,
    /// How often it was sent.
    pub attempts: u8,
    /// What the answer that reached the client meant; `None`: it was ours.
    pub verdict: Option<Class>,
    /// The status that the client saw; 0: he left before a head.
    pub status: u16,
    /// Our own code, where the answer was ours.
    pub code: Option<&'static str>,
    /// Whether the endpoint's answers carry usage.
    pub metered: bool,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body that the client was handed.
    pub bytes_out: u64,
    /// What the answer reported.
    pub usage: Usage,
    /// Spent in the waiting room.
    pub wait: Duration,
    /// From arrival to the answer's head; `None`: none came.
    pub time_to_first_byte: Option<Duration>,
    /// From arrival to the end.
    pub duration: Duration,
    /// Whether it ended before it was whole: the client left, or the stream broke.
    pub aborted: bool,
}

/// One attempt, told when its verdict is known.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// When the verdict was known.
    pub at: Timestamp,
    /// The request it belongs to.
    pub request_id: u128,
    /// The pool that it went through.
    pub pool: Option<Arc<str>>,
    /// Who was tried.
    pub subscription: SubscriptionIndex,
    /// The status; 0: none came.
    pub status: u16,
    /// `ok` .. `upstream_error`, or `silence`.
    pub verdict: &'static str,
    /// The wait that the answer stated.
    pub wait: Option<Duration>,
    /// What the answer says is limited.
    pub scope: Scope,
    /// What the request does next: `commit`, `failover`, `retry` or `refuse`.
    pub next: &'static str,
}
