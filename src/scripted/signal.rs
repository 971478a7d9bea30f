//! Waiting until guarded state fulfils a condition, blocking or not. Whoever changes the state wakes after releasing
//! its guard, and pays a system call only where somebody waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Wakes those who wait for one guarded state.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// Raised before a condition is checked under the guard: a change that the check missed sees it.
    waiting: AtomicUsize,
    changed: Condvar,
    woken: Notify,
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Signal {
    /// The state has changed, and its guard been released.
    pub(super) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_all();
            self.woken.notify_waiters();
        }
    }

    /// Blocks until the condition holds of the state. `false` where it does not within `timeout`.
    pub(super) fn wait<T>(
        &self,
        guard: MutexGuard<'_, T>,
        timeout: Duration,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> bool {
        let _waiting = Waiting::new(&self.waiting);
        let (_guard, result) = self
            .changed
            .wait_timeout_while(guard, timeout, |state| !holds(state))
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Waits until the condition, which takes the guard itself, holds. `false` where it does not within `timeout`.
    pub(super) async fn until(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let _waiting = Waiting::new(&self.waiting);
        let held = async {
            loop {
                let woken = self.woken.notified();
                if holds() {
                    return;
                }
                woken.await;
            }
        };
        tokio::time::timeout(timeout, held).await.is_ok()
    }
}
