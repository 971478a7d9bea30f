//! The model checker of the waiting room: the balancer's own source, built upon a scheduler that decides at every
//! lock, send, receipt, wake-up and tick of the clock who goes next. Each law is run under every schedule with a few
//! preemptions, and under many random ones; a lost wake-up shows as a deadlock. All is repeatable: seeds are fixed.
//!
//!   cargo run --example model            all laws
//!   cargo run --example model WORD       those whose name contains the word
//!
//! What it includes of `src` is all that the balancer needs; `sync` and `clock` alone are replaced.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a law that does not hold says so, and the counts are the result"
)]

#[path = "../../src/balancer/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the laws use a part of it")]
mod balancer;
#[path = "../../src/core/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unfulfilled_lint_expectations,
    reason = "the balancer uses a part of it; what is not part of a library is not linted like one"
)]
mod core;
#[path = "../../src/records.rs"]
#[allow(dead_code, reason = "nobody reads the records here")]
mod records;

mod bounded;
mod clock;
mod laws;
mod sync;
mod world;

use std::panic::catch_unwind;
use std::process::ExitCode;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use self::bounded::Bounded;

/// A law, and how far it is explored.
struct Law {
    name: &'static str,
    body: fn(),
    /// All schedules with so many preemptions,
    preemptions: usize,
    /// or this many of them.
    most: usize,
    /// Random schedules: half at every point, half by random priorities (PCT).
    random: usize,
    /// Whether some schedule has to find a receiver gone that an answer was sent to.
    undelivered: bool,
}

const SEED: u64 = 20_260_101;

fn run(scheduler: impl Scheduler + 'static, body: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 0x40000;
    Runner::new(scheduler, config).run(body)
}

impl Law {
    /// Panics where it does not hold.
    fn check(&self) {
        let before = sync::undelivered();
        let (scheduler, all) = Bounded::new(self.preemptions, self.most);
        let explored = run(scheduler, self.body);
        let extent = if all.get() { "all" } else { "the first" };
        let random = RandomScheduler::new_from_seed(SEED, self.random / 2);
        let random = run(random, self.body);
        let by_priority = PctScheduler::new_from_seed(SEED, 4, self.random / 2);
        let by_priority = run(by_priority, self.body);
        let undelivered = sync::undelivered() - before;
        println!(
            "   {extent} {explored} schedules with {} preemptions, {random} random, {by_priority} by priority; \
             {undelivered} answers to nobody",
            self.preemptions,
        );
        assert!(
            !self.undelivered || undelivered > 0,
            "no schedule sent an answer to one who had left: the law was not put to the test"
        );
    }
}

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for law in laws::LAWS.iter().filter(|law| law.name.contains(&word)) {
        println!("-- {}", law.name);
        if catch_unwind(|| law.check()).is_ok() {
            passed += 1;
        } else {
            failed += 1;
            println!("   does not hold");
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0 || passed == 0))
}
