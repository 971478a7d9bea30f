//! What those of one lane share, and what a lane remembers of the last time that its first was asked.

use std::sync::Arc;

use super::{NONE, WaiterId};
use crate::core::choice::chain::Links;
use crate::core::choice::fair::ClockId;
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use crate::core::time::Timestamp;

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whichever subscription of the chain frees first.
    Any,
    /// Whichever of its own pool frees first, for a while (C5, `fallback_after`).
    Own,
    /// The owner of its provider-side state.
    Must(SubscriptionIndex),
    /// The warm one, for a while (S2).
    Stick(SubscriptionIndex),
}

/// What waiters of one lane share.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneKey {
    /// Their pool.
    pub pool: PoolIndex,
    /// Their limit group.
    pub group: LimitGroup,
    /// Their model, where the pool's subscriptions restrict models.
    pub model: Option<Arc<str>>,
    /// What they wait for.
    pub target: Target,
    /// Endpoints out of reach for them.
    pub tried: Tried,
    /// Where they may fall back to, and what they ask there.
    pub links: Links,
}

/// Room that is being saved up (SPEC 16.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For whom; when it leaves its lane, the claim is over.
    pub by: WaiterId,
    /// Where.
    pub on: SubscriptionIndex,
}

/// A lane, as `pools` sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What its waiters share.
    pub key: LaneKey,
    /// When one of those that were asked could go by time alone; [`Timestamp::MAX`]: never.
    pub wake: Timestamp,
    /// No waiter's deadline is earlier.
    pub soonest_deadline: Timestamp,
    /// No waiter came earlier.
    pub oldest: Timestamp,
    /// The sweep that found it blocked.
    pub blocked: u64,
    /// What its first was waiting for when it was asked.
    pub claim: Option<Claim>,
    /// Some behind its first were not asked, who could perhaps go.
    pub unasked: bool,
    /// When the class of one in it may rise next.
    pub rises: Timestamp,
    /// Its queue's.
    pub(super) clock: ClockId,
    /// Its first flow, in no order.
    pub(super) flows: u32,
    /// The flow whose head goes first.
    pub(super) best: u32,
}

/// A lane's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneId(pub(super) u32);

impl Lane {
    pub(super) const fn new(key: LaneKey, clock: ClockId) -> Self {
        Self {
            key,
            wake: Timestamp::MAX,
            soonest_deadline: Timestamp::MAX,
            oldest: Timestamp::MAX,
            blocked: 0,
            claim: None,
            unasked: false,
            rises: Timestamp::MAX,
            clock,
            flows: NONE,
            best: NONE,
        }
    }
}
