//! What a request takes of its client's tokens per minute (K2): an estimate before it is sent, the truth once it is
//! told of. What came to nothing is given back; of what nobody reported, the estimate stands: unknown is not zero.

use crate::clients::Taken;
use crate::core::event::RequestRecord;

/// Tokens taken for one request.
#[derive(Debug)]
pub struct Claim {
    /// The estimate, as taken.
    pub taken: Taken,
    /// Its two parts: input and output.
    pub rough: (u64, u64),
    /// Whether usage's `input` leaves out what came from or went to the prompt cache (Anthropic).
    pub cache_apart: bool,
}

impl Claim {
    /// By what is told of the request at its end.
    pub fn settle(self, record: &RequestRecord) {
        let used = used(record, self.rough, self.cache_apart);
        self.taken.settle(used);
    }
}

fn used(record: &RequestRecord, rough: (u64, u64), cache_apart: bool) -> u64 {
    let usage = &record.usage;
    let all = rough.0.saturating_add(rough.1);
    if usage.is_unknown() {
        let may_have_been_served = match record.status {
            // The client left before a head, or it came to nothing and was not sent at all.
            0 => 0 < record.attempts,
            200..=299 => true,
            _ => record.code == Some("outcome_unknown"),
        };
        return if may_have_been_served { all } else { 0 };
    }
    let cached = if cache_apart {
        let read = usage.cache_read.unwrap_or(0);
        read.saturating_add(usage.cache_write.unwrap_or(0))
    } else {
        0
    };
    let input = usage.input.unwrap_or(rough.0).saturating_add(cached);
    // What a whole answer does not report it has none of, as embeddings; one that broke off has not reported all.
    let output = if record.aborted {
        usage.output.unwrap_or(0).max(rough.1)
    } else {
        usage.output.unwrap_or(0)
    };
    input.saturating_add(output)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::ledger::usage::Usage;
    use crate::core::time::Timestamp;

    const ROUGH: (u64, u64) = (1000, 200);

    fn record(status: u16, aborted: bool, usage: Usage) -> RequestRecord {
        RequestRecord {
            at: Timestamp::from_micros(0),
            request_id: 0,
            client: None,
            pool: None,
            route: None,
            method: http::Method::POST,
            path: "/".into(),
            model: None,
            subscription: None,
            served_by_pool: None,
            attempts: u8::from(status != 0),
            verdict: None,
            status,
            code: None,
            metered: true,
            stream: false,
            bytes_in: 0,
            bytes_out: 0,
            usage,
            wait: Duration::ZERO,
            time_to_first_byte: None,
            duration: Duration::ZERO,
            aborted,
        }
    }

    #[track_caller]
    fn check(record: &RequestRecord, included: u64, apart: u64) {
        assert_eq!(used(record, ROUGH, false), included);
        assert_eq!(used(record, ROUGH, true), apart);
    }

    fn reported(input: Option<u64>, output: Option<u64>) -> Usage {
        Usage {
            input,
            output,
            cache_read: Some(70),
            cache_write: Some(5),
            ..Usage::default()
        }
    }

    // K2
    #[test]
    fn what_was_reported_counts_and_the_cache_only_once() {
        let whole = record(200, false, reported(Some(100), Some(10)));
        check(&whole, 110, 185);
        let embedding = record(
            200,
            false,
            Usage {
                input: Some(100),
                ..Usage::default()
            },
        );
        check(&embedding, 100, 100);
    }

    // K2: unknown is not zero
    #[test]
    fn what_nobody_reported_counts_as_estimated() {
        check(&record(200, false, Usage::default()), 1200, 1200);
        check(&record(200, true, Usage::default()), 1200, 1200);
        check(&record(200, true, reported(Some(100), Some(1))), 300, 375);
        check(
            &record(200, true, reported(Some(100), Some(900))),
            1000,
            1075,
        );
        check(&record(200, false, reported(None, Some(9))), 1009, 1084);
    }

    // K2
    #[test]
    fn what_came_to_nothing_costs_nothing() {
        for status in [400, 404, 429, 500, 503, 529] {
            check(&record(status, false, Usage::default()), 0, 0);
        }
        let mut left = record(0, true, Usage::default());
        check(&left, 0, 0);
        left.attempts = 1;
        check(&left, 1200, 1200);
        let mut silent = record(502, false, Usage::default());
        silent.code = Some("upstream_failed");
        check(&silent, 0, 0);
        silent.code = Some("outcome_unknown");
        check(&silent, 1200, 1200);
    }
}
