//! How a pool chooses among the subscriptions that are open (C2), behind one function. Priority tiers come before it,
//! ties after it: `select` keeps both.

use crate::core::time::Timestamp;

/// SPEC C2's strategies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The most room left, in shares of its limits.
    #[default]
    Headroom,
    /// In turn.
    RoundRobin,
    /// In turn, in proportion to the weights.
    Weighted,
    /// The fewest in flight.
    LeastInFlight,
    /// The first of the pool's list that is open.
    FillFirst,
    /// What begins anew soonest, and so would be lost.
    SoonestReset,
}

/// What a strategy may look at of one open subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The share of its scarcest limit that would be left, 0..=1; unknown counts 0.5.
    pub share: f64,
    /// Attempts under way.
    pub in_flight: u32,
    /// The order of its latest taking.
    pub used: u64,
    /// What it was given so far, in units of its weight.
    pub pass: u64,
    /// Its place in the pool's list.
    pub position: usize,
    /// When what it has left would be lost; `None`: never, or not asked for.
    pub reset: Option<Timestamp>,
}

/// Of `headroom`: the more is left, the sooner.
pub fn by_share(share: f32) -> u64 {
    const STEPS: f32 = (1 << 20) as f32;
    u64::from(((1.0 - share.clamp(-1.0, 1.0)) * STEPS) as u32)
}

impl Strategy {
    /// All, in the order of SPEC.
    pub const ALL: [Self; 6] = [
        Self::Headroom,
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastInFlight,
        Self::FillFirst,
        Self::SoonestReset,
    ];

    /// The smaller, the sooner it is taken.
    pub fn rank(self, candidate: &Candidate) -> u64 {
        match self {
            Self::Headroom => by_share(candidate.share as f32),
            Self::RoundRobin => candidate.used,
            Self::Weighted => candidate.pass,
            Self::LeastInFlight => u64::from(candidate.in_flight),
            Self::FillFirst => candidate.position as u64,
            Self::SoonestReset => candidate.reset.map_or(u64::MAX, Timestamp::as_micros),
        }
    }

    /// Whether it looks at resets, which cost more to find than the rest.
    pub const fn looks_at_resets(self) -> bool {
        matches!(self, Self::SoonestReset)
    }

    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headroom => "headroom",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastInFlight => "least_in_flight",
            Self::FillFirst => "fill_first",
            Self::SoonestReset => "soonest_reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Candidate = Candidate {
        share: 0.5,
        in_flight: 3,
        used: 7,
        pass: 9,
        position: 2,
        reset: Some(Timestamp::from_micros(50)),
    };

    /// Each is better than the next, and all else speaks for the next.
    #[track_caller]
    fn check(strategy: Strategy, candidates: &[Candidate]) {
        for pair in candidates.windows(2) {
            let [one, other] = pair else { continue };
            assert!(
                strategy.rank(one) < strategy.rank(other),
                "{strategy:?}: {one:?} before {other:?}"
            );
        }
    }

    // C2
    #[test]
    fn each_strategy_ranks_by_its_own_figure_alone() {
        let share = |share| Candidate { share, ..SAME };
        check(
            Strategy::Headroom,
            &[1.0, 0.9, 0.5, 0.1, 0.0, -0.5].map(share),
        );
        let used = |used| Candidate { used, ..SAME };
        check(Strategy::RoundRobin, &[0, 1, 7, 900].map(used));
        let pass = |pass| Candidate { pass, ..SAME };
        check(Strategy::Weighted, &[0, 1, 9, 1 << 60].map(pass));
        let in_flight = |in_flight| Candidate { in_flight, ..SAME };
        check(Strategy::LeastInFlight, &[0, 1, 3, u32::MAX].map(in_flight));
        let position = |position| Candidate { position, ..SAME };
        check(Strategy::FillFirst, &[0, 1, 2, 1_023].map(position));
        let reset = |reset: Option<u64>| Candidate {
            reset: reset.map(Timestamp::from_micros),
            ..SAME
        };
        check(
            Strategy::SoonestReset,
            &[Some(1), Some(50), Some(1 << 60), None].map(reset),
        );
    }

    // C2: ties are for `select` to break
    #[test]
    fn what_a_strategy_does_not_look_at_makes_no_difference() {
        let other = Candidate {
            share: 0.1,
            in_flight: 0,
            used: 0,
            pass: 0,
            position: 0,
            reset: None,
        };
        for strategy in Strategy::ALL {
            let mut same = other;
            match strategy {
                Strategy::Headroom => same.share = SAME.share,
                Strategy::RoundRobin => same.used = SAME.used,
                Strategy::Weighted => same.pass = SAME.pass,
                Strategy::LeastInFlight => same.in_flight = SAME.in_flight,
                Strategy::FillFirst => same.position = SAME.position,
                Strategy::SoonestReset => same.reset = SAME.reset,
            }
            assert_eq!(strategy.rank(&same), strategy.rank(&SAME), "{strategy:?}");
        }
    }

    // C2: a share that rounding took out of its bounds, or is none, ranks at a bound
    #[test]
    fn no_share_ranks_beyond_full_or_as_nothing() {
        let rank = |share| Strategy::Headroom.rank(&Candidate { share, ..SAME });
        assert_eq!(rank(1.5), rank(1.0));
        assert_eq!(rank(f64::INFINITY), rank(1.0));
        assert_eq!(rank(-9.0), rank(f64::NEG_INFINITY));
        assert!(rank(0.0) < rank(-9.0));
    }

    #[test]
    fn names_differ() {
        let mut names = Strategy::ALL.map(Strategy::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Strategy::ALL.len());
    }
}
