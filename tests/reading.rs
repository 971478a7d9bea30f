//! Reading along answers: the corpus's streams and our own, in any cut, compressed or not. What is expected of the
//! corpus is the corpus's word; what an event is to a commit is SPEC C9's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

use authpool::core::dialect::Dialect;
use authpool::core::dialect::endpoint::Endpoint;
use authpool::core::dialect::flavour::Flavour;
use authpool::core::dialect::read::body::{BodyReader, Kind, Progress};
use authpool::core::ledger::usage::Usage;
use authpool::core::time::WallTime;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;

const SSE: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

#[derive(Clone)]
struct Answer {
    dialect: Dialect,
    flavour: Flavour,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// All that a reader tells.
#[derive(Debug, PartialEq)]
struct Told {
    kind: Kind,
    progress: Progress,
    usage: Usage,
    response_id: Option<String>,
    at_boundary: bool,
}

impl Answer {
    fn new(dialect: Dialect, endpoint: Endpoint, content_type: &str, body: &str) -> Self {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert("content-type", HeaderValue::from_str(content_type).unwrap());
        }
        Self {
            dialect,
            flavour: Flavour::of(dialect, ""),
            endpoint,
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    fn messages(body: &str) -> Self {
        Self::new(Dialect::Anthropic, Endpoint::Messages, SSE, body)
    }

    fn chat(body: &str) -> Self {
        Self::new(Dialect::OpenAi, Endpoint::ChatCompletions, SSE, body)
    }

    fn responses(body: &str) -> Self {
        Self::new(Dialect::OpenAi, Endpoint::Responses, SSE, body)
    }

    fn json(body: &str) -> Self {
        Self::new(Dialect::OpenAi, Endpoint::ChatCompletions, JSON, body)
    }

    fn coded(mut self, coding: &str) -> Self {
        let coded = match coding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&self.body).unwrap();
                encoder.finish().unwrap()
            }
            "raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&self.body).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&self.body).unwrap();
                encoder.finish().unwrap()
            }
        };
        self.body = coded;
        let name = if coding == "gzip" { "gzip" } else { "deflate" };
        self.headers
            .insert("content-encoding", HeaderValue::from_static(name));
        self
    }

    fn reader(&self) -> BodyReader {
        let at = WallTime::from_micros(1_790_000_000_000_000);
        BodyReader::new(self.dialect, self.flavour, self.endpoint, &self.headers, at)
    }

    fn read(&self, lengths: &[usize]) -> Told {
        let mut reader = self.reader();
        let mut rest = &*self.body;
        for &length in lengths.iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            assert_eq!(reader.feed(piece), reader.progress());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Told {
            kind: reader.kind(),
            progress: reader.progress(),
            usage: reader.usage(),
            response_id: reader.response_id().map(str::to_owned),
            at_boundary: reader.at_event_boundary(),
        }
    }

    /// Whole and byte by byte.
    #[track_caller]
    fn told(&self) -> Told {
        let whole = self.read(&[self.body.len().max(1)]);
        assert_eq!(whole, self.read(&[1]));
        whole
    }
}

/// What one event is, first in its stream.
#[track_caller]
fn check(answer: &Answer, content: bool, terminal: bool) {
    let progress = answer.told().progress;
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(
        (progress.content, progress.terminal),
        (content, terminal),
        "{body}"
    );
    assert_eq!(progress.error, None, "{body}");
}

// C9: Anthropic `message_start`, `ping`; comments
#[test]
fn anthropics_lifecycle_events_are_told_from_content() {
    let event = |name: &str| {
        Answer::messages(&format!(
            "event: {name}\ndata: {{\"type\":\"{name}\",\"index\":0}}\n\n"
        ))
    };
    let unnamed = |name: &str| Answer::messages(&format!("data: {{ \"type\" : \"{name}\"}}\n\n"));
    for name in ["message_start", "ping"] {
        check(&event(name), false, false);
        check(&unnamed(name), false, false);
    }
    for name in [
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "new_event",
    ] {
        check(&event(name), true, false);
        check(&unnamed(name), true, false);
    }
    check(&event("message_stop"), true, true);
    check(&unnamed("message_stop"), true, true);
    check(&Answer::messages(": keep alive\n\n: more\n"), false, false);
    check(&Answer::messages("data:\n\n"), false, false);
}

