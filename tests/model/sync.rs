//! The checker's `crate::sync`: at every lock, send, receipt and wake-up the scheduler decides who goes next. Tokio's
//! channel and notification stay what they are: atomic and non-blocking, so that a point before each use reaches
//! every order in which threads can see them.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use shuttle::sync::atomic::AtomicBool;
pub use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::futures::Notified;

thread_local! {
    static UNDELIVERED: Cell<usize> = const { Cell::new(0) };
}

/// Anybody may go next.
pub fn point() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// How many answers found their receiver gone, over all schedules so far.
pub fn undelivered() -> usize {
    UNDELIVERED.get()
}

/// Tokio's, with points.
pub struct Notify(tokio::sync::Notify);

impl Notify {
    pub fn new() -> Self {
        Self(tokio::sync::Notify::new())
    }

    pub fn notify_one(&self) {
        point();
        self.0.notify_one();
    }

    pub fn notified(&self) -> Notified<'_> {
        point();
        self.0.notified()
    }
}

pub mod oneshot {
    //! Tokio's, with points.

    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::RecvError;

    use super::{UNDELIVERED, point};

    pub struct Sender<T>(oneshot::Sender<T>);

    pub struct Receiver<T>(oneshot::Receiver<T>);

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            point();
            let sent = self.0.send(value);
            if sent.is_err() {
                UNDELIVERED.set(UNDELIVERED.get() + 1);
            }
            sent
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            point();
            Pin::new(&mut self.0).poll(context)
        }
    }

    /// Between leaving the room and being out of reach a sender may still send.
    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            point();
        }
    }
}
