//! Instants as the core sees them. Nobody here reads a clock: an instant is always an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A monotonic instant in microseconds that started at wall time when the process did. Cooldowns, pacing and
/// waits use only this; it never jumps. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The earliest instant: always in the past.
    pub const ZERO: Self = Self(0);
    /// The latest instant: never reached.
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

/// A wall-clock instant in microseconds since 1970-01-01T00:00:00Z. Only for reading absolute resets in answers
/// and for calendar windows: it may jump, so nothing waits by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long until `later`; zero where it is in the past.
    pub const fn until(self, later: Self) -> Duration {
        let micros = later.0.saturating_sub(self.0);
        Duration::from_micros(if micros < 0 { 0 } else { micros.unsigned_abs() })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
