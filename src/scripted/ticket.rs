//! One request's hold on its ledger entry, from its head to its end. Law: each request ends exactly once.

use bytes::Bytes;

use super::ledger::{Ended, Entry, Ledger};
use super::limits::Slots;
use crate::core::time::Timestamp;

/// Of how many events of a stream the instants are kept.
const MOST_EVENTS: usize = 4_096;

/// One request under way. It ends by [`Ticket::end`]; dropped before, its provider was stopped.
#[derive(Debug)]
pub(super) struct Ticket {
    ledger: Ledger,
    credential: String,
    number: u64,
    epoch: u64,
    refused: bool,
    input_tokens: u64,
    output_tokens: u64,
    written: Vec<Timestamp>,
    /// Freed as the request ends.
    slots: Slots,
    ended: bool,
}

impl Ticket {
    /// For the entry of that number, counted in flight for its credential since that epoch.
    pub(super) fn new(ledger: Ledger, credential: String, number: u64, epoch: u64) -> Self {
        Self {
            ledger,
            credential,
            number,
            epoch,
            refused: false,
            input_tokens: 0,
            output_tokens: 0,
            written: Vec::new(),
            slots: Slots::default(),
            ended: false,
        }
    }

    /// The body as it was received in full, and what it asks for.
    pub(super) fn body(&self, body: &[u8], received: u64, model: Option<&str>, stream: bool) {
        let kept = body.get(..self.ledger.bounds().body).unwrap_or(body);
        self.write(|entry| {
            entry.body_len = received;
            entry.body_whole = true;
            entry.body = Bytes::copy_from_slice(kept);
            entry.model = model.map(str::to_owned);
            entry.stream = stream;
            kept.len()
        });
    }

    /// The body ended short after so many bytes.
    pub(super) fn body_broke(&self, received: u64) {
        self.write(|entry| {
            entry.body_len = received;
            0
        });
    }

    /// What is done with the request.
    pub(super) fn action(&self, name: &str) {
        self.write(|entry| {
            name.clone_into(&mut entry.action);
            0
        });
    }

    /// Holds a limit's places until the end.
    pub(super) fn hold(&mut self, slots: Slots) {
        self.slots = slots;
    }

    /// A head is about to be written in full.
    pub(super) fn head(&mut self, status: u16, refused: bool, input_tokens: u64) {
        self.refused = refused;
        self.input_tokens = input_tokens;
        self.write(|entry| {
            entry.status = status;
            entry.refused = refused;
            entry.input_tokens = input_tokens;
            0
        });
    }

    /// So many tokens have been written so far. The entry shows them at the end.
    pub(super) fn wrote(&mut self, output_tokens: u64) {
        self.output_tokens = output_tokens;
    }

    /// An event of a stream with pauses is about to be written. The entry shows them at the end.
    pub(super) fn event(&mut self, now: Timestamp) {
        if self.written.len() < MOST_EVENTS {
            self.written.push(now);
        }
    }

    /// The request has ended.
    pub(super) fn end(&mut self, ended: Ended, now: Timestamp) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.slots = Slots::default();
        let written = std::mem::take(&mut self.written);
        let mut book = self.ledger.lock();
        let current = book.epoch == self.epoch;
        if let Some(totals) = book.totals.get_mut(&self.credential) {
            totals.in_flight = totals.in_flight.saturating_sub(1);
            if current {
                match (ended, self.refused) {
                    (Ended::Whole, false) => totals.served += 1,
                    (Ended::Whole, true) => totals.refused += 1,
                    _ => totals.broken += 1,
                }
                totals.input_tokens += self.input_tokens;
                totals.output_tokens += self.output_tokens;
            }
        }
        let output_tokens = self.output_tokens;
        if let Some(entry) = book.entry(self.number) {
            entry.ended = ended;
            entry.ended_at = Some(now);
            entry.output_tokens = output_tokens;
            entry.written = written;
        }
        drop(book);
        self.ledger.wake();
    }

    /// Changes the entry where there still is one; the change returns by how many bytes the kept bodies grew.
    fn write(&self, change: impl FnOnce(&mut Entry) -> usize) {
        let bounds = self.ledger.bounds();
        if bounds.entries == 0 {
            return;
        }
        let mut book = self.ledger.lock();
        let grown = book.entry(self.number).map_or(0, change);
        book.kept += grown;
        if book.kept > bounds.bodies {
            book.empty_bodies(bounds.bodies);
        }
        drop(book);
        self.ledger.wake();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Ended::Stopped, Timestamp::ZERO);
    }
}