// C9: Responses `response.created`, `queued`, `in_progress`
#[test]
fn lifecycle_events_of_responses_are_told_from_content() {
    let event = |name: &str| {
        let data = format!("{{\"type\":\"{name}\",\"response\":{{\"id\":\"r1\",\"error\":null}}}}");
        Answer::responses(&format!("event: {name}\ndata: {data}\n\n"))
    };
    let unnamed = |name: &str| {
        Answer::responses(&format!(
            "data: {{\"sequence_number\":0,\"type\":\"{name}\"}}\n\n"
        ))
    };
    for name in [
        "response.created",
        "response.queued",
        "response.in_progress",
    ] {
        check(&event(name), false, false);
        check(&unnamed(name), false, false);
    }
    for name in ["response.output_item.added", "response.output_text.delta"] {
        check(&event(name), true, false);
        check(&unnamed(name), true, false);
    }
    for name in ["response.completed", "response.incomplete"] {
        check(&event(name), true, true);
        check(&unnamed(name), true, true);
    }
}

// C9: a chat chunk without text, tool call or refusal; reasoning text counts as text
#[test]
fn a_chat_chunk_without_output_is_lifecycle() {
    let chunk = |choices: &str| {
        Answer::chat(&format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":{choices},\"usage\":null}}\n\n"
        ))
    };
    for choices in [
        "[]",
        r#"[{"index":0,"delta":{"role":"assistant"}}]"#,
        r#"[{"index":0,"delta":{"role":"assistant","content":"","refusal":null,"tool_calls":[]}}]"#,
        r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#,
        r#"[{"index":0,"text":"","finish_reason":null}]"#,
    ] {
        check(&chunk(choices), false, false);
    }
    for choices in [
        r#"[{"index":0,"delta":{"content":"T"}}]"#,
        r#"[{"index":0,"delta":{"content":null}},{"index":1,"delta":{"content":"T"}}]"#,
        r#"[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t"}]}}]"#,
        r#"[{"index":0,"delta":{"refusal":"no"}}]"#,
        r#"[{"index":0,"delta":{"content":"","reasoning_content":"hm"}}]"#,
        r#"[{"index":0,"delta":{"content":"","reasoning":"hm"}}]"#,
        r#"[{"index":0,"text":"T"}]"#,
    ] {
        check(&chunk(choices), true, false);
    }
    check(&Answer::chat("data: [DONE]\n\n"), true, true);
    check(&Answer::chat("data: {\"anything\":1}\n\n"), true, false);
    check(&Answer::chat("data: not json\n\n"), true, false);
}

/// Bodies that say nothing of an error though they speak of them.
const QUOTES: [&str; 6] = [
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\
     \"text\":\"event: error data: {\\\"type\\\":\\\"error\\\",\\\"error\\\":{\\\"type\\\":\\\"rate_limit_error\\\"}}\"}}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"error\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\",\"error\":{\"message\":\"Rate limit reached\"}}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":{\\\"code\\\":\\\"rate_limit_exceeded\\\"}}\"}}],\"error\":null}\n\n",
    "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"response.failed\",\
     \"error\":{\"x\":1}}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"error\":null,\
     \"output\":[{\"error\":{\"code\":\"rate_limit_exceeded\"}}]}}\n\n",
];

// D2: the structure decides
#[test]
fn a_model_that_quotes_an_error_makes_none() {
    for body in QUOTES {
        let progress = Answer::chat(body).told().progress;
        assert_eq!(progress.error, None, "{body}");
        assert!(progress.content, "{body}");
    }
}

const ERRORS: [&str; 6] = [
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
    "data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}\n\n",
    "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\"}}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"\"}}],\"error\":{\"code\":502,\"message\":\"m\"}}\n\n",
    "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\
     \"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n",
    "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\",\"param\":null}\n\n",
];

// D2, C9
#[test]
fn an_error_event_is_seen_before_content_and_after_it() {
    let starts = [
        ("", false),
        (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n",
            false,
        ),
        (
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n",
            false,
        ),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            true,
        ),
    ];
    for error in ERRORS {
        for (start, content) in starts {
            for end in [
                "",
                "data: [DONE]\n\n",
                "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            ] {
                let body = [start, error, end].concat();
                let progress = Answer::responses(&body).told().progress;
                assert!(progress.error.is_some(), "{body}");
                assert_eq!(progress.content, content, "{body}");
            }
        }
    }
}

