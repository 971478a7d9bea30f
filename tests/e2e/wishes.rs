//! What a request may ask of us in headers, and how many tokens a client may use: F9, K2.

use std::time::{Duration, Instant};

use authpool::scripted::{Options, Provider};

use super::support::client::{Answer, Ask, chat, exchange, message};
use super::support::{Authpool, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const PIN: &str = "x-authpool-subscription";

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

/// Two subscriptions, and a client of whom these lines are.
fn setup(dialect: &'static str, client: &str) -> Setup {
    let mut setup = Setup::new(dialect, &["a", "b"]);
    setup.keys = false;
    setup.more =
        format!("[[client]]\nid = \"tester\"\nkey = {{ env = \"CLIENT_KEY\" }}\n{client}\n");
    setup
}

fn ask() -> Ask {
    Ask::post(CHAT, chat("m", false))
}

/// With so many tokens in the answer, and a bound of so many.
fn sized(output: u64, bound: u64) -> Ask {
    let body = format!(
        r#"{{"model":"m","max_tokens":{bound},"scripted":{{"output_tokens":{output}}},"messages":[]}}"#
    );
    Ask::post(CHAT, body)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, names: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("x-authpool-code"), Some(code), "{text}");
    for name in names {
        assert!(text.contains(name), "{name}: {text}");
    }
}

// F9: malformed is 400 before any attempt, naming the header
#[test]
fn malformed_wishes_are_400_and_named_and_good_ones_are_served_and_stay_here() {
    let provider = provider();
    let long = "9".repeat(400);
    let id = "x".repeat(65);
    for dialect in ["openai", "anthropic"] {
        let authpool = setup(dialect, "may_pin = true").start(provider.addr());
        let ask = || match dialect {
            "openai" => ask(),
            _ => Ask::post(MESSAGES, message("m", false)),
        };
        for (name, values) in [
            (
                "x-authpool-priority",
                ["", "High", "urgent", "1", "low,low", "caf\u{e9}"],
            ),
            (
                "x-authpool-estimated-tokens",
                ["", "0", "10000001", "+1", "1e3", &long],
            ),
            (PIN, ["", "a b", "a.b", "*", "caf\u{e9}", &id]),
        ] {
            for value in values {
                let answer = ask().header(name, value).send(authpool.addr);
                refused(&answer, 400, "invalid_request", &[name]);
                let body = answer.json();
                assert_eq!(body["error"]["type"], "invalid_request_error");
                assert_eq!(body["type"] == "error", dialect == "anthropic");
            }
            let twice = ask().header(name, "low").header(name, "low");
            refused(&twice.send(authpool.addr), 400, "invalid_request", &[name]);
        }
        assert!(provider.ledger().entries().is_empty(), "before any attempt");
        for (name, value) in [
            ("x-authpool-priority", "high"),
            ("x-authpool-priority", "normal"),
            ("x-authpool-priority", "low"),
            ("x-authpool-estimated-tokens", "1"),
            ("x-authpool-estimated-tokens", "10000000"),
            (PIN, "a"),
        ] {
            let answer = ask().header(name, value).send(authpool.addr);
            assert_eq!(answer.status, 200, "{name}: {value}: {}", answer.text());
        }
        // K7
        for entry in provider.ledger().entries() {
            let ours = |name: &&http::HeaderName| name.as_str().starts_with("x-authpool");
            assert_eq!(entry.headers.keys().find(ours), None);
        }
        provider.ledger().clear();
    }
}

