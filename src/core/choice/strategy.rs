//! How a pool chooses among the subscriptions that are open (C2), behind one function. Priority tiers come before it,
//! ties after it: `select` keeps both.

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
