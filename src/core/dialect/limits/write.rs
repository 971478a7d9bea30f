//! Figures in the forms that limit headers have, all values of one answer in one allocation and without the machinery
//! of formatting: every answer of a pool pays for it. Which figure goes where is the caller's.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::MOST_LINES;
use crate::core::time::WallTime;

/// Room for the text of the most lines: numerals have at most 20 digits, instants 20 characters.
const TEXT: usize = 512;

/// In microseconds: a second that was told comes back as itself, though the two clocks drifted in between.
const SLACK: i64 = 100_000;

/// The last second of the year 9999, the last that RFC 3339 can say.
const LAST_SECOND: i64 = 253_402_300_799;

/// The lines of one answer.
pub(super) struct Lines {
    now: WallTime,
    text: BytesMut,
    lines: [Option<Line>; MOST_LINES],
    count: usize,
}

struct Line {
    name: &'static HeaderName,
    value: Value,
}

enum Value {
    Word(&'static str),
    /// A part of the text.
    Text(Range<usize>),
}

impl Lines {
    /// None yet. Resets count from `now`.
    pub(super) fn new(now: WallTime) -> Self {
        Self {
            now,
            text: BytesMut::new(),
            lines: [const { None }; MOST_LINES],
            count: 0,
        }
    }

    pub(super) fn word(&mut self, name: &'static HeaderName, word: &'static str) {
        self.push(name, Value::Word(word));
    }

    /// A whole number, rounded down; what is no number or below zero is zero.
    pub(super) fn number(&mut self, name: &'static HeaderName, number: f64) {
        self.written(name, |text| digits(text, number as u64, 1));
    }

    /// So long from now, as RFC 3339 in UTC, rounded up to a second but for a tenth.
    pub(super) fn instant(&mut self, name: &'static HeaderName, after: Duration) {
        let second = self.second(after);
        self.written(name, |text| rfc_3339(text, second));
    }

    /// So long from now, in seconds since the epoch, rounded up but for a tenth.
    pub(super) fn epoch(&mut self, name: &'static HeaderName, after: Duration) {
        let second = self.second(after);
        self.written(name, |text| digits(text, second, 1));
    }

    /// Whole seconds, rounded up.
    pub(super) fn seconds(&mut self, name: &'static HeaderName, duration: Duration) {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() != 0);
        self.written(name, |text| digits(text, seconds, 1));
    }

    /// As Go writes durations, rounded up to a millisecond: `0s`, `6ms`, `7.66s`, `6m0s`.
    pub(super) fn duration(&mut self, name: &'static HeaderName, duration: Duration) {
        let millis = u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.written(name, |text| go(text, millis));
    }

    /// Thousandths as a decimal, without zeros at its end but for the first `at_least` places: `0.42`, `1.0`.
    pub(super) fn share(&mut self, name: &'static HeaderName, thousandths: u64, at_least: usize) {
        self.written(name, |text| decimal(text, thousandths, at_least));
    }

    fn second(&self, after: Duration) -> u64 {
        let after = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        let micros = self.now.as_micros().saturating_add(after) - SLACK;
        let second = micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) != 0);
        second.clamp(0, LAST_SECOND).unsigned_abs()
    }

    fn written(&mut self, name: &'static HeaderName, write: impl FnOnce(&mut BytesMut)) {
        if self.text.capacity() == 0 {
            self.text.reserve(TEXT);
        }
        let start = self.text.len();
        write(&mut self.text);
        self.push(name, Value::Text(start..self.text.len()));
    }

    fn push(&mut self, name: &'static HeaderName, value: Value) {
        if let Some(line) = self.lines.get_mut(self.count) {
            *line = Some(Line { name, value });
            self.count += 1;
        }
    }

    pub(super) fn into_headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let text: Bytes = self.text.freeze();
        self.lines.into_iter().map_while(move |line| {
            let Line { name, value } = line?;
            let value = match value {
                Value::Word(word) => HeaderValue::from_static(word),
                Value::Text(range) => HeaderValue::from_maybe_shared(text.slice(range)).ok()?,
            };
            Some((name.clone(), value))
        })
    }
}

