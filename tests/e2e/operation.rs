//! What an operator sees from outside: exit codes and the line beside them, health, metrics, the demo.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use authpool::scripted::{Options, Provider};

use super::lifecycle::chat_once;
use super::support::client::Ask;
use super::support::{Setup, command};

#[track_caller]
fn run(what: &str, config: &Path, variables: &[(String, String)]) -> Output {
    command()
        .args([what, "--config"])
        .arg(config)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap()
}

/// Both commands end with 2 and one line on standard error that says so; `check` opens nothing, so that `only_serve`
/// can see some faults.
#[track_caller]
fn assert_unusable(text: &str, without: &str, expected: &str, only_serve: bool) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("authpool.toml");
    std::fs::write(&config, text).unwrap();
    let mut variables = Setup::new("openai", &["a"]).variables();
    variables.retain(|(name, _)| name != without);
    let commands: &[&str] = if only_serve {
        &["serve"]
    } else {
        &["serve", "check"]
    };
    for what in commands {
        let output = run(what, &config, &variables);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {stderr}");
        assert!(stderr.contains(expected), "{what}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

// O1, K4
#[test]
fn what_cannot_be_used_is_one_clear_line_and_exit_code_2() {
    let good = Setup::new("openai", &["a"]).text("http://127.0.0.1:9/v1");
    let unknown = good.replace("[[pool]]\n", "[[pool]]\nmax_waitt = \"1s\"\n");
    assert_unusable(&unknown, "", "max_waitt", false);
    assert_unusable("[server\n", "", "authpool.toml:1", false);
    let upper = good.replace("CRED_a", "CREDENTIAL");
    assert_unusable(&upper, "", "variable CREDENTIAL is not set", false);
    assert_unusable(
        &good,
        "CRED_a",
        "the environment variable named here is not set",
        false,
    );
    let gone = good.replace("{ env = \"CRED_a\" }", "{ file = \"gone\" }");
    assert_unusable(&gone, "", "names a file that cannot be read", false);

    let gone = tempfile::tempdir().unwrap().path().join("gone.toml");
    for what in ["serve", "check"] {
        let output = run(what, &gone, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        let reason = "cannot read the configuration";
        assert!(
            stderr.contains(reason) && stderr.contains("No such file"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr)).unwrap();
    let data = good.replacen("127.0.0.1:0", &taken.1.to_string(), 1);
    let expected = format!("server.listen: cannot listen on {}", taken.1);
    assert_unusable(&data, "", &expected, true);
    let admin = good.replace(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        &format!("[admin]\nlisten = \"{}\"", taken.1),
    );
    let expected = format!("admin.listen: cannot listen on {}", taken.1);
    assert_unusable(&admin, "", &expected, true);
}

// O1
#[test]
fn a_certificate_that_cannot_be_read_or_does_not_fit_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let mine = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let cert = file("cert.pem", &mine.cert.pem());
    let key = file("key.pem", &other.serialize_pem());
    let empty = file("empty.pem", "no certificate\n");
    let gone = folder.path().join("gone.pem");
    let good = Setup::new("openai", &["a"]).text("http://127.0.0.1:9/v1");
    let cases = [
        (
            &gone,
            &key,
            "server.tls.cert: names a file that cannot be read",
        ),
        (&empty, &key, "holds no certificate"),
        (&cert, &empty, "holds no private key"),
        (
            &cert,
            &key,
            "server.tls: certificate and key cannot be used: ",
        ),
    ];
    for (cert, key, expected) in cases {
        let tls = format!("workers = 2\ntls = {{ cert = {cert:?}, key = {key:?} }}");
        let text = good.replacen("workers = 2", &tls, 1);
        assert_unusable(&text, "", expected, false);
    }
    let ca = format!("dialect = \"openai\"\nca = {{ file = {empty:?} }}");
    let text = good.replacen("dialect = \"openai\"", &ca, 1);
    let text = text.replace("http://127.0.0.1:9", "https://127.0.0.1:9");
    assert_unusable(&text, "", "provider[0].ca", false);
}

/// Name, labels and value of a line of Prometheus's text.
#[track_caller]
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value = value.parse().expect(line);
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    assert!(is_word(name), "{line}");
    let mut labels = Vec::new();
    for label in rest.strip_suffix('}').expect(line).split_terminator("\",") {
        let (key, text) = label.split_once("=\"").expect(line);
        assert!(is_word(key), "{line}");
        labels.push((key.to_owned(), text.trim_end_matches('"').to_owned()));
    }
    (name.to_owned(), labels, value)
}

const LABELS: [(&str, &str, &[&str]); 5] = [
    (
        "authpool_requests_total",
        "status",
        &["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"],
    ),
    (
        "authpool_subscription_state",
        "state",
        &[
            "ready",
            "cooling",
            "probing",
            "ejected",
            "quarantined",
            "disabled",
            "draining",
        ],
    ),
    (
        "authpool_tokens_total",
        "kind",
        &["input", "output", "cache_read", "cache_write", "reasoning"],
    ),
    (
        "authpool_retries_total",
        "reason",
        &[
            "limited",
            "credential",
            "overloaded",
            "upstream_error",
            "not_processed",
        ],
    ),
    (
        "authpool_upstream_connections",
        "state",
        &["idle", "active"],
    ),
];

// O4, O6
#[test]
fn metrics_are_well_formed_and_each_subscription_is_in_exactly_one_state() {
    let provider = Provider::start(Options::default()).unwrap();
    let rules = r#"[
        {"match":{"credential":"cred-a"},"times":1,"do":{"status":429,"headers":{"retry-after":"60"},"body":"{}"}},
        {"match":{"credential":"cred-b"},"times":1,"do":{"status":401,"headers":{},"body":
            "{\"error\":{\"message\":\"bad key\",\"type\":\"invalid_request_error\",\"code\":\"invalid_api_key\"}}"}}]"#;
    provider.script().push_json(rules).unwrap();
    let mut setup = Setup::new("openai", &["a", "b", "c", "d"]);
    for (subscription, priority) in setup.subscriptions.iter_mut().zip(0..) {
        subscription.2 = format!("priority = {priority}");
    }
    setup.subscriptions[3].2 = "enabled = false".into();
    setup.pool = "max_attempts = 5".into();
    let authpool = setup.start(provider.addr());
    assert_eq!(Ask::get("/healthz").send(authpool.admin).status, 200);
    assert_eq!(Ask::get("/readyz").send(authpool.admin).status, 200);
    assert_eq!(chat_once(&authpool).status, 200);
    assert_eq!(chat_once(&authpool).status, 200);
    let refused = Ask::post("/v1/chat/completions", "{}").without("authorization");
    assert_eq!(refused.send(authpool.addr).status, 401);

    let answer = Ask::get("/metrics").send(authpool.admin);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let mut states = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, value) = sample(line);
        assert!(
            ["authpool_", "process_"]
                .iter()
                .any(|ours| name.starts_with(ours)),
            "{line}"
        );
        for (series, label, allowed) in LABELS {
            let found = labels
                .iter()
                .find(|(key, _)| name == series && key == label);
            if let Some((_, value)) = found {
                assert!(allowed.contains(&value.as_str()), "O6: {line}");
            }
        }
        if name == "authpool_subscription_state" && value == 1.0 {
            states.push((labels[1].1.clone(), labels[0].1.clone()));
        }
    }
    states.sort();
    let expected = [
        ("a", "cooling"),
        ("b", "quarantined"),
        ("c", "ready"),
        ("d", "disabled"),
    ];
    assert_eq!(
        states,
        expected.map(|(id, state)| (id.into(), state.into()))
    );
    assert_eq!(
        authpool.metric("authpool_refusals_total{code=\"unauthorised\",pool=\"\"}"),
        1.0
    );
    for known in [
        "authpool_requests_total{model=\"gpt-x\",pool=\"pool\",status=\"2xx\",subscription=\"c\"} 2",
        "authpool_retries_total{pool=\"pool\",reason=\"limited\"} 1",
        "authpool_retries_total{pool=\"pool\",reason=\"credential\"} 1",
        "authpool_build_info{version=",
    ] {
        assert!(text.contains(known), "{known} is not in\n{text}");
    }
}

// O3
#[test]
fn the_demo_shows_failovers_and_exits_0() {
    let output = command()
        .args(["demo", "--seconds", "12"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let all = format!("{text}{errors}");
    assert_eq!(output.status.code(), Some(0), "{all}");
    let failover = |line: &&str| line.contains(" 429 ") && line.contains(" -> ");
    let line = all.lines().find(failover).expect(&all);
    assert!(line.starts_with('+') && line.contains("req=..."), "{line}");
    let mut summaries = all.lines().filter(|line| line.contains("pool: served "));
    let last = summaries.next_back().expect(&all);
    assert!(
        last.contains("failovers") && last.ends_with("client-429 0"),
        "{last}"
    );
    assert!(all.contains("/metrics") && all.contains("curl "), "{all}");
}
