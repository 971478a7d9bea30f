//! Stopping and reloading under traffic: which streams end how, and which key is used when.

use std::io;
use std::net::{SocketAddr, TcpStream};

use authpool::scripted::{Options, Provider};

use super::support::client::{Answer, Ask, Open, chat, get_text, message, response};
use super::support::{Authpool, Setup, eventually};

const STREAMS: usize = 20;
const NEW_KEY: &str = "cred-a-after-the-reload";

/// A streamed chat completion of 24 content events; the gap decides how long it lasts.
fn slow_chat(gap_ms: u64) -> String {
    format!(
        r#"{{"model":"gpt-x","stream":true,"messages":[{{"role":"user","content":"hello"}}],
        "scripted":{{"output_tokens":24,"gap_ms":{gap_ms}}}}}"#
    )
}

/// A stream that has begun: its first event is here, and it is far from its end.
#[track_caller]
fn begun(addr: SocketAddr, ask: &Ask) -> Open {
    let mut open = ask.open(addr).unwrap();
    assert_eq!(open.read_head().unwrap(), 200);
    assert!(open.chunk().unwrap().is_some());
    open
}

#[track_caller]
fn twenty(authpool: &Authpool, provider: &Provider) -> Vec<Open> {
    let ask = Ask::post("/v1/chat/completions", slow_chat(250));
    let open: Vec<Open> = (0..STREAMS)
        .map(|_| ask.open(authpool.addr).unwrap())
        .collect();
    let open: Vec<Open> = open
        .into_iter()
        .map(|mut open| {
            assert_eq!(open.read_head().unwrap(), 200);
            assert!(open.chunk().unwrap().is_some());
            open
        })
        .collect();
    assert_eq!(provider.ledger().in_flight(), STREAMS as u64);
    open
}