/// With at least so many digits.
fn digits(text: &mut BytesMut, number: u64, at_least: usize) {
    let mut numeral = [b'0'; 20];
    let mut rest = number;
    let mut first = numeral.len();
    for (at, digit) in numeral.iter_mut().enumerate().rev() {
        if rest == 0 && at_least <= 20 - first {
            break;
        }
        // A remainder of ten fits.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        first = at;
    }
    text.extend_from_slice(numeral.get(first..).unwrap_or_default());
}

fn decimal(text: &mut BytesMut, thousandths: u64, at_least: usize) {
    digits(text, thousandths / 1_000, 1);
    let mut fraction = thousandths % 1_000;
    let mut places = 3;
    while at_least < places && fraction.is_multiple_of(10) {
        fraction /= 10;
        places -= 1;
    }
    if 0 < places {
        text.extend_from_slice(b".");
        digits(text, fraction, places);
    }
}

fn go(text: &mut BytesMut, millis: u64) {
    if 0 < millis && millis < 1_000 {
        digits(text, millis, 1);
        text.extend_from_slice(b"ms");
        return;
    }
    let minutes = millis / 60_000;
    if 60 <= minutes {
        digits(text, minutes / 60, 1);
        text.extend_from_slice(b"h");
    }
    if 0 < minutes {
        digits(text, minutes % 60, 1);
        text.extend_from_slice(b"m");
    }
    decimal(text, millis % 60_000, 0);
    text.extend_from_slice(b"s");
}

/// `second` at most [`LAST_SECOND`].
fn rfc_3339(text: &mut BytesMut, second: u64) {
    // Both parts of a second of a year of four digits fit, and 32 bits divide faster.
    let (days, of_day) = ((second / 86_400) as u32, (second % 86_400) as u32);
    let (year, month, day) = civil(days);
    let [c0, c1] = pair(year / 100);
    let [y0, y1] = pair(year % 100);
    let [m0, m1] = pair(month);
    let [d0, d1] = pair(day);
    let [h0, h1] = pair(of_day / 3_600);
    let [n0, n1] = pair(of_day / 60 % 60);
    let [s0, s1] = pair(of_day % 60);
    text.extend_from_slice(&[
        c0, c1, y0, y1, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1, b'Z',
    ]);
}

/// Two digits of a number below 100.
fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day of the Gregorian calendar, so many days after the epoch.
fn civil(days: u32) -> (u32, u32, u32) {
    // Eras of 400 years that begin with a March, so that leap days end their years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::dialect::answer::instant;

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut text = BytesMut::new();
        write(&mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let table = [
            (0, "0s"),
            (1, "1ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (7_660, "7.66s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (432_000, "7m12s"),
            (179_560, "2m59.56s"),
            (3_600_000, "1h0m0s"),
            (86_399_001, "23h59m59.001s"),
        ];
        for (millis, expected) in table {
            assert_eq!(text(|text| go(text, millis)), expected);
        }
    }

    #[test]
    fn shares_have_the_recorded_form() {
        let table = [
            (0, "0.0"),
            (20, "0.02"),
            (300, "0.3"),
            (737, "0.737"),
            (1_000, "1.0"),
        ];
        for (thousandths, expected) in table {
            assert_eq!(text(|text| decimal(text, thousandths, 1)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_what_was_meant(
            second in 0..=LAST_SECOND.unsigned_abs(),
            number in any::<u64>(),
            width in 1_usize..=20,
        ) {
            let written = text(|text| rfc_3339(text, second));
            let read = instant(&written).unwrap().as_micros();
            prop_assert_eq!(read, i64::try_from(second).unwrap() * 1_000_000, "{}", written);
            prop_assert_eq!(text(|text| digits(text, number, 1)), number.to_string());
            prop_assert_eq!(
                text(|text| digits(text, number, width)),
                format!("{number:0width$}")
            );
        }
    }
}
