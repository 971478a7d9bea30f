//! The wait that a sentence states: "try again in 1m2.5s", "retry after 45 seconds", "will reset after
//! 156h14m36s", "regain access on 2026-10-01 at 00:00 UTC". Which of several sources counts is `wait`'s.

use std::time::Duration;

use super::times;
use crate::core::time::WallTime;

/// What stands before a wait, in lower case. An entry may begin within another's match: the later start is
/// found all the same, and the longest wait counts.
const BEFORE: [&str; 16] = [
    "again in",
    "again after",
    "again at",
    "retry in",
    "retry after",
    "retry-after",
    "reset after",
    "reset in",
    "resets in",
    "resets after",
    "reset at",
    "resets at",
    "available in",
    "wait",
    "until",
    "access on",
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

/// The longest wait that the text, in lower case, states; instants in the past are zero.
pub(super) fn wait(text: &str, now: WallTime) -> Option<Duration> {
    let mut longest = None;
    for before in BEFORE {
        for (at, _) in text.match_indices(before).take(MAX_PLACES) {
            let rest = text.get(at + before.len()..).unwrap_or_default();
            longest = longest.max(after(rest, now));
        }
    }
    longest
}

fn after(rest: &str, now: WallTime) -> Option<Duration> {
    let mut rest = rest.trim_start();
    for between in BETWEEN {
        rest = rest.strip_prefix(between).unwrap_or(rest).trim_start();
    }
    if let Some((wait, _)) = times::leading_duration(rest) {
        return Some(wait);
    }
    // The text was put in lower case; dates are written with a capital T.
    let (instant, _) = times::leading_date(rest)?;
    Some(now.until(instant))
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
            ("try again later", None),
            ("expected available in 1 second.", Some(1.0)),
            ("retry in 2 models", None),
        ];
        for (text, expected) in table {
            let wait = wait(text, now).map(|wait| wait.as_secs_f64());
            assert_eq!(wait, expected, "{text}");
        }
    }
}
