//! One client connection from its acceptance to its end: TLS, the protocol by ALPN or by its first bytes, then
//! HTTP until the client leaves, is too slow, or a stop was asked for. The limits chosen for hyper and h2 stand
//! here, each with its reason.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::watch::{Activity, Answer, Phase, Stream, Watched};
use super::{Handler, Limits, SharedTls};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a connection that has said nothing yet is listened to after a stop: it may just have been accepted.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What the connections of one listener share.
pub(super) struct Connections<H>(Arc<Shared<H>>);

struct Shared<H> {
    tls: Option<SharedTls>,
    handler: H,
    limits: Limits,
    stop: CancellationToken,
    tasks: Tasks,
    http1: http1::Builder,
    http2: http2::Builder<Spawn>,
    clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl<H: Handler> Connections<H> {
    pub(super) fn new(
        tls: Option<SharedTls>,
        handler: H,
        limits: Limits,
        stop: CancellationToken,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Shared {
            http1: http1(&limits),
            http2: http2(&limits, &tasks),
            tls,
            handler,
            limits,
            // A node of its own: every poll of every connection looks at it.
            stop: stop.child_token(),
            tasks,
            clock: Clock::new(),
        }))
    }

    /// Serves the connection in a tracked task, or closes it where there are too many.
    pub(super) fn begin(&self, stream: TcpStream, peer: SocketAddr) {
        let permits = Arc::clone(&self.0.limits.max_connections);
        let Ok(permit) = permits.try_acquire_owned() else {
            tracing::debug!("too many connections");
            return;
        };
        let shared = Arc::clone(&self.0);
        // Not held: the connection lives as long as its client, and drain waits for it.
        drop(self.0.tasks.spawn(async move {
            shared.run(stream, peer).await;
            drop(permit);
        }));
    }
}

impl<H: Handler> Shared<H> {
    async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some((mut stream, agreed)) = self.secure(stream).await else {
            return;
        };
        let Some((protocol, prefix)) = self.first_bytes(&mut stream, agreed).await else {
            return;
        };
        let activity = Activity::new(protocol == Protocol::Http1);
        let io = TokioIo::new(Watched::new(prefix, stream, Arc::clone(&activity)));
        let (shared, requests) = (Arc::clone(&self), Arc::clone(&activity));
        let service = service_fn(move |request: Request<Incoming>| {
            let (shared, request_guard) = (Arc::clone(&shared), requests.begin());
            async move {
                let response = shared.handler.call(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, request_guard)))
            }
        });
        match protocol {
            Protocol::Http1 => {
                let mut http1 = self.http1.clone();
                // After a stop, one last request: its answer says so.
                http1.keep_alive(!self.stop.is_cancelled());
                let connection = http1.serve_connection(io, service);
                self.drive(connection, |it| it.graceful_shutdown(), &activity)
                    .await;
            }
            Protocol::Http2 => {
                let connection = self.http2.serve_connection(io, service);
                self.drive(connection, |it| it.graceful_shutdown(), &activity)
                    .await;
            }
        }
    }

    /// The stream and what ALPN agreed on; cleartext agrees on nothing. `None`: the client failed or was slow.
    async fn secure(&self, stream: TcpStream) -> Option<(Stream, Option<Protocol>)> {
        let Some(tls) = &self.tls else {
            return Some((Stream::Clear(stream), None));
        };
        let acceptor = TlsAcceptor::from(tls.load_full());
        let stream = timeout(self.limits.head, acceptor.accept(stream))
            .await
            .ok()?
            .inspect_err(|error| tracing::debug!(%error, "a client's TLS handshake failed"))
            .ok()?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Some((Stream::Tls(Box::new(stream)), Some(protocol)))
    }

    /// Waits for enough bytes to tell the protocol. `None`: the client left, was slow, or broke its word.
    async fn first_bytes(
        &self,
        stream: &mut Stream,
        agreed: Option<Protocol>,
    ) -> Option<(Protocol, Bytes)> {
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout(self.limits.head, sniff(stream)) => sniffed.ok().flatten(),
            () = stopped => None,
        };
        let (spoken, bytes) = sniffed?;
        match agreed {
            Some(Protocol::Http2) if spoken == Protocol::Http1 => None,
            Some(protocol) => Some((protocol, bytes)),
            None => Some((spoken, bytes)),
        }
    }

    /// Until the connection's end. `drain` has it take no new request, finish those under way and close.
    async fn drive<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        drain: fn(Pin<&mut C>),
        activity: &Activity,
    ) {
        let mut connection = pin!(connection);
        let mut stopped = pin!(self.stop.cancelled());
        let mut patience = Patience::new(&self.limits, self.clock);
        let mut draining = false;
        poll_fn(|cx| {
            loop {
                // First, so that a request which is there is begun before a stop is heeded.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if draining || stopped.as_mut().poll(cx).is_pending() {
                    match patience.poll(activity, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Phase::Idle) if !draining => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
                draining = true;
                patience.drain();
                drain(connection.as_mut());
            }
        })
        .await;
    }
}

async fn sniff(stream: &mut Stream) -> Option<(Protocol, Bytes)> {
    let mut seen = BytesMut::with_capacity(PREFACE.len()).limit(PREFACE.len());
    loop {
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
        let so_far = seen.get_ref();
        let protocol = if so_far.len() == PREFACE.len() && **so_far == *PREFACE {
            Protocol::Http2
        } else if PREFACE.starts_with(so_far) {
            continue;
        } else {
            Protocol::Http1
        };
        return Some((protocol, seen.into_inner().freeze()));
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // All three limits that it would keep as one are `patience`'s.
        .header_read_timeout(None)
        // A client that closes its half has gone.
        .half_close(false)
        // A head somewhat too large is still read, so that the service refuses it in the client's words; beyond that
        // hyper does, with a bare 431. What prompts make of the buffer is bounded apart from it, in `watch`.
        .max_buf_size(limits.head_size + 16 * 1024);
    builder
}

fn http2(limits: &Limits, tasks: &Tasks) -> http2::Builder<Spawn> {
    let mut builder = http2::Builder::new(Spawn(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
        // A prompt of 64 KiB goes up in one go, four of 256 KiB at once; a connection that nobody reads from
        // holds one MiB. Half of the connection's window is also h2's budget against floods of small frames.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        // How far an answer runs ahead of a client that does not read it.
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        // Finds clients that are gone without a word.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// HTTP/2 streams as tracked tasks: each ends with its connection.
#[derive(Clone)]
struct Spawn(Tasks);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}
