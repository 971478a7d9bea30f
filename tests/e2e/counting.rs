//! What is counted and what is told of it: U1, O6, O9.

use authpool::scripted::{Options, Provider};
use serde_json::Value;

use super::support::client::{Answer, Ask, chat, get_text, message, response};
use super::support::{Authpool, Setup, eventually};

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

fn tokens(authpool: &Authpool, kind: &str, model: &str) -> f64 {
    let labels = [
        ("kind", kind),
        ("model", model),
        ("subscription", "a"),
        ("pool", "pool"),
    ];
    authpool.series("authpool_tokens_total", &labels)
}

// U1, O6
#[test]
fn tokens_are_counted_by_kind_from_answers_and_streams_of_both_dialects() {
    let chats = |model: &str, stream| Ask::post("/v1/chat/completions", chat(model, stream));
    let responses = |model: &str, stream| Ask::post("/v1/responses", response(model, stream));
    let messages = |model: &str, stream| Ask::post("/v1/messages", message(model, stream));
    let embeddings = |model: &str, _| {
        Ask::post(
            "/v1/embeddings",
            format!(r#"{{"model":"{model}","input":"some words"}}"#),
        )
    };
    type Asks<'a> = &'a dyn Fn(&str, bool) -> Ask;
    let cases: [(&'static str, &str, Asks<'_>, bool); 7] = [
        ("openai", "chat", &chats, false),
        ("openai", "chat-stream", &chats, true),
        ("openai", "response", &responses, false),
        ("openai", "response-stream", &responses, true),
        ("openai", "embedding", &embeddings, false),
        ("anthropic", "message", &messages, false),
        ("anthropic", "message-stream", &messages, true),
    ];
    for dialect in ["openai", "anthropic"] {
        let provider = provider();
        let authpool = Setup::new(dialect, &["a"]).start(provider.addr());
        for (_, model, ask, stream) in cases.iter().filter(|case| case.0 == dialect) {
            for _ in 0..2 {
                assert_eq!(
                    ask(model, *stream).send(authpool.addr).status,
                    200,
                    "{model}"
                );
            }
            let entry = provider.ledger().entries().pop().unwrap();
            let output = if *model == "embedding" {
                0.0
            } else {
                2.0 * 16.0
            };
            eventually(&format!("{model} is counted"), || {
                tokens(&authpool, "input", model) == 2.0 * entry.input_tokens as f64
                    && tokens(&authpool, "output", model) == output
            });
        }
        assert_eq!(authpool.metric("authpool_usage_unknown_total"), 0.0);
    }
}

// U1: cache and reasoning tokens, each by its kind
#[test]
fn cache_and_reasoning_tokens_have_kinds_of_their_own() {
    let openai = r#"{"id":"c","object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":40,"total_tokens":140,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":25}}}"#;
    let anthropic = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","usage":{"input_tokens":40,"cache_creation_input_tokens":7,"cache_read_input_tokens":60,"output_tokens":40}}"#;
    for (dialect, path, answer, kinds) in [
        (
            "openai",
            "/v1/chat/completions",
            openai,
            [
                ("cache_read", 60.0),
                ("reasoning", 25.0),
                ("output", 40.0),
                ("cache_write", 0.0),
            ],
        ),
        (
            "anthropic",
            "/v1/messages",
            anthropic,
            [
                ("cache_read", 60.0),
                ("cache_write", 7.0),
                ("output", 40.0),
                ("reasoning", 0.0),
            ],
        ),
    ] {
        let provider = provider();
        let body = Value::from(answer);
        provider
            .script()
            .push_json(&format!(r#"{{"do":{{"status":200,"body":{body}}}}}"#))
            .unwrap();
        let authpool = Setup::new(dialect, &["a"]).start(provider.addr());
        let answer = Ask::post(path, message("m", false)).send(authpool.addr);
        assert_eq!(answer.status, 200);
        for (kind, expected) in kinds {
            eventually(&format!("{dialect}: {kind}"), || {
                tokens(&authpool, kind, "m") == expected
            });
        }
    }
}

// U1: unknown is unknown, never zero
#[test]
fn answers_that_tell_no_usage_are_counted_as_unknown() {
    let provider = provider();
    provider
        .script()
        .push_json(r#"{"match":{"model":"silent"},"do":{"status":200,"body":"{\"id\":\"c\",\"choices\":[]}"}}"#)
        .unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let unknown = || authpool.series("authpool_usage_unknown_total", &[("provider", "provider")]);
    let path = "/v1/chat/completions";
    assert_eq!(
        Ask::post(path, chat("silent", false))
            .send(authpool.addr)
            .status,
        200
    );
    eventually("it is unknown", || unknown() == 1.0);
    // a stream that was not asked to include its usage
    let bare = r#"{"model":"bare","stream":true,"messages":[]}"#;
    assert_eq!(Ask::post(path, bare).send(authpool.addr).status, 200);
    eventually("that one too", || unknown() == 2.0);
    assert_eq!(
        Ask::post("/v1/moderations", "{}")
            .send(authpool.addr)
            .status,
        200
    );
    assert_eq!(Ask::get("/v1/models").send(authpool.addr).status, 200);
    assert_eq!(
        Ask::post(path, chat("told", false))
            .send(authpool.addr)
            .status,
        200
    );
    eventually("what is told is counted", || {
        tokens(&authpool, "output", "told") == 16.0
    });
    assert_eq!(unknown(), 2.0, "what is not metered has no usage to miss");
    assert_eq!(tokens(&authpool, "output", "silent"), 0.0);
}

// O6
#[test]
fn metrics_have_the_names_and_labels_that_dashboards_are_built_on() {
    let provider = provider();
    provider
        .script()
        .push_json(r#"{"match":{"credential":"cred-a"},"do":{"status":429,"headers":{"retry-after":"50"}}}"#)
        .unwrap();
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    let ask = Ask::post("/v1/chat/completions", chat("m", false)).header("x-authpool-session", "s");
    for _ in 0..2 {
        assert_eq!(ask.send(authpool.addr).status, 200);
    }
    assert_eq!(
        ask.clone()
            .without("authorization")
            .send(authpool.addr)
            .status,
        401
    );
    assert_eq!(
        Ask::post("/v1/nothing", "{}").send(authpool.addr).status,
        403
    );
    let series =
        |name: &str, labels: &[(&str, &str)]| authpool.series(&format!("authpool_{name}"), labels);
    eventually("all four are counted", || {
        authpool.metric("authpool_requests_total{") == 4.0
    });
    assert_eq!(
        series(
            "requests_total",
            &[
                ("pool", "pool"),
                ("subscription", "b"),
                ("model", "m"),
                ("status", "2xx")
            ]
        ),
        2.0
    );
    assert_eq!(
        series(
            "requests_total",
            &[("pool", ""), ("subscription", ""), ("status", "4xx")]
        ),
        2.0
    );
    assert_eq!(
        series("refusals_total", &[("pool", ""), ("code", "unauthorised")]),
        1.0
    );
    assert_eq!(series("refusals_total", &[("code", "forbidden")]), 1.0);
    assert_eq!(
        series(
            "attempts_total",
            &[
                ("provider", "provider"),
                ("subscription", "a"),
                ("verdict", "rate_limited")
            ]
        ),
        1.0
    );
    assert_eq!(
        series(
            "attempts_total",
            &[
                ("provider", "provider"),
                ("subscription", "b"),
                ("verdict", "ok")
            ]
        ),
        2.0
    );
    assert_eq!(
        series("retries_total", &[("pool", "pool"), ("reason", "limited")]),
        1.0
    );
    for name in ["request_duration_seconds", "time_to_first_byte_seconds"] {
        assert!(
            series(&format!("{name}_count"), &[("pool", "pool")]) >= 1.0,
            "{name}"
        );
    }
    assert_eq!(series("in_flight", &[("subscription", "a")]), 0.0);
    assert_eq!(series("waiting", &[("pool", "pool")]), 0.0);
    let cooldown = authpool.metric("authpool_cooldown_seconds{");
    assert!((1.0..=60.0).contains(&cooldown), "{cooldown}");
    for (subscription, state) in [("a", "cooling"), ("b", "ready")] {
        assert_eq!(
            series("subscription_state", &[("subscription", subscription)]),
            1.0,
            "exactly one is 1"
        );
        assert_eq!(
            series(
                "subscription_state",
                &[("subscription", subscription), ("state", state)]
            ),
            1.0
        );
    }
    let text = get_text(authpool.admin, "/metrics");
    for name in [
        "upstream_connections{",
        "events_dropped_total ",
        "build_info{version=",
        "in_flight{",
        "waiting{",
    ] {
        assert!(
            text.contains(&format!("\nauthpool_{name}")),
            "{name} is missing:\n{text}"
        );
    }
    assert!(text.contains(r#"state="idle""#) && text.contains(r#"state="active""#));
}

// O6: a client that left before a head
#[test]
fn a_client_that_left_is_counted_and_logged_as_aborted() {
    let provider = provider();
    provider
        .script()
        .push_json(r#"{"do":{"fault":"hang"}}"#)
        .unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let open = Ask::post("/v1/chat/completions", chat("m", false))
        .open(authpool.addr)
        .unwrap();
    eventually("it is under way", || provider.ledger().in_flight() == 1);
    drop(open);
    eventually("it is counted", || {
        authpool.series(
            "authpool_requests_total",
            &[("status", "aborted"), ("subscription", "a")],
        ) == 1.0
    });
    let line = authpool.wait_for_line("aborted=true");
    assert!(
        line.contains("attempts=1") && line.contains("model=m"),
        "{line}"
    );
}

const FIELDS: [&str; 22] = [
    "request_id",
    "client",
    "pool",
    "route",
    "method",
    "path",
    "model",
    "subscription",
    "attempts",
    "verdict",
    "status",
    "code",
    "stream",
    "bytes_in",
    "bytes_out",
    "tokens_in",
    "tokens_out",
    "cost_micro_usd",
    "wait_ms",
    "ttfb_ms",
    "duration_ms",
    "aborted",
];

/// A line of text as names and values; absent values are `-`.
fn of_text(line: &str) -> Value {
    let pairs = line
        .split_whitespace()
        .filter_map(|part| part.split_once('='))
        .filter(|(_, value)| *value != "-")
        .map(|(name, value)| {
            (
                name.to_owned(),
                serde_json::from_str(value).unwrap_or_else(|_| value.into()),
            )
        });
    let mut fields: serde_json::Map<String, Value> = pairs.collect();
    for name in FIELDS {
        if line.contains(&format!(" {name}=-")) {
            fields.insert(name.to_owned(), Value::Null);
        }
    }
    fields.into()
}

// O9
#[test]
fn each_request_is_one_line_with_every_field_and_never_its_query() {
    let provider = provider();
    let body = chat("m", true);
    for format in ["text", "json"] {
        let mut setup = Setup::new("openai", &["a"]);
        setup.server = format!("log = {{ level = \"info\", format = \"{format}\" }}");
        let authpool = setup.start(provider.addr());
        let read = |answer: &Answer| {
            let line = authpool.wait_for_line(answer.header("x-authpool-request-id").unwrap());
            assert!(line.contains("INFO"), "{line}");
            if format == "json" {
                serde_json::from_str(&line).unwrap()
            } else {
                of_text(&line)
            }
        };
        let ask = Ask::post("/v1/chat/completions?secret=in-the-query", body.clone());
        let answer = ask.send(authpool.addr);
        let line = read(&answer);
        let fields = line.as_object().unwrap();
        let missing: Vec<_> = FIELDS
            .iter()
            .filter(|name| !fields.contains_key(**name))
            .collect();
        assert!(missing.is_empty(), "{missing:?} of {line}");
        for (name, value) in [
            ("msg", Value::from("request")),
            ("client", "tester".into()),
            ("pool", "pool".into()),
            ("route", "/".into()),
            ("method", "POST".into()),
            ("path", "/v1/chat/completions".into()),
            ("model", "m".into()),
            ("subscription", "a".into()),
            ("attempts", 1.into()),
            ("verdict", "ok".into()),
            ("status", 200.into()),
            ("code", Value::Null),
            ("stream", true.into()),
            ("bytes_in", body.len().into()),
            ("bytes_out", answer.body.len().into()),
            ("tokens_in", body.len().div_ceil(4).into()),
            ("tokens_out", 16.into()),
            ("cost_micro_usd", Value::Null),
            ("aborted", false.into()),
        ] {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        let refused = Ask::post("/v1/nothing?secret=in-the-query", "{}").send(authpool.addr);
        let line = read(&refused);
        assert_eq!(
            (line["status"].as_u64(), line["code"].as_str()),
            (Some(403), Some("forbidden"))
        );
        assert_eq!(
            (
                line["attempts"].as_u64(),
                &line["subscription"],
                &line["tokens_out"]
            ),
            (Some(0), &Value::Null, &Value::Null)
        );
        assert!(!authpool.log().contains("in-the-query"));
    }
}
