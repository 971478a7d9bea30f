//! Answers have the shapes that the SDKs read.

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
        let body =
            json!({"model": "m", "input": ["x", "y"], "encoding_format": format, "dimensions": 3});
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
