//! The time limits of one attempt after its connection exists, on one timer. The timer is armed when somebody
//! really waits, and moved only when it fires or must fire sooner: a stream of a thousand events moves it never.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::clock::Clock;
use crate::core::time::Timestamp;

/// Which limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The one that the caller asked about.
    Step,
    /// That of the attempt as a whole.
    Total,
}

/// The limit of an attempt as a whole, and the timer for every limit within it.
pub(super) struct Deadline {
    total: Timestamp,
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Arms nothing yet.
    pub(super) fn new(total: Timestamp, clock: Clock) -> Self {
        Self {
            total,
            clock,
            sleep: None,
        }
    }

    /// Now, by the clock of this attempt.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Ready once `due` or the total has passed; else the task is woken then. `due` may differ from call to call.
    pub(super) fn poll(&mut self, due: Timestamp, cx: &mut Context<'_>) -> Poll<Expired> {
        let at = due.min(self.total);
        let instant = self.clock.instant(at);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(self.clock.sleep_until(at)));
        if instant < sleep.deadline() {
            sleep.as_mut().reset(instant);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = self.clock.now();
            if self.total <= now {
                return Poll::Ready(Expired::Total);
            }
            if at <= now {
                return Poll::Ready(Expired::Step);
            }
            sleep.as_mut().reset(instant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    // F2
    #[tokio::test(start_paused = true)]
    async fn the_limit_may_move_both_ways_and_the_total_never_moves() {
        let clock = Clock::new();
        let start = clock.now();
        let mut deadline = Deadline::new(start + 10 * SECOND, clock);
        let mut due = start + 5 * SECOND;
        let first = poll_fn(|cx| deadline.poll(due, cx));
        assert!(tokio::time::timeout(SECOND, first).await.is_err());
        due = start + 2 * SECOND;
        assert_eq!(poll_fn(|cx| deadline.poll(due, cx)).await, Expired::Step);
        assert_eq!(clock.now().since(start).as_secs(), 2);
        due = start + 7 * SECOND;
        assert_eq!(poll_fn(|cx| deadline.poll(due, cx)).await, Expired::Step);
        assert_eq!(clock.now().since(start).as_secs(), 7);
        due = start + 20 * SECOND;
        assert_eq!(poll_fn(|cx| deadline.poll(due, cx)).await, Expired::Total);
        assert_eq!(clock.now().since(start).as_secs(), 10);
    }
}
