//! An answer's body that owns its connection: read to its end it gives the connection back, dropped before it
//! resets it. It keeps the limits of an answer under way, and never ends in order where the answer did not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::BodyError;
use super::limits::{Deadline, Expired};
use super::link::Link;
use super::pool::Pool;
use crate::core::time::Timestamp;

/// An answer's body. Dropped before its end, the provider's connection is reset at once.
pub struct Incoming {
    body: hyper::body::Incoming,
    /// `None` once the connection was given back or given up.
    link: Option<Link>,
    pool: Arc<Pool>,
    idle: Duration,
    deadline: Deadline,
    /// Since when a reader has waited; `None`: the last read was answered at once. A reader that does not ask
    /// is not kept waiting by the provider.
    waiting: Option<Timestamp>,
    failed: bool,
}

impl Incoming {
    pub(super) fn new(
        body: hyper::body::Incoming,
        link: Link,
        pool: Arc<Pool>,
        idle: Duration,
        deadline: Deadline,
    ) -> Self {
        Self {
            body,
            link: Some(link),
            pool,
            idle,
            deadline,
            waiting: None,
            failed: false,
        }
    }

    fn end(&mut self) {
        if let Some(link) = self.link.take() {
            self.pool.give_back(link);
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.failed = true;
        self.link = None;
        Poll::Ready(Some(Err(error)))
    }

    fn poll_limits(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let since = match self.waiting {
            Some(since) => since,
            None => *self.waiting.insert(self.deadline.now()),
        };
        match self.deadline.poll(since + self.idle, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Expired::Step) => self.fail(BodyError::IdleTimeout),
            Poll::Ready(Expired::Total) => self.fail(BodyError::TotalTimeout),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let polled = match &mut this.link {
            Some(link) => link.poll_body(&mut this.body, cx),
            None => Pin::new(&mut this.body).poll_frame(cx),
        };
        match polled {
            Poll::Pending => self.poll_limits(cx),
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = None;
                // Of a body of known length, or after trailers, nobody asks for the frame after the last.
                if self.body.is_end_stream() || frame.is_trailers() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(BodyError::Broken(error)),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Incoming")
            .field("size", &self.body.size_hint())
            .finish_non_exhaustive()
    }
}
