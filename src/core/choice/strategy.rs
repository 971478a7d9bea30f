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
            Self::Headroom => {
                let spent = 1.0 - candidate.share.clamp(-1.0, 1.0);
                (spent * f64::from(1 << 20)) as u64
            }
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
