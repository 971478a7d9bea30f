//! The wait that a sentence states: "try again in 1m2.5s", "retry after 45 seconds", "will reset after
//! 156h14m36s", "regain access on 2026-10-01 at 00:00 UTC". Which of several sources counts is `wait`'s.

use std::time::Duration;

use super::times;
use crate::core::time::WallTime;

/// What stands before a distance or a date, in lower case. An entry may begin within another's match: the later
/// start is found all the same, and the longest wait counts.
const FOR: [&str; 11] = [
    "again in",
    "again after",
    "retry in",
    "retry after",
    "retry-after",
    "reset after",
    "reset in",
    "resets in",
    "available in",
    "replenished in",
    "wait",
];

/// What stands before a date alone: a time of day behind it is no distance.
const AT: [&str; 9] = [
    "again at",
    "available at",
    "reset at",
    "resets at",
    "reset on",
    "resets on",
    "access on",
    "until",
    "将在",
];

/// Words that may stand between.
const BETWEEN: [&str; 8] = [
    "for ",
    "about ",
    "approximately ",
    "at least ",
    "another ",
    "~",
    ": ",
    ":",
];

/// How many places of one text are looked at.
const MAX_PLACES: usize = 32;

/// The longest wait that the text, in lower case, states; instants in the past are zero. Dates without
/// a zone are so many seconds ahead of UTC.
pub(super) fn wait(text: &str, now: WallTime, zone: i64) -> Option<Duration> {
    let places = |before: &'static str| {
        text.match_indices(before)
            .take(MAX_PLACES)
            .filter_map(move |(at, _)| text.get(at + before.len()..))
            .map(bare)
    };
    let date = |rest| Some(now.until(times::leading_date(rest, zone)?.0));
    let distance = |rest| {
        let duration = times::leading_duration(rest).map(|(duration, _)| duration);
        duration.or_else(|| times::leading_clock(rest))
    };
    let until = AT.into_iter().flat_map(places).filter_map(date);
    let after = FOR
        .into_iter()
        .flat_map(places)
        .filter_map(|rest| distance(rest).or_else(|| date(rest)));
    until.chain(after).max()
}

/// What follows, without the words that may stand between.
fn bare(rest: &str) -> &str {
    BETWEEN.iter().fold(rest.trim_start(), |rest, between| {
        rest.strip_prefix(between).unwrap_or(rest).trim_start()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Corpus, Wait: the body's sentences.
    #[test]
    fn a_wait_is_read_out_of_a_sentence() {
        let now = times::instant("2026-09-11T08:00:00Z").unwrap();
        let table = [
            ("please try again in 1m2.5s. visit us", Some(62.5)),
            ("please try again in 644ms.", Some(0.644)),
            ("please retry after 45 seconds. please go", Some(45.0)),
            ("your quota will reset after 156h14m36s.", Some(562_476.0)),
            (
                "you will regain access on 2026-10-01 at 00:00 utc.",
                Some(1_699_200.0),
            ),
            ("limit will reset at 2026-09-11 08:10:00", Some(600.0)),
            ("resets at 2026-09-11t09:00:00z", Some(3_600.0)),
            ("wait 20 seconds, then slow down!", Some(20.0)),
            ("please wait before trying again.", None),
            ("please wait a few minutes before you try again.", None),
            ("quota will be replenished in 2.12:23:04.", Some(217_384.0)),
            ("replenished in 23:59:59", Some(86_399.0)),
            ("it resets at 10:30:00", None),
            ("try again later", None),
            ("expected available in 1 second.", Some(1.0)),
            ("retry in 2 models", None),
        ];
        for (text, expected) in table {
            let wait = wait(text, now, 0).map(|wait| wait.as_secs_f64());
            assert_eq!(wait, expected, "{text}");
        }
    }
}
