//! The configuration as a file: what it may say, each rule's fault with line and path, and the files we ship.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use authpool::config::{self, Config, ConfigError, LimitHeaders, Surroundings, keys};
use authpool::core::choice::strategy;
use authpool::core::dialect::Dialect;
use authpool::core::limit::reading::Dimension;
use authpool::core::limit::scope::Scope;
use authpool::core::limit::verdict::{Class, Verdict};
use authpool::core::pools::Priority;
use proptest::prelude::*;

/// Stands for secrets of every kind: never to be seen in an error.
const CANARY: &str = "canary-4f1c9a77e0b2d85c6631";

/// Its first twelve bytes.
const PIECE: &str = "canary-4f1c9";

/// Surroundings of a test: what is not named here is not there.
struct Fake {
    variables: HashMap<String, OsString>,
    files: HashMap<PathBuf, Vec<u8>>,
    memory: Option<u64>,
}

impl Fake {
    fn new() -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = certificate.signing_key.serialize_pem();
        let pem = certificate.cert.pem();
        let mut fake = Self {
            variables: HashMap::new(),
            files: HashMap::new(),
            memory: Some(4 << 30),
        };
        let variables = [
            ("KEY", CANARY.to_owned()),
            ("CLIENT", format!("{CANARY}-client")),
            ("OTHER_CLIENT", format!("{CANARY}-other")),
            ("EMPTY", String::new()),
            ("BROKEN", format!("{CANARY}\n{CANARY}")),
            ("BLANK", format!("{CANARY} ")),
            ("CONTROL", format!("{CANARY}\u{1}x")),
            ("BEYOND", format!("{CANARY}ä")),
            ("SHORT", "canary-4f1c9a77e0b2d85".to_owned()),
            ("INNER_BLANK", format!("{CANARY} {CANARY}")),
        ];
        for (name, value) in variables {
            fake.variables.insert(name.to_owned(), value.into());
        }
        let files = [
            ("cert.pem", pem.clone()),
            ("key.pem", key),
            ("secret", format!("{CANARY}\n")),
            ("broken", format!("{CANARY}\n{CANARY}\n")),
            ("empty", "\n".to_owned()),
            ("half.pem", pem.chars().take(200).collect()),
        ];
        for (name, content) in files {
            fake.files.insert(PathBuf::from(name), content.into_bytes());
        }
        fake
    }
}

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.files.get(path).cloned();
        content.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        3
    }

    fn memory_limit(&self) -> Option<u64> {
        self.memory
    }
}

/// A file that is right. Tests add to it or replace parts of it.
const GOOD: &str = r#"[server]
[[provider]]
id = "p"
dialect = "openai"
base_url = "https://api.openai.com/v1"
[[subscription]]
id = "a"
provider = "p"
credential = { env = "KEY" }
[[pool]]
id = "main"
subscriptions = ["a"]
"#;

/// A client, from line 13 on where it is added to the good file.
const CLIENT: &str = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }";

fn parse(text: &str) -> Result<Config, ConfigError> {
    static SURROUNDINGS: LazyLock<Fake> = LazyLock::new(Fake::new);
    Config::parse(text, &*SURROUNDINGS)
}

#[track_caller]
fn good(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(error) => panic!("{error}\nin {text:.2000}"),
    }
}

/// Each fault as `line path: message`; each expected one is how it begins.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let error = parse(text).expect_err("it has faults");
    let found: Vec<String> = error
        .faults()
        .iter()
        .map(|fault| format!("{} {}: {}", fault.line, fault.path, fault.message))
        .collect();
    let begins = |(found, expected): (&String, &&str)| found.starts_with(expected);
    let agree = found.len() == expected.len() && found.iter().zip(expected).all(begins);
    assert!(
        agree,
        "expected {expected:#?}\nfound {found:#?}\nin {text:.2000}"
    );
    assert_without_secret(&error);
}

/// No twelve bytes of a secret.
#[track_caller]
fn assert_without_secret(thing: &(impl std::fmt::Debug + ?Sized)) {
    let shown = format!("{thing:?}");
    assert!(!shown.contains(PIECE), "{shown}");
    assert!(!shown.contains("-----BEGIN"), "{shown}");
}

/// One check a line: `lines => fault && fault`, where `|` breaks a line. `place` puts the lines into the good file.
#[track_caller]
fn check_each(place: fn(&str) -> String, rows: &str) {
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (lines, faults) = row.split_once(" => ").expect(row);
        let lines = lines.trim().replace(" | ", "\n");
        let faults: Vec<&str> = faults.split(" && ").map(str::trim).collect();
        check(&place(&lines), &faults);
    }
}

#[track_caller]
fn with(part: &str, instead: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    GOOD.replacen(part, instead, 1)
}

/// Lines of `[server]`, from line 2 on.
fn server(lines: &str) -> String {
    with("[server]\n", &format!("[server]\n{lines}\n"))
}

/// The base URL, line 5, and lines behind it.
fn url(lines: &str) -> String {
    let (url, lines) = lines.split_once('\n').unwrap_or((lines, ""));
    let instead = format!("\"{url}\"\n{lines}");
    with("\"https://api.openai.com/v1\"", &instead)
}

/// Lines of the provider, from line 6 on.
fn provider(lines: &str) -> String {
    with("[[subscription]]", &format!("{lines}\n[[subscription]]"))
}

/// What stands for the credential, line 9.
fn credential(reference: &str) -> String {
    with("{ env = \"KEY\" }", reference)
}

/// Lines of the subscription, from line 10 on.
fn subscription(lines: &str) -> String {
    with("[[pool]]", &format!("{lines}\n[[pool]]"))
}

/// Lines of the pool and what comes behind it, from line 13 on.
fn more(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
}

/// Lines of a route, from line 15 on.
fn route(lines: &str) -> String {
    more(&format!("[[route]]\npool = \"main\"\n{lines}"))
}

/// Lines of a client, from line 16 on.
fn client(lines: &str) -> String {
    more(&format!("{CLIENT}\n{lines}"))
}

/// Lines of a rule, from line 15 on.
fn rule(lines: &str) -> String {
    more(&format!("[[rule]]\nverdict = \"rate_limited\"\n{lines}"))
}

/// What stands for a rule's verdict, line 15.
fn verdict(word: &str) -> String {
    more(&format!("[[rule]]\nstatus = [400]\nverdict = {word}"))
}

/// What stands for a client's key, line 15.
fn key(reference: &str) -> String {
    more(&format!("[[client]]\nid = \"c\"\nkey = {reference}"))
}

