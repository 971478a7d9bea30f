//! One connection from its first request to its end: reads requests, enters them, lets the script decide, has the
//! answer written. The script is asked as soon as the head is there, so that what must not read the body does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::answer::{Answer, Framing};
use super::ask::Ask;
use super::control;
use super::dates::Dates;
use super::deliver::Facts;
use super::head::{self, Head};
use super::ledger::{Ended, Entry};
use super::open::OpenGuard;
use super::plan::{self, Plan, Request};
use super::rule::{Action, Fault};
use super::script::{Deed, Met};
use super::shapes::refusal;
use super::ticket::Ticket;
use super::wire::{Gone, ReadFault, Wire};
use super::{IdleClose, Shared};

/// A body up to this length is read after an early answer where the script does not say, in bytes.
const DRAINED: u64 = 1024 * 1024;
/// How long a connection whose body is not read is held where the script does not say.
const HELD: Duration = Duration::from_secs(3_600);

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) dates: Dates,
    pub(super) shared: Arc<Shared>,
    entropy: fastrand::Rng,
    number: u64,
    // Dropped last: a connection counts until its socket is closed.
    open: OpenGuard,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    Close,
    Reset,
}

impl Connection {
    pub(super) fn new(wire: Wire, shared: Arc<Shared>, number: u64, open: OpenGuard) -> Self {
        let entropy = fastrand::Rng::with_seed(shared.seed ^ number.wrapping_mul(0x9E37_79B9));
        Self {
            wire,
            dates: Dates::default(),
            shared,
            entropy,
            number,
            open,
        }
    }

    /// Serves until the connection ends, from either side.
    pub(super) async fn run(mut self) {
        let mut next = Next::Again;
        let mut served = false;
        while next == Next::Again {
            if !self.first_byte(served).await {
                next = Next::Close;
                break;
            }
            next = match self.wire.head().await {
                Ok(head) => self.exchange(head).await,
                Err(ReadFault::Bad(fault)) => self.refuse_unread(fault.0).await,
                Err(ReadFault::Gone) => Next::Close,
            };
            served = true;
            self.wire.trim();
        }
        let Self { wire, open, .. } = self;
        match next {
            Next::Reset => wire.reset(),
            Next::Again | Next::Close => wire.close().await,
        }
        drop(open);
    }

    /// Waits for the next request, unless the connection is one of those closed while idle.
    async fn first_byte(&mut self, served: bool) -> bool {
        match self.shared.idle_close {
            Some(IdleClose { chance, min, max }) if served && self.entropy.f64() < chance => {
                let wait = min + max.saturating_sub(min).mul_f64(self.entropy.f64());
                tokio::time::timeout(wait, self.wire.first_byte())
                    .await
                    .unwrap_or(false)
            }
            _ => self.wire.first_byte().await,
        }
    }

    async fn exchange(&mut self, head: Head) -> Next {
        let facts = Facts {
            bodiless: head.method == Method::HEAD,
            chunked: head.version_11,
            keep_alive: head.keep_alive,
        };
        let path = head::path(&head.target);
        if control::is_ours(path) {
            return self.control(&head, facts).await;
        }
        let mut request = Request::begun(&head);
        let met = self.shared.script.at_head(&request.credential, path);
        let (framing, expects_continue) = (head.framing, head.expects_continue);
        let mut ticket = self.enter(head, request.credential.clone());
        if let Met::Deed(deed) = &met
            && let Action::Fault(fault) = &deed.action
            && let Some(next) = self
                .before_body(&mut ticket, &request, fault, framing, facts)
                .await
        {
            return next;
        }
        if let Err(next) = self
            .read_body(&mut ticket, &mut request, framing, expects_continue)
            .await
        {
            return next;
        }
        let deed = self.settle(met, &request);
        let delay = deed.as_ref().map_or(Duration::ZERO, |deed| deed.delay);
        if let Err(Gone) = self.wire.pause(delay).await {
            return self.end(&mut ticket, Ended::ClientGone, Next::Close);
        }
        let action = deed.as_ref().map_or(&Action::Serve, |deed| &deed.action);
        let (name, plan) = self.shared.plan(&request, action);
        if name != "serve" {
            ticket.action(&name);
        }
        self.carry_out(&mut ticket, plan, facts).await
    }

    /// What the script says once the body is there.
    fn settle(&self, met: Met, request: &Request) -> Option<Arc<Deed>> {
        match met {
            Met::Deed(deed) => Some(deed),
            Met::Nothing => None,
            Met::AskModel(from) => {
                let ask = request.ask.as_ref().ok();
                let model = ask.and_then(|ask| ask.model.as_deref());
                let path = head::path(&request.target);
                let script = &self.shared.script;
                script.with_model(&request.credential, path, model, from)
            }
        }
    }

