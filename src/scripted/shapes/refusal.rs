//! How providers word what they refuse: limits, errors before and within a stream, and the headers that show where a
//! limit stands.

use std::time::Duration;

use serde_json::{Value, json};

use super::Quoted;
use crate::core::time::Timestamp;
use crate::scripted::answer::{Answer, Events, Payload};
use crate::scripted::ask::{Ask, Dialect, Operation, digest};
use crate::scripted::dates::{GoDuration, Precision, Rfc3339};
use crate::scripted::limits::{Dimension, Reading, Refusal};
use crate::scripted::rule::ErrorKind;

/// An error in the dialect's words.
pub(crate) fn error(dialect: Dialect, status: u16, kind: &str, message: &str) -> Answer {
    Answer::json(status, body(dialect, kind, None, message).to_string())
}

fn body(dialect: Dialect, kind: &str, code: Option<&str>, message: &str) -> Value {
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

/// Adds the headers that say whose request it was and where its limits stand; empty readings are plenty.
pub(crate) fn describe(
    answer: &mut Answer,
    dialect: Dialect,
    org: u64,
    readings: &[Reading],
    now: Timestamp,
) {
    let readings = if readings.is_empty() {
        &PLENTY
    } else {
        readings
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

/// An error that a script asks for, in the dialect's words.
#[derive(Clone, Copy)]
struct Words {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: &'static str,
}

const fn words(dialect: Dialect, kind: ErrorKind) -> Words {
    let (status, kind, code, message) = match (dialect, kind) {
        (Dialect::Anthropic, ErrorKind::RateLimit) => (
            429,
            "rate_limit_error",
            "",
            "Number of request tokens has exceeded your per-minute rate limit",
        ),
        (Dialect::Anthropic, ErrorKind::Overloaded) => (529, "overloaded_error", "", "Overloaded"),
        (Dialect::Anthropic, ErrorKind::Server) => (500, "api_error", "", "Internal server error"),
        (_, ErrorKind::RateLimit) => (
            429,
            "tokens",
            "rate_limit_exceeded",
            "Rate limit reached on tokens per min (TPM). Please try again in 2s.",
        ),
        (_, ErrorKind::Overloaded) => (
            503,
            "server_error",
            "server_is_overloaded",
            "Our servers are currently overloaded. Please try again later.",
        ),
        (_, ErrorKind::Server) => (
            500,
            "server_error",
            "server_error",
            "The server had an error while processing your request. Sorry about that!",
        ),
    };
    Words {
        status,
        kind,
        code,
        message,
    }
}

/// The error as an answer of its own.
pub(crate) fn scripted(dialect: Dialect, kind: ErrorKind) -> Answer {
    let words = words(dialect, kind);
    let body = body(dialect, words.kind, Some(words.code), words.message);
    Answer::json(words.status, body.to_string())
}

/// Puts an error event in the place of the rest of a stream: before its content where `after` is 0, else after so
/// many events of content. An answer that is no stream becomes the error itself.
pub(crate) fn break_off(
    answer: &mut Answer,
    operation: &Operation,
    kind: ErrorKind,
    after: usize,
    id: u64,
) {
    let dialect = operation.dialect(false);
    let Payload::Events(events) = &mut answer.payload else {
        *answer = scripted(dialect, kind);
        return;
    };
    let at = match (after, operation) {
        // Only the first word of the stream goes before: `message_start`, `response.created`, nothing in chat.
        (0, Operation::Chat | Operation::Completions) => 0,
        (0, _) => 1,
        _ => (events.content.start + after).min(events.content.end),
    };
    events.truncate(at);
    let words = words(dialect, kind);
    match operation {
        Operation::Responses => failed(events, id, words),
        Operation::Messages => events.event(
            "error",
            format_args!("{}", body(dialect, words.kind, None, words.message)),
        ),
        _ => events.event(
            "",
            format_args!(
                "{}",
                body(dialect, words.kind, Some(words.code), words.message)
            ),
        ),
    }
    answer.refused = true;
}

fn failed(events: &mut Events, id: u64, words: Words) {
    let number = events.len();
    events.event(
        "response.failed",
        format_args!(
            "{{\"type\":\"response.failed\",\"sequence_number\":{number},\"response\":{{\"id\":\"resp_{id:016x}\",\
             \"object\":\"response\",\"created_at\":{},\"status\":\"failed\",\"error\":{{\"code\":{},\"message\":{}}},\
             \"incomplete_details\":null,\"model\":\"scripted-1\",\"output\":[],\"parallel_tool_calls\":true,\
             \"tool_choice\":\"auto\",\"tools\":[],\"usage\":null,\"metadata\":{{}}}}}}",
            super::CREATED,
            Quoted::new(words.code),
            Quoted::new(words.message),
        ),
    );
}

/// The page of something in between.
pub(crate) fn html_403() -> Answer {
    const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>Just a moment...</title></head>\
         <body><h1>403 Forbidden</h1><p>Sorry, you have been blocked.</p></body></html>\n";
    let mut answer = Answer::new(403, "text/html; charset=UTF-8", Payload::Whole(PAGE.into()));
    answer.line("server", "cloudflare");
    answer
}
