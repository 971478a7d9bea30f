//! A waker for a connection and its holder, who share a task: what the one tells the other while that task is at both
//! is not a reason to run it again. Only what comes from outside (the socket) wakes the task. It rests on this: what a
//! connection asks of itself while it is polled (hyper's `yield_now`, which its client never reaches) would be lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// The shared waker of one connection. It belongs to one task at a time.
pub(super) struct Quiet {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    task: Mutex<Waker>,
    at_it: AtomicBool,
    missed: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.at_it.load(Ordering::Relaxed) {
            self.missed.store(true, Ordering::Relaxed);
        } else {
            self.task().wake_by_ref();
        }
    }
}

impl Shared {
    fn task(&self) -> Waker {
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Quiet {
    /// Wakes nobody yet.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared {
            task: Mutex::new(Waker::noop().clone()),
            at_it: AtomicBool::new(false),
            missed: AtomicBool::new(false),
        });
        Self {
            waker: Waker::from(Arc::clone(&shared)),
            shared,
        }
    }

    /// Lets go of the task that polled last: while a connection is unused, nobody is to be woken or kept for it.
    pub(super) fn forget(&self) {
        *self
            .shared
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Waker::noop().clone();
    }

    /// Polls with this waker, on behalf of the context's task, which sees to both sides by itself: first
    /// `theirs`, then `ours`. Whatever `ours` told the other side makes the task run again.
    pub(super) fn poll<S, T>(
        &self,
        cx: &mut Context<'_>,
        sides: &mut S,
        theirs: impl FnOnce(&mut S, &mut Context<'_>),
        ours: impl FnOnce(&mut S, &mut Context<'_>) -> T,
    ) -> T {
        {
            let mut task = self
                .shared
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !task.will_wake(cx.waker()) {
                task.clone_from(cx.waker());
            }
        }
        let mut quiet = Context::from_waker(&self.waker);
        self.shared.at_it.store(true, Ordering::Relaxed);
        theirs(sides, &mut quiet);
        self.shared.missed.store(false, Ordering::Relaxed);
        let result = ours(sides, &mut quiet);
        self.shared.at_it.store(false, Ordering::Relaxed);
        if self.shared.missed.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        result
    }
}
