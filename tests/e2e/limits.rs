//! A limit is not the user's problem: acceptance 1 to 6, each judged by the provider's ledger.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use authpool::core::time::Timestamp;
use authpool::scripted::{Entry, Options, Provider};

use super::support::client::{Answer, Ask, chat, message, response};
use super::support::{Authpool, CLIENT_KEY, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";

/// A rule that answers 429 as OpenAI does; `wait` in seconds.
fn limited(credential: &str, wait: u64, times: &str) -> String {
    format!(
        r#"{{"match":{{"credential":"{credential}"}},"times":{times},"do":{{"status":429,"headers":{{"retry-after":"{wait}",
        "content-type":"application/json"}},"body":"{{\"error\":{{\"message\":\"Rate limit reached for requests\",
        \"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}}}"}}}}"#
    )
    .replace("\n        ", "")
}

fn provider(rules: &[String]) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    for rule in rules {
        provider.script().push_json(rule).unwrap();
    }
    provider
}

fn ask(authpool: &Authpool) -> Answer {
    Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr)
}

/// Requests at a steady rate, each on a thread of its own; the answers in order.
fn offer(per_second: u32, total: u32, one: impl Fn(u32) -> Answer + Sync) -> Vec<Answer> {
    let start = Instant::now();
    thread::scope(|scope| {
        let mut asked = Vec::new();
        for number in 0..total {
            // The offered load, by the clock.
            let due = start + Duration::from_secs(1) * number / per_second;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let one = &one;
            asked.push(scope.spawn(move || one(number)));
        }
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    })
}

fn all_served(answers: &[Answer]) {
    for answer in answers {
        assert_eq!(
            (answer.status, answer.whole),
            (200, true),
            "{}",
            answer.text()
        );
    }
}

fn of(provider: &Provider, credential: &str) -> Vec<Entry> {
    provider
        .ledger()
        .entries()
        .into_iter()
        .filter(|entry| entry.credential == credential)
        .collect()
}

fn curl(authpool: &Authpool) -> Answer {
    let out = Command::new("curl")
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            "content-type: application/json",
            "-H",
        ])
        .args([
            &format!("authorization: Bearer {CLIENT_KEY}"),
            "-d",
            &chat("gpt-x", false),
        ])
        .arg(format!("http://{}{CHAT}", authpool.addr))
        .output();
    match out {
        Ok(out) => {
            let status = String::from_utf8(out.stdout).unwrap().parse().unwrap();
            Answer {
                status,
                headers: Vec::new(),
                body: Vec::new(),
                whole: true,
            }
        }
        // No curl on this machine: the same request by the tests' own client.
        Err(_) => ask(authpool),
    }
}

// Acceptance 1; C8 (a), D4, D5
#[test]
fn one_limited_subscription_of_three_is_never_seen_by_clients_and_gets_nothing_until_its_reset() {
    let provider = provider(&[limited("cred-a", 7, "null")]);
    let authpool = Setup::new("openai", &["a", "b", "c"]).start(provider.addr());
    let answers = offer(20, 600, |number| match number % 20 {
        0 => curl(&authpool),
        odd => Ask::post(CHAT, chat("gpt-x", odd % 2 == 1)).send(authpool.addr),
    });
    all_served(&answers);
    for (number, answer) in answers
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 2 == 1)
    {
        assert!(answer.text().contains("data: [DONE]"), "answer {number}");
    }
    let episodes = episodes(&of(&provider, "cred-a"), Duration::from_secs(7));
    println!("limited for 7 s under 20/s: requests per episode {episodes:?}");
    assert!(
        (4..=5).contains(&episodes.len()),
        "it is tried again after each wait: {episodes:?}"
    );
}

/// How many requests each episode of a key that always refuses took. One that arrives after the refusal was seen and
/// before its wait has passed fails the test.
#[track_caller]
fn episodes(entries: &[Entry], wait: Duration) -> Vec<usize> {
    // From the answer's last byte until a busy machine has read it, and until what was granted before has arrived.
    const ON_THE_WAY: Duration = Duration::from_millis(250);
    let mut counts: Vec<usize> = Vec::new();
    let mut last: Option<&Entry> = None;
    let mut seen = Timestamp::ZERO;
    for entry in entries {
        match (last, counts.last_mut()) {
            (Some(_), Some(count)) if entry.at <= seen + ON_THE_WAY => *count += 1,
            (Some(last), _) => {
                let after = entry.at.since(last.at);
                assert!(
                    after >= wait,
                    "asked {after:?} after a refusal that stated {wait:?}"
                );
                counts.push(1);
                seen = entry.ended_at.unwrap();
            }
            (None, _) => {
                counts.push(1);
                seen = entry.ended_at.unwrap();
            }
        }
        last = Some(entry);
    }
    counts
}

