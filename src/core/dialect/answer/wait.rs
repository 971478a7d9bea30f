//! How long an answer says to wait, and which of its sources counts (corpus, Wait). A stated wait is kept, at
//! most 35 days; a value that cannot be read counts as absent, an instant in the past as zero.

use std::time::Duration;

use http::HeaderMap;

use super::details::Stated;
use super::fault::Fault;
use super::readings::headroom;
use super::wording::Wording;
use super::{stated, times};
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::headroom::Headroom;
use crate::core::time::WallTime;

/// The longest wait that is believed (D4).
pub(super) const MAX_WAIT: Duration = Duration::from_secs(35 * 86_400);

/// `retry-after-ms`, else `retry-after` as seconds or date. Of two equal headers the longer. Zero milliseconds
/// beside seconds are a rounding: the seconds count.
pub(super) fn retry_after(headers: &HeaderMap, now: WallTime) -> Option<Duration> {
    let values = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
    };
    let fine = values("retry-after-ms")
        .chain(values("x-ms-retry-after-ms"))
        .filter_map(|text| times::span(times::number(text)?, 1e-3))
        .max();
    if fine.is_some_and(|wait| !wait.is_zero()) {
        return fine;
    }
    let coarse = values("retry-after")
        .filter_map(|text| times::seconds(text).or_else(|| Some(now.until(times::instant(text)?))))
        .max();
    coarse.or(fine)
}

/// The reset of the dimensions of which nothing is left, the latest of them; windows of subscriptions are not
/// asked, for a full one may be paid for otherwise.
pub(super) fn spent_reset(readings: &[Headroom]) -> Option<Duration> {
    spent(readings).filter_map(|reading| reading.reset).max()
}

/// The dimensions of which nothing is left.
pub(super) fn spent(readings: &[Headroom]) -> impl Iterator<Item = &Headroom> {
    readings.iter().filter(|reading| {
        reading.remaining == 0.0
            && !reading.dimension.starts_with("unified_")
            && !reading.dimension.starts_with("codex_")
    })
}

/// What headers say: those of the answer first, then those inside its body.
pub(super) fn by_headers(
    flavour: Flavour,
    headers: &HeaderMap,
    fault: &Fault,
    now: WallTime,
) -> Option<Duration> {
    [headers, &fault.headers].into_iter().find_map(|headers| {
        retry_after(headers, now).or_else(|| spent_reset(&headroom(flavour, headers, now)))
    })
}

/// What the body says, the longest of it: fields and sentences round the same wait differently.
pub(super) fn by_body(
    flavour: Flavour,
    fault: &Fault,
    wording: &Wording,
    now: WallTime,
) -> Option<Duration> {
    // Zhipu writes the time of Beijing.
    let zone = if flavour == Flavour::Zhipu {
        8 * 3_600
    } else {
        0
    };
    let fields = fault
        .waits
        .iter()
        .map(|wait| match wait {
            Stated::For(wait) => *wait,
            Stated::Until(instant) => now.until(*instant),
        })
        .max();
    fields.max(stated::wait(wording.text(), now, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&'static str, &str)], expected: Option<f64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let now = times::instant("2026-10-01T00:00:00Z").unwrap();
        let wait = retry_after(&headers, now).map(|wait| wait.as_secs_f64());
        assert_eq!(wait, expected, "{lines:?}");
    }

    // Corpus, Wait; D4.
    #[test]
    fn retry_after_is_read_in_its_forms_and_in_order() {
        check(&[("retry-after", "14")], Some(14.0));
        check(&[("retry-after", "1.5")], Some(1.5));
        check(
            &[("retry-after", "Thu, 01 Oct 2026 00:01:00 GMT")],
            Some(60.0),
        );
        check(
            &[("retry-after", "Thursday, 01-Oct-26 00:01:00 GMT")],
            Some(60.0),
        );
        check(&[("retry-after", "Thu Oct  1 00:01:00 2026")], Some(60.0));
        check(
            &[("retry-after", "Wed, 30 Sep 2026 00:00:00 GMT")],
            Some(0.0),
        );
        check(
            &[("retry-after", "2"), ("retry-after-ms", "1500")],
            Some(1.5),
        );
        check(&[("retry-after", "1"), ("retry-after-ms", "0")], Some(1.0));
        check(&[("retry-after", "5"), ("retry-after", "9")], Some(9.0));
        check(&[("retry-after", "604800")], Some(604_800.0));
        check(&[("retry-after", "-5")], None);
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "99999999999999999999999")], None);
        check(&[("retry-after", "0")], Some(0.0));
    }
}
