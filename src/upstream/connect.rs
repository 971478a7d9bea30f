//! Making a connection to a provider: name, TCP, TLS and the start of HTTP/1.1, each under the limit `connect`.
//! What it makes is a [`Link`]; who may use it and for how long is `pool`'s.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;
use super::link::{Driver, Link};
use super::resolve::{Resolver, is_forbidden};
use super::tls::server_name;
use super::wire::{ConnectionCounts, Socket, Wire};
use crate::clock::Clock;
use crate::config::ProviderConfig;

/// The largest head of an answer, and the most that a connection's buffers keep. Heads of the big providers take
/// 2 to 4 KiB, behind a chatty edge 8; what a connection has grown to it keeps through every later stream.
const BUFFER: usize = 32 * 1024;

/// What the peer leaves unacknowledged for this long will never be: ends connections whose owner is stuck.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes connections to one provider.
pub(super) struct Connector {
    resolver: Resolver,
    security: Security,
    limit: Duration,
    http: hyper::client::conn::http1::Builder,
    clock: Clock,
    counts: Arc<ConnectionCounts>,
}

enum Security {
    Clear,
    Tls(TlsConnector, ServerName<'static>),
    /// The base URL is `https`, but there is nothing to verify it with.
    Missing,
}

impl Connector {
    pub(super) fn new(
        provider: &ProviderConfig,
        clock: Clock,
        counts: Arc<ConnectionCounts>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let base = &provider.base_url;
        let security = match (base.tls, tls, server_name(&base.host)) {
            (false, _, _) => Security::Clear,
            (true, Some(config), Ok(name)) => Security::Tls(TlsConnector::from(config), name),
            (true, _, _) => Security::Missing,
        };
        let mut http = hyper::client::conn::http1::Builder::new();
        http.max_buf_size(BUFFER);
        Self {
            resolver: Resolver::new(&base.host, base.port, clock),
            security,
            limit: provider.connect,
            http,
            clock,
            counts,
        }
    }

    /// A fresh connection, verified and ready. Dropping the future closes what it has begun.
    pub(super) async fn connect(&self) -> Result<Link, ConnectError> {
        if matches!(self.security, Security::Missing) {
            return Err(ConnectError::NoTls);
        }
        let stream = self.reach().await?;
        let wire = Wire::new(stream, self.clock, Arc::clone(&self.counts));
        let stream = self.secure(Socket::new(Arc::clone(&wire))).await?;
        let (sender, connection) = self
            .http
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        let driver = Driver::new(async move {
            // Its errors reach whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(Link::new(sender, driver, wire, self.clock.now()))
    }

    async fn reach(&self) -> Result<TcpStream, ConnectError> {
        let until = self.clock.now() + self.limit;
        let addresses = timeout(self.limit, self.resolver.addresses())
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map_err(ConnectError::Resolve)?;
        let mut failure = ConnectError::Timeout;
        for (index, address) in addresses.iter().enumerate() {
            // An address that swallows packets leaves their share of the time to those after it.
            let behind = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = until.since(self.clock.now()) / behind;
            match attempt(*address, share).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        self.resolver.forget();
        Err(failure)
    }

    async fn secure(&self, socket: Socket) -> Result<Stream, ConnectError> {
        let Security::Tls(connector, name) = &self.security else {
            return Ok(Stream::Clear(socket));
        };
        let stream = timeout(self.limit, connector.connect(name.clone(), socket))
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map_err(ConnectError::Tls)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

async fn attempt(address: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectError> {
    if is_forbidden(address.ip()) {
        return Err(ConnectError::Forbidden(address));
    }
    let failed = |error| ConnectError::Tcp(address, error);
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout)?
        .map_err(failed)?;
    tune(&stream).map_err(failed)?;
    Ok(stream)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    // A model may think for minutes: what stands between forgets a connection that is silent for so long.
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(15)),
    )
}

/// What HTTP is spoken on.
enum Stream {
    Clear(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(socket) => Pin::new(socket).poll_read(cx, buf),
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
            Self::Clear(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Clear(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