/// Without the one line that begins so.
fn without(beginning: &str) -> String {
    let lines = GOOD.lines().filter(|line| !line.starts_with(beginning));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    // section 14, F5
    let config = good(GOOD);
    let server = &config.server;
    assert_eq!(server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert!(server.tls.is_none());
    assert_eq!(server.workers.get(), 3);
    assert_eq!(server.drain, Duration::from_secs(300));
    assert_eq!(server.body_limit, 32 << 20);
    assert_eq!(server.body_memory, 512 << 20);
    assert_eq!(server.max_connections.get(), 10_000);
    assert_eq!(server.expose, config::Expose::default());
    assert_eq!(server.log.level, tracing::Level::INFO);
    assert!(!server.log.json);
    assert!(config.admin.is_none());
    let provider = &config.providers[0];
    assert_eq!(provider.dialect, Dialect::OpenAi);
    assert_eq!(provider.connect, Duration::from_secs(5));
    assert_eq!(provider.first_byte, Duration::from_secs(600));
    assert_eq!(provider.idle, Duration::from_secs(300));
    assert_eq!(provider.total, Duration::from_secs(3600));
    assert_eq!(provider.keep_alive, Duration::from_secs(30));
    assert!(provider.ca.is_none() && !provider.system_roots);
    assert!(provider.allow_paths.is_empty() && provider.pass_headers.is_empty());
    assert!(provider.limit_groups.is_empty());
    let subscription = &config.subscriptions[0];
    assert!(subscription.enabled && subscription.priority == 0);
    assert!(&*subscription.domain == "a" && !subscription.domain_named);
    assert!(subscription.max_in_flight.is_none());
    assert!(subscription.models[0].matches_all() && subscription.deny_models.is_empty());
    assert!(subscription.weight.get() == 1 && subscription.limits.is_empty());
    let pool = &config.pools[0];
    assert_eq!(pool.max_wait, Duration::from_secs(30));
    assert_eq!((pool.max_waiting, pool.max_attempts), (1000, 2));
    assert_eq!(pool.stick_wait, Duration::from_secs(2));
    assert!(pool.default_owner.is_none() && pool.session_headers.is_empty());
    assert_eq!(pool.limit_headers, LimitHeaders::Pool);
    assert_eq!(pool.strategy, strategy::Strategy::Headroom);
    assert!(pool.fallback.is_empty() && pool.model_aliases.is_empty());
    assert_eq!(pool.fallback_after, Duration::from_secs(2));
    let route = &config.routes[0];
    assert!(route.implied && route.pool == 0 && &*route.path_prefix == "/");
    assert!(config.clients.is_empty());
    assert_eq!(config.sessions.max.get(), 100_000);
    let client = &good(&client("")).clients[0];
    assert!(client.priority == Priority::Normal && !client.may_pin);
    assert!(client.requests_per_minute.is_none() && client.tokens_per_minute.is_none());
}

#[test]
fn the_body_memory_is_a_quarter_of_a_small_machine() {
    // F5
    let check = |memory, expected: u64| {
        let fake = Fake {
            memory,
            ..Fake::new()
        };
        let config = Config::parse(GOOD, &fake).unwrap();
        assert_eq!(config.server.body_memory, expected);
    };
    check(Some(1 << 30), 256 << 20);
    check(Some(64 << 20), 16 << 20);
    check(Some(64 << 30), 512 << 20);
    check(None, 512 << 20);
}

#[test]
fn a_credential_is_the_dialects_header_unless_auth_says_otherwise() {
    // section 14
    let check = |text: &str, expected: &str| {
        let credential = good(text).subscriptions[0].credential.clone();
        assert!(credential.value.is_sensitive());
        let value = credential.value.to_str().unwrap().replace(CANARY, "KEY");
        assert_eq!(format!("{}: {value}", credential.name), expected);
    };
    check(GOOD, "authorization: Bearer KEY");
    check(
        &credential("{ file = \"secret\" }"),
        "authorization: Bearer KEY",
    );
    let anthropic = GOOD.replace("openai\"", "anthropic\"").replace("/v1", "");
    check(&anthropic, "x-api-key: KEY");
    let auth = provider("auth = { header = \"Api-Key\" }");
    check(&auth, "api-key: KEY");
    let auth = provider("auth = { header = \"authorization\", scheme = \"Token\" }");
    check(&auth, "authorization: Token KEY");
}

/// What the shipped files name.
fn for_shipped_files() -> Fake {
    let mut fake = Fake::new();
    let variables = "OPENAI_API_KEY ANTHROPIC_API_KEY ANTHROPIC_API_KEY_A OPENAI_API_KEY_A INHOUSE_KEY LAB_KEY TEAM_A_KEY";
    for name in variables.split(' ') {
        let value = format!("{CANARY}-{name}").into();
        fake.variables.insert(name.to_owned(), value);
    }
    for (name, like) in [
        ("server.pem", "cert.pem"),
        ("server.key", "key.pem"),
        ("inhouse-ca.pem", "cert.pem"),
        ("secrets/anthropic-b", "secret"),
        ("secrets/team-b", "secret"),
    ] {
        let content = fake.files[Path::new(like)].clone();
        fake.files.insert(PathBuf::from(name), content);
    }
    fake
}

#[test]
fn the_example_is_right_and_every_value_arrives_where_it_belongs() {
    // O1, section 14
    let text = std::fs::read_to_string("config/example.toml").unwrap();
    let config = Config::parse(&text, &for_shipped_files()).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert!(config.server.tls.is_some());
    assert!(config.server.expose.subscription && config.server.expose.server_timing);
    assert_eq!(config.admin.unwrap().listen.port(), 9090);
    let openai = &config.providers[1];
    let groups: Vec<&str> = openai
        .limit_groups
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(groups, ["gpt-5", "gpt-5-mini"]);
    assert!(openai.system_roots);
    assert_eq!(openai.allow_paths[0].method, http::Method::GET);
    assert_eq!(openai.pass_headers, ["openai-project"]);
    assert!(config.providers[2].ca.is_some());
    let b = &config.subscriptions[1];
    assert!(&*b.domain == "acme-org" && b.domain_named);
    assert_eq!((b.priority, b.max_in_flight), (1, Some(50)));
    assert_eq!(b.weight.get(), 2);
    let limits: Vec<_> = b
        .limits
        .iter()
        .map(|one| (one.dimension, one.limit.get()))
        .collect();
    assert_eq!(
        limits,
        [(Dimension::Requests, 50), (Dimension::InputTokens, 40_000)]
    );
    assert_eq!(b.limits[1].per, Duration::from_secs(60));
    assert_eq!(config.pools[0].strategy, strategy::Strategy::Headroom);
    assert_eq!(config.pools[1].default_owner.as_deref(), Some("openai-a"));
    assert_eq!(config.pools[1].fallback, [2]);
    assert_eq!(config.pools[1].fallback_after, Duration::from_secs(5));
    let aliases = &config.pools[2].model_aliases;
    let aliases: Vec<_> = aliases
        .iter()
        .map(|(asked, sent)| (&*asked.0, &**sent))
        .collect();
    assert_eq!(aliases, [("gpt-5", "lab-large"), ("gpt-5-*", "lab-small")]);
    let pools: Vec<usize> = config.routes.iter().map(|route| route.pool).collect();
    assert_eq!(pools, [2, 3, 0, 1]);
    let lab = &config.routes[0];
    assert_eq!(lab.host.as_deref(), Some("lab.example.internal"));
    assert!(!lab.implied);
    let team = &config.clients[0];
    assert_eq!(team.requests_per_minute.map(u32::from), Some(600));
    assert_eq!(team.tokens_per_minute.map(u32::from), Some(2_000_000));
    assert_eq!(team.max_in_flight.map(u32::from), Some(40));
    assert!(team.priority == Priority::High && team.may_pin);
    assert_eq!(team.tenant.as_deref(), Some("acme"));
    let [first, second] = &config.rules[..] else {
        panic!("{:?}", config.rules);
    };
    assert!(first.covers("lab") && !first.covers("openai") && second.covers("openai"));
    let (rule, hours) = (&first.rule, Duration::from_secs(12 * 3600));
    assert_eq!(rule.status, [429..=429, 500..=599]);
    assert_eq!(rule.headers[0].0, "x-error");
    assert!(rule.body.is_some());
    assert_eq!(rule.verdict.class, Class::QuotaExhausted);
    let scope = Scope::SPEND | Scope::PER_CREDENTIAL | Scope::MONTH;
    assert_eq!(
        (rule.verdict.scope, rule.verdict.wait),
        (scope, Some(hours))
    );
    assert_eq!((first.rule.position, second.rule.position), (0, 1));
}

#[test]
fn the_minimal_file_is_right() {
    // O1
    let text = std::fs::read_to_string("config/minimal.toml").unwrap();
    let config = Config::parse(&text, &for_shipped_files()).unwrap();
    assert_eq!(config.routes.len(), 2);
}

#[test]
fn the_example_has_every_key_that_works() {
    // O1
    let text = std::fs::read_to_string("config/example.toml").unwrap();
    let root: toml::Table = toml::from_str(&text).unwrap();
    let mut written = Vec::new();
    collect("", &toml::Value::Table(root), &mut written);
    for (table, keys) in [
        ("", keys::ROOT),
        ("/server", keys::SERVER),
        ("/server/tls", keys::TLS),
        ("/server/log", keys::LOG),
        ("/admin", keys::ADMIN),
        ("/sessions", keys::SESSIONS),
        ("/provider", keys::PROVIDER),
        ("/provider/auth", keys::AUTH),
        ("/provider/ca", keys::CA),
        ("/subscription", keys::SUBSCRIPTION),
        ("/subscription/credential", keys::CREDENTIAL),
        ("/subscription/limits", keys::LIMIT),
        ("/pool", keys::POOL),
        ("/route", keys::ROUTE),
        ("/client", keys::CLIENT),
        ("/client/key", keys::KEY),
        ("/rule", keys::RULE),
    ] {
        for key in keys {
            let key = format!("{table}/{key}");
            assert!(written.contains(&key), "{key}");
        }
    }
}

fn collect(path: &str, value: &toml::Value, written: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = format!("{path}/{key}");
                collect(&path, value, written);
                written.push(path);
            }
        }
        toml::Value::Array(items) => {
            for item in items {
                collect(path, item, written);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_that_may_be_left_out_changes_the_configuration() {
    // O1
    let check = |place: fn(&str) -> String, keys: &[&str], rows: &str| {
        let before = format!("{:?}", good(&place("")));
        for key in keys {
            let begins = |row: &&str| row.starts_with(&format!("{key} = "));
            let row = rows.lines().map(str::trim).find(begins).expect(key);
            let after = format!("{:?}", good(&place(row)));
            assert_ne!(before, after, "{row}");
        }
        assert_eq!(keys.len(), rows.trim().lines().count());
    };
    let optional = |keys: &[&'static str], required: &[&str]| -> Vec<&'static str> {
        let keys = keys.iter().copied();
        keys.filter(|key| !required.contains(key)).collect()
    };
    check(
        server,
        keys::SERVER,
        r#"
        listen = ["127.0.0.1:1"]
        tls = { cert = "cert.pem", key = "key.pem" }
        workers = 7
        drain = "7s"
        body_limit = "7MiB"
        body_memory = "70MiB"
        max_connections = 7
        expose = ["attempts"]
        log = { level = "warn" }
        "#,
    );
    // What `insecure` changes is whether there is a fault.
    check(
        provider,
        &optional(keys::PROVIDER, &["id", "dialect", "base_url", "insecure"]),
        r#"
        flavour = "generic"
        auth = { header = "x-key" }
        ca = { file = "cert.pem" }
        roots = "system"
        connect = "7s"
        first_byte = "7s"
        idle = "7s"
        total = "7s"
        keep_alive = "7s"
        allow_paths = ["GET /v1/x"]
        pass_headers = ["cookie"]
        limit_groups = { x = ["y"] }
        "#,
    );
    check(
        subscription,
        &optional(keys::SUBSCRIPTION, &["id", "provider", "credential"]),
        r#"
        domain = "x"
        enabled = false
        priority = 7
        max_in_flight = 7
        models = ["x"]
        deny_models = ["x"]
        weight = 7
        limits = [{ dimension = "requests", per = "minute", limit = 7 }]
        "#,
    );
    check(
        |lines| more(&format!("{lines}\n{SPARE}\n[[route]]\npool = \"main\"")),
        &optional(keys::POOL, &["id", "subscriptions"]),
        r#"
        max_wait = "7s"
        max_waiting = 7
        max_attempts = 7
        session_headers = ["x"]
        stick_wait = "7s"
        default_owner = "a"
        limit_headers = "strip"
        strategy = "weighted"
        fallback = ["spare"]
        fallback_after = "7s"
        model_aliases = { x = "y" }
        "#,
    );
    check(
        |lines| route(&format!("{lines}\n{CLIENT}")),
        &optional(keys::ROUTE, &["pool"]),
        r#"
        host = "x"
        path_prefix = "/x"
        models = ["x"]
        clients = ["c"]
        resend_unknown = true
        "#,
    );
    check(
        client,
        &optional(keys::CLIENT, &["id", "key"]),
        r#"
        tenant = "x"
        pools = ["main"]
        models = ["x"]
        requests_per_minute = 7
        tokens_per_minute = 7
        max_in_flight = 7
        priority = "low"
        may_pin = true
        "#,
    );
    check(
        |lines| rule(&format!("status = [400]\n{lines}")),
        &optional(keys::RULE, &["verdict", "status"]),
        r#"
        providers = ["p"]
        headers = { x-a = "b" }
        body = "x"
        scope = ["month"]
        wait = "7s"
        "#,
    );
    check(
        |line| more(&format!("[sessions]\n{line}")),
        keys::SESSIONS,
        "max = 7",
    );
    let admin = |line: &str| more(&format!("[admin]\n{line}"));
    check(admin, keys::ADMIN, "listen = \"127.0.0.1:7\"");
}

#[test]
fn what_is_not_toml_is_told_by_line() {
    // O1, K4
    check("a = \n", &["1 : is not TOML"]);
    check(&more("id = \"x\""), &["13 : is not TOML: duplicate key"]);
    let text = credential(CANARY);
    check(&text, &["9 : is not TOML: string values must be quoted"]);
    let error = parse(&text).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax(_)));
    assert!(error.to_string().starts_with("line 9: is not TOML: "));
    let many = parse(&"]\n".repeat(1000)).unwrap_err();
    assert!(many.faults().len() <= 20);
}

#[test]
fn unknown_keys_are_refused_by_name_and_the_near_one_is_suggested() {
    // O1
    check_each(
        server,
        r#"
        worker = 2                  => 2 server.worker: is an unknown key: perhaps `workers`?
        log = { levle = "info" }    => 2 server.log.levle: is an unknown key: perhaps `level`?
        trusted_proxies = []        => 2 server.trusted_proxies: is an unknown key
        "#,
    );
    check_each(
        more,
        r#"
        strategie = "headroom"      => 13 pool[0].strategie: is an unknown key: perhaps `strategy`?
        [store]                     => 13 store: is an unknown key
        [[providers]]               => 13 providers: is an unknown key: perhaps `provider`?
        [admin] | token = "x"       => 14 admin.token: is an unknown key
        "#,
    );
    check_each(
        credential,
        r#"
        { env = "KEY", exec = "x" } => 9 subscription[0].credential.exec: is an unknown key
        { file = "secret" } | max_in_fligt = 1 => 10 subscription[0].max_in_fligt: is an unknown key: perhaps `max_in_flight`?
        "#,
    );
    let pasted = format!("{CANARY} = 1");
    check(
        &server(&pasted),
        &["2 server.canary-4...: is an unknown key"],
    );
}

#[test]
fn a_wrong_shape_is_told_by_its_kind_and_never_shown() {
    // O1, K4
    check_each(
        server,
        r#"
        workers = "2"                => 2 server.workers: must be a whole number, not a text
        workers = 2.5                => 2 server.workers: must be a whole number, not a number with a fraction
        drain = 5                    => 2 server.drain: must be a duration in quotes, such as "30s", not a whole number
        body_limit = 5               => 2 server.body_limit: must be a size in quotes
        listen = "127.0.0.1:8080"    => 2 server.listen: must be an array in brackets, not a text
        listen = [8080]              => 2 server.listen[0]: must be a text in quotes, not a whole number
        tls = "canary-4f1c9a77"      => 2 server.tls: must be a table, not a text
        "#,
    );
    check_each(
        provider,
        r#"
        limit_groups = []            => 6 provider[0].limit_groups: must be a table, not an array
        limit_groups = { x = "a" }   => 6 provider[0].limit_groups.x: must be an array in brackets
        insecure = "canary-4f1c9a77" => 6 provider[0].insecure: must be true or false, not a text
        "#,
    );
    check_each(
        |instead| with("[server]", instead),
        r#"
        server = 1                   => 1 server: must be a table, not a whole number
        route = [1]                  => 1 route[0]: must be a table, not a whole number
        client = "canary-4f1c9a77"   => 1 client: must be an array in brackets, not a text
        "#,
    );
    let text = with("id = \"main\"", "id = 1979-05-27");
    check(
        &text,
        &["11 pool[0].id: must be a text in quotes, not a date or time"],
    );
    let text = with("[[pool]]", "[pool]");
    check(&text, &["10 pool: is written with two brackets, [[pool]]"]);
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    // O1
    let text = r#"[server]
workers = 0
drain = "soon"
[[provider]]
id = "p p"
dialect = "latin"
base_url = "https://u:canary-4f1c9a77@h"
[[subscription]]
id = "a"
provider = "q"
credential = "canary-4f1c9a77"
[[pool]]
id = "main"
subscriptions = ["a", "b"]
default_owner = "c"
"#;
    check(
        text,
        &[
            "2 server.workers: must be between 1 and 1024",
            "3 server.drain: must be a duration such as",
            "5 provider[0].id: must be 1 to 64 of the characters",
            "6 provider[0].dialect: must be \"anthropic\"",
            "7 provider[0].base_url: must not hold a user or password",
            "10 subscription[0].provider: `q` is the id of no provider",
            "11 subscription[0].credential: must name where the secret is",
            "14 pool[0].subscriptions[1]: `b` is the id of no subscription",
            "15 pool[0].default_owner: must be one of this pool's subscriptions",
        ],
    );
    let shown = parse(text).unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 9, "{shown}");
}

