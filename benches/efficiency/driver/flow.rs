//! What becomes of an attempt: on its way, at the limiter, its head, its end; and another consumer's requests.

use std::time::Duration;

use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::{Dimension, Readings};
use authpool::core::limit::verdict::{Class, Verdict};

use crate::chooser::{Grant, Next};
use crate::load::Load;
use crate::provider::{Admission, cost};
use crate::reader::read;

use super::{Attempt, Driver, Event};

impl Driver<'_> {
    pub(super) fn send(&mut self, id: usize, grant: Grant) {
        let request = &mut self.requests[id];
        request.tries += 1;
        let way = request.load.way;
        self.tally.attempts += 1;
        if self
            .tally
            .span
            .outage
            .is_some_and(|(from, to)| (from..to).contains(&self.now))
        {
            self.tally.outage.0 += 1;
            self.tally.outage.1 += u64::from(request.first_in_outage());
        }
        self.attempts.push(Attempt {
            request: id,
            grant: Some(grant),
            granted: self.now,
            spoken: None,
            verdict: Verdict::OK,
        });
        let attempt = self.attempts.len() - 1;
        self.at(self.now + way, Event::Admit(attempt));
    }

    pub(super) fn key_and_model(&self, attempt: usize) -> (usize, usize) {
        let attempt = &self.attempts[attempt];
        let key = attempt.grant.as_ref().map_or(0, |grant| grant.key);
        (key, self.requests[attempt.request].load.model)
    }

    pub(super) fn admit(&mut self, at: usize) {
        let (key, _) = self.key_and_model(at);
        let load = self.requests[self.attempts[at].request].load;
        match self.provider.admit(key, &load, self.now) {
            Admission::Served => {
                let read = (load.head as f64 * load.read) as u64;
                self.at(self.now + read, Event::Read(at));
                self.at(self.now + load.head, Event::Head(at));
                if self.setting.bound != Dimension::OutputTokens {
                    self.take(&load);
                }
            }
            Admission::Refused { spoken, short } => {
                let limited = spoken.status == 429;
                self.tally.upstream += u64::from(limited);
                if limited {
                    self.trace
                        .refused(self.now, self.setting.habit, key, &load, short, &spoken);
                }
                self.attempts[at].spoken = Some(spoken);
                self.at(self.now + load.refusal, Event::Head(at));
            }
        }
    }

    pub(super) fn head(&mut self, at: usize) {
        let now = self.stamp();
        let attempt = &mut self.attempts[at];
        let id = attempt.request;
        let spoken = attempt.spoken.take();
        let (verdict, readings) = spoken.map_or((Verdict::OK, Readings::NONE), |spoken| {
            read(self.setting.habit, &spoken, self.now)
        });
        attempt.verdict = verdict;
        let Some(grant) = &attempt.grant else {
            return;
        };
        let key = grant.key;
        self.chooser
            .head(grant, &verdict, &readings, now, &mut self.out);
        if verdict.class == Class::Ok {
            let granted = attempt.granted;
            let fate = &mut self.tally.fates[id];
            fate.wait = Some(granted - fate.arrival);
            self.tally.drained = self.tally.drained.max(granted);
            let length = self.requests[id].load.length;
            self.at(self.now + length, Event::End(at));
            return;
        }
        if let Some(grant) = attempt.grant.take() {
            let usage = Usage::default();
            let load = &self.requests[id].load;
            self.chooser
                .end(grant, load, verdict, &usage, now, &mut self.out);
        }
        let course = &mut self.requests[id];
        match self.chooser.after(course, key, &verdict, now) {
            Next::Again(Duration::ZERO) => self.ask(id),
            Next::Again(delay) => {
                let delay = delay.as_micros() as u64;
                self.at(self.now + delay, Event::Again(id));
            }
            Next::Fault(fault) => self.fail(id, fault),
        }
    }

    pub(super) fn end(&mut self, at: usize) {
        let now = self.stamp();
        let attempt = &mut self.attempts[at];
        let Some(grant) = attempt.grant.take() else {
            return;
        };
        let verdict = attempt.verdict;
        let load = &self.requests[attempt.request].load;
        self.provider.finish(grant.key, load, self.now);
        let load = *load;
        if self.setting.bound == Dimension::OutputTokens {
            self.take(&load);
        }
        let usage = Usage {
            input: Some(load.input),
            output: Some(load.output),
            ..Usage::default()
        };
        self.chooser
            .end(grant, &load, verdict, &usage, now, &mut self.out);
    }

    /// Counts what a served request takes, in the measured time.
    fn take(&mut self, load: &Load) {
        if self.is_measured() {
            self.tally.taken[load.client] += cost(self.setting.bound, load);
        }
    }

    fn is_measured(&self) -> bool {
        (self.tally.span.from..self.tally.span.to).contains(&self.now)
    }

    pub(super) fn foreign(&mut self) {
        let load = self.others.draw(&[1.0]);
        let key = self.setting.marked_account();
        if let Admission::Served = self.provider.admit(key, &load, self.now) {
            self.foreign.push(load);
            let index = self.foreign.len() - 1;
            self.at(self.now + load.head + load.length, Event::ForeignEnd(index));
            if self.is_measured() {
                self.tally.supply -= cost(self.setting.bound, &load);
            }
        }
        let next = self.now + self.others.gap(self.foreign_rate);
        if next < self.tally.span.to {
            self.at(next, Event::Foreign);
        }
    }
}