// Acceptance 2; D3
#[test]
fn a_limit_that_names_a_model_leaves_the_other_models_of_that_key_alone() {
    let rule = r#"{"match":{"credential":"cred-a","model":"m1"},"times":null,"do":{"status":429,"headers":{"retry-after":"60",
        "content-type":"application/json"},"body":"{\"error\":{\"message\":\"Rate limit reached for m1 in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1.\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}"}}"#;
    let provider = provider(&[rule.replace("\n        ", "")]);
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let first = Ask::post(CHAT, chat("m1", false))
        .header("x-authpool-max-wait", "0s")
        .send(authpool.addr);
    assert_eq!(
        (first.status, first.header("x-authpool-code")),
        (429, Some("pool_limited"))
    );
    let start = Instant::now();
    let second = Ask::post(CHAT, chat("m2", false)).send(authpool.addr);
    assert_eq!(second.status, 200, "{}", second.text());
    assert!(start.elapsed() < Duration::from_secs(1));
    let third = Ask::post(CHAT, chat("m1", false))
        .header("x-authpool-max-wait", "0s")
        .send(authpool.addr);
    assert_eq!(third.status, 429);
    assert_eq!(
        provider.ledger().count("cred-a"),
        2,
        "the limited model is not tried again"
    );
}

fn overloaded_everywhere(warm: u32) {
    let provider = provider(&[]);
    let authpool = Setup::new("anthropic", &["a", "b", "c"]).start(provider.addr());
    let one = |_| Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr);
    all_served(&offer(50, warm, one));
    provider.ledger().clear();
    provider
        .script()
        .push_json(r#"{"match":{},"times":null,"do":{"corpus":"anth-529"}}"#)
        .unwrap();
    let answers = offer(50, 500, one);
    let direct = Ask::post("/v1/messages", message("claude-x", false)).send(provider.addr());
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body),
            (529, &direct.body),
            "the provider's own answer passes"
        );
    }
    let tries: usize = ["cred-a", "cred-b", "cred-c"]
        .iter()
        .map(|name| provider.ledger().count(name))
        .sum();
    let per_request = tries as f64 / 500.0;
    println!("529 everywhere: {per_request:.3} tries per request");
    assert!((1.0..=1.22).contains(&per_request), "{per_request}");
    assert_eq!(authpool.metric("authpool_cooldown_seconds"), 0.0);
    assert_eq!(
        authpool.metric("authpool_subscription_state{state=\"ready\""),
        3.0
    );
}

// Acceptance 3; D6, C8 (b)
#[test]
fn overload_everywhere_is_retried_within_its_budget_and_blames_nobody_from_a_cold_start() {
    overloaded_everywhere(0);
}

// Acceptance 3; D6, C8 (b)
#[test]
fn overload_everywhere_is_retried_within_its_budget_and_blames_nobody_after_normal_traffic() {
    overloaded_everywhere(1000);
}

// Acceptance 4; D7
#[test]
fn a_dead_key_gets_one_request_and_clients_never_hear_of_it() {
    let rule = r#"{"match":{"credential":"cred-a"},"times":null,"do":{"status":401,"headers":{"content-type":"application/json"},
        "body":"{\"error\":{\"message\":\"Incorrect API key provided\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\"}}"}}"#;
    let provider = provider(&[rule.replace("\n        ", "")]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    all_served(&(0..40).map(|_| ask(&authpool)).collect::<Vec<_>>());
    assert_eq!(provider.ledger().count("cred-a"), 1);
    assert_eq!(
        authpool.metric("authpool_subscription_state{state=\"quarantined\",subscription=\"a\"}"),
        1.0
    );
    authpool.wait_for_line("msg=quarantined");
}

