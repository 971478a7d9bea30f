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

#[test]
fn strip_tells_nothing_of_limits_neither_with_answers_nor_with_refusals() {
    let provider = provider(&["cred-a", "cred-b"], 1, 90_000);
    let mut setup = setup("openai", "strip");
    setup.pool.push_str("\nmax_wait = \"0s\"");
    let authpool = setup.start(provider.addr());
    let ask = || Ask::post("/v1/chat/completions", chat("gpt-x", false)).send(authpool.addr);
    let answers: Vec<Answer> = (0..3).map(|_| ask()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    for answer in &answers {
        assert_eq!(limits(answer), []);
    }
    assert!(answers[2].header("retry-after").is_some());
    assert_eq!(answers[2].header("x-authpool-code"), Some("pool_limited"));
}
