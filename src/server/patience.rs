//! How long a client connection may stay in the phase that it is in: one timer, moved only when it fires or must
//! fire sooner, so that a busy connection moves it once in minutes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::Limits;
use super::watch::{Activity, Phase};
use crate::clock::Clock;
use crate::core::time::Timestamp;

/// For an unused connection to close after it was told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// The limits of one connection.
pub(super) struct Patience {
    head: Duration,
    idle: Duration,
    write: Duration,
    clock: Clock,
    phase: Phase,
    since: Timestamp,
    begun: usize,
    taken: usize,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    pub(super) fn new(limits: &Limits, clock: Clock) -> Self {
        let since = clock.now();
        Self {
            head: limits.head,
            idle: limits.idle,
            write: limits.write,
            clock,
            phase: Phase::Idle,
            since,
            begun: 0,
            taken: 0,
            sleep: Box::pin(clock.sleep_until(since + limits.head)),
        }
    }

    /// The connection was told to close: unused, it has only a moment left.
    pub(super) fn drain(&mut self) {
        self.idle = FAREWELL;
        if self.phase == Phase::Idle {
            self.since = self.clock.now();
        }
    }

    /// Ready with the phase that lasted too long; else the task is woken when the present one will have.
    pub(super) fn poll(&mut self, activity: &Activity, cx: &mut Context<'_>) -> Poll<Phase> {
        self.look(activity);
        let due = self.due();
        if let Some(due) = due {
            let instant = self.clock.instant(due);
            if instant < self.sleep.deadline() {
                self.sleep.as_mut().reset(instant);
            }
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = self.clock.now();
            let next = match due {
                Some(due) if due <= now => return Poll::Ready(self.phase),
                Some(due) => due,
                // Nothing to wait for now; whoever comes next may only need to move it back.
                None => now + self.idle,
            };
            let next = self.clock.instant(next);
            self.sleep.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn look(&mut self, activity: &Activity) {
        let (phase, begun, taken) = (activity.phase(), activity.begun(), activity.taken());
        // A reader that is slow has not stopped.
        let moved = phase == Phase::Stalled && taken != self.taken;
        if phase != self.phase || begun != self.begun || moved {
            self.phase = phase;
            self.since = self.clock.now();
        }
        (self.begun, self.taken) = (begun, taken);
    }

    fn due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Idle => Some(self.since + self.idle),
            Phase::Head => Some(self.since + self.head),
            Phase::Stalled => Some(self.since + self.write),
            Phase::Busy => None,
        }
    }
}