// D7, C6
#[test]
fn a_pool_whose_only_key_is_dead_says_so_and_blames_not_the_client() {
    let rule = r#"{"match":{},"times":null,"do":{"corpus":"anth-401-null-request-id"}}"#;
    let provider = provider(&[rule.to_owned()]);
    let authpool = Setup::new("anthropic", &["a"]).start(provider.addr());
    for _ in 0..3 {
        let answer = Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr);
        assert_eq!(
            (answer.status, answer.header("x-authpool-code")),
            (503, Some("pool_unavailable"))
        );
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(answer.json()["error"]["type"], "api_error");
    }
    assert_eq!(provider.ledger().count("cred-a"), 1);
}

fn burst_after_three_seconds(names: &[&'static str]) {
    let rules: Vec<String> = names
        .iter()
        .map(|name| limited(&format!("cred-{name}"), 3, "1"))
        .collect();
    let provider = provider(&rules);
    let authpool = Setup::new("openai", names).start(provider.addr());
    thread::scope(|scope| {
        // The one that observes the limits is served too.
        let observer = scope.spawn(|| ask(&authpool));
        let seen = provider.ledger().wait_until(
            |entries| entries.len() == names.len(),
            Duration::from_secs(10),
        );
        assert!(seen, "the limits were not observed");
        eventually("it is known that all are limited", || {
            authpool.metric("authpool_subscription_state{state=\"cooling\"") as usize == names.len()
        });
        let burst: Vec<_> = (0..50).map(|_| scope.spawn(|| ask(&authpool))).collect();
        all_served(
            &burst
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect::<Vec<_>>(),
        );
        all_served(&[observer.join().unwrap()]);
    });
    let entries = provider.ledger().entries();
    for name in names {
        let own: Vec<&Entry> = entries
            .iter()
            .filter(|entry| entry.credential == format!("cred-{name}"))
            .collect();
        let refused = own.iter().find(|entry| entry.status == 429).unwrap();
        for entry in own.iter().filter(|entry| entry.status == 200) {
            let after = entry.at.since(refused.at);
            assert!(
                after >= Duration::from_secs(3),
                "sent {after:?} after a refusal that stated 3 s"
            );
        }
    }
    assert_eq!(
        entries.iter().filter(|entry| entry.status == 200).count(),
        51
    );
    assert_eq!(
        entries.iter().filter(|entry| entry.status == 429).count(),
        names.len()
    );
}

// Acceptance 5; C5
#[test]
fn a_burst_while_all_are_limited_waits_for_the_reset_and_is_served_whole() {
    burst_after_three_seconds(&["a", "b", "c"]);
}

// Acceptance 5; C5
#[test]
fn a_burst_before_a_pool_of_one_waits_for_the_reset_and_is_served_whole() {
    burst_after_three_seconds(&["a"]);
}

fn told_at_once(dialect: &'static str, path: &str, body: &str) {
    let provider = provider(&[limited("cred-a", 40, "null"), limited("cred-b", 40, "null")]);
    let authpool = Setup::new(dialect, &["a", "b"]).start(provider.addr());
    let start = Instant::now();
    let at_once = || {
        let asked = Instant::now();
        let answer = Ask::post(path, body)
            .header("x-authpool-max-wait", "0s")
            .send(authpool.addr);
        truthful(dialect, &answer, start);
        asked.elapsed()
    };
    // The one that observes it is told the same.
    at_once();
    let mut took: Vec<Duration> = (0..9).map(|_| at_once()).collect();
    took.sort();
    println!("refused at once: {took:?}");
    assert!(took[4] <= Duration::from_millis(50), "{took:?}");
    assert_eq!(
        provider.ledger().entries().len(),
        2,
        "each key was asked once"
    );
}

/// A refusal in the dialect's words, of a limit of 40 s that was learned after `start`.
fn truthful(dialect: &str, answer: &Answer, start: Instant) {
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (429, Some("pool_limited"))
    );
    let number = |name| answer.header(name).unwrap().parse::<u64>().unwrap();
    let (wait, millis) = (number("retry-after"), number("retry-after-ms"));
    // Never below the truth, which is 40 s less what has passed since: 40 whole seconds within the first one.
    let truth = Duration::from_secs(40).saturating_sub(start.elapsed());
    assert!(
        u128::from(millis) >= truth.as_millis(),
        "{millis} ms, and the truth is {truth:?}"
    );
    assert!(
        millis <= 44_000 && wait == millis.div_ceil(1000) && wait <= 45,
        "{wait} s, {millis} ms"
    );
    assert_eq!(
        answer.header("x-should-retry"),
        None,
        "a wait that SDKs obey"
    );
    let body = answer.json();
    assert_eq!(body["error"]["code"], "pool_limited");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    if dialect == "anthropic" {
        assert_eq!(body["type"], "error");
        assert_eq!(
            body["request_id"].as_str(),
            answer.header("x-authpool-request-id")
        );
    } else {
        assert!(body["error"].as_object().unwrap().contains_key("param"));
        assert_eq!(body.get("type"), None);
    }
}