#[test]
fn what_is_wrong_itself_is_no_second_fault_where_it_is_referred_to() {
    // O1
    let text = with("dialect = \"openai\"", "dialect = \"latin\"");
    check(&text, &["4 provider[0].dialect: "]);
    let text = credential("{ env = \"NONE\" }");
    check(
        &text,
        &["9 subscription[0].credential.env: the environment variable NONE is not set"],
    );
}

#[test]
fn what_must_be_there_is_missed_at_its_table() {
    // O1
    check_each(
        without,
        r#"
        id = "p"      => 2 provider[0].id: is missing && 7 subscription[0].provider: `p` is the id of no provider
        dialect       => 2 provider[0].dialect: is missing
        base_url      => 2 provider[0].base_url: is missing
        id = "a"      => 6 subscription[0].id: is missing && 11 pool[0].subscriptions[0]: `a` is the id of no
        provider      => 6 subscription[0].provider: is missing
        credential    => 6 subscription[0].credential: is missing
        id = "main"   => 10 pool[0].id: is missing
        subscriptions => 10 pool[0].subscriptions: is missing
        "#,
    );
    check_each(
        more,
        r#"
        [[route]]                 => 13 route[0].pool: is missing
        [[client]]                => 13 client[0].id: is missing && 13 client[0].key: is missing
        "#,
    );
    check(
        "",
        &["1 pool: is missing: without a [[pool]] there is nothing to serve"],
    );
    let text = server("tls = { cert = \"cert.pem\" }");
    check(&text, &["2 server.tls.key: is missing"]);
    let text = with("[\"a\"]", "[]");
    check(&text, &["12 pool[0].subscriptions: must name at least one"]);
}

