//! Unused connections of one provider on one thread. Last in, first out, so that few stay warm and the rest can
//! go; none is kept past `keep_alive` unused or ten minutes in all, used or not; none is handed out that the
//! kernel knows to be dead.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::link::Link;
use crate::clock::Clock;
use crate::core::time::Timestamp;
use crate::tasks::{Owned, Tasks};

/// How long a connection is used at all: then the name is looked up anew, and the load spreads.
const MAX_AGE: Duration = Duration::from_secs(600);
/// The longest `keep_alive`, whatever is configured.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How often unused connections are looked at: nothing else notices that a provider closed one.
const LOOK: Duration = Duration::from_secs(1);
/// Unused connections kept; the oldest goes when one more comes.
const CAPACITY: usize = 256;

/// The unused connections of one provider on one thread.
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
    keep_alive: Duration,
    clock: Clock,
    tasks: Tasks,
    filled: Arc<Notify>,
    sweeper: OnceLock<Owned>,
}

struct Idle {
    link: Link,
    until: Timestamp,
}

impl Pool {
    pub(super) fn new(keep_alive: Duration, clock: Clock, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            keep_alive: keep_alive.min(MAX_IDLE),
            clock,
            tasks,
            filled: Arc::default(),
            sweeper: OnceLock::new(),
        })
    }

    /// The connection that was used last, if it is alive.
    pub(super) fn take(&self) -> Option<Link> {
        let now = self.clock.now();
        loop {
            // The guard is gone before a dead one is dropped.
            let Idle { mut link, until } = self.lock().pop_back()?;
            if now < until && link.is_ready() && link.is_quiet() {
                link.wire().set_idle(false);
                return Some(link);
            }
        }
    }

    /// Keeps a connection whose exchange is over, or lets it become so within a second; else drops it.
    pub(super) fn give_back(self: &Arc<Self>, mut link: Link) {
        if link.is_closed() {
            return;
        }
        if link.is_ready() {
            self.keep(link);
        } else if Handle::try_current().is_ok() {
            let pool = Arc::clone(self);
            // Not held: the task ends by itself within a second.
            drop(self.tasks.spawn(async move {
                if let Some(link) = link.settled().await {
                    pool.keep(link);
                }
            }));
        }
    }

    fn keep(self: &Arc<Self>, link: Link) {
        let now = self.clock.now();
        let until = (now + self.keep_alive).min(link.born() + MAX_AGE);
        if until <= now || Handle::try_current().is_err() {
            return;
        }
        self.sweeper.get_or_init(|| self.sweep());
        link.rest();
        let (was_empty, surplus) = {
            let mut idle = self.lock();
            let was_empty = idle.is_empty();
            let surplus = if idle.len() < CAPACITY {
                None
            } else {
                idle.pop_front()
            };
            idle.push_back(Idle { link, until });
            (was_empty, surplus)
        };
        drop(surplus);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Closes what is past its time even where nobody asks for a connection any more.
    fn sweep(self: &Arc<Self>) -> Owned {
        let (pool, clock, filled) = (Arc::downgrade(self), self.clock, Arc::clone(&self.filled));
        self.tasks.own(async move {
            while let Some(next) = Self::expire(&pool) {
                let due = async {
                    match next {
                        Some(at) => clock.sleep_until(at).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = filled.notified() => {}
                }
            }
        })
    }

    /// When to come again: `None`: never, the pool is gone; `Some(None)`: when it is filled.
    fn expire(pool: &Weak<Self>) -> Option<Option<Timestamp>> {
        let pool = pool.upgrade()?;
        let now = pool.clock.now();
        let (expired, next) = {
            let mut idle = pool.lock();
            let (expired, kept): (VecDeque<_>, _) = idle
                .drain(..)
                .partition(|idle| idle.until <= now || !idle.link.wire().is_quiet());
            *idle = kept;
            let next = idle.iter().map(|idle| idle.until).min();
            (expired, next.map(|until| until.min(now + LOOK)))
        };
        for idle in expired {
            drop(pool.tasks.spawn(idle.link.retire()));
        }
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
