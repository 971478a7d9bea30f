//! D11: a subscription whose connection or server keeps failing is taken out for a while. Counts failures and keeps
//! the bar with its probe; whether the pools can spare the subscription, `pools` decides. Law: computed from facts
//! and `now`; a probe without a head for 30 s has failed, without a timer.

use std::time::Duration;

use super::breaker::Attempt;
use super::ladder::Ladder;
use crate::core::choice::standing::{Cause, Standing};
use crate::core::time::Timestamp;

const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(10);
/// A probe without a head for so long is refused (D5).
pub const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Counted, or too old to count.
    Counted,
    /// Five in ten seconds: eject, if the pools can spare it.
    Enough,
    /// It was the probe: out again until the instant.
    Renewed {
        /// When the next probe may go.
        until: Timestamp,
    },
}

/// The failures and the bar of one subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ejection {
    /// The latest failures, oldest overwritten.
    failures: [Timestamp; FAILURES],
    /// Consecutive failures since the last answer.
    count: usize,
    active: bool,
    until: Timestamp,
    step: u8,
    probe: Option<Attempt>,
}

impl Ejection {
    /// Whether it is out, or its probe has not passed.
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// Adds the ejection to the sum. `event`: what an event stands for.
    pub fn weigh(&self, now: Timestamp, event: Timestamp, standing: &mut Standing) {
        let this = self.at(now);
        if !this.active {
        } else if now < this.until {
            standing.bar(this.until, Cause::Ejection);
        } else if let Some(probe) = this.probe {
            let renewed =
                probe.began + HEAD_PATIENCE + Ladder::EJECTION.rung(this.step.saturating_add(1));
            standing.event(event, renewed, Cause::Ejection);
        } else {
            standing.probe = true;
        }
    }

    /// When it is out until; `None`: it is in, or waits for its probe.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let this = self.at(now);
        (this.active && now < this.until).then_some(this.until)
    }

    /// A request takes the subscription. Returns whether it is the probe.
    pub fn take(&mut self, attempt: Attempt) -> bool {
        *self = self.at(attempt.began);
        let probes = self.active && self.until <= attempt.began && self.probe.is_none();
        if probes {
            self.probe = Some(attempt);
        }
        probes
    }

    /// `upstream_error`, silence, or a failed connect.
    pub fn failed(&mut self, attempt: Attempt, now: Timestamp) -> Failure {
        *self = self.at(now);
        if self.active {
            if self.probe != Some(attempt) {
                return Failure::Counted;
            }
            return Failure::Renewed {
                until: self.eject(now),
            };
        }
        if let Some(place) = self.failures.get_mut(self.count % FAILURES) {
            *place = now;
        }
        self.count = self.count.saturating_add(1);
        let oldest = self.failures.get(self.count % FAILURES).copied();
        let enough =
            self.count >= FAILURES && oldest.is_some_and(|oldest| now.since(oldest) <= WITHIN);
        if enough {
            Failure::Enough
        } else {
            Failure::Counted
        }
    }

    /// Takes it out, one step longer than last time. Returns until when.
    pub fn eject(&mut self, now: Timestamp) -> Timestamp {
        self.step = self.step.saturating_add(1);
        self.active = true;
        self.until = now + Ladder::EJECTION.rung(self.step);
        self.probe = None;
        self.count = 0;
        self.until
    }

    /// An answer with any verdict but a failure or `overloaded`. Returns whether a probe passed by it.
    pub fn answered(&mut self, attempt: Attempt, passes: bool, now: Timestamp) -> bool {
        *self = self.at(now);
        self.count = 0;
        let passed = self.probe == Some(attempt) && passes;
        if passed {
            *self = Self::default();
        } else {
            self.freed(attempt, now);
        }
        passed
    }

    /// The attempt ended without telling anything about the server: its probe is free. Returns whether it was one.
    pub fn freed(&mut self, attempt: Attempt, now: Timestamp) -> bool {
        *self = self.at(now);
        let was_probe = self.probe == Some(attempt);
        if was_probe {
            self.probe = None;
        }
        was_probe
    }

    /// The state with what time alone has done: a probe that got no head was refused when its patience ended.
    fn at(&self, now: Timestamp) -> Self {
        match self.probe {
            Some(probe) if self.active && probe.began + HEAD_PATIENCE <= now => {
                let mut renewed = *self;
                renewed.eject(probe.began + HEAD_PATIENCE);
                renewed
            }
            _ => *self,
        }
    }
}
