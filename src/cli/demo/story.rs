//! The demo's sink: a line an event, and what they add up to.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Shared, print};
use crate::clock::Clock;
use crate::core::event::{AttemptRecord, RequestRecord};
use crate::core::time::Timestamp;
use crate::records::{Names, Record, Sink};

/// Tells what happens. Clones share what they know.
#[derive(Clone)]
pub struct Story {
    began: Timestamp,
    known: Shared<Known>,
}

#[derive(Default)]
struct Known {
    attempts: HashMap<u128, Vec<(AttemptRecord, String)>>,
    totals: Totals,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Requests answered 2xx.
    pub served: u64,
    /// Attempts that were followed by another.
    pub failovers: u64,
    /// Requests that waited.
    pub waited: u64,
    /// The longest of them.
    pub longest: Duration,
}

impl Totals {
    /// One line.
    pub fn summary(&self, refused: u64) -> String {
        format!(
            "pool: served {} failovers {} waited {} (max {:.1}s) client-429 {refused}",
            self.served,
            self.failovers,
            self.waited,
            self.longest.as_secs_f64()
        )
    }
}

impl Story {
    /// Begins now.
    pub fn new(clock: Clock) -> Self {
        Self {
            began: clock.now(),
            known: Arc::new(Mutex::default()),
        }
    }

    /// Says something that is not an event.
    pub fn say(&self, text: &str) {
        print(text);
    }

    /// What has happened so far.
    pub fn totals(&self) -> Totals {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .totals
    }

    fn line(&self, request: &RequestRecord, attempts: &[(AttemptRecord, String)]) -> String {
        let id = format!("{:032x}", request.request_id);
        let model = request.model.as_deref().unwrap_or("-");
        let since = request.at.since(self.began).as_secs_f64();
        let mut line = format!(
            "+{since:07.3}s req=...{} openai {model}",
            id.get(28..).unwrap_or("")
        );
        for (attempt, name) in attempts {
            if attempt.next == "commit" {
                continue;
            }
            let words = attempt.scope.words();
            let scope: Vec<&str> = words.filter(|word| !word.starts_with("per_")).collect();
            let _ = write!(line, " {name} {} {}", attempt.status, scope.join("/"));
            if let Some(wait) = attempt.wait {
                let _ = write!(line, " wait {:.1}s", wait.as_secs_f64());
            }
            line.push_str(" ->");
        }
        if !request.wait.is_zero() {
            let _ = write!(line, " waited {:.1}s ->", request.wait.as_secs_f64());
        }
        let took = request.duration.saturating_sub(request.wait).as_secs_f64();
        let server = request
            .subscription
            .as_deref()
            .or(request.code)
            .unwrap_or("-");
        let count =
            |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let _ = write!(
            line,
            " {server} {} {took:.1}s in={} out={}",
            request.status,
            count(request.usage.input),
            count(request.usage.output)
        );
        line
    }
}

impl Sink for Story {
    fn take(&mut self, records: &[Record], names: &Names) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            match record {
                Record::Attempt(attempt) => {
                    known.totals.failovers += u64::from(attempt.next != "commit");
                    let name = names.subscription(attempt.subscription).to_owned();
                    known
                        .attempts
                        .entry(attempt.request_id)
                        .or_default()
                        .push((attempt.clone(), name));
                }
                Record::Request(request) => {
                    let attempts = known
                        .attempts
                        .remove(&request.request_id)
                        .unwrap_or_default();
                    known.totals.served += u64::from((200..300).contains(&request.status));
                    known.totals.waited += u64::from(!request.wait.is_zero());
                    known.totals.longest = known.totals.longest.max(request.wait);
                    print(&self.line(request, &attempts));
                }
                Record::Event(_) => {}
            }
        }
    }
}
