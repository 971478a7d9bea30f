//! Which requests are refused, in which order and in whose words: F7, F9, K7, section 15.

use authpool::scripted::{Options, Provider};

use super::rules::{OTHER_KEY, three};
use super::support::Setup;
use super::support::client::{Answer, Ask, chat, message, response};

/// A bad credential in the words of both dialects.
const DEAD_KEY: &str = r#"{"status":401,"body":"{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid key\",\"code\":\"invalid_api_key\"}}"}"#;

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

/// Whose form a refusal has.
#[derive(Clone, Copy, Debug)]
pub enum Words {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's, and those of generic providers.
    OpenAi,
}

/// A refusal of ours: status, code, its words' form and type, its id.
#[track_caller]
pub fn check(answer: &Answer, words: Words, status: u16, code: &str, kind: &str) {
    let shown = format!("{} {:?} {}", answer.status, answer.headers, answer.text());
    assert_eq!(answer.status, status, "{shown}");
    assert_eq!(answer.header("x-authpool-code"), Some(code), "{shown}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{shown}"
    );
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(error["type"], kind, "{shown}");
    // OpenAI's own word for a model that is not there
    let word = error["code"].as_str();
    assert!(
        word == Some(code) || (status, word) == (404, Some("model_not_found")),
        "{shown}"
    );
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.len() > 10),
        "{shown}"
    );
    let id = answer.header("x-authpool-request-id").unwrap();
    match words {
        Words::Anthropic => {
            assert_eq!(body["type"], "error", "{shown}");
            assert_eq!(body["request_id"].as_str(), Some(id), "{shown}");
        }
        Words::OpenAi => {
            assert!(
                error.as_object().unwrap().contains_key("param") && error["param"].is_null(),
                "{shown}"
            );
            assert!(body.get("type").is_none(), "{shown}");
        }
    }
}

// F6, F7, section 15
#[test]
fn what_is_not_listed_is_403_and_another_method_405_in_the_words_of_the_path() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let unlisted = [
        "/v1/files",
        "/v1/organization/usage",
        "/v1/fine_tuning/jobs",
        "/v1/chat",
        "/v1/chat/completions/x",
        "/v1",
        "/x",
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/subscriptions",
        "/v2/chat/completions",
        "/V1/chat/completions",
    ];
    for path in unlisted {
        for ask in [Ask::get(path), Ask::post(path, "{}")] {
            check(
                &ask.send(authpool.addr),
                Words::OpenAi,
                403,
                "forbidden",
                "permission_error",
            );
        }
    }
    let answer = Ask::post("/v1/messages/batches", "{}").send(authpool.addr);
    check(
        &answer,
        Words::Anthropic,
        403,
        "forbidden",
        "permission_error",
    );
    let kind = "invalid_request_error";
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/embeddings"),
        ("PUT", "/v1/models"),
    ] {
        let answer = Ask::get(path).method(method).send(authpool.addr);
        check(&answer, Words::OpenAi, 405, "invalid_request", kind);
        let allow = answer.header("allow").unwrap_or_default();
        assert!(
            allow.contains(if path == "/v1/models" { "GET" } else { "POST" }),
            "{allow}"
        );
    }
    check(
        &Ask::get("/v1/messages").send(authpool.addr),
        Words::Anthropic,
        405,
        "invalid_request",
        kind,
    );
    assert!(
        provider.ledger().entries().is_empty(),
        "none of it reaches the provider"
    );
}

// F6, F7: head and target come first, before the key
#[test]
fn a_target_that_normalisation_would_change_is_400_before_all_else() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let bad = [
        "//v1/models",
        "/v1//models",
        "/v1/./models",
        "/v1/../v1/models",
        "/v1/models/..",
        "/v1/%2e%2e/models",
        "/v1/%2E/models",
        "/v1/.%2e/models",
        "/v1/models/a%2fb",
        "/v1/models/a%2Fb",
        "/v1/models/a\\b",
        "/v1/models/a%5cb",
        "http://elsewhere.example/v1/models",
    ];
    for path in bad {
        for ask in [Ask::get(path), Ask::get(path).without("authorization")] {
            let answer = ask.send(authpool.addr);
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            assert_eq!(
                answer.header("x-authpool-code"),
                Some("invalid_request"),
                "{path}"
            );
        }
    }
    assert!(provider.ledger().entries().is_empty());
    for path in [
        "/v1/models/a%20b",
        "/v1/models/..a",
        "/v1/models/a..b",
        "/v1/models/x:y@1?z=../..//",
    ] {
        assert_eq!(Ask::get(path).send(authpool.addr).status, 200, "{path}");
        assert_eq!(provider.ledger().entries().pop().unwrap().path, path);
    }
}

