//! The provider's own paths, by which a test or a person steers it: `/_script`, `/_limits`, `/_ledger`. They carry no
//! credential and stand in no ledger.

use http::Method;
use serde_json::{Map, Value, json};

use super::Shared;
use super::answer::Answer;
use super::dates::{Precision, Rfc3339};
use super::head;
use super::ledger::{Entry, Totals};
use super::rule::ScriptError;

/// Whether a path is one of them.
pub(super) fn is_ours(path: &str) -> bool {
    matches!(path, "/_script" | "/_limits" | "/_ledger")
}

/// Does what is asked.
pub(super) fn answer(shared: &Shared, method: &Method, target: &str, body: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(body);
    let script = &shared.script;
    match (head::path(target), method.as_str()) {
        ("/_script", "POST") => done(shared, script.push_json(&text)),
        ("/_script", "GET") => done(shared, Ok(())),
        ("/_script", "DELETE") => {
            script.clear();
            done(shared, Ok(()))
        }
        ("/_limits", "POST") => done(shared, script.limit_json(&text)),
        ("/_limits", "DELETE") => {
            script.clear_limits();
            done(shared, Ok(()))
        }
        ("/_ledger", "GET") => {
            let entries = head::query(target).is_some_and(|query| query.contains("entries"));
            Answer::json(200, ledger(shared, entries).to_string())
        }
        ("/_ledger", "DELETE") => {
            shared.ledger.clear();
            done(shared, Ok(()))
        }
        _ => Answer::json(405, json!({"error": "method not allowed"}).to_string()),
    }
}

fn done(shared: &Shared, outcome: Result<(), ScriptError>) -> Answer {
    match outcome {
        Ok(()) => Answer::json(200, json!({"rules": shared.script.len()}).to_string()),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let words = json!({"error": error.to_string(), "cause": source});
            Answer::json(400, words.to_string())
        }
    }
}

fn ledger(shared: &Shared, entries: bool) -> Value {
    let credentials: Map<String, Value> = shared
        .ledger
        .all_totals()
        .into_iter()
        .map(|(credential, totals)| (credential, sums(&totals)))
        .collect();
    let mut view = json!({
        "connections_open": shared.open.count(),
        "credentials": credentials,
    });
    if entries && let Some(view) = view.as_object_mut() {
        let all: Vec<Value> = shared.ledger.entries().iter().map(describe).collect();
        view.insert("entries".to_owned(), Value::from(all));
    }
    view
}

fn sums(totals: &Totals) -> Value {
    let instant = |at| Rfc3339(at, Precision::Micro).to_string();
    let seen = totals.requests > 0;
    json!({
        "requests": totals.requests,
        "served": totals.served,
        "refused": totals.refused,
        "broken": totals.broken,
        "in_flight": totals.in_flight,
        "tokens": {"input": totals.input_tokens, "output": totals.output_tokens},
        "first": seen.then(|| instant(totals.first)),
        "last": seen.then(|| instant(totals.last)),
        "first_us": seen.then(|| totals.first.as_micros()),
        "last_us": seen.then(|| totals.last.as_micros()),
    })
}

fn describe(entry: &Entry) -> Value {
    let headers: Vec<Value> = entry
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({
        "number": entry.number,
        "at": Rfc3339(entry.at, Precision::Micro).to_string(),
        "at_us": entry.at.as_micros(),
        "connection": entry.connection,
        "credential": entry.credential,
        "method": entry.method.as_str(),
        "path": entry.path,
        "model": entry.model,
        "stream": entry.stream,
        "headers": headers,
        "body_len": entry.body_len,
        "body_whole": entry.body_whole,
        "action": entry.action,
        "status": entry.status,
        "refused": entry.refused,
        "tokens": {"input": entry.input_tokens, "output": entry.output_tokens},
        "ended": format!("{:?}", entry.ended),
        "ended_us": entry.ended_at.map(|at| at.as_micros()),
    })
}
