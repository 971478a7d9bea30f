//! One first, one more for each that is answered (C4, D5, SPEC 16.8).

use super::super::slow_start::SlowStart;
use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// How many may be sent at an instant.
fn room(slow: &SlowStart, now: Timestamp) -> usize {
    let mut slow = *slow;
    (0..20)
        .take_while(|_| {
            let open = slow.closed_until(now).is_none();
            slow.take(now);
            open
        })
        .count()
}

// C4
#[test]
fn one_first_and_one_more_for_each_that_is_answered() {
    let mut slow = SlowStart::new(PATIENCE);
    for answered in 0..15 {
        assert_eq!(room(&slow, at(answered)), 1 + answered as usize);
        assert!(!slow.is_over());
        slow.take(at(answered));
        slow.answered(at(answered));
    }
    assert!(slow.is_over());
}

// D5: unanswered for five seconds counts as answered
#[test]
fn who_is_unanswered_for_long_lets_one_more_go_at_that_instant() {
    let mut slow = SlowStart::new(PATIENCE);
    slow.take(at(0));
    assert_eq!(slow.closed_until(at(4_999)), Some(at(5_000)));
    assert_eq!(room(&slow, at(4_999)), 0);
    assert_eq!(room(&slow, at(5_000)), 2);
    slow.take(at(5_000));
    slow.take(at(5_100));
    assert_eq!(slow.closed_until(at(5_100)), Some(at(10_000)));
    // Its late answer counts no more.
    slow.answered(at(0));
    assert_eq!(room(&slow, at(5_100)), 0);
    assert_eq!(room(&slow, at(10_000)), 2);
}

#[test]
fn who_will_not_be_answered_leaves_its_place_and_adds_none() {
    let mut slow = SlowStart::new(PATIENCE);
    slow.take(at(0));
    assert!(slow.forget(at(0)));
    assert!(!slow.forget(at(0)));
    assert_eq!(room(&slow, at(1)), 1);
}

// C4: over when fewer are wanted than allowed
#[test]
fn it_is_idle_where_fewer_are_wanted_than_allowed() {
    let mut slow = SlowStart::new(PATIENCE);
    assert!(!slow.is_idle());
    for sent in 0..3 {
        slow.take(at(sent));
        slow.answered(at(sent));
    }
    // Four are allowed.
    assert!(slow.is_idle());
    slow.take(at(10));
    slow.take(at(11));
    assert!(!slow.is_idle());
}

/// Sends all that may go, and answers them; returns how many went each time.
fn waves(book: &mut Book, readings: &Readings, waves: usize) -> Vec<usize> {
    let (m, one) = (group("m"), [1.0, 10.0, 10.0, 20.0]);
    let mut went = Vec::new();
    let mut sent = Vec::new();
    let mut clock = 0;
    for _ in 0..waves {
        while sent.len() < 40 && is_open(ask(book, 0, "m", &one, at(clock))) {
            book.take(0, &m, None, &one, at(clock));
            sent.push(at(clock));
            clock += 1;
        }
        went.push(sent.len());
        for sent in sent.drain(..) {
            book.answered(0, &m, readings, &one, sent, at(clock));
            let used = Ending::Served([None; DIMENSIONS]);
            book.settle(0, &m, &used, &one, true, sent, at(clock));
        }
        clock += 1;
    }
    went
}

// 16.8
#[test]
fn of_whom_nothing_is_known_one_is_in_flight_and_one_more_per_success() {
    let mut strangers = book(1);
    assert_eq!(waves(&mut strangers, &Readings::NONE, 5), [1, 2, 4, 8, 40]);
    // Where limits are stated, they hold back better.
    let mut told = book(1);
    let readings = of_requests(reading(1e6, 1e6, EXACT));
    assert_eq!(waves(&mut told, &readings, 2), [1, 40]);
}

// C4: after a passed probe, whatever is known
#[test]
fn after_a_probe_they_follow_slowly_even_where_limits_are_stated() {
    let mut book = book(1);
    let readings = of_requests(reading(1e6, 1e6, EXACT));
    waves(&mut book, &readings, 1);
    book.start_slowly(0, &group("m"), at(100));
    let one = [1.0, 10.0, 10.0, 20.0];
    book.take(0, &group("m"), None, &one, at(100));
    assert_eq!(
        ask(&book, 0, "m", &one, at(100)),
        Room::Closed {
            until: at(5_100),
            event: true
        }
    );
    assert!(is_open(ask(&book, 0, "m", &one, at(5_100))));
    // An answer opens it at once.
    book.answered(0, &group("m"), &readings, &one, at(100), at(200));
    assert!(is_open(ask(&book, 0, "m", &one, at(200))));
}

// 16.8: a configured limit is known
#[test]
fn where_a_limit_is_configured_nobody_is_a_stranger() {
    let mut book = Book::new();
    let limit = Limit {
        dimension: Dimension::Requests,
        limit: 100.0,
        period: MINUTE,
        models: Models::default(),
    };
    book.lay_out(vec![vec![limit]], START);
    assert_eq!(waves(&mut book, &Readings::NONE, 1), [40]);
}
