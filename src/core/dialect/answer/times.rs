//! The forms in which providers write waits and instants: seconds, Go and protobuf durations, RFC 3339, HTTP
//! dates, English dates, epoch seconds and milliseconds. Whether a form is meant is the caller's affair.
//! Every reader is bounded and answers `None` to what is negative, unreadable or overflows.

use std::time::Duration;

use crate::core::time::WallTime;

/// The longest numeral that is read; longer ones are not waits.
const MAX_NUMERAL: usize = 40;

/// The value from which an epoch is milliseconds: as seconds it would lie in the year 5138.
const EPOCH_MILLISECONDS_FROM: f64 = 1e11;

/// The value from which a bare number is an epoch and not a distance: September 2001, or 32 years from now.
const EPOCH_FROM: f64 = 1e9;

/// A decimal without sign or exponent: `14`, `1.5`.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, rest) = leading_number(text)?;
    rest.is_empty().then_some(number)
}

/// A number of seconds.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    span(number(text)?, 1.0)
}

/// A number of units of so many seconds each; `None` where it is no duration.
pub(super) fn span(number: f64, unit: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number * unit).ok()
}

/// `01:30:00`, `2.12:23:04`: hours, minutes, seconds, and days before them.
pub(super) fn leading_clock(text: &str) -> Option<Duration> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))
        .unwrap_or(text.len());
    let text = text.get(..end)?.trim_end_matches(['.', ':']);
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) => (number(days)?, clock),
        None => (0.0, text),
    };
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let seconds = number(hours)? * 3_600.0 + number(minutes)? * 60.0 + number(seconds)?;
    let is_whole = parts.next().is_none();
    is_whole.then(|| span(days * 86_400.0 + seconds, 1.0))?
}

/// Number and unit, as often as they follow each other: `6m0s`, `1.2s`, `20ms`, `156h14m36s`, `45 seconds`,
/// `1 hour and 5 minutes`. Gives what is left of the text too.
pub(super) fn leading_duration(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text;
    let mut total = 0.0;
    let mut left = None;
    while let Some((number, after)) = leading_number(rest) {
        let Some((unit, after)) = leading_unit(after.trim_start_matches([' ', '-'])) else {
            break;
        };
        total += number * unit;
        left = Some(after);
        rest = after.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
    let left = left?;
    Some((span(total, 1.0)?, left))
}

/// A whole text that is one duration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (duration, rest) = leading_duration(text.trim())?;
    rest.is_empty().then_some(duration)
}

/// An instant in any absolute form but an epoch.
pub fn instant(text: &str) -> Option<WallTime> {
    let text = text.trim();
    if let Some((instant, rest)) = leading_date(text, 0) {
        return rest.is_empty().then_some(instant);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(WallTime::from_micros(
        i64::try_from(since.as_micros()).ok()?,
    ))
}

/// Seconds or milliseconds since the epoch, told apart by size.
pub(super) fn epoch(number: f64) -> Option<WallTime> {
    let seconds = if number >= EPOCH_MILLISECONDS_FROM {
        number / 1e3
    } else {
        number
    };
    // Microseconds of any four-digit year fit.
    (0.0..253_402_300_800.0)
        .contains(&seconds)
        .then_some(WallTime::from_micros((seconds * 1e6) as i64))
}

/// A reset in whatever form: a distance in seconds or by units, or an instant. Past instants are zero.
pub(super) fn reset(text: &str, now: WallTime) -> Option<Duration> {
    if let Some(number) = number(text) {
        return reset_number(number, now);
    }
    duration(text).or_else(|| Some(now.until(instant(text)?)))
}

/// A bare number as a reset: a distance in seconds, or an epoch where it is as large as one.
pub(super) fn reset_number(number: f64, now: WallTime) -> Option<Duration> {
    if number >= EPOCH_FROM {
        return Some(now.until(epoch(number)?));
    }
    span(number, 1.0)
}

/// `2026-10-01T00:00:00.5Z`, `2026-10-01 at 00:00 UTC`, `2026-10-01 00:00:00+02:00`, `2026-10-01`; without a
/// zone it is that of `zone`, in seconds ahead of UTC. Gives what is left of the text too.
pub(super) fn leading_date(text: &str, zone: i64) -> Option<(WallTime, &str)> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * 86_400;
    let Some((of_day, rest)) = leading_time(rest) else {
        return Some((WallTime::from_micros(midnight * 1_000_000), rest));
    };
    let (offset, rest) = leading_zone(rest).unwrap_or((zone, rest));
    let micros = (midnight - offset) * 1_000_000 + of_day;
    Some((WallTime::from_micros(micros), rest))
}

