//! Spawning that drain can wait for: nothing runs that is not tracked. A task is either waited for (`spawn`) or
//! owned (`own`): an owned one ends with its owner, so drain waits for the owner alone.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// The tasks of one runtime. Clones share the trackers.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    waited: TaskTracker,
    owned: TaskTracker,
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub struct Owned(AbortOnDropHandle<()>);

impl Owned {
    /// Waits for the task's own end. Cancel-safe: the task goes on until this is dropped.
    pub async fn ended(&mut self) {
        // A panic or an abort is an end like any other.
        let _ = (&mut self.0).await;
    }
}

impl Tasks {
    /// Tracks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns onto the current runtime. Dropping the handle detaches the task; it stays tracked.
    #[expect(clippy::disallowed_methods, reason = "this is the tracked spawn")]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.waited.track_future(future))
    }

    /// Spawns onto the current runtime a task that lives no longer than its owner. [`Tasks::finished`] does not
    /// wait for it.
    #[expect(clippy::disallowed_methods, reason = "this is the owned spawn")]
    pub fn own<F>(&self, future: F) -> Owned
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Owned(AbortOnDropHandle::new(tokio::spawn(
            self.owned.track_future(future),
        )))
    }

    /// Waits until every task that is waited for has ended; more may be spawned until then.
    pub async fn finished(&self) {
        self.waited.close();
        self.waited.wait().await;
    }

    /// How many are running that [`Tasks::finished`] waits for.
    pub fn running(&self) -> usize {
        self.waited.len()
    }

    /// How many owned ones are running.
    pub fn owned(&self) -> usize {
        self.owned.len()
    }
}
