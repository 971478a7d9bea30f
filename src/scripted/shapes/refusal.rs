//! How providers word what they refuse, and the headers that show where a limit stands. Whether to refuse is decided
//! elsewhere.

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::time::Timestamp;
use crate::scripted::answer::Answer;
use crate::scripted::ask::{Ask, Dialect, digest};
use crate::scripted::dates::{GoDuration, Precision, Rfc3339};
use crate::scripted::limits::{Dimension, Reading, Refusal, Shown};

/// An error in the dialect's words.
pub(crate) fn error(dialect: Dialect, status: u16, kind: &str, message: &str) -> Answer {
    Answer::json(status, body(dialect, kind, None, message).to_string())
}

pub(super) fn body(dialect: Dialect, kind: &str, code: Option<&str>, message: &str) -> Value {
    match dialect {
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": "req_scripted",
        }),
        Dialect::OpenAi | Dialect::Generic => json!({
            "error": {"message": message, "type": kind, "param": null, "code": code},
        }),
    }
}

/// No credential came.
pub(crate) fn unauthorized(dialect: Dialect) -> Answer {
    match dialect {
        Dialect::Anthropic => error(
            dialect,
            401,
            "authentication_error",
            "x-api-key header is required",
        ),
        Dialect::OpenAi | Dialect::Generic => error(
            dialect,
            401,
            "invalid_request_error",
            "You didn't provide an API key.",
        ),
    }
}

/// The body is not what the operation takes.
pub(crate) fn invalid(dialect: Dialect, message: &str) -> Answer {
    error(dialect, 400, "invalid_request_error", message)
}

/// A response that this credential did not make.
pub(crate) fn no_such_response(id: &str) -> Answer {
    let message = format!("Response with id '{id}' not found.");
    error(Dialect::OpenAi, 404, "invalid_request_error", &message)
}

/// A response to go on from that this credential did not make.
pub(crate) fn no_previous_response(id: &str) -> Answer {
    let error = json!({"error": {
        "message": format!("Previous response with id '{id}' not found."),
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }});
    Answer::json(400, error.to_string())
}

/// A limit, in the provider's own words, with the wait that is true.
pub(crate) fn limited(dialect: Dialect, ask: &Ask, org: &str, refusal: Refusal) -> Answer {
    let unit = |requests: &'static str, tokens: &'static str| match refusal.dimension {
        Dimension::Requests | Dimension::Concurrency => requests,
        _ => tokens,
    };
    let value = match dialect {
        Dialect::Anthropic => body(dialect, "rate_limit_error", None, &anthropic(org, refusal)),
        Dialect::OpenAi | Dialect::Generic => body(
            dialect,
            unit("requests", "tokens"),
            Some("rate_limit_exceeded"),
            &openai(
                ask.model_name(),
                org,
                refusal,
                unit("requests per min (RPM)", "tokens per min (TPM)"),
            ),
        ),
    };
    let mut answer = Answer::json(429, value.to_string());
    if let Some(wait) = refusal.wait {
        if dialect != Dialect::Anthropic {
            answer.line("retry-after-ms", wait.as_micros().div_ceil(1_000));
        }
        answer.line("retry-after", wait.as_micros().div_ceil(1_000_000));
    }
    answer.line(
        "x-should-retry",
        if refusal.wait.is_some() {
            "true"
        } else {
            "false"
        },
    );
    answer
}

fn anthropic(org: &str, refusal: Refusal) -> String {
    let what = match refusal.dimension {
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens => "input tokens",
        Dimension::OutputTokens => "output tokens",
        Dimension::Concurrency => {
            return "Number of concurrent connections has exceeded your rate limit. Please try again later."
                .to_owned();
        }
    };
    format!(
        "This request would exceed the rate limit for your organization ({org}) of {} {what} per minute. \
         For details, refer to: https://docs.anthropic.com/en/api/rate-limits. You can see the response headers \
         for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later.",
        refusal.limit
    )
}

