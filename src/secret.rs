//! Secrets in memory: never printable, wiped on drop.

use std::fmt;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// Bytes that nothing prints. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A credential as the header that carries it upstream, made once and marked sensitive.
#[derive(Clone)]
pub struct Credential {
    /// In lower case.
    pub name: HeaderName,
    /// With its scheme; `is_sensitive`.
    pub value: HeaderValue,
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credential({})", self.name)
    }
}
