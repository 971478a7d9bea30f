//! What a request asks of the pools, and the refusal that tells the truth (C6). Status codes are the request path's.

use std::sync::Arc;
use std::time::Duration;

use crate::core::choice::chain::Links;
use crate::core::choice::fair::Turn;
use crate::core::choice::standing::{Absence, Cause};
use crate::core::id::{ClientIndex, LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
pub use crate::core::limit::pacing::Size;
use crate::core::time::Timestamp;

/// What a request asks.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Who may serve it.
    pub pool: PoolIndex,
    /// Of the model requested.
    pub limit_group: LimitGroup,
    /// Held against `models` and `deny_models`; `None`: it names none, and every subscription may have it.
    pub model: Option<Arc<str>>,
    /// Where it may fall back to (C7).
    pub links: Links,
    /// D6: its own pool is done with, and so are the providers that were overloaded: only the links are asked, and
    /// nothing is waited for.
    pub elsewhere: bool,
    /// C8: charged to the retry budget of its own pool when it is granted, and refused where that is spent.
    pub retry: bool,
    /// Whom it wants.
    pub affinity: Affinity,
    /// When it arrived: its place in the waiting room, and what all waits count from. Kept when it is tried again.
    pub arrival: Timestamp,
    /// May only lower the pool's. Zero: refused where it cannot go at once.
    pub max_wait: Option<Duration>,
    /// The random half of the request's id.
    pub entropy: u64,
    /// What is known of its tokens before it is served (C4).
    pub size: Size,
    /// Between whom the waiting room is fair (C5).
    pub client: ClientIndex,
    /// Its class in the waiting room (C5).
    pub priority: Priority,
    /// Its share among the clients' (C5), where it has been let go before: that of its latest ticket. `None`: it
    /// takes one.
    pub turn: Option<Turn>,
}

impl Demand {
    /// A demand of nobody in particular: no session, normal priority, nothing known of its tokens.
    pub fn new(pool: PoolIndex, limit_group: LimitGroup, arrival: Timestamp) -> Self {
        Self {
            pool,
            limit_group,
            model: None,
            links: None,
            elsewhere: false,
            retry: false,
            affinity: Affinity::None,
            arrival,
            max_wait: None,
            entropy: 0,
            size: Size::default(),
            client: ClientIndex::default(),
            priority: Priority::default(),
            turn: None,
        }
    }
}

/// A class of the waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Served first.
    High,
    /// What a client has unless it is configured.
    #[default]
    Normal,
    /// Served last.
    Low,
}

impl Priority {
    /// All, the first served first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As the configuration and clients name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// By that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Whom a request wants (S2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Anybody.
    None,
    /// The subscription that has its prompt cache; moves, with its binding, where that one does not free in time.
    Should(SessionKey),
    /// The subscription that has its state, and no other.
    Must {
        /// Who that is.
        owner: SubscriptionIndex,
        /// Then bound to the owner.
        session: Option<SessionKey>,
    },
}

impl Affinity {
    /// The session that is bound to whoever serves it.
    pub const fn session(&self) -> Option<SessionKey> {
        match *self {
            Self::None => None,
            Self::Should(session) => Some(session),
            Self::Must { session, .. } => session,
        }
    }
}

/// Why nothing serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Cooldowns, in-flight caps, or the probe of a cooldown: `pool_limited`.
    PoolLimited,
    /// The pool's waiting room is full: `queue_full`.
    QueueFull,
    /// Nobody is left, or all that is left is ejected: `pool_unavailable`.
    PoolUnavailable,
    /// Every credential left is refused for this model alone (D7): `not_found`.
    ModelUnavailable,
    /// The owner of provider-side state is quarantined, disabled, removed, or not of this pool:
    /// `owner_unavailable`.
    OwnerUnavailable,
}

impl RefusalReason {
    /// Of the bar that sets the earliest instant (C6).
    pub(crate) const fn of(cause: Cause) -> Self {
        match cause {
            Cause::Limit => Self::PoolLimited,
            Cause::Ejection | Cause::Recheck => Self::PoolUnavailable,
        }
    }

    /// Of a pool where nobody has an instant.
    pub(crate) const fn nobody(absence: Absence) -> Self {
        match absence {
            Absence::Model => Self::ModelUnavailable,
            Absence::Other | Absence::NoCandidate => Self::PoolUnavailable,
        }
    }
}

/// A refusal, not a fault: nothing serves this request within its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no subscription is available")]
pub struct Refused {
    /// Whose bar it was.
    pub reason: RefusalReason,
    /// When it is worth coming back; what ends by an event stands for a second from now. `None`: neither an
    /// instant nor an event would help, or the waiting room is full.
    pub earliest: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    // C4
    #[test]
    fn a_rough_size_is_the_clients_word_or_a_quarter_of_the_bytes_and_an_answer() {
        let table = [
            ((0, None, None), (0, 0)),
            ((3, None, None), (0, 1024)),
            ((4000, None, None), (1000, 1024)),
            ((4000, Some(100), None), (1000, 100)),
            ((4000, Some(0), None), (1000, 0)),
            ((4000, Some(64_000), None), (1000, 1024)),
            ((4000, Some(100), Some(70)), (70, 100)),
            ((4000, None, Some(70)), (70, 1024)),
        ];
        for ((bytes, max_tokens, estimated), expected) in table {
            let size = Size {
                bytes,
                max_tokens,
                estimated,
            };
            assert_eq!(size.rough(), expected, "{size:?}");
        }
    }

    // F9
    #[test]
    fn priorities_have_names_that_lead_back_and_the_higher_comes_first() {
        for priority in Priority::ALL {
            assert_eq!(Priority::parse(priority.name()), Some(priority));
        }
        assert_eq!(Priority::parse("urgent"), None);
        assert!(Priority::ALL.is_sorted());
        assert_eq!(Priority::ALL[1], Priority::default());
    }
}
