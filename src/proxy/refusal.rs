//! Answers of our own: which status and code a refusal has, and what it tells the client to do. Nothing else knows
//! status codes; the wording is the dialect's.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::exchange::Exchange;
use super::relay::Body;
use crate::core::dialect::Dialect;
use crate::core::dialect::word::{self, Code};

/// Our own code of an error, for those who read answers by machine.
pub const CODE: HeaderName = HeaderName::from_static("x-authpool-code");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An answer that is ours.
#[derive(Debug)]
pub struct Refusal {
    /// In whose words.
    pub dialect: Dialect,
    /// Why.
    pub reason: Reason,
    /// What it tells of the pool's limits (D9); `None`: nothing.
    pub limits: Option<Box<HeaderMap>>,
}

/// Why a request is refused.
#[derive(Debug)]
pub enum Reason {
    /// The request's head or body breaks a rule.
    Invalid(Cow<'static, str>),
    /// More than 64 KiB of header.
    HeadTooLarge,
    /// The body is over the limit.
    BodyTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The body came too slowly.
    BodyTimeout,
    /// No valid key.
    Unauthorised,
    /// The client may not.
    Forbidden(Cow<'static, str>),
    /// No route.
    NotFound(Cow<'static, str>),
    /// A listed path, but not with this method.
    MethodNotAllowed,
    /// D7: nobody may use this model; `None`: the request names none.
    ModelNotFound(Option<String>),
    /// The client's own limit.
    ClientLimited {
        /// Until one more would be let in.
        wait: Duration,
        /// What of.
        what: &'static str,
    },
    /// Every subscription is limited.
    PoolLimited {
        /// Until the first one is not.
        wait: Duration,
    },
    /// The waiting room or the memory for bodies is full.
    QueueFull(&'static str),
    /// No subscription can serve; a wait where one is known.
    PoolUnavailable {
        /// Until one may.
        wait: Option<Duration>,
    },
    /// The subscription that holds this state is gone.
    OwnerUnavailable,
    /// No connection, or a page of something in between.
    UpstreamFailed {
        /// By a time limit of ours.
        timeout: bool,
    },
    /// Sent, and no answer.
    OutcomeUnknown {
        /// By a time limit of ours.
        timeout: bool,
    },
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// In the words of a dialect.
    pub fn in_words_of(self, dialect: Dialect) -> Refusal {
        Refusal {
            dialect,
            reason: self,
            limits: None,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_)
            | Self::HeadTooLarge
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::MethodNotAllowed => Code::InvalidRequest,
            Self::Unauthorised => Code::Unauthorised,
            Self::Forbidden(_) => Code::Forbidden,
            Self::NotFound(_) | Self::ModelNotFound(_) => Code::NotFound,
            Self::ClientLimited { .. } => Code::ClientLimited,
            Self::PoolLimited { .. } => Code::PoolLimited,
            Self::QueueFull(_) => Code::QueueFull,
            Self::PoolUnavailable { .. } => Code::PoolUnavailable,
            Self::OwnerUnavailable => Code::OwnerUnavailable,
            Self::UpstreamFailed { .. } => Code::UpstreamFailed,
            Self::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            Self::Internal => Code::Internal,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::ModelNotFound(_) => StatusCode::NOT_FOUND,
            Self::ClientLimited { .. } | Self::PoolLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::QueueFull(_) | Self::PoolUnavailable { .. } | Self::OwnerUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamFailed { timeout } | Self::OutcomeUnknown { timeout } => {
                if *timeout {
                    StatusCode::GATEWAY_TIMEOUT
                } else {
                    StatusCode::BAD_GATEWAY
                }
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Invalid(message) | Self::Forbidden(message) | Self::NotFound(message) => message.clone(),
            Self::HeadTooLarge => "the request's header is larger than 64 KiB; send less".into(),
            Self::BodyTooLarge { limit } => {
                format!("the request's body is larger than {limit} bytes; send less").into()
            }
            Self::BodyTimeout => "the request's body stopped coming for 30 s; send it again".into(),
            Self::Unauthorised => {
                "no valid key of this proxy came with the request; put one where your SDK puts its API key".into()
            }
            Self::MethodNotAllowed => "this path does not take this method".into(),
            Self::ModelNotFound(model) => match model {
                Some(model) => format!("the model `{model}` does not exist here or is not open to you").into(),
                None => "the model does not exist here or is not open to you".into(),
            },
            Self::ClientLimited { what, .. } => {
                format!("your own limit of {what} at this proxy is reached; wait for `retry-after`").into()
            }
            Self::PoolLimited { .. } => {
                "every subscription that could serve this is at its limit; wait for `retry-after`".into()
            }
            Self::QueueFull(what) => format!("{what} of this proxy is full; try again shortly").into(),
            Self::PoolUnavailable { .. } => {
                "no subscription can serve this now; the operator has to see to the pool".into()
            }
            Self::OwnerUnavailable => {
                "the one subscription that may serve this (it holds the stored object, or you named it) is not \
                 available; start anew without it"
                    .into()
            }
            Self::UpstreamFailed { timeout: false } => {
                "the provider could not be reached or answered with a page of something in between; try again".into()
            }
            Self::UpstreamFailed { timeout: true } => {
                "the provider could not be reached in time; try again".into()
            }
            Self::OutcomeUnknown { .. } => "the request was sent but no answer came; it may have been processed, \
                 so it was not sent again"
                .into(),
            Self::Internal => "the proxy failed; its log says more".into(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::ClientLimited { wait, .. } => Retry::After(*wait),
            Self::PoolLimited { wait } | Self::PoolUnavailable { wait: Some(wait) } => {
                Retry::Stated(*wait)
            }
            Self::QueueFull(_) => Retry::After(Duration::from_secs(1)),
            Self::OwnerUnavailable => Retry::Never,
            _ => Retry::Unsaid,
        }
    }
}

/// What is said of coming back.
enum Retry {
    Unsaid,
    /// `x-should-retry: false`.
    Never,
    /// As it is, rounded up.
    After(Duration),
    /// C6: with jitter, and as SDKs obey it.
    Stated(Duration),
}

/// C6: what a refusal states for a truth: 0..10 % later (at most 5 s), never sooner, and at most 60 s where the
/// truth is within that, since SDKs ignore more. Beyond it the client is told to stop.
pub fn stated(truth: Duration, entropy: u64) -> (Duration, bool) {
    const OBEYED: Duration = Duration::from_secs(60);
    let most = (truth / 10).min(Duration::from_secs(5));
    let share = u32::try_from(entropy % 1024).unwrap_or(0);
    let later = truth + most * share / 1024;
    if truth <= OBEYED {
        (later.min(OBEYED), true)
    } else {
        (later, false)
    }
}

impl Refusal {
    /// The response, noted in the exchange and told when that is dropped. `head`: of a HEAD request, no body.
    pub fn into_response(self, exchange: &mut Exchange) -> Response<Body> {
        let code = self.reason.code();
        let mut buffer = uuid::Uuid::encode_buffer();
        let id: &str = exchange.id.hyphenated().encode_lower(&mut buffer);
        let body = match &self.reason {
            Reason::ModelNotFound(Some(model)) => {
                word::model_not_found_body(self.dialect, model, id)
            }
            reason => word::error_body(self.dialect, code, &reason.message(), id),
        };
        let status = self.reason.status();
        exchange.head(status.as_u16());
        exchange.note(|record| {
            record.code = Some(code.name());
            record.subscription = None;
        });
        let mut response = json(status, body);
        let headers = response.headers_mut();
        headers.insert(CODE, HeaderValue::from_static(code.name()));
        if let Reason::MethodNotAllowed = self.reason {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
        }
        headers.extend(self.limits.into_iter().flat_map(|limits| *limits));
        say_retry(headers, &self.reason.retry(), exchange.entropy());
        response
    }
}

fn say_retry(headers: &mut HeaderMap, retry: &Retry, entropy: u64) {
    let (wait, again) = match retry {
        Retry::Unsaid => return,
        Retry::Never => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            return;
        }
        Retry::After(wait) => (*wait, true),
        Retry::Stated(truth) => stated(*truth, entropy),
    };
    let millis = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000).max(1)));
    if let Retry::Stated(_) = retry {
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis.max(1)));
    }
    if !again {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(truth_ms: u64, entropy: u64, at_least_ms: u64, at_most_ms: u64, again: bool) {
        let (wait, says_again) = stated(Duration::from_millis(truth_ms), entropy);
        assert!(wait >= Duration::from_millis(at_least_ms), "{wait:?}");
        assert!(wait <= Duration::from_millis(at_most_ms), "{wait:?}");
        assert_eq!(says_again, again);
    }

    // C6
    #[test]
    fn a_refusal_never_states_less_than_the_truth_and_at_most_a_tenth_more() {
        for entropy in [0, 1, 511, 1023, u64::MAX] {
            check(40_000, entropy, 40_000, 44_000, true);
            check(1, entropy, 1, 2, true);
            check(55_000, entropy, 55_000, 60_000, true);
            check(60_000, entropy, 60_000, 60_000, true);
            check(61_000, entropy, 61_000, 66_000, false);
            check(600_000, entropy, 600_000, 605_000, false);
        }
    }
}
