//! What a request says of where it should go: model, stream, tokens, what names its conversation. Reads a JSON
//! object member by member as the body arrives and keeps a few strings; a body that is anything else (multipart,
//! gzip, binary, an array) is not read at all. Whether a fault refuses the request is the proxy's to decide; the law
//! kept here is K7's: a body that could name one model to us and another to the provider has a fault.

use std::ops::{ControlFlow, Range};

use super::json::Scanner;
use super::table::{Member, Take, Value, Visitor};

/// The longest model name in bytes.
pub const MAX_MODEL: usize = 256;
/// The longest value that may name a session, in bytes without escapes; a longer one names none.
pub const MAX_SESSION: usize = 1024;

/// What a request's body said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model as the client writes it; `None`: none was named, or `null`.
    pub model: Option<String>,
    /// Where the body has the string that `model` was read from, in bytes, its quotes counted.
    pub model_at: Option<Range<u64>>,
    /// The first fault found; reading stopped there.
    pub fault: Option<RequestFault>,
    /// Whether `stream` is `true`.
    pub stream: bool,
    /// The bound on output tokens: `max_completion_tokens`, else `max_output_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    /// `conversation`, or its `id`.
    pub conversation: Option<String>,
    /// The stored response that this one continues.
    pub previous_response_id: Option<String>,
    /// `metadata.user_id`.
    pub user_id: Option<String>,
    /// `prompt_cache_key`.
    pub prompt_cache_key: Option<String>,
}

/// What is wrong with how a body names its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// `model` is there twice, escapes in the key and the case of its letters notwithstanding: two readers may
    /// choose differently.
    #[error("the body names `model` twice")]
    DuplicateModel,
    /// `model` is a number, `true`, `false`, an object or an array.
    #[error("`model` is not a string")]
    ModelNotText,
    /// `model` is over [`MAX_MODEL`] bytes.
    #[error("`model` is longer than {MAX_MODEL} bytes")]
    ModelTooLong,
}

/// Reads one request body, fed piece by piece.
#[derive(Debug)]
pub struct RequestReader {
    scanner: Scanner<Tag>,
    reading: Reading,
}

#[derive(Debug, Default)]
struct Reading {
    facts: RequestFacts,
    models: u32,
    max_tokens: [Option<u64>; 3],
}

#[derive(Clone, Copy, Debug)]
enum Tag {
    Model,
    ModelInAnotherCase,
    Stream,
    MaxTokens(usize),
    Conversation,
    ConversationId,
    PreviousResponse,
    Metadata,
    UserId,
    PromptCacheKey,
}

const fn member(key: &'static str, tag: Tag, limit: usize) -> Member<Tag> {
    Member {
        key,
        any_case: false,
        tag,
        take: Take::Text(limit),
        inside: &[],
    }
}

const MEMBERS: &[Member<Tag>] = &[
    member("model", Tag::Model, MAX_MODEL),
    Member {
        any_case: true,
        ..member("model", Tag::ModelInAnotherCase, 0)
    },
    member("stream", Tag::Stream, 0),
    member("max_completion_tokens", Tag::MaxTokens(0), 0),
    member("max_output_tokens", Tag::MaxTokens(1), 0),
    member("max_tokens", Tag::MaxTokens(2), 0),
    Member {
        inside: &[member("id", Tag::ConversationId, MAX_SESSION)],
        ..member("conversation", Tag::Conversation, MAX_SESSION)
    },
    member("previous_response_id", Tag::PreviousResponse, MAX_SESSION),
    Member {
        inside: &[member("user_id", Tag::UserId, MAX_SESSION)],
        ..member("metadata", Tag::Metadata, 0)
    },
    member("prompt_cache_key", Tag::PromptCacheKey, MAX_SESSION),
];

impl RequestReader {
    /// Before the first byte.
    #[expect(
        clippy::new_without_default,
        reason = "a reader is begun, there is no default one"
    )]
    pub fn new() -> Self {
        Self {
            scanner: Scanner::new(MEMBERS, false),
            reading: Reading::default(),
        }
    }

    /// The next bytes of the body. Past the end of its JSON object, or what cannot be one, this costs nothing.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes, &mut self.reading);
    }

    /// What was read, also of a body that broke off or was not valid.
    pub fn finish(self) -> RequestFacts {
        let mut facts = self.reading.facts;
        facts.max_tokens = self.reading.max_tokens.into_iter().flatten().next();
        facts
    }

    /// The model, as soon as it was read. A second one may yet come: then there is a [`fault`](Self::fault).
    pub fn model(&self) -> Option<&str> {
        self.reading.facts.model.as_deref()
    }

    /// The first fault, as soon as it is known.
    pub fn fault(&self) -> Option<RequestFault> {
        self.reading.facts.fault
    }
}

