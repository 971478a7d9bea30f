//! The operator's own rules of what an answer means (D10), from the file to what the client and the provider see.

use authpool::scripted::{Options, Provider};
use serde_json::{Value, json};

use super::support::client::{Answer, Ask, chat};
use super::support::{Authpool, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";

/// A refusal that by itself is the client's own fault.
const SEATS: &str = r#"{"error":{"message":"All seats of your plan are taken","type":"invalid_request_error","param":null,"code":null}}"#;

/// What makes it a limit of this key.
const SEATS_ARE_A_LIMIT: &str = "[[rule]]\nstatus = [400]\nbody = \"*ALL SEATS*\"\nverdict = \"rate_limited\"\n\
                                 scope = [\"per_credential\", \"concurrency\"]\nwait = \"20s\"\n";

fn provider(script: &Value) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    provider.script().push_json(&script.to_string()).unwrap();
    provider
}

fn answers(credential: &str, status: u16, headers: &Value, body: &str) -> Value {
    json!({"match": {"credential": credential}, "do": {"status": status, "headers": headers, "body": body}})
}

fn seats(credential: &str) -> Value {
    answers(
        credential,
        400,
        &json!({"content-type": "application/json"}),
        SEATS,
    )
}

/// The key `a` goes first, `b` serves where `a` does not.
fn setup(rules: &str) -> Setup {
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.subscriptions[1].2 = "priority = 1".to_owned();
    setup.more = rules.to_owned();
    setup
}

fn ask(authpool: &Authpool) -> Answer {
    Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr)
}

fn credentials(provider: &Provider) -> Vec<String> {
    let entries = provider.ledger().entries();
    entries
        .iter()
        .map(|entry| entry.credential.clone())
        .collect()
}

// D10, C8 (a): the rule's verdict decides, not the provider's words, and its wait holds
#[test]
fn an_answer_that_reads_as_the_clients_fault_becomes_a_limit_and_another_key_serves() {
    let provider = provider(&json!([seats("cred-a")]));
    let plain = setup("").start(provider.addr());
    assert_eq!(ask(&plain).status, 400, "without a rule it is the client's");
    provider.ledger().clear();
    let authpool = setup(SEATS_ARE_A_LIMIT).start(provider.addr());
    for _ in 0..3 {
        assert_eq!(ask(&authpool).status, 200);
    }
    let expected = ["cred-a", "cred-b", "cred-b", "cred-b"];
    assert_eq!(
        credentials(&provider),
        expected,
        "cooling, it is not asked again"
    );
    let cooling = authpool.series("authpool_cooldown_seconds", &[("subscription", "a")]);
    assert!(10.0 < cooling && cooling <= 20.0, "{cooling}");
}

// D10, C6: nothing left to serve: what the client is told is the rule's wait
#[test]
fn a_rules_wait_is_what_the_client_is_told() {
    let provider = provider(&json!([seats("cred-a"), seats("cred-b")]));
    let authpool = setup(SEATS_ARE_A_LIMIT).start(provider.addr());
    let answer = Ask::post(CHAT, chat("gpt-x", false))
        .header("x-authpool-max-wait", "0s")
        .send(authpool.addr);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (429, Some("pool_limited"))
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((15..=25).contains(&wait), "{wait}");
    assert_eq!(provider.ledger().entries().len(), 2, "each key once");
}

// D10, C8 (c): of a served answer the head tells
#[test]
fn a_page_behind_a_200_is_a_failure_by_its_head_and_another_key_serves() {
    let head = json!({"content-type": "text/html; charset=utf-8", "x-gateway": "maintenance"});
    let page = answers("cred-a", 200, &head, "<html>back soon</html>");
    let provider = provider(&json!([page]));
    let rules = "[[rule]]\nstatus = [\"2xx\"]\nheaders = { X-Gateway = \"Maint*\" }\nverdict = \"upstream_error\"\n";
    let authpool = setup(rules).start(provider.addr());
    let answer = ask(&authpool);
    assert_eq!(answer.status, 200);
    assert!(answer.json()["choices"].is_array(), "{}", answer.text());
    assert_eq!(credentials(&provider), ["cred-a", "cred-b"]);
    // C8 (g): where no other is left it passes as received.
    let mut alone = setup(rules);
    alone.subscriptions.truncate(1);
    let answer = ask(&alone.start(provider.addr()));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "<html>back soon</html>")
    );
}

