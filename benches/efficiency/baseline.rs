//! What today's gateways do, in the same harness: in turn, with the whole key cooling for a minute after a 429; and at
//! random, with three tries and no memory. Neither waits.

use std::time::Duration;

use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::Readings;
use authpool::core::limit::verdict::{Class, Verdict};
use authpool::core::time::Timestamp;

use super::chooser::{Chooser, Course, Fault, Grant, Next, Outbox, Reply};
use super::load::Load;

const COOLDOWN: Duration = Duration::from_secs(60);
const MOST_TRIES: u8 = 3;

/// In turn; after a 429 the key cools for 60 s, and the next one is tried.
pub struct InTurn {
    cooling: Vec<Timestamp>,
    next: usize,
}

impl InTurn {
    /// Of so many keys.
    pub fn new(keys: usize) -> Self {
        Self {
            cooling: vec![Timestamp::ZERO; keys],
            next: 0,
        }
    }
}

impl Chooser for InTurn {
    fn arrived(&mut self, _: Timestamp) {}

    fn ask(&mut self, _: usize, _: &mut Course, now: Timestamp, _: &mut Outbox) -> Reply {
        let keys = self.cooling.len();
        let mut turn = (self.next..self.next + keys).map(|at| at % keys);
        let Some(key) = turn.find(|&key| self.cooling[key] <= now) else {
            return Reply::Fault(Fault::Limited);
        };
        self.next = key + 1;
        Reply::Go(Grant { key, ticket: None })
    }

    fn head(
        &mut self,
        grant: &Grant,
        verdict: &Verdict,
        _: &Readings,
        now: Timestamp,
        _: &mut Outbox,
    ) {
        if verdict.class == Class::RateLimited {
            self.cooling[grant.key] = now + COOLDOWN;
        }
    }

    fn end(&mut self, _: Grant, _: &Load, _: Verdict, _: &Usage, _: Timestamp, _: &mut Outbox) {}

    fn after(&mut self, course: &mut Course, _: usize, verdict: &Verdict, _: Timestamp) -> Next {
        match verdict.class {
            Class::Overloaded if course.tries >= MOST_TRIES => Next::Fault(Fault::Overloaded),
            _ => Next::Again(Duration::ZERO),
        }
    }

    fn expire(&mut self, _: usize, _: &mut Course, _: Timestamp, _: &mut Outbox) -> Option<Fault> {
        None
    }

    fn arm(&mut self, _: Timestamp, _: &mut Outbox) -> Timestamp {
        Timestamp::MAX
    }
}

/// At random, up to three tries.
pub struct AtRandom {
    keys: usize,
    random: fastrand::Rng,
}

impl AtRandom {
    /// Of so many keys.
    pub fn new(keys: usize, seed: u64) -> Self {
        Self {
            keys,
            random: fastrand::Rng::with_seed(seed ^ 0xba5e),
        }
    }
}

impl Chooser for AtRandom {
    fn arrived(&mut self, _: Timestamp) {}

    fn ask(&mut self, _: usize, _: &mut Course, _: Timestamp, _: &mut Outbox) -> Reply {
        let key = self.random.usize(0..self.keys);
        Reply::Go(Grant { key, ticket: None })
    }

    fn head(&mut self, _: &Grant, _: &Verdict, _: &Readings, _: Timestamp, _: &mut Outbox) {}

    fn end(&mut self, _: Grant, _: &Load, _: Verdict, _: &Usage, _: Timestamp, _: &mut Outbox) {}

    fn after(&mut self, course: &mut Course, _: usize, verdict: &Verdict, _: Timestamp) -> Next {
        match verdict.class {
            _ if course.tries < MOST_TRIES => Next::Again(Duration::ZERO),
            Class::Overloaded => Next::Fault(Fault::Overloaded),
            _ => Next::Fault(Fault::Limited),
        }
    }

    fn expire(&mut self, _: usize, _: &mut Course, _: Timestamp, _: &mut Outbox) -> Option<Fault> {
        None
    }

    fn arm(&mut self, _: Timestamp, _: &mut Outbox) -> Timestamp {
        Timestamp::MAX
    }
}