// D2
#[test]
fn of_several_errors_the_first_counts() {
    let overloaded = Answer::messages(ERRORS[0]).told().progress;
    let both = Answer::messages(&[ERRORS[0], ERRORS[1]].concat());
    assert_eq!(both.told().progress, overloaded);
    let other = Answer::messages(&[ERRORS[1], ERRORS[0]].concat());
    assert_ne!(other.told().progress, overloaded);
}

// D2: what failed before is told well
#[test]
fn a_stored_response_that_failed_is_no_error_of_its_reading() {
    let body = r#"{"id":"resp_1","status":"failed","error":{"code":"rate_limit_exceeded"}}"#;
    for (content_type, body) in [(JSON, body), (SSE, ERRORS[4])] {
        let stored = Answer::new(
            Dialect::OpenAi,
            Endpoint::StoredResponse,
            content_type,
            body,
        );
        assert_eq!(stored.told().progress.error, None);
        assert!(stored.told().progress.content);
    }
}

// U1: the last report wins field by field
#[test]
fn usage_is_read_from_streams_of_all_dialects() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\
        \"cache_creation_input_tokens\":2,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":9}}\n\n";
    let expected = |output, reasoning, cache_write| Usage {
        input: Some(10),
        output: Some(output),
        cache_read: Some(3),
        cache_write,
        reasoning,
    };
    assert_eq!(
        Answer::messages(start).told().usage,
        expected(1, None, Some(2))
    );
    assert_eq!(
        Answer::messages(&[start, delta].concat()).told().usage,
        expected(9, None, Some(2)),
    );
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n";
    let chat = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":9,\
        \"prompt_tokens_details\":{\"cached_tokens\":3},\"completion_tokens_details\":{\"reasoning_tokens\":4}}}\n\n";
    let told = Answer::chat(&[text, chat, "data: [DONE]\n\n"].concat()).told();
    assert_eq!(told.usage, expected(9, Some(4), None));
    assert!(told.progress.terminal);
    let groq =
        "data: {\"choices\":[],\"x_groq\":{\"id\":\"q\",\"usage\":{\"prompt_tokens\":10}}}\n\n";
    assert_eq!(
        Answer::chat(&[text, groq].concat()).told().usage.input,
        Some(10)
    );
    let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"},\
        \"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":3},\"output_tokens\":9,\
        \"output_tokens_details\":{\"reasoning_tokens\":4}}}}\n\n";
    assert_eq!(
        Answer::responses(failed).told().usage,
        expected(9, Some(4), None)
    );
}

// U1: unknown is unknown, never zero
#[test]
fn what_is_no_report_is_not_taken_for_one() {
    for body in [
        "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"usage\":{\"prompt_tokens\":1}}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{}}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":\"ten\",\"completion_tokens\":-1}}\n\n",
        "data: {\"choices\":[],\"usage\":7}\n\n",
    ] {
        assert!(Answer::chat(body).told().usage.is_unknown(), "{body}");
    }
    let partly =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":\"ten\",\"completion_tokens\":1}}\n\n";
    let usage = Answer::chat(partly).told().usage;
    assert_eq!((usage.input, usage.output), (None, Some(1)));
}

// U1: the aborted and truncated are counted with what was seen
#[test]
fn json_is_read_while_it_passes() {
    let body = "{\"id\":\"c\",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6},\"choices\":[{\"message\":{\"content\":\"x\"}}]}";
    let told = Answer::json(body).told();
    assert_eq!(told.kind, Kind::Json);
    assert_eq!((told.usage.input, told.usage.output), (Some(5), Some(6)));
    assert!(told.progress.content && told.progress.terminal);
    assert_eq!(told.response_id, None);
    let told = Answer::json(body.split_at(body.len() - 2).0).told();
    assert_eq!((told.usage.input, told.usage.output), (Some(5), Some(6)));
    assert_eq!(told.progress, Progress::default());
    let embedding = format!(
        "{{\"data\":[{{\"embedding\":[{}0.5]}}],\"usage\":{{\"prompt_tokens\":5,\"total_tokens\":5}}}}",
        "-0.0123456,".repeat(20_000)
    );
    let told = Answer::new(Dialect::OpenAi, Endpoint::Embeddings, JSON, &embedding).told();
    assert_eq!((told.usage.input, told.usage.output), (Some(5), None));
}

