//! Our own errors in the words of the client's dialect (SPEC 15). Which error, and with which status and headers,
//! is the proxy's to say. The law: what an official SDK gets from here, it raises as the error of that type, and
//! never as a broken answer.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Dialect;
use super::endpoint::Endpoint;

/// The stable code of an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The request itself is at fault.
    InvalidRequest,
    /// No key, or none of ours.
    Unauthorised,
    /// The key does not go that far.
    Forbidden,
    /// No route, or an unknown handle or model.
    NotFound,
    /// The client is over a limit of its own.
    ClientLimited,
    /// A budget is spent.
    BudgetExhausted,
    /// Every subscription that could serve is limited.
    PoolLimited,
    /// The waiting room or the body memory is full.
    QueueFull,
    /// No subscription could serve, and none is due back.
    PoolUnavailable,
    /// The subscription that holds this conversation is out of service.
    OwnerUnavailable,
    /// No connection, or a page of something in between.
    UpstreamFailed,
    /// The request may have been processed, and its answer is lost.
    OutcomeUnknown,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::InvalidRequest,
        Self::Unauthorised,
        Self::Forbidden,
        Self::NotFound,
        Self::ClientLimited,
        Self::BudgetExhausted,
        Self::PoolLimited,
        Self::QueueFull,
        Self::PoolUnavailable,
        Self::OwnerUnavailable,
        Self::UpstreamFailed,
        Self::OutcomeUnknown,
        Self::Internal,
    ];

    /// SPEC's word: what bodies and `x-authpool-code` say.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::ClientLimited => "client_limited",
            Self::BudgetExhausted => "budget_exhausted",
            Self::PoolLimited => "pool_limited",
            Self::QueueFull => "queue_full",
            Self::PoolUnavailable => "pool_unavailable",
            Self::OwnerUnavailable => "owner_unavailable",
            Self::UpstreamFailed => "upstream_failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Internal => "internal",
        }
    }

    /// The dialect's `type` for it.
    const fn kind(self, dialect: Dialect) -> &'static str {
        let (anthropic, openai) = match self {
            Self::InvalidRequest => ("invalid_request_error", "invalid_request_error"),
            Self::Unauthorised => ("authentication_error", "authentication_error"),
            Self::Forbidden => ("permission_error", "permission_error"),
            Self::NotFound => ("not_found_error", "invalid_request_error"),
            Self::ClientLimited | Self::BudgetExhausted | Self::PoolLimited => {
                ("rate_limit_error", "rate_limit_error")
            }
            Self::QueueFull => ("overloaded_error", "server_error"),
            Self::PoolUnavailable
            | Self::OwnerUnavailable
            | Self::UpstreamFailed
            | Self::OutcomeUnknown
            | Self::Internal => ("api_error", "server_error"),
        };
        match dialect {
            Dialect::Anthropic => anthropic,
            Dialect::OpenAi | Dialect::Generic => openai,
        }
    }
}

/// The JSON body of an error of ours.
pub fn error_body(dialect: Dialect, code: Code, message: &str, request_id: &str) -> Bytes {
    match dialect {
        Dialect::Anthropic => anthropic(code, message, Some(request_id)),
        Dialect::OpenAi | Dialect::Generic => {
            let kind = code.kind(dialect);
            written(&json!({ "error": openai_error(message, kind, code.name()) }))
        }
    }
}

/// The body of a 404 about a model (D7), as the dialect's provider would word it. OpenAI's clients look for its own
/// code there, so that ours is left to `x-authpool-code`.
pub fn model_not_found_body(dialect: Dialect, model: &str, request_id: &str) -> Bytes {
    match dialect {
        Dialect::Anthropic => {
            anthropic(Code::NotFound, &format!("model: {model}"), Some(request_id))
        }
        Dialect::OpenAi | Dialect::Generic => {
            let message =
                format!("The model `{model}` does not exist or you do not have access to it.");
            let kind = Code::NotFound.kind(dialect);
            written(&json!({ "error": openai_error(&message, kind, "model_not_found") }))
        }
    }
}

/// The event that ends a stream of server-sent events whose answer cannot go on.
pub fn stream_error_event(
    dialect: Dialect,
    endpoint: Endpoint,
    code: Code,
    message: &str,
) -> Bytes {
    let kind = code.kind(dialect);
    let (name, data) = match (dialect, endpoint) {
        (Dialect::Anthropic, _) => ("event: error\n", anthropic(code, message, None)),
        (_, Endpoint::Responses | Endpoint::StoredResponse) => {
            // The event's own members are the API's; OpenAI's SDKs raise only where there is an `error` beside them.
            let data = json!({
                "type": "error",
                "code": code.name(),
                "message": message,
                "param": null,
                "error": openai_error(message, kind, code.name()),
            });
            ("event: error\n", written(&data))
        }
        _ => {
            let data = json!({ "error": openai_error(message, kind, code.name()) });
            ("", written(&data))
        }
    };
    [name.as_bytes(), b"data: ", &data, b"\n\n"].concat().into()
}

