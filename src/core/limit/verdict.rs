//! What an answer means, and how an attempt ended. Reading answers is `dialect`'s; acting on them is `breaker`'s.

use std::time::Duration;

use super::scope::Scope;

/// The seven meanings of an answer (corpus, Classes and rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Served, also where warnings ride on it.
    Ok,
    /// Clears by itself soon.
    RateLimited,
    /// Needs a person or a long wait.
    QuotaExhausted,
    /// The provider or the model lacks capacity; no key is to blame.
    Overloaded,
    /// This credential is refused.
    CredentialInvalid,
    /// The request's own fault.
    ClientError,
    /// The provider, or something in between, failed.
    UpstreamError,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Overloaded,
        Self::CredentialInvalid,
        Self::ClientError,
        Self::UpstreamError,
    ];

    /// By SPEC's word; `None`: it is none of them.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == word)
    }

    /// SPEC's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::CredentialInvalid => "credential_invalid",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
        }
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The meaning.
    pub class: Class,
    /// What the answer itself says of the limit; empty where it says nothing.
    pub scope: Scope,
    /// From the answer's arrival until this credential, within the scope, is worth trying again, as far as the
    /// answer tells; `None`: it does not. A stated zero is kept here and counts as not stated in D4. At most 35 days.
    pub wait: Option<Duration>,
}

impl Verdict {
    /// A served answer.
    pub const OK: Self = Self::of(Class::Ok);

    /// A meaning about which the answer said nothing more.
    pub const fn of(class: Class) -> Self {
        Self {
            class,
            scope: Scope::NONE,
            wait: None,
        }
    }
}

/// How an attempt ended: the only thing `settle` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came, and this is what it meant.
    Answered(Verdict),
    /// No answer came: the connection failed, broke or stayed silent past its limit. `sent`: a byte of the
    /// request may have reached the provider.
    Silence {
        /// Whether the provider may have begun on it.
        sent: bool,
    },
    /// It was never begun, and nobody failed: a verdict overtook it, or a connection that had gone stale handed it
    /// back.
    Unsent,
    /// The attempt was dropped without an end of its own: the client left.
    Abandoned,
}
