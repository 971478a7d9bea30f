//! Patterns with `*` only, over text in which case counts. How they match is the core's.

use super::Glob;
use crate::core::glob;

impl Glob {
    /// Whether the whole text fits the pattern; case counts.
    pub fn matches(&self, text: &str) -> bool {
        glob::matches(self.0.as_bytes(), text.as_bytes())
    }

    /// Whether it is `*` alone: everything fits it.
    pub fn matches_all(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether it names one thing: no star in it.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }
}
