//! Fallback pools and model aliases (C7, C5, D6, F10), judged by the providers' ledgers: who was asked, by which name,
//! and whether everything else of the request was the same.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authpool::scripted::{Entry, Options, Provider};

use super::support::client::{Answer, Ask, chat, message};
use super::support::{Authpool, CLIENT_KEY, eventually};

const CHAT: &str = "/v1/chat/completions";
const LIMITED: &str = r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;

/// Pools in the making, each subscription at the provider that is named with it.
struct Chains {
    text: String,
}

impl Chains {
    /// Before these providers, which are called `p0`, `p1` ..
    fn new(dialect: &str, providers: &[SocketAddr]) -> Self {
        let mut text =
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\nexpose = [\"attempts\"]\n\
                        [admin]\nlisten = \"127.0.0.1:0\"\n"
                .to_owned();
        let path = if dialect == "openai" { "/v1" } else { "" };
        for (index, addr) in providers.iter().enumerate() {
            text.push_str(&format!(
                "[[provider]]\nid = \"p{index}\"\ndialect = {dialect:?}\nbase_url = \"http://{addr}{path}\"\n"
            ));
        }
        Self { text }
    }

    /// A subscription with the credential `cred-ID`, and the pool `pool-ID` that it is alone in.
    fn pool(mut self, id: &str, provider: &str, lines: &str) -> Self {
        self.text.push_str(&format!(
            "[[subscription]]\nid = {id:?}\nprovider = {provider:?}\ncredential = {{ env = \"CRED_{id}\" }}\n\
             [[pool]]\nid = \"pool-{id}\"\nsubscriptions = [{id:?}]\n{lines}\n"
        ));
        self
    }

    /// Starts it; `pool-a` has all routes. `client`: further lines of the one client.
    fn start(self, client: &str) -> Authpool {
        let variables = ["a", "b", "c"].map(|id| (format!("CRED_{id}"), format!("cred-{id}")));
        let key = ("CLIENT_KEY".to_owned(), CLIENT_KEY.to_owned());
        let text = format!(
            "{}[[route]]\npool = \"pool-a\"\n[[client]]\nid = \"tester\"\nkey = {{ env = \"CLIENT_KEY\" }}\n{client}\n",
            self.text
        );
        Authpool::start(&text, &[&variables[..], &[key]].concat())
    }
}

/// A provider that refuses each of these credentials for so many seconds.
fn limiting(limits: &[(&str, u64)]) -> Provider {
    let options = Options {
        body_kept: 4 * 1024 * 1024,
        ..Options::default()
    };
    let provider = Provider::start(options).unwrap();
    for (credential, seconds) in limits {
        let rule = serde_json::json!({"match": {"credential": credential}, "times": 1, "do": {"status": 429,
            "headers": {"retry-after": seconds.to_string(), "content-type": "application/json"}, "body": LIMITED}});
        provider.script().push_json(&rule.to_string()).unwrap();
    }
    provider
}

fn ask(authpool: &Authpool) -> Answer {
    Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr)
}

#[track_caller]
fn served(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The credentials that were asked, in order.
fn asked(provider: &Provider) -> Vec<String> {
    let entries = provider.ledger().entries();
    entries.into_iter().map(|entry| entry.credential).collect()
}

/// What of the headers is the same for every provider and name of the model.
fn lines(entry: &Entry) -> Vec<(String, String)> {
    let lines = entry.headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap().to_owned();
        (name.as_str().to_owned(), value)
    });
    lines
        .filter(|(name, _)| !matches!(&**name, "authorization" | "content-length"))
        .collect()
}