    fn enter(&self, head: Head, credential: String) -> Ticket {
        self.shared.ledger.enter(Entry {
            number: 0,
            at: self.shared.clock.now(),
            connection: self.number,
            credential,
            method: head.method,
            path: head.target,
            model: None,
            stream: false,
            headers: head.headers,
            body_len: 0,
            body_whole: false,
            body: Bytes::new(),
            action: "serve".to_owned(),
            status: 0,
            refused: false,
            input_tokens: 0,
            output_tokens: 0,
            written: Vec::new(),
            ended: Ended::Open,
            ended_at: None,
        })
    }

    /// What happens before a byte of the body is read. `None`: nothing does.
    async fn before_body(
        &mut self,
        ticket: &mut Ticket,
        request: &Request,
        fault: &Fault,
        framing: head::Framing,
        facts: Facts,
    ) -> Option<Next> {
        match fault {
            Fault::ResetBefore => {
                ticket.action("fault:reset_before");
                Some(self.end(ticket, Ended::Reset, Next::Reset))
            }
            Fault::Early429 {
                retry_after_ms,
                hold_ms,
                drain_bytes,
            } => {
                ticket.action("fault:early_429");
                let answer = plan::early_429(request.dialect, *retry_after_ms);
                let plan = Plan::Deliver(Box::new(answer), plan::Delivery::default());
                let next = self.carry_out(ticket, plan, facts).await;
                let held = hold_ms.map_or(HELD, Duration::from_millis);
                let drained = drain_bytes.unwrap_or(DRAINED);
                match framing {
                    head::Framing::None => Some(next),
                    head::Framing::Length(length) if length <= drained => {
                        let read = self.wire.body(framing, &mut 0).await;
                        Some(read.map_or(Next::Close, |_| next))
                    }
                    _ if next == Next::Again => {
                        self.wire.unread_until_gone(held).await;
                        Some(Next::Reset)
                    }
                    _ => Some(Next::Reset),
                }
            }
            _ => None,
        }
    }

    async fn read_body(
        &mut self,
        ticket: &mut Ticket,
        request: &mut Request,
        framing: head::Framing,
        expects_continue: bool,
    ) -> Result<(), Next> {
        if expects_continue && framing != head::Framing::None {
            let line = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.wire.out.extend_from_slice(line);
            if let Err(Gone) = self.wire.send().await {
                return Err(self.end(ticket, Ended::ClientGone, Next::Close));
            }
        }
        let mut received = 0;
        match self.wire.body(framing, &mut received).await {
            Ok(body) => {
                request.ask = Ask::read(&request.operation, &body);
                request.body = body;
                let asked = request.ask.as_ref().ok();
                let model = asked.and_then(|ask| ask.model.as_deref());
                let stream = asked.is_some_and(|ask| ask.stream);
                ticket.body(&request.body, received, model, stream);
                Ok(())
            }
            Err(ReadFault::Gone) => {
                ticket.body_broke(received);
                Err(self.end(ticket, Ended::ClientGone, Next::Close))
            }
            Err(ReadFault::Bad(fault)) => {
                ticket.body_broke(received);
                ticket.action("invalid");
                ticket.head(400, true, 0);
                let next = self.refuse_unread(fault.0).await;
                Err(self.end(ticket, Ended::Whole, next))
            }
        }
    }

    /// Answers 400 and closes: where the next request would begin is not known.
    async fn refuse_unread(&mut self, reason: &str) -> Next {
        let answer = refusal::invalid(super::ask::Dialect::Generic, reason);
        self.write(&answer, false).await;
        Next::Close
    }

    async fn control(&mut self, head: &Head, facts: Facts) -> Next {
        let mut received = 0;
        let Ok(body) = self.wire.body(head.framing, &mut received).await else {
            return Next::Close;
        };
        let answer = control::answer(&self.shared, &head.method, &head.target, &body);
        if self.write(&answer, facts.keep_alive).await && facts.keep_alive {
            Next::Again
        } else {
            Next::Close
        }
    }

    /// Writes an answer that no ledger knows. `false` where the client is gone.
    async fn write(&mut self, answer: &Answer, keep_alive: bool) -> bool {
        self.dates.turn_to(self.shared.clock.now());
        let framing = Framing {
            chunked: true,
            closes: !keep_alive,
        };
        answer.write_head(&self.dates, framing, &mut self.wire.out);
        if let super::answer::Payload::Whole(body) = &answer.payload {
            self.wire.out.extend_from_slice(body);
        }
        self.wire.send().await.is_ok()
    }
}
