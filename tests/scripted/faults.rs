//! Each scripted fault, read raw.

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
    let provider = scripted(&json!([{"times": 1, "do": {"fault": "slow_stream", "gap_ms": 5}}]));
    let slow = begin(&provider).answer().unwrap();
    let fast = begin(&provider).answer().unwrap();
    assert_eq!(slow.body, fast.body);
    let first = &provider.ledger().entries()[0];
    // Nine events have eight gaps.
    assert_eq!(first.written.len(), 9);
    let gaps = first.written.windows(2).map(|pair| pair[1].since(pair[0]));
    assert!(gaps.min().unwrap() >= Duration::from_millis(5));
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
    client.send("POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{");
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
    client.send("POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{");
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
    client.send("POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 20000000\r\n\r\n{");
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
fn a_connection_is_not_idle_before_its_first_request() {
    let provider = Provider::start(Options {
        idle_close: Some(IdleClose {
            chance: 1.0,
            min: Duration::ZERO,
            max: Duration::ZERO,
        }),
        ..Options::default()
    })
    .unwrap();
    for _ in 0..10 {
        let mut client = Client::new(&provider);
        // Accepted before it is asked.
        assert!(provider.wait_connections(|open| open == 1, PATIENCE));
        let answer = client.ask("/v1/messages", "a", &streamed()).unwrap();
        assert_eq!(answer.status, 200);
        assert!(client.rest().1.is_ok());
        wait_closed(&provider);
    }
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
