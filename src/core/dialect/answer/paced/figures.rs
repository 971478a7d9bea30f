//! Figures out of header values: plain numerals and RFC 3339 instants at the cost of their digits, all other forms by
//! way of `times`; and what a limit, a remaining and a reset make together. Whose headers they are is the callers'.

use std::time::Duration;

use super::times;
use crate::core::limit::reading::{Dimension, Reading, Readings, Refill};
use crate::core::time::WallTime;

/// As many digits as an `f64` holds without loss.
const EXACT_DIGITS: usize = 15;

/// How a provider rounds what is left before it states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Down to a whole number: of requests, or of tokens counted one by one.
    Down,
    /// To the nearest thousand (SPEC 16.3).
    Thousands,
    /// A counter that only knows whole numbers.
    Exact,
}

/// One limit while its headers are gathered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draft {
    pub(super) limit: Option<f64>,
    pub(super) remaining: Option<f64>,
    pub(super) reset: Option<Duration>,
}

/// Which figure of a limit a header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Limit,
    Remaining,
    Reset,
}

impl Draft {
    /// Takes a header in; what is unreadable changes nothing.
    pub(super) fn put(&mut self, figure: Figure, value: &[u8], now: WallTime) {
        match figure {
            Figure::Limit => self.limit = limit(value).or(self.limit),
            Figure::Remaining => self.put_remaining(number(value)),
            Figure::Reset => self.put_reset(reset(value, now)),
        }
    }

    pub(super) fn put_remaining(&mut self, number: Option<f64>) {
        self.remaining = match (self.remaining, number) {
            (Some(known), Some(number)) => Some(known.min(number)),
            (known, number) => number.or(known),
        };
    }

    pub(super) fn put_reset(&mut self, reset: Option<Duration>) {
        self.reset = self.reset.max(reset);
    }

    /// `None`: no limit or none above zero, or nothing said of what is left.
    pub(super) fn reading(
        self,
        rounding: Rounding,
        period: Duration,
        refill: Refill,
    ) -> Option<Reading> {
        let limit = self.limit.filter(|limit| *limit > 0.0)?;
        let remaining = self.remaining?.min(limit);
        let (below, above) = match rounding {
            Rounding::Down => (0.0, 1.0),
            Rounding::Thousands if remaining % 1_000.0 == 0.0 => (500.0, 500.0),
            Rounding::Thousands | Rounding::Exact => (0.0, 0.0),
        };
        Some(Reading {
            limit,
            remaining,
            // The truth lies within the limit too.
            below: f64::min(below, remaining),
            above: f64::min(above, limit - remaining),
            period,
            refill,
            reset: self.reset,
        })
    }
}

/// Of two limits of one dimension keeps the one of which the smaller share is left.
pub(super) fn keep(readings: &mut Readings, dimension: Dimension, reading: Option<Reading>) {
    let (Some(slot), Some(reading)) = (readings.dimensions.get_mut(dimension.at()), reading) else {
        return;
    };
    let share = |reading: &Reading| reading.remaining / reading.limit;
    if slot.is_none_or(|known| share(&reading) < share(&known)) {
        *slot = Some(reading);
    }
}

/// A decimal without sign or exponent.
pub(super) fn number(value: &[u8]) -> Option<f64> {
    whole(value).or_else(|| times::number(text(value)?))
}

/// Of a list ("100, 100;w=60") the first number.
pub(super) fn limit(value: &[u8]) -> Option<f64> {
    whole(value).or_else(|| {
        let first = value.split(|byte| matches!(byte, b',' | b';')).next()?;
        number(first)
    })
}

/// A reset in whatever form, as `times` has it.
pub(super) fn reset(value: &[u8], now: WallTime) -> Option<Duration> {
    if let Some(instant) = utc_second(value) {
        return Some(now.until(instant));
    }
    match whole(value) {
        Some(number) => times::reset_number(number, now),
        None => go(value).or_else(|| times::reset(text(value)?, now)),
    }
}

/// What a header that is not read as text by others is not read as here either.
fn text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    text.is_ascii().then_some(text)
}

/// Digits alone, few enough to be exact.
fn whole(value: &[u8]) -> Option<f64> {
    if value.is_empty() || EXACT_DIGITS < value.len() {
        return None;
    }
    let mut number = 0_u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if 9 < digit {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number as f64)
}

/// `6m0s`, `7.66s`, `20ms`: the form that nearly all of OpenAI's resets have.
fn go(value: &[u8]) -> Option<Duration> {
    let mut rest = value;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, behind) = leading_decimal(rest)?;
        let (unit, behind) = match behind {
            [b'm', b's', behind @ ..] => (1e-3, behind),
            [b's', behind @ ..] => (1.0, behind),
            [b'm', behind @ ..] => (60.0, behind),
            [b'h', behind @ ..] => (3_600.0, behind),
            _ => return None,
        };
        total += number * unit;
        rest = behind;
    }
    (!value.is_empty()).then(|| times::span(total, 1.0))?
}

