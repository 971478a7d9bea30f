//! What a limit applies to, in the corpus's words: what is counted, whose it is, over which window.

use std::fmt;
use std::ops::BitOr;

/// A set of scope words. Empty where the answer says nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scope(u16);

const WORDS: [(Scope, &str); 16] = [
    (Scope::REQUESTS, "requests"),
    (Scope::TOKENS, "tokens"),
    (Scope::INPUT_TOKENS, "input_tokens"),
    (Scope::OUTPUT_TOKENS, "output_tokens"),
    (Scope::CONCURRENCY, "concurrency"),
    (Scope::SPEND, "spend"),
    (Scope::PER_MODEL, "per_model"),
    (Scope::PER_CREDENTIAL, "per_credential"),
    (Scope::PER_ORG, "per_org"),
    (Scope::PER_IP, "per_ip"),
    (Scope::MINUTE, "minute"),
    (Scope::HOUR, "hour"),
    (Scope::FIVE_HOUR, "five_hour"),
    (Scope::DAY, "day"),
    (Scope::WEEK, "week"),
    (Scope::MONTH, "month"),
];

#[allow(missing_docs)] // each is the corpus's word of the same name
impl Scope {
    pub const NONE: Self = Self(0);
    pub const REQUESTS: Self = Self(1);
    pub const TOKENS: Self = Self(1 << 1);
    pub const INPUT_TOKENS: Self = Self(1 << 2);
    pub const OUTPUT_TOKENS: Self = Self(1 << 3);
    pub const CONCURRENCY: Self = Self(1 << 4);
    pub const SPEND: Self = Self(1 << 5);
    pub const PER_MODEL: Self = Self(1 << 6);
    pub const PER_CREDENTIAL: Self = Self(1 << 7);
    pub const PER_ORG: Self = Self(1 << 8);
    pub const PER_IP: Self = Self(1 << 9);
    pub const MINUTE: Self = Self(1 << 10);
    pub const HOUR: Self = Self(1 << 11);
    pub const FIVE_HOUR: Self = Self(1 << 12);
    pub const DAY: Self = Self(1 << 13);
    pub const WEEK: Self = Self(1 << 14);
    pub const MONTH: Self = Self(1 << 15);

    /// Every word there is.
    pub const ALL: Self = Self(u16::MAX);

    /// The set of this one word; `None`: it is no scope's.
    pub fn parse(word: &str) -> Option<Self> {
        let known = WORDS.into_iter().find(|(_, name)| *name == word);
        known.map(|(scope, _)| scope)
    }

    /// Whether every word of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any word of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set has no word.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set and the words of `other`; what `|` does, where a constant is wanted.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the words of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This set's words that are in `other` too.
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its words, in a fixed order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS
            .into_iter()
            .filter(move |(word, _)| self.contains(*word))
            .map(|(_, name)| name)
    }
}

impl BitOr for Scope {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.words()).finish()
    }
}
