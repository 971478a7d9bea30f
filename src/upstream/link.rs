//! One connection, owned: whoever holds the `Link` holds the socket and what drives it, and dropping it ends both at
//! once. No task drives it: the holder does, by polling, so that what one read brought is handed on without a switch
//! of tasks between its pieces, and a connection whose provider stopped reading cannot outlive its exchange. Nothing
//! here decides whether to keep a connection; `pool` does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use super::limits::Deadline;
use super::outgoing::Outgoing;
use super::quiet::Quiet;
use super::wire::Wire;
use crate::core::time::Timestamp;

/// How long a connection may take, after an answer's end, to become ready for the next request, and how long an
/// unused one may take to close.
const SETTLE: Duration = Duration::from_secs(1);

/// A connection to a provider. Dropped, it is reset.
pub(super) struct Link {
    sender: SendRequest<Outgoing>,
    driver: Driver,
    quiet: Quiet,
    wire: Hold,
    born: Timestamp,
    /// The last answer came before its request had gone out whole.
    early: bool,
}

/// What reads and writes on the socket, as far as it is polled.
pub(super) struct Driver(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Driver {
    pub(super) fn new(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(connection)))
    }

    /// Reads and writes what can be now; the context's task is woken when there is more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }
}

/// Closes the socket when dropped.
struct Hold(Arc<Wire>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close(true);
    }
}

/// How an exchange failed before its head.
pub(super) enum Failure {
    /// The connection had gone before the request was begun: here it is again.
    HandedBack(Box<Request<Outgoing>>, hyper::Error),
    /// It broke. `sent`: bytes of the request had gone out.
    Broke { sent: bool, error: hyper::Error },
    /// A limit passed.
    TimedOut { sent: bool },
}

impl Link {
    pub(super) fn new(
        sender: SendRequest<Outgoing>,
        driver: Driver,
        wire: Arc<Wire>,
        born: Timestamp,
    ) -> Self {
        Self {
            sender,
            driver,
            quiet: Quiet::new(),
            wire: Hold(wire),
            born,
            early: false,
        }
    }

    /// When it was made.
    pub(super) fn born(&self) -> Timestamp {
        self.born
    }

    /// The socket.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire.0
    }

    /// Polls an answer's body: what has been read of it first, then what can be read now.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut sides = (&mut self.driver, body, Poll::Pending);
        self.quiet.poll(
            cx,
            &mut sides,
            |(driver, body, first), cx| {
                *first = Pin::new(&mut **body).poll_frame(cx);
                if first.is_pending() {
                    driver.drive(cx);
                }
            },
            |(_, body, first), cx| match std::mem::replace(first, Poll::Pending) {
                Poll::Pending => Pin::new(&mut **body).poll_frame(cx),
                ready => ready,
            },
        )
    }

    /// Whether the last exchange is over in both directions, and the next may begin. Finishes what needs no waiting.
    pub(super) fn is_ready(&mut self) -> bool {
        if !self.sender.is_ready() {
            self.driver.drive(&mut Context::from_waker(Waker::noop()));
        }
        self.sender.is_ready()
    }

    /// Whether it is open and nothing waits on it. What came on it meanwhile (TLS has messages of its own) is read
    /// first.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.wire().is_quiet() {
            return true;
        }
        self.driver.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_closed() && self.sender.is_ready() && self.wire().is_quiet()
    }

    /// Nobody uses it for now.
    pub(super) fn rest(&self) {
        self.quiet.forget();
        self.wire().set_idle(true);
    }

    /// Whether it can never be used again: it has ended, or its provider answered before the request had gone out
    /// whole. Of such a provider nobody knows whether it reads on; kernels may take the rest of the request and the
    /// next one, which then waits for nothing.
    pub(super) fn is_closed(&self) -> bool {
        self.early || self.driver.0.is_none() || self.sender.is_closed()
    }

    /// Waits a moment for the exchange to be over in both directions; `None`: it is not, and the link is gone.
    pub(super) async fn settled(mut self) -> Option<Self> {
        let ready = poll_fn(|cx| {
            self.driver.drive(cx);
            self.sender.poll_ready(cx)
        });
        let ready = timeout(SETTLE, ready).await;
        matches!(ready, Ok(Ok(()))).then_some(self)
    }

    /// Closes an unused connection in order: what the provider sees is an end, not a reset.
    pub(super) async fn retire(self) {
        let Self {
            sender,
            driver,
            wire: _wire,
            ..
        } = self;
        drop(sender);
        if let Some(connection) = driver.0 {
            let _ = timeout(SETTLE, connection).await;
        }
    }

    /// Sends the request and waits for the head, `patience` long from the last byte that went out. Where the
    /// future is dropped midway, the link must be dropped too.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Outgoing>,
        patience: Duration,
        deadline: &mut Deadline,
    ) -> Result<Response<Incoming>, Failure> {
        let (wire, driver, quiet) = (&self.wire.0, &mut self.driver, &self.quiet);
        let (start, before) = (deadline.now(), wire.written());
        let body = request.body().left();
        let mut answer = pin!(self.sender.try_send_request(request));
        let result = poll_fn(|cx| {
            let mut sides = (&mut *driver, answer.as_mut());
            let polled = quiet.poll(
                cx,
                &mut sides,
                |(driver, _), cx| driver.drive(cx),
                |(_, answer), cx| answer.as_mut().poll(cx),
            );
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Some(result));
            }
            let due = start.max(wire.last_write()) + patience;
            deadline.poll(due, cx).map(|_| None)
        })
        .await;
        let sent = wire.written() != before;
        match result {
            Some(Ok(response)) => {
                self.early = wire.written() - before < body;
                Ok(response)
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Err(Failure::HandedBack(Box::new(request), error.into_error())),
                None => Err(Failure::Broke {
                    sent,
                    error: error.into_error(),
                }),
            },
            None => Err(Failure::TimedOut { sent }),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::wire::Socket;
    use super::*;
    use crate::clock::Clock;

    // C8 (d)
    #[tokio::test]
    async fn a_request_that_was_never_begun_is_handed_back_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let clock = Clock::new();
        let wire = Wire::new(stream, clock, Arc::default());
        let socket = TokioIo::new(Socket::new(Arc::clone(&wire)));
        let (sender, connection) = handshake(socket).await.unwrap();
        let driver = Driver::new(async move {
            let _ = connection.await;
        });
        let mut link = Link::new(sender, driver, wire, clock.now());
        assert!(link.is_ready() && link.is_quiet());
        // Gone after the last look at it, and before the connection takes the request.
        link.wire().close(false);
        let request = Request::get("/path")
            .header("host", "x")
            .body(Outgoing::held(Arc::from(["body".into()])))
            .unwrap();
        let limit = Duration::from_secs(10);
        let mut deadline = Deadline::new(clock.now() + limit, clock);
        match link.exchange(request, limit, &mut deadline).await {
            Err(Failure::HandedBack(request, _)) => {
                assert_eq!(request.uri(), "/path");
                assert_eq!(request.headers().len(), 1);
                assert_eq!(request.body().left(), 4);
            }
            _ => panic!("not handed back"),
        }
    }
}
