//! How often a request is tried at most, and who goes first after a limit whose end is a guess: the bounds of C8 and
//! the probe of D5, judged by the provider's ledger.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use authpool::core::time::Timestamp;
use authpool::scripted::{Options, Provider};

use super::support::client::{Answer, Ask, chat};
use super::support::{Authpool, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";
const NAMES: [&str; 20] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t",
];
const LIMITED: &str = r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;

fn provider(rule: &serde_json::Value) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    provider.script().push_json(&rule.to_string()).unwrap();
    provider
}

fn ask(authpool: &Authpool) -> Answer {
    Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr)
}

/// How many requests arrived, and by how many credentials.
fn tries(provider: &Provider) -> (usize, usize) {
    let entries = provider.ledger().entries();
    let credentials: BTreeSet<_> = entries.iter().map(|entry| &entry.credential).collect();
    (entries.len(), credentials.len())
}

// C8 (c), retry budget: 3 + 0.2 x the one request that arrived
#[test]
fn a_server_error_everywhere_is_tried_again_no_more_often_than_the_budget_allows() {
    let provider = provider(&serde_json::json!({"match": {}, "do": {"corpus": "oai-500"}}));
    let mut setup = Setup::new("openai", &NAMES[..8]);
    setup.pool = "max_attempts = 16".to_owned();
    let authpool = setup.start(provider.addr());
    let direct = Ask::post(CHAT, chat("gpt-x", false)).send(provider.addr());
    provider.ledger().clear();
    let answer = ask(&authpool);
    assert_eq!((answer.status, &answer.body), (500, &direct.body));
    assert_eq!(
        tries(&provider),
        (4, 4),
        "three retries, each on another subscription"
    );
    // Three more arrivals are worth 0.6: still less than one more retry.
    for _ in 0..3 {
        assert_eq!(ask(&authpool).status, 500);
    }
    assert_eq!(tries(&provider).0, 7);
    // The fifth arrival makes it 4.0.
    assert_eq!(ask(&authpool).status, 500);
    assert_eq!(tries(&provider).0, 9);
}

// C8 (a), (g): at most 16 tries of all kinds, then a refusal that states at least 1 s
#[test]
fn going_on_from_limited_keys_ends_after_sixteen_tries() {
    let provider = provider(&serde_json::json!({"match": {}, "do": {"status": 429,
        "headers": {"retry-after": "30", "content-type": "application/json"}, "body": LIMITED}}));
    let authpool = Setup::new("openai", &NAMES).start(provider.addr());
    let answer = ask(&authpool);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (429, Some("pool_limited"))
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1, "{wait}");
    assert_eq!(tries(&provider), (16, 16), "no key is asked twice");
}

// D4, D5: a 429 without a time is a guess of 1 s to 1.2 s, and one request goes first after it
#[test]
fn after_a_guessed_wait_one_request_goes_first_and_the_rest_on_its_answer() {
    const ANSWER: Duration = Duration::from_millis(400);
    let provider = provider(&serde_json::json!([
        {"match": {}, "times": 1, "do": {"status": 429,
            "headers": {"content-type": "application/json"}, "body": LIMITED}},
        {"match": {}, "delay_ms": 400, "do": {"serve": true}},
    ]));
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    thread::scope(|scope| {
        let observer = scope.spawn(|| ask(&authpool));
        eventually("the limit is known", || {
            authpool.metric("authpool_subscription_state{state=\"cooling\"") == 1.0
        });
        let rest: Vec<_> = (0..10).map(|_| scope.spawn(|| ask(&authpool))).collect();
        for asked in std::iter::once(observer).chain(rest) {
            assert_eq!(asked.join().unwrap().status, 200);
        }
    });
    let at: Vec<Timestamp> = provider
        .ledger()
        .entries()
        .iter()
        .map(|one| one.at)
        .collect();
    assert_eq!(at.len(), 12, "one refused, eleven served");
    let guessed = at[1].since(at[0]);
    assert!(guessed >= Duration::from_secs(1), "{guessed:?}");
    let together = at[2].since(at[1]);
    assert!(
        together >= ANSWER,
        "the second came {together:?} after the probe, before its answer"
    );
}
