//! The only reader of time. Instants are handed on as [`Timestamp`]s; on tokio's paused time this clock stands
//! still with it, so that simulations decide when it moves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
pub use tokio::time::Sleep;

use crate::core::time::{Timestamp, WallTime};

/// Reads monotonic and wall time. A copy shares the origin, so that instants of all copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_micros: u64,
}

impl Clock {
    /// A clock whose monotonic time starts at the wall time of now.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            wall_micros: u64::try_from(wall_micros()).unwrap_or(0),
        }
    }

    /// The monotonic instant.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall_micros)
            + Instant::now().saturating_duration_since(self.origin)
    }

    /// The wall time, which may jump: for absolute resets in answers and for what people read.
    pub fn wall(&self) -> WallTime {
        WallTime::from_micros(wall_micros())
    }

    /// The runtime's instant of a timestamp, to sleep by. Instants beyond 100 years are brought back to that.
    pub fn instant(&self, at: Timestamp) -> Instant {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.origin
            + at.since(Timestamp::from_micros(self.wall_micros))
                .min(CENTURY)
    }

    /// Sleeps until the instant; at once where it is past.
    pub fn sleep_until(&self, at: Timestamp) -> Sleep {
        tokio::time::sleep_until(self.instant(at))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one reader")]
fn wall_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
