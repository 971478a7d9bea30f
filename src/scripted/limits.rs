//! Real limits of a credential: token buckets for requests and tokens, and a cap on what runs at once. Arithmetic is
//! in integers, so that a stated wait is true to the microsecond. A refused request takes nothing. The wording of a
//! refusal is left to the dialects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::core::time::Timestamp;

const MINUTE: u128 = 60_000_000;

/// What a credential may do. An absent member is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// For this model only; absent: for all models together. Both kinds may stand beside each other.
    pub model: Option<String>,
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens of both kinds a minute.
    pub tokens_per_minute: Option<u64>,
    /// Input tokens a minute.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens a minute.
    pub output_tokens_per_minute: Option<u64>,
    /// How many requests a full bucket holds, and what the limit headers state; absent: a minute's worth.
    pub requests_burst: Option<u64>,
    /// The same of each bucket of tokens; absent: a minute's worth.
    pub tokens_burst: Option<u64>,
    /// Requests at once.
    pub concurrent: Option<u32>,
    /// Absent: buckets fill continuously. Else they are filled up in full every so many seconds, and not between.
    pub window_seconds: Option<u64>,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dimension {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
    Concurrency,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) dimension: Dimension,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Until it is full again.
    pub(super) full_in: Duration,
}

/// What a request takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Whether a request may be served.
#[derive(Debug)]
pub(super) enum Admission {
    /// Nothing limits this credential.
    Free,
    /// It may; the slot is held while it runs.
    Granted(Vec<Reading>, Slots),
    /// It may not.
    Refused(Refusal, Vec<Reading>),
}

/// Why not, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) dimension: Dimension,
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) asked: u64,
    /// Until the same request would pass; `None`: it never would, or nobody can say.
    pub(super) wait: Option<Duration>,
}

/// The places held by a running request; dropping frees them.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Arc<AtomicU32>>);