fn anthropic(code: Code, message: &str, request_id: Option<&str>) -> Bytes {
    let mut body = json!({
        "type": "error",
        "error": {
            "type": code.kind(Dialect::Anthropic),
            "message": message,
            "code": code.name(),
        },
    });
    if let (Some(request_id), Some(body)) = (request_id, body.as_object_mut()) {
        body.insert("request_id".to_owned(), request_id.into());
    }
    written(&body)
}

fn openai_error(message: &str, kind: &str, code: &str) -> Value {
    json!({ "message": message, "type": kind, "param": null, "code": code })
}

/// One line: the writer escapes line ends.
fn written(value: &Value) -> Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    // SPEC 15
    #[test]
    fn bodies_have_the_shape_of_the_dialect() {
        let message = "no \"route\"\nhere";
        assert_eq!(
            parsed(&error_body(
                Dialect::Anthropic,
                Code::QueueFull,
                message,
                "r1"
            )),
            json!({"type": "error", "request_id": "r1",
                "error": {"type": "overloaded_error", "message": message, "code": "queue_full"}}),
        );
        for dialect in [Dialect::OpenAi, Dialect::Generic] {
            assert_eq!(
                parsed(&error_body(dialect, Code::NotFound, message, "r1")),
                json!({"error": {"message": message, "type": "invalid_request_error", "param": null,
                    "code": "not_found"}}),
            );
        }
    }

    // SPEC 15
    #[test]
    fn every_code_has_its_row_of_the_table() {
        let spec = include_str!("../../../docs/spec.md");
        for code in Code::ALL {
            let row = spec.lines().find(|line| {
                let first = line.split('|').nth(1).unwrap_or_default();
                let words = first.split(|c: char| !c.is_ascii_lowercase() && c != '_');
                line.starts_with("| ") && words.into_iter().any(|word| word == code.name())
            });
            let cells: Vec<_> = row.unwrap().split('|').map(str::trim).collect();
            assert_eq!(cells[3], code.kind(Dialect::Anthropic), "{}", code.name());
            assert_eq!(cells[4], code.kind(Dialect::OpenAi), "{}", code.name());
        }
    }

    // D7
    #[test]
    fn an_unknown_model_is_worded_as_the_provider_does() {
        let body = parsed(&model_not_found_body(Dialect::Anthropic, "m\"1", "r1"));
        assert_eq!(body["error"]["type"], "not_found_error");
        assert_eq!(body["error"]["message"], "model: m\"1");
        assert_eq!(body["error"]["code"], "not_found");
        assert_eq!(body["request_id"], "r1");
        let body = parsed(&model_not_found_body(Dialect::OpenAi, "m1", "r1"));
        assert_eq!(body["error"]["code"], "model_not_found");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(body["error"]["message"].as_str().unwrap().contains("`m1`"));
    }

    /// Splits an event that is one line of data.
    #[track_caller]
    fn event(bytes: &[u8]) -> (Option<String>, Value) {
        let text = std::str::from_utf8(bytes).unwrap();
        let text = text.strip_suffix("\n\n").unwrap();
        let (name, data) = match text.split_once('\n') {
            Some((name, data)) => (Some(name.strip_prefix("event: ").unwrap().to_owned()), data),
            None => (None, text),
        };
        (
            name,
            parsed(data.strip_prefix("data: ").unwrap().as_bytes()),
        )
    }

    // SPEC 15, C9
    #[test]
    fn a_stream_ends_with_an_event_that_the_dialects_sdk_raises() {
        let written = |dialect, endpoint| {
            event(&stream_error_event(
                dialect,
                endpoint,
                Code::OutcomeUnknown,
                "a\nb",
            ))
        };
        let (name, data) = written(Dialect::Anthropic, Endpoint::Messages);
        assert_eq!(name.as_deref(), Some("error"));
        assert_eq!(
            data,
            json!({"type": "error",
                "error": {"type": "api_error", "message": "a\nb", "code": "outcome_unknown"}}),
        );
        for dialect in [Dialect::OpenAi, Dialect::Generic] {
            let (name, data) = written(dialect, Endpoint::ChatCompletions);
            assert_eq!(name, None);
            assert_eq!(data["error"]["code"], "outcome_unknown");
            assert_eq!(data["error"]["type"], "server_error");
        }
        let (name, data) = written(Dialect::OpenAi, Endpoint::Responses);
        assert_eq!(name.as_deref(), Some("error"));
        assert_eq!(data["type"], "error");
        assert_eq!(data["code"], "outcome_unknown");
        assert_eq!(data["error"]["message"], "a\nb");
    }
}
