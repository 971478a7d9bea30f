//! Windows that only refusals tell of (SPEC 16.12).

use std::collections::VecDeque;

use super::super::learned::{Count, Learned};
use super::*;

const ONE: Amounts = [1.0, 0.0, 0.0, 0.0];

/// A fixed window of a provider that states nothing but the wait in its refusals.
struct Window {
    begins: Timestamp,
    length: Duration,
    size: u32,
    used: u32,
}

impl Window {
    /// `None`: granted; else until when it is refused.
    fn ask(&mut self, now: Timestamp) -> Option<Duration> {
        while self.begins + self.length <= now {
            self.begins = self.begins + self.length;
            self.used = 0;
        }
        if self.used < self.size {
            self.used += 1;
            return None;
        }
        Some((self.begins + self.length).since(now))
    }
}

/// Sends as soon as it may; answers take a while.
struct Client {
    book: Book,
    window: Window,
    now: Timestamp,
    barred: Timestamp,
    answers: VecDeque<(Timestamp, Timestamp, Option<Duration>)>,
    served: Vec<Timestamp>,
    refused: usize,
}

impl Client {
    fn new(size: u32, length: Duration) -> Self {
        Self {
            book: book(1),
            window: Window {
                begins: START - Duration::from_secs(20),
                length,
                size,
                used: 0,
            },
            now: START,
            barred: START,
            answers: VecDeque::new(),
            served: Vec::new(),
            refused: 0,
        }
    }

    /// With at most one each `pause`, and nobody else to send to: beyond the count one tries.
    fn run(&mut self, until: Timestamp, pause: Duration, beyond: bool) {
        let m = group("m");
        while self.now < until {
            self.now = self.now + pause;
            while let Some((_, sent, refusal)) =
                self.answers.pop_front_if(|answer| answer.0 <= self.now)
            {
                self.answer(sent, refusal);
            }
            let may = match ask(&self.book, 0, "m", &ONE, self.now) {
                Room::Open(_) => true,
                Room::Beyond => beyond,
                Room::Closed { .. } => false,
            };
            if may && self.barred <= self.now {
                self.book.take(0, &m, None, &ONE, self.now);
                let refusal = self.window.ask(self.now);
                let latency = Duration::from_millis(if refusal.is_some() { 60 } else { 400 });
                self.answers
                    .push_back((self.now + latency, self.now, refusal));
                self.answers.make_contiguous().sort();
            }
        }
    }

    fn answer(&mut self, sent: Timestamp, refusal: Option<Duration>) {
        let (m, now, book) = (group("m"), self.now, &mut self.book);
        let none = Readings::NONE;
        if let Some(wait) = refusal {
            self.refused += 1;
            book.settle(0, &m, &Ending::Returned, &ONE, false, sent, now);
            let stated = wait.saturating_sub(now.since(sent));
            book.refused(0, &m, Scope::REQUESTS, Some(stated), &ONE, sent, now);
            self.barred = self.barred.max(now + stated);
        } else {
            self.served.push(sent);
            book.answered(0, &m, &none, &ONE, sent, now);
            let used = Ending::Served([None; DIMENSIONS]);
            book.settle(0, &m, &used, &ONE, true, sent, now);
        }
    }
}

// 16.12
#[test]
fn size_length_and_begin_of_a_fixed_window_are_found_and_it_is_spent_at_once() {
    for size in [10, 60, 300] {
        let mut client = Client::new(size, MINUTE);
        // Two windows to learn.
        client.run(at(100_000), Duration::from_millis(20), true);
        assert!(1 <= client.refused);
        let (refused, served) = (client.refused, client.served.len());
        client.run(at(700_000), Duration::from_millis(20), true);
        let spent = client.served.len() - served;
        assert!(spent as u32 >= size * 10 * 98 / 100, "{size}: {spent}");
        // One that tries beyond it in each window, and no more.
        assert!(client.refused - refused <= 12, "{size}: {}", client.refused);
        // Not spread: most of a window went within its first part.
        let early = |sent: &&Timestamp| sent.since(START - seconds(20)).as_micros() % 60_000_000;
        let soon = u128::from(size) * 20_000 * 2 + 1_000_000;
        let at_once = client.served[served..]
            .iter()
            .filter(|sent| early(sent) <= soon)
            .count();
        assert!(at_once * 10 >= spent * 9, "{size}: {at_once} of {spent}");
    }
}

// 16.12: where somebody else has room, nobody tries beyond the count
#[test]
fn who_does_not_try_beyond_the_count_is_not_refused() {
    let mut client = Client::new(60, MINUTE);
    client.run(at(100_000), Duration::from_millis(20), true);
    // What is under way yet.
    client.run(at(101_000), Duration::from_millis(20), false);
    client.refused = 0;
    client.run(at(700_000), Duration::from_millis(20), false);
    assert_eq!(client.refused, 0);
}