#[test]
fn ids_are_well_formed_and_unique_ignoring_case() {
    // O1
    check_each(
        more,
        r#"
        [[provider]] | id = "P" | dialect = "openai" | base_url = "https://h" => 14 provider[1].id: is that of provider[0] (line 2) as well
        [[subscription]] | id = "A" | provider = "p" | credential = { env = "KEY" } => 14 subscription[1].id: is that of subscription[0] (line 6)
        [[pool]] | id = "MAIN" | subscriptions = ["a"] | [[route]] | pool = "main" => 14 pool[1].id: is that of pool[0] (line 10) as well
        "#,
    );
    let text = client("[[client]]\nid = \"C\"\nkey = { env = \"OTHER_CLIENT\" }");
    check(
        &text,
        &["17 client[1].id: is that of client[0] (line 13) as well"],
    );
    for wrong in ["", "a b", "ä", "a.b", &"x".repeat(65)] {
        let text = with("id = \"main\"", &format!("id = \"{wrong}\""));
        check(&text, &["11 pool[0].id: must be 1 to 64 of the characters"]);
    }
}

#[test]
fn references_lead_somewhere() {
    // O1
    let text = with("provider = \"p\"", "provider = \"P\"");
    check(
        &text,
        &["8 subscription[0].provider: `P` is the id of no provider"],
    );
    check_each(
        |instead| with("[\"a\"]", instead),
        r#"
        ["b"]                        => 12 pool[0].subscriptions[0]: `b` is the id of no subscription
        ["a", "a"]                   => 12 pool[0].subscriptions[1]: is named twice
        ["a"] | default_owner = "b"  => 13 pool[0].default_owner: must be one of this pool's subscriptions
        "#,
    );
    let text = more("[[route]]\npool = \"mian\"");
    check(
        &text,
        &["14 route[0].pool: `mian` is the id of no pool: perhaps `main`?"],
    );
    check(
        &route("clients = [\"c\"]"),
        &["15 route[0].clients[0]: `c` is the id of no client"],
    );
    check(
        &client("pools = [\"x\"]"),
        &["16 client[0].pools[0]: `x` is the id of no pool"],
    );
    good(&client(
        "pools = [\"x*\", \"main\"]\n[[route]]\npool = \"main\"\nclients = [\"c\", \"team-*\"]",
    ));
}

#[test]
fn numbers_durations_and_sizes_keep_their_bounds() {
    // O1, C1, F2
    check_each(
        server,
        r#"
        workers = 0                    => 2 server.workers: must be between 1 and 1024
        workers = 99999999999999999999 => 2 server.workers: must be between 1 and 1024
        drain = "25h"                  => 2 server.drain: must be between 0s and 24h
        max_connections = 0            => 2 server.max_connections: must be between 1 and 1000000
        body_limit = "1B"              => 2 server.body_limit: must be between 1KiB and 4GiB
        body_limit = "32MB"            => 2 server.body_limit: must be a size such as
        body_memory = "2048GiB"        => 2 server.body_memory: must be between 1KiB and 1024GiB
        body_memory = "16MiB"          => 2 server.body_memory: makes body_limit (32MiB) larger than body_memory (16MiB)
        body_limit = "1GiB"            => 2 server.body_limit: makes body_limit (1GiB) larger than body_memory (512MiB)
        "#,
    );
    check_each(
        provider,
        r#"
        connect = "0s"       => 6 provider[0].connect: must be between 1ms and 5m
        first_byte = "25h"   => 6 provider[0].first_byte: must be between 1ms and 24h
        idle = "0ms"         => 6 provider[0].idle: must be between 1ms and 24h
        total = "169h"       => 6 provider[0].total: must be between 1ms and 168h
        keep_alive = "31s"   => 6 provider[0].keep_alive: must be between 0s and 30s
        "#,
    );
    check_each(
        subscription,
        r#"
        max_in_flight = 0     => 10 subscription[0].max_in_flight: must be between 1 and 10000
        max_in_flight = 10001 => 10 subscription[0].max_in_flight: must be between 1 and 10000
        priority = -1001      => 10 subscription[0].priority: must be between -1000 and 1000
        weight = 0            => 10 subscription[0].weight: must be between 1 and 1000
        weight = 1001         => 10 subscription[0].weight: must be between 1 and 1000
        "#,
    );
    check_each(
        more,
        r#"
        max_wait = "2h"        => 13 pool[0].max_wait: must be between 0s and 1h
        max_waiting = 1000001  => 13 pool[0].max_waiting: must be between 0 and 1000000
        max_attempts = 0       => 13 pool[0].max_attempts: must be between 1 and 16
        max_attempts = 17      => 13 pool[0].max_attempts: must be between 1 and 16
        stick_wait = "61m"     => 13 pool[0].stick_wait: must be between 0s and 1h
        limit_headers = "none" => 13 pool[0].limit_headers: must be "pool", "upstream" or "strip"
        [sessions] | max = 0   => 14 sessions.max: must be between 1 and 10000000
        "#,
    );
    check_each(
        client,
        r#"
        tokens_per_minute = 0   => 16 client[0].tokens_per_minute: must be between 1 and 1000000000
        requests_per_minute = 0 => 16 client[0].requests_per_minute: must be between 1 and 1000000
        max_in_flight = 10001   => 16 client[0].max_in_flight: must be between 1 and 10000
        "#,
    );
    let config = good(&subscription("max_in_flight = 10_000\npriority = -1000"));
    assert_eq!(config.subscriptions[0].max_in_flight, Some(10_000));
    assert_eq!(config.subscriptions[0].priority, -1000);
    assert_eq!(good(&server("workers = 0x10")).server.workers.get(), 16);
}

