//! The checker's `crate::clock`: time moves only when a law moves it, and whoever sleeps to an instant that has come
//! goes whenever the scheduler likes, which is at once or any time later.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::core::time::Timestamp;
use crate::sync::point;

/// Where time starts.
const START: Timestamp = Timestamp::from_micros(1_000_000_000_000);

// All threads of one schedule run on one thread of the system.
thread_local! {
    static NOW: Cell<Timestamp> = const { Cell::new(START) };
    static SLEEPERS: RefCell<Vec<Sleeper>> = const { RefCell::new(Vec::new()) };
    static NAMES: Cell<u64> = const { Cell::new(0) };
}

struct Sleeper {
    name: u64,
    at: Timestamp,
    waker: Waker,
}

#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Clock {
    /// Of a new schedule: time is at its start, nobody sleeps.
    pub fn new() -> Self {
        NOW.set(START);
        SLEEPERS.with_borrow_mut(Vec::clear);
        Self
    }

    pub fn now(&self) -> Timestamp {
        NOW.get()
    }

    pub fn sleep_until(&self, at: Timestamp) -> Sleep {
        let name = NAMES.get();
        NAMES.set(name + 1);
        Sleep { name, at }
    }

    /// Moves time on and wakes whose instant has come.
    pub fn advance(&self, by: Duration) {
        point();
        NOW.set(NOW.get() + by);
        let due = SLEEPERS.with_borrow_mut(|sleepers| {
            let due = sleepers.extract_if(.., |sleeper| sleeper.at <= NOW.get());
            due.collect::<Vec<_>>()
        });
        for sleeper in due {
            sleeper.waker.wake();
        }
    }
}

/// Ends when its instant has come.
pub struct Sleep {
    name: u64,
    at: Timestamp,
}

impl Sleep {
    /// A sleeper that is gone must wake nobody: that would hide a wake-up that is lost.
    fn forget(&self) {
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.retain(|sleeper| sleeper.name != self.name));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        point();
        self.forget();
        if self.at <= NOW.get() {
            return Poll::Ready(());
        }
        let sleeper = Sleeper {
            name: self.name,
            at: self.at,
            waker: context.waker().clone(),
        };
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(sleeper));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}
