//! What is known of a provider and stands in none of its sentences: which windows its headers count, what Azure's
//! policies are called, how GitHub limits.

use std::time::Duration;

use super::judge::Case;
use super::wait;
use super::wording::Wording;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::headroom::Headroom;
use crate::core::limit::scope::Scope;

/// The words of a dimension's name.
const DIMENSION_WORDS: [(&str, Scope); 11] = [
    ("requests", Scope::REQUESTS),
    ("tokens", Scope::TOKENS),
    ("input", Scope::INPUT_TOKENS),
    ("output", Scope::OUTPUT_TOKENS),
    ("prompt", Scope::INPUT_TOKENS),
    ("generated", Scope::OUTPUT_TOKENS),
    ("minute", Scope::MINUTE),
    ("hour", Scope::HOUR),
    ("day", Scope::DAY),
    ("week", Scope::WEEK),
    ("month", Scope::MONTH),
];

impl Case<'_> {
    /// What the dimensions of which nothing is left are. A header without a dimension's name tells only where the
    /// provider documents what it counts.
    pub(super) fn spent_scope(&self, readings: &[Headroom]) -> Scope {
        let is_documented = matches!(
            self.flavour,
            Flavour::Together | Flavour::GitHub | Flavour::OpenRouter
        );
        let is_named = |reading: &Headroom| {
            reading.dimension != "requests"
                || is_documented
                || self.headers.contains_key("x-ratelimit-remaining-requests")
                || self
                    .headers
                    .contains_key("anthropic-ratelimit-requests-remaining")
        };
        let mut scope = Scope::NONE;
        for reading in wait::spent(readings).filter(|reading| is_named(reading)) {
            let words = reading.dimension.split('_');
            for (word, meaning) in DIMENSION_WORDS {
                if words.clone().any(|known| known == word) {
                    scope = scope | meaning;
                }
            }
            if self.flavour == Flavour::Groq && reading.dimension == "requests" {
                scope = scope | Scope::DAY;
            }
        }
        if scope.intersects(Scope::INPUT_TOKENS | Scope::OUTPUT_TOKENS) {
            scope = scope.without(Scope::TOKENS);
        }
        scope
    }

    /// What a provider's table says that its answers do not.
    pub(super) fn habit(&self, wording: &Wording, readings: &[Headroom]) -> Scope {
        match self.flavour {
            Flavour::GitHub => self.github(wording, readings),
            // Its own limits are per minute or per day, and the headers name neither.
            Flavour::OpenRouter => match wait::spent_reset(readings) {
                Some(reset) if reset > Duration::from_secs(3_600) => Scope::DAY,
                _ => Scope::NONE,
            },
            Flavour::Azure => {
                let policy = self.headers.get("policy-id");
                let policy = policy.and_then(|value| value.to_str().ok());
                match policy.map(str::to_ascii_lowercase) {
                    Some(policy) if policy.contains("token") => {
                        Scope::TOKENS | Scope::PER_MODEL | Scope::MINUTE
                    }
                    Some(policy) if policy.contains("ratelimit") => {
                        Scope::REQUESTS | Scope::PER_MODEL | Scope::MINUTE
                    }
                    _ => Scope::NONE,
                }
            }
            _ => Scope::NONE,
        }
    }

    /// Primary limits are per hour (searches: minute) and credential or address; secondary ones are of any kind.
    fn github(&self, wording: &Wording, readings: &[Headroom]) -> Scope {
        let text = wording.text();
        let is_secondary = text.contains("secondary rate") || text.contains("abuse detection");
        let is_primary =
            text.contains("api rate limit exceeded") || wait::spent(readings).next().is_some();
        if is_secondary || !is_primary {
            return Scope::REQUESTS;
        }
        let resource = self.headers.get("x-ratelimit-resource");
        let window = match resource.map(http::HeaderValue::as_bytes) {
            Some(b"search" | b"code_search") => Scope::MINUTE,
            _ => Scope::HOUR,
        };
        let is_address = text.split("exceeded for ").nth(1).is_some_and(|rest| {
            let word = rest.split_whitespace().next().unwrap_or_default();
            word.matches(['.', ':']).count() >= 3
        });
        let owner = if is_address {
            Scope::PER_IP
        } else {
            Scope::PER_CREDENTIAL
        };
        Scope::REQUESTS | window | owner
    }

    /// GitHub's secondary limits end with the window, though something remains of it.
    pub(super) fn github_reset(&self, readings: &[Headroom]) -> Option<Duration> {
        (self.flavour == Flavour::GitHub)
            .then(|| readings.iter().filter_map(|reading| reading.reset).max())?
    }
}