#[test]
fn limits_name_what_is_counted_in_which_time_and_each_once() {
    // C4
    let two = |first: &str, second: &str| subscription(&format!("limits = [{first},\n{second}]"));
    check_each(
        subscription,
        r#"
        limits = {}                => 10 subscription[0].limits: must be an array in brackets
        limits = ["requests"]      => 10 subscription[0].limits[0]: must be a table
        limits = [{}]              => 10 subscription[0].limits[0].dimension: is missing && 10 subscription[0].limits[0].per: is missing && 10 subscription[0].limits[0].limit: is missing
        limits = [{ dimension = "bytes", per = "week", limit = 0 }] => 10 subscription[0].limits[0].dimension: must be "requests", "input_tokens", "output_tokens" or "tokens" && 10 subscription[0].limits[0].per: must be "second", "minute", "hour" or "day" && 10 subscription[0].limits[0].limit: must be between 1 and 1000000000000
        limits = [{ dimension = "tokens", per = "day", limit = 1_000_000_000_001 }] => 10 subscription[0].limits[0].limit: must be between 1 and
        limits = [{ dimension = "tokens", per = "day", limit = 1, models = [] }]    => 10 subscription[0].limits[0].models: must name at least one
        limits = [{ dimension = "tokens", per = "day", limits = 1 }] => 10 subscription[0].limits[0].limit: is missing && 10 subscription[0].limits[0].limits: is an unknown key: perhaps `limit`?
        "#,
    );
    let limit = |per: &str, limit: u64, models: &str| {
        format!("{{ dimension = \"tokens\", per = {per:?}, limit = {limit}{models} }}")
    };
    let twice =
        "11 subscription[0].limits[1]: limits the same as subscription[0].limits[0] (line 10)";
    for (one, other) in [
        ("", ""),
        ("", ", models = [\"*\"]"),
        (", models = [\"x\", \"*\"]", ""),
        (
            ", models = [\"x\", \"y\"]",
            ", models = [\"y\", \"x\", \"x\"]",
        ),
    ] {
        check(
            &two(&limit("day", 1, one), &limit("day", 2, other)),
            &[twice],
        );
    }
    good(&two(&limit("day", 1, ""), &limit("hour", 1, "")));
    good(&two(
        &limit("day", 1, ""),
        &limit("day", 1, ", models = [\"x\"]"),
    ));
    let many = |count: u64| {
        let models = |number| format!(", models = [\"m{number}\"]");
        let all: Vec<_> = (0..count)
            .map(|number| limit("day", 1, &models(number)))
            .collect();
        subscription(&format!("limits = [{}]", all.join(", ")))
    };
    assert_eq!(good(&many(256)).subscriptions[0].limits.len(), 256);
    check(
        &many(257),
        &["10 subscription[0].limits[256]: is beyond 256 limits"],
    );
}

#[test]
fn a_listener_without_keys_is_on_loopback_only() {
    // K1
    check_each(
        server,
        r#"
        listen = ["127.0.0.1:1", "0.0.0.0:80"] => 2 server.listen[1]: 0.0.0.0:80 would serve anyone who reaches it, without a key: add a [[client]], or listen on 127.0.0.1:80 only
        listen = ["[::]:80"]                   => 2 server.listen[0]: [::]:80 would serve anyone
        listen = ["10.0.0.1:80"]               => 2 server.listen[0]: 10.0.0.1:80 would serve anyone
        "#,
    );
    good(&server(
        "listen = [\"127.0.0.1:0\", \"[::1]:0\", \"[::ffff:127.0.0.1]:0\"]",
    ));
    let keyed = server("listen = [\"0.0.0.0:80\"]") + CLIENT;
    good(&keyed);
}

#[test]
fn listeners_have_an_address_and_a_port_and_differ() {
    // O1, O4
    for wrong in [
        "localhost:8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:99999",
        "http://127.0.0.1:80",
        "",
    ] {
        let text = server(&format!("listen = [\"{wrong}\"]"));
        check(
            &text,
            &["2 server.listen[0]: must be an address and a port"],
        );
    }
    check_each(
        server,
        r#"
        listen = []                               => 2 server.listen: must name at least one address
        listen = ["127.0.0.1:1", "127.0.0.1:1"]   => 2 server.listen[1]: is named twice
        "#,
    );
    check_each(
        more,
        r#"
        [admin] | listen = "127.0.0.1:8080" => 14 admin.listen: 127.0.0.1:8080 is where server.listen serves clients
        [admin] | listen = "here"           => 14 admin.listen: must be an address and a port
        "#,
    );
    assert_eq!(good(&more("[admin]")).admin.unwrap().listen.port(), 9090);
    good(&more("[admin]\nlisten = \"0.0.0.0:9090\""));
    good(&server("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"));
}

#[test]
fn words_are_of_the_list() {
    // O1
    check_each(
        server,
        r#"
        expose = ["attempts", "attempts"]        => 2 server.expose[1]: is named twice
        expose = ["all"]                         => 2 server.expose[0]: must be "subscription"
        log = { level = "loud", format = "xml" } => 2 server.log.level: must be "error" && 2 server.log.format: must be "text"
        "#,
    );
    check_each(
        provider,
        r#"
        roots = "none"      => 6 provider[0].roots: must be "bundled" or "system"
        flavour = "strange" => 6 provider[0].flavour: is no known flavour
        "#,
    );
    check_each(
        more,
        r#"
        strategy = "random"    => 13 pool[0].strategy: must be "headroom", "round_robin", "weighted", "least_in_flight", "fill_first" or "soonest_reset"
        strategy = "Headroom"  => 13 pool[0].strategy: must be "headroom"
        strategy = ["weighted"] => 13 pool[0].strategy: must be a text in quotes
        "#,
    );
    check_each(
        client,
        r#"
        priority = "urgent"    => 16 client[0].priority: must be "high", "normal" or "low"
        priority = 1           => 16 client[0].priority: must be a text in quotes
        may_pin = "yes"        => 16 client[0].may_pin: must be true or false
        "#,
    );
    let log = good(&server("log = { level = \"trace\", format = \"json\" }"))
        .server
        .log;
    assert!(log.json && log.level == tracing::Level::TRACE);
}

#[test]
fn credentials_go_in_cleartext_to_loopback_only_unless_told() {
    // K5, F11
    check_each(
        url,
        r#"
        http://api.openai.com/v1   => 5 provider[0].base_url: would send credentials in cleartext
        http://10.0.0.1/v1         => 5 provider[0].base_url: would send credentials in cleartext
        http://169.254.169.254/v1 | insecure = true    => 5 provider[0].base_url: must not lead to a link-local
        https://api.openai.com/v1 | insecure = true    => 6 provider[0].insecure: allows cleartext only
        https://canary-4f1c9a77:x@api.openai.com       => 5 provider[0].base_url: must not hold a user or password
        https://api.openai.com     => 5 provider[0].base_url: lacks its path
        "#,
    );
    good(&url("http://127.0.0.1:1/v1"));
    good(&url("http://localhost:1/v1"));
    good(&url("http://10.0.0.1/v1\ninsecure = true"));
    let anthropic = with("\"openai\"", "\"anthropic\"");
    check(&anthropic, &["5 provider[0].base_url: must not end in /v1"]);
}

