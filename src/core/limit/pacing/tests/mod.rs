//! Pacing against real buckets and windows, written anew here (`bucket`), and its parts one by one.

mod account;
mod book;
mod bucket;
mod estimate;
mod gauge;
mod learned;
mod others;
mod schedule;
mod slow_start;
mod windows;

use std::time::Duration;

use super::*;
use crate::core::limit::reading::{DIMENSIONS, Reading, Refill};

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
/// Nothing is stated of rounding.
const EXACT: (f64, f64) = (0.0, 0.0);

fn at(millis: u64) -> Timestamp {
    START + Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn reading(limit: f64, remaining: f64, (below, above): (f64, f64)) -> Reading {
    Reading {
        limit,
        remaining,
        below,
        above,
        period: MINUTE,
        refill: Refill::Continuous,
        reset: None,
    }
}

/// Only of requests.
fn of_requests(reading: Reading) -> Readings {
    let mut readings = Readings::NONE;
    readings.dimensions[Dimension::Requests.at()] = Some(reading);
    readings
}

fn group(name: &str) -> LimitGroup {
    LimitGroup::new(name)
}

/// So many domains, of which nothing is known.
fn book(domains: usize) -> Book {
    let mut book = Book::new();
    book.lay_out(vec![Vec::new(); domains], START);
    book
}

fn ask(book: &Book, domain: usize, name: &str, amounts: &Amounts, now: Timestamp) -> Room {
    book.room(domain, book.find(&group(name)), Some(name), amounts, now)
}

fn is_open(room: Room) -> bool {
    matches!(room, Room::Open(_))
}

/// The row of a group there.
#[track_caller]
fn row<'a>(book: &'a Book, domain: usize, name: &str) -> &'a Row {
    let group = book.find(&group(name)).expect("a group");
    &book.rows[book.place(group, domain).expect("a row")]
}

/// What is left of an account, with nothing kept back.
#[track_caller]
fn level(book: &Book, domain: usize, name: &str, dimension: Dimension, now: Timestamp) -> f64 {
    let mut account = row(book, domain, name).accounts[dimension.at()].expect("an account");
    account.advance(now);
    account.level() + account.margin()
}
