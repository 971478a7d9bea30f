//! Real limits of a credential: buckets for requests and tokens, and a cap on what runs at once. A refused request
//! takes nothing; what a running one only reserves comes back when it ends. The buckets' arithmetic is `bucket`'s, the
//! wording of a refusal the dialects'.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::bucket::Bucket;
pub(super) use super::bucket::{Dimension, Need, Reading, Refusal};
use crate::core::time::Timestamp;

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
    /// How full the buckets are at first, in percent; absent: 100.
    pub start_percent: Option<u64>,
    /// Of tokens of both kinds all that a request lets its answer have counts while it runs; what it did not need
    /// comes back when it ends.
    pub reserves_max_tokens: bool,
    /// Answers do not say where these limits stand; refusals tell their wait all the same.
    pub silent: bool,
}

/// Where the limits of a credential stand, as its answers show it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing limits it: far from any limit.
    Plenty,
    /// So.
    Stated(Vec<Reading>),
    /// Nothing is said.
    Nothing,
}

/// Whether a request may be served.
#[derive(Debug)]
pub(super) enum Admission {
    /// Nothing limits this credential.
    Free,
    /// It may; the slot is held while it runs.
    Granted(Shown, Slots),
    /// It may not.
    Refused(Refusal, Shown),
}

/// What a running request holds; dropping gives it back.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Arc<AtomicU32>>,
    /// Tokens that it reserved beyond what it needs, beside where they go back to.
    reserved: Vec<(Arc<AtomicU64>, u64)>,
}

impl Drop for Slots {
    fn drop(&mut self) {
        for running in &self.places {
            running.fetch_sub(1, Ordering::AcqRel);
        }
        for (returned, tokens) in &self.reserved {
            returned.fetch_add(*tokens, Ordering::AcqRel);
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
    let shown = shown(accounts, now);
    match refused {
        Some(refusal) => Admission::Refused(refusal, shown),
        None => Admission::Granted(shown, slots),
    }
}

fn shown(accounts: &[&mut Account], now: Timestamp) -> Shown {
    let mut stating = accounts.iter().filter(|account| !account.silent).peekable();
    if stating.peek().is_none() {
        return Shown::Nothing;
    }
    let buckets = stating.flat_map(|account| &account.buckets);
    let readings: Vec<Reading> = buckets.map(|bucket| bucket.reading(now)).collect();
    if readings.is_empty() {
        Shown::Plenty
    } else {
        Shown::Stated(readings)
    }
}

/// One credential's limits, for all models or for one.
#[derive(Debug)]
struct Account {
    model: Option<String>,
    buckets: Vec<Bucket>,
    concurrent: Option<u32>,
    running: Arc<AtomicU32>,
    reserves: bool,
    /// Tokens that came back since the buckets were last filled.
    returned: Arc<AtomicU64>,
    silent: bool,
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
            let bucket = |rate| Bucket::new(dimension, rate, burst.unwrap_or(rate), window);
            rate.map(|rate| bucket(rate).at_percent(limits.start_percent.unwrap_or(100)))
        })
        .collect();
        Self {
            model: limits.model,
            buckets,
            concurrent: limits.concurrent,
            running: Arc::default(),
            reserves: limits.reserves_max_tokens,
            returned: Arc::default(),
            silent: limits.silent,
        }
    }

    fn refusals(&mut self, need: Need, now: Timestamp) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let returned = self.returned.swap(0, Ordering::AcqRel);
        for bucket in &mut self.buckets {
            // Filling stops at full, so that it is the same whether what came back counts before or after.
            if bucket.dimension == Dimension::Tokens {
                bucket.give(returned);
            }
            bucket.fill(now);
            refusals.extend(bucket.refusal(bucket.asked(need, self.reserves), now));
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
            bucket.take(bucket.asked(need, self.reserves));
        }
        if self.reserves {
            let unneeded = need.most.saturating_sub(need.output);
            let returned = Arc::clone(&self.returned);
            slots.reserved.push((returned, unneeded));
        }
        if self.concurrent.is_some() {
            self.running.fetch_add(1, Ordering::AcqRel);
            slots.places.push(Arc::clone(&self.running));
        }
    }
}

#[cfg(test)]
mod tests {
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
        Need {
            input,
            output,
            most: output,
        }
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

    // OpenAI counts all of max_tokens while a request runs
    #[test]
    fn tokens_that_were_only_reserved_come_back_when_the_request_ends() {
        let book = book(r#"{"a":{"tokens_per_minute":100,"reserves_max_tokens":true}}"#);
        let asks = Need {
            input: 10,
            output: 5,
            most: 50,
        };
        let held = book.admit("a", None, asks, at(0));
        let Admission::Granted(Shown::Stated(readings), _) = &held else {
            panic!("not granted: {held:?}");
        };
        assert_eq!(readings[0].remaining, 40);
        assert_eq!(refusal(&book, need(41, 0), 0).unwrap().asked, 41);
        drop(held);
        assert_eq!(refusal(&book, need(85, 0), 0), None);
        assert!(refusal(&book, need(1, 0), 0).is_some());
    }

    #[test]
    fn buckets_begin_as_full_as_they_are_told() {
        let book = book(r#"{"a":{"requests_per_minute":60,"start_percent":5}}"#);
        for _ in 0..3 {
            assert_eq!(refusal(&book, need(1, 1), 0), None);
        }
        let refused = refusal(&book, need(1, 1), 0).unwrap();
        assert_eq!(
            (refused.limit, refused.wait),
            (60, Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn silent_limits_bind_and_are_not_shown() {
        let book = book(r#"{"a":{"requests_per_minute":1,"silent":true},"b":{"concurrent":1}}"#);
        let shown = |credential| match book.admit(credential, None, need(1, 1), at(0)) {
            Admission::Granted(shown, _) | Admission::Refused(_, shown) => shown,
            Admission::Free => panic!("not limited"),
        };
        assert_eq!(shown("a"), Shown::Nothing);
        assert_eq!(shown("a"), Shown::Nothing);
        assert_eq!(shown("b"), Shown::Plenty);
    }
}