/// The next midnight of the Pacific coast of the United States, where Google's days end.
pub(super) fn pacific_midnight(now: WallTime) -> WallTime {
    let seconds = now.as_micros().div_euclid(1_000_000);
    let offset = if pacific_summer(seconds) { 7 } else { 8 } * 3_600;
    let day = (seconds - offset).div_euclid(86_400) + 1;
    // Clocks change at two in the morning: that midnight has the offset of the instant before it.
    let standard = day * 86_400 + 8 * 3_600;
    let midnight = if pacific_summer(standard - 3_601) {
        standard - 3_600
    } else {
        standard
    };
    WallTime::from_micros(midnight.saturating_mul(1_000_000))
}

/// The next midnight UTC.
pub(super) fn utc_midnight(now: WallTime) -> WallTime {
    let day = now.as_micros().div_euclid(86_400_000_000) + 1;
    WallTime::from_micros(day.saturating_mul(86_400_000_000))
}

/// From the second Sunday of March to the first of November, two in the morning by the clock that ends.
fn pacific_summer(seconds: i64) -> bool {
    let year = civil_year(seconds.div_euclid(86_400));
    let begins = sunday_from(days_from_civil(year, 3, 8)) * 86_400 + 10 * 3_600;
    let ends = sunday_from(days_from_civil(year, 11, 1)) * 86_400 + 9 * 3_600;
    (begins..ends).contains(&seconds)
}

/// The first Sunday on or after a day; the epoch's day was a Thursday.
fn sunday_from(day: i64) -> i64 {
    day + (3 - day).rem_euclid(7)
}

fn civil_year(days: i64) -> i64 {
    // An estimate by mean years is off by at most one.
    let estimate = 1970 + days.div_euclid(366);
    let mut year = estimate;
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    year
}

/// Days since the epoch of a day of the Gregorian calendar.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn leading_number(text: &str) -> Option<(f64, &str)> {
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut end = whole;
    if let Some(fraction) = text.get(whole..).and_then(|rest| rest.strip_prefix('.')) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            end = whole + 1 + digits;
        }
    }
    if whole == 0 || end > MAX_NUMERAL {
        return None;
    }
    let (numeral, rest) = text.split_at_checked(end)?;
    let number: f64 = numeral.parse().ok()?;
    number.is_finite().then_some((number, rest))
}

/// The names of units, and their lengths in seconds.
const UNITS: [(&[&str], f64); 8] = [
    (&["s", "sec", "secs", "second", "seconds"], 1.0),
    (
        &["ms", "msec", "msecs", "millisecond", "milliseconds"],
        1e-3,
    ),
    (&["m", "min", "mins", "minute", "minutes"], 60.0),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600.0),
    (&["d", "day", "days"], 86_400.0),
    (&["us", "µs", "μs"], 1e-6),
    (&["ns"], 1e-9),
    (&["w", "week", "weeks"], 604_800.0),
];

/// A unit's length in seconds.
fn leading_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(text.len());
    let (unit, rest) = text.split_at_checked(end)?;
    UNITS
        .iter()
        .find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(unit)))
        .map(|(_, seconds)| (*seconds, rest))
}

/// Exactly so many digits.
fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (numeral, rest) = text.split_at_checked(count)?;
    if !numeral.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((numeral.parse().ok()?, rest))
}

/// A time of day in microseconds, after `T`, ` ` or ` at `.
fn leading_time(text: &str) -> Option<(i64, &str)> {
    let rest = text
        .strip_prefix(['T', 't'])
        .or_else(|| text.strip_prefix(" at "))
        .or_else(|| text.strip_prefix(", "))
        .or_else(|| text.strip_prefix(' '))?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    let mut micros = 0;
    if let Some((second, after)) = rest.strip_prefix(':').and_then(|rest| digits(rest, 2)) {
        (micros, rest) = (second * 1_000_000, after);
        if let Some(fraction) = after.strip_prefix('.') {
            let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let (numeral, after) = fraction.split_at_checked(count)?;
            micros += numeral
                .bytes()
                .chain([b'0'; 6])
                .take(6)
                .fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
            rest = after;
        }
    }
    if hour > 24 || minute > 59 || micros > 60_999_999 {
        return None;
    }
    Some(((hour * 3_600 + minute * 60) * 1_000_000 + micros, rest))
}