#[test]
fn certificates_are_read_and_seen_to_be_some() {
    // O1, K4
    check_each(
        provider,
        r#"
        ca = { file = "none.pem" } => 6 provider[0].ca.file: names a file that cannot be read
        ca = { file = "key.pem" }  => 6 provider[0].ca.file: names a file that holds no certificate
        ca = { file = "half.pem" } => 6 provider[0].ca.file: names a file that holds no certificate
        ca = { file = "cert.pem" } | roots = "system" => 7 provider[0].roots: has no effect beside ca
        "#,
    );
    check_each(
        server,
        r#"
        tls = { cert = "none.pem", key = "secret" } => 2 server.tls.cert: names a file that cannot be read && 2 server.tls.key: names a file that holds no private key
        tls = { cert = "cert.pem", key = "-----BEGIN PRIVATE KEY-----canary-4f1c9a77" } => 2 server.tls.key: names a file that cannot be read
        "#,
    );
    let text = url("http://127.0.0.1/v1\nca = { file = \"cert.pem\" }");
    check(
        &text,
        &["6 provider[0].ca: is about certificates, which http has none of"],
    );
    good(&provider("ca = { file = \"cert.pem\" }"));
    good(&server("tls = { cert = \"cert.pem\", key = \"key.pem\" }"));
}

#[test]
fn the_way_a_credential_is_written_is_a_header_of_its_own() {
    // section 14, K7
    let generic = with("\"openai\"", "\"generic\"");
    check(
        &generic,
        &["2 provider[0].auth: is missing: generic has no usual one"],
    );
    good(&generic.replace("[[sub", "auth = { header = \"x-key\" }\n[[sub"));
    check_each(
        provider,
        r#"
        auth = { scheme = "Bearer" }              => 6 provider[0].auth.header: is missing
        auth = { header = "host" }                => 6 provider[0].auth.header: belongs to the connection
        auth = { header = "a b" }                 => 6 provider[0].auth.header: is not the name of a header
        auth = { header = "x", scheme = "a b" }   => 6 provider[0].auth.scheme: must be a word
        pass_headers = ["cookie", "Cookie"]       => 6 provider[0].pass_headers[1]: is named twice
        pass_headers = ["Authorization", "te"]    => 6 provider[0].pass_headers[0]: carries a key && 6 provider[0].pass_headers[1]: belongs to the connection
        auth = { header = "x" } | pass_headers = ["x"] => 7 provider[0].pass_headers[0]: carries the credential
        "#,
    );
    check_each(
        more,
        r#"
        session_headers = ["x-api-key", "y"]      => 13 pool[0].session_headers[0]: carries a key
        session_headers = ["y", "y"]              => 13 pool[0].session_headers[1]: is named twice
        "#,
    );
}

#[test]
fn paths_hosts_and_groups_are_well_formed() {
    // F6, F11
    check_each(
        provider,
        r#"
        allow_paths = ["/v1/y"]                         => 6 provider[0].allow_paths[0]: must be a method and a path
        allow_paths = ["GET /v1/x/*", "GET /v1/x/*"]    => 6 provider[0].allow_paths[1]: is named twice
        limit_groups = { all = ["x"], none = ["y"] }    => 6 provider[0].limit_groups.all: is taken && 6 provider[0].limit_groups.none: is taken
        limit_groups = { "a b" = ["x"], c = ["x y"] }   => 6 provider[0].limit_groups.a b: must be 1 to 64 && 6 provider[0].limit_groups.c[0]: must be a pattern
        "#,
    );
    check_each(
        route,
        r#"
        path_prefix = "/a/"          => 15 route[0].path_prefix: must not end in a slash
        path_prefix = "a"            => 15 route[0].path_prefix: must begin with a slash
        host = "h:80"                => 15 route[0].host: must be a host as clients name it
        host = "*.example"           => 15 route[0].host: must be a host as clients name it
        "#,
    );
    let hosts = "host = \"[::1]\"\n[[route]]\npool = \"main\"\nhost = \"H.example\"\npath_prefix = \"/a/b\"";
    let config = good(&route(hosts));
    assert_eq!(config.routes[1].host.as_deref(), Some("h.example"));
    assert_eq!(&*config.routes[1].path_prefix, "/a/b");
}

#[test]
fn a_rule_says_which_answers_it_is_for_and_what_they_mean() {
    // D10
    check_each(
        rule,
        r#"
        scope = ["month"]                         => 13 rule[0]: must say which answers it is for
        status = []                               => 15 rule[0].status: must name at least one
        status = 429                              => 15 rule[0].status: must be an array in brackets
        status = [199, 600]                       => 15 rule[0].status[0]: must be between 200 and 599 && 15 rule[0].status[1]: must be between 200
        status = ["429", "1xx", "5XX", true]      => 15 rule[0].status[0]: must be a number such as 429 && 15 rule[0].status[1]: must be a n && 15 rule[0].status[2]: must be a n && 15 rule[0].status[3]: must be a text in quotes
        headers = {}                              => 15 rule[0].headers: must name at least one
        headers = { "a b" = "x", "" = "y" }       => 15 rule[0].headers.a b: is not the name of a header && 15 rule[0].headers.: is not the name
        headers = { x-a = "x", X-A = "y" }        => 15 rule[0].headers.X-A: is named twice, ignoring case
        headers = { x-a = "", x-b = 7 }           => 15 rule[0].headers.x-a: must be a pattern of 1 to 1024 && 15 rule[0].headers.x-b: must be a text in quotes
        body = ""                                 => 15 rule[0].body: must be a pattern of 1 to 1024
        body = "a\tb"                             => 15 rule[0].body: must be a pattern of 1 to 1024
        body = "x" | status = ["2xx", 302]        => 15 rule[0].body: is compared with answers of 400 and above only
        body = "x" | scope = ["monthly", "day", "day"] => 16 rule[0].scope[0]: `monthly` is no word of a scope: perhaps `month`? && 16 rule[0].scope[2]: is named twice
        body = "x" | wait = "841h"                => 16 rule[0].wait: must be between 0s and 840h
        body = "x" | wait = "1d"                  => 16 rule[0].wait: must be a duration
        body = "x" | providers = []               => 16 rule[0].providers: must name at least one
        body = "x" | providers = ["q"]            => 16 rule[0].providers[0]: `q` is the id of no provider
        bodi = "x" | status = [400]               => 15 rule[0].bodi: is an unknown key: perhaps `body`?
        "#,
    );
    check_each(
        verdict,
        r#"
        "rate-limited"             => 15 rule[0].verdict: `rate-limited` is no verdict: perhaps `rate_limited`?
        "throttle_the_whole_thing" => 15 rule[0].verdict: `throttle...` is no verdict: there are `ok`, `rate_limited`
        429                        => 15 rule[0].verdict: must be a text in quotes
        "ok" | wait = "1s"         => 16 rule[0].wait: has no effect: nothing waits after ok
        "credential_invalid" | wait = "1s" => 16 rule[0].wait: has no effect
        "#,
    );
    check(
        &more("[[rule]]\nstatus = [400]"),
        &["13 rule[0].verdict: is missing"],
    );
    let many = "[[rule]]\nstatus = [400]\nverdict = \"ok\"\n".repeat(257);
    check(&more(&many), &["781 rule[256]: is beyond 256 rules"]);
}