/// A window of 10 requests in a minute that began at the start, all of it spent.
fn spent() -> Learned {
    let mut learned = Learned::new();
    let before = START - MINUTE;
    for _ in 0..10 {
        learned.take(1.0, before);
        learned.answered(1.0, before, before);
    }
    learned.take(1.0, before);
    learned.returned(1.0, before);
    assert!(learned.refused(1.0, before, START, before));
    for request in 0..10 {
        let Count::Within(share) = learned.count(1.0, START) else {
            panic!("{request}: {learned:?}");
        };
        assert!((share - (9.0 - f64::from(request)) / 10.0).abs() < 1e-9);
        learned.take(1.0, START);
        learned.answered(1.0, START, START);
    }
    learned
}

// 16.12
#[test]
fn the_stated_end_is_where_the_next_begins_and_what_was_spent_is_its_size() {
    let learned = spent();
    assert_eq!(learned.ends(), Some(at(60_000)));
    assert_eq!(learned.count(1.0, START), Count::Beyond);
    assert_eq!(learned.count(1.0, at(60_000)), Count::Within(0.9));
}

// 16.12: one at a time; a success adds 1
#[test]
fn beyond_the_count_one_tries_at_a_time_and_each_success_adds_one() {
    let mut learned = spent();
    learned.take(1.0, at(100));
    assert_eq!(learned.count(1.0, at(100)), Count::Spent(at(5_100)));
    learned.answered(1.0, at(100), at(300));
    assert_eq!(learned.count(1.0, at(300)), Count::Beyond);
    let Count::Within(share) = learned.count(1.0, at(60_000)) else {
        panic!("{learned:?}");
    };
    assert!((share - 10.0 / 11.0).abs() < 1e-9, "11 now");
    // One that is unanswered for long is no longer waited for: limiters refuse at once.
    learned.take(1.0, at(400));
    assert_eq!(learned.count(1.0, at(5_399)), Count::Spent(at(5_400)));
    assert_eq!(learned.count(1.0, at(5_400)), Count::Beyond);
}

// 16.12: the count since the last end is what was granted
#[test]
fn what_was_refused_with_the_first_is_not_part_of_the_size() {
    let mut learned = Learned::new();
    for sent in 0..13 {
        learned.take(1.0, at(sent));
    }
    for sent in 10..13 {
        learned.returned(1.0, at(sent));
        assert!(learned.refused(1.0, at(sent), at(30_000), at(100 + sent)));
    }
    assert_eq!(learned.count(1.0, at(30_000)), Count::Within(0.9));
}

// 16.12: parallel refusals take off 1 together
#[test]
fn parallel_refusals_take_off_one_together() {
    let mut learned = spent();
    let end = at(60_000);
    for sent in [at(100), at(101), at(102)] {
        learned.take(1.0, sent);
    }
    for sent in [at(100), at(101), at(102)] {
        learned.returned(1.0, sent);
        assert!(learned.refused(1.0, sent, end, at(200)));
    }
    let Count::Within(share) = learned.count(1.0, end) else {
        panic!("{learned:?}");
    };
    assert!((share - 8.0 / 9.0).abs() < 1e-9, "9 now, not {share}");
}

#[test]
fn too_little_teaches_nothing() {
    let mut learned = Learned::new();
    learned.take(1.0, START);
    learned.returned(1.0, START);
    assert!(!learned.refused(1.0, START, at(30_000), at(10)));
    assert!(!learned.is_known());
}

// 16.12: their distance is its length
#[test]
fn a_shorter_distance_between_two_ends_is_the_length() {
    let mut learned = spent();
    // The next one ends twenty seconds after it began.
    learned.take(1.0, at(100));
    learned.returned(1.0, at(100));
    learned.refused(1.0, at(100), at(20_000), at(200));
    assert_eq!(learned.ends(), Some(at(40_000)));
}

// C4: who states limits needs no guesses
#[test]
fn what_was_learned_is_forgotten_when_limits_are_stated() {
    let mut client = Client::new(10, MINUTE);
    client.run(at(100_000), Duration::from_millis(20), true);
    let m = group("m");
    let told = of_requests(reading(1e6, 1e6, EXACT));
    let now = client.now;
    client.book.read(0, &m, &told, &ONE, now, now);
    for _ in 0..100 {
        assert!(is_open(ask(&client.book, 0, "m", &ONE, now)));
        client.book.take(0, &m, None, &ONE, now);
    }
}
