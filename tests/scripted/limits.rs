//! Limits, counted to the request.

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

#[test]
fn silent_limits_show_in_refusals_alone() {
    let limits = json!({"requests_per_minute": 1, "silent": true});
    let provider = limited(&json!({"a": limits}));
    let mut client = Client::new(&provider);
    for (path, limit) in [
        ("/v1/messages", "anthropic-ratelimit-requests-limit"),
        ("/v1/chat/completions", "x-ratelimit-limit-requests"),
    ] {
        let answers = [(); 2].map(|()| client.ask(path, "a", &streamed()).unwrap());
        assert!(answers.iter().all(|answer| answer.header(limit).is_none()));
        let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((40..=60).contains(&wait), "{wait}");
    }
}

#[test]
fn reserved_tokens_are_back_once_the_answer_has_ended() {
    let limits = json!({"tokens_per_minute": 1_000, "reserves_max_tokens": true});
    let provider = limited(&json!({"a": limits}));
    let mut client = Client::new(&provider);
    let body = json!({
        "model": "m",
        "max_tokens": 300,
        "scripted": {"input_tokens": 300, "output_tokens": 7},
    });
    let remaining = [(); 2].map(|()| {
        let answer = client.ask("/v1/chat/completions", "a", &body).unwrap();
        assert_eq!(answer.json()["usage"]["prompt_tokens"], 300);
        let left = answer.header("x-ratelimit-remaining-tokens").unwrap();
        left.parse::<u64>().unwrap()
    });
    assert_eq!(remaining[0], 400);
    // 293 came back and 600 went; 17 come in a second.
    assert!((93..393).contains(&remaining[1]), "{remaining:?}");
}
