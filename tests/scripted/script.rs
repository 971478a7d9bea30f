//! Which rule a request meets, and what it is answered.

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
fn a_rules_delay_comes_before_what_it_does() {
    let provider = scripted(&json!({"delay_ms": 40, "do": {"corpus": "anth-529"}}));
    let answer = once(&provider, "/v1/messages", "a", &streamed());
    assert_eq!(answer.status, 529);
    let entry = only(&provider);
    assert!(entry.ended_at.unwrap().since(entry.at) >= Duration::from_millis(40));
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
