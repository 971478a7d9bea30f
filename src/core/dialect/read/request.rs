//! What a request says of where it should go: model, stream, tokens, what names its conversation. Reads a JSON
//! object member by member as the body arrives and keeps a few strings; a body that is anything else (multipart,
//! gzip, binary, an array) is not read at all. Whether a fault refuses the request is the proxy's to decide; the law
//! kept here is K7's: a body that could name one model to us and another to the provider has a fault.

use std::ops::ControlFlow;

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
