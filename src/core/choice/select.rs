//! The best of the open subscriptions: lowest tier, then fewest in flight, then least recently used (C2). What is
//! open, `standing` says. Law: a scan of a compact table, no allocation; who errored on this request comes last.

use crate::core::id::{LimitGroup, SubscriptionIndex};
use crate::core::limit::ladder::mix;

/// What the scan reads of one subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seat {
    /// Attempts under way, of its predecessor too (see `pools::apply`).
    pub in_flight: u32,
    /// At most so many. [`u32::MAX`]: no cap.
    pub cap: u32,
    /// The order of its latest taking.
    pub used: u64,
    /// Disabled or draining: no candidate.
    pub closed: bool,
    /// Whose requests bars, models or an ejection may concern: the marks of limit groups, see [`mark`]. Those are to
    /// ask them; for all others nothing speaks against it.
    pub doubts: u64,
}

impl Seat {
    /// Whether the in-flight cap is reached.
    pub const fn is_full(&self) -> bool {
        self.in_flight >= self.cap
    }
}

/// Everybody's mark.
pub const EVERYBODY: u64 = u64::MAX;

/// The mark of a limit group, one bit of 64: two groups may share one, which costs a question, no more. Without it
/// the scan of 1,024 subscriptions with a bar each on some other model takes 36 us instead of 1.6.
pub fn mark(group: &LimitGroup) -> u64 {
    let hash = group
        .name()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    1 << (mix(hash) >> 58)
}

/// A member of a pool; a pool lists its members by tier.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Who.
    pub subscription: SubscriptionIndex,
    /// Its priority: the lower number first.
    pub tier: i32,
}

/// The best so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Best {
    chosen: Option<(Key, Pick)>,
    fallen_back: Option<(Key, Pick)>,
}

/// Tier, in flight, last used.
type Key = (i32, u32, u64);

/// Whom to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Who serves.
    pub subscription: SubscriptionIndex,
    /// Whether it is a probe.
    pub probe: bool,
}

impl Best {
    /// Whether nobody of this tier can be better than what was found.
    pub fn is_settled(&self, tier: i32) -> bool {
        self.chosen.is_some_and(|((best, ..), _)| best < tier)
    }

    /// Offers an open subscription. `errored`: it failed this request before.
    pub fn offer(&mut self, member: Member, seat: &Seat, probe: bool, errored: bool) {
        let key = (member.tier, seat.in_flight, seat.used);
        let place = if errored {
            &mut self.fallen_back
        } else {
            &mut self.chosen
        };
        if place.is_none_or(|(best, _)| key < best) {
            let subscription = member.subscription;
            *place = Some((
                key,
                Pick {
                    subscription,
                    probe,
                },
            ));
        }
    }

    /// Whom to take; `None`: nobody is open.
    pub fn pick(self) -> Option<Pick> {
        self.chosen.or(self.fallen_back).map(|(_, pick)| pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offers: &[(i32, u32, u64, bool)], expected: u16) {
        let mut best = Best::default();
        for (index, &(tier, in_flight, used, errored)) in offers.iter().enumerate() {
            let subscription = SubscriptionIndex(u16::try_from(index).unwrap());
            let seat = Seat {
                in_flight,
                used,
                cap: u32::MAX,
                ..Seat::default()
            };
            best.offer(Member { subscription, tier }, &seat, false, errored);
        }
        assert_eq!(
            best.pick().unwrap().subscription,
            SubscriptionIndex(expected)
        );
    }

    // C2
    #[test]
    fn tier_comes_first_then_in_flight_then_the_longest_unused() {
        check(&[(1, 0, 0, false), (0, 9, 9, false)], 1);
        check(&[(0, 2, 0, false), (0, 1, 9, false)], 1);
        check(&[(0, 1, 5, false), (0, 1, 4, false), (0, 1, 6, false)], 1);
        check(&[(0, 0, 0, false), (0, 0, 0, false)], 0);
    }

    // C8 (c)
    #[test]
    fn who_errored_comes_last_whatever_its_tier() {
        check(&[(0, 0, 0, true), (3, 9, 9, false)], 1);
        check(&[(0, 1, 0, true), (0, 0, 0, true)], 1);
    }

    #[test]
    fn nobody_open_is_nobody() {
        assert_eq!(Best::default().pick(), None);
    }

    // X2
    #[test]
    fn marks_of_similar_names_differ_mostly() {
        let marks = (0..64).map(|number| mark(&LimitGroup::new(&format!("m{number}"))));
        let mut marks: Vec<_> = marks.collect();
        assert!(marks.iter().all(|mark| mark.is_power_of_two()));
        marks.sort_unstable();
        marks.dedup();
        assert!(marks.len() > 32, "{}", marks.len());
    }
}
