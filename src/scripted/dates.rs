//! How providers write instants and durations: HTTP dates, RFC 3339, Go durations. Reads no clock; monotonic
//! instants start at wall time, so they are written as such.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::core::time::Timestamp;

/// The second of now as heads write it, formatted once a second.
#[derive(Debug, Default)]
pub(super) struct Dates {
    second: u64,
    http: String,
}

impl Dates {
    /// Brings it to the second of `now`.
    pub(super) fn turn_to(&mut self, now: Timestamp) {
        let second = now.as_micros() / 1_000_000;
        if second == self.second && !self.http.is_empty() {
            return;
        }
        self.second = second;
        self.http = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    }

    /// As in a `date` header.
    pub(super) fn http(&self) -> &str {
        &self.http
    }
}

/// To what the fraction of a second is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// No fraction; a started second counts as whole, so that a reset is never told too early.
    Second,
    /// Six digits.
    Micro,
}

/// An instant in RFC 3339, UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339(pub(super) Timestamp, pub(super) Precision);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let seconds = match self.1 {
            Precision::Second => micros.div_ceil(1_000_000),
            Precision::Micro => micros / 1_000_000,
        };
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if self.1 == Precision::Micro {
            write!(f, ".{:06}", micros % 1_000_000)?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of a count of days since 1970-01-01 (Howard Hinnant's algorithm, for days not before it).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A duration as Go prints it, to the millisecond and never less than it is: `6m0s`, `1.2s`, `20ms`.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoDuration(pub(super) Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_micros().div_ceil(1_000);
        if millis < 1_000 {
            return if millis == 0 {
                f.write_str("0s")
            } else {
                write!(f, "{millis}ms")
            };
        }
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let (seconds, rest) = (millis / 1_000 % 60, millis % 1_000);
        if rest == 0 {
            return write!(f, "{seconds}s");
        }
        let fraction = format!("{rest:03}");
        write!(f, "{seconds}.{}s", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_instant(seconds: u64, expected: &str) {
        let at = Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(Rfc3339(at, Precision::Second).to_string(), expected);
    }

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        check_instant(0, "1970-01-01T00:00:00Z");
        check_instant(951_782_400, "2000-02-29T00:00:00Z");
        check_instant(1_735_689_599, "2024-12-31T23:59:59Z");
        check_instant(1_795_527_393, "2026-11-24T13:36:33Z");
    }

    #[test]
    fn a_reset_is_never_told_too_early() {
        let at = Timestamp::from_micros(1_000_001);
        assert_eq!(
            Rfc3339(at, Precision::Second).to_string(),
            "1970-01-01T00:00:02Z"
        );
        assert_eq!(
            Rfc3339(at, Precision::Micro).to_string(),
            "1970-01-01T00:00:01.000001Z"
        );
    }

    #[track_caller]
    fn check_duration(micros: u64, expected: &str) {
        assert_eq!(
            GoDuration(Duration::from_micros(micros)).to_string(),
            expected
        );
    }

    #[test]
    fn durations_are_written_as_go_does() {
        check_duration(0, "0s");
        check_duration(20_000, "20ms");
        check_duration(19_001, "20ms");
        check_duration(1_200_000, "1.2s");
        check_duration(360_000_000, "6m0s");
        check_duration(62_500_000, "1m2.5s");
        check_duration(3_600_000_000, "1h0m0s");
    }
}
