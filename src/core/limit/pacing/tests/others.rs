//! Use by others is followed, and forgotten (SPEC 16.6).

use super::bucket::{Habit, Provider};
use super::*;

/// Random numbers of a seed.
struct Entropy(u64);

impl Entropy {
    /// 0..1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// We take all that there is of 600 requests a minute; the others take a part of it at random instants.
struct Shared {
    book: Book,
    provider: Provider,
    entropy: Entropy,
    now: Timestamp,
    /// When the answers come, and what they read.
    heads: std::collections::VecDeque<(Timestamp, Timestamp, Readings)>,
    served: u32,
    refused: u32,
    taken: u32,
}

const ONE: Amounts = [1.0, 0.0, 0.0, 0.0];
const STEP: Duration = Duration::from_millis(10);

impl Shared {
    fn new(seed: u64) -> Self {
        Self {
            book: book(1),
            provider: Provider::new(Habit::OpenAi, 600.0, 1e9, 0.2),
            entropy: Entropy(seed),
            now: START,
            heads: std::collections::VecDeque::new(),
            served: 0,
            refused: 0,
            taken: 0,
        }
    }

    /// `part`: of the refill, which others want.
    fn run(&mut self, time: Duration, part: f64) {
        let end = self.now + time;
        (self.served, self.refused, self.taken) = (0, 0, 0);
        let mut barred = self.now;
        while self.now < end {
            self.now = self.now + STEP;
            self.provider.advance(self.now, &[0.0; DIMENSIONS]);
            let bucket = self.provider.buckets[0].as_mut().unwrap();
            let wanted = bucket.rate * STEP.as_secs_f64() * part;
            if self.entropy.next() < wanted && 1.0 <= bucket.level {
                bucket.level -= 1.0;
                self.taken += 1;
            }
            self.answer();
            while barred <= self.now && is_open(ask(&self.book, 0, "m", &ONE, self.now)) {
                if !self.send() {
                    barred = self.now + seconds(1);
                }
            }
        }
    }

    fn answer(&mut self) {
        let due = |head: &mut (Timestamp, Timestamp, Readings)| head.0 <= self.now;
        while let Some((_, sent, readings)) = self.heads.pop_front_if(due) {
            let m = group("m");
            self.book.answered(0, &m, &readings, &ONE, sent, self.now);
            let used = Ending::Served([None; DIMENSIONS]);
            self.book.settle(0, &m, &used, &ONE, true, sent, self.now);
        }
    }

    fn send(&mut self) -> bool {
        let (m, now) = (group("m"), self.now);
        self.book.take(0, &m, None, &ONE, now);
        let lacks = self.provider.admit(&ONE, &ONE) != [0.0; DIMENSIONS];
        let mut readings = self.provider.readings();
        readings.dimensions[3] = None;
        if lacks {
            self.refused += 1;
            let book = &mut self.book;
            book.settle(0, &m, &Ending::Returned, &ONE, false, now, now);
            book.read(0, &m, &readings, &[0.0; DIMENSIONS], now, now);
            book.refused(0, &m, Scope::REQUESTS, Some(seconds(1)), &ONE, now, now);
            return false;
        }
        self.served += 1;
        let head = now + Duration::from_millis(300);
        self.heads.push_back((head, now, readings));
        true
    }

    /// What the account thinks that others take, as a part of the refill.
    fn blamed(&self) -> f64 {
        let account = row(&self.book, 0, "m").accounts[0].unwrap();
        1.0 - account.gain() / (account.limit() / 60.0)
    }
}

// 16.6
#[test]
fn what_others_take_is_learned_kept_clear_of_and_forgotten_when_it_ends() {
    for seed in 1..=8 {
        let mut shared = Shared::new(seed);
        shared.run(seconds(60), 0.0);
        assert_eq!((shared.refused, shared.blamed()), (0, 0.0));
        shared.run(seconds(60), 0.2);
        let mut mean = 0.0;
        let (mut refused, mut served, mut taken) = (0, 0, 0);
        for _ in 0..12 {
            shared.run(seconds(5), 0.2);
            mean += shared.blamed() / 12.0;
            refused += shared.refused;
            served += shared.served;
            taken += shared.taken;
        }
        let truth = f64::from(taken) / 600.0;
        assert!((mean - truth).abs() < 0.08, "{seed}: {mean}, not {truth}");
        assert!(refused * 50 <= served, "{seed}: {refused} of {served}");
        assert!(590 <= served + taken, "{seed}: {served} and {taken}");
        shared.run(seconds(180), 0.0);
        assert!(shared.blamed() < 0.02, "{seed}: {}", shared.blamed());
        shared.run(seconds(60), 0.0);
        assert!(590 <= shared.served, "{seed}: {}", shared.served);
        assert_eq!(shared.refused, 0, "{seed}");
    }
}

// 16.6: whatever others take, some is left to try with
#[test]
fn who_is_crowded_out_still_gains_something() {
    let mut account = Account::first(&reading(600.0, 600.0, EXACT), Default::default(), START);
    for second in 1..60 {
        let now = at(second * 1_000);
        account.read(&reading(600.0, 0.0, EXACT), now, Default::default(), now);
        assert!(account.gain() >= 0.5 - 1e-9, "{}", account.gain());
        assert!(account.margin() <= 150.0);
    }
    assert!(account.gain() < 0.6);
}

// 16.6: what nobody confirms is forgotten
#[test]
fn readings_that_agree_let_it_forget() {
    let none = Default::default();
    let mut account = Account::first(&reading(600.0, 300.0, EXACT), none, START);
    account.read(&reading(600.0, 290.0, EXACT), at(0), none, at(0));
    let gain = account.gain();
    assert!(
        (gain - 8.0).abs() < 1e-9,
        "10 a second less 10 in 5 s: {gain}"
    );
    for second in 1..=60 {
        let now = at(second * 1_000);
        account.advance(now);
        let agreed = (account.level() + account.margin()).min(600.0);
        account.read(&reading(600.0, agreed, EXACT), now, none, now);
    }
    let gain = account.gain();
    assert!(
        (gain - (10.0 - 2.0 * (-2.0_f64).exp())).abs() < 0.01,
        "{gain}"
    );
}
