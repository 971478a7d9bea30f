//! The errors that a script asks for, in each dialect's words: as answers of their own, or in the place of the rest of
//! a stream.

use super::refusal::body;
use super::{CREATED, Quoted};
use crate::scripted::answer::{Answer, Events, Payload};
use crate::scripted::ask::{Dialect, Operation};
use crate::scripted::rule::ErrorKind;

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
            CREATED,
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
