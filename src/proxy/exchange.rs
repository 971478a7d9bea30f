//! One request from arrival to end: what will be told of it. Whoever holds the exchange last tells it, by dropping
//! it; so every request is told exactly once, also when its task is dropped.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::claim::Claim;
use crate::clients::Permit;
use crate::clock::Clock;
use crate::core::event::{AttemptRecord, RequestRecord};
use crate::core::id::SubscriptionIndex;
use crate::core::ledger::usage::Usage;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::time::Timestamp;
use crate::records::{Record, Records};

/// The record of a request under way. Dropping it before [`Exchange::whole`] tells it as aborted.
#[derive(Debug)]
pub struct Exchange {
    record: Option<Box<RequestRecord>>,
    /// When the head had been read.
    pub arrival: Timestamp,
    /// The UUIDv7 that the client is told.
    pub id: Uuid,
    clock: Clock,
    records: Records,
    permit: Option<Permit>,
    claim: Option<Claim>,
}

impl Exchange {
    /// Begins at a request's head.
    pub fn begin(clock: Clock, records: Records, request: &http::request::Parts) -> Self {
        let id = Uuid::now_v7();
        let arrival = clock.now();
        let record = RequestRecord {
            at: arrival,
            request_id: id.as_u128(),
            client: None,
            pool: None,
            route: None,
            method: request.method.clone(),
            path: request.uri.path().into(),
            model: None,
            served_by_pool: None,
            subscription: None,
            attempts: 0,
            verdict: None,
            status: 0,
            code: None,
            metered: false,
            stream: false,
            bytes_in: 0,
            bytes_out: 0,
            usage: Usage::default(),
            wait: Duration::ZERO,
            time_to_first_byte: None,
            duration: Duration::ZERO,
            aborted: true,
        };
        Self {
            record: Some(Box::new(record)),
            arrival,
            id,
            clock,
            records,
            permit: None,
            claim: None,
        }
    }

    /// Changes what will be told.
    pub fn note(&mut self, change: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// How often the request has been sent.
    pub fn attempts(&self) -> u8 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// How long it has waited.
    pub fn waited(&self) -> Duration {
        self.record
            .as_ref()
            .map_or(Duration::ZERO, |record| record.wait)
    }

    /// Keeps the client's slot until the end.
    pub fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Settles these tokens at the end, by what is then told.
    pub fn settles(&mut self, claim: Option<Claim>) {
        self.claim = claim;
    }

    /// The random half of the id: a logged id and a snapshot replay the choice.
    pub fn entropy(&self) -> u64 {
        self.id.as_u64_pair().1
    }

    /// Marks the head of the answer that goes to the client.
    pub fn head(&mut self, status: u16) {
        let since = self.clock.now().since(self.arrival);
        self.note(|record| {
            record.status = status;
            record.time_to_first_byte = Some(since);
        });
    }

    /// Tells of one attempt whose verdict is known; `next` is what the request does then.
    pub fn attempted(
        &self,
        subscription: SubscriptionIndex,
        status: u16,
        verdict: Option<&Verdict>,
        next: &'static str,
    ) {
        self.records.push(Record::Attempt(AttemptRecord {
            at: self.clock.now(),
            request_id: self.id.as_u128(),
            pool: self.record.as_ref().and_then(|record| record.pool.clone()),
            subscription,
            status,
            verdict: verdict.map_or("silence", |verdict| verdict.class.name()),
            wait: verdict.and_then(|verdict| verdict.wait),
            scope: verdict.map_or(Scope::NONE, |verdict| verdict.scope),
            next,
        }));
    }

    /// One more attempt, on this subscription: who is named where the client leaves before an answer. `pool`: where
    /// that is another than the route's.
    pub fn tries(&mut self, id: &Arc<str>, pool: Option<&Arc<str>>) {
        self.note(|record| {
            record.attempts += 1;
            record.served_by_pool = pool.map(Arc::clone);
            record.subscription = Some(Arc::clone(id));
        });
    }

    /// Names who serves, or whose answer passes.
    pub fn served_by(&mut self, id: &Arc<str>, class: Class) {
        self.note(|record| {
            record.subscription = Some(Arc::clone(id));
            record.verdict = Some(class);
        });
    }

    /// Hands the telling on, to the body that goes to the client; what stays behind tells nothing.
    pub fn take(&mut self) -> Self {
        Self {
            record: self.record.take(),
            arrival: self.arrival,
            id: self.id,
            clock: self.clock,
            records: self.records.clone(),
            permit: self.permit.take(),
            claim: self.claim.take(),
        }
    }

    /// It ended whole: tells it.
    pub fn whole(mut self) {
        self.note(|record| record.aborted = false);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.at = self.clock.now();
            record.duration = record.at.since(self.arrival);
            if let Some(claim) = self.claim.take() {
                claim.settle(&record);
            }
            self.records.push(Record::Request(record));
        }
    }
}
