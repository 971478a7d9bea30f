//! The ledger: every request whose head was read, and what became of it. It is what tests judge by, so an entry is
//! made before anything is answered and each request ends exactly once. Entries are a bounded ring; the totals per
//! credential outlive them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::signal::Signal;
use super::ticket::Ticket;
use crate::core::time::Timestamp;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is still under way.
    Open,
    /// Its answer was written in full.
    Whole,
    /// The client left before that.
    ClientGone,
    /// The script reset the connection.
    Reset,
    /// The script ended the answer short.
    Cut,
    /// The provider was stopped.
    Stopped,
}

/// One request, as it arrived and as it was answered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Ascending in order of arrival, from 0; goes on after [`Ledger::clear`].
    pub number: u64,
    /// When its head had been read.
    pub at: Timestamp,
    /// The connection it came by, counted from 0.
    pub connection: u64,
    /// Empty where it carried none.
    pub credential: String,
    /// Its method.
    pub method: Method,
    /// Its target as it stood in the request line, with the query.
    pub path: String,
    /// As far as the body has been read and names one.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// As they arrived.
    pub headers: HeaderMap,
    /// How many bytes of its body were received.
    pub body_len: u64,
    /// Whether the body was received in full.
    pub body_whole: bool,
    /// The body, cut at [`Options::body_kept`](super::Options::body_kept); emptied when the ring needs the room.
    pub body: Bytes,
    /// What was done with it: `serve`, `limit`, `unauthorized`, `invalid`, `corpus:ID`, `answer`, `raw`, `fault:NAME`.
    pub action: String,
    /// 0 as long as no head has been written in full.
    pub status: u16,
    /// Whether it was told no: by its status, or by an error event in a stream.
    pub refused: bool,
    /// Tokens of the prompt, once an answer that is no refusal has begun.
    pub input_tokens: u64,
    /// Tokens of the answer that were written.
    pub output_tokens: u64,
    /// When each event of a stream with pauses was handed to the kernel, in order; empty for every other answer, and
    /// until the end.
    pub written: Vec<Timestamp>,
    /// How it ended.
    pub ended: Ended,
    /// When it ended; `None` while it is under way.
    pub ended_at: Option<Timestamp>,
}

/// The sums of one credential. `requests = served + refused + broken + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests whose head was read.
    pub requests: u64,
    /// Answered in full and not refused.
    pub served: u64,
    /// Answered in full with a status of 400 and above, or with an error event.
    pub refused: u64,
    /// Not answered in full: client gone, reset, cut.
    pub broken: u64,
    /// Under way.
    pub in_flight: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Arrival of the first request.
    pub first: Timestamp,
    /// Arrival of the last request.
    pub last: Timestamp,
}

/// What was requested and what became of it. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    book: Mutex<Book>,
    changed: Signal,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Entries; 0: totals only.
    pub(super) entries: usize,
    /// Bytes of each body.
    pub(super) body: usize,
    /// Bytes of all bodies.
    pub(super) bodies: usize,
}

/// What is guarded together.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: VecDeque<Entry>,
    next: u64,
    /// Bytes of the bodies that are kept.
    pub(super) kept: usize,
    /// Entries numbered below this have lost their body.
    emptied: u64,
    pub(super) totals: BTreeMap<String, Totals>,
    /// Requests that began under an earlier epoch count no more, but for leaving.
    pub(super) epoch: u64,
}

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            bounds,
            book: Mutex::default(),
            changed: Signal::default(),
        }))
    }

    /// The requests that are kept, in order of arrival.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    /// How many requests that credential made since the last clear.
    pub fn count(&self, credential: &str) -> usize {
        usize::try_from(self.totals(credential).requests).unwrap_or(usize::MAX)
    }

    /// How many requests are under way, over all credentials.
    pub fn in_flight(&self) -> u64 {
        self.lock().totals.values().map(|sum| sum.in_flight).sum()
    }

    /// The sums of one credential; zeros where it made no request.
    pub fn totals(&self, credential: &str) -> Totals {
        self.lock()
            .totals
            .get(credential)
            .copied()
            .unwrap_or_default()
    }

    /// The sums of every credential, in alphabetical order.
    pub fn all_totals(&self) -> Vec<(String, Totals)> {
        let book = self.lock();
        book.totals
            .iter()
            .map(|(credential, totals)| (credential.clone(), *totals))
            .collect()
    }

    /// Forgets every entry and sum. Requests under way stay counted as in flight and nowhere else.
    pub fn clear(&self) {
        let mut book = self.lock();
        book.entries.clear();
        book.kept = 0;
        book.emptied = book.next;
        book.epoch += 1;
        book.totals.retain(|_, totals| totals.in_flight > 0);
        for totals in book.totals.values_mut() {
            *totals = Totals {
                in_flight: totals.in_flight,
                ..Totals::default()
            };
        }
        drop(book);
        self.wake();
    }

    /// Blocks until the condition holds of the entries. `false` where it does not within `timeout`.
    pub fn wait_until<F>(&self, mut condition: F, timeout: Duration) -> bool
    where
        F: FnMut(&[Entry]) -> bool,
    {
        self.0.changed.wait(self.lock(), timeout, |book| {
            condition(book.entries.make_contiguous())
        })
    }

    /// Waits until the condition holds of the entries, without blocking. `false` where it does not within `timeout`.
    pub async fn until<F>(&self, mut condition: F, timeout: Duration) -> bool
    where
        F: FnMut(&[Entry]) -> bool,
    {
        self.0
            .changed
            .until(timeout, || condition(self.lock().entries.make_contiguous()))
            .await
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// Enters a request. What the entry says of body and answer is filled in by the ticket.
    pub(super) fn enter(&self, entry: Entry) -> Ticket {
        let mut book = self.lock();
        let number = book.next;
        book.next += 1;
        let epoch = book.epoch;
        let credential = entry.credential.clone();
        if !book.totals.contains_key(&credential) {
            book.totals.insert(credential.clone(), Totals::default());
        }
        if let Some(totals) = book.totals.get_mut(&credential) {
            if totals.requests == 0 {
                totals.first = entry.at;
            }
            totals.requests += 1;
            totals.in_flight += 1;
            totals.last = entry.at;
        }
        if self.0.bounds.entries > 0 {
            if book.entries.len() >= self.0.bounds.entries
                && let Some(oldest) = book.entries.pop_front()
            {
                book.kept -= oldest.body.len();
            }
            book.entries.push_back(Entry { number, ..entry });
        }
        drop(book);
        self.wake();
        Ticket::new(self.clone(), credential, number, epoch)
    }

    pub(super) fn wake(&self) {
        self.0.changed.wake();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(super) fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// Empties the oldest bodies until what is kept is within the bound.
    pub(super) fn empty_bodies(&mut self, bound: usize) {
        while self.kept > bound && self.emptied < self.next {
            let number = self.emptied;
            self.emptied += 1;
            if let Some(entry) = self.entry(number) {
                let body = std::mem::take(&mut entry.body);
                self.kept -= body.len();
            }
        }
    }
}
