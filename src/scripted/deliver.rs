//! Writes what was planned: whole, slowly, in part, or not at all. Every way out of here ends the request in the
//! ledger, once, and before the connection changes, so that a client that saw the end finds it in the ledger.

use std::io::Write;
use std::time::Duration;

use super::answer::{Answer, Events, Framing, Payload};
use super::connection::{Connection, Next};
use super::ledger::Ended;
use super::plan::{Delivery, End, Plan};
use super::rule::{Raw, Then};
use super::ticket::Ticket;
use super::wire::Gone;

/// How much of a stream is gathered before it is written, in bytes.
const GATHERED: usize = 64 * 1024;

/// What of the request's head bears on how its answer is framed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// `HEAD`: no body follows.
    pub(super) bodiless: bool,
    /// HTTP/1.1: streams may be chunked.
    pub(super) chunked: bool,
    pub(super) keep_alive: bool,
}

impl Connection {
    /// Carries out a plan to its end.
    pub(super) async fn carry_out(
        &mut self,
        ticket: &mut Ticket,
        plan: Plan,
        facts: Facts,
    ) -> Next {
        let carried = match plan {
            Plan::Deliver(answer, mut delivery) => {
                ticket.hold(std::mem::take(&mut delivery.slots));
                self.deliver(ticket, &answer, &delivery, facts).await
            }
            Plan::Raw(raw) => self.raw(ticket, &raw).await,
            Plan::Hang => {
                self.wire.until_gone().await;
                Err(Gone)
            }
            Plan::Reset => Ok(self.end(ticket, Ended::Reset, Next::Reset)),
        };
        carried.unwrap_or_else(|Gone| self.end(ticket, Ended::ClientGone, Next::Close))
    }

    /// Ends the request in the ledger and passes on what becomes of the connection.
    pub(super) fn end(&self, ticket: &mut Ticket, ended: Ended, next: Next) -> Next {
        ticket.end(ended, self.shared.clock.now());
        next
    }

    async fn deliver(
        &mut self,
        ticket: &mut Ticket,
        answer: &Answer,
        delivery: &Delivery,
        facts: Facts,
    ) -> Result<Next, Gone> {
        self.wire.pause(delivery.delay).await?;
        self.dates.turn_to(self.shared.clock.now());
        let unframed = matches!(answer.payload, Payload::Events(_)) && !facts.chunked;
        let framing = Framing {
            chunked: facts.chunked,
            closes: !facts.keep_alive || unframed,
        };
        answer.write_head(&self.dates, framing, &mut self.wire.out);
        if let End::WithinHead(bytes) = delivery.end {
            let half = self.wire.out.len() / 2;
            let most = self.wire.out.len().saturating_sub(1);
            self.wire.out.truncate(bytes.unwrap_or(half).min(most));
            self.wire.send().await?;
            return Ok(self.end(ticket, Ended::Reset, Next::Reset));
        }
        if let Some(gap) = delivery.trickle {
            self.trickle(gap).await?;
        }
        ticket.head(answer.status, answer.refused, answer.input_tokens);
        let last = if framing.closes {
            Next::Close
        } else {
            Next::Again
        };
        if facts.bodiless {
            self.wire.send().await?;
            return Ok(self.end(ticket, Ended::Whole, last));
        }
        match &answer.payload {
            Payload::Whole(body) => self.whole(ticket, answer, body, delivery.end, last).await,
            Payload::Events(events) => self.stream(ticket, events, delivery, framing).await,
        }
    }

    async fn whole(
        &mut self,
        ticket: &mut Ticket,
        answer: &Answer,
        body: &[u8],
        end: End,
        last: Next,
    ) -> Result<Next, Gone> {
        let (written, ended, next) = match end {
            End::Whole | End::WithinHead(_) => (body.len(), Ended::Whole, last),
            End::ResetAfter(_) => (body.len() / 2, Ended::Reset, Next::Reset),
            End::Cut { .. } => (body.len() / 2, Ended::Cut, Next::Close),
        };
        let body = body.get(..written).unwrap_or_default();
        self.wire.out.extend_from_slice(body);
        if ended == Ended::Whole {
            ticket.wrote(answer.output_tokens);
        }
        self.finish(ticket, ended, next).await
    }

