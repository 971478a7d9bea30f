//! What an answer's headers say of limits, as pacing takes it: figures without words, no allocation. Which header
//! means what, `dialect` knows; what follows from a reading, `pacing` decides.

use std::time::Duration;

/// What is counted within a minute or a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Requests.
    Requests,
    /// Prompt tokens.
    InputTokens,
    /// Generated tokens.
    OutputTokens,
    /// Both kinds together.
    Tokens,
}

/// How many dimensions there are.
pub const DIMENSIONS: usize = 4;

impl Dimension {
    /// All, in the order of [`Dimension::at`].
    pub const ALL: [Self; DIMENSIONS] = [
        Self::Requests,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Tokens,
    ];

    /// As a position in a table.
    pub const fn at(self) -> usize {
        self as usize
    }

    /// As configuration and metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
        }
    }
}

/// How a limit comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refill {
    /// A bucket that gains `limit` in a `period`, all the time. `reset` is when it is full again (SPEC 16.7).
    Continuous,
    /// A window that is whole again at its `reset`, and gains nothing before.
    AtReset,
}

/// One reading of one dimension. All figures are finite and not negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The most that can be left; above zero.
    pub limit: f64,
    /// What is left, as stated.
    pub remaining: f64,
    /// By how much the truth may be lower than `remaining`, for rounding (SPEC 16.3).
    pub below: f64,
    /// By how much the truth may be higher.
    pub above: f64,
    /// What the limit is per.
    pub period: Duration,
    /// How it comes back.
    pub refill: Refill,
    /// Until it is full or whole again; `None`: not stated.
    pub reset: Option<Duration>,
}

/// A window of a subscription's plan, of which only a share is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// Five hours.
    FiveHours,
    /// A week.
    Week,
}

/// How many windows there are.
pub const WINDOWS: usize = 2;

impl Window {
    /// As a position in a table.
    pub const fn at(self) -> usize {
        self as usize
    }
}

/// What is left of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowReading {
    /// 0..=1.
    pub remaining: f64,
    /// Until it begins anew; `None`: not stated.
    pub reset: Option<Duration>,
}

/// Everything that one answer's head says of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// By [`Dimension::at`]; `None`: not stated.
    pub dimensions: [Option<Reading>; DIMENSIONS],
    /// By [`Window::at`]; `None`: not stated.
    pub windows: [Option<WindowReading>; WINDOWS],
    /// A hash of the organisation (with the project) that the answer names (D8); `None`: it names none.
    pub organisation: Option<u64>,
}

impl Readings {
    /// An answer that says nothing of limits.
    pub const NONE: Self = Self {
        dimensions: [None; DIMENSIONS],
        windows: [None; WINDOWS],
        organisation: None,
    };

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

/// What the whole of a pool has left for one limit group, as its clients are told (D9). Of what no subscription of it
/// told, nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolRoom {
    /// By [`Dimension::at`]; `None`: no subscription of the pool told it.
    pub dimensions: [Option<PoolReading>; DIMENSIONS],
    /// By [`Window::at`]: the mean over those that told it, and the reset of the last of them to begin anew.
    pub windows: [Option<WindowReading>; WINDOWS],
}

/// One dimension of a whole pool: sums over the quota domains that told it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolReading {
    /// The most that can be left; above zero.
    pub limit: f64,
    /// What is left now, at least 0 and at most the limit.
    pub remaining: f64,
    /// Until all of it is left again, if nothing more is asked; zero where it is.
    pub full_in: Duration,
}

impl PoolRoom {
    /// A pool of which nothing is known.
    pub const NONE: Self = Self {
        dimensions: [None; DIMENSIONS],
        windows: [None; WINDOWS],
    };

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Of one dimension.
    pub fn dimension(&self, dimension: Dimension) -> Option<PoolReading> {
        self.dimensions.get(dimension.at()).copied().flatten()
    }

    /// Of one window.
    pub fn window(&self, window: Window) -> Option<WindowReading> {
        self.windows.get(window.at()).copied().flatten()
    }
}

/// How a provider's limiter counts tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// Usage's `input` leaves out what came from or went to the prompt cache (Anthropic); else it includes both.
    pub input_without_cache: bool,
    /// What is read from the prompt cache does not count against the limits.
    pub ignores_cache_reads: bool,
    /// The whole of `max_tokens` counts while a request runs (OpenAI).
    pub reserves_max_tokens: bool,
}
