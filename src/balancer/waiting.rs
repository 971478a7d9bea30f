//! One who waits, as a future. Order and grants are the pools'; the deadline is its own timer, on whatever runtime
//! polls it. Law: dropped at any moment it leaves neither a place nor a grant behind.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Answer, Balancer};
use crate::clock::Sleep;
use crate::core::choice::queue::WaiterId;
use crate::core::pools::{RefusalReason, Refused};
use crate::core::time::Timestamp;
use crate::sync::oneshot;

/// Resolves to a lease, or to a refusal when its deadline comes or news puts every instant beyond it. Dropping it
/// leaves the waiting room at once. To be polled on a runtime with timers.
#[must_use = "a waiter that is dropped has left"]
pub struct Waiting {
    balancer: Balancer,
    /// Where it waits; `None`: it has its answer.
    waiter: Option<WaiterId>,
    deadline: Timestamp,
    /// `None`: not polled yet, or fired.
    timer: Option<Pin<Box<Sleep>>>,
    expired: bool,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    pub(super) fn new(
        balancer: Balancer,
        waiter: WaiterId,
        deadline: Timestamp,
        answer: oneshot::Receiver<Answer>,
    ) -> Self {
        Self {
            balancer,
            waiter: Some(waiter),
            deadline,
            timer: None,
            expired: false,
            answer,
        }
    }

    /// When it is refused at the latest.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.answer).poll(context).map(|received| {
            self.waiter = None;
            // A sender is dropped unsent only with the balancer itself.
            received.unwrap_or(Err(Refused {
                reason: RefusalReason::PoolUnavailable,
                earliest: None,
            }))
        })
    }
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        if let Poll::Ready(answer) = this.poll_answer(context) {
            return Poll::Ready(answer);
        }
        if this.expired {
            return Poll::Pending;
        }
        let (clock, deadline) = (this.balancer.0.clock, this.deadline);
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(clock.sleep_until(deadline)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.timer = None;
        this.expired = true;
        let refused = this.waiter.and_then(|waiter| this.balancer.expire(waiter));
        if let Some(refused) = refused {
            this.waiter = None;
            return Poll::Ready(Err(refused));
        }
        // It was answered before; the answer is there, or on its way.
        this.poll_answer(context)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.balancer.leave(waiter);
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Waiting")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