    async fn stream(
        &mut self,
        ticket: &mut Ticket,
        events: &Events,
        delivery: &Delivery,
        framing: Framing,
    ) -> Result<Next, Gone> {
        // Short of its end a stream lacks at least its terminal event.
        let short = events.len().saturating_sub(1);
        let (stop, ended, terminated, next) = match delivery.end {
            End::Whole | End::WithinHead(_) => {
                let next = if framing.closes {
                    Next::Close
                } else {
                    Next::Again
                };
                (events.len(), Ended::Whole, true, next)
            }
            End::ResetAfter(events) => (events.min(short), Ended::Reset, false, Next::Reset),
            End::Cut { events, clean } => {
                let next = if clean && !framing.closes {
                    Next::Again
                } else {
                    Next::Close
                };
                (events.min(short), Ended::Cut, clean, next)
            }
        };
        let paced = !delivery.gap.is_zero();
        for index in 0..stop {
            if (paced && index > 0) || self.wire.out.len() > GATHERED {
                self.wire.send().await?;
                ticket.wrote(events.tokens(index));
                self.wire.pause(delivery.gap).await?;
            }
            if paced {
                ticket.event(self.shared.clock.now());
            }
            let event = events.get(index).unwrap_or_default();
            append(&mut self.wire.out, event, framing.chunked);
        }
        if terminated && framing.chunked {
            self.wire.out.extend_from_slice(b"0\r\n\r\n");
        }
        ticket.wrote(events.tokens(stop));
        self.finish(ticket, ended, next).await
    }

    /// Ends the request and writes its last bytes: in this order, so that who has read them finds it ended. A client
    /// that leaves within these bytes has been answered in full as far as can be told here.
    async fn finish(
        &mut self,
        ticket: &mut Ticket,
        ended: Ended,
        next: Next,
    ) -> Result<Next, Gone> {
        if self.wire.out.len() > GATHERED {
            // Too much for the socket's buffer: whether it gets through is not known before.
            self.wire.send().await?;
        }
        let next = self.end(ticket, ended, next);
        self.wire.send().await?;
        Ok(next)
    }

    async fn trickle(&mut self, gap: Duration) -> Result<(), Gone> {
        let head = std::mem::take(&mut self.wire.out);
        for byte in head {
            self.wire.out.push(byte);
            self.wire.send().await?;
            self.wire.pause(gap).await?;
        }
        Ok(())
    }

    async fn raw(&mut self, ticket: &mut Ticket, raw: &Raw) -> Result<Next, Gone> {
        ticket.head(status_of(&raw.bytes), false, 0);
        let piece = if raw.piece == 0 {
            raw.bytes.len().max(1)
        } else {
            raw.piece
        };
        let mut left = raw.repeat.unwrap_or(u64::MAX);
        while left > 0 {
            left -= 1;
            for part in raw.bytes.chunks(piece) {
                self.wire.out.extend_from_slice(part);
                self.wire.send().await?;
                self.wire.pause(Duration::from_millis(raw.gap_ms)).await?;
            }
            if raw.bytes.is_empty() {
                break;
            }
        }
        match raw.then {
            Then::Keep => Ok(self.end(ticket, Ended::Whole, Next::Again)),
            Then::Close => Ok(self.end(ticket, Ended::Whole, Next::Close)),
            Then::Reset => Ok(self.end(ticket, Ended::Reset, Next::Reset)),
            Then::Hang => {
                self.wire.until_gone().await;
                Err(Gone)
            }
        }
    }
}

fn append(out: &mut Vec<u8>, event: &[u8], chunked: bool) {
    if chunked {
        let _ = write!(out, "{:x}\r\n", event.len());
        out.extend_from_slice(event);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(event);
    }
}

/// The status in a raw answer; 0 where it does not begin with a status line.
fn status_of(bytes: &[u8]) -> u16 {
    bytes
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
