//! Who is let in and how much he may do: K1, K2.

use authpool::scripted::{Options, Provider};

use super::support::client::{Ask, chat, message};
use super::support::{CLIENT_KEY, Setup, eventually};

const OTHER_KEY: &str = "another-client-key-0123456789";
/// Of [`OTHER_KEY`], as `printf %s KEY | sha256sum` prints it.
fn digest() -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(OTHER_KEY);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

fn hanging() -> Provider {
    let provider = provider();
    let hang = r#"{"match":{"model":"hang"},"do":{"fault":"hang"}}"#;
    provider.script().push_json(hang).unwrap();
    provider
}

fn other(ask: Ask) -> Ask {
    ask.without("authorization").header("x-api-key", OTHER_KEY)
}

// K1
#[test]
fn a_key_is_found_wherever_an_sdk_puts_it_and_never_goes_on() {
    let provider = provider();
    for dialect in ["openai", "anthropic"] {
        let mut setup = Setup::new(dialect, &["a"]);
        setup.more = format!(
            "[[client]]\nid = \"other\"\nkey = {{ sha256 = \"{}\" }}\n",
            digest()
        );
        let authpool = setup.start(provider.addr());
        let bare = || match dialect {
            "openai" => {
                Ask::post("/v1/chat/completions", chat("m", false)).without("authorization")
            }
            _ => Ask::post("/v1/messages", message("m", false)).without("authorization"),
        };
        for key in [CLIENT_KEY, OTHER_KEY] {
            for (name, value) in [
                ("authorization", format!("Bearer {key}")),
                ("authorization", format!("bearer {key}")),
                ("x-api-key", key.to_owned()),
                ("api-key", key.to_owned()),
                ("x-goog-api-key", key.to_owned()),
            ] {
                assert_eq!(
                    bare().header(name, &value).send(authpool.addr).status,
                    200,
                    "{name}"
                );
                let entry = provider.ledger().entries().pop().unwrap();
                assert_eq!(entry.credential, "cred-a");
                let leaks = entry.headers.values().any(|value| {
                    value
                        .as_bytes()
                        .windows(key.len())
                        .any(|part| part == key.as_bytes())
                });
                assert!(!leaks, "{name} in {dialect}");
            }
        }
        let before = provider.ledger().count("cred-a");
        for (name, value) in [
            ("x-none", String::new()),
            ("authorization", CLIENT_KEY.to_owned()),
            ("authorization", format!("Basic {CLIENT_KEY}")),
            ("authorization", format!("Bearer {CLIENT_KEY}x")),
            (
                "authorization",
                format!("Bearer {}", &CLIENT_KEY[..CLIENT_KEY.len() - 1]),
            ),
            (
                "authorization",
                format!("Bearer {}", CLIENT_KEY.to_uppercase()),
            ),
            ("authorization", "Bearer cred-a".to_owned()),
            ("x-api-key", digest()),
            ("x-authpool-key", CLIENT_KEY.to_owned()),
        ] {
            let answer = bare().header(name, &value).send(authpool.addr);
            assert_eq!(answer.status, 401, "{name}: {value}");
            assert_eq!(answer.header("x-authpool-code"), Some("unauthorised"));
            assert_eq!(answer.json()["error"]["type"], "authentication_error");
            assert_eq!(
                answer.json()["type"],
                if dialect == "openai" {
                    serde_json::Value::Null
                } else {
                    "error".into()
                }
            );
            assert!(
                value.is_empty() || !answer.text().contains(&value),
                "a key is shown"
            );
        }
        assert_eq!(provider.ledger().count("cred-a"), before);
    }
}

// K1: without clients a loopback listener is open
#[test]
fn without_clients_no_key_is_asked_for_and_none_goes_on() {
    let provider = provider();
    let mut setup = Setup::new("openai", &["a"]);
    setup.keys = false;
    let authpool = setup.start(provider.addr());
    let ask = Ask::post("/v1/chat/completions", chat("m", false));
    assert_eq!(
        ask.clone()
            .without("authorization")
            .send(authpool.addr)
            .status,
        200
    );
    let with = ask
        .header("x-api-key", "some-key")
        .header("api-key", "some-key");
    assert_eq!(with.send(authpool.addr).status, 200);
    for entry in provider.ledger().entries() {
        assert_eq!(entry.credential, "cred-a");
        assert!(!entry.headers.contains_key("x-api-key") && !entry.headers.contains_key("api-key"));
    }
}

// K2, F7
#[test]
fn a_client_beyond_his_requests_per_minute_is_told_when_to_come_back_and_others_are_not() {
    let provider = provider();
    for dialect in ["openai", "anthropic"] {
        let mut setup = Setup::new(dialect, &["a"]);
        setup.more = format!(
            "[[client]]\nid = \"other\"\nkey = {{ sha256 = \"{}\" }}\nrequests_per_minute = 3\n",
            digest()
        );
        let authpool = setup.start(provider.addr());
        let ask = || match dialect {
            "openai" => Ask::post("/v1/chat/completions", chat("m", false)),
            _ => Ask::post("/v1/messages", message("m", false)),
        };
        for _ in 0..3 {
            assert_eq!(other(ask()).send(authpool.addr).status, 200);
        }
        let before = provider.ledger().count("cred-a");
        let answer = other(ask()).send(authpool.addr);
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("x-authpool-code"), Some("client_limited"));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=20).contains(&after), "{after}");
        let body = answer.json();
        assert_eq!(body["error"]["type"], "rate_limit_error");
        assert_eq!(body["type"] == "error", dialect == "anthropic");
        assert_eq!(provider.ledger().count("cred-a"), before);
        assert_eq!(ask().send(authpool.addr).status, 200, "the other client");
        let refusals = || authpool.series("authpool_refusals_total", &[("code", "client_limited")]);
        eventually("the refusal is counted", || refusals() == 1.0);
    }
}

// K2, F7: 1 for concurrency
#[test]
fn a_client_beyond_his_requests_at_once_is_refused_until_one_of_them_ends() {
    let provider = hanging();
    let mut setup = Setup::new("openai", &["a"]);
    setup.more = format!(
        "[[client]]\nid = \"other\"\nkey = {{ sha256 = \"{}\" }}\nmax_in_flight = 2\n",
        digest()
    );
    let authpool = setup.start(provider.addr());
    let path = "/v1/chat/completions";
    let open = || {
        other(Ask::post(path, chat("hang", false)))
            .open(authpool.addr)
            .unwrap()
    };
    let (first, _second) = (open(), open());
    eventually("both are under way", || provider.ledger().in_flight() == 2);
    let answer = other(Ask::post(path, chat("m", false))).send(authpool.addr);
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("x-authpool-code"), Some("client_limited"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        Ask::post(path, chat("m", false)).send(authpool.addr).status,
        200,
        "the other client"
    );
    drop(first);
    eventually("there is room again", || {
        other(Ask::post(path, chat("m", false)))
            .send(authpool.addr)
            .status
            == 200
    });
}
