//! Windows that headers tell of: whole again at their reset (STYLE; D9's plan windows).

use super::super::account::UnderWay;
use super::*;
use crate::core::limit::reading::WindowReading;

const NOTHING: UnderWay = UnderWay { all: 0.0, own: 0.0 };

fn window(limit: f64, remaining: f64, reset: Duration) -> Reading {
    Reading {
        refill: Refill::AtReset,
        reset: Some(reset),
        ..reading(limit, remaining, EXACT)
    }
}

#[test]
fn a_window_gains_nothing_until_its_reset_and_is_whole_then() {
    let mut account = Account::first(&window(100.0, 40.0, seconds(20)), NOTHING, START);
    account.advance(at(19_999));
    assert_eq!(account.level(), 40.0);
    assert_eq!(account.ends(), Some(at(20_000)));
    account.advance(at(20_000));
    assert_eq!(account.level(), 100.0);
    // The next ones are as long as the limit's period.
    assert_eq!(account.ends(), Some(at(80_000)));
    account.reserve(30.0, at(20_000));
    account.advance(at(200_001));
    assert_eq!(account.level(), 100.0);
    assert_eq!(account.ends(), Some(at(260_000)));
}

// STYLE: of two readings of one window (equal reset, 1 s either way) the smaller stays; a later reset replaces
#[test]
fn of_two_readings_of_one_window_the_smaller_stays_and_a_later_reset_replaces() {
    for (told, reset, expected) in [
        (60.0, 20_000, 40.0),
        (60.0, 21_000, 40.0),
        (60.0, 19_000, 40.0),
        (30.0, 20_000, 30.0),
        (60.0, 21_001, 60.0),
        (90.0, 80_000, 90.0),
    ] {
        let mut account = Account::first(&window(100.0, 40.0, seconds(20)), NOTHING, START);
        let reset = Duration::from_millis(reset);
        account.read(&window(100.0, told, reset), START, NOTHING, START);
        assert_eq!(account.level(), expected, "{told} {reset:?}");
    }
}

// C4, C6
#[test]
fn a_spent_window_is_closed_until_its_reset_and_gives_more_than_it_has_to_nobody() {
    let mut book = book(1);
    let (m, amounts) = (group("m"), [1.0, 0.0, 0.0, 0.0]);
    let told = of_requests(window(3.0, 3.0, seconds(20)));
    book.take(0, &m, None, &amounts, START);
    book.answered(0, &m, &told, &amounts, START, START);
    for left in [2.0, 1.0, 0.0] {
        let room = ask(&book, 0, "m", &amounts, at(1_000));
        assert_eq!(room, Room::Open(left / 3.0));
        book.take(0, &m, None, &amounts, at(1_000));
    }
    let closed = Room::Closed {
        until: at(20_000),
        event: false,
    };
    assert_eq!(ask(&book, 0, "m", &amounts, at(19_999)), closed);
    assert!(is_open(ask(&book, 0, "m", &amounts, at(20_000))));
}

// C2, D9: a plan's window is part of the rank, and holds nobody back
#[test]
fn a_plan_window_counts_in_the_share_until_it_ends() {
    let mut book = book(1);
    let (m, amounts) = (group("m"), [1.0, 0.0, 0.0, 0.0]);
    let mut told = of_requests(reading(100.0, 100.0, EXACT));
    told.windows[0] = Some(WindowReading {
        remaining: 0.2,
        reset: Some(seconds(100)),
    });
    book.take(0, &m, None, &amounts, START);
    book.answered(0, &m, &told, &amounts, START, START);
    assert_eq!(ask(&book, 0, "m", &amounts, at(99_999)), Room::Open(0.2));
    let Room::Open(share) = ask(&book, 0, "m", &amounts, at(100_000)) else {
        panic!("closed");
    };
    assert!((share - 0.99).abs() < 1e-6);
    // Of one window the smaller stays; the next replaces.
    for (remaining, reset, expected) in [(0.5, 90, 0.2), (0.1, 90, 0.1), (0.7, 900, 0.7)] {
        told.windows[0] = Some(WindowReading {
            remaining,
            reset: Some(seconds(reset)),
        });
        book.read(0, &m, &told, &amounts, START, at(10_000));
        assert_eq!(
            ask(&book, 0, "m", &amounts, at(10_000)),
            Room::Open(expected)
        );
    }
}
