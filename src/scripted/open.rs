//! How many connections are open, and waiting until that changes. A connection counts from its acceptance until its
//! socket is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::signal::Signal;

/// The connections of a provider.
#[derive(Debug, Default)]
pub(super) struct Open {
    count: Mutex<usize>,
    changed: Signal,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(super) struct OpenGuard(Arc<Open>);

impl Open {
    pub(super) fn enter(open: &Arc<Self>) -> OpenGuard {
        open.change(|count| count + 1);
        OpenGuard(Arc::clone(open))
    }

    pub(super) fn count(&self) -> usize {
        *self.lock()
    }

    /// Blocks until the condition holds. `false` where it does not within `timeout`.
    pub(super) fn wait(&self, mut condition: impl FnMut(usize) -> bool, timeout: Duration) -> bool {
        self.changed
            .wait(self.lock(), timeout, |count| condition(*count))
    }

    /// Waits until the condition holds. `false` where it does not within `timeout`.
    pub(super) async fn until(
        &self,
        mut condition: impl FnMut(usize) -> bool,
        timeout: Duration,
    ) -> bool {
        self.changed
            .until(timeout, || condition(self.count()))
            .await
    }

    fn change(&self, to: impl FnOnce(usize) -> usize) {
        let mut count = self.lock();
        *count = to(*count);
        drop(count);
        self.changed.wake();
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.change(|count| count.saturating_sub(1));
    }
}
