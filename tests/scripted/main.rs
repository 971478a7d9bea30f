//! The scripted provider, seen from its sockets: what the tests of everything else rely on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod client;
mod faults;
mod ledger;
mod life;
mod limits;
mod script;
mod shapes;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use authpool::scripted::{
    Ended, Entry, Fault, IdleClose, Limits, Match, Options, Provider, Rule, Totals,
};
use serde_json::{Value, json};

use client::{Answer, Client, find};

const PATIENCE: Duration = Duration::from_secs(20);

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

fn scripted(rules: &Value) -> Provider {
    let provider = provider();
    provider.script().push_json(&rules.to_string()).unwrap();
    provider
}

fn post(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn once(provider: &Provider, path: &str, key: &str, body: &Value) -> Answer {
    Client::new(provider).ask(path, key, body).unwrap()
}

fn only(provider: &Provider) -> Entry {
    let entries = provider.ledger().entries();
    assert_eq!(entries.len(), 1);
    entries[0].clone()
}

/// Waits for the only entry to end.
#[track_caller]
fn ended(provider: &Provider) -> Entry {
    let ended = |entries: &[Entry]| entries.len() == 1 && entries[0].ended != Ended::Open;
    assert!(provider.ledger().wait_until(ended, PATIENCE));
    only(provider)
}

#[track_caller]
fn wait_closed(provider: &Provider) {
    let closed = provider.wait_connections(|open| open == 0, PATIENCE);
    assert!(closed, "{} stay open", provider.open_connections());
}

fn streamed() -> Value {
    json!({"model": "m", "stream": true, "max_tokens": 3, "stream_options": {"include_usage": true}})
}

const STREAMS: [&str; 3] = ["/v1/messages", "/v1/chat/completions", "/v1/responses"];