/// Reads them all to the end, each on a thread of its own.
fn ends(open: Vec<Open>) -> Vec<Answer> {
    let threads: Vec<_> = open
        .into_iter()
        .map(|open| std::thread::spawn(move || open.finish(false)))
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

#[track_caller]
fn assert_whole(answers: &[Answer]) {
    for answer in answers {
        assert!(answer.whole, "{}", answer.text());
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
}

pub fn chat_once(authpool: &Authpool) -> Answer {
    Ask::post("/v1/chat/completions", chat("gpt-x", false)).send(authpool.addr)
}

/// Writes the configuration anew and waits until the process has said so often that it took one.
#[track_caller]
fn reload(authpool: &Authpool, text: &str, times: usize) {
    std::fs::write(&authpool.config, text).unwrap();
    authpool.signal("HUP");
    eventually("the configuration is taken", || {
        authpool.log().matches(": reloaded").count() == times
    });
}

// Acceptance 12, O8
#[test]
fn sigterm_lets_open_streams_end_whole_refuses_new_connections_and_exits_0() {
    let provider = Provider::start(Options::default()).unwrap();
    let mut authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    let open = twenty(&authpool, &provider);
    assert_eq!(
        Ask::get("/readyz").send(authpool.admin).status,
        200,
        "ready before"
    );
    authpool.signal("TERM");
    authpool.wait_for_line("draining");
    eventually("new connections are refused", || {
        TcpStream::connect(authpool.addr)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    let ready = Ask::get("/readyz").send(authpool.admin);
    assert_eq!(ready.status, 503, "O4: draining is not ready");
    assert_eq!(Ask::get("/healthz").send(authpool.admin).status, 200);
    assert_eq!(
        provider.ledger().in_flight(),
        STREAMS as u64,
        "all are open"
    );
    assert_whole(&ends(open));
    assert_eq!(authpool.wait().code(), Some(0));
    assert_eq!(provider.ledger().entries().len(), STREAMS);
}

// F3, O8
#[test]
fn at_the_drains_deadline_streams_end_with_the_dialects_error_event_and_visibly_broken() {
    let cases = [
        ("anthropic", "/v1/messages", message("m", true)),
        ("openai", "/v1/chat/completions", chat("m", true)),
        ("openai", "/v1/responses", response("m", true)),
    ];
    for (dialect, path, body) in cases {
        let provider = Provider::start(Options::default()).unwrap();
        let slow = r#"{"do":{"fault":"slow_stream","gap_ms":200,"events":500}}"#;
        provider.script().push_json(slow).unwrap();
        let mut setup = Setup::new(dialect, &["a"]);
        setup.server = "drain = \"300ms\"".into();
        let mut authpool = setup.start(provider.addr());
        let open: Vec<Open> = (0..3)
            .map(|_| begun(authpool.addr, &Ask::post(path, body.clone())))
            .collect();
        authpool.signal("TERM");
        for answer in ends(open) {
            let text = answer.text();
            assert!(!answer.whole, "{path}: it must not look whole");
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            assert!(text.ends_with("\n\n"), "{path}: {text}");
            let data = last.lines().find_map(|line| line.strip_prefix("data: "));
            let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
            assert!(data["error"]["message"].is_string(), "{path}: {last}");
            let is_named = path != "/v1/chat/completions";
            assert_eq!(last.starts_with("event: error\n"), is_named, "{last}");
            assert!(last.contains("upstream_failed"), "{last}");
        }
        assert_eq!(authpool.wait().code(), Some(0), "{path}");
        assert!(authpool.log().contains("stopped"));
    }
}

// O8
#[test]
fn a_second_signal_ends_the_drain_at_once() {
    let provider = Provider::start(Options::default()).unwrap();
    let hang = r#"{"do":{"fault":"slow_stream","gap_ms":200,"events":5000}}"#;
    provider.script().push_json(hang).unwrap();
    let mut authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let ask = Ask::post("/v1/chat/completions", chat("gpt-x", true));
    let open = begun(authpool.addr, &ask);
    authpool.signal("TERM");
    authpool.wait_for_line("draining");
    authpool.signal("INT");
    assert_eq!(authpool.wait().code(), Some(1), "{}", authpool.log());
    assert!(authpool.log().contains("ended at once"));
    assert!(!open.finish(false).whole);
}

// Acceptance 12, O2
#[test]
fn sighup_replaces_a_key_without_cutting_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key-a");
    std::fs::write(&key, "cred-a\n").unwrap();
    let provider = Provider::start(Options::default()).unwrap();
    let setup = Setup::new("openai", &["a"]);
    let reference = format!("{{ file = {key:?} }}");
    let text = setup
        .text(&setup.base_url(provider.addr()))
        .replace("{ env = \"CRED_a\" }", &reference);
    let authpool = Authpool::start(&text, &setup.variables());
    let open = twenty(&authpool, &provider);
    std::fs::write(&key, format!("{NEW_KEY}\n")).unwrap();
    reload(&authpool, &text, 1);
    assert_eq!(chat_once(&authpool).status, 200);
    assert_eq!(provider.ledger().count(NEW_KEY), 1, "the new key is used");
    assert_eq!(provider.ledger().totals("cred-a").in_flight, STREAMS as u64);
    assert_whole(&ends(open));
    let old = provider.ledger().totals("cred-a");
    assert_eq!(
        (old.requests, old.served),
        (20, 20),
        "and the old one no more"
    );
}

// Acceptance 12, O2
#[test]
fn a_reload_of_a_bad_file_is_refused_by_line_and_path_and_the_old_one_stays() {
    let provider = Provider::start(Options::default()).unwrap();
    let setup = Setup::new("openai", &["a"]);
    let authpool = setup.start(provider.addr());
    let text = setup.text(&setup.base_url(provider.addr()));
    let bad = text.replace("[[pool]]\n", "[[pool]]\nmax_waitt = \"1s\"\n");
    let line = 1 + bad.lines().position(|line| line.contains("waitt")).unwrap();
    std::fs::write(&authpool.config, &bad).unwrap();
    authpool.signal("HUP");
    let refused = authpool.wait_for_line("reload refused");
    let place = format!("{}:{line}: pool[0]", authpool.config.display());
    assert!(refused.contains(&place), "{refused}");
    assert_eq!(chat_once(&authpool).status, 200, "the old one stays");
    reload(&authpool, &text, 1);
    assert_eq!(chat_once(&authpool).status, 200);
}

// O2: removed subscriptions drain
#[test]
fn a_removed_subscription_gets_nothing_new_and_ends_what_it_serves() {
    let provider = Provider::start(Options::default()).unwrap();
    let setup = Setup::new("openai", &["a", "b"]);
    let mut both = setup.clone();
    both.subscriptions[1].2 = "priority = 1".into();
    let mut without = both.clone();
    without.subscriptions.remove(0);
    let authpool = both.start(provider.addr());
    let ask = Ask::post("/v1/chat/completions", slow_chat(150));
    let open = begun(authpool.addr, &ask);
    assert_eq!(provider.ledger().totals("cred-a").in_flight, 1);
    reload(
        &authpool,
        &without.text(&setup.base_url(provider.addr())),
        1,
    );
    assert_eq!(chat_once(&authpool).status, 200);
    assert_eq!(provider.ledger().count("cred-b"), 1);
    let draining = "authpool_subscription_state{state=\"draining\",subscription=\"a\"}";
    assert_eq!(authpool.metric(draining), 1.0);
    assert_whole(&ends(vec![open]));
    eventually("nothing is known of it any more", || {
        !get_text(authpool.admin, "/metrics")
            .lines()
            .any(|line| line.starts_with("authpool_subscription_state{") && line.contains("\"a\""))
    });
    assert_eq!(provider.ledger().count("cred-a"), 1);
}

// K2, O2
#[test]
fn a_clients_limits_live_on_over_a_reload() {
    let provider = Provider::start(Options::default()).unwrap();
    let setup = Setup::new("openai", &["a"]);
    let text = setup.text(&setup.base_url(provider.addr())).replace(
        "[[client]]\n",
        "[[client]]\nrequests_per_minute = 4\nmax_in_flight = 8\n",
    );
    let authpool = Authpool::start(&text, &setup.variables());
    let mut served = 0;
    let refused = loop {
        let answer = chat_once(&authpool);
        if answer.status != 200 {
            break answer;
        }
        served += 1;
    };
    assert_eq!(refused.header("x-authpool-code"), Some("client_limited"));
    // The limit fills by one in 15 s.
    assert!((1..=6).contains(&served), "{served}");
    reload(&authpool, &text, 1);
    let mut after = 0;
    while chat_once(&authpool).status == 200 {
        after += 1;
    }
    assert!(after <= 2, "a reload must not forget it: {after} more");
}

// K5, O2: places of providers differ between two configurations
#[test]
fn who_waits_over_a_reload_takes_a_new_key_to_that_keys_own_provider() {
    let (provider, second) = (
        Provider::start(Options::default()).unwrap(),
        Provider::start(Options::default()).unwrap(),
    );
    let hang = r#"{"match":{},"times":null,"do":{"fault":"hang"}}"#;
    provider.script().push_json(hang).unwrap();
    let mut setup = Setup::new("openai", &["a"]);
    setup.subscriptions[0].2 = "max_in_flight = 1".to_owned();
    let variables = Setup::new("openai", &["a", "b"]).variables();
    let url = setup.base_url(provider.addr());
    let authpool = Authpool::start(&setup.text(&url), &variables);
    let ask = Ask::post("/v1/chat/completions", chat("gpt-x", false));
    let held = ask.open(authpool.addr).unwrap();
    eventually("one is under way", || provider.ledger().in_flight() == 1);
    let mut waiting = ask.open(authpool.addr).unwrap();
    eventually("one waits", || authpool.metric("authpool_waiting{") == 1.0);
    setup
        .subscriptions
        .push(("b".to_owned(), "cred-b".to_owned(), String::new()));
    let first = format!(
        "[[provider]]\nid = \"second\"\ndialect = \"openai\"\nbase_url = {:?}\n\n[[provider]]\n",
        setup.base_url(second.addr())
    );
    let text = setup
        .text(&url)
        .replacen("[[provider]]\n", &first, 1)
        .replace(
            "id = \"b\"\nprovider = \"provider\"",
            "id = \"b\"\nprovider = \"second\"",
        );
    reload(&authpool, &text, 1);
    eventually("the new key is used", || {
        provider.ledger().count("cred-b") + second.ledger().count("cred-b") > 0
    });
    assert_eq!(provider.ledger().count("cred-b"), 0, "not at another's");
    assert_eq!(waiting.read_head().unwrap(), 200);
    drop(held);
}
