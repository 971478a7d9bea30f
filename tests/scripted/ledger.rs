//! What the ledger says of what arrived.

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
fn a_request_may_come_byte_by_byte() {
    let provider = provider();
    let mut client = Client::new(&provider);
    let chunked = "POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ntransfer-encoding: chunked\r\n\r\n\
                   2\r\n{}\r\n0\r\n\r\n";
    for request in [chunked, &post("/v1/messages", "a", "{}")] {
        for byte in request.as_bytes() {
            client.stream.write_all(std::slice::from_ref(byte)).unwrap();
        }
        assert_eq!(client.answer().unwrap().status, 200);
    }
    let entries = provider.ledger().entries();
    assert!(entries.iter().all(|entry| &entry.body[..] == b"{}"));
}

#[test]
fn a_body_that_breaks_off_is_entered_as_far_as_it_came() {
    let provider = provider();
    let mut client = Client::new(&provider);
    client.send("POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\ncontent-length: 10\r\n\r\n{\"x\"");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let entry = ended(&provider);
    assert_eq!((entry.ended, entry.status), (Ended::ClientGone, 0));
    assert_eq!((entry.body_len, entry.body_whole), (4, false));
}

#[test]
fn many_clients_on_several_workers_are_all_counted() {
    let provider = Provider::start(Options {
        workers: 3,
        ..Options::default()
    })
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let provider = &provider;
            scope.spawn(move || {
                let key = format!("key-{}", thread % 2);
                let mut client = Client::new(provider);
                for _ in 0..50 {
                    let answer = client.ask("/v1/messages", &key, &streamed()).unwrap();
                    assert_eq!((answer.status, answer.whole), (200, true));
                }
            });
        }
    });
    let totals = ["key-0", "key-1"].map(|key| provider.ledger().totals(key));
    assert_eq!(totals.map(|totals| totals.served), [200, 200]);
    assert_eq!(provider.ledger().in_flight(), 0);
    let mut numbers: Vec<u64> = provider
        .ledger()
        .entries()
        .iter()
        .map(|entry| entry.number)
        .collect();
    numbers.dedup();
    assert_eq!(numbers, (0..400).collect::<Vec<u64>>());
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