// C5 step 3, C7, F10, O6
#[test]
fn a_limited_pool_falls_back_to_the_next_by_the_name_that_the_model_has_there() {
    let provider = limiting(&[("cred-a", 10)]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool(
            "a",
            "p0",
            "fallback = [\"pool-b\"]\nfallback_after = \"500ms\"",
        )
        .pool("b", "p0", "model_aliases = { gpt-x = \"gpt-longer\" }")
        .start("");
    let start = Instant::now();
    let answer = Ask::post(CHAT, chat("gpt-x", false))
        .header("x-trace", "kept")
        .send(authpool.addr);
    served(&answer);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "not by waiting for the reset"
    );
    assert_eq!(answer.header("x-authpool-attempts"), Some("2"));
    let entries = provider.ledger().entries();
    let [first, second] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!(
        (&*first.credential, &*second.credential),
        ("cred-a", "cred-b")
    );
    assert_eq!(first.body, chat("gpt-x", false));
    assert_eq!(second.body, chat("gpt-longer", false));
    assert_eq!(lines(first), lines(second));
    let length = second.headers.get("content-length").unwrap();
    assert_eq!(length.to_str().unwrap(), second.body.len().to_string());
    // The next one goes there at once.
    served(&ask(&authpool));
    assert_eq!(asked(&provider), ["cred-a", "cred-b", "cred-b"]);
    let labels = [("pool", "pool-a"), ("to", "pool-b")];
    eventually("both are counted", || {
        authpool.series("authpool_fallbacks_total", &labels) == 2.0
    });
    let of_route = [
        ("pool", "pool-a"),
        ("subscription", "b"),
        ("model", "gpt-x"),
    ];
    assert_eq!(authpool.series("authpool_requests_total", &of_route), 2.0);
    let line = authpool.wait_for_line("msg=fell_back");
    assert!(line.contains("from=pool-a to=pool-b"), "{line}");
    let line = authpool.wait_for_line("msg=request");
    assert!(line.contains(" pool=pool-a "), "{line}");
    assert!(line.contains(" served_by_pool=pool-b "), "{line}");
}

