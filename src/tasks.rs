//! Spawning that drain can wait for: nothing runs that is not tracked.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// The tasks of one runtime. Clones share the tracker.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

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
        tokio::spawn(self.0.track_future(future))
    }

    /// Waits until every tracked task has ended; more may be spawned until then.
    pub async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }

    /// How many are running.
    pub fn running(&self) -> usize {
        self.0.len()
    }
}
