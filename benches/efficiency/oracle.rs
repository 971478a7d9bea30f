//! What could be reached: a chooser that knows every limit, level and prompt from the start, as nobody can, and serves
//! each model strictly in the order of arrival. Other consumers, flapping and outages it does not foresee.

use std::collections::VecDeque;
use std::time::Duration;

use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::{Dimension, Readings};
use authpool::core::limit::verdict::{Class, Verdict};
use authpool::core::time::Timestamp;

use super::chooser::{Chooser, Course, Fault, Grant, Next, Outbox, Reply};
use super::load::{LONGEST_WAY, Load, MODELS};
use super::provider::{Plan, Provider};

const MAX_WAIT: Duration = Duration::from_secs(30);
const MOST_TRIES: u8 = 16;

/// Knows the accounts by a copy of them, from which it takes when it sends.
pub struct Oracle {
    mirror: Provider,
    bound: Dimension,
    keys: usize,
    waiting: [VecDeque<(usize, Load)>; MODELS.len()],
}

impl Oracle {
    /// Of the same provider.
    pub fn new(plan: Plan, bound: Dimension, seed: u64, now: Timestamp) -> Self {
        let keys = plan.accounts.len();
        let foreseen = Plan {
            flap: None,
            outage: None,
            ..plan
        };
        let mut mirror = Provider::new(foreseen, seed, now.as_micros());
        // What is full gains nothing until the first request has got there.
        mirror.lag(LONGEST_WAY);
        Self {
            mirror,
            bound,
            keys,
            waiting: Default::default(),
        }
    }

    /// The key that has the most left, among those that have enough; else how long until the first one has.
    fn place(&mut self, load: &Load, now: Timestamp) -> Result<Grant, u64> {
        let now = now.as_micros();
        let mut soonest = u64::MAX;
        let mut best: Option<(usize, f64)> = None;
        for key in 0..self.keys {
            let wait = self.mirror.wait(key, load, now);
            soonest = soonest.min(wait);
            let share = self.mirror.share(key, load.model, self.bound);
            if wait == 0 && best.is_none_or(|(_, most)| share > most) {
                best = Some((key, share));
            }
        }
        let (key, _) = best.ok_or(soonest)?;
        self.mirror.admit(key, load, now);
        Ok(Grant { key, ticket: None })
    }
}

impl Chooser for Oracle {
    fn arrived(&mut self, _: Timestamp) {}

    fn ask(&mut self, id: usize, course: &mut Course, now: Timestamp, out: &mut Outbox) -> Reply {
        let load = course.load;
        if self.waiting[load.model].is_empty()
            && let Ok(grant) = self.place(&load, now)
        {
            return Reply::Go(grant);
        }
        self.waiting[load.model].push_back((id, load));
        out.rearm = true;
        Reply::Waits(course.demand.arrival + MAX_WAIT)
    }

    fn head(&mut self, _: &Grant, _: &Verdict, _: &Readings, _: Timestamp, _: &mut Outbox) {}

    fn end(
        &mut self,
        grant: Grant,
        load: &Load,
        verdict: Verdict,
        _: &Usage,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if verdict.class == Class::Ok {
            self.mirror.finish(grant.key, load, now.as_micros());
        }
        out.rearm = true;
    }

    fn after(&mut self, course: &mut Course, _: usize, verdict: &Verdict, _: Timestamp) -> Next {
        match verdict.class {
            _ if course.tries < MOST_TRIES => Next::Again(Duration::from_millis(500)),
            Class::Overloaded => Next::Fault(Fault::Overloaded),
            _ => Next::Fault(Fault::Limited),
        }
    }

    fn expire(
        &mut self,
        id: usize,
        course: &mut Course,
        _: Timestamp,
        out: &mut Outbox,
    ) -> Option<Fault> {
        let waiting = &mut self.waiting[course.load.model];
        let at = waiting.iter().position(|(waiter, _)| *waiter == id)?;
        waiting.remove(at);
        out.rearm = true;
        Some(Fault::Limited)
    }

    fn arm(&mut self, now: Timestamp, out: &mut Outbox) -> Timestamp {
        let mut next = Timestamp::MAX;
        for model in 0..MODELS.len() {
            while let Some(&(id, load)) = self.waiting[model].front() {
                match self.place(&load, now) {
                    Ok(grant) => {
                        self.waiting[model].pop_front();
                        out.grants.push((id, grant));
                    }
                    Err(wait) => {
                        next = next.min(now + Duration::from_micros(wait));
                        break;
                    }
                }
            }
        }
        next
    }
}
