//! The socket below HTTP and TLS: what went out on it, whether it is quiet, and its end. It keeps two laws: a
//! connection that did not end in order is reset, so that no byte of an abandoned exchange lingers in the kernel;
//! and every open socket is counted once, as idle or as active.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::core::time::Timestamp;

/// Open connections to one provider, over all threads: `upstream_connections{provider,state}`.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// In a pool, waiting for use.
    pub idle: AtomicI64,
    /// In use, or on their way back to a pool.
    pub active: AtomicI64,
}

impl ConnectionCounts {
    fn of(&self, idle: bool) -> &AtomicI64 {
        if idle { &self.idle } else { &self.active }
    }
}

struct Open {
    stream: TcpStream,
    idle: bool,
}

/// One socket, seen by its connection's task and by the link that owns that task.
pub(super) struct Wire {
    // The lock is never contended: both sides live on one thread. It lets the owner look at and end the socket
    // without waiting for the task.
    open: Mutex<Option<Open>>,
    written: AtomicU64,
    last_write: AtomicU64,
    clock: Clock,
    counts: Arc<ConnectionCounts>,
}

impl Wire {
    /// Counts the stream as active.
    pub(super) fn new(stream: TcpStream, clock: Clock, counts: Arc<ConnectionCounts>) -> Arc<Self> {
        counts.of(false).fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            open: Mutex::new(Some(Open {
                stream,
                idle: false,
            })),
            written: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
            clock,
            counts,
        })
    }

    /// Bytes that the kernel has taken so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// When the kernel last took a byte.
    pub(super) fn last_write(&self) -> Timestamp {
        Timestamp::from_micros(self.last_write.load(Ordering::Relaxed))
    }

    /// Counts it as idle or as active.
    pub(super) fn set_idle(&self, idle: bool) {
        if let Some(open) = self.lock().as_mut()
            && open.idle != idle
        {
            open.idle = idle;
            self.counts.of(!idle).fetch_sub(1, Ordering::Relaxed);
            self.counts.of(idle).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it is open and nothing waits on it: no end, no error and no byte, none of which belongs on an idle
    /// connection. Asks the kernel, which may know of an end that the runtime has not been told of yet.
    pub(super) fn is_quiet(&self) -> bool {
        let open = self.lock();
        let Some(open) = open.as_ref() else {
            return false;
        };
        let mut byte = [MaybeUninit::uninit()];
        matches!(
            SockRef::from(&open.stream).peek(&mut byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        )
    }

    /// Closes it, at once where `reset`. Does nothing if it is closed.
    pub(super) fn close(&self, reset: bool) {
        let closed = self.lock().take();
        if let Some(open) = closed {
            self.counts.of(open.idle).fetch_sub(1, Ordering::Relaxed);
            if reset {
                // Fails only where the socket is beyond use, and then there is nothing to reset.
                let _ = SockRef::from(&open.stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result
            && count > 0
        {
            self.written.fetch_add(count as u64, Ordering::Relaxed);
            self.last_write
                .store(self.clock.now().as_micros(), Ordering::Relaxed);
        }
        result
    }
}

/// The connection task's side of a [`Wire`]. Dropped without an orderly shutdown, it resets the connection.
pub(super) struct Socket {
    wire: Arc<Wire>,
    shut: bool,
}

impl Socket {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self { wire, shut: false }
    }

    fn with<T>(
        &self,
        use_it: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.wire.lock().as_mut() {
            Some(open) => use_it(Pin::new(&mut open.stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire.close(!self.shut);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.with(|stream| stream.poll_write(cx, buf));
        self.wire.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.with(|stream| stream.poll_write_vectored(cx, bufs));
        self.wire.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing of its own to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.with(|stream| stream.poll_shutdown(cx));
        self.shut |= matches!(result, Poll::Ready(Ok(())));
        result
    }
}