// Acceptance 5; C6, F9, section 15
#[test]
fn who_will_not_wait_is_told_the_truth_at_once_in_the_dialects_words() {
    told_at_once("openai", CHAT, &chat("gpt-x", true));
    told_at_once("anthropic", "/v1/messages", &message("claude-x", true));
}

// Acceptance 5; C6
#[test]
fn a_long_limit_makes_sdks_stop() {
    let provider = provider(&[limited("cred-a", 300, "null")]);
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    for _ in 0..2 {
        let answer = ask(&authpool);
        assert_eq!(
            (answer.status, answer.header("x-should-retry")),
            (429, Some("false"))
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((299..=305).contains(&wait), "{wait}");
    }
    assert_eq!(provider.ledger().count("cred-a"), 1);
}

fn error_first(dialect: &'static str, path: &str, body: &str, last: &str) {
    let rule = r#"{"match":{"credential":"cred-a"},"times":null,"do":{"fault":"error_event_first","error":"overloaded"}}"#;
    let limit = r#"{"match":{"credential":"cred-a"},"times":null,"do":{"fault":"error_event_first","error":"rate_limit"}}"#;
    let server = r#"{"match":{"credential":"cred-a"},"times":null,"do":{"fault":"error_event_first","error":"server"}}"#;
    // Overload and faults are retried from a budget of three, so they are seen no more often here.
    for (rule, times) in [(rule, 2), (server, 2), (limit, 4)] {
        let provider = provider(&[rule.to_owned()]);
        let authpool = Setup::new(dialect, &["a", "b"]).start(provider.addr());
        let direct = Ask::post(path, body)
            .header("x-api-key", "cred-b")
            .without("authorization")
            .send(provider.addr());
        for _ in 0..times {
            let answer = Ask::post(path, body).send(authpool.addr);
            assert_eq!(
                (answer.status, answer.whole),
                (200, true),
                "{}",
                answer.text()
            );
            assert!(answer.text().contains(last), "{}", answer.text());
            assert_eq!(
                answer.body, direct.body,
                "nothing of the failed attempt is spliced in"
            );
        }
        assert!(provider.ledger().count("cred-a") >= 1);
    }
}

// Acceptance 6; D2, C9
#[test]
fn an_error_event_before_content_fails_over_unseen() {
    error_first(
        "anthropic",
        "/v1/messages",
        &message("claude-x", true),
        "message_stop",
    );
    error_first(
        "openai",
        "/v1/responses",
        &response("gpt-x", true),
        "response.completed",
    );
    error_first("openai", CHAT, &chat("gpt-x", true), "[DONE]");
}

// Acceptance 6; C9
#[test]
fn an_error_event_after_content_passes_and_nothing_is_sent_again() {
    let rule = r#"{"match":{},"times":null,"do":{"fault":"error_event_later","events":3}}"#;
    for (dialect, path, body) in [
        ("anthropic", "/v1/messages", message("claude-x", true)),
        ("openai", "/v1/responses", response("gpt-x", true)),
        ("openai", CHAT, chat("gpt-x", true)),
    ] {
        let provider = provider(&[rule.to_owned()]);
        let authpool = Setup::new(dialect, &["a", "b"]).start(provider.addr());
        let answer = Ask::post(path, body.clone()).send(authpool.addr);
        let sent = provider.ledger().entries().len();
        let direct = Ask::post(path, body)
            .header("x-api-key", "cred-c")
            .without("authorization")
            .send(provider.addr());
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.text(),
            direct.text(),
            "the provider's own event, and nothing added"
        );
        assert!(answer.text().contains("error"));
        assert_eq!(sent, 1, "{path}");
    }
}
