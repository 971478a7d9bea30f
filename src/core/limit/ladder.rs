//! How long a bar lasts where nobody stated it: doubling from a first rung to a last. When a step is taken is
//! `breaker`'s and `ejection`'s decision. Law: a rung is never above the last, whatever the step.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Durations that double from the first to the last.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    first: Duration,
    last: Duration,
}

impl Ladder {
    /// D4: `rate_limited` without a stated wait.
    pub const RATE_LIMITED: Self = Self::new(1, 10 * MINUTE);
    /// D4: `quota_exhausted` without a stated wait.
    pub const QUOTA_EXHAUSTED: Self = Self::new(10 * MINUTE, HOUR);
    /// D7: from one re-check of a refused credential to the next.
    pub const QUARANTINE: Self = Self::new(15 * MINUTE, 6 * HOUR);
    /// D7: a credential refused for one model.
    pub const MODEL: Self = Self::new(HOUR, HOUR);
    /// D11.
    pub const EJECTION: Self = Self::new(1, MINUTE);

    const fn new(first: u64, last: u64) -> Self {
        Self {
            first: Duration::from_secs(first),
            last: Duration::from_secs(last),
        }
    }

    /// The duration of a step; the first step is 1, and 0 counts as 1.
    pub fn rung(self, step: u8) -> Duration {
        let doublings = u32::from(step.saturating_sub(1)).min(31);
        self.first.saturating_mul(1 << doublings).min(self.last)
    }
}

/// D4: a guess with 0..20 % added, so that those who guessed together do not come back together.
pub fn jittered(guess: Duration, entropy: u64) -> Duration {
    const PARTS: u64 = 10_000;
    let fifth = u64::try_from(guess.as_micros() / 5).unwrap_or(u64::MAX);
    let share = mix(entropy) % PARTS;
    guess + Duration::from_micros(fifth / PARTS * share + fifth % PARTS * share / PARTS)
}

/// Spreads entropy over all bits (the finaliser of SplitMix64).
pub fn mix(entropy: u64) -> u64 {
    let mut mixed = entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ladder: Ladder, step: u8, seconds: u64) {
        assert_eq!(ladder.rung(step), Duration::from_secs(seconds));
    }

    // D4, D7, D11
    #[test]
    fn rungs_double_up_to_the_last() {
        for (step, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (10, 512),
            (11, 600),
            (255, 600),
        ] {
            check(Ladder::RATE_LIMITED, step, seconds);
        }
        for (step, seconds) in [(1, 600), (2, 1_200), (3, 2_400), (4, 3_600), (9, 3_600)] {
            check(Ladder::QUOTA_EXHAUSTED, step, seconds);
        }
        for (step, seconds) in [(1, 900), (2, 1_800), (5, 14_400), (6, 21_600), (7, 21_600)] {
            check(Ladder::QUARANTINE, step, seconds);
        }
        check(Ladder::MODEL, 1, 3_600);
        check(Ladder::MODEL, 2, 3_600);
        for (step, seconds) in [(1, 1), (6, 32), (7, 60), (8, 60)] {
            check(Ladder::EJECTION, step, seconds);
        }
    }

    // D4
    #[test]
    fn jitter_adds_up_to_a_fifth_and_takes_nothing_off() {
        for guess in [Duration::from_secs(1), Duration::from_secs(3_600)] {
            let all: Vec<_> = (0..1_000).map(|entropy| jittered(guess, entropy)).collect();
            assert!(
                all.iter()
                    .all(|&jittered| guess <= jittered && jittered < guess * 12 / 10)
            );
            assert!(all.iter().any(|&jittered| jittered > guess * 119 / 100));
            assert!(all.iter().any(|&jittered| jittered < guess * 101 / 100));
        }
    }
}