// C5 step 2
#[test]
fn a_pool_that_frees_within_fallback_after_keeps_its_requests() {
    let provider = limiting(&[("cred-a", 1)]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool(
            "a",
            "p0",
            "fallback = [\"pool-b\"]\nfallback_after = \"20s\"",
        )
        .pool("b", "p0", "")
        .start("");
    served(&ask(&authpool));
    assert_eq!(asked(&provider), ["cred-a", "cred-a"]);
    let entries = provider.ledger().entries();
    assert!(entries[1].at.since(entries[0].at) >= Duration::from_secs(1));
    assert_eq!(authpool.metric("authpool_fallbacks_total"), 0.0);
}

// C5 step 4
#[test]
fn a_request_waits_for_whichever_pool_of_the_chain_frees_first() {
    let provider = limiting(&[("cred-a", 25), ("cred-b", 1)]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool(
            "a",
            "p0",
            "fallback = [\"pool-b\"]\nfallback_after = \"0s\"",
        )
        .pool("b", "p0", "")
        .start("");
    served(&ask(&authpool));
    assert_eq!(asked(&provider), ["cred-a", "cred-b", "cred-b"]);
    let entries = provider.ledger().entries();
    assert!(entries[2].at.since(entries[1].at) >= Duration::from_secs(1));
}

// C5 step 5, C6; C7: pools that fall back to each other
#[test]
fn a_limited_chain_is_asked_once_and_refuses_with_its_earliest_instant() {
    let provider = limiting(&[("cred-a", 90), ("cred-b", 50), ("cred-c", 70)]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool("a", "p0", "fallback = [\"pool-b\"]")
        .pool("b", "p0", "fallback = [\"pool-a\", \"pool-c\"]")
        .pool("c", "p0", "fallback = [\"pool-a\"]")
        .start("");
    for _ in 0..2 {
        let answer = ask(&authpool);
        assert_eq!(
            (answer.status, answer.header("x-authpool-code")),
            (429, Some("pool_limited"))
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((40..=55).contains(&wait), "{wait}");
    }
    assert_eq!(asked(&provider), ["cred-a", "cred-b", "cred-c"]);
}

// C7, K2: the fallback is not open to him, so there is none
#[test]
fn a_client_does_not_get_by_a_fallback_to_a_pool_that_is_not_his() {
    let provider = limiting(&[("cred-a", 90), ("cred-b", 70)]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool("a", "p0", "fallback = [\"pool-b\", \"pool-c\"]")
        .pool("b", "p0", "")
        .pool("c", "p0", "")
        .start("pools = [\"pool-a\", \"pool-b\"]");
    let answer = ask(&authpool);
    assert_eq!(answer.header("x-authpool-code"), Some("pool_limited"));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((60..=75).contains(&wait), "pool-b's, {wait}");
    assert_eq!(asked(&provider), ["cred-a", "cred-b"]);
}

// D6: no key is cooled; after (b) another provider's pool, not one of the same provider
#[test]
fn an_overloaded_provider_is_left_for_another_providers_pool() {
    let overloaded = Provider::start(Options::default()).unwrap();
    let rule = r#"{"match":{},"times":null,"do":{"corpus":"anth-529"}}"#;
    overloaded.script().push_json(rule).unwrap();
    let other = Provider::start(Options::default()).unwrap();
    let chains = || Chains::new("anthropic", &[overloaded.addr(), other.addr()]);
    let ask = |authpool: &Authpool| {
        Ask::post("/v1/messages", message("claude-x", false)).send(authpool.addr)
    };
    let authpool = chains()
        .pool("a", "p0", "fallback = [\"pool-b\", \"pool-c\"]")
        .pool("b", "p0", "")
        .pool("c", "p1", "")
        .start("");
    served(&ask(&authpool));
    assert_eq!(asked(&overloaded), ["cred-a", "cred-a"]);
    assert_eq!(asked(&other), ["cred-c"]);
    overloaded.ledger().clear();
    let authpool = chains()
        .pool("a", "p0", "fallback = [\"pool-b\"]")
        .pool("b", "p0", "")
        .start("");
    let answer = ask(&authpool);
    assert_eq!(answer.status, 529, "as received: {}", answer.text());
    assert_eq!(asked(&overloaded), ["cred-a", "cred-a"]);
}

// F10: the bytes of the value and nothing else, whatever their form and wherever they stand
#[test]
fn an_alias_replaces_the_models_bytes_of_a_large_body_and_nothing_else() {
    let provider = limiting(&[]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool(
            "a",
            "p0",
            "model_aliases = { \"gpt-x\" = \"gpt-\\\"y\\\"\", \"mini-*\" = \"small\", \"*-old\" = \"new\" }",
        )
        .start("");
    let long = "\\u00e9\\\\ \\\"model\\\": \\\"gpt-x\\\" ".repeat(40_000);
    let body = |model: &str| {
        format!(
            "{{ \"messages\" :[{{\"role\":\"user\",\"model\":\"gpt-x\",\"content\":\"{long}\"}}],\r\n \
             \"mod\\u0065l\" : {model} ,\"n\":1.0e0}}"
        )
    };
    assert!(body("").len() > 1024 * 1024);
    for (model, sent) in [
        ("\"gpt\\u002dx\"", "\"gpt-\\\"y\\\"\""),
        ("\"mini-old\"", "\"small\""),
        ("\"gpt-old\"", "\"new\""),
        ("\"gpt-x2\"", "\"gpt-x2\""),
    ] {
        provider.ledger().clear();
        served(&Ask::post(CHAT, body(model)).send(authpool.addr));
        let entries = provider.ledger().entries();
        assert!(entries[0].body == body(sent), "{model}");
    }
    let answer = ask(&authpool);
    assert_eq!(answer.json()["model"], "gpt-\"y\"", "the answer's own word");
}

// F10: what is no JSON names no model
#[test]
fn a_body_that_is_no_json_goes_unchanged() {
    let provider = limiting(&[]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool("a", "p0", "model_aliases = { \"*\" = \"other\" }")
        .start("");
    let form = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n\"model\":\"whisper\"\r\n--b--\r\n";
    Ask::post("/v1/audio/transcriptions", form)
        .without("content-type")
        .header("content-type", "multipart/form-data; boundary=b")
        .send(authpool.addr);
    assert_eq!(provider.ledger().entries()[0].body, form);
}

// F10, F6, C1: routes and clients judge the model asked for, subscriptions the one that is sent
#[test]
fn who_may_have_a_model_is_decided_by_its_name_on_each_side() {
    let provider = limiting(&[]);
    let authpool = Chains::new("openai", &[provider.addr()])
        .pool(
            "a",
            "p0",
            "model_aliases = { asked = \"sent\" }\nfallback = [\"pool-b\"]",
        )
        .pool("b", "p0", "")
        .start("models = [\"asked\"]");
    let with = |model: &str| Ask::post(CHAT, chat(model, false)).send(authpool.addr);
    served(&with("asked"));
    assert_eq!(with("sent").status, 403);
    let text = std::fs::read_to_string(&authpool.config).unwrap();
    let text = text.replacen(
        "credential = { env = \"CRED_a\" }",
        "credential = { env = \"CRED_a\" }\ndeny_models = [\"sent\"]",
        1,
    );
    std::fs::write(&authpool.config, text).unwrap();
    authpool.signal("HUP");
    eventually("it is reloaded", || {
        provider.ledger().clear();
        served(&with("asked"));
        asked(&provider) == ["cred-b"]
    });
    assert_eq!(provider.ledger().entries()[0].body, chat("asked", false));
}
