//! What names a thing inside the process: small indices, never reused, and shared names.

use std::fmt;
use std::sync::Arc;

/// A subscription's place in the pools' table. Never reused within a process (STYLE, Reload).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionIndex(pub u16);

/// A pool's place in the pools' table. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolIndex(pub u16);

/// A client's place in the configuration; those without a key share the last. A reload may give it to another: only
/// fairness between clients rests on it, and forgets by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIndex(pub u16);

impl ClientIndex {
    /// All who have no key.
    pub const NOBODY: Self = Self(u16::MAX);

    /// As a position in a table.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl SubscriptionIndex {
    /// As a position in a table.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl PoolIndex {
    /// As a position in a table.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// The models that share one limit of a domain: a class of the provider's table, else the model's name without
/// its date. A request without a model has [`LimitGroup::none`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitGroup(Arc<str>);

impl LimitGroup {
    /// A group by its name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The group of requests that name no model: `none`.
    pub fn none() -> Self {
        Self::new("none")
    }

    /// A hash of its name (FNV-1a), for tables that compare names after it.
    pub fn hash(&self) -> u64 {
        self.name()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }

    /// Its name, as metrics and logs show it.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LimitGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A hashed session or handle: the first 16 bytes of a SHA-256 over what names it and whose it is. The name
/// itself is never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub [u8; 16]);