// F7: each request has two faults that follow each other, or more; the first one wins
#[test]
fn of_several_faults_the_first_wins() {
    let provider = provider();
    let authpool = three(
        &provider,
        "body_limit = \"1KiB\"",
        "[[client]]\nid = \"narrow\"\nkey = { env = \"OTHER_KEY\" }\nmodels = [\"gpt-*\"]\nrequests_per_minute = 1\n\
         [[route]]\npool = \"o\"\npath_prefix = \"/o\"\nmodels = [\"gpt-*\", \"o4\"]\n\
         [[route]]\npool = \"m\"\npath_prefix = \"/m\"\n",
    );
    let addr = authpool.addr;
    let big = format!(r#"{{"model":"other","x":"{}"}}"#, "x".repeat(2_000));
    let keyless = |ask: Ask| ask.without("authorization");
    let kind = "invalid_request_error";
    // 400 of the target before 401
    let answer = keyless(Ask::get("/o/v1/../x")).send(addr);
    assert_eq!(answer.status, 400);
    // 401 before 404, 403, 405, our headers, 413
    for path in ["/nowhere", "/o/v1/unlisted", "/o/v1/chat/completions"] {
        let ask = keyless(Ask::post(path, big.clone())).header("x-authpool-max-wait", "soon");
        let answer = ask.method("PATCH").send(addr);
        check(
            &answer,
            Words::OpenAi,
            401,
            "unauthorised",
            "authentication_error",
        );
    }
    let answer = keyless(Ask::post("/m/v1/messages", "{")).send(addr);
    check(
        &answer,
        Words::Anthropic,
        401,
        "unauthorised",
        "authentication_error",
    );
    // client_limited before 404
    let narrow = |ask: Ask| keyless(ask).header("authorization", &format!("Bearer {OTHER_KEY}"));
    let answer = narrow(Ask::get("/nowhere")).send(addr);
    check(&answer, Words::OpenAi, 404, "not_found", kind);
    let answer = narrow(Ask::get("/nowhere")).send(addr);
    check(
        &answer,
        Words::OpenAi,
        429,
        "client_limited",
        "rate_limit_error",
    );
    // no route before an unlisted path
    let answer = Ask::post("/nowhere/v1/unlisted", big.clone())
        .header("x-authpool-max-wait", "soon")
        .send(addr);
    check(&answer, Words::OpenAi, 404, "not_found", kind);
    // 403 before 400 of our headers; 405 before that too
    let soon = |ask: Ask| ask.header("x-authpool-max-wait", "soon");
    assert_eq!(
        soon(Ask::post("/o/v1/unlisted", big.clone()))
            .send(addr)
            .status,
        403
    );
    assert_eq!(
        soon(Ask::get("/o/v1/chat/completions")).send(addr).status,
        405
    );
    // our headers before the body
    let answer = soon(Ask::post("/o/v1/chat/completions", big.clone())).send(addr);
    check(&answer, Words::OpenAi, 400, "invalid_request", kind);
    assert!(
        answer.text().contains("x-authpool-max-wait"),
        "{}",
        answer.text()
    );
    // the body before the route by model
    let answer = Ask::post("/o/v1/chat/completions", big).send(addr);
    check(&answer, Words::OpenAi, 413, "invalid_request", kind);
    let twice = r#"{"model":"other","model":"gpt-x"}"#;
    let answer = Ask::post("/o/v1/chat/completions", twice).send(addr);
    check(&answer, Words::OpenAi, 400, "invalid_request", kind);
    // the route by model
    let answer = Ask::post("/o/v1/chat/completions", chat("other", false)).send(addr);
    check(&answer, Words::OpenAi, 404, "not_found", kind);
    assert!(
        provider.ledger().entries().is_empty(),
        "none of it reaches the provider"
    );
}

// F9
#[test]
fn malformed_headers_of_ours_are_400_and_named() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let long = "s".repeat(257);
    let bad = [
        ("x-authpool-session", ""),
        ("x-authpool-session", "has space"),
        ("x-authpool-session", long.as_str()),
        ("x-authpool-session", "caf\u{e9}"),
        ("x-authpool-max-wait", ""),
        ("x-authpool-max-wait", "2"),
        ("x-authpool-max-wait", "-1s"),
        ("x-authpool-max-wait", "1.5s"),
        ("x-authpool-max-wait", "2 s"),
        ("x-authpool-max-wait", "99999999999999999999s"),
    ];
    for (name, value) in bad {
        for (path, words) in [
            ("/v1/chat/completions", Words::OpenAi),
            ("/v1/messages", Words::Anthropic),
        ] {
            let answer = Ask::post(path, chat("m", false))
                .header(name, value)
                .send(authpool.addr);
            check(
                &answer,
                words,
                400,
                "invalid_request",
                "invalid_request_error",
            );
            assert!(
                answer.text().contains(name),
                "{name}: {value}: {}",
                answer.text()
            );
        }
    }
    let twice = Ask::post("/v1/chat/completions", chat("m", false))
        .header("x-authpool-session", "a")
        .header("x-authpool-session", "b");
    assert_eq!(twice.send(authpool.addr).status, 400);
    assert!(provider.ledger().entries().is_empty());
    let full = "s".repeat(256);
    for (name, value) in [
        ("x-authpool-session", full.as_str()),
        ("x-authpool-session", "~!a"),
        ("x-authpool-max-wait", "0s"),
        ("x-authpool-max-wait", "1500ms"),
        ("x-authpool-max-wait", "2s"),
    ] {
        let ask = Ask::post("/v1/chat/completions", chat("m", false)).header(name, value);
        assert_eq!(ask.send(authpool.addr).status, 200, "{name}: {value}");
    }
}

