//! One accepted connection: bytes in and out, pauses that notice a hang-up, and the reset. Knows HTTP's framing of
//! requests; what is answered is decided elsewhere.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::head::{BadHead, Framing, Head, LONGEST};

/// The longest request body that is read, in bytes.
const LONGEST_BODY: u64 = 256 * 1024 * 1024;
/// How far is read ahead while an answer is paused, in bytes.
const AHEAD: usize = 64 * 1024;
/// How often a connection that must not be read is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Buffers that grew beyond this are given back after the request, in bytes.
const KEPT: usize = 256 * 1024;

/// The stream below HTTP.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The client is gone: it closed or reset the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// Why nothing whole could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFault {
    Gone,
    Bad(BadHead),
}

impl From<Gone> for ReadFault {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// A connection with what has been read of it and what is to be written.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    input: BytesMut,
    /// What the next [`Wire::send`] writes.
    pub(super) out: Vec<u8>,
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            input: BytesMut::with_capacity(8 * 1024),
            out: Vec::with_capacity(4 * 1024),
        }
    }

    /// Waits for the first byte of the next request. `false` where the client closed instead.
    pub(super) async fn first_byte(&mut self) -> bool {
        !self.input.is_empty() || self.fill().await.is_ok()
    }

    /// Reads one head, to its empty line.
    pub(super) async fn head(&mut self) -> Result<Head, ReadFault> {
        let mut searched = 0usize;
        loop {
            let from = searched.saturating_sub(3);
            let found = memmem::find(self.input.get(from..).unwrap_or_default(), b"\r\n\r\n");
            if let Some(at) = found {
                let head = self.input.split_to(from + at);
                let _ = self.input.split_to(4);
                return Head::read(&head).map_err(ReadFault::Bad);
            }
            searched = self.input.len();
            if searched > LONGEST {
                return Err(ReadFault::Bad(BadHead("the head is too long")));
            }
            self.fill().await?;
        }
    }

    /// Reads one body in full. `received` counts its bytes as they come, also where the client leaves within it.
    pub(super) async fn body(
        &mut self,
        framing: Framing,
        received: &mut u64,
    ) -> Result<Bytes, ReadFault> {
        match framing {
            Framing::None => Ok(Bytes::new()),
            Framing::Length(length) if length > LONGEST_BODY => {
                Err(ReadFault::Bad(BadHead("the body is too long")))
            }
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.input.reserve(length.saturating_sub(self.input.len()));
                *received = self.input.len().min(length) as u64;
                while self.input.len() < length {
                    self.fill().await?;
                    *received = self.input.len().min(length) as u64;
                }
                Ok(self.input.split_to(length).freeze())
            }
            Framing::Chunked => self.chunked(received).await,
        }
    }

    async fn chunked(&mut self, received: &mut u64) -> Result<Bytes, ReadFault> {
        let mut body = BytesMut::new();
        loop {
            let size = chunk_size(&self.line().await?).map_err(ReadFault::Bad)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            if *received + size > LONGEST_BODY {
                return Err(ReadFault::Bad(BadHead("the body is too long")));
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            while self.input.len() < size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.input.split_to(size));
            *received = body.len() as u64;
            if &*self.input.split_to(2) != b"\r\n" {
                return Err(ReadFault::Bad(BadHead("a chunk ends without CRLF")));
            }
        }
    }

    /// Reads one line of the chunked coding, without its CRLF.
    async fn line(&mut self) -> Result<BytesMut, ReadFault> {
        loop {
            if let Some(end) = memmem::find(&self.input, b"\r\n") {
                let line = self.input.split_to(end);
                let _ = self.input.split_to(2);
                return Ok(line);
            }
            if self.input.len() > AHEAD {
                return Err(ReadFault::Bad(BadHead("a chunk's line is too long")));
            }
            self.fill().await?;
        }
    }

    /// Writes and empties `out`.
    pub(super) async fn send(&mut self) -> Result<(), Gone> {
        let written = self.io.write_all(&self.out).await;
        self.out.clear();
        written?;
        self.io.flush().await?;
        Ok(())
    }

    /// Waits, reading ahead, and returns early where the client leaves.
    pub(super) async fn pause(&mut self, length: Duration) -> Result<(), Gone> {
        if length.is_zero() {
            return Ok(());
        }
        let mut sleep = pin!(tokio::time::sleep(length));
        loop {
            let readable = self.input.len() < AHEAD;
            tokio::select! {
                () = &mut sleep => return Ok(()),
                read = self.fill(), if readable => read?,
            }
        }
    }

    /// Waits until the client leaves; what it sends on is read and forgotten.
    pub(super) async fn until_gone(&mut self) {
        while self.fill().await.is_ok() {
            self.input.clear();
        }
    }

    /// Waits until the client leaves, for at most `limit`, without reading one byte more. `true` where it left.
    pub(super) async fn unread_until_gone(&self, limit: Duration) -> bool {
        let watch = async {
            loop {
                let ready = self
                    .tcp()
                    .ready(Interest::READABLE | Interest::WRITABLE)
                    .await;
                if ready.is_ok_and(|ready| !ready.is_read_closed() && !ready.is_write_closed()) {
                    tokio::time::sleep(LOOK).await;
                } else {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, watch).await.is_ok()
    }

    /// Ends the connection by a reset: what the kernel still held unsent is lost.
    pub(super) fn reset(self) {
        let _ = self.tcp().set_zero_linger();
    }

    /// Ends the connection in order: over TLS with its own farewell.
    pub(super) async fn close(mut self) {
        let _ = self.io.shutdown().await;
    }

    /// Gives back buffers that one large request made large.
    pub(super) fn trim(&mut self) {
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = BytesMut::with_capacity(8 * 1024);
        }
        if self.out.capacity() > KEPT {
            self.out = Vec::with_capacity(4 * 1024);
        }
    }

    async fn fill(&mut self) -> Result<(), Gone> {
        self.input.reserve(4 * 1024);
        match self.io.read_buf(&mut self.input).await? {
            0 => Err(Gone),
            _ => Ok(()),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// The size in a chunk's first line; extensions are passed over.
fn chunk_size(line: &[u8]) -> Result<u64, BadHead> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| {
            (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(BadHead("a chunk has no size"))
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
