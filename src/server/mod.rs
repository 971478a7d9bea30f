//! Listeners and the connections of clients: who is accepted, which protocol is spoken, how slow a client may be,
//! and how all of it ends. What is served is a [`Handler`]'s, given from outside. Two laws: a connection that was
//! accepted is served or closed, never forgotten; and a stop loses no connection that the kernel had accepted.

mod connection;
mod patience;
mod tls;
mod watch;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::tls::{TlsError, server_tls};

use self::connection::Connections;
use crate::tasks::Tasks;

/// Any error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The TLS configuration of a listener, swapped whole on reload and read once per connection.
pub type SharedTls = Arc<ArcSwap<rustls::ServerConfig>>;

/// Connections that the kernel completes before we accept them; the system's `somaxconn` may be lower.
const BACKLOG: i32 = 4096;
/// How long to wait before accepting again when the process has no file descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What is served. A clone is taken per listener; `call` may run many times at once.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers a request. The future is dropped when the client has gone, and so is the body.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// How much clients may ask, and how slow they may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A permit a connection, shared by all listeners and threads. Without one left, a connection is closed at
    /// once.
    pub max_connections: Arc<Semaphore>,
    /// For the TLS handshake, then for the first byte, then from a head's first byte to its end.
    pub head: Duration,
    /// Between two requests on one connection. Longer than what pools of clients and balancers keep unused.
    pub idle: Duration,
    /// How long a client may take not one byte of what there is for it.
    pub write: Duration,
    /// The largest head, in bytes (431 above it); at least 8 KiB.
    pub head_size: usize,
    /// Requests at once on an HTTP/2 connection.
    pub max_streams: u32,
}

impl Limits {
    /// 10 s for a head, 120 s unused, 60 s without a byte taken, heads of 64 KiB, 128 streams.
    pub fn new(max_connections: Arc<Semaphore>) -> Self {
        Self {
            max_connections,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(60),
            head_size: 64 * 1024,
            max_streams: 128,
        }
    }
}

/// A listening socket, not blocking. With `reuse_port` each data thread binds its own, and the kernel spreads
/// connections over them.
pub fn bind(addr: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // `[::]` beside `0.0.0.0` means what it says.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections until `stop`, then those that are queued, then closes the listener and returns.
/// Connections go on as tracked tasks; `stop` has them finish what they are at and close. The caller waits for
/// `tasks`, as long as it likes.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Option<SharedTls>,
    handler: H,
    limits: Limits,
    stop: CancellationToken,
    tasks: Tasks,
) {
    // Accepted sockets inherit it. A client may wait for minutes; one that vanished is not waited for.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    if let Err(error) = SockRef::from(&listener).set_tcp_keepalive(&keepalive) {
        tracing::warn!(%error, "no keep-alive on client connections");
    }
    let connections = Connections::new(tls, handler, limits, stop.clone(), tasks);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener cannot be used");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => connections.begin(stream, peer),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(EXHAUSTED) => {}
                }
            }
        }
    }
    // What is queued when a listener closes is reset, so nothing may be. The kernel is asked itself: the
    // runtime may not have heard of the last ones.
    match listener.into_std() {
        Ok(listener) => empty(&listener, &connections),
        Err(error) => tracing::error!(%error, "the listener's queue cannot be emptied"),
    }
}

fn empty<H: Handler>(listener: &TcpListener, connections: &Connections<H>) {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream));
                match stream {
                    Ok(stream) => connections.begin(stream, peer),
                    Err(error) => tracing::warn!(%error, "cannot use a connection"),
                }
            }
            Err(error) if is_of_the_connection(&error) => {}
            // `WouldBlock`: the queue is empty. Anything else would not get better.
            Err(_) => return,
        }
    }
}

/// A connection that was gone before it was accepted says nothing about the next.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