impl Visitor<Tag> for Reading {
    fn place(&mut self, tag: Tag, bytes: Range<u64>) {
        // A second `model` is a fault: then the place is of no use.
        if matches!(tag, Tag::Model) {
            self.facts.model_at = Some(bytes);
        }
    }

    fn value(&mut self, tag: Tag, value: Value<'_>) -> ControlFlow<()> {
        let facts = &mut self.facts;
        match tag {
            Tag::Model | Tag::ModelInAnotherCase => return self.model(tag, value),
            // Of what is named twice the last counts, as for most parsers.
            Tag::Stream => facts.stream = value == Value::Scalar(b"true"),
            Tag::MaxTokens(slot) => {
                if let Some(slot) = self.max_tokens.get_mut(slot) {
                    *slot = number(value);
                }
            }
            Tag::Conversation | Tag::ConversationId => facts.conversation = session(value),
            Tag::PreviousResponse => facts.previous_response_id = session(value),
            Tag::Metadata => facts.user_id = None,
            Tag::UserId => facts.user_id = session(value),
            Tag::PromptCacheKey => facts.prompt_cache_key = session(value),
        }
        ControlFlow::Continue(())
    }
}

impl Reading {
    fn model(&mut self, tag: Tag, value: Value<'_>) -> ControlFlow<()> {
        self.models += 1;
        let fault = match (tag, value) {
            _ if self.models > 1 => Some(RequestFault::DuplicateModel),
            (Tag::ModelInAnotherCase, _) => None,
            (_, Value::TooLong) => Some(RequestFault::ModelTooLong),
            (_, Value::Scalar(b"null")) => None,
            (_, Value::Text(_)) => {
                self.facts.model = string(value);
                None
            }
            _ => Some(RequestFault::ModelNotText),
        };
        self.facts.fault = fault;
        match fault {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

/// What may name a session: an empty string names none.
fn session(value: Value<'_>) -> Option<String> {
    string(value).filter(|name| !name.is_empty())
}

/// A string; what is not UTF-8 is replaced, as parsers do.
fn string(value: Value<'_>) -> Option<String> {
    match value {
        Value::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn number(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Scalar(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::core::dialect::read::cuts::{lengths, pieces};

    fn read(body: &[u8], lengths: &[usize]) -> RequestFacts {
        let mut reader = RequestReader::new();
        for piece in pieces(body, lengths) {
            reader.feed(piece);
        }
        reader.finish()
    }

    /// Whole and byte by byte.
    #[track_caller]
    fn facts(body: &str) -> RequestFacts {
        let whole = read(body.as_bytes(), &[body.len().max(1)]);
        assert_eq!(whole, read(body.as_bytes(), &[1]));
        whole
    }

    #[track_caller]
    fn check_fault(body: &str, expected: Option<RequestFault>) {
        assert_eq!(facts(body).fault, expected, "{body}");
    }

    /// What serde_json makes of a body that names no member of interest twice but in the same way. Of a model it does
    /// not know the place.
    fn oracle(body: &str) -> RequestFacts {
        let body: Json = serde_json::from_str(body).unwrap();
        let text = |pointer: &str| {
            let text = body.pointer(pointer)?.as_str()?;
            (!text.is_empty() && text.len() <= MAX_SESSION).then(|| text.to_owned())
        };
        let number = |name: &str| body.get(name)?.as_u64();
        let (model, fault) = match body.get("model") {
            None | Some(Json::Null) => (None, None),
            Some(Json::String(name)) if name.len() > MAX_MODEL => {
                (None, Some(RequestFault::ModelTooLong))
            }
            Some(Json::String(name)) => (Some(name.clone()), None),
            Some(_) => (None, Some(RequestFault::ModelNotText)),
        };
        RequestFacts {
            model,
            model_at: None,
            fault,
            stream: body.get("stream") == Some(&Json::Bool(true)),
            max_tokens: number("max_completion_tokens")
                .or(number("max_output_tokens"))
                .or(number("max_tokens")),
            conversation: text("/conversation").or(text("/conversation/id")),
            previous_response_id: text("/previous_response_id"),
            user_id: text("/metadata/user_id"),
            prompt_cache_key: text("/prompt_cache_key"),
        }
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => prop::sample::select(vec![
                "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "conversation", "id",
                "previous_response_id", "metadata", "user_id", "prompt_cache_key", "messages", "models", "",
            ]).prop_map(str::to_owned),
            1 => "[a-z\"\\\\é😀\n]{0,4}",
        ]
    }

    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<i32>().prop_map(Json::from),
            any::<f32>().prop_map(Json::from),
            ".{0,12}".prop_map(Json::from),
            "[\"\\\\{}\\[\\]:,\n\u{1}😀]{0,12}".prop_map(Json::from),
            Just(Json::from("m".repeat(MAX_SESSION + 1))),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((key(), inner), 0..4)
                    .prop_map(|members| members.into_iter().collect::<Json>()),
            ]
        })
    }

    /// A string as JSON, in one of the ways to write it.
    fn quoted(text: &str, escaped: bool) -> String {
        if !escaped {
            return Json::from(text).to_string();
        }
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    }

    /// The text of an object whose members may be there twice.
    fn object() -> impl Strategy<Value = (String, usize)> {
        let model = prop_oneof![
            8 => "[a-z0-9.:-]{0,20}".prop_map(Json::from),
            1 => (MAX_MODEL - 1..MAX_MODEL + 2).prop_map(|len| Json::from("m".repeat(len))),
            1 => value(),
        ];
        let members = prop::collection::vec((key(), value(), any::<bool>()), 0..8);
        let models = prop::collection::vec((model, any::<bool>(), any::<bool>()), 0..3);
        (members, models, any::<u64>(), any::<bool>()).prop_map(
            |(members, models, seed, pretty)| {
                let mut written: Vec<String> = Vec::new();
                let space = if pretty { "\r\n\t " } else { "" };
                for (key, value, escaped) in members {
                    let value = if pretty {
                        serde_json::to_string_pretty(&value).unwrap()
                    } else {
                        value.to_string()
                    };
                    written.push(format!("{}{space}:{space}{value}", quoted(&key, escaped)));
                }
                let count = models.len();
                for (model, escaped, odd) in models {
                    let at = usize::try_from(seed).unwrap_or(0) % (written.len() + 1);
                    let at = if odd { at } else { written.len() };
                    let value = match &model {
                        Json::String(name) => quoted(name, escaped),
                        other => other.to_string(),
                    };
                    written.insert(
                        at,
                        format!("{space}{}{space}:{value}", quoted("model", escaped)),
                    );
                }
                let body = written.join(&format!("{space},{space}"));
                (format!("{space}{{{space}{body}{space}}}{space}"), count)
            },
        )
    }

    proptest! {
        // F5, K7, S1
        #[test]
        fn however_a_body_is_cut_its_facts_are_those_of_a_parser(
            (body, models) in object(),
            lengths in lengths(),
        ) {
            let facts = read(body.as_bytes(), &lengths);
            prop_assert_eq!(&facts, &read(body.as_bytes(), &[body.len()]));
            if models > 1 {
                let faults = [RequestFault::DuplicateModel, RequestFault::ModelNotText, RequestFault::ModelTooLong];
                prop_assert!(faults.map(Some).contains(&facts.fault), "{}", body);
            } else if facts.fault.is_none() {
                // F10: the place holds the name and nothing else
                let written = facts.model_at.clone().map(|at| &body[at.start as usize..at.end as usize]);
                let named = written.map(|written| serde_json::from_str::<String>(written).unwrap());
                prop_assert_eq!(&named, &facts.model, "{}", body);
                prop_assert_eq!(RequestFacts { model_at: None, ..facts }, oracle(&body), "{}", body);
            } else {
                prop_assert_eq!(facts.fault, oracle(&body).fault, "{}", body);
            }
        }

        // F1: what we cannot parse we still forward
        #[test]
        fn whatever_comes_the_reader_does_not_fail_and_cuts_change_nothing(
            body in "[ {}\\[\\]:,\"\\\\umodel1né\u{feff}]{0,60}",
            lengths in lengths(),
        ) {
            let body = format!("{{\"model\":{body}");
            prop_assert_eq!(
                read(body.as_bytes(), &lengths),
                read(body.as_bytes(), &[body.len()]),
            );
        }
    }

    // F5, S1
    #[test]
    fn a_body_says_where_it_should_go() {
        let body = json!({
            "model": "claude-opus-4-8", "max_tokens": 1024, "stream": true,
            "metadata": {"user_id": "u-1", "other": {"user_id": "no"}},
            "messages": [{"role": "user", "content": "\"model\": \"no\", {[ \\", "model": "no", "stream": false}],
        });
        let facts = RequestFacts {
            model_at: None,
            ..facts(&body.to_string())
        };
        assert_eq!(facts, oracle(&body.to_string()));
        assert_eq!(facts.model.as_deref(), Some("claude-opus-4-8"));
        assert_eq!(facts.user_id.as_deref(), Some("u-1"));
        assert!(facts.stream);
    }

    // S1
    #[test]
    fn sessions_are_found_in_both_forms() {
        assert_eq!(
            facts(r#"{"conversation":"c1"}"#).conversation.as_deref(),
            Some("c1")
        );
        assert_eq!(
            facts(r#"{"conversation":{"x":[{"id":"no"}],"id":"c2"}}"#)
                .conversation
                .as_deref(),
            Some("c2")
        );
        assert_eq!(
            facts(r#"{"conversation":{"id":"c2"},"conversation":null}"#).conversation,
            None
        );
        assert_eq!(
            facts(r#"{"metadata":{"user_id":"a"},"metadata":{}}"#).user_id,
            None
        );
        assert_eq!(facts(r#"{"prompt_cache_key":""}"#).prompt_cache_key, None);
    }

    // K7
    #[test]
    fn a_model_named_twice_is_a_fault_however_it_is_written() {
        let twice = Some(RequestFault::DuplicateModel);
        check_fault(r#"{"model":"a","model":"a"}"#, twice);
        check_fault(r#"{"model":"a","mod\u0065l":"b"}"#, twice);
        check_fault(r#"{"\u006d\u006F\u0064el":"a","model":"b"}"#, twice);
        check_fault(r#"{"model":"a","Model":"b"}"#, twice);
        check_fault(r#"{"model":null,"model":"b"}"#, twice);
        check_fault(r#"{"model":"a","model":{"id":"b"}}"#, twice);
        check_fault(r#"{"model":"a","temperature":NaN,"model":"b"}"#, twice);
        check_fault(
            "{\"model\":\"a\",\"x\":\"line\nend\",\"model\":\"b\"}",
            twice,
        );
        check_fault(r#"{"model":"a","x":"\q\"","model":"b"}"#, twice);
        check_fault(r#"{"model":"a","x":[[["]"]]],"model":"b"}"#, twice);
        check_fault(
            r#"{"model":"a","x":{"model":"b"},"models":["c"],"model ":1}"#,
            None,
        );
        check_fault(r#"{"model":"a"} {"model":"b"}"#, None);
        check_fault(r#"[{"model":"a","model":"b"}]"#, None);
        check_fault(r#"{"Model":"a"}"#, None);
    }

    // K7: bounded before any allocation
    #[test]
    fn a_model_that_is_no_short_string_is_a_fault() {
        for value in ["1", "true", "{}", "[\"a\"]", "1.5e3"] {
            check_fault(
                &format!(r#"{{"model":{value},"x":1}}"#),
                Some(RequestFault::ModelNotText),
            );
        }
        check_fault(r#"{"model":null}"#, None);
        let longest = "m".repeat(MAX_MODEL);
        assert_eq!(
            facts(&format!(r#"{{"model":"{longest}"}}"#)).model,
            Some(longest.clone())
        );
        check_fault(
            &format!(r#"{{"model":"{longest}m"}}"#),
            Some(RequestFault::ModelTooLong),
        );
    }

    // F5: multipart, gzip and binary bodies are never parsed beyond what is needed
    #[test]
    fn what_is_not_a_json_object_has_no_facts() {
        for body in [
            "--boundary\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n",
            "\u{1f}\u{8b}{\"model\":\"a\"}",
            "[{\"model\":\"a\"}]",
            "\"model\"",
            "model=a",
            "",
            "\0{\"model\":\"a\"}",
        ] {
            assert_eq!(facts(body), RequestFacts::default(), "{body}");
        }
        assert_eq!(
            facts("\u{feff} {\"model\":\"a\"}").model.as_deref(),
            Some("a")
        );
        assert_eq!(facts("{\0\"\0m\0").model, None);
        let half_mark = b"\xef {\"model\":\"a\"}";
        assert_eq!(read(half_mark, &[1]), RequestFacts::default());
        assert_eq!(read(half_mark, &[20]), RequestFacts::default());
    }

    // F1: a body that is not valid is forwarded, with what was read
    #[test]
    fn a_broken_body_keeps_the_facts_before_the_break() {
        for body in [
            r#"{"model":"a""#,
            r#"{"model":"a",x"#,
            r#"{"model":"a" "stream":true"#,
            r#"{"model":"a","stream""#,
            r#"{"model":"a"]"#,
        ] {
            assert_eq!(facts(body).model.as_deref(), Some("a"), "{body}");
        }
        assert_eq!(facts(r#"{"model":"a"#).model, None);
    }

    // F5: the model is known while the body still comes
    #[test]
    fn the_model_and_a_fault_are_known_as_soon_as_they_are_read() {
        let mut reader = RequestReader::new();
        reader.feed(br#"{"model":"a"#);
        assert_eq!(reader.model(), None);
        reader.feed(br#"","messages":["#);
        assert_eq!(reader.model(), Some("a"));
        reader.feed(br#"],"model":"#);
        assert_eq!(reader.fault(), None);
        reader.feed(br#"1,"#);
        assert_eq!(reader.fault(), Some(RequestFault::DuplicateModel));
    }
}
