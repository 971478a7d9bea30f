//! The answers' heads and bodies, as each provider words them, for the real readers. Rounding as SPEC 16.3 has it:
//! requests down, Anthropic's tokens to the nearest thousand, OpenAI's down.

use authpool::core::limit::reading::Dimension;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::bucket::Bucket;

/// Whose habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Buckets of requests, input and output tokens, stated in headers.
    Anthropic,
    /// Buckets of requests and tokens, `max_tokens` reserved, stated in headers.
    OpenAi,
    /// Windows of a minute, stated nowhere but in refusals.
    Gemini,
}

/// An answer before it is read.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The HTTP status.
    pub status: u16,
    /// The head's fields.
    pub headers: HeaderMap,
    /// The body of a refusal; empty of a served answer, which says nothing of limits there.
    pub body: Bytes,
}

/// A served answer's head. `organisation`: named where the provider tells.
pub fn served(habit: Habit, buckets: &[Bucket], organisation: Option<usize>, now: u64) -> Spoken {
    Spoken {
        status: 200,
        headers: describe(habit, buckets, organisation, now),
        body: Bytes::new(),
    }
}

/// A refusal by a limit: until the same request would pass.
pub fn limited(
    habit: Habit,
    model: &str,
    buckets: &[Bucket],
    organisation: Option<usize>,
    refused: &Bucket,
    wait: u64,
    now: u64,
) -> Spoken {
    let mut headers = describe(habit, buckets, organisation, now);
    let limit = refused.limit;
    let body = match habit {
        Habit::Anthropic => {
            put(&mut headers, "retry-after", wait.div_ceil(1_000_000));
            let what = match refused.dimension {
                Dimension::Requests => "requests",
                Dimension::Tokens => "tokens",
                Dimension::InputTokens => "input tokens",
                Dimension::OutputTokens => "output tokens",
            };
            format!(
                r#"{{"type":"error","error":{{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization of {limit} {what} per minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits."}}}}"#
            )
        }
        Habit::OpenAi => {
            put(&mut headers, "retry-after-ms", wait.div_ceil(1_000));
            put(&mut headers, "retry-after", wait.div_ceil(1_000_000));
            let (unit, kind) = match refused.dimension {
                Dimension::Requests => ("requests per min (RPM)", "requests"),
                _ => ("tokens per min (TPM)", "tokens"),
            };
            let again = go_duration(wait);
            format!(
                r#"{{"error":{{"message":"Rate limit reached for {model} in organization org-x on {unit}: Limit {limit}, Used {limit}, Requested 1. Please try again in {again}. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"{kind}","param":null,"code":"rate_limit_exceeded"}}}}"#
            )
        }
        Habit::Gemini => gemini(model, refused, wait),
    };
    Spoken {
        status: 429,
        headers,
        body: Bytes::from(body),
    }
}

fn gemini(model: &str, refused: &Bucket, wait: u64) -> String {
    let limit = refused.limit;
    let (metric, id) = match refused.dimension {
        Dimension::Requests => ("requests", "GenerateRequestsPerMinutePerProjectPerModel"),
        _ => (
            "input_token_count",
            "GenerateContentPaidTierInputTokensPerModelPerMinute",
        ),
    };
    let delay = format!("{}.{:06}s", wait / 1_000_000, wait % 1_000_000);
    format!(
        r#"{{"error":{{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_paid_tier_{metric}, limit: {limit}, model: {model}\nPlease retry in {delay}.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"generativelanguage.googleapis.com/generate_content_paid_tier_{metric}","quotaId":"{id}","quotaDimensions":{{"location":"global","model":"{model}"}},"quotaValue":"{limit}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
    )
}

/// A refusal of a key that flaps: nothing but a wait of whole seconds.
pub fn flapping(habit: Habit, wait: u64) -> Spoken {
    let mut headers = HeaderMap::new();
    put(&mut headers, "retry-after", wait);
    let body = match habit {
        Habit::Anthropic => {
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Rate limited"}}"#
        }
        Habit::OpenAi | Habit::Gemini => {
            r#"{"error":{"message":"Rate limit reached.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#
        }
    };
    Spoken {
        status: 429,
        headers,
        body: Bytes::from_static(body.as_bytes()),
    }
}

/// The provider lacks capacity.
pub fn overloaded() -> Spoken {
    Spoken {
        status: 529,
        headers: HeaderMap::new(),
        body: Bytes::from_static(
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
    }
}

fn describe(habit: Habit, buckets: &[Bucket], organisation: Option<usize>, now: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for bucket in buckets {
        match habit {
            Habit::Anthropic => anthropic(&mut headers, bucket, now),
            Habit::OpenAi => openai(&mut headers, bucket, now),
            Habit::Gemini => {}
        }
    }
    match (habit, organisation) {
        (Habit::Anthropic, Some(account)) => {
            let id = format!("6f1d3a00-0000-4000-8000-{account:012x}");
            put(&mut headers, "anthropic-organization-id", id);
        }
        (Habit::OpenAi, Some(account)) => {
            put(
                &mut headers,
                "openai-organization",
                format!("org-{account:08x}"),
            );
        }
        _ => {}
    }
    headers
}

fn anthropic(headers: &mut HeaderMap, bucket: &Bucket, now: u64) {
    let (name, remaining) = match bucket.dimension {
        Dimension::Requests => ("requests", bucket.remaining()),
        Dimension::InputTokens => ("input-tokens", thousands(bucket)),
        Dimension::OutputTokens => ("output-tokens", thousands(bucket)),
        Dimension::Tokens => ("tokens", thousands(bucket)),
    };
    let full = jiff::Timestamp::from_microsecond((now + bucket.full_in(now)) as i64)
        .expect("within the range of dates");
    let reset = full.strftime("%Y-%m-%dT%H:%M:%SZ");
    let line = |what| format!("anthropic-ratelimit-{name}-{what}");
    put(headers, &line("limit"), bucket.limit);
    put(headers, &line("remaining"), remaining);
    put(headers, &line("reset"), reset);
}

fn openai(headers: &mut HeaderMap, bucket: &Bucket, now: u64) {
    let name = match bucket.dimension {
        Dimension::Requests => "requests",
        _ => "tokens",
    };
    put(headers, &format!("x-ratelimit-limit-{name}"), bucket.limit);
    put(
        headers,
        &format!("x-ratelimit-remaining-{name}"),
        bucket.remaining(),
    );
    let reset = go_duration(bucket.full_in(now));
    put(headers, &format!("x-ratelimit-reset-{name}"), reset);
}

/// To the nearest thousand.
fn thousands(bucket: &Bucket) -> u64 {
    (bucket.level().max(0.0) / 1_000.0).round() as u64 * 1_000
}

/// As Go writes a duration: `174ms`, `1.2s`, `6m0s`.
fn go_duration(micros: u64) -> String {
    if micros < 1_000_000 {
        return format!("{}ms", micros.div_ceil(1_000));
    }
    let (minutes, seconds) = (micros / 60_000_000, micros % 60_000_000);
    let seconds = seconds.div_ceil(1_000) as f64 / 1_000.0;
    if minutes == 0 {
        format!("{seconds}s")
    } else {
        format!("{minutes}m{seconds}s")
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: impl std::fmt::Display) {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
    let value = HeaderValue::try_from(value.to_string()).expect("a header's value");
    headers.append(name, value);
}
