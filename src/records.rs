//! Bounded rings that carry records from the request path to the sinks. The request path never waits for a sink:
//! where a ring is full the record is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::event::{AttemptRecord, Event, RequestRecord};
use crate::core::id::SubscriptionIndex;

/// What sinks are told.
#[derive(Clone, Debug)]
pub enum Record {
    /// A request ended.
    Request(Box<RequestRecord>),
    /// An attempt's verdict is known.
    Attempt(AttemptRecord),
    /// A subscription's state changed.
    Event(Event),
}

/// One ring: many writers, one reader. Clones share it.
#[derive(Clone, Debug)]
pub struct Records(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    queue: Mutex<VecDeque<Record>>,
    capacity: usize,
    dropped: AtomicU64,
}

impl Records {
    /// A ring of this many records, allocated now.
    pub fn new(capacity: usize) -> Self {
        let queue = Mutex::new(VecDeque::with_capacity(capacity));
        Self(Arc::new(Ring {
            queue,
            capacity,
            dropped: AtomicU64::new(0),
        }))
    }

    /// Adds one; drops and counts it where the ring is full.
    pub fn push(&self, record: Record) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < self.0.capacity {
            queue.push_back(record);
        } else {
            drop(queue);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Moves all that is there to the end of `into`, oldest first.
    pub fn drain(&self, into: &mut Vec<Record>) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(queue.drain(..));
    }

    /// How many were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// What records mean by their indices. A new one is made at each reload.
#[derive(Debug, Default)]
pub struct Names {
    /// Id and provider of each subscription, by index; kept when a subscription is removed.
    pub subscriptions: Vec<(Arc<str>, Arc<str>)>,
}

impl Names {
    /// The subscription's id; empty where the index is newer than these names.
    pub fn subscription(&self, index: SubscriptionIndex) -> &str {
        self.subscriptions.get(index.at()).map_or("", |(id, _)| id)
    }

    /// Its provider's id; empty where the index is newer than these names.
    pub fn provider(&self, index: SubscriptionIndex) -> &str {
        self.subscriptions
            .get(index.at())
            .map_or("", |(_, provider)| provider)
    }

    /// The provider of a subscription known by its id.
    pub fn provider_of(&self, id: &str) -> &str {
        self.subscriptions
            .iter()
            .find(|(known, _)| **known == *id)
            .map_or("", |(_, provider)| provider)
    }
}

/// Where records end: each sink is shown the same ones, in order, on the control thread.
pub trait Sink: Send {
    /// Takes note of a batch.
    fn take(&mut self, records: &[Record], names: &Names);
}