// D10: the first match in file order wins, per provider; and "ok" lets an error pass that authpool would act on
#[test]
fn the_first_rule_that_is_for_the_provider_decides() {
    let limited = json!({"content-type": "application/json", "retry-after": "30"});
    let body = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let provider = provider(&json!([answers("cred-a", 429, &limited, body)]));
    let rules = "[[rule]]\nproviders = [\"another\"]\nstatus = [429]\nverdict = \"credential_invalid\"\n\
                 [[rule]]\nstatus = [429]\nbody = \"*rate limit*\"\nverdict = \"ok\"\n\
                 [[rule]]\nstatus = [\"4xx\"]\nverdict = \"quota_exhausted\"\n";
    let mut setup = setup(rules);
    let base_url = setup.base_url(provider.addr());
    setup.apart = vec![("another".to_owned(), base_url)];
    let authpool = setup.start(provider.addr());
    for _ in 0..2 {
        let answer = ask(&authpool);
        assert_eq!((answer.status, answer.text().as_str()), (429, body));
    }
    assert_eq!(credentials(&provider), ["cred-a", "cred-a"]);
}

// D10: an error that has no body to wait for is ruled on all the same
#[test]
fn an_error_without_a_body_is_ruled_on_by_its_head() {
    let provider = provider(&json!([answers("cred-a", 404, &json!({}), "")]));
    let rules = "[[rule]]\nstatus = [404]\nbody = \"*x*\"\nverdict = \"client_error\"\n\
                 [[rule]]\nstatus = [404]\nverdict = \"rate_limited\"\nwait = \"30s\"\n";
    let authpool = setup(rules).start(provider.addr());
    assert_eq!(ask(&authpool).status, 200);
    assert_eq!(credentials(&provider), ["cred-a", "cred-b"]);
}

// D10, D2: a stream says for itself what went wrong in it
#[test]
fn an_error_event_in_a_stream_is_no_rules_business() {
    let event = "data: {\"error\":{\"message\":\"Rate limit reached\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}\n\n";
    let stream = answers(
        "cred-a",
        200,
        &json!({"content-type": "text/event-stream"}),
        event,
    );
    let provider = provider(&json!([stream]));
    let rules = "[[rule]]\nheaders = { content-type = \"*\" }\nverdict = \"ok\"\n\
                 [[rule]]\nbody = \"*rate limit*\"\nverdict = \"client_error\"\n";
    let authpool = setup(rules).start(provider.addr());
    let answer = Ask::post(CHAT, chat("gpt-x", true)).send(authpool.addr);
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("Rate limit"), "{}", answer.text());
    assert_eq!(credentials(&provider), ["cred-a", "cred-b"]);
}

// D10, O2
#[test]
fn a_reload_brings_rules_and_takes_them_away() {
    let provider = provider(&json!([seats("cred-a")]));
    let without = setup("");
    let with = setup(SEATS_ARE_A_LIMIT);
    let base_url = without.base_url(provider.addr());
    let authpool = without.start(provider.addr());
    assert_eq!(ask(&authpool).status, 400);
    let reload = |setup: &Setup, times: usize| {
        std::fs::write(&authpool.config, setup.text(&base_url)).unwrap();
        authpool.signal("HUP");
        eventually("the configuration is reloaded", || {
            authpool.log().matches(": reloaded").count() == times
        });
    };
    reload(&with, 1);
    assert_eq!(ask(&authpool).status, 200);
    // `a` cools now, by a verdict that stays though its rule goes.
    reload(&without, 2);
    assert_eq!(ask(&authpool).status, 200);
    let cooling = authpool.series("authpool_cooldown_seconds", &[("subscription", "a")]);
    assert!(0.0 < cooling, "{cooling}");
}