fn openai(model: &str, org: &str, refusal: Refusal, unit: &str) -> String {
    let Refusal {
        limit, used, asked, ..
    } = refusal;
    match refusal.wait {
        Some(wait) => format!(
            "Rate limit reached for {model} in organization {org} on {unit}: Limit {limit}, Used {used}, \
             Requested {asked}. Please try again in {}. Visit https://platform.openai.com/account/rate-limits \
             to learn more.",
            GoDuration(wait)
        ),
        None if refusal.dimension == Dimension::Concurrency => {
            format!(
                "Too many concurrent requests for {model} in organization {org}: Limit {limit}."
            )
        }
        None => format!(
            "Request too large for {model} in organization {org} on {unit}: Limit {limit}, Requested {asked}. \
             The input or output tokens must be reduced in order to run successfully."
        ),
    }
}

/// The organisation of a credential: always the same, and no way back to it.
pub(crate) fn organisation(credential: &str) -> u64 {
    digest(credential.as_bytes())
}

/// Where limits stand when nothing limits: far from them.
const PLENTY: [Reading; 4] = [
    plenty(Dimension::Requests, 50_000, 49_999),
    plenty(Dimension::InputTokens, 5_000_000, 4_999_000),
    plenty(Dimension::OutputTokens, 1_000_000, 999_000),
    plenty(Dimension::Tokens, 6_000_000, 5_998_000),
];

const fn plenty(dimension: Dimension, limit: u64, remaining: u64) -> Reading {
    Reading {
        dimension,
        limit,
        remaining,
        full_in: Duration::from_secs(1),
    }
}

/// Adds the headers that say whose request it was and where its limits stand.
pub(crate) fn describe(
    answer: &mut Answer,
    dialect: Dialect,
    org: u64,
    shown: &Shown,
    now: Timestamp,
) {
    let readings: &[Reading] = match shown {
        Shown::Plenty => &PLENTY,
        Shown::Stated(readings) => readings,
        Shown::Nothing => &[],
    };
    match dialect {
        Dialect::Anthropic => {
            answer.line("anthropic-organization-id", Org(org));
            for reading in readings {
                anthropic_lines(answer, reading, now);
            }
        }
        Dialect::OpenAi => {
            answer.line("openai-organization", format_args!("org-{org:016x}"));
            answer.line("openai-processing-ms", 7);
            answer.line("openai-version", "2020-10-01");
            for reading in readings {
                openai_lines(answer, reading);
            }
        }
        Dialect::Generic => {}
    }
}

/// An organisation's id as Anthropic writes it.
pub(crate) struct Org(pub(crate) u64);

impl std::fmt::Display for Org {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(id) = self;
        write!(
            f,
            "{:08x}-{:04x}-4000-8000-{:012x}",
            id >> 32,
            id >> 16 & 0xffff,
            id & 0xffff_ffff_ffff
        )
    }
}

fn anthropic_lines(answer: &mut Answer, reading: &Reading, now: Timestamp) {
    let name = match reading.dimension {
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens => "input-tokens",
        Dimension::OutputTokens => "output-tokens",
        Dimension::Concurrency => return,
    };
    // Large token counts are told in thousands.
    let remaining = if reading.limit >= 100_000 && reading.dimension != Dimension::Requests {
        reading.remaining / 1_000 * 1_000
    } else {
        reading.remaining
    };
    let reset = Rfc3339(now + reading.full_in, Precision::Second);
    answer.line(
        format_args!("anthropic-ratelimit-{name}-limit"),
        reading.limit,
    );
    answer.line(
        format_args!("anthropic-ratelimit-{name}-remaining"),
        remaining,
    );
    answer.line(format_args!("anthropic-ratelimit-{name}-reset"), reset);
}

fn openai_lines(answer: &mut Answer, reading: &Reading) {
    let name = match reading.dimension {
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens | Dimension::OutputTokens | Dimension::Concurrency => return,
    };
    let reset = GoDuration(reading.full_in);
    answer.line(format_args!("x-ratelimit-limit-{name}"), reading.limit);
    answer.line(
        format_args!("x-ratelimit-remaining-{name}"),
        reading.remaining,
    );
    answer.line(format_args!("x-ratelimit-reset-{name}"), reset);
}
