//! The chain of a request (C7): its own pool, then those that it may fall back to, in the order in which they are
//! asked. Which pools these are, and what the request asks of each, the request path says; when it is their turn,
//! `pools` decides. Laws: a pool is asked once; a request without a chain pays nothing for it.

use std::sync::Arc;

use crate::core::id::{LimitGroup, PoolIndex};

/// A chain has at most so many pools, the request's own counted.
pub const MOST_POOLS: usize = 8;

/// A pool that a request may fall back to, and what it asks there: the model may have another name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who may serve it.
    pub pool: PoolIndex,
    /// Of the model that is sent there.
    pub limit_group: LimitGroup,
    /// The model that is sent there, held against `models` and `deny_models`; `None`: it names none.
    pub model: Option<Arc<str>>,
}

/// The links of a chain, in the order in which they are asked. `None`: the request's own pool is all there is.
pub type Links = Option<Arc<[Link]>>;

/// Through which pool of its chain a request is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via(u8);

impl Via {
    /// Its own.
    pub const OWN: Self = Self(0);

    /// The position in the demand's links; `None`: its own pool.
    pub fn link(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }

    /// Of a position in the demand's links, of which there are fewer than [`MOST_POOLS`].
    pub(crate) fn at(position: usize) -> Self {
        Self(u8::try_from(position + 1).unwrap_or(u8::MAX))
    }
}

/// The links, none where there is no chain.
pub(crate) fn links(chain: &Links) -> &[Link] {
    chain.as_deref().unwrap_or_default()
}
