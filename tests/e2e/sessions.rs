//! Conversations that want the same subscription again: S1, S2, S3.

use std::time::{Duration, Instant};

use authpool::scripted::{Options, Provider};

use super::support::client::{Answer, Ask, chat, response};
use super::support::{Authpool, Setup, eventually};

const SECOND_KEY: &str = "second-client-key-0123456789";
const THIRD_KEY: &str = "third-client-key-01234567890";

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

/// Two subscriptions, and clients of whom the first and the second are one tenant.
fn setup(dialect: &'static str) -> Setup {
    let mut setup = Setup::new(dialect, &["a", "b"]);
    setup.keys = false;
    setup.more = format!(
        "[[client]]\nid = \"first\"\ntenant = \"acme\"\nkey = {{ env = \"CLIENT_KEY\" }}\n\
         [[client]]\nid = \"second\"\ntenant = \"acme\"\nkey = {{ sha256 = \"{}\" }}\n\
         [[client]]\nid = \"third\"\nkey = {{ sha256 = \"{}\" }}\n",
        digest(SECOND_KEY),
        digest(THIRD_KEY)
    );
    setup
}

fn digest(key: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn by(key: &str, ask: Ask) -> Ask {
    ask.without("authorization")
        .header("authorization", &format!("Bearer {key}"))
}

/// Sends it, and tells by which credential it was served.
#[track_caller]
fn served(provider: &Provider, authpool: &Authpool, ask: &Ask) -> String {
    let answer = ask.send(authpool.addr);
    assert_eq!(answer.status, 200, "{}", answer.text());
    provider.ledger().entries().pop().unwrap().credential
}

fn not(credential: &str) -> &'static str {
    if credential == "cred-a" {
        "cred-b"
    } else {
        "cred-a"
    }
}

