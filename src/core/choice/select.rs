//! The best of the open subscriptions: lowest tier, then the strategy's rank, then fewest in flight, then least
//! recently used (C2). What is open, `standing` says. Law: a scan of a compact table, no allocation; who errored on this request comes last.

use crate::core::id::{LimitGroup, SubscriptionIndex};
use crate::core::limit::ladder::mix;
use crate::core::limit::reading::Counting;

/// What the scan reads of one subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seat {
    /// Attempts under way, of its predecessor too (see `pools::apply`).
    pub in_flight: u32,
    /// At most so many. [`u32::MAX`]: no cap.
    pub cap: u32,
    /// The order of its latest taking.
    pub used: u64,
    /// Its quota domain.
    pub domain: u32,
    /// What it was given so far, in units of its weight (`weighted`).
    pub pass: u64,
    /// What one request adds to `pass`.
    pub stride: u64,
    /// How its provider's limiter counts tokens.
    pub counting: Counting,
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
    1 << (mix(group.hash()) >> 58)
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
    beyond: Option<(Key, Pick)>,
    fallen_back: Option<(Key, Pick)>,
}

/// Tier, rank, in flight, last used.
type Key = (i32, u64, u32, u64);

/// How good an open subscription is for a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer {
    /// The strategy's.
    pub rank: u64,
    /// Taking it makes a probe.
    pub probe: bool,
    /// It failed this request before: taken only where nobody else is open.
    pub errored: bool,
    /// Beyond what its limits are known to let go: taken only where nobody else has room.
    pub beyond: bool,
}

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

    /// Offers an open subscription.
    #[inline]
    pub fn offer(&mut self, member: Member, seat: &Seat, offer: Offer) {
        let worse =
            |((tier, rank, ..), _): &(Key, Pick)| *tier == member.tier && *rank < offer.rank;
        if self.chosen.as_ref().is_some_and(worse) {
            return;
        }
        let key = (member.tier, offer.rank, seat.in_flight, seat.used);
        let place = if offer.beyond {
            &mut self.beyond
        } else if offer.errored {
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
                    probe: offer.probe,
                },
            ));
        }
    }

    /// Whom to take; `None`: nobody is open.
    pub fn pick(self) -> Option<Pick> {
        let open = self.chosen.or(self.fallen_back).or(self.beyond);
        open.map(|(_, pick)| pick)
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
            let offer = Offer {
                errored,
                ..Offer::default()
            };
            best.offer(Member { subscription, tier }, &seat, offer);
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

    // C2: tier, then the strategy's rank, then in flight, then the longest unused
    #[test]
    fn the_strategys_rank_comes_between_tier_and_ties() {
        let order = [
            (0, 1, 9, 9),
            (0, 2, 0, 9),
            (0, 2, 1, 0),
            (0, 2, 1, 5),
            (1, 0, 0, 0),
        ];
        for (better, pair) in order.windows(2).enumerate() {
            // Whichever is offered first.
            for turned in [false, true] {
                let mut best = Best::default();
                let mut offers: Vec<_> = (0_u16..).zip(pair).collect();
                if turned {
                    offers.reverse();
                }
                for (index, &(tier, rank, in_flight, used)) in offers {
                    let subscription = SubscriptionIndex(index);
                    let seat = Seat {
                        in_flight,
                        used,
                        ..Seat::default()
                    };
                    let offer = Offer {
                        rank,
                        ..Offer::default()
                    };
                    best.offer(Member { subscription, tier }, &seat, offer);
                }
                let pick = best.pick().unwrap();
                assert_eq!(pick.subscription, SubscriptionIndex(0), "{better} {turned}");
            }
        }
    }

    // 16.12: beyond the count only when no other key has room
    #[test]
    fn who_is_beyond_its_count_comes_last_of_all() {
        let mut best = Best::default();
        for (index, (errored, beyond)) in (0..).zip([(false, true), (true, false)]) {
            let member = Member {
                subscription: SubscriptionIndex(index),
                tier: i32::from(index),
            };
            let offer = Offer {
                errored,
                beyond,
                ..Offer::default()
            };
            best.offer(member, &Seat::default(), offer);
        }
        assert_eq!(best.pick().unwrap().subscription, SubscriptionIndex(1));
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
