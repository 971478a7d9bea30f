//! Rules that need several files of this folder; the corpus itself is graded in `tests/conformance.rs`.

use std::time::Duration;

use super::*;
use crate::core::limit::scope::Scope;

fn now() -> WallTime {
    instant("2026-10-01T00:00:00Z").unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn read(flavour: Flavour, status: u16, lines: &[(&'static str, &str)], body: &str) -> Verdict {
    verdict(&Answer {
        flavour,
        endpoint: Endpoint::ChatCompletions,
        status,
        headers: &headers(lines),
        body: body.as_bytes(),
        received_at: now(),
    })
}

#[track_caller]
fn check(flavour: Flavour, status: u16, body: &str, class: Class, scope: Scope) {
    let verdict = read(flavour, status, &[], body);
    assert_eq!((verdict.class, verdict.scope), (class, scope), "{body}");
}

// Corpus rule 9: nothing on a served answer is a limit.
#[test]
fn a_served_answer_is_ok_whatever_its_headers_say() {
    let lines = [
        ("retry-after", "24"),
        ("x-ratelimit-remaining-requests", "0"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
    ];
    for status in [200, 201, 204, 301, 304] {
        assert_eq!(read(Flavour::OpenAi, status, &lines, "{}"), Verdict::OK);
        let head = head_verdict(
            Flavour::OpenAi,
            Endpoint::Responses,
            status,
            &headers(&lines),
            now(),
        );
        assert_eq!(head, Verdict::OK);
    }
}

// D7: a permission that concerns one model must not retire the key.
#[test]
fn a_refused_model_does_not_condemn_the_key() {
    check(
        Flavour::OpenAi,
        403,
        r#"{"error":{"message":"Project `proj_x` does not have access to model `o3`","type":"invalid_request_error","code":"model_not_found"}}"#,
        Class::CredentialInvalid,
        Scope::PER_MODEL,
    );
    check(
        Flavour::Bedrock,
        403,
        r#"{"message":"You don't have access to the model with the specified model ID."}"#,
        Class::CredentialInvalid,
        Scope::PER_MODEL,
    );
    check(
        Flavour::Anthropic,
        403,
        r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#,
        Class::CredentialInvalid,
        Scope::NONE,
    );
}

// CLIENTS, Blaming the wrong thing.
#[test]
fn a_403_is_not_always_about_the_key() {
    check(
        Flavour::OpenRouter,
        403,
        r#"{"error":{"code":403,"message":"Input was refused","metadata":{"reasons":["violence"],"flagged_input":"..."}}}"#,
        Class::ClientError,
        Scope::NONE,
    );
    check(
        Flavour::OpenRouter,
        403,
        r#"{"error":{"message":"Key limit exceeded. Manage it using https://openrouter.ai/settings/keys","code":403}}"#,
        Class::QuotaExhausted,
        Scope::SPEND | Scope::PER_CREDENTIAL,
    );
    check(
        Flavour::Gemini,
        403,
        r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"You do not have permission to access the File abc or it may not exist."}}"#,
        Class::ClientError,
        Scope::NONE,
    );
}

// Corpus rule 3: a daily bucket whose answer states a wait under an hour is rolling.
#[test]
fn a_day_is_a_quota_unless_it_rolls() {
    let day = |wait: &str| {
        format!(
            r#"{{"error":{{"message":"Rate limit reached for gpt-4o in organization org-x on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in {wait}.","type":"requests","code":"rate_limit_exceeded"}}}}"#
        )
    };
    let scope = Scope::REQUESTS | Scope::PER_MODEL | Scope::PER_ORG | Scope::DAY;
    check(
        Flavour::OpenAi,
        429,
        &day("7m12s"),
        Class::RateLimited,
        scope,
    );
    check(
        Flavour::OpenAi,
        429,
        &day("11h7m12s"),
        Class::QuotaExhausted,
        scope,
    );
}

// D4: a stated wait is kept, 35 days at most.
#[test]
fn a_stated_wait_is_bounded_at_35_days_only() {
    let wait = |seconds: &str| read(Flavour::OpenAi, 429, &[("retry-after", seconds)], "").wait;
    assert_eq!(wait("604800"), Some(Duration::from_secs(604_800)));
    assert_eq!(wait("8640000"), Some(Duration::from_secs(3_024_000)));
    assert_eq!(wait("-1"), None);
}

// Corpus, Wait: the reset of the dimension whose remaining is 0, not the latest of all.
#[test]
fn the_spent_dimension_decides_the_wait() {
    let lines = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "5s"),
        ("x-ratelimit-remaining-tokens", "10"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let verdict = read(Flavour::OpenAi, 429, &lines, "");
    assert_eq!(verdict.wait, Some(Duration::from_secs(5)));
    assert_eq!(verdict.scope, Scope::REQUESTS);
}

// CLIENTS: a 429 of count_tokens says nothing about inference.
#[test]
fn a_limit_on_counting_tokens_bars_its_own_group_alone() {
    let none = HeaderMap::new();
    let verdict = head_verdict(Flavour::Anthropic, Endpoint::CountTokens, 429, &none, now());
    assert_eq!(verdict.scope, Scope::PER_MODEL);
}

// D2.
#[test]
fn an_error_event_is_told_from_content_that_quotes_one() {
    let none = HeaderMap::new();
    let event = |data: &str, event| {
        stream_error(
            Flavour::OpenAi,
            Endpoint::Responses,
            &none,
            data.as_bytes(),
            event,
            now(),
        )
        .map(|verdict| verdict.class)
    };
    let table = [
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}}}"#,
            None,
            Some(Class::RateLimited),
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}"#,
            None,
            Some(Class::UpstreamError),
        ),
        (
            r#"{"type":"error","code":"insufficient_quota","message":"x","param":null}"#,
            Some("error"),
            Some(Class::QuotaExhausted),
        ),
        (
            r#"{"type":"response.output_text.delta","delta":"\"error\": rate_limit_exceeded"}"#,
            None,
            None,
        ),
        (
            r#"{"type":"response.created","response":{"error":null}}"#,
            None,
            None,
        ),
        (
            r#"{"choices":[{"delta":{"content":"x"}}],"error":null}"#,
            None,
            None,
        ),
        ("Overloaded", Some("error"), Some(Class::Overloaded)),
        ("[DONE]", None, None),
    ];
    for (data, name, expected) in table {
        assert_eq!(event(data, name), expected, "{data}");
    }
}

// Corpus rule 2: if JSON is cut off, the text may still decide.
#[test]
fn an_error_of_which_only_the_beginning_came_is_read_as_far_as_it_goes() {
    let body = r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29937, Requested 385. Please try again in 644ms. Vis"#;
    let verdict = read(Flavour::OpenAi, 429, &[], body);
    assert_eq!(verdict.wait, Some(Duration::from_millis(644)));
    assert!(verdict.scope.contains(Scope::PER_MODEL | Scope::TOKENS));
}

// Corpus, OpenRouter: headers inside the body, milliseconds since the epoch.
#[test]
fn headers_inside_the_body_state_a_wait_too() {
    let body = r#"{"error":{"message":"Rate limit exceeded: free-models-per-min. ","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1790812830000"}}}}"#;
    let verdict = read(Flavour::OpenRouter, 429, &[], body);
    assert_eq!(verdict.wait, Some(Duration::from_secs(30)));
    assert_eq!(verdict.class, Class::RateLimited);
    assert_eq!(verdict.scope, Scope::REQUESTS | Scope::MINUTE);
}
