//! What clients see of limits: D9.

use authpool::scripted::{Limits, Options, Provider};

use super::support::Setup;
use super::support::client::{Answer, Ask, chat, message};

/// A provider whose credentials may do so many requests and so many tokens of each kind a minute.
fn provider(credentials: &[&str], requests: u64, tokens: u64) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    for credential in credentials {
        provider.script().limit(
            credential,
            Limits {
                requests_per_minute: Some(requests),
                tokens_per_minute: Some(tokens),
                ..Limits::default()
            },
        );
    }
    provider
}

/// The lines about limits, by name.
fn limits(answer: &Answer) -> Vec<(&str, &str)> {
    let mut lines: Vec<(&str, &str)> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.contains("ratelimit"))
        .map(|(name, value)| (&**name, &**value))
        .collect();
    lines.sort_unstable();
    lines
}

fn setup(dialect: &'static str, limit_headers: &str) -> Setup {
    let mut setup = Setup::new(dialect, &["a", "b"]);
    setup.pool = format!("limit_headers = {limit_headers:?}");
    setup
}

#[test]
fn upstream_passes_what_the_provider_says_of_the_subscription_that_served() {
    let provider = provider(&["cred-a", "cred-b"], 600, 90_000);
    let authpool = setup("openai", "upstream").start(provider.addr());
    let answer = Ask::post("/v1/chat/completions", chat("gpt-x", false)).send(authpool.addr);
    assert_eq!(answer.status, 200);
    let lines = limits(&answer);
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "x-ratelimit-limit-requests",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-requests",
            "x-ratelimit-reset-tokens",
        ]
    );
    assert_eq!((lines[0].1, lines[2].1), ("600", "599"));
    assert!(answer.header("openai-organization").is_none());
}

#[test]
fn upstream_passes_anthropics_too_and_that_of_an_answer_that_is_an_error() {
    let provider = provider(&["cred-a", "cred-b"], 600, 90_000);
    provider
        .script()
        .push_json(
            r#"{"match":{},"times":1,"do":{"status":400,"headers":{"content-type":"application/json",
            "anthropic-ratelimit-requests-limit":"7","anthropic-organization-id":"org-secret"},"body":"{}"}}"#,
        )
        .unwrap();
    let authpool = setup("anthropic", "upstream").start(provider.addr());
    let ask = || Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr);
    let answer = ask();
    assert_eq!(answer.status, 400);
    assert_eq!(
        limits(&answer),
        [("anthropic-ratelimit-requests-limit", "7")]
    );
    assert!(answer.header("anthropic-organization-id").is_none());
    let answer = ask();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("anthropic-ratelimit-requests-remaining"),
        Some("599")
    );
}