impl Drop for Slots {
    fn drop(&mut self) {
        for running in &self.0 {
            running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The limits of every credential.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Whether there are any, so that a provider without limits takes no lock.
    any: AtomicBool,
    accounts: Mutex<HashMap<String, Vec<Account>>>,
}

impl Book {
    pub(super) fn set(&self, credential: &str, limits: Limits) {
        let mut accounts = self.lock();
        let listed = accounts.entry(credential.to_owned()).or_default();
        listed.retain(|account| account.model != limits.model);
        listed.push(Account::new(limits));
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    /// Takes what a request needs from every bucket that applies, or nothing from any.
    pub(super) fn admit(
        &self,
        credential: &str,
        model: Option<&str>,
        need: Need,
        now: Timestamp,
    ) -> Admission {
        if !self.any.load(Ordering::Acquire) {
            return Admission::Free;
        }
        let mut accounts = self.lock();
        let Some(listed) = accounts.get_mut(credential) else {
            return Admission::Free;
        };
        let mut applying: Vec<&mut Account> = listed
            .iter_mut()
            .filter(|account| account.model.is_none() || account.model.as_deref() == model)
            .collect();
        if applying.is_empty() {
            return Admission::Free;
        }
        admit(&mut applying, need, now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admit(accounts: &mut [&mut Account], need: Need, now: Timestamp) -> Admission {
    let mut refused: Option<Refusal> = None;
    for account in accounts.iter_mut() {
        for refusal in account.refusals(need, now) {
            // The longest wait rules; one that never ends outlasts all.
            let wait = |refusal: &Refusal| refusal.wait.unwrap_or(Duration::MAX);
            if refused.is_none_or(|worst| wait(&worst) < wait(&refusal)) {
                refused = Some(refusal);
            }
        }
    }
    let mut slots = Slots::default();
    if refused.is_none() {
        for account in accounts.iter_mut() {
            account.take(need, &mut slots);
        }
    }
    let readings = accounts
        .iter()
        .flat_map(|account| account.buckets.iter().map(|bucket| bucket.reading(now)))
        .collect();
    match refused {
        Some(refusal) => Admission::Refused(refusal, readings),
        None => Admission::Granted(readings, slots),
    }
}

/// One credential's limits, for all models or for one.
#[derive(Debug)]
struct Account {
    model: Option<String>,
    buckets: Vec<Bucket>,
    concurrent: Option<u32>,
    running: Arc<AtomicU32>,
}

impl Account {
    fn new(limits: Limits) -> Self {
        let window = limits.window_seconds.map(Duration::from_secs);
        let tokens = limits.tokens_burst;
        let buckets = [
            (
                Dimension::Requests,
                limits.requests_per_minute,
                limits.requests_burst,
            ),
            (Dimension::Tokens, limits.tokens_per_minute, tokens),
            (
                Dimension::InputTokens,
                limits.input_tokens_per_minute,
                tokens,
            ),
            (
                Dimension::OutputTokens,
                limits.output_tokens_per_minute,
                tokens,
            ),
        ]
        .into_iter()
        .filter_map(|(dimension, rate, burst)| {
            rate.map(|rate| Bucket::new(dimension, rate, burst.unwrap_or(rate), window))
        })
        .collect();
        Self {
            model: limits.model,
            buckets,
            concurrent: limits.concurrent,
            running: Arc::default(),
        }
    }

    fn refusals(&mut self, need: Need, now: Timestamp) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for bucket in &mut self.buckets {
            bucket.fill(now);
            refusals.extend(bucket.refusal(bucket.asked(need), now));
        }
        let running = self.running.load(Ordering::Acquire);
        if let Some(cap) = self.concurrent.filter(|cap| running >= *cap) {
            refusals.push(Refusal {
                dimension: Dimension::Concurrency,
                limit: u64::from(cap),
                used: u64::from(running),
                asked: 1,
                wait: None,
            });
        }
        refusals
    }

    fn take(&mut self, need: Need, slots: &mut Slots) {
        for bucket in &mut self.buckets {
            let asked = bucket.asked(need);
            bucket.level = bucket.level.saturating_sub(u128::from(asked) * MINUTE);
        }
        if self.concurrent.is_some() {
            self.running.fetch_add(1, Ordering::AcqRel);
            slots.0.push(Arc::clone(&self.running));
        }
    }
}

/// A token bucket. Levels are in sixty-millionths of a unit: what a rate of one a minute yields in a microsecond.
#[derive(Debug)]
struct Bucket {
    dimension: Dimension,
    rate: u64,
    capacity: u64,
    window: Option<Duration>,
    level: u128,
    /// When it was last filled; `None` before its first use.
    filled: Option<Timestamp>,
}

impl Bucket {
    fn new(dimension: Dimension, rate: u64, capacity: u64, window: Option<Duration>) -> Self {
        Self {
            dimension,
            rate,
            capacity,
            window,
            level: u128::from(capacity) * MINUTE,
            filled: None,
        }
    }

    fn asked(&self, need: Need) -> u64 {
        match self.dimension {
            Dimension::Requests | Dimension::Concurrency => 1,
            Dimension::Tokens => need.input.saturating_add(need.output),
            Dimension::InputTokens => need.input,
            Dimension::OutputTokens => need.output,
        }
    }

    fn full(&self) -> u128 {
        u128::from(self.capacity) * MINUTE
    }

    fn fill(&mut self, now: Timestamp) {
        let filled = *self.filled.get_or_insert(now);
        let elapsed = now.since(filled);
        match self.window {
            None => {
                let gained = elapsed.as_micros() * u128::from(self.rate);
                self.level = (self.level + gained).min(self.full());
                self.filled = Some(now.max(filled));
            }
            Some(window) if elapsed >= window => {
                let window = window.as_micros().max(1);
                let past = elapsed.as_micros() / window * window;
                let past = u64::try_from(past).unwrap_or(u64::MAX);
                self.level = self.full();
                self.filled = Some(filled + Duration::from_micros(past));
            }
            Some(_) => {}
        }
    }

    /// Why `asked` does not pass, where it does not.
    fn refusal(&self, asked: u64, now: Timestamp) -> Option<Refusal> {
        let needed = u128::from(asked) * MINUTE;
        if needed <= self.level {
            return None;
        }
        let possible = asked <= self.capacity && (self.window.is_some() || self.rate > 0);
        Some(Refusal {
            dimension: self.dimension,
            limit: self.capacity,
            used: self.capacity.saturating_sub(self.remaining()),
            asked,
            wait: possible.then(|| self.until(needed, now)),
        })
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.level / MINUTE).unwrap_or(u64::MAX)
    }

    /// How long until the level is reached.
    fn until(&self, level: u128, now: Timestamp) -> Duration {
        let missing = level.saturating_sub(self.level);
        if missing == 0 {
            return Duration::ZERO;
        }
        if let Some(window) = self.window {
            return (self.filled.unwrap_or(now) + window).since(now);
        }
        let micros = missing.div_ceil(u128::from(self.rate.max(1)));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn reading(&self, now: Timestamp) -> Reading {
        Reading {
            dimension: self.dimension,
            limit: self.capacity,
            remaining: self.remaining(),
            full_in: self.until(self.full(), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scripted::written::read_limits;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + micros)
    }

    fn book(json: &str) -> Book {
        let book = Book::default();
        for (credential, limits) in read_limits(json).unwrap() {
            book.set(&credential, limits);
        }
        book
    }

    fn need(input: u64, output: u64) -> Need {
        Need { input, output }
    }

    /// The refusal of one request of `a`, if it is refused.
    fn refusal(book: &Book, need: Need, micros: u64) -> Option<Refusal> {
        match book.admit("a", Some("m"), need, at(micros)) {
            Admission::Refused(refusal, _) => Some(refusal),
            Admission::Free | Admission::Granted(..) => None,
        }
    }

    #[test]
    fn a_bucket_serves_its_burst_and_then_its_rate() {
        let book = book(r#"{"a":{"requests_per_minute":60,"requests_burst":3}}"#);
        for _ in 0..3 {
            assert_eq!(refusal(&book, need(1, 1), 0), None);
        }
        let refused = refusal(&book, need(1, 1), 0).unwrap();
        assert_eq!(refused.dimension, Dimension::Requests);
        assert_eq!(refused.wait, Some(Duration::from_secs(1)));
        assert_eq!((refused.limit, refused.used, refused.asked), (3, 3, 1));
        assert_eq!(refusal(&book, need(1, 1), 1_000_000), None);
    }

    #[test]
    fn others_are_not_limited() {
        let book = book(r#"{"a":{"requests_per_minute":0}}"#);
        assert!(matches!(
            book.admit("b", None, need(1, 1), at(0)),
            Admission::Free
        ));
        assert_eq!(refusal(&book, need(1, 1), 0).unwrap().wait, None);
        book.clear();
        assert_eq!(refusal(&book, need(1, 1), 0), None);
    }

    #[test]
    fn a_request_larger_than_the_bucket_never_passes() {
        let book = book(r#"{"a":{"tokens_per_minute":100}}"#);
        let refused = refusal(&book, need(90, 11), 0).unwrap();
        assert_eq!((refused.wait, refused.asked), (None, 101));
        assert_eq!(refusal(&book, need(90, 10), 0), None);
    }

    #[test]
    fn limits_of_a_model_leave_the_other_models_alone() {
        let book =
            book(r#"{"a":[{"requests_per_minute":10},{"model":"m","requests_per_minute":1}]}"#);
        assert_eq!(refusal(&book, need(1, 1), 0), None);
        assert_eq!(refusal(&book, need(1, 1), 0).unwrap().limit, 1);
        assert!(matches!(
            book.admit("a", Some("n"), need(1, 1), at(0)),
            Admission::Granted(..)
        ));
    }

    #[test]
    fn a_window_fills_in_full_at_its_end_and_not_before() {
        let book = book(r#"{"a":{"requests_per_minute":2,"window_seconds":60}}"#);
        assert_eq!(refusal(&book, need(1, 1), 0), None);
        assert_eq!(refusal(&book, need(1, 1), 30_000_000), None);
        let refused = refusal(&book, need(1, 1), 59_000_000).unwrap();
        assert_eq!(refused.wait, Some(Duration::from_secs(1)));
        assert_eq!(refusal(&book, need(1, 1), 60_000_000), None);
        assert_eq!(refusal(&book, need(1, 1), 60_000_001), None);
        assert!(refusal(&book, need(1, 1), 60_000_002).is_some());
    }

    #[test]
    fn a_slot_is_free_again_once_its_request_has_ended() {
        let book = book(r#"{"a":{"concurrent":1}}"#);
        let held = book.admit("a", None, need(1, 1), at(0));
        let refused = refusal(&book, need(1, 1), 0).unwrap();
        assert_eq!(refused.dimension, Dimension::Concurrency);
        drop(held);
        assert_eq!(refusal(&book, need(1, 1), 0), None);
    }

    proptest! {
        /// The law of a truthful wait: a microsecond less is refused, the wait itself is enough.
        #[test]
        fn a_stated_wait_is_the_least_that_is_enough(
            rate in 1u64..1_000_000,
            burst in 1u64..10_000,
            takes in proptest::collection::vec((1u64..10_000, 0u64..5_000_000), 1..30),
        ) {
            let mut bucket = Bucket::new(Dimension::Tokens, rate, burst, None);
            let mut now = 0;
            for (asked, pause) in takes {
                now += pause;
                bucket.fill(at(now));
                let Some(refusal) = bucket.refusal(asked, at(now)) else {
                    bucket.level -= u128::from(asked) * MINUTE;
                    continue;
                };
                let Some(wait) = refusal.wait else {
                    prop_assert!(asked > burst);
                    continue;
                };
                let micros = u64::try_from(wait.as_micros()).unwrap();
                bucket.fill(at(now + micros - 1));
                prop_assert!(bucket.refusal(asked, at(now + micros - 1)).is_some());
                now += micros;
                bucket.fill(at(now));
                prop_assert!(bucket.refusal(asked, at(now)).is_none());
            }
        }
    }
}