/// An offset from UTC in seconds.
fn leading_zone(text: &str) -> Option<(i64, &str)> {
    for zone in ["Z", "z", " UTC", " utc", " GMT", " gmt", " Z"] {
        if let Some(rest) = text.strip_prefix(zone) {
            return Some((0, rest));
        }
    }
    let read = |sign: char, factor: i64| {
        let (hours, rest) = digits(text.strip_prefix(sign)?, 2)?;
        let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2)?;
        Some((factor * (hours * 3_600 + minutes * 60), rest))
    };
    read('+', 1).or_else(|| read('-', -1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        instant(text).unwrap()
    }

    // Corpus, Wait: the forms of the wild.
    #[test]
    fn durations_are_read_in_every_form_that_providers_write() {
        let table = [
            ("6m0s", Some(360.0)),
            ("1.2s", Some(1.2)),
            ("20ms", Some(0.02)),
            ("17.399999999s", Some(17.399_999_999)),
            ("2m59.56s", Some(179.56)),
            ("156h14m36.752463453s", Some(562_476.752_463)),
            ("45 seconds", Some(45.0)),
            ("1 hour and 5 minutes", Some(3_900.0)),
            ("2 days", Some(172_800.0)),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("5 models", None),
            ("1e300s", None),
        ];
        for (text, expected) in table {
            let read = duration(text).map(|duration| duration.as_secs_f64());
            match (read, expected) {
                (Some(read), Some(expected)) => {
                    assert!((read - expected).abs() < 1e-5, "{text}: {read}");
                }
                (read, expected) => assert_eq!(read, expected, "{text}"),
            }
        }
    }

    #[test]
    fn instants_of_all_forms_agree() {
        let same = at("2026-10-01T00:00:00Z");
        assert_eq!(same.as_micros(), 1_790_812_800_000_000);
        for text in [
            "2026-10-01 at 00:00 UTC",
            "2026-10-01",
            "2026-10-01T02:00:00+02:00",
            "2026-09-30T19:00:00.000-0500",
            "Thu, 01 Oct 2026 00:00:00 GMT",
            "Thursday, 01-Oct-26 00:00:00 GMT",
            "Thu Oct  1 00:00:00 2026",
        ] {
            assert_eq!(at(text), same, "{text}");
        }
        for text in [
            "2026-13-01",
            "2026-10-01T25:00",
            "1969-12-31",
            "tomorrow",
            "",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn a_reset_is_a_distance_or_an_instant_by_its_size() {
        let now = at("2026-10-01T00:00:00Z");
        let table = [
            ("50", Some(50.0)),
            ("0", Some(0.0)),
            ("55.7", Some(55.7)),
            ("1790812810", Some(10.0)),
            ("1790812810000", Some(10.0)),
            ("2026-10-01T00:01:00Z", Some(60.0)),
            ("2026-09-30T00:01:00Z", Some(0.0)),
            ("1s", Some(1.0)),
            ("-1", None),
            ("req_0123", None),
            ("99999999999999999999999999999999999999999999", None),
        ];
        for (text, expected) in table {
            let read = reset(text, now).map(|duration| duration.as_secs_f64());
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn googles_day_ends_at_midnight_on_the_pacific_coast() {
        let table = [
            ("2025-09-14T13:10:00Z", "2025-09-15T07:00:00Z"),
            ("2025-01-14T07:59:00Z", "2025-01-14T08:00:00Z"),
            ("2025-01-14T08:00:00Z", "2025-01-15T08:00:00Z"),
            // Clocks went forward on 2025-03-09 and back on 2025-11-02.
            ("2025-03-08T20:00:00Z", "2025-03-09T08:00:00Z"),
            ("2025-03-09T09:00:00Z", "2025-03-10T07:00:00Z"),
            ("2025-11-01T20:00:00Z", "2025-11-02T07:00:00Z"),
            ("2025-11-02T08:00:00Z", "2025-11-03T08:00:00Z"),
        ];
        for (now, midnight) in table {
            assert_eq!(pacific_midnight(at(now)), at(midnight), "{now}");
        }
    }
}
