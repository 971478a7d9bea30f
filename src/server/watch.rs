//! What a client connection is at, told by its socket and its service to the task that drives it, so that one
//! timer keeps all limits: for a head, between requests, and for taking what was written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The most that one read hands to hyper, and with it what its read buffer grows to and keeps: one byte less than
/// 16 KiB, as a full buffer makes it double. A prompt of 64 KiB takes five reads instead of four, and the stream
/// that follows 16 KiB instead of 64.
const READ: u64 = 16 * 1024 - 1;

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is under way.
    Idle,
    /// Bytes have come, but no whole head.
    Head,
    /// A request is being served.
    Busy,
    /// There is something to write, and the client does not take it.
    Stalled,
}

/// Shared by all parts of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether bytes outside of a request are a head: so in HTTP/1, where HTTP/2 has pings and settings.
    heads: bool,
    requests: AtomicUsize,
    /// All requests so far: one may begin and end between two looks.
    begun: AtomicUsize,
    heard: AtomicBool,
    stalled: AtomicBool,
    /// Bytes taken by the client, so that a slow reader is told from one that stopped.
    taken: AtomicUsize,
}

impl Activity {
    pub(super) fn new(heads: bool) -> Arc<Self> {
        Arc::new(Self {
            heads,
            requests: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            heard: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        if self.stalled.load(Ordering::Relaxed) {
            Phase::Stalled
        } else if self.requests.load(Ordering::Relaxed) > 0 {
            Phase::Busy
        } else if self.heard.load(Ordering::Relaxed) {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Grows whenever the client takes bytes.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A request is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    fn heard(&self) {
        // While a request is served, bytes are its body or the next one's head, which hyper reads when it can.
        if self.heads && self.requests.load(Ordering::Relaxed) == 0 {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result {
            self.taken.fetch_add(count, Ordering::Relaxed);
        }
        self.pushed(result)
    }

    fn pushed<T>(&self, result: Poll<T>) -> Poll<T> {
        self.stalled.store(result.is_pending(), Ordering::Relaxed);
        result
    }
}

/// One request under way.
pub(super) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.heard.store(false, Ordering::Relaxed);
        }
    }
}

pin_project! {
    /// An answer's body, whose end is the request's.
    pub(super) struct Answer<B> {
        #[pin]
        body: B,
        request: Request,
    }
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, request: Request) -> Self {
        Self { body, request }
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's socket, cleartext or TLS.
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What hyper reads and writes: the socket after the bytes that told the protocol.
pub(super) struct Watched {
    prefix: Bytes,
    stream: Take<Stream>,
    activity: Arc<Activity>,
}

impl Watched {
    pub(super) fn new(prefix: Bytes, stream: Stream, activity: Arc<Activity>) -> Self {
        Self {
            prefix,
            stream: stream.take(READ),
            activity,
        }
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(self.stream.get_mut())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.prefix.is_empty() {
            let piece = this.prefix.split_to(this.prefix.len().min(buf.remaining()));
            buf.put_slice(&piece);
            this.activity.heard();
            return Poll::Ready(Ok(()));
        }
        this.stream.set_limit(READ);
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.heard();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.stream().poll_write(cx, buf);
        self.activity.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.stream().poll_write_vectored(cx, bufs);
        self.activity.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream().poll_flush(cx);
        self.activity.pushed(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream().poll_shutdown(cx);
        self.activity.pushed(result)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