// F9, F7: our headers before the body
#[test]
fn wishes_are_judged_before_the_body_is_asked_for() {
    let provider = provider();
    let authpool = setup("openai", "may_pin = true").start(provider.addr());
    for (name, value) in [
        ("x-authpool-priority", "urgent"),
        ("x-authpool-estimated-tokens", "0"),
        (PIN, "nobody"),
    ] {
        let ask = Ask::post(CHAT, "").header(name, value);
        let bytes = String::from_utf8(ask.bytes(authpool.addr)).unwrap();
        // The body is announced and never sent.
        let bytes = bytes.replace(
            "content-length: 0\r\n",
            "content-length: 100\r\nexpect: 100-continue\r\n",
        );
        let text = exchange(authpool.addr, bytes.as_bytes());
        assert!(text.starts_with("HTTP/1.1 400"), "{name}: {text}");
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(provider.ledger().entries().is_empty());
}

// F9: if client.may_pin
#[test]
fn who_may_not_name_a_subscription_gets_403_whatever_he_names() {
    let provider = provider();
    let mut open = setup("openai", "");
    open.more.clear();
    for setup in [
        setup("openai", ""),
        setup("openai", "may_pin = false"),
        open,
    ] {
        let authpool = setup.start(provider.addr());
        for id in ["a", "nobody"] {
            let answer = ask().header(PIN, id).send(authpool.addr);
            refused(&answer, 403, "forbidden", &[PIN]);
            assert!(
                !answer.text().contains("nobody"),
                "who is there is not told"
            );
        }
        // A malformed one is malformed for everybody.
        let answer = ask().header(PIN, "a b").send(authpool.addr);
        refused(&answer, 400, "invalid_request", &[PIN]);
        assert_eq!(ask().send(authpool.addr).status, 200);
    }
}

/// As OpenAI answers 429; the wait in seconds.
fn limit(provider: &Provider, credential: &str, wait: u64) {
    let rule = format!(
        r#"{{"match":{{"credential":"{credential}"}},"times":1,"do":{{"status":429,"headers":{{"retry-after":"{wait}","content-type":"application/json"}},"body":"{{\"error\":{{\"message\":\"Rate limit reached for requests\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}}}"}}}}"#
    );
    provider.script().push_json(&rule).unwrap();
}

// F9, C6: of that one alone
#[test]
fn a_named_subscription_serves_and_no_other_ever_does() {
    let provider = provider();
    let setup = setup("openai", "may_pin = true");
    let authpool = setup.start(provider.addr());
    let (a, b) = (|| ask().header(PIN, "a"), || ask().header(PIN, "b"));
    let counts = || {
        let ledger = provider.ledger();
        (ledger.count("cred-a"), ledger.count("cred-b"))
    };
    for _ in 0..4 {
        assert_eq!(a().send(authpool.addr).status, 200);
    }
    assert_eq!(counts(), (4, 0));
    for _ in 0..2 {
        assert_eq!(b().send(authpool.addr).status, 200);
    }
    assert_eq!(counts(), (4, 2));
    // Limited for a moment: its own time is waited for.
    limit(&provider, "cred-a", 1);
    let start = Instant::now();
    assert_eq!(a().send(authpool.addr).status, 200);
    assert!(Duration::from_secs(1) <= start.elapsed());
    assert_eq!(counts(), (6, 2));
    // Limited for longer than the request may wait: its own time is told.
    limit(&provider, "cred-a", 45);
    let answer = a().header("x-authpool-max-wait", "1s").send(authpool.addr);
    refused(&answer, 429, "pool_limited", &[]);
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((44..=50).contains(&after), "{after}");
    assert_eq!(counts(), (7, 2), "no other is asked");
    assert_eq!(ask().send(authpool.addr).status, 200);
    assert_eq!(counts(), (7, 3), "who names nobody has the other");
    // A conversation is bound to whom it named.
    let session = |ask: Ask| ask.header("x-authpool-session", "s");
    assert_eq!(session(b()).send(authpool.addr).status, 200);
    assert_eq!(session(ask()).send(authpool.addr).status, 200);
    assert_eq!(counts(), (7, 5));
}

// F9, S2: quarantined or disabled
#[test]
fn a_named_subscription_that_is_gone_is_503_and_never_replaced() {
    let provider = provider();
    let mut setup = setup("openai", "may_pin = true");
    setup.subscriptions[0].2 = "enabled = false".into();
    let authpool = setup.start(provider.addr());
    let answer = ask().header(PIN, "a").send(authpool.addr);
    refused(&answer, 503, "owner_unavailable", &[]);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(provider.ledger().entries().is_empty());
    assert_eq!(ask().header(PIN, "b").send(authpool.addr).status, 200);
}

// F9: unknown or not of the route's pool
#[test]
fn a_name_that_is_not_of_the_routes_pool_is_400_and_told() {
    let provider = provider();
    let mut setup = setup("openai", "may_pin = true");
    let base_url = setup.base_url(provider.addr());
    setup.more += &format!(
        "[[provider]]\nid = \"second\"\ndialect = \"openai\"\nbase_url = {base_url:?}\n\
         [[subscription]]\nid = \"c\"\nprovider = \"second\"\ncredential = {{ env = \"CRED_a\" }}\n\
         [[pool]]\nid = \"other\"\nsubscriptions = [\"c\"]\n\
         [[route]]\npool = \"other\"\nmodels = [\"x-*\"]\n[[route]]\npool = \"pool\"\n"
    );
    let authpool = setup.start(provider.addr());
    for (id, model) in [("nobody", "m"), ("A", "m"), ("c", "m"), ("a", "x-1")] {
        let answer = Ask::post(CHAT, chat(model, false))
            .header(PIN, id)
            .send(authpool.addr);
        refused(&answer, 400, "invalid_request", &[PIN, &format!("`{id}`")]);
    }
    assert!(provider.ledger().entries().is_empty());
    for (id, model) in [("c", "x-1"), ("a", "m")] {
        let answer = Ask::post(CHAT, chat(model, false))
            .header(PIN, id)
            .send(authpool.addr);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

// F9, S1: a `must` handle rules
#[test]
fn a_stored_object_goes_to_its_owner_or_nowhere() {
    let provider = provider();
    let authpool = setup("openai", "may_pin = true").start(provider.addr());
    let made = Ask::post("/v1/responses", r#"{"model":"m","input":"x"}"#)
        .header(PIN, "a")
        .send(authpool.addr);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let next = |pin: &str| {
        let body = format!(r#"{{"model":"m","input":"x","previous_response_id":"{id}"}}"#);
        Ask::post("/v1/responses", body)
            .header(PIN, pin)
            .send(authpool.addr)
    };
    assert_eq!(next("a").status, 200);
    refused(&next("b"), 400, "invalid_request", &[PIN]);
    let stored = Ask::get(&format!("/v1/responses/{id}"));
    let stored = |pin: &str| stored.clone().header(PIN, pin).send(authpool.addr);
    assert_eq!(stored("a").status, 200);
    refused(&stored("b"), 400, "invalid_request", &[PIN]);
    let unknown = Ask::get("/v1/responses/resp_unknown").header(PIN, "b");
    refused(&unknown.send(authpool.addr), 404, "not_found", &[]);
    assert_eq!(provider.ledger().count("cred-b"), 0);
}

fn limited(tokens: u64) -> Setup {
    setup("openai", &format!("tokens_per_minute = {tokens}"))
}

#[track_caller]
fn told_wait(authpool: &Authpool, ask: &Ask) -> u64 {
    let answer = ask.send(authpool.addr);
    refused(&answer, 429, "client_limited", &["tokens per minute"]);
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    answer.header("retry-after").unwrap().parse().unwrap()
}

// K2, F7
#[test]
fn a_client_beyond_his_tokens_per_minute_is_refused_at_once_told_the_truth_and_recovers() {
    let provider = provider();
    // 100 tokens a second.
    let authpool = limited(6000).start(provider.addr());
    let large = || sized(16, 1).header("x-authpool-estimated-tokens", "5900");
    // What was estimated too high comes back.
    for _ in 0..5 {
        assert_eq!(large().send(authpool.addr).status, 200);
    }
    // What was estimated too low is owed: about 6,300 of 6,000.
    assert_eq!(sized(6300, 100_000).send(authpool.addr).status, 200);
    let served = provider.ledger().entries().len();
    let small = || sized(1, 1);
    let start = Instant::now();
    let after = told_wait(&authpool, &small());
    assert!(start.elapsed() < Duration::from_secs(1), "at once");
    assert!((1..=6).contains(&after), "{after}");
    assert!((50..=66).contains(&told_wait(&authpool, &large())));
    assert_eq!(
        provider.ledger().entries().len(),
        served,
        "nothing of it is sent"
    );
    // Others are not concerned: what is not metered, and health.
    assert_eq!(Ask::get("/v1/models").send(authpool.addr).status, 200);
    eventually("the refusals are counted", || {
        authpool.series("authpool_refusals_total", &[("code", "client_limited")]) == 2.0
    });
    eventually("it may go on", || small().send(authpool.addr).status == 200);
    let waited = start.elapsed();
    assert!(
        waited <= Duration::from_secs(after + 5),
        "{waited:?} of {after} s"
    );
}

// K2, C4: a request larger than the whole minute goes when the bucket is full
#[test]
fn a_request_larger_than_the_whole_minute_is_not_refused_for_ever() {
    let provider = provider();
    // 100 tokens a second; each request uses some 30.
    let authpool = limited(6000).start(provider.addr());
    let huge = sized(10, 10).header("x-authpool-estimated-tokens", "10000000");
    assert_eq!(huge.send(authpool.addr).status, 200);
    assert_eq!(told_wait(&authpool, &huge), 1, "the bucket is not full");
    eventually("it is full again", || {
        huge.send(authpool.addr).status == 200
    });
    assert_eq!(sized(10, 10).send(authpool.addr).status, 200);
}

// K2: what came to nothing costs nothing
#[test]
fn refused_and_failed_requests_give_their_tokens_back() {
    let provider = provider();
    for rule in [
        r#"{"match":{"model":"bad"},"times":null,"do":{"status":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}"}}"#,
        r#"{"match":{"model":"hang"},"times":null,"do":{"fault":"hang"}}"#,
    ] {
        provider.script().push_json(rule).unwrap();
    }
    let authpool = limited(1200).start(provider.addr());
    let of = |model: &str| {
        Ask::post(CHAT, chat(model, false)).header("x-authpool-estimated-tokens", "150")
    };
    // Each takes 150 and 1,024 of 1,200.
    for _ in 0..3 {
        assert_eq!(of("bad").send(authpool.addr).status, 400);
    }
    // One that may have been served keeps what it took, also while it runs.
    let open = of("hang").open(authpool.addr).unwrap();
    eventually("it is under way", || provider.ledger().in_flight() == 1);
    assert!(told_wait(&authpool, &of("bad")) > 30);
    drop(open);
    eventually("it is over", || provider.ledger().in_flight() == 0);
    assert!(told_wait(&authpool, &of("bad")) > 30);
}

// K2, O2
#[test]
fn tokens_per_minute_live_on_over_a_reload() {
    let provider = provider();
    let authpool = limited(600).start(provider.addr());
    assert_eq!(sized(3000, 3000).send(authpool.addr).status, 200);
    // Some 2,400 beyond what there was, at 10 a second.
    let owed = |wait: u64| (220..=250).contains(&wait);
    assert!(owed(told_wait(&authpool, &sized(1, 1))));
    authpool.signal("HUP");
    authpool.wait_for_line("reload");
    assert!(owed(told_wait(&authpool, &sized(1, 1))));
}