// S1, S2, C2: without a session requests alternate, since the least recently used goes first
#[test]
fn each_way_to_name_a_session_keeps_it_on_one_subscription() {
    let openai = |member: &str| {
        Ask::post(
            "/v1/responses",
            format!(r#"{{"model":"m","input":"x",{member}}}"#),
        )
    };
    let anthropic = |member: &str| {
        let body = format!(
            r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],{member}}}"#
        );
        Ask::post("/v1/messages", body)
    };
    let header = |name: &'static str| {
        move |value: &str| Ask::post("/v1/chat/completions", chat("m", false)).header(name, value)
    };
    type Named = Box<dyn Fn(&str) -> Ask>;
    let ways: Vec<(&'static str, &str, Named)> = vec![
        (
            "openai",
            "x-authpool-session",
            Box::new(header("x-authpool-session")),
        ),
        (
            "openai",
            "x-conversation",
            Box::new(header("x-conversation")),
        ),
        (
            "openai",
            "x-claude-code-session-id",
            Box::new(header("x-claude-code-session-id")),
        ),
        ("openai", "session-id", Box::new(header("session-id"))),
        ("openai", "session_id", Box::new(header("session_id"))),
        (
            "openai",
            "prompt_cache_key",
            Box::new(move |value| openai(&format!(r#""prompt_cache_key":"{value}""#))),
        ),
        (
            "openai",
            "conversation",
            Box::new(move |value| openai(&format!(r#""conversation":"{value}""#))),
        ),
        (
            "openai",
            "conversation.id",
            Box::new(move |value| openai(&format!(r#""conversation":{{"id":"{value}"}}"#))),
        ),
        (
            "anthropic",
            "metadata.user_id",
            Box::new(move |value| anthropic(&format!(r#""metadata":{{"user_id":"{value}"}}"#))),
        ),
    ];
    let provider = provider();
    for dialect in ["openai", "anthropic"] {
        let mut setup = setup(dialect);
        setup.pool = r#"session_headers = ["x-conversation"]"#.into();
        let authpool = setup.start(provider.addr());
        for (_, name, named) in ways.iter().filter(|way| way.0 == dialect) {
            let one = format!("{name}-one");
            let two = format!("{name}-two");
            let first = served(&provider, &authpool, &named(&one));
            let order = [
                (&one, true),
                (&two, false),
                (&two, false),
                (&one, true),
                (&one, true),
                (&one, true),
                (&two, false),
                (&two, false),
            ];
            for (at, (value, is_first)) in order.into_iter().enumerate() {
                let credential = served(&provider, &authpool, &named(value));
                assert_eq!(credential == first, is_first, "{name}, number {at}");
            }
        }
    }
}

// S1: a session is the tenant's, else the client's
#[test]
fn sessions_of_one_name_are_shared_within_a_tenant_and_by_no_one_else() {
    let provider = provider();
    let authpool = setup("openai").start(provider.addr());
    let ask = Ask::post("/v1/chat/completions", chat("m", false)).header("x-authpool-session", "s");
    let first = served(&provider, &authpool, &ask);
    let third = served(&provider, &authpool, &by(THIRD_KEY, ask.clone()));
    assert_eq!(
        third,
        not(&first),
        "a session of its own, so the least recently used"
    );
    for _ in 0..3 {
        assert_eq!(
            served(&provider, &authpool, &by(SECOND_KEY, ask.clone())),
            first
        );
        assert_eq!(served(&provider, &authpool, &ask), first);
        assert_eq!(
            served(&provider, &authpool, &by(THIRD_KEY, ask.clone())),
            third
        );
    }
}

// S2: frees within stick_wait: wait, the binding stays
#[test]
fn a_session_waits_out_a_short_limit_of_its_subscription_while_others_go_elsewhere() {
    let provider = provider();
    let authpool = setup("openai").start(provider.addr());
    let plain = Ask::post("/v1/chat/completions", chat("m", false));
    let ask = plain.clone().header("x-authpool-session", "s");
    let home = served(&provider, &authpool, &ask);
    provider.ledger().clear();
    limit(&provider, &home, 1_500, Some(1));
    let start = Instant::now();
    let session = std::thread::spawn({
        let (ask, addr) = (ask.clone(), authpool.addr);
        move || (ask.send(addr).status, Instant::now())
    });
    assert!(provider.ledger().wait_until(
        |entries| entries.iter().any(|entry| entry.status == 429),
        Duration::from_secs(20)
    ));
    // Until the log or the metric tells, the observation may still be under way.
    eventually("the limit is observed", || {
        authpool.series(
            "authpool_attempts_total",
            &[("subscription", &home[5..]), ("verdict", "rate_limited")],
        ) == 1.0
    });
    assert_eq!(plain.send(authpool.addr).status, 200);
    let elsewhere = Instant::now();
    let (status, end) = session.join().unwrap();
    assert_eq!(status, 200);
    assert!(
        end - start >= Duration::from_millis(1_500),
        "{:?}",
        end - start
    );
    assert!(elsewhere < end, "the other request did not wait");
    assert_eq!(
        provider.ledger().count(&home),
        2,
        "the limited try and the one after the wait"
    );
    assert_eq!(provider.ledger().count(not(&home)), 1, "the other request");
    assert_eq!(served(&provider, &authpool, &ask), home);
}

// S2: else the request moves and the binding with it
#[test]
fn a_session_moves_away_from_a_longer_limit_and_stays_where_it_went() {
    let provider = provider();
    let mut setup = setup("openai");
    setup.pool = r#"stick_wait = "100ms""#.into();
    let authpool = setup.start(provider.addr());
    let plain = Ask::post("/v1/chat/completions", chat("m", false));
    let ask = plain.clone().header("x-authpool-session", "s");
    let home = served(&provider, &authpool, &ask);
    limit(&provider, &home, 900, Some(1));
    assert_eq!(served(&provider, &authpool, &ask), not(&home));
    eventually("the first one serves again", || {
        served(&provider, &authpool, &plain) == home
    });
    for _ in 0..4 {
        assert_eq!(served(&provider, &authpool, &ask), not(&home));
    }
}

fn limit(provider: &Provider, credential: &str, millis: u64, times: Option<u64>) {
    let times = times.map_or("null".to_owned(), |times| times.to_string());
    let seconds = millis.div_ceil(1_000);
    let rule = format!(
        r#"{{"match":{{"credential":"{credential}"}},"times":{times},"do":{{"status":429,
            "headers":{{"retry-after-ms":"{millis}","retry-after":"{seconds}"}},
            "body":"{{\"error\":{{\"message\":\"Rate limit reached\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}}}"}}}}"#
    );
    provider.script().push_json(&rule).unwrap();
}

/// Makes a response and tells its id and its owner.
#[track_caller]
fn made(provider: &Provider, authpool: &Authpool, stream: bool) -> (String, String) {
    let answer = Ask::post("/v1/responses", response("m", stream)).send(authpool.addr);
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let id = text
        .split('"')
        .find(|part| part.starts_with("resp_"))
        .unwrap()
        .to_owned();
    (id, provider.ledger().entries().pop().unwrap().credential)
}

fn next(id: &str) -> Ask {
    Ask::post(
        "/v1/responses",
        format!(r#"{{"model":"m","input":"more","previous_response_id":"{id}"}}"#),
    )
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (status, Some(code)),
        "{}",
        answer.text()
    );
}

// S2 must, S3, F6
#[test]
fn a_response_id_leads_to_the_subscription_that_made_it() {
    let provider = provider();
    let authpool = setup("openai").start(provider.addr());
    for stream in [false, true] {
        let (id, owner) = made(&provider, &authpool, stream);
        for at in 0..3 {
            // whatever else names a session
            let ask = next(&id).header("x-authpool-session", &format!("s{at}"));
            assert_eq!(served(&provider, &authpool, &ask), owner);
            assert_eq!(
                served(
                    &provider,
                    &authpool,
                    &Ask::get(&format!("/v1/responses/{id}"))
                ),
                owner
            );
            let items = Ask::get(&format!("/v1/responses/{id}/input_items?limit=2"));
            assert_eq!(served(&provider, &authpool, &items), owner);
        }
        let cancel = Ask::post(&format!("/v1/responses/{id}/cancel"), "");
        assert_eq!(served(&provider, &authpool, &cancel), owner);
        // the tenant's, and nobody else's
        assert_eq!(
            served(&provider, &authpool, &by(SECOND_KEY, next(&id))),
            owner
        );
        let seen = provider.ledger().entries().len();
        for ask in [
            next(&id),
            Ask::get(&format!("/v1/responses/{id}")),
            Ask::get(&format!("/v1/responses/{id}")).method("DELETE"),
        ] {
            refused(&by(THIRD_KEY, ask).send(authpool.addr), 404, "not_found");
        }
        refused(&next("resp_unknown").send(authpool.addr), 404, "not_found");
        refused(
            &Ask::get("/v1/responses/resp_unknown").send(authpool.addr),
            404,
            "not_found",
        );
        assert_eq!(
            provider.ledger().entries().len(),
            seen,
            "none of it reaches the provider"
        );
        let delete = Ask::get(&format!("/v1/responses/{id}")).method("DELETE");
        assert_eq!(served(&provider, &authpool, &delete), owner);
    }
}

// S2: pool.default_owner
#[test]
fn an_unknown_response_id_goes_to_the_default_owner() {
    let provider = provider();
    let mut setup = setup("openai");
    setup.pool = r#"default_owner = "b""#.into();
    let authpool = setup.start(provider.addr());
    for _ in 0..3 {
        assert!(next("resp_elsewhere").send(authpool.addr).status >= 400);
        assert!(
            Ask::get("/v1/responses/resp_elsewhere")
                .send(authpool.addr)
                .status
                >= 400
        );
    }
    assert_eq!(
        (
            provider.ledger().count("cred-a"),
            provider.ledger().count("cred-b")
        ),
        (0, 6)
    );
}

// S2: cooling: C5 and C6 with this subscription alone
#[test]
fn a_limited_owner_is_waited_for_or_its_own_time_is_told() {
    let provider = provider();
    let authpool = setup("openai").start(provider.addr());
    let (id, owner) = made(&provider, &authpool, false);
    provider.ledger().clear();
    limit(&provider, &owner, 1_200, Some(1));
    let start = Instant::now();
    assert_eq!(served(&provider, &authpool, &next(&id)), owner);
    assert!(
        start.elapsed() >= Duration::from_millis(1_200),
        "{:?}",
        start.elapsed()
    );
    limit(&provider, &owner, 45_000, Some(1));
    let answer = next(&id)
        .header("x-authpool-max-wait", "1s")
        .send(authpool.addr);
    refused(&answer, 429, "pool_limited");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((44..=50).contains(&after), "{after}");
    assert_eq!(provider.ledger().count(not(&owner)), 0, "no other is asked");
    assert_eq!(
        served(
            &provider,
            &authpool,
            &Ask::post("/v1/chat/completions", chat("m", false))
        ),
        not(&owner)
    );
}

// S2: quarantined or removed
#[test]
fn an_owner_that_is_gone_is_503_and_never_replaced() {
    let dead = r#""times":null,"do":{"status":401,"body":"{\"error\":{\"message\":\"Incorrect API key provided\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\"}}"}"#;
    let provider = provider();
    let setup = setup("openai");
    let authpool = setup.start(provider.addr());
    let (id, owner) = made(&provider, &authpool, false);
    provider.ledger().clear();
    provider
        .script()
        .push_json(&format!(r#"{{"match":{{"credential":"{owner}"}},{dead}}}"#))
        .unwrap();
    for ask in [
        next(&id),
        next(&id),
        Ask::get(&format!("/v1/responses/{id}")),
    ] {
        let answer = ask.send(authpool.addr);
        refused(&answer, 503, "owner_unavailable");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.json()["error"]["type"], "server_error");
    }
    assert_eq!(
        (
            provider.ledger().count(&owner),
            provider.ledger().count(not(&owner))
        ),
        (1, 0)
    );
    // removed
    provider.script().clear();
    let (id, owner) = made(&provider, &authpool, false);
    let mut without = setup;
    without
        .subscriptions
        .retain(|(_, credential, _)| *credential != owner);
    let text = without.text(&without.base_url(provider.addr()));
    std::fs::write(&authpool.config, text).unwrap();
    authpool.signal("HUP");
    authpool.wait_for_line("reload");
    provider.ledger().clear();
    eventually("the owner is gone", || {
        let answer = next(&id).send(authpool.addr);
        let gone = answer.status == 503;
        if gone {
            refused(&answer, 503, "owner_unavailable");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
        gone
    });
    assert_eq!(provider.ledger().count(not(&owner)), 0);
}