#[test]
fn what_a_rule_leaves_out_is_any_answer_of_any_provider_without_scope_or_wait() {
    // D10
    let config = good(&rule("headers = { X-Error = \"Busy*\" }"));
    let one = &config.rules[0];
    assert!(one.covers("p") && one.covers("whatever"));
    assert_eq!(one.rule.verdict, Verdict::of(Class::RateLimited));
    assert!(one.rule.status.is_empty() && one.rule.body.is_none());
    assert_eq!(one.rule.headers[0].0, "x-error");
    for class in Class::ALL {
        let config = good(&verdict(&format!("{:?}", class.name())));
        assert_eq!(config.rules[0].rule.verdict.class, class);
    }
    for word in Scope::ALL.words() {
        let config = good(&rule(&format!("status = [400]\nscope = [{word:?}]")));
        let found = config.rules[0].rule.verdict.scope;
        assert_eq!(found.words().collect::<Vec<_>>(), [word]);
    }
    assert!(good(GOOD).rules.is_empty());
}

#[test]
fn patterns_allow_something() {
    // section 14
    check_each(
        subscription,
        r#"
        models = []               => 10 subscription[0].models: must name at least one
        models = [""]             => 10 subscription[0].models[0]: must be a pattern
        deny_models = ["x", "*"]  => 10 subscription[0].deny_models[1]: denies all models
        "#,
    );
    let text = route("models = []\nclients = []");
    check(
        &text,
        &[
            "15 route[0].models: must name",
            "16 route[0].clients: must name",
        ],
    );
    check(
        &client("pools = []"),
        &["16 client[0].pools: must name at least one"],
    );
    good(&subscription("deny_models = []"));
}

#[test]
fn secrets_are_found_and_fit_a_header() {
    // O1, K4
    check_each(
        credential,
        r#"
        "canary-4f1c9a77e0b2d85c6631"    => 9 subscription[0].credential: must name where the secret is
        ["canary-4f1c9a77e0b2d85c6631"]  => 9 subscription[0].credential: must name where the secret is
        {}                               => 9 subscription[0].credential: must have exactly one of `env`, `file`
        { env = "KEY", file = "secret" } => 9 subscription[0].credential: must have exactly one of `env`, `file`
        { env = 1 }                      => 9 subscription[0].credential.env: must be a text
        { env = "canary-4f1c9a77e0b2" }  => 9 subscription[0].credential.env: must be the name of an environment variable
        { env = "canary4f1c9a77e0b2d8" } => 9 subscription[0].credential.env: the environment variable named here is not set
        { env = "NOWHERE" }              => 9 subscription[0].credential.env: the environment variable NOWHERE is not set
        { env = "" }                     => 9 subscription[0].credential.env: must be the name of an environment variable
        { env = "EMPTY" }                => 9 subscription[0].credential.env: names a variable whose content is empty
        { env = "BROKEN" }               => 9 subscription[0].credential.env: names a variable whose content has a line break
        { env = "BLANK" }                => 9 subscription[0].credential.env: names a variable whose content begins or ends with a blank
        { env = "CONTROL" }              => 9 subscription[0].credential.env: names a variable whose content has a control character
        { env = "BEYOND" }               => 9 subscription[0].credential.env: names a variable whose content has characters beyond ASCII
        { file = "canary-4f1c9a77e0b2" } => 9 subscription[0].credential.file: names a file that cannot be read
        { file = "empty" }               => 9 subscription[0].credential.file: names a file whose content is empty
        { file = "broken" }              => 9 subscription[0].credential.file: names a file whose content has a line break
        "#,
    );
    good(&credential("{ env = \"INNER_BLANK\" }"));
}

#[test]
fn client_keys_are_long_enough_and_each_clients_own() {
    // K1, K4
    check_each(
        key,
        r#"
        { env = "SHORT" }       => 15 client[0].key.env: names a key of less than 24 characters
        { env = "INNER_BLANK" } => 15 client[0].key.env: names a key with blanks in it
        "canary-4f1c9a77e0b2"   => 15 client[0].key: must name where the secret is
        {}                      => 15 client[0].key: must have exactly one of `env`, `file`, `sha256`
        "#,
    );
    for wrong in [
        "",
        "00",
        &"0".repeat(63),
        &"g".repeat(64),
        &"0".repeat(65),
        CANARY,
    ] {
        let text = key(&format!("{{ sha256 = \"{wrong}\" }}"));
        check(
            &text,
            &["15 client[0].key.sha256: must be 64 hexadecimal digits"],
        );
    }
    good(&key("{ file = \"secret\" }"));
    good(&key(&format!("{{ sha256 = \"{}\" }}", "aF".repeat(32))));
    let text = client("[[client]]\nid = \"d\"\nkey = { env = \"CLIENT\" }");
    check(
        &text,
        &["18 client[1].key.env: names the same key as client[0].key.env (line 15)"],
    );
}

#[test]
fn a_tenant_is_not_named_after_a_client_of_another() {
    // S3
    let two = |first: &str, second: &str| {
        let other = "[[client]]\nid = \"d\"\nkey = { env = \"OTHER_CLIENT\" }";
        client(&format!("{first}\n{other}\n{second}"))
    };
    let text = two("", "tenant = \"C\"");
    check(
        &text,
        &["20 client[1].tenant: is the id of client[0] (line 13), which is not of this"],
    );
    check(
        &two("", "tenant = \"a b\""),
        &["20 client[1].tenant: must be 1 to 64"],
    );
    good(&two("tenant = \"c\"", "tenant = \"c\""));
    good(&two("tenant = \"t\"", "tenant = \"t\""));
    good(&two("", "tenant = \"d\""));
}

/// Another provider, subscription and pool, each from line 13 on.
const ANTHROPIC: &str = r#"[[provider]]
id = "q"
dialect = "anthropic"
base_url = "https://api.anthropic.com"
[[subscription]]
id = "b"
provider = "q"
credential = { env = "KEY" }"#;
const GENERIC: &str = r#"[[provider]]
id = "q"
dialect = "generic"
base_url = "https://h"
auth = { header = "x-key" }
[[subscription]]
id = "b"
provider = "q"
credential = { env = "KEY" }
[[pool]]
id = "other"
subscriptions = ["b"]"#;

#[test]
fn a_pool_speaks_one_dialect() {
    // section 14
    let text = more(ANTHROPIC).replace("[\"a\"]", "[\"a\", \"b\"]");
    check(
        &text,
        &[
            "12 pool[0].subscriptions[1]: speaks anthropic, but pool[0].subscriptions[0] (line 12) speaks openai",
        ],
    );
    // Nothing needs to use a subscription.
    good(&more(ANTHROPIC));
}

/// Another pool with the same subscription.
const SPARE: &str = "[[pool]]\nid = \"spare\"\nsubscriptions = [\"a\"]";

#[test]
fn a_pool_falls_back_to_others_of_its_dialect() {
    // C7, F10
    const OTHER: &str = "[[pool]]\nid = \"other\"\nsubscriptions = [\"b\"]";
    const ROUTE: &str = "[[route]]\npool = \"main\"";
    check_each(
        |lines| more(&format!("{lines}\n{SPARE}\n{ANTHROPIC}\n{OTHER}\n{ROUTE}")),
        r#"
        fallback = ["spar"]                           => 13 pool[0].fallback[0]: `spar` is the id of no pool: perhaps `spare`?
        fallback = ["main"]                           => 13 pool[0].fallback[0]: is this pool itself
        fallback = ["spare", "spare"]                 => 13 pool[0].fallback[1]: is named twice
        fallback = ["spare", "other"]                 => 13 pool[0].fallback[1]: `other` speaks anthropic, but `main` speaks openai
        fallback = "spare"                            => 13 pool[0].fallback: must be an array in brackets, not a text
        fallback_after = "2h"                         => 13 pool[0].fallback_after: must be between 0s and 1h
        model_aliases = { "" = "x" }                  => 13 pool[0].model_aliases.: must be a pattern of 1 to 256 characters
        model_aliases = { "x" = "" }                  => 13 pool[0].model_aliases.x: must be the name of one model
        model_aliases = { "x" = "y*" }                => 13 pool[0].model_aliases.x: must be the name of one model
        model_aliases = { "x y" = "z" }               => 13 pool[0].model_aliases.x y: must be a pattern of 1 to 256 characters
        model_aliases = { "x" = 1 }                   => 13 pool[0].model_aliases.x: must be a text in quotes, not a whole number
        model_aliases = ["x"]                         => 13 pool[0].model_aliases: must be a table, not an array
        "#,
    );
}

