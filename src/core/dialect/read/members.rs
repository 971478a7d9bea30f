//! The members of answers and of stream events that matter, and what an event's type says. One table for all
//! dialects: providers speak each other's, and no two members of one name mean different things here.

use std::ops::ControlFlow;

use super::json::Scanner;
use super::table::{Member, Take, Value, Visitor};
use crate::core::dialect::answer::report_of;
use crate::core::ledger::usage::Usage;

const MAX_ID: usize = 256;
const MAX_TYPE: usize = 64;
const MAX_USAGE: usize = 4 * 1024;
const MAX_ERROR: usize = 8 * 1024;
const MAX_CODE: usize = 256;

/// What a type of stream event is to us (C9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lifecycle, and may report an id or usage.
    Opening,
    /// Lifecycle, and says nothing.
    Ping,
    /// Content, and nothing else in it matters.
    Delta,
    /// Content that may report usage.
    Reported,
    /// The end, and says nothing.
    End,
    /// The end, and reports usage.
    Closing,
    /// An error.
    Failed,
}

impl Kind {
    /// By an event's name or its `type`; `None`: neither Anthropic's nor of the Responses API.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"message_start"
            | b"response.created"
            | b"response.queued"
            | b"response.in_progress" => Self::Opening,
            b"ping" => Self::Ping,
            b"message_delta" => Self::Reported,
            b"message_stop" => Self::End,
            b"response.completed" | b"response.incomplete" => Self::Closing,
            b"error" | b"response.failed" => Self::Failed,
            _ if name.starts_with(b"content_block_") || name.starts_with(b"response.") => {
                Self::Delta
            }
            _ => return None,
        })
    }
}

/// What one object said.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// From `type`.
    pub(super) kind: Option<Kind>,
    /// The outermost `error` as it stands, unless it says that there is none.
    error: Option<Vec<u8>>,
    /// The outermost `code`: some say it beside the error.
    code: Option<Vec<u8>>,
    /// `response.error`, likewise.
    response_error: Option<Vec<u8>>,
    /// The last report of each field.
    pub(super) usage: Usage,
    /// `id`.
    pub(super) id: Option<String>,
    /// `response.id`.
    pub(super) response_id: Option<String>,
    /// Whether it has `choices`, as chat chunks do.
    pub(super) has_choices: bool,
}

/// What the table calls a member.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tag {
    Type,
    Error,
    Code,
    Usage,
    Id,
    Choices,
    ResponseId,
    ResponseError,
    /// Only what is inside matters.
    Around,
}

const fn member(key: &'static str, tag: Tag, take: Take) -> Member<Tag> {
    Member {
        key,
        any_case: false,
        tag,
        take,
        inside: &[],
    }
}

const USAGE: Member<Tag> = member("usage", Tag::Usage, Take::Raw(MAX_USAGE));

const MEMBERS: &[Member<Tag>] = &[
    member("type", Tag::Type, Take::Text(MAX_TYPE)),
    member("error", Tag::Error, Take::Raw(MAX_ERROR)),
    member("code", Tag::Code, Take::Raw(MAX_CODE)),
    USAGE,
    member("usageMetadata", Tag::Usage, Take::Raw(MAX_USAGE)),
    member("id", Tag::Id, Take::Text(MAX_ID)),
    member("choices", Tag::Choices, Take::Text(0)),
    Member {
        inside: &[
            member("id", Tag::ResponseId, Take::Text(MAX_ID)),
            member("error", Tag::ResponseError, Take::Raw(MAX_ERROR)),
            USAGE,
        ],
        ..member("response", Tag::Around, Take::Text(0))
    },
    Member {
        inside: &[USAGE],
        ..member("message", Tag::Around, Take::Text(0))
    },
    Member {
        inside: &[USAGE],
        ..member("x_groq", Tag::Around, Take::Text(0))
    },
];

/// A scan for these members.
pub(super) fn scanner(arrays: bool) -> Scanner<Tag> {
    Scanner::new(MEMBERS, arrays)
}

impl Found {
    /// Reads one object that lies whole in `json`.
    pub(super) fn read(json: &[u8]) -> Self {
        let mut found = Self::default();
        scanner(false).feed(json, &mut found);
        found
    }

    /// Whether there is an outermost `error`.
    pub(super) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// An object that holds the error where the one read did; of an object too large to be had whole.
    pub(super) fn error(&self) -> Vec<u8> {
        let text = |json: &Option<Vec<u8>>| json.clone().unwrap_or_else(|| b"null".to_vec());
        let kind = match (&self.error, &self.response_error) {
            (None, Some(_)) => "response.failed",
            _ => "error",
        };
        [
            format!("{{\"type\":\"{kind}\",\"code\":").as_bytes(),
            &text(&self.code),
            b",\"error\":",
            &text(&self.error),
            b",\"response\":{\"error\":",
            &text(&self.response_error),
            b"}}",
        ]
        .concat()
    }

    /// Takes one member's value.
    pub(super) fn take(&mut self, tag: Tag, value: Value<'_>) {
        match (tag, value) {
            (Tag::Type, Value::Text(name)) => self.kind = Kind::of(name),
            (Tag::Usage, Value::Raw(json)) => {
                self.usage.update(report_of(json));
            }
            (Tag::Id, Value::Text(id)) => self.id = text(id),
            (Tag::ResponseId, Value::Text(id)) => self.response_id = text(id),
            (Tag::Choices, Value::Container) => self.has_choices = true,
            (Tag::Error, value) => self.error = error_text(value),
            (Tag::Code, Value::Raw(json)) => self.code = Some(json.to_vec()),
            (Tag::ResponseError, value) => self.response_error = error_text(value),
            _ => {}
        }
    }
}

impl Visitor<Tag> for Found {
    fn value(&mut self, tag: Tag, value: Value<'_>) -> ControlFlow<()> {
        self.take(tag, value);
        ControlFlow::Continue(())
    }
}

/// The text of an error's value; `None`: it says that there is none.
fn error_text(value: Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Raw(b"null" | b"false" | b"\"\"" | b"{}" | b"[]") => None,
        Value::Raw(json) => Some(json.to_vec()),
        Value::TooLong => Some(b"{}".to_vec()),
        Value::Text(_) | Value::Scalar(_) | Value::Container => None,
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}