// D2, corpus rule 1: a 200 may carry an error
#[test]
fn json_with_an_outermost_error_is_an_error() {
    for (body, expected) in [
        (
            r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
            true,
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            true,
        ),
        (r#"{"error":null,"id":"r"}"#, false),
        (r#"{"output":{"error":{"message":"m"}}}"#, false),
        (r#"{"text":"{\"error\":{}}"}"#, false),
    ] {
        let progress = Answer::json(body).told().progress;
        assert_eq!(progress.error.is_some(), expected, "{body}");
        assert_eq!(progress.content, !expected, "{body}");
    }
}

// C9: a JSON array, at its first element
#[test]
fn an_array_commits_at_its_first_element() {
    let array = |body: &str| Answer::json(body).told();
    assert_eq!(array(" [").kind, Kind::JsonArray);
    assert!(!array("[{\"a\":").progress.content);
    assert!(array("[{\"a\":1}").progress.content);
    assert!(!array("[{\"a\":1},").progress.terminal);
    assert!(array("[{\"a\":1},2,[3],\"]\"]").progress.terminal);
    let told = array("[{\"error\":{\"code\":429,\"message\":\"m\"}}]");
    assert!(told.progress.error.is_some() && !told.progress.content);
    let told = array("[{\"usage\":{\"input_tokens\":1}},{\"usage\":{\"output_tokens\":2}}]");
    assert_eq!((told.usage.input, told.usage.output), (Some(1), Some(2)));
}

// S3: response ids
#[test]
fn a_stored_response_is_known_by_its_id() {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n";
    let later = "event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"response\":{\"id\":\"resp_2\"}}\n\n";
    let told = Answer::responses(&[created, later].concat()).told();
    assert_eq!(told.response_id.as_deref(), Some("resp_1"));
    assert_eq!(Answer::chat(created).told().response_id, None);
    let body = r#"{"id":"resp_3","object":"response","output":[{"id":"no"}]}"#;
    let json = Answer::new(Dialect::OpenAi, Endpoint::Responses, JSON, body).told();
    assert_eq!(json.response_id.as_deref(), Some("resp_3"));
    let array = Answer::new(
        Dialect::OpenAi,
        Endpoint::Responses,
        JSON,
        &format!("[{body}]"),
    );
    assert_eq!(array.told().response_id, None);
}

// Corpus rule 2: parse the body by what it is
#[test]
fn a_type_that_lies_is_found_out() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n";
    let json = "{\"usage\":{\"prompt_tokens\":5}}";
    for (content_type, body, kind) in [
        (SSE, stream, Kind::Sse),
        (JSON, stream, Kind::Sse),
        ("", stream, Kind::Opaque),
        ("text/plain", stream, Kind::Opaque),
        ("audio/mpeg", stream, Kind::Opaque),
        (JSON, json, Kind::Json),
        ("application/problem+json", json, Kind::Json),
        ("Application/JSON; charset=utf-8", json, Kind::Json),
        (SSE, json, Kind::Json),
        ("", json, Kind::Json),
        ("text/plain", json, Kind::Json),
        ("audio/mpeg", json, Kind::Opaque),
        (JSON, "\"text\"", Kind::Json),
        (JSON, "", Kind::Json),
        (SSE, "", Kind::Sse),
    ] {
        let answer = Answer::new(
            Dialect::OpenAi,
            Endpoint::ChatCompletions,
            content_type,
            body,
        );
        let told = answer.told();
        assert_eq!(told.kind, kind, "{content_type} {body}");
        let read = kind == Kind::Sse || (kind == Kind::Json && body == json);
        assert_eq!(
            told.progress.terminal,
            read && !body.is_empty(),
            "{content_type} {body}"
        );
    }
}

// C9: an error event of ours follows where nothing is pending
#[test]
fn only_between_events_may_one_of_ours_follow() {
    for (body, expected) in [
        ("", true),
        ("data: 1\n\n", true),
        ("data: 1\n", false),
        ("event: content_block_delta\n", false),
    ] {
        assert_eq!(
            Answer::messages(body).told().at_boundary,
            expected,
            "{body:?}"
        );
    }
    assert!(!Answer::json("{}").told().at_boundary);
}

// U1, C9
#[test]
fn the_last_event_counts_at_the_end_without_its_blank_line() {
    let mut reader = Answer::chat("").reader();
    assert!(!reader.feed(b"data: [DONE]").terminal);
    assert!(reader.end().terminal);
}

// U1: an event over the bound is read in parts; a Responses stream echoes its prompt in it
#[test]
fn events_of_any_size_are_read() {
    let long = "x".repeat(300_000);
    let response = |name: &str, rest: &str| {
        format!(
            "event: {name}\ndata: {{\"type\":\"{name}\",\"response\":{{\"id\":\"resp_1\",\
             \"instructions\":\"{long}\",\"output\":[{{\"usage\":1}}],{rest}}}}}\n\n"
        )
    };
    let created = response("response.created", "\"error\":null");
    let completed = response(
        "response.completed",
        "\"usage\":{\"input_tokens\":7,\"output_tokens\":8}",
    );
    let failed = response(
        "response.failed",
        "\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}",
    );
    let read = |bodies: &[&String]| {
        let answer =
            Answer::responses(&bodies.iter().map(|body| body.as_str()).collect::<String>());
        let told = answer.read(&[answer.body.len()]);
        assert_eq!(told, answer.read(&[1448]));
        assert_eq!(told, answer.read(&[16_384, 3]));
        told
    };
    let told = read(&[&created]);
    assert_eq!(told.progress, Progress::default());
    assert_eq!(told.response_id.as_deref(), Some("resp_1"));
    let told = read(&[&created, &completed]);
    assert!(told.progress.content && told.progress.terminal);
    assert_eq!((told.usage.input, told.usage.output), (Some(7), Some(8)));
    let told = read(&[&created, &failed]);
    assert!(told.progress.error.is_some() && !told.progress.content);
    let chunk = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
    assert!(read(&[&chunk]).progress.content);
}

// F1: an answer compressed anyway is decoded aside
#[test]
fn compressed_answers_are_read_like_others() {
    for answer in [
        Answer::messages(ERRORS[0]),
        Answer::chat(QUOTES[3]),
        Answer::json("{\"usage\":{\"prompt_tokens\":5}}"),
    ] {
        let plain = answer.told();
        for coding in ["gzip", "zlib", "raw"] {
            let coded = answer.clone().coded(coding);
            assert_eq!(coded.told(), plain, "{coding}");
            assert!(!coded.reader().is_identity());
        }
        assert!(answer.reader().is_identity());
    }
}

// F3: each event is read as it comes, also from a compressor that is flushed after each
#[test]
fn a_compressed_event_is_read_when_it_was_flushed() {
    let mut answer = Answer::messages("").coded("gzip");
    answer.body.clear();
    let mut reader = answer.reader();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(b"event: message_start\ndata: {\"type\":\"message_start\"}\n\n")
        .unwrap();
    encoder.flush().unwrap();
    assert!(!reader.feed(&std::mem::take(encoder.get_mut())).content);
    encoder
        .write_all(b"event: content_block_delta\ndata: {}\n\n")
        .unwrap();
    encoder.flush().unwrap();
    assert!(reader.feed(&std::mem::take(encoder.get_mut())).content);
    assert_eq!(reader.kind(), Kind::Sse);
}

// F1: bounded
#[test]
fn a_body_that_decodes_to_far_more_is_given_up() {
    let bomb = format!("{}data: [DONE]\n\n", "\n".repeat(16 << 20));
    let answer = Answer::messages(&bomb).coded("gzip");
    assert!(answer.body.len() * 100 < bomb.len());
    let told = answer.read(&[answer.body.len()]);
    assert_eq!(told.progress, Progress::default());
}

// F1: what we cannot decode passes
#[test]
fn a_broken_or_unknown_coding_is_not_read() {
    let stream = "data: [DONE]\n\n";
    for (coding, kind) in [
        ("br", Kind::Opaque),
        ("gzip, gzip", Kind::Opaque),
        ("gzip", Kind::Sse),
    ] {
        let mut answer = Answer::chat(stream);
        answer
            .headers
            .insert("content-encoding", HeaderValue::from_static(coding));
        let told = answer.told();
        assert_eq!(told.kind, kind, "{coding}");
        assert_eq!(told.progress, Progress::default(), "{coding}");
        assert!(!answer.reader().is_identity(), "{coding}");
    }
    let mut answer = Answer::chat(stream);
    answer
        .headers
        .insert("content-encoding", HeaderValue::from_static("identity"));
    assert!(answer.told().progress.terminal && answer.reader().is_identity());
    let mut answer = Answer::chat(stream).coded("gzip");
    answer.body.extend_from_slice(b"trailing garbage");
    assert!(answer.told().progress.terminal);
}

fn corpus() -> Vec<Value> {
    include_str!("corpus/responses.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A served answer of the corpus that is text; `None`: another.
fn answer_of(case: &Value) -> Option<Answer> {
    let body = case["body"].as_str().unwrap();
    let provider = case["provider"].as_str().unwrap();
    let (dialect, endpoint) = match provider {
        "anthropic" | "claude-subscription" => (Dialect::Anthropic, Endpoint::Messages),
        _ if body.contains("\"response.") => (Dialect::OpenAi, Endpoint::Responses),
        _ => (Dialect::OpenAi, Endpoint::ChatCompletions),
    };
    if case["status"] != 200 || case["body_encoding"] == "base64" {
        return None;
    }
    let mut headers = HeaderMap::new();
    for header in case["headers"].as_array().unwrap() {
        let name: http::HeaderName = header[0].as_str().unwrap().parse().unwrap();
        headers.append(name, header[1].as_str().unwrap().parse().unwrap());
    }
    Some(Answer {
        dialect,
        flavour: Flavour::parse(provider).unwrap(),
        endpoint,
        headers,
        body: body.as_bytes().to_vec(),
    })
}

/// The corpus's usage; a zero where a cache was not reported is fine by the corpus.
#[track_caller]
fn check_usage(case: &Value, usage: Usage) {
    let expected = &case["expect"]["usage"];
    let read = |read: Option<u64>, name: &str| {
        assert_eq!(read, expected[name].as_u64(), "{} {name}", case["id"]);
    };
    read(usage.input, "input_tokens");
    read(usage.output, "output_tokens");
    for (count, name) in [
        (usage.cache_read, "cache_read_tokens"),
        (usage.cache_write, "cache_write_tokens"),
    ] {
        if count != Some(0) {
            read(count, name);
        }
    }
}

// D1, D2, U1
#[test]
fn the_corpus_answers_give_the_expected_class_and_usage_in_any_cut() {
    let (mut streams, mut answers) = (0, 0);
    for case in corpus() {
        let Some(answer) = answer_of(&case) else {
            continue;
        };
        let told = answer.told();
        let class = told
            .progress
            .error
            .map_or("ok", |verdict| verdict.class.name());
        assert_eq!(class, case["expect"]["class"], "{}", case["id"]);
        check_usage(&case, told.usage);
        for coding in ["gzip", "zlib", "raw"] {
            assert_eq!(
                answer.clone().coded(coding).read(&[7, 100]),
                told,
                "{}",
                case["id"]
            );
        }
        answers += 1;
        streams += usize::from(case["stream"] == true);
    }
    assert!(streams >= 9 && answers >= 40, "{streams} {answers}");
}

fn bodies() -> Vec<Answer> {
    let mut answers: Vec<_> = corpus().iter().filter_map(answer_of).collect();
    answers.extend(
        ERRORS
            .iter()
            .chain(&QUOTES)
            .map(|body| Answer::responses(body)),
    );
    answers
}

proptest! {
    // F3, U1, D2
    #[test]
    fn however_an_answer_is_cut_it_says_the_same(
        at in any::<prop::sample::Index>(),
        mut lengths in prop::collection::vec(prop_oneof![4 => 0usize..9, 1 => 9usize..900], 1..8),
        broken_off in prop::option::of(any::<prop::sample::Index>()),
        coding in prop::option::of(prop::sample::select(vec!["gzip", "zlib", "raw"])),
    ) {
        lengths.push(1);
        let mut answer = at.get(&bodies()).clone();
        if let Some(end) = broken_off {
            answer.body.truncate(end.index(answer.body.len() + 1));
        }
        let plain = answer.read(&[answer.body.len().max(1)]);
        prop_assert_eq!(&answer.read(&lengths), &plain);
        if let Some(coding) = coding {
            prop_assert_eq!(&answer.coded(coding).read(&lengths), &plain);
        }
    }

    // D2, STYLE, hot path: past a bound stop parsing, never fail
    #[test]
    fn whatever_comes_the_reader_does_not_fail(
        body in prop::collection::vec(any::<u8>(), 0..200),
        content_type in prop::sample::select(vec![SSE, JSON, ""]),
        coding in prop::sample::select(vec!["identity", "gzip", "deflate"]),
        lengths in prop::collection::vec(1usize..50, 1..4),
    ) {
        let mut answer = Answer::new(Dialect::OpenAi, Endpoint::Responses, content_type, "");
        answer.headers.insert("content-encoding", HeaderValue::from_static(coding));
        answer.body = body;
        answer.read(&lengths);
    }
}
