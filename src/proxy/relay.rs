//! Bodies on their way to the client. A relayed body hands on the upstream's own bytes, one read to one write, reads
//! along for usage and errors, and settles its lease exactly once: at its end, when it breaks, or when it is dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::commit::Answer;
use super::exchange::Exchange;
use super::session::Handles;
use crate::balancer::Lease;
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::read::body::{BodyReader, Kind};
use crate::core::dialect::word::{self, Code};
use crate::core::limit::reading::Readings;
use crate::core::limit::verdict::{Class, Outcome, Verdict};
use crate::upstream::Incoming;

/// What breaks a relayed body for the client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer to a client.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Held in full: an answer of ours.
    Whole(Bytes),
    /// A provider's.
    Relay(Box<MeteredBody>),
}

impl Body {
    /// An answer of ours.
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Whole(bytes)
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relay(relay) => Pin::new(&mut **relay).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Relay(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => relay.size_hint(),
        }
    }
}

/// What a relayed body needs to know of its request.
#[derive(Debug)]
pub struct Passage {
    /// In whose words a broken stream ends.
    pub dialect: Dialect,
    /// The operation.
    pub endpoint: Endpoint,
    /// Cancelled when drain's deadline has come.
    pub deadline: CancellationToken,
    /// Where ids that the answer names are remembered; `None`: nowhere.
    pub handles: Option<Handles>,
    /// Whether a stream without its terminal event is broken.
    pub must_terminate: bool,
    /// Whether the head states the body's length: nothing can be added then.
    pub sized: bool,
}

/// A provider's answer on its way to the client. Dropped before its end: the client left, the upstream connection
/// is closed at once and the lease settles as abandoned.
#[derive(Debug)]
pub struct MeteredBody {
    held: VecDeque<Bytes>,
    rest: Incoming,
    reader: BodyReader,
    verdict: Verdict,
    lease: Option<Lease>,
    exchange: Option<Exchange>,
    passage: Passage,
    may_end_in_words: bool,
    deadline: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    breaking: Breaking,
}

/// How far a break has gone: hyper loses a frame that an error follows in the same poll, so one `Pending` lies
/// between the dialect's error event and the error that makes the break visible.
#[derive(Debug)]
enum Breaking {
    No,
    Told(BoxError),
    Waited(BoxError),
    Done,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the proxy is stopping")]
    Stopping,
    #[error("the stream ended without its terminal event")]
    Unterminated,
}

impl MeteredBody {
    /// Takes over at commit. `lease`: `None` for an answer that a settled attempt left.
    pub fn new(answer: Answer, lease: Option<Lease>, exchange: Exchange, passage: Passage) -> Self {
        let is_stream = answer.reader.kind() == Kind::Sse;
        let deadline = is_stream.then(|| Box::pin(passage.deadline.clone().cancelled_owned()));
        let mut body = Self {
            held: answer.held,
            rest: answer.rest,
            may_end_in_words: is_stream && !passage.sized && answer.reader.is_identity(),
            reader: answer.reader,
            verdict: answer.verdict,
            lease,
            exchange: Some(exchange),
            passage,
            deadline,
            breaking: Breaking::No,
        };
        body.remember_handle();
        // Of an answer without a body nobody asks for a frame.
        body.settle_if_ended();
        body
    }

    fn remember_handle(&mut self) {
        if let Some(id) = self.reader.response_id()
            && let Some(handles) = self.passage.handles.take()
        {
            handles.remember(id);
        }
    }

    fn pass(&mut self, bytes: &Bytes) {
        if let Some(exchange) = &mut self.exchange {
            exchange.note(|record| record.bytes_out += bytes.len() as u64);
        }
    }

    fn read(&mut self, bytes: &Bytes) {
        let progress = self.reader.feed(bytes);
        if let Some(error) = progress.error
            && self.verdict.class != error.class
        {
            self.verdict = error;
            if let Some(lease) = &self.lease {
                lease.observe(&error, &Readings::NONE);
            }
        }
        self.remember_handle();
    }

    fn unterminated(&self) -> bool {
        let progress = self.reader.progress();
        self.passage.must_terminate
            && self.reader.kind() == Kind::Sse
            && !progress.terminal
            && progress.error.is_none()
    }

    /// hyper stops polling a body that says it has ended, so an answer of known length never gets to the `None`
    /// frame. Without this check every such answer would count as abandoned.
    fn settle_if_ended(&mut self) {
        if self.held.is_empty() && self.rest.is_end_stream() && !self.unterminated() {
            self.settle(true);
        }
    }

    fn settle(&mut self, whole: bool) {
        let usage = self.reader.usage();
        if let Some(lease) = self.lease.take() {
            let outcome = if whole {
                self.verdict
            } else {
                Verdict::of(Class::UpstreamError)
            };
            lease.settle(Outcome::Answered(outcome), &usage);
        }
        if let Some(mut exchange) = self.exchange.take() {
            exchange.note(|record| {
                record.usage = usage;
                record.verdict = Some(self.verdict.class);
            });
            if whole {
                exchange.whole();
            }
        }
    }

    /// Ends a broken stream: in the dialect's words where that is possible, and always visibly.
    fn break_off(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let in_words = self.may_end_in_words && self.reader.at_event_boundary();
        if self.verdict.class == Class::Ok {
            self.verdict = Verdict::of(Class::UpstreamError);
        }
        self.settle(false);
        if !in_words {
            self.breaking = Breaking::Done;
            return Poll::Ready(Some(Err(error)));
        }
        let message = "the stream broke off before its end";
        let event = word::stream_error_event(
            self.passage.dialect,
            self.passage.endpoint,
            Code::UpstreamFailed,
            message,
        );
        self.breaking = Breaking::Told(error);
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match std::mem::replace(&mut this.breaking, Breaking::Done) {
            Breaking::No => this.breaking = Breaking::No,
            Breaking::Told(error) => {
                this.breaking = Breaking::Waited(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Breaking::Waited(error) => return Poll::Ready(Some(Err(error))),
            Breaking::Done => return Poll::Ready(None),
        }
        if let Some(bytes) = this.held.pop_front() {
            this.pass(&bytes);
            this.settle_if_ended();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return this.break_off(Broken::Stopping.into());
        }
        match ready!(Pin::new(&mut this.rest).poll_frame(context)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.read(data);
                    let data = data.clone();
                    this.pass(&data);
                    this.settle_if_ended();
                } else if frame.is_trailers() {
                    this.reader.end();
                    if this.unterminated() {
                        return this.break_off(Broken::Unterminated.into());
                    }
                    // The last frame: hyper asks for none after it.
                    this.settle(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => this.break_off(error.into()),
            None => {
                this.reader.end();
                if this.unterminated() {
                    return this.break_off(Broken::Unterminated.into());
                }
                this.settle(true);
                this.breaking = Breaking::Done;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.breaking {
            Breaking::No => {
                self.held.is_empty() && self.rest.is_end_stream() && !self.unterminated()
            }
            Breaking::Told(_) | Breaking::Waited(_) => false,
            Breaking::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let held: u64 = self.held.iter().map(|bytes| bytes.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(rest.lower().saturating_add(held));
        hint
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        let usage = self.reader.usage();
        if let Some(lease) = self.lease.take() {
            lease.settle(Outcome::Abandoned, &usage);
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.note(|record| record.usage = usage);
        }
    }
}