/// A decimal of few enough digits to be exact, and what stands behind it.
fn leading_decimal(value: &[u8]) -> Option<(f64, &[u8])> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let places = value.iter().position(|byte| !is_digit(byte))?;
    let (before, behind) = value.split_at_checked(places)?;
    let [b'.', fraction @ ..] = behind else {
        return Some((whole(before)?, behind));
    };
    let places = fraction.iter().position(|byte| !is_digit(byte))?;
    let (after, behind) = fraction.split_at_checked(places)?;
    if EXACT_DIGITS < before.len() + after.len() {
        return None;
    }
    let (before, mantissa) = (whole(before)?, whole(after)?);
    let scale = 10_f64.powi(i32::try_from(places).ok()?);
    Some(((before * scale + mantissa) / scale, behind))
}

/// `2026-10-01T00:00:00Z` and nothing else: the form that nearly all of Anthropic's resets have.
fn utc_second(value: &[u8]) -> Option<WallTime> {
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
        b'Z',
    ] = value
    else {
        return None;
    };
    let (century, of_century) = (pair(*y0, *y1)?, pair(*y2, *y3)?);
    let (year, month, day) = (century * 100 + of_century, pair(*m0, *m1)?, pair(*d0, *d1)?);
    let (hour, minute, second) = (pair(*h0, *h1)?, pair(*n0, *n1)?, pair(*s0, *s1)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if 24 < hour || 59 < minute || 60 < second {
        return None;
    }
    let days = times::days_from_civil(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(WallTime::from_micros(seconds * 1_000_000))
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> WallTime {
        times::instant("2026-10-01T00:00:00Z").unwrap()
    }

    // The quick ways are no other ways: `times` says the same of the same text.
    #[test]
    fn quick_forms_read_as_the_general_ones_do() {
        for text in [
            "0",
            "007",
            "999999999999999",
            "1000000000000000",
            "1.5",
            " 12 ",
            "",
            "-1",
            "1e3",
            "12a",
        ] {
            assert_eq!(number(text.as_bytes()), times::number(text), "{text}");
        }
        for text in [
            "2026-10-01T00:01:00Z",
            "2026-12-31T24:00:00Z",
            "2026-10-01T00:00:60Z",
            "2026-09-30T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "2026-10-01T00:00:61Z",
            "1969-10-01T00:00:00Z",
            "2026-10-01T00:00:00.25Z",
            "2028-02-29T12:00:00+02:00",
            "1790812810",
            "1790812810000",
            "50",
            "6m0s",
            "120ms",
            "0s",
            "17.399999999s",
            "2m59.56s",
            "23h59m59.001s",
            "1.s",
            ".5s",
            "1m 5s",
            "1M",
            "5",
            "s",
            "123456789012345.5s",
            "Thu, 01 Oct 2026 00:00:10 GMT",
            "",
            "soon",
        ] {
            assert_eq!(
                reset(text.as_bytes(), now()),
                times::reset(text, now()),
                "{text}"
            );
        }
    }

    // SPEC 16.3.
    #[test]
    fn rounding_widens_a_reading_within_its_limit_only() {
        let read = |rounding, limit, remaining| {
            let draft = Draft {
                limit: Some(limit),
                remaining: Some(remaining),
                reset: None,
            };
            let reading = draft.reading(rounding, Duration::from_secs(60), Refill::Continuous)?;
            Some((reading.remaining, reading.below, reading.above))
        };
        use Rounding::{Down, Exact, Thousands};
        let table = [
            (
                Thousands,
                50_000.0,
                49_000.0,
                Some((49_000.0, 500.0, 500.0)),
            ),
            (Thousands, 50_000.0, 50_000.0, Some((50_000.0, 500.0, 0.0))),
            (Thousands, 50_000.0, 0.0, Some((0.0, 0.0, 500.0))),
            (Thousands, 50_000.0, 29_873.0, Some((29_873.0, 0.0, 0.0))),
            (Down, 50.0, 49.0, Some((49.0, 0.0, 1.0))),
            (Down, 50.0, 50.0, Some((50.0, 0.0, 0.0))),
            (Down, 0.5, 0.0, Some((0.0, 0.0, 0.5))),
            (Exact, 50.0, 60.0, Some((50.0, 0.0, 0.0))),
            (Exact, 0.0, 0.0, None),
        ];
        for (rounding, limit, remaining, expected) in table {
            assert_eq!(read(rounding, limit, remaining), expected, "{remaining}");
        }
    }
}