// K7
#[test]
fn a_body_that_names_its_model_twice_is_400_however_it_is_written() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let bodies = [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","x":{"y":[1]},"model":"a"}"#,
        r#"{"mod\u0065l":"a","model":"b"}"#,
        r#"{"model":"a","\u006dodel":"b"}"#,
    ];
    for body in bodies {
        let answer = Ask::post("/v1/chat/completions", body).send(authpool.addr);
        check(
            &answer,
            Words::OpenAi,
            400,
            "invalid_request",
            "invalid_request_error",
        );
        let answer = Ask::post("/v1/messages", body).send(authpool.addr);
        check(
            &answer,
            Words::Anthropic,
            400,
            "invalid_request",
            "invalid_request_error",
        );
    }
    assert!(
        provider
            .ledger()
            .entries()
            .iter()
            .all(|entry| !entry.body_whole)
    );
    for body in [
        r#"{"model":"a","x":{"model":"b"},"y":"\"model\":\"c\""}"#,
        r#"{"x":[{"model":"b"}],"model":"a"}"#,
    ] {
        assert_eq!(
            Ask::post("/v1/chat/completions", body)
                .send(authpool.addr)
                .status,
            200
        );
        assert_eq!(
            provider.ledger().entries().pop().unwrap().model.as_deref(),
            Some("a")
        );
    }
}

// K7, F7
#[test]
fn more_than_64_kib_of_header_is_431() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let filled = |bytes: usize| {
        let value = "v".repeat(6_000);
        let ask = Ask::get("/v1/models");
        (0..bytes / 6_000).fold(ask, |ask, at| ask.header(&format!("x-fill-{at}"), &value))
    };
    assert_eq!(filled(60_000).send(authpool.addr).status, 200);
    let answer = filled(66_000).send(authpool.addr);
    check(
        &answer,
        Words::OpenAi,
        431,
        "invalid_request",
        "invalid_request_error",
    );
    // Far beyond it the head is not even read to its end.
    assert_eq!(filled(300_000).send(authpool.addr).status, 431);
    assert_eq!(provider.ledger().count("cred-o"), 1);
}

// section 15, C6: what the pool's state says, in both dialects' words
#[test]
fn the_states_of_a_pool_are_told_in_the_words_and_types_of_the_table() {
    let asks = |words| match words {
        Words::OpenAi => Ask::post("/v1/responses", response("m", false)),
        Words::Anthropic => Ask::post("/v1/messages", message("m", false)),
    };
    let rules = [
        (
            r#"{"status":429,"headers":{"retry-after":"45"}}"#,
            429,
            "pool_limited",
            ["rate_limit_error"; 2],
        ),
        (
            DEAD_KEY,
            503,
            "pool_unavailable",
            ["api_error", "server_error"],
        ),
        (
            r#"{"fault":"html_403"}"#,
            502,
            "upstream_failed",
            ["api_error", "server_error"],
        ),
        (
            r#"{"fault":"reset_after_request"}"#,
            502,
            "outcome_unknown",
            ["api_error", "server_error"],
        ),
    ];
    for (action, status, code, kinds) in rules {
        for (words, dialect, kind) in [
            (Words::Anthropic, "anthropic", kinds[0]),
            (Words::OpenAi, "openai", kinds[1]),
        ] {
            let provider = provider();
            provider
                .script()
                .push_json(&format!("{{\"do\":{action}}}"))
                .unwrap();
            let authpool = Setup::new(dialect, &["a"]).start(provider.addr());
            let answer = asks(words)
                .header("x-authpool-max-wait", "0s")
                .send(authpool.addr);
            check(&answer, words, status, code, kind);
            let after = answer
                .header("retry-after")
                .and_then(|value| value.parse::<u64>().ok());
            match code {
                "pool_limited" => {
                    assert!(
                        after.is_some_and(|after| (44..=50).contains(&after)),
                        "{after:?}"
                    );
                    let millis = answer
                        .header("retry-after-ms")
                        .unwrap()
                        .parse::<u64>()
                        .unwrap();
                    assert!((44_000..=50_000).contains(&millis), "{millis}");
                }
                _ => assert_eq!(after, None, "{code}"),
            }
        }
    }
}

// F7: routes told apart by models only, as in the example configuration
#[test]
fn a_client_without_a_key_reads_the_words_of_the_route_that_lists_his_path() {
    let provider = provider();
    let authpool = three(
        &provider,
        "",
        "[[route]]\npool = \"m\"\nmodels = [\"claude-*\"]\n[[route]]\npool = \"o\"\n",
    );
    for (path, words) in [
        ("/v1/chat/completions", Words::OpenAi),
        ("/v1/messages", Words::Anthropic),
    ] {
        let ask = Ask::post(path, "{}").without("authorization");
        let answer = ask.send(authpool.addr);
        check(&answer, words, 401, "unauthorised", "authentication_error");
    }
}