/// Of two subscriptions with one request left each, and a client that will not wait.
fn two_served_and_one_refused(limit_headers: &str) -> Vec<Answer> {
    let provider = provider(&["cred-a", "cred-b"], 1, 90_000);
    let mut setup = setup("openai", limit_headers);
    setup.pool.push_str("\nmax_wait = \"0s\"");
    let authpool = setup.start(provider.addr());
    let ask = || Ask::post("/v1/chat/completions", chat("gpt-x", false)).send(authpool.addr);
    let answers: Vec<Answer> = (0..3).map(|_| ask()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    answers
}

#[test]
fn strip_tells_nothing_of_limits_neither_with_answers_nor_with_refusals() {
    let answers = two_served_and_one_refused("strip");
    for answer in &answers {
        assert_eq!(limits(answer), []);
    }
    assert!(answers[2].header("retry-after").is_some());
    assert_eq!(answers[2].header("x-authpool-code"), Some("pool_limited"));
}

/// What a line says, as a number.
fn figure(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(name).unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap()
}

#[test]
fn pool_tells_the_sum_of_what_its_subscriptions_told_and_nothing_before_they_did() {
    // After one request the half of a's is gone, and b of which nothing is known is asked.
    let provider = provider(&["cred-a", "cred-b"], 2, 90_000);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    let ask = || Ask::post("/v1/chat/completions", chat("gpt-x", false)).send(authpool.addr);
    let (first, second) = (ask(), ask());
    assert_eq!((first.status, second.status), (200, 200));
    // The subscription that was not asked yet has told nothing.
    assert_eq!(figure(&first, "x-ratelimit-limit-requests"), 2);
    assert_eq!(figure(&second, "x-ratelimit-limit-requests"), 4);
    assert_eq!(figure(&second, "x-ratelimit-limit-tokens"), 180_000);
    assert_eq!(figure(&second, "x-ratelimit-remaining-requests"), 2);
    let reset = second.header("x-ratelimit-reset-requests").unwrap();
    assert!(reset.ends_with('s') && reset != "0s", "{reset}");
    // Another model has a limit group of its own.
    let other = Ask::post("/v1/chat/completions", chat("gpt-y", false)).send(authpool.addr);
    assert_eq!(figure(&other, "x-ratelimit-limit-requests"), 2);
}

#[test]
fn pool_tells_anthropics_clients_in_anthropics_words() {
    let provider = Provider::start(Options::default()).unwrap();
    for credential in ["cred-a", "cred-b"] {
        provider.script().limit(
            credential,
            Limits {
                requests_per_minute: Some(2),
                input_tokens_per_minute: Some(50_000),
                output_tokens_per_minute: Some(10_000),
                ..Limits::default()
            },
        );
    }
    let authpool = Setup::new("anthropic", &["a", "b"]).start(provider.addr());
    let ask = || Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr);
    ask();
    let answer = ask();
    assert_eq!(answer.status, 200);
    for (name, limit) in [
        ("requests", 4),
        ("input-tokens", 100_000),
        ("output-tokens", 20_000),
        ("tokens", 120_000),
    ] {
        let line = |what: &str| format!("anthropic-ratelimit-{name}-{what}");
        assert_eq!(figure(&answer, &line("limit")), limit, "{name}");
        assert!(figure(&answer, &line("remaining")) <= limit, "{name}");
        let reset = answer.header(&line("reset")).unwrap();
        assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
    }
    assert!(
        answer
            .header("anthropic-ratelimit-unified-status")
            .is_none()
    );
}

#[test]
fn pool_tells_a_whole_pools_windows_as_one_plans() {
    let provider = Provider::start(Options::default()).unwrap();
    for (credential, used) in [("cred-a", "0.2"), ("cred-b", "0.6")] {
        let rule = format!(
            r#"{{"match":{{"credential":"{credential}"}},"do":{{"status":200,"headers":{{"content-type":"application/json",
            "anthropic-ratelimit-unified-status":"allowed","anthropic-ratelimit-unified-5h-status":"allowed",
            "anthropic-ratelimit-unified-5h-utilization":"{used}","anthropic-ratelimit-unified-5h-reset":"4102444800"}},
            "body":"{{}}"}}}}"#
        );
        provider.script().push_json(&rule).unwrap();
    }
    let authpool = Setup::new("anthropic", &["a", "b"]).start(provider.addr());
    let ask = || Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr);
    ask();
    let answer = ask();
    assert_eq!(
        limits(&answer),
        [
            ("anthropic-ratelimit-unified-5h-reset", "4102444800"),
            ("anthropic-ratelimit-unified-5h-status", "allowed"),
            ("anthropic-ratelimit-unified-5h-utilization", "0.4"),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "five_hour"
            ),
            ("anthropic-ratelimit-unified-reset", "4102444800"),
            ("anthropic-ratelimit-unified-status", "allowed"),
        ]
    );
}

#[test]
fn a_refusal_of_the_pool_tells_the_limits_that_are_its_reason() {
    let answers = two_served_and_one_refused("pool");
    let refusal = &answers[2];
    assert_eq!(refusal.header("x-authpool-code"), Some("pool_limited"));
    assert_eq!(figure(refusal, "x-ratelimit-limit-requests"), 2);
    assert_eq!(figure(refusal, "x-ratelimit-remaining-requests"), 0);
    assert_eq!(figure(refusal, "x-ratelimit-limit-tokens"), 180_000);
}
