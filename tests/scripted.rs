//! The scripted provider, seen from its sockets: what the tests of everything else rely on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use authpool::scripted::{
    Ended, Entry, Fault, IdleClose, Limits, Match, Options, Provider, Rule, Totals,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

fn scripted(rules: &Value) -> Provider {
    let provider = provider();
    provider.script().push_json(&rules.to_string()).unwrap();
    provider
}

/// A raw client: sends bytes, reads what comes.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

/// An answer, its body without the chunked coding.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether the body ended as its head said it would.
    whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The names of the events (or their `object` in chat), and their data.
    fn events(&self) -> Vec<(String, Value)> {
        let read = |event: &str| {
            let mut name = String::new();
            let mut value = Value::Null;
            for line in event.lines() {
                match line.split_once(": ") {
                    Some(("event", rest)) => name = rest.to_owned(),
                    Some(("data", "[DONE]")) => name = "[DONE]".to_owned(),
                    Some(("data", rest)) => value = serde_json::from_str(rest).unwrap(),
                    _ => panic!("no line of an event: {line:?}"),
                }
            }
            (name, value)
        };
        self.text().split_terminator("\n\n").map(read).collect()
    }
}

impl Client {
    fn new(provider: &Provider) -> Self {
        Self::connect(provider.addr()).unwrap()
    }

    fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, path: &str, key: &str, body: &Value) -> io::Result<Answer> {
        self.send(&post(path, key, &body.to_string()));
        self.answer()
    }

    fn get(&mut self, method: &str, path: &str, key: &str) -> Answer {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n"
        ));
        if method == "HEAD" {
            let head = self.head().unwrap();
            return self.framed(&head, true).unwrap();
        }
        self.answer().unwrap()
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.input.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.input, b"\r\n\r\n") {
                let head = self.input.drain(..at + 4).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        self.framed(&head, false)
    }

    fn framed(&mut self, head: &str, bodiless: bool) -> io::Result<Answer> {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
            whole: true,
        };
        let length = answer.header("content-length").map(str::parse::<usize>);
        if bodiless {
            return Ok(answer);
        }
        if let Some(length) = length {
            let length = length.unwrap();
            while self.input.len() < length && answer.whole {
                answer.whole = self.fill()? > 0;
            }
            let there = length.min(self.input.len());
            answer.body = self.input.drain(..there).collect();
        } else {
            while answer.whole && !self.chunk(&mut answer.body) {
                answer.whole = self.fill()? > 0;
            }
        }
        Ok(answer)
    }

    /// Moves the chunks that are there into the body. `true` after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> bool {
        while let Some(at) = find(&self.input, b"\r\n") {
            let size = std::str::from_utf8(&self.input[..at]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.input.len() < at + 2 + size + 2 {
                return false;
            }
            body.extend_from_slice(&self.input[at + 2..at + 2 + size]);
            self.input.drain(..at + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
        false
    }

    /// Reads to the end: what came, and how it ended.
    fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        loop {
            match self.fill() {
                Ok(0) => return (std::mem::take(&mut self.input), Ok(())),
                Ok(_) => {}
                Err(error) => return (std::mem::take(&mut self.input), Err(error)),
            }
        }
    }

    #[track_caller]
    fn assert_reset(&mut self) -> Vec<u8> {
        let (read, end) = self.rest();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        read
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
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

mod shapes {
    use super::*;

    #[test]
    fn a_message_says_how_long_its_prompt_was() {
        let provider = provider();
        let body = json!({"model": "m \"x\"", "max_tokens": 64});
        let answer = once(&provider, "/prefix/v1/messages?beta=true", "a", &body);
        assert_eq!(answer.status, 200);
        let message = answer.json();
        assert_eq!(message["model"], "m \"x\"");
        assert_eq!(message["usage"]["input_tokens"], 9);
        assert_eq!(message["usage"]["output_tokens"], 16);
        assert_eq!(message["stop_reason"], "end_turn");
        let text = message["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("A prompt of 35 bytes: one"), "{text}");
        assert!(
            answer
                .header("anthropic-ratelimit-requests-remaining")
                .is_some()
        );
        assert!(answer.header("anthropic-organization-id").is_some());
        assert!(answer.header("date").is_some());
    }

    #[test]
    fn a_stream_of_messages_has_anthropics_events_in_order() {
        let answer = once(&provider(), "/v1/messages", "a", &streamed());
        let events = answer.events();
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "message_start",
                "content_block_start",
                "ping",
                "content_block_delta",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop"
            ]
        );
        assert!(events.iter().all(|(name, value)| value["type"] == **name));
        assert_eq!(events[7].1["usage"]["output_tokens"], 3);
        assert_eq!(events[7].1["delta"]["stop_reason"], "max_tokens");
    }

    #[test]
    fn a_stream_of_chat_reports_usage_only_where_it_was_asked() {
        let provider = provider();
        let events = once(&provider, "/v1/chat/completions", "a", &streamed()).events();
        assert_eq!(events.last().unwrap().0, "[DONE]");
        let usage = &events[events.len() - 2].1;
        assert_eq!(usage["usage"]["completion_tokens"], 3);
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(events[0].1["usage"], Value::Null);
        assert_eq!(events.len(), 1 + 3 + 1 + 1 + 1);

        let plain = json!({"model": "m", "stream": true});
        let events = once(&provider, "/v1/chat/completions", "a", &plain).events();
        assert!(events.iter().all(|(_, value)| value.get("usage").is_none()));
        let finish = &events[events.len() - 2].1;
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn a_stream_of_a_response_begins_and_completes() {
        let body = json!({"model": "m", "stream": true, "input": "hi"});
        let events = once(&provider(), "/v1/responses", "a", &body).events();
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names[..4],
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added"
            ]
        );
        assert_eq!(*names.last().unwrap(), "response.completed");
        let numbers: Vec<u64> = events
            .iter()
            .map(|(_, value)| value["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let text: String = events
            .iter()
            .filter(|(name, _)| name == "response.output_text.delta")
            .map(|(_, value)| value["delta"].as_str().unwrap())
            .collect();
        let response = &events.last().unwrap().1["response"];
        assert_eq!(response["output"][0]["content"][0]["text"], text);
        assert_eq!(response["usage"]["output_tokens"], 16);
    }

    #[test]
    fn a_response_is_there_again_for_its_own_credential_only() {
        let provider = provider();
        let made = once(&provider, "/v1/responses", "a", &json!({"model": "m"})).json();
        let id = made["id"].as_str().unwrap();
        let path = format!("/v1/responses/{id}");
        let mut client = Client::new(&provider);
        assert_eq!(client.get("GET", &path, "a").json(), made);
        assert_eq!(client.get("GET", &path, "b").status, 404);

        let follow = json!({"model": "m", "previous_response_id": id});
        let refused = client.ask("/v1/responses", "b", &follow).unwrap();
        assert_eq!(refused.status, 400);
        assert_eq!(
            refused.json()["error"]["code"],
            "previous_response_not_found"
        );
        let followed = client.ask("/v1/responses", "a", &follow).unwrap();
        assert_eq!(followed.json()["previous_response_id"], id);

        assert_eq!(client.get("DELETE", &path, "a").status, 200);
        assert_eq!(client.get("GET", &path, "a").status, 404);
    }

    #[test]
    fn equal_requests_get_equal_bodies_whoever_carries_them() {
        let provider = provider();
        for path in STREAMS {
            let first = once(&provider, path, "a", &streamed());
            let second = once(&provider, path, "b", &streamed());
            assert_eq!(first.body, second.body);
        }
        let fresh = json!({"model": "m", "scripted": {"fresh_id": true}});
        let ids: Vec<Value> = (0..2)
            .map(|_| once(&provider, "/v1/responses", "a", &fresh).json()["id"].clone())
            .collect();
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn the_smaller_operations_answer_too() {
        let provider = provider();
        let mut client = Client::new(&provider);
        let counted = client.ask("/v1/messages/count_tokens", "a", &json!({"model": "m"}));
        assert_eq!(counted.unwrap().json()["input_tokens"], 4);
        let models = client.get("GET", "/v1/models", "a").json();
        assert_eq!(models["object"], "list");
        let model = client.get("GET", "/v1/models/m", "a").json();
        assert_eq!(model["id"], "m");
        let legacy = client.ask("/v1/completions", "a", &json!({"model": "m"}));
        assert_eq!(legacy.unwrap().json()["object"], "text_completion");
        let head = client.get("HEAD", "/", "");
        assert_eq!(head.status, 200);
    }

    #[test]
    fn embeddings_are_equal_as_numbers_and_in_base64() {
        let provider = provider();
        let ask = |format: &str| {
            let body = json!({"model": "m", "input": ["x", "y"], "encoding_format": format, "dimensions": 3});
            once(&provider, "/v1/embeddings", "a", &body).json()
        };
        let (numbers, coded) = (ask("float"), ask("base64"));
        assert_eq!(numbers["data"].as_array().unwrap().len(), 2);
        assert_eq!(numbers["data"][1]["index"], 1);
        assert_eq!(numbers["data"][0]["embedding"].as_array().unwrap().len(), 3);
        let text = coded["data"][0]["embedding"].as_str().unwrap();
        assert_eq!(text.len(), 16);
        assert_ne!(numbers["data"][0], numbers["data"][1]);
    }

    #[test]
    fn any_other_path_is_echoed_without_its_headers() {
        let provider = provider();
        let answer = once(&provider, "/v1/any?x=1", "canary", &json!({"y": 2}));
        assert_eq!(answer.json()["path"], "/v1/any?x=1");
        assert_eq!(answer.json()["body"], r#"{"y":2}"#);
        assert!(!answer.text().contains("canary"));
    }

    #[test]
    fn a_request_without_a_credential_or_without_json_is_refused_in_the_dialects_words() {
        let provider = provider();
        let mut client = Client::new(&provider);
        client.send("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}");
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
        client.send(&post("/v1/chat/completions", "a", "{"));
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        let entries = provider.ledger().entries();
        let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["unauthorized", "invalid"]);
    }
}

mod faults {
    use super::*;

    fn fault(fault: &Value) -> Provider {
        scripted(&json!({"times": 1, "do": fault}))
    }

    /// Sends one streamed request and returns its connection.
    fn begin(provider: &Provider) -> Client {
        let mut client = Client::new(provider);
        client.send(&post("/v1/messages", "a", &streamed().to_string()));
        client
    }

    #[test]
    fn a_delay_comes_before_the_head() {
        let provider = fault(&json!({"fault": "delay", "ms": 60}));
        assert_eq!(begin(&provider).answer().unwrap().status, 200);
        let entry = ended(&provider);
        assert_eq!(entry.action, "fault:delay");
        assert!(entry.ended_at.unwrap().since(entry.at) >= Duration::from_millis(60));
    }

    #[test]
    fn a_slow_stream_is_the_same_stream_later() {
        let provider =
            scripted(&json!([{"times": 1, "do": {"fault": "slow_stream", "gap_ms": 5}}]));
        let slow = begin(&provider).answer().unwrap();
        let fast = begin(&provider).answer().unwrap();
        assert_eq!(slow.body, fast.body);
        let first = &provider.ledger().entries()[0];
        // Nine events have eight gaps.
        assert!(first.ended_at.unwrap().since(first.at) >= Duration::from_millis(40));
    }

    #[test]
    fn a_slow_stream_has_as_many_events_as_told() {
        let provider = fault(&json!({"fault": "slow_stream", "gap_ms": 1, "events": 7}));
        let events = begin(&provider).answer().unwrap().events();
        assert_eq!(events.len(), 6 + 7);
        assert_eq!(ended(&provider).output_tokens, 7);
    }

    #[test]
    fn the_events_of_a_slow_stream_come_one_by_one() {
        let provider = fault(&json!({"fault": "slow_stream", "gap_ms": 30_000}));
        let mut client = begin(&provider);
        let head = client.head().unwrap();
        assert!(head.contains("transfer-encoding: chunked"));
        while find(&client.input, b"message_start\"").is_none() {
            client.fill().unwrap();
        }
        assert!(find(&client.input, b"content_block").is_none());
    }

    #[test]
    fn an_early_429_leaves_a_large_body_unread() {
        let provider = fault(&json!({"fault": "early_429", "retry_after_ms": 20}));
        let mut client = Client::new(&provider);
        client.send(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{",
        );
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after-ms"), Some("20"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        let entry = ended(&provider);
        assert_eq!((entry.ended, entry.refused), (Ended::Whole, true));
        assert_eq!((entry.body_len, entry.body_whole), (0, false));
        // The kernels take some of it; then it stands still, and the connection stays.
        client.stream.set_nonblocking(true).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let written: usize = std::iter::from_fn(|| client.stream.write(&piece).ok()).sum();
        assert!(written < 20_000_000, "{written}");
        assert_eq!(provider.open_connections(), 1);
        drop(client);
        // Unsent bytes hold back this side's end; another client is still served.
        assert_eq!(
            once(&provider, "/v1/messages", "a", &streamed()).status,
            200
        );
    }

    #[test]
    fn a_connection_left_unread_is_gone_once_the_client_resets_it() {
        let provider = fault(&json!({"fault": "early_429"}));
        let mut client = Client::new(&provider);
        client.send(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{",
        );
        assert_eq!(client.answer().unwrap().status, 429);
        socket2::SockRef::from(&client.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        wait_closed(&provider);
    }

    #[test]
    fn a_connection_left_unread_is_reset_when_it_was_held_long_enough() {
        let provider = fault(&json!({"fault": "early_429", "hold_ms": 20}));
        let mut client = Client::new(&provider);
        client.send(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{",
        );
        assert_eq!(client.answer().unwrap().status, 429);
        client.assert_reset();
        wait_closed(&provider);
    }

    #[test]
    fn an_early_429_to_a_small_body_leaves_the_connection_usable() {
        let provider = fault(&json!({"fault": "early_429"}));
        let mut client = begin(&provider);
        assert_eq!(client.answer().unwrap().status, 429);
        client.send(&post("/v1/messages", "a", &streamed().to_string()));
        assert_eq!(client.answer().unwrap().status, 200);
    }

    #[test]
    fn a_reset_on_accept_comes_before_any_request() {
        let provider = fault(&json!({"fault": "reset_on_accept"}));
        let mut client = Client::new(&provider);
        client.assert_reset();
        assert!(provider.ledger().entries().is_empty());
        assert_eq!(begin(&provider).answer().unwrap().status, 200);
    }

    #[test]
    fn a_reset_before_reads_no_body() {
        let provider = fault(&json!({"fault": "reset_before"}));
        let mut client = Client::new(&provider);
        client.send("POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 10\r\n\r\n");
        assert_eq!(client.assert_reset(), b"");
        let entry = only(&provider);
        assert_eq!((entry.ended, entry.status), (Ended::Reset, 0));
        assert!(!entry.body_whole);
    }

    #[test]
    fn a_reset_after_the_request_writes_nothing() {
        let provider = fault(&json!({"fault": "reset_after_request"}));
        assert_eq!(begin(&provider).assert_reset(), b"");
        let entry = only(&provider);
        assert_eq!((entry.ended, entry.status), (Ended::Reset, 0));
        assert!(entry.body_whole);
    }

    #[test]
    fn a_reset_within_the_head_leaves_a_part_of_it() {
        let provider = fault(&json!({"fault": "reset_within", "bytes": 20}));
        assert_eq!(begin(&provider).assert_reset(), b"HTTP/1.1 200 OK\r\ndat");
        assert_eq!(only(&provider).status, 0);
        let provider = fault(&json!({"fault": "reset_within"}));
        let part = begin(&provider).assert_reset();
        assert!(part.starts_with(b"HTTP/1.1 200 OK") && find(&part, b"\r\n\r\n").is_none());
    }

    #[test]
    fn a_reset_after_the_head_leaves_so_many_events() {
        let provider = fault(&json!({"fault": "reset_after_head", "events": 4}));
        let mut client = begin(&provider);
        client.head().unwrap();
        let part = String::from_utf8(client.assert_reset()).unwrap();
        assert_eq!(part.matches("event: ").count(), 4);
        let entry = ended(&provider);
        assert_eq!((entry.ended, entry.status), (Ended::Reset, 200));
        assert_eq!(entry.output_tokens, 1);
    }

    #[test]
    fn a_whole_answer_is_reset_at_half() {
        let provider = fault(&json!({"fault": "reset_after_head"}));
        let mut client = Client::new(&provider);
        client.send(&post("/v1/messages", "a", r#"{"model":"m"}"#));
        let head = client.head().unwrap();
        let length: usize = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(client.assert_reset().len(), length / 2);
    }

    #[test]
    fn a_stream_is_cut_before_its_terminal_event_clean_or_not() {
        for clean in [true, false] {
            let provider = fault(&json!({"fault": "cut_stream", "events": 99, "clean": clean}));
            let mut client = begin(&provider);
            let answer = client.answer().unwrap();
            assert_eq!(answer.whole, clean);
            assert!(!answer.text().contains("message_stop"));
            assert!(answer.text().contains("message_delta"));
            assert_eq!(ended(&provider).ended, Ended::Cut);
            if clean {
                client.send(&post("/v1/messages", "a", &streamed().to_string()));
                assert_eq!(client.answer().unwrap().status, 200);
            } else {
                assert!(client.rest().1.is_ok());
            }
        }
    }

    #[test]
    fn an_error_event_comes_first_in_each_dialects_words() {
        for (path, before, name) in [
            ("/v1/messages", 1, "error"),
            ("/v1/chat/completions", 0, ""),
            ("/v1/responses", 1, "response.failed"),
        ] {
            let provider = fault(&json!({"fault": "error_event_first", "error": "overloaded"}));
            let answer = once(&provider, path, "a", &streamed());
            assert_eq!((answer.status, answer.whole), (200, true));
            let events = answer.events();
            assert_eq!(events.len(), before + 1, "{path}");
            assert_eq!(events[before].0, name);
            let error = &events[before].1;
            let error = error.get("response").unwrap_or(error);
            assert!(error["error"]["message"].is_string(), "{error}");
            let entry = ended(&provider);
            assert!(entry.refused && entry.output_tokens == 0);
        }
    }

    #[test]
    fn an_error_event_comes_after_so_much_content() {
        for path in STREAMS {
            let provider = fault(&json!({"fault": "error_event_later", "events": 2}));
            let answer = once(&provider, path, "a", &streamed());
            let content = answer
                .events()
                .iter()
                .filter(|(name, value)| {
                    name.ends_with("delta")
                        || value["choices"][0]["delta"]["content"] != Value::Null
                            && value["choices"][0]["delta"]["content"] != ""
                })
                .count();
            assert_eq!(content, 2, "{path}: {}", answer.text());
            assert!(!answer.text().contains("[DONE]"));
            assert_eq!(ended(&provider).output_tokens, 2);
        }
    }

    #[test]
    fn an_error_event_where_no_stream_was_asked_is_the_error_itself() {
        for (path, status) in [("/v1/messages", 529), ("/v1/chat/completions", 503)] {
            let provider = fault(&json!({"fault": "error_event_first", "error": "overloaded"}));
            assert_eq!(
                once(&provider, path, "a", &json!({"model": "m"})).status,
                status
            );
        }
    }

    #[test]
    fn a_page_of_something_in_between_is_html() {
        let provider = fault(&json!({"fault": "html_403"}));
        let answer = begin(&provider).answer().unwrap();
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=UTF-8")
        );
    }

    #[test]
    fn a_hang_lasts_until_the_client_leaves() {
        let provider = fault(&json!({"fault": "hang"}));
        let client = begin(&provider);
        let read = |entries: &[Entry]| entries.iter().any(|entry| entry.body_whole);
        assert!(provider.ledger().wait_until(read, PATIENCE));
        assert_eq!(only(&provider).ended, Ended::Open);
        assert_eq!(provider.ledger().totals("a").in_flight, 1);
        drop(client);
        assert_eq!(ended(&provider).ended, Ended::ClientGone);
        wait_closed(&provider);
    }

    #[test]
    fn a_client_that_leaves_within_a_stream_is_noticed() {
        let provider = fault(&json!({"fault": "slow_stream", "gap_ms": 10_000}));
        let mut client = begin(&provider);
        client.head().unwrap();
        client.stream.shutdown(Shutdown::Both).unwrap();
        let entry = ended(&provider);
        assert_eq!((entry.ended, entry.status), (Ended::ClientGone, 200));
        assert_eq!(provider.ledger().totals("a").broken, 1);
    }

    #[test]
    fn a_trickled_head_is_whole_in_the_end() {
        let provider = fault(&json!({"fault": "trickle", "gap_ms": 0}));
        let answer = begin(&provider).answer().unwrap();
        assert_eq!((answer.status, answer.whole), (200, true));
        assert_eq!(ended(&provider).action, "fault:trickle");
    }

    #[test]
    fn raw_bytes_are_written_as_they_are() {
        let bytes = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi";
        let provider = fault(&json!({"raw": bytes, "then": "close", "piece": 7}));
        let (read, end) = begin(&provider).rest();
        assert_eq!(String::from_utf8(read).unwrap(), bytes);
        assert!(end.is_ok());
        assert_eq!(only(&provider).status, 200);
        let provider = fault(&json!({"raw_base64": "AP8=", "repeat": 3, "then": "reset"}));
        assert_eq!(begin(&provider).assert_reset(), [0, 255, 0, 255, 0, 255]);
        let provider = fault(&json!({"raw": "x", "repeat": null}));
        let mut client = begin(&provider);
        while client.input.len() < 100 {
            client.fill().unwrap();
        }
        drop(client);
        assert_eq!(ended(&provider).ended, Ended::ClientGone);
    }

    #[test]
    fn idle_connections_are_closed_at_random() {
        let provider = Provider::start(Options {
            idle_close: Some(IdleClose {
                chance: 0.5,
                min: Duration::ZERO,
                max: Duration::from_millis(2),
            }),
            seed: 7,
            ..Options::default()
        })
        .unwrap();
        let mut closed = 0;
        for _ in 0..40 {
            let mut client = Client::new(&provider);
            client.ask("/v1/messages", "a", &streamed()).unwrap();
            client
                .stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            match client.fill() {
                Ok(read) => {
                    assert_eq!(read, 0);
                    closed += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!((8..=32).contains(&closed), "{closed} of 40");
    }
}

mod script {
    use super::*;

    #[test]
    fn a_corpus_case_is_answered_as_recorded_but_for_what_the_rule_changes() {
        let provider = scripted(&json!({"do": {
            "corpus": "anth-429-requests-2024",
            "headers": {"retry-after": "7", "date": null},
        }}));
        let answer = once(&provider, "/v1/messages", "a", &streamed());
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(
            answer.header("anthropic-ratelimit-requests-limit"),
            Some("5")
        );
        assert_ne!(answer.header("date"), Some("Tue, 26 Mar 2024 19:59:59 GMT"));
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
        assert_eq!(only(&provider).action, "corpus:anth-429-requests-2024");
    }

    #[test]
    fn a_recorded_stream_and_a_recorded_silence_are_what_they_were() {
        let provider = scripted(&json!([
            {"times": 1, "do": {"corpus": "anth-sse-rate-limit-event"}},
            {"do": {"corpus": "v-connect-refused"}},
        ]));
        let answer = once(&provider, "/v1/messages", "a", &streamed());
        assert_eq!(answer.events()[0].0, "error");
        let mut client = Client::new(&provider);
        client.send(&post("/v1/messages", "a", "{}"));
        client.assert_reset();
    }

    #[test]
    fn rules_are_met_by_credential_model_and_path() {
        let provider = scripted(&json!([
            {"match": {"credential": "a", "model": "m1"}, "do": {"status": 429, "body": {"x": 1}}},
            {"match": {"path": "/v1/responses"}, "times": 1, "do": {"status": 418, "body": "tea"}},
        ]));
        let status = |path, key, model| once(&provider, path, key, &json!({"model": model})).status;
        assert_eq!(status("/v1/messages", "a", "m1"), 429);
        assert_eq!(status("/v1/messages", "a", "m2"), 200);
        assert_eq!(status("/v1/messages", "b", "m1"), 200);
        assert_eq!(status("/v1/responses", "a", "m2"), 418);
        assert_eq!(status("/v1/responses", "a", "m2"), 200);
    }

    #[test]
    fn a_script_is_set_counted_and_cleared_over_http() {
        let provider = provider();
        let mut client = Client::new(&provider);
        let rules = json!([{"do": {"status": 500}}, {"do": {"fault": "hang"}}]);
        let set = client.ask("/_script", "", &rules).unwrap();
        assert_eq!((set.status, set.json()["rules"].clone()), (200, json!(2)));
        assert_eq!(client.ask("/v1/x", "a", &json!({})).unwrap().status, 500);
        assert_eq!(client.get("DELETE", "/_script", "").json()["rules"], 0);
        assert_eq!(client.ask("/v1/x", "a", &json!({})).unwrap().status, 200);
        let refused = client
            .ask("/_script", "", &json!({"do": {"corpus": "x"}}))
            .unwrap();
        assert_eq!(refused.status, 400);
        assert!(refused.json()["error"].as_str().unwrap().contains("rule 1"));
        assert_eq!(provider.ledger().count(""), 0);
    }

    #[test]
    fn rules_are_pushed_as_values_too() {
        let provider = provider();
        provider.script().push(Rule {
            matches: Match {
                credential: Some("a".to_owned()),
                ..Match::default()
            },
            times: Some(1),
            action: authpool::scripted::Action::Fault(Fault::Html403),
            ..Rule::default()
        });
        assert_eq!(once(&provider, "/v1/x", "a", &json!({})).status, 403);
        assert!(provider.script().is_empty());
    }
}

mod limits {
    use super::*;

    fn limited(limits: &Value) -> Provider {
        let provider = provider();
        provider.script().limit_json(&limits.to_string()).unwrap();
        provider
    }

    #[test]
    fn exactly_the_burst_is_served_and_the_wait_is_told() {
        let provider = limited(&json!({"a": {"requests_per_minute": 1, "requests_burst": 3}}));
        let mut client = Client::new(&provider);
        let answers: Vec<Answer> = (0..10)
            .map(|_| client.ask("/v1/messages", "a", &streamed()).unwrap())
            .collect();
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(served, 3);
        assert_eq!(
            answers[0].header("anthropic-ratelimit-requests-remaining"),
            Some("2")
        );
        let refused = &answers[9];
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((40..=60).contains(&wait), "{wait}");
        assert_eq!(
            refused.header("anthropic-ratelimit-requests-remaining"),
            Some("0")
        );
        let totals = provider.ledger().totals("a");
        assert_eq!((totals.served, totals.refused), (3, 7));
        assert_eq!(
            once(&provider, "/v1/messages", "b", &streamed()).status,
            200
        );
    }

    #[test]
    fn tokens_of_prompt_and_answer_are_taken_together_by_openai() {
        let provider = limited(&json!({"a": {"tokens_per_minute": 20}}));
        let mut client = Client::new(&provider);
        let body = json!({"model": "m", "max_tokens": 3, "pad": "xxxxxxxxxx"});
        let answer = client.ask("/v1/chat/completions", "a", &body).unwrap();
        let used = answer.json()["usage"]["total_tokens"].as_u64().unwrap();
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("20"));
        assert_eq!(
            answer.header("x-ratelimit-remaining-tokens"),
            Some((20 - used).to_string().as_str())
        );
        assert!(
            answer
                .header("x-ratelimit-reset-tokens")
                .unwrap()
                .ends_with('s')
        );
        let refused = client.ask("/v1/chat/completions", "a", &body).unwrap();
        assert_eq!(refused.status, 429);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert_eq!(error["type"], "tokens");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("Please try again in")
        );
        assert!(refused.header("retry-after-ms").is_some());
    }

    #[test]
    fn a_request_larger_than_the_limit_is_told_so() {
        let provider = limited(&json!({"a": {"tokens_per_minute": 5}}));
        let refused = once(&provider, "/v1/chat/completions", "a", &streamed());
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("retry-after"), None);
        assert!(refused.text().contains("Request too large"));
    }

    #[test]
    fn a_limit_that_has_passed_serves_again() {
        // One request each 50 ms.
        let provider = limited(&json!({"a": {"requests_per_minute": 1_200, "requests_burst": 1}}));
        let mut client = Client::new(&provider);
        let mut served = 0;
        while served < 3 {
            let answer = client.ask("/v1/responses", "a", &streamed()).unwrap();
            served += usize::from(answer.status == 200);
        }
        let entries = provider.ledger().entries();
        let served: Vec<&Entry> = entries.iter().filter(|entry| !entry.refused).collect();
        for pair in served.windows(2) {
            assert!(pair[1].ended_at.unwrap().since(pair[0].at) >= Duration::from_millis(50));
        }
    }

    #[test]
    fn requests_at_once_are_limited_until_one_ends() {
        let provider = scripted(&json!([
            {"match": {"credential": "a"}, "limit": {"concurrent": 1}},
            {"times": 1, "do": {"fault": "slow_stream", "gap_ms": 10_000}},
        ]));
        let mut first = Client::new(&provider);
        first.send(&post("/v1/messages", "a", &streamed().to_string()));
        first.head().unwrap();
        let refused = once(&provider, "/v1/messages", "a", &streamed());
        assert_eq!(refused.status, 429);
        assert!(refused.text().contains("concurrent"));
        drop(first);
        let free = |entries: &[Entry]| entries[0].ended == Ended::ClientGone;
        assert!(provider.ledger().wait_until(free, PATIENCE));
        assert_eq!(
            once(&provider, "/v1/messages", "a", &streamed()).status,
            200
        );
    }

    #[test]
    fn limits_are_set_and_cleared_over_http() {
        let provider = provider();
        let mut client = Client::new(&provider);
        let limits = json!({"a": {"requests_per_minute": 0}});
        assert_eq!(client.ask("/_limits", "", &limits).unwrap().status, 200);
        assert_eq!(client.ask("/v1/x", "a", &json!({})).unwrap().status, 429);
        client.get("DELETE", "/_limits", "");
        assert_eq!(client.ask("/v1/x", "a", &json!({})).unwrap().status, 200);
        let refused = client.ask("/_limits", "", &json!({"a": {"requests": 1}}));
        assert_eq!(refused.unwrap().status, 400);
    }

    #[test]
    fn limits_are_set_as_values_too() {
        let provider = provider();
        provider.script().limit(
            "a",
            Limits {
                model: Some("m1".to_owned()),
                requests_per_minute: Some(0),
                ..Limits::default()
            },
        );
        let status = |model| once(&provider, "/v1/messages", "a", &json!({"model": model})).status;
        assert_eq!([status("m1"), status("m2")], [429, 200]);
    }
}

mod ledger {
    use super::*;

    #[test]
    fn an_entry_shows_what_arrived() {
        let provider = provider();
        let body = json!({"model": "m", "stream": true}).to_string();
        let mut client = Client::new(&provider);
        client.send(&format!(
            "POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: a\r\nX-Twice: 1\r\nX-Twice: 2\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer().unwrap();
        let entry = only(&provider);
        assert_eq!(
            (entry.credential.as_str(), entry.path.as_str()),
            ("a", "/v1/messages?beta=true")
        );
        assert_eq!(entry.model.as_deref(), Some("m"));
        assert!(entry.stream && entry.body_whole);
        assert_eq!(&entry.body[..], body.as_bytes());
        assert_eq!(entry.body_len, body.len() as u64);
        assert_eq!(entry.headers.get_all("x-twice").iter().count(), 2);
        assert_eq!((entry.status, entry.ended), (200, Ended::Whole));
        assert_eq!((entry.input_tokens, entry.output_tokens), (7, 16));
    }

    #[test]
    fn a_body_in_chunks_arrives_whole_and_is_awaited_by_100_continue() {
        let provider = provider();
        let mut client = Client::new(&provider);
        client.send(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\nexpect: 100-continue\r\n\
             transfer-encoding: chunked\r\n\r\n",
        );
        assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("8;x=y\r\n{\"model\"\r\n5\r\n:\"m\"}\r\n0\r\ntrailer: x\r\n\r\n");
        assert_eq!(client.answer().unwrap().json()["model"], "m");
        assert_eq!(&only(&provider).body[..], b"{\"model\":\"m\"}");
    }

    #[test]
    fn requests_that_come_together_are_answered_in_order() {
        let provider = provider();
        let mut client = Client::new(&provider);
        let two = post("/v1/messages", "a", "{}") + &post("/v1/responses", "b", "{}");
        client.send(&two);
        assert_eq!(client.answer().unwrap().json()["type"], "message");
        assert_eq!(client.answer().unwrap().json()["object"], "response");
        let entries = provider.ledger().entries();
        assert_eq!(entries[0].connection, entries[1].connection);
    }

    #[test]
    fn an_ambiguous_request_is_refused_and_its_connection_closed() {
        let provider = provider();
        let mut client = Client::new(&provider);
        client.send(
            "POST / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        );
        assert_eq!(client.answer().unwrap().status, 400);
        assert!(provider.ledger().entries().is_empty());
    }

    #[test]
    fn an_old_client_gets_a_stream_that_ends_with_the_connection() {
        let provider = provider();
        let mut client = Client::new(&provider);
        let body = streamed().to_string();
        client.send(&format!(
            "POST /v1/messages HTTP/1.0\r\nx-api-key: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let (read, end) = client.rest();
        assert!(end.is_ok());
        let text = String::from_utf8(read).unwrap();
        assert!(text.contains("connection: close") && !text.contains("chunked"));
        assert!(text.ends_with("data: {\"type\":\"message_stop\"}\n\n"));
    }

    #[test]
    fn the_sums_hold_over_http() {
        let provider = scripted(&json!([
            {"match": {"credential": "a"}, "times": 1, "do": {"corpus": "anth-529"}},
            {"match": {"credential": "a"}, "times": 1, "do": {"fault": "cut_stream", "events": 2, "clean": true}},
        ]));
        let mut client = Client::new(&provider);
        for _ in 0..4 {
            client.ask("/v1/messages", "a", &streamed()).unwrap();
        }
        let view = client.get("GET", "/_ledger?entries", "").json();
        let sums = &view["credentials"]["a"];
        for (name, expected) in [
            ("requests", 4),
            ("served", 2),
            ("refused", 1),
            ("broken", 1),
            ("in_flight", 0),
        ] {
            assert_eq!(sums[name], expected, "{name}");
        }
        assert_eq!(sums["tokens"]["output"], 6);
        assert!(sums["first"].as_str().unwrap() <= sums["last"].as_str().unwrap());
        assert_eq!(view["entries"].as_array().unwrap().len(), 4);
        assert_eq!(view["connections_open"], 1);
        client.get("DELETE", "/_ledger", "");
        let view = client.get("GET", "/_ledger", "").json();
        assert_eq!(view["credentials"], json!({}));
    }

    #[test]
    fn a_request_under_way_survives_a_clear_in_no_sum_but_in_flight() {
        let provider = scripted(&json!({"do": {"fault": "hang"}}));
        let mut client = Client::new(&provider);
        client.send(&post("/v1/messages", "a", "{}"));
        let ledger = provider.ledger();
        assert!(ledger.wait_until(|entries| entries.len() == 1, PATIENCE));
        ledger.clear();
        assert_eq!(
            ledger.totals("a"),
            Totals {
                in_flight: 1,
                ..Totals::default()
            }
        );
        drop(client);
        wait_closed(&provider);
        assert_eq!(ledger.totals("a"), Totals::default());
    }

    #[test]
    fn the_ring_is_bounded_and_the_sums_are_not() {
        let provider = Provider::start(Options {
            entries_kept: 2,
            body_kept: 4,
            bodies_kept: 6,
            ..Options::default()
        })
        .unwrap();
        let mut client = Client::new(&provider);
        for _ in 0..5 {
            client.ask("/v1/x", "a", &json!({"x": 1})).unwrap();
        }
        let entries = provider.ledger().entries();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].number, entries[1].number), (3, 4));
        assert_eq!(
            (&entries[0].body[..], &entries[1].body[..]),
            (&b""[..], &b"{\"x\""[..])
        );
        assert_eq!(provider.ledger().count("a"), 5);
    }

    #[test]
    fn nothing_is_recorded_where_only_sums_are_wanted() {
        let provider = Provider::start(Options {
            record: false,
            ..Options::default()
        })
        .unwrap();
        once(&provider, "/v1/messages", "a", &streamed());
        assert!(provider.ledger().entries().is_empty());
        assert_eq!(provider.ledger().totals("a").served, 1);
    }

    #[tokio::test]
    async fn a_state_is_awaited_without_blocking() {
        let provider = provider();
        let ledger = provider.ledger().clone();
        let waiting = tokio::task::spawn_blocking(move || {
            once(&provider, "/v1/messages", "a", &streamed());
            provider
        });
        let whole = |entries: &[Entry]| entries.iter().any(|entry| entry.ended == Ended::Whole);
        assert!(ledger.until(whole, PATIENCE).await);
        assert!(!ledger.until(|_| false, Duration::from_millis(5)).await);
        drop(waiting.await.unwrap());
    }
}

mod life {
    use super::*;

    #[test]
    fn a_stopped_provider_refuses_and_may_come_back_at_its_address() {
        let provider = scripted(&json!({"do": {"fault": "hang"}}));
        let addr = provider.addr();
        let ledger = provider.ledger().clone();
        let mut client = Client::new(&provider);
        client.send(&post("/v1/messages", "a", "{}"));
        assert!(ledger.wait_until(|entries| entries.len() == 1, PATIENCE));
        provider.stop();
        assert_eq!(ledger.entries()[0].ended, Ended::Stopped);
        assert_eq!(client.rest().0, b"");
        let refused = Client::connect(addr).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let again = Provider::start(Options {
            listen: addr,
            workers: 2,
            ..Options::default()
        })
        .unwrap();
        assert_eq!(once(&again, "/v1/messages", "a", &streamed()).status, 200);
    }

    #[test]
    fn connections_are_counted() {
        let provider = provider();
        let mut clients: Vec<Client> = (0..5).map(|_| Client::new(&provider)).collect();
        for client in &mut clients {
            client.ask("/v1/messages", "a", &streamed()).unwrap();
        }
        assert_eq!(provider.open_connections(), 5);
        drop(clients);
        wait_closed(&provider);
    }

    fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let chain = vec![made.cert.der().clone()];
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.unwrap())
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    #[test]
    fn tls_is_served_and_reset_beneath() {
        let (server, client) = tls();
        let provider = Provider::start(Options {
            tls: Some(server),
            ..Options::default()
        })
        .unwrap();
        let ask = || {
            let name = "localhost".try_into().unwrap();
            let session = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
            let stream = TcpStream::connect(provider.addr()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let request = post("/v1/messages", "a", "{}");
            let request = request.replace("content-type", "connection: close\r\ncontent-type");
            stream.write_all(request.as_bytes()).unwrap();
            let mut read = String::new();
            stream.read_to_string(&mut read).map(|_| read)
        };
        assert!(ask().unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
        let rule = json!({"do": {"fault": "reset_after_request"}}).to_string();
        provider.script().push_json(&rule).unwrap();
        assert_eq!(ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn hyper_keeps_its_connection_over_streams_and_large_bodies() {
        use http_body_util::{BodyExt, Full};
        use hyper_util::rt::TokioIo;

        let provider = provider();
        let stream = tokio::net::TcpStream::connect(provider.addr()).await;
        let io = TokioIo::new(stream.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let tasks = authpool::tasks::Tasks::new();
        let driving = tasks.spawn(connection);
        for size in [10, 100_000, 3_000_000] {
            let body = json!({"model": "m", "stream": true, "pad": "x".repeat(size)}).to_string();
            let length = body.len();
            let request = http::Request::post("/v1/messages")
                .header("host", "x")
                .header("x-api-key", "a")
                .body(Full::new(bytes::Bytes::from(body)))
                .unwrap();
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.contains(&format!("A prompt of {length} bytes:")));
            assert!(text.ends_with("{\"type\":\"message_stop\"}\n\n"));
        }
        assert!(
            provider
                .ledger()
                .entries()
                .iter()
                .all(|entry| entry.connection == 0)
        );
        drop(sender);
        driving.await.unwrap().unwrap();
    }
}
