//! The list of models, in the words of either dialect, and the echo for every path that is none of ours.

use http::Method;
use serde_json::{Value, json};

use super::CREATED;
use crate::scripted::answer::Answer;
use crate::scripted::ask::Dialect;

const MODELS: [&str; 4] = [
    "scripted-1",
    "scripted-2",
    "claude-scripted",
    "gpt-scripted",
];
/// How much of a body is echoed, in bytes.
const ECHOED: usize = 64 * 1024;

/// Every model.
pub(crate) fn list(dialect: Dialect) -> Answer {
    let models: Vec<Value> = MODELS.iter().map(|id| describe(dialect, id)).collect();
    let list = match dialect {
        Dialect::Anthropic => json!({
            "data": models,
            "has_more": false,
            "first_id": MODELS.first(),
            "last_id": MODELS.last(),
        }),
        Dialect::OpenAi | Dialect::Generic => json!({"object": "list", "data": models}),
    };
    Answer::json(200, list.to_string())
}

/// One model: whatever is asked for is there.
pub(crate) fn one(dialect: Dialect, id: &str) -> Answer {
    Answer::json(200, describe(dialect, id).to_string())
}

fn describe(dialect: Dialect, id: &str) -> Value {
    match dialect {
        Dialect::Anthropic => json!({
            "type": "model",
            "id": id,
            "display_name": id,
            "created_at": "2026-09-21T00:00:00Z",
        }),
        Dialect::OpenAi | Dialect::Generic => {
            json!({"id": id, "object": "model", "created": CREATED, "owned_by": "scripted"})
        }
    }
}

/// What arrived, but for its headers: an echoed credential would be a leak.
pub(crate) fn echo(method: &Method, target: &str, body: &[u8]) -> Answer {
    let shown = String::from_utf8_lossy(body.get(..ECHOED).unwrap_or(body));
    let echo = json!({
        "method": method.as_str(),
        "path": target,
        "body_bytes": body.len(),
        "body": shown,
    });
    Answer::json(200, echo.to_string())
}
