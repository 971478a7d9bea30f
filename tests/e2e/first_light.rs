//! The thinnest path: one request, streamed and not, through the real binary.

use authpool::scripted::{Options, Provider};

use super::support::client::{Ask, chat};
use super::support::{CLIENT_KEY, Setup};

const LIMITED: &str = r#"{"match":{"credential":"cred-a"},"times":null,"do":{"status":429,
    "headers":{"retry-after":"7","content-type":"application/json"},
    "body":"{\"error\":{\"message\":\"Rate limit reached\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}"}}"#;

// F1, F3, C8 (a), K4
#[test]
fn a_request_is_served_by_another_subscription_when_the_first_is_limited() {
    let provider = Provider::start(Options::default()).unwrap();
    provider.script().push_json(LIMITED).unwrap();
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    for stream in [false, true] {
        let body = chat("gpt-x", stream);
        let answer = Ask::post("/v1/chat/completions", body.clone()).send(authpool.addr);
        assert_eq!(
            (answer.status, answer.whole),
            (200, true),
            "{}",
            answer.text()
        );
        assert_eq!(answer.text().contains("data: [DONE]"), stream);
        assert!(answer.header("x-authpool-request-id").is_some());
        let direct = Ask::post("/v1/chat/completions", body).header("x-api-key", "cred-d");
        let direct = direct.without("authorization").send(provider.addr());
        assert_eq!(answer.body, direct.body, "the answer is the provider's own");
    }
    assert_eq!(provider.ledger().count("cred-a"), 1);
    assert_eq!(provider.ledger().count("cred-b"), 2);
    let entries = provider.ledger().entries();
    let leaked = entries
        .iter()
        .flat_map(|entry| entry.headers.values())
        .any(|value| value.to_str().is_ok_and(|value| value.contains(CLIENT_KEY)));
    assert!(!leaked, "the client's key must not reach the provider");
}
