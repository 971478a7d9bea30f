//! Token buckets and windows, true to the microsecond: arithmetic is in integers, so that a stated wait is the least
//! that is enough. What a request needs and which buckets it meets, `limits` decides.

use std::time::Duration;

use crate::core::time::Timestamp;

const MINUTE: u128 = 60_000_000;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dimension {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
    Concurrency,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) dimension: Dimension,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Until it is full again.
    pub(super) full_in: Duration,
}

/// What a request takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) input: u64,
    pub(super) output: u64,
    /// The most that the request lets its answer have; `output` where it does not say.
    pub(super) most: u64,
}

/// Why not, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) dimension: Dimension,
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) asked: u64,
    /// Until the same request would pass; `None`: it never would, or nobody can say.
    pub(super) wait: Option<Duration>,
}

/// A token bucket. Levels are in sixty-millionths of a unit: what a rate of one a minute yields in a microsecond.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) dimension: Dimension,
    rate: u64,
    capacity: u64,
    window: Option<Duration>,
    level: u128,
    /// When it was last filled; `None` before its first use.
    filled: Option<Timestamp>,
}

impl Bucket {
    /// Full.
    pub(super) fn new(
        dimension: Dimension,
        rate: u64,
        capacity: u64,
        window: Option<Duration>,
    ) -> Self {
        Self {
            dimension,
            rate,
            capacity,
            window,
            level: u128::from(capacity) * MINUTE,
            filled: None,
        }
    }

    /// Filled to a share, in percent.
    pub(super) fn at_percent(mut self, percent: u64) -> Self {
        self.level = self.full() * u128::from(percent.min(100)) / 100;
        self
    }

    /// What a request takes of it. `reserves`: of tokens all that the answer may have.
    pub(super) fn asked(&self, need: Need, reserves: bool) -> u64 {
        match self.dimension {
            Dimension::Requests | Dimension::Concurrency => 1,
            Dimension::Tokens if reserves => need.input.saturating_add(need.most),
            Dimension::Tokens => need.input.saturating_add(need.output),
            Dimension::InputTokens => need.input,
            Dimension::OutputTokens => need.output,
        }
    }

    fn full(&self) -> u128 {
        u128::from(self.capacity) * MINUTE
    }

    /// Takes units, all of them or what there is.
    pub(super) fn take(&mut self, units: u64) {
        self.level = self.level.saturating_sub(u128::from(units) * MINUTE);
    }

    /// Gives units back.
    pub(super) fn give(&mut self, units: u64) {
        self.level = (self.level + u128::from(units) * MINUTE).min(self.full());
    }

    /// Lets time pass.
    pub(super) fn fill(&mut self, now: Timestamp) {
        let filled = *self.filled.get_or_insert(now);
        let elapsed = now.since(filled);
        match self.window {
            None => {
                let gained = elapsed.as_micros() * u128::from(self.rate);
                self.level = (self.level + gained).min(self.full());
                self.filled = Some(now.max(filled));
            }
            Some(window) if elapsed >= window => {
                let window = window.as_micros().max(1);
                let past = elapsed.as_micros() / window * window;
                let past = u64::try_from(past).unwrap_or(u64::MAX);
                self.level = self.full();
                self.filled = Some(filled + Duration::from_micros(past));
            }
            Some(_) => {}
        }
    }

    /// Why `asked` does not pass, where it does not.
    pub(super) fn refusal(&self, asked: u64, now: Timestamp) -> Option<Refusal> {
        let needed = u128::from(asked) * MINUTE;
        if needed <= self.level {
            return None;
        }
        let possible = asked <= self.capacity && (self.window.is_some() || self.rate > 0);
        Some(Refusal {
            dimension: self.dimension,
            limit: self.capacity,
            used: self.capacity.saturating_sub(self.remaining()),
            asked,
            wait: possible.then(|| self.until(needed, now)),
        })
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.level / MINUTE).unwrap_or(u64::MAX)
    }

    /// How long until the level is reached.
    fn until(&self, level: u128, now: Timestamp) -> Duration {
        let missing = level.saturating_sub(self.level);
        if missing == 0 {
            return Duration::ZERO;
        }
        if let Some(window) = self.window {
            return (self.filled.unwrap_or(now) + window).since(now);
        }
        let micros = missing.div_ceil(u128::from(self.rate.max(1)));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How full it is.
    pub(super) fn reading(&self, now: Timestamp) -> Reading {
        Reading {
            dimension: self.dimension,
            limit: self.capacity,
            remaining: self.remaining(),
            full_in: self.until(self.full(), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + micros)
    }

    proptest! {
        /// The law of a truthful wait: a microsecond less is refused, the wait itself is enough.
        #[test]
        fn a_stated_wait_is_the_least_that_is_enough(
            rate in 1u64..1_000_000,
            burst in 1u64..10_000,
            takes in proptest::collection::vec((1u64..10_000, 0u64..5_000_000), 1..30),
        ) {
            let mut bucket = Bucket::new(Dimension::Tokens, rate, burst, None);
            let mut now = 0;
            for (asked, pause) in takes {
                now += pause;
                bucket.fill(at(now));
                let Some(refusal) = bucket.refusal(asked, at(now)) else {
                    bucket.take(asked);
                    continue;
                };
                let Some(wait) = refusal.wait else {
                    prop_assert!(asked > burst);
                    continue;
                };
                let micros = u64::try_from(wait.as_micros()).unwrap();
                bucket.fill(at(now + micros - 1));
                prop_assert!(bucket.refusal(asked, at(now + micros - 1)).is_some());
                now += micros;
                bucket.fill(at(now));
                prop_assert!(bucket.refusal(asked, at(now)).is_none());
            }
        }
    }
}