/// `main`, and pools `p1`, `p2` .. up to this one, each of which falls back to the next, and the last to `main`.
fn circle(last: usize) -> String {
    let mut text = more("fallback = [\"p1\"]");
    for at in 1..=last {
        let next = if at == last {
            "main".to_owned()
        } else {
            format!("p{}", at + 1)
        };
        text.push_str(&format!(
            "[[pool]]\nid = \"p{at}\"\nsubscriptions = [\"a\"]\nfallback = [{next:?}]\n"
        ));
    }
    text + "[[route]]\npool = \"main\"\n"
}

#[test]
fn pools_may_fall_back_in_a_circle_of_at_most_eight() {
    // C7
    let config = good(&circle(7));
    assert_eq!(config.pools[0].fallback, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(config.pools[3].fallback, [4, 5, 6, 7, 0, 1, 2]);
    let faults = parse(&circle(8)).expect_err("nine").faults().to_vec();
    assert_eq!(faults.len(), 9);
    assert_eq!((faults[0].line, &*faults[0].path), (13, "pool[0].fallback"));
    assert!(
        faults[0].message.starts_with("leads to 9 pools"),
        "{}",
        faults[0].message
    );
}

#[test]
fn without_a_route_there_is_one_pool_of_each_dialect() {
    // F11, F6
    let second = "[[pool]]\nid = \"more\"\nsubscriptions = [\"a\"]";
    let text = more(second);
    check(
        &text,
        &["13 pool[1]: speaks openai as pool[0] (line 10) does: without a [[route]]"],
    );
    good(&more(&format!("{second}\n[[route]]\npool = \"main\"")));
    let text = more(GENERIC);
    check(
        &text,
        &["22 pool[1]: is generic and not the only pool, so it needs a [[route]]"],
    );
    good(&more(&format!("{GENERIC}\n[[route]]\npool = \"other\"")));
    let both = good(&more(&format!(
        "{ANTHROPIC}\n[[pool]]\nid = \"other\"\nsubscriptions = [\"b\"]"
    )));
    let implied: Vec<_> = both
        .routes
        .iter()
        .map(|route| (route.pool, route.implied))
        .collect();
    assert_eq!(implied, [(0, true), (1, true)]);
}

#[test]
fn a_domain_is_not_named_after_another_subscription() {
    // O6
    let second = |domain: &str| {
        let lines =
            "[[subscription]]\nid = \"b\"\nprovider = \"p\"\ncredential = { env = \"KEY\" }";
        more(&format!("{lines}\ndomain = \"{domain}\""))
    };
    check(
        &second("A"),
        &["17 subscription[1].domain: is the id of subscription[0] (line 6)"],
    );
    check(
        &second("a b"),
        &["17 subscription[1].domain: must be 1 to 64"],
    );
    assert!(good(&second("b")).subscriptions[1].domain_named);
    let both = |domain: &str| second(domain).replacen("[[pool]]", "domain = \"org\"\n[[pool]]", 1);
    let fault =
        "18 subscription[1].domain: differs from subscription[0].domain (line 10) in case only";
    check(&both("Org"), &[fault]);
    let subscriptions = good(&both("org")).subscriptions;
    assert_eq!(subscriptions[0].domain, subscriptions[1].domain);
}

#[test]
fn ten_thousand_subscriptions_and_clients_are_read_at_once_and_no_more() {
    // O1; the bound is that of SubscriptionIndex
    let text = |count: usize| {
        let mut text = GOOD.to_owned();
        for number in 1..count {
            text += &format!(
                "[[subscription]]\nid = \"s{number}\"\nprovider = \"p\"\ncredential = {{ env = \"KEY\" }}\n\
                 [[client]]\nid = \"c{number}\"\ntenant = \"t\"\nkey = {{ sha256 = \"{number:064}\" }}\n"
            );
        }
        text
    };
    assert_eq!(good(&text(10_000)).subscriptions.len(), 10_000);
    check(
        &text(10_001),
        &["80005 subscription[10000]: is beyond 10000 subscriptions"],
    );
}

#[test]
fn the_path_is_the_argument_else_the_variable_else_the_usual_one() {
    // O3
    let usual = Path::new("/etc/authpool/authpool.toml");
    let mut fake = Fake::new();
    assert_eq!(config::path(None, &fake), usual);
    fake.variables.insert("AUTHPOOL_CONFIG".into(), "".into());
    assert_eq!(config::path(None, &fake), usual);
    fake.variables
        .insert("AUTHPOOL_CONFIG".into(), "/x.toml".into());
    assert_eq!(config::path(None, &fake), Path::new("/x.toml"));
    assert_eq!(config::path(Some(Path::new("y")), &fake), Path::new("y"));
}

#[test]
fn a_file_is_loaded_with_what_lies_beside_it_and_named_in_its_faults() {
    // O1
    let mut fake = Fake::new();
    let text = credential("{ file = \"../keys/a\" }");
    fake.files
        .insert("/etc/authpool.toml".into(), text.into_bytes());
    let path = Path::new("/etc/authpool.toml");
    let error = Config::load(path, &fake).unwrap_err().to_string();
    let expected = "/etc/authpool.toml:9: subscription[0].credential.file: names a file";
    assert!(error.starts_with(expected), "{error}");
    fake.files.insert("/etc/../keys/a".into(), CANARY.into());
    Config::load(path, &fake).unwrap();
    let error = Config::load(Path::new("/none"), &fake).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
}

#[test]
fn nothing_secret_prints_from_a_configuration() {
    // K4
    let text = server("tls = { cert = \"cert.pem\", key = \"key.pem\" }") + CLIENT;
    assert_without_secret(&good(&text));
}

/// A piece of text that a configuration might hold, or nearly.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: &str = "[server]~[[provider]]~[[client]]~[[route]]~[admin]~[sessions]~id = ~\"a\"~= ~{ env = \"KEY\" }~\
        { file = \"secret\" }~[\"*\"]~\"30s\"~-1~1e9~true~listen~auth = ~limit_groups.x = ~\"~\"\"\"~[~]~{~}~.~#~\\~\u{0}~ä~\
        models = [\"x\"]~key = ~1979-05-27T07:32:00Z~0xffffffffffffffffffff~[provider.auth]~a.b.c = 1~\
        canary-4f1c9a77e0b2d85c6631~\"canary-4f1c9a77e0b2d85c6631\"~canary-4f1c9a77e0b2d85c6631 = 1";
    let pieces: Vec<&str> = PIECES.split('~').collect();
    let known = prop::sample::select(pieces).prop_map(str::to_owned);
    prop_oneof![
        known.clone(),
        known.prop_map(|piece| format!("\n{piece}\n")),
        ".{0,6}"
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_no_error_shows_a_secret(
        edits in prop::collection::vec((0_usize..600, 0_usize..30, piece()), 1..6),
    ) {
        // O1, K4
        let whole = client("tenant = \"t\"\n[[route]]\npool = \"main\"\n");
        let mut letters: Vec<char> = whole.chars().collect();
        for (at, cut, piece) in edits {
            let at = at.min(letters.len());
            let end = (at + cut).min(letters.len());
            letters.splice(at..end, piece.chars());
        }
        let text: String = letters.into_iter().collect();
        match parse(&text) {
            Ok(config) => {
                prop_assert!(config.routes.iter().all(|route| route.pool < config.pools.len()));
                prop_assert!(config.pools.iter().all(|pool| !pool.subscriptions.is_empty()));
            }
            Err(error) => {
                let lines = u32::try_from(text.lines().count()).unwrap() + 1;
                prop_assert!(!error.faults().is_empty());
                prop_assert!(error.faults().iter().all(|fault| (1..=lines).contains(&fault.line)));
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(PIECE), "{}", shown);
            }
        }
    }
}
