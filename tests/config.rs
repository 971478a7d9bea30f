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

use authpool::config::{self, Config, ConfigError, Surroundings, keys};
use authpool::core::dialect::Dialect;
use proptest::prelude::*;

/// Stands for secrets of every kind: never to be seen in an error.
const CANARY: &str = "canary-4f1c9a77e0b2d85c6631";

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

/// A file that is right. Tests replace or add parts of it.
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

fn parse(text: &str) -> Result<Config, ConfigError> {
    static SURROUNDINGS: LazyLock<Fake> = LazyLock::new(Fake::new);
    Config::parse(text, &*SURROUNDINGS)
}

#[track_caller]
fn good(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

/// Each fault as `line path: message`; each expected one as the beginning of that.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let error = parse(text).expect_err(text);
    let found: Vec<String> = error
        .faults()
        .iter()
        .map(|fault| format!("{} {}: {}", fault.line, fault.path, fault.message))
        .collect();
    let agree = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| found.starts_with(expected));
    assert!(agree, "expected {expected:#?}\nfound {found:#?}\nin {text}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

/// The good file with one line replaced.
#[track_caller]
fn with(line: &str, instead: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replacen(line, instead, 1)
}

/// The good file with lines under `[server]`, from line 2 on.
fn server(lines: &str) -> String {
    with("[server]\n", &format!("[server]\n{lines}\n"))
}

/// The good file with lines in its provider, from line 6 on.
fn provider(lines: &str) -> String {
    let url = "base_url = \"https://api.openai.com/v1\"\n";
    with(url, &format!("{url}{lines}\n"))
}

/// The good file with lines in its subscription, from line 10 on.
fn subscription(lines: &str) -> String {
    let credential = "credential = { env = \"KEY\" }\n";
    with(credential, &format!("{credential}{lines}\n"))
}

/// The good file with lines behind it: first of its pool, from line 13 on.
fn more(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
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
    let subscription = &config.subscriptions[0];
    assert!(subscription.enabled && subscription.priority == 0);
    assert_eq!(
        (&*subscription.domain, subscription.domain_named),
        ("a", false)
    );
    assert!(subscription.max_in_flight.is_none());
    assert!(subscription.models[0].matches_all() && subscription.deny_models.is_empty());
    let pool = &config.pools[0];
    assert_eq!(pool.max_wait, Duration::from_secs(30));
    assert_eq!((pool.max_waiting, pool.max_attempts), (1000, 2));
    assert_eq!(pool.stick_wait, Duration::from_secs(2));
    assert!(pool.default_owner.is_none() && pool.session_headers.is_empty());
    let route = &config.routes[0];
    assert!(route.implied && route.pool == 0 && &*route.path_prefix == "/");
    assert!(config.clients.is_empty());
    assert_eq!(config.sessions.max.get(), 100_000);
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
    let header = |text: &str| {
        let credential = good(text).subscriptions[0].credential.clone();
        assert!(credential.value.is_sensitive());
        let value = credential.value.to_str().unwrap().replace(CANARY, "KEY");
        format!("{}: {value}", credential.name)
    };
    assert_eq!(header(GOOD), "authorization: Bearer KEY");
    let anthropic = with("\"openai\"", "\"anthropic\"").replace("/v1\"", "\"");
    assert_eq!(header(&anthropic), "x-api-key: KEY");
    let auth = provider("auth = { header = \"Api-Key\" }");
    assert_eq!(header(&auth), "api-key: KEY");
    let auth = provider("auth = { header = \"authorization\", scheme = \"Token\" }");
    assert_eq!(header(&auth), "authorization: Token KEY");
    let file = with("{ env = \"KEY\" }", "{ file = \"secret\" }");
    assert_eq!(header(&file), "authorization: Bearer KEY");
}

#[test]
fn every_value_arrives_where_it_belongs() {
    // O1, section 14
    let text = std::fs::read_to_string("config/example.toml").unwrap();
    let config = Config::parse(&text, &for_shipped_files()).unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert!(config.server.tls.is_some());
    assert!(config.server.expose.subscription && config.server.expose.server_timing);
    assert_eq!(config.admin.unwrap().listen.port(), 9090);
    let groups: Vec<&str> = config.providers[1]
        .limit_groups
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(groups, ["gpt-5", "gpt-5-mini"]);
    assert!(config.providers[1].system_roots);
    assert_eq!(config.providers[1].allow_paths[0].method, http::Method::GET);
    assert!(config.providers[2].ca.is_some());
    let b = &config.subscriptions[1];
    assert_eq!((&*b.domain, b.domain_named), ("acme-org", true));
    assert_eq!((b.priority, b.max_in_flight), (1, Some(50)));
    assert_eq!(config.pools[1].default_owner.as_deref(), Some("openai-a"));
    let pools: Vec<usize> = config.routes.iter().map(|route| route.pool).collect();
    assert_eq!(pools, [2, 3, 0, 1]);
    assert_eq!(
        config.routes[0].host.as_deref(),
        Some("lab.example.internal")
    );
    assert!(!config.routes[0].implied);
    assert_eq!(config.clients[0].requests_per_minute.unwrap().get(), 600);
    assert_eq!(config.clients[0].tenant.as_deref(), Some("acme"));
}

/// What the shipped files name.
fn for_shipped_files() -> Fake {
    let mut fake = Fake::new();
    for name in [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_API_KEY_A",
        "OPENAI_API_KEY_A",
        "INHOUSE_KEY",
        "LAB_KEY",
        "TEAM_A_KEY",
    ] {
        fake.variables
            .insert(name.to_owned(), format!("{CANARY}-{name}").into());
    }
    for (name, of) in [
        ("server.pem", "cert.pem"),
        ("server.key", "key.pem"),
        ("inhouse-ca.pem", "cert.pem"),
        ("secrets/anthropic-b", "secret"),
    ] {
        let content = fake.files[Path::new(of)].clone();
        fake.files.insert(PathBuf::from(name), content);
    }
    fake
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
    let tables = [
        keys::ROOT,
        keys::SERVER,
        keys::TLS,
        keys::LOG,
        keys::ADMIN,
        keys::PROVIDER,
        keys::AUTH,
        keys::CA,
        keys::SUBSCRIPTION,
        keys::CREDENTIAL,
        keys::POOL,
        keys::ROUTE,
        keys::CLIENT,
        keys::KEY,
        keys::SESSIONS,
    ];
    let root: toml::Table = toml::from_str(&text).unwrap();
    let mut written = Vec::new();
    collect("", &toml::Value::Table(root), &mut written);
    let missing = |key: &&&str| !written.iter().any(|one| one == **key);
    let missing: Vec<_> = tables.iter().copied().flatten().filter(missing).collect();
    // Of a client's key one way excludes the others; they are shown by subscriptions.
    assert_eq!(missing, Vec::<&&str>::new());
}

fn collect(key: &str, value: &toml::Value, keys: &mut Vec<String>) {
    keys.push(key.to_owned());
    match value {
        toml::Value::Table(table) => table
            .iter()
            .for_each(|(key, value)| collect(key, value, keys)),
        toml::Value::Array(items) => items.iter().for_each(|item| collect("", item, keys)),
        _ => {}
    }
}

#[test]
fn what_is_not_toml_is_told_by_line() {
    // O1
    check("a = \n", &["1 : is not TOML"]);
    check(
        &more("id = \"again\""),
        &["13 : is not TOML: duplicate key"],
    );
    let text = with("{ env = \"KEY\" }", CANARY);
    let error = parse(&text).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax(_)));
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert!(
        error.to_string().starts_with("line 9: is not TOML: "),
        "{error}"
    );
}

#[test]
fn unknown_keys_are_refused_by_name_and_the_near_one_is_suggested() {
    // O1
    check(
        &server("worker = 2"),
        &["2 server.worker: is an unknown key: perhaps `workers`?"],
    );
    check(
        &server("log = { levle = \"info\" }"),
        &["2 server.log.levle: is an unknown key: perhaps `level`?"],
    );
    check(
        &provider("weight = 1"),
        &["6 provider[0].weight: is an unknown key"],
    );
    check(
        &subscription("max_in_fligt = 1"),
        &["10 subscription[0].max_in_fligt: is an unknown key: perhaps `max_in_flight`?"],
    );
    check(
        &more("strategy = \"headroom\""),
        &["13 pool[0].strategy: is an unknown key"],
    );
    check(&more("[store]"), &["13 store: is an unknown key"]);
    check(
        &more("[[providers]]"),
        &["13 providers: is an unknown key: perhaps `provider`?"],
    );
    check(
        &with("{ env = \"KEY\" }", "{ env = \"KEY\", exec = \"x\" }"),
        &["9 subscription[0].credential.exec: is an unknown key"],
    );
}

#[test]
fn a_wrong_shape_is_told_by_its_kind_and_never_shown() {
    // O1, K4
    check(
        &server("workers = \"2\""),
        &["2 server.workers: must be a whole number, not a text"],
    );
    check(
        &server("workers = 2.5"),
        &["2 server.workers: must be a whole number, not a number with a fraction"],
    );
    check(
        &server("drain = 5"),
        &["2 server.drain: must be a duration in quotes, such as \"30s\", not a whole number"],
    );
    check(
        &server("body_limit = 5"),
        &["2 server.body_limit: must be a size in quotes"],
    );
    check(
        &server("listen = \"127.0.0.1:8080\""),
        &["2 server.listen: must be an array in brackets, not a text"],
    );
    check(
        &server("listen = [8080]"),
        &["2 server.listen[0]: must be a text in quotes, not a whole number"],
    );
    check(
        &server("tls = \"cert.pem\""),
        &["2 server.tls: must be a table, not a text"],
    );
    check(
        &subscription("enabled = \"yes\""),
        &["10 subscription[0].enabled: must be true or false, not a text"],
    );
    check(
        &provider("limit_groups = []"),
        &["6 provider[0].limit_groups: must be a table, not an array"],
    );
    check(
        &provider("limit_groups = { x = \"a\" }"),
        &["6 provider[0].limit_groups.x: must be an array in brackets"],
    );
    check(
        &with("id = \"p\"", "id = 1979-05-27"),
        &[
            "3 provider[0].id: must be a text in quotes, not a date or time",
            "8 subscription[0].provider: `p` is the id of no provider",
        ],
    );
    check(
        &with("[server]", "server = 1"),
        &["1 server: must be a table, not a whole number"],
    );
    check(
        &with("[server]", "route = [1]"),
        &["1 route[0]: must be a table"],
    );
    check(
        &with("[[pool]]", "[pool]"),
        &["10 pool: is written with two brackets, [[pool]]"],
    );
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
base_url = "https://u:canary@h"
[[subscription]]
id = "a"
provider = "q"
credential = "canary"
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
}

#[test]
fn what_is_wrong_itself_is_no_second_fault_where_it_is_referred_to() {
    // O1
    check(
        &with("dialect = \"openai\"", "dialect = \"latin\""),
        &["4 provider[0].dialect: "],
    );
    check(
        &with("{ env = \"KEY\" }", "{ env = \"NONE\" }"),
        &["9 subscription[0].credential.env: the environment variable NONE is not set"],
    );
}

#[test]
fn what_must_be_there_is_missed_at_its_table() {
    // O1
    check(
        &with("id = \"p\"\n", ""),
        &[
            "2 provider[0].id: is missing",
            "7 subscription[0].provider: `p` is the id of no provider",
        ],
    );
    check(
        &with("dialect = \"openai\"\n", ""),
        &["2 provider[0].dialect: is missing"],
    );
    check(
        &with("base_url = \"https://api.openai.com/v1\"\n", ""),
        &["2 provider[0].base_url: is missing"],
    );
    check(
        &with("provider = \"p\"\n", ""),
        &["6 subscription[0].provider: is missing"],
    );
    check(
        &with("credential = { env = \"KEY\" }\n", ""),
        &["6 subscription[0].credential: is missing"],
    );
    check(
        &with("subscriptions = [\"a\"]\n", ""),
        &["10 pool[0].subscriptions: is missing"],
    );
    check(
        &with("subscriptions = [\"a\"]", "subscriptions = []"),
        &["12 pool[0].subscriptions: must name at least one"],
    );
    check(
        "",
        &["1 pool: is missing: without a [[pool]] there is nothing to serve"],
    );
    check(
        &server("tls = { cert = \"cert.pem\" }"),
        &["2 server.tls.key: is missing"],
    );
    check(&more("[[route]]"), &["13 route[0].pool: is missing"]);
    check(
        &more("[[client]]"),
        &[
            "13 client[0].id: is missing",
            "13 client[0].key: is missing",
        ],
    );
}

#[test]
fn ids_are_well_formed_and_unique_ignoring_case() {
    // O1
    let second = "[[subscription]]\nid = \"A\"\nprovider = \"p\"\ncredential = { env = \"KEY\" }";
    check(
        &more(second),
        &["14 subscription[1].id: is the id of subscription[0] as well"],
    );
    let second = "[[pool]]\nid = \"MAIN\"\nsubscriptions = [\"a\"]\n[[route]]\npool = \"main\"";
    check(
        &more(second),
        &["14 pool[1].id: is the id of pool[0] as well"],
    );
    let second = "[[provider]]\nid = \"p\"\ndialect = \"openai\"\nbase_url = \"https://h\"";
    check(
        &more(second),
        &["14 provider[1].id: is the id of provider[0] as well"],
    );
    check(
        &with("id = \"a\"", "id = \"a b\""),
        &[
            "7 subscription[0].id: must be 1 to 64",
            "12 pool[0].subscriptions[0]: `a` is the id of no subscription",
        ],
    );
    let long = "x".repeat(65);
    check(
        &with("id = \"main\"", &format!("id = \"{long}\"")),
        &["11 pool[0].id: must be 1 to 64"],
    );
    let clients = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }\n[[client]]\nid = \"C\"\nkey = { env = \"OTHER_CLIENT\" }";
    check(
        &more(clients),
        &["17 client[1].id: is the id of client[0] as well"],
    );
}

#[test]
fn references_lead_somewhere() {
    // O1
    check(
        &with("provider = \"p\"", "provider = \"P\""),
        &["8 subscription[0].provider: `P` is the id of no provider: perhaps `p`?"],
    );
    check(
        &with("[\"a\"]", "[\"b\"]"),
        &["12 pool[0].subscriptions[0]: `b` is the id of no subscription"],
    );
    check(
        &with("[\"a\"]", "[\"a\", \"a\"]"),
        &["12 pool[0].subscriptions[1]: is named twice"],
    );
    check(
        &more("default_owner = \"b\""),
        &["13 pool[0].default_owner: must be one of"],
    );
    check(
        &more("[[route]]\npool = \"mian\""),
        &["14 route[0].pool: `mian` is the id of no pool: perhaps `main`?"],
    );
    check(
        &more("[[route]]\npool = \"main\"\nclients = [\"c\"]"),
        &["15 route[0].clients[0]: `c` is the id of no client"],
    );
    let client = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }\n";
    check(
        &more(&format!("{client}pools = [\"x\"]")),
        &["16 client[0].pools[0]: `x` is the id of no pool"],
    );
    good(&more(&format!(
        "{client}pools = [\"x*\", \"main\"]\n[[route]]\npool = \"main\"\nclients = [\"c\", \"team-*\"]"
    )));
}

#[test]
fn numbers_durations_and_sizes_keep_their_bounds() {
    // O1, C1, F2
    for (lines, expected) in [
        (
            "workers = 0",
            "2 server.workers: must be between 1 and 1024",
        ),
        (
            "workers = 99999999999999999999",
            "2 server.workers: must be between 1 and 1024",
        ),
        (
            "drain = \"25h\"",
            "2 server.drain: must be between 0s and 24h",
        ),
        (
            "max_connections = 0",
            "2 server.max_connections: must be between 1 and 1000000",
        ),
        (
            "body_limit = \"1B\"",
            "2 server.body_limit: must be between 1KiB and 4GiB",
        ),
        (
            "body_limit = \"32MB\"",
            "2 server.body_limit: must be a size such as",
        ),
        (
            "body_memory = \"2048GiB\"",
            "2 server.body_memory: must be between 1KiB and 1024GiB",
        ),
        (
            "body_memory = \"16MiB\"",
            "2 server.body_memory: makes body_limit (32MiB) larger than body_memory (16MiB)",
        ),
        (
            "body_limit = \"1GiB\"",
            "2 server.body_limit: makes body_limit (1GiB) larger than body_memory (512MiB)",
        ),
    ] {
        check(&server(lines), &[expected]);
    }
    for (lines, expected) in [
        (
            "connect = \"0s\"",
            "6 provider[0].connect: must be between 1ms and 5m",
        ),
        (
            "first_byte = \"25h\"",
            "6 provider[0].first_byte: must be between 1ms and 24h",
        ),
        (
            "idle = \"0ms\"",
            "6 provider[0].idle: must be between 1ms and 24h",
        ),
        (
            "total = \"169h\"",
            "6 provider[0].total: must be between 1ms and 168h",
        ),
        (
            "keep_alive = \"31s\"",
            "6 provider[0].keep_alive: must be between 0s and 30s",
        ),
    ] {
        check(&provider(lines), &[expected]);
    }
    for (lines, expected) in [
        (
            "max_in_flight = 0",
            "10 subscription[0].max_in_flight: must be between 1 and 10000",
        ),
        (
            "max_in_flight = 10001",
            "10 subscription[0].max_in_flight: must be between 1 and 10000",
        ),
        (
            "priority = -1001",
            "10 subscription[0].priority: must be between -1000 and 1000",
        ),
    ] {
        check(&subscription(lines), &[expected]);
    }
    for (lines, expected) in [
        (
            "max_wait = \"2h\"",
            "13 pool[0].max_wait: must be between 0s and 1h",
        ),
        (
            "max_waiting = 1000001",
            "13 pool[0].max_waiting: must be between 0 and 1000000",
        ),
        (
            "max_attempts = 0",
            "13 pool[0].max_attempts: must be between 1 and 16",
        ),
        (
            "max_attempts = 17",
            "13 pool[0].max_attempts: must be between 1 and 16",
        ),
        (
            "stick_wait = \"61m\"",
            "13 pool[0].stick_wait: must be between 0s and 1h",
        ),
        (
            "[sessions]\nmax = 0",
            "14 sessions.max: must be between 1 and 10000000",
        ),
    ] {
        check(&more(lines), &[expected]);
    }
    let client = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }\n";
    check(
        &more(&format!(
            "{client}requests_per_minute = 0\nmax_in_flight = 10001"
        )),
        &[
            "16 client[0].requests_per_minute: must be between 1 and 1000000",
            "17 client[0].max_in_flight: must be between 1 and 10000",
        ],
    );
    let config =
        good(&subscription("max_in_flight = 10_000\npriority = -0x1").replace("-0x1", "-1"));
    assert_eq!(
        (
            config.subscriptions[0].max_in_flight,
            config.subscriptions[0].priority
        ),
        (Some(10_000), -1)
    );
}

#[test]
fn a_listener_without_keys_is_on_loopback_only() {
    // K1
    let fault = "2 server.listen[1]: 0.0.0.0:80 would serve anyone who reaches it, without a key: add a [[client]], or listen on 127.0.0.1:80 only";
    check(
        &server("listen = [\"127.0.0.1:1\", \"0.0.0.0:80\"]"),
        &[fault],
    );
    check(
        &server("listen = [\"[::]:80\"]"),
        &["2 server.listen[0]: [::]:80 would serve anyone"],
    );
    good(&server(
        "listen = [\"127.0.0.1:0\", \"[::1]:0\", \"[::ffff:127.0.0.1]:0\"]",
    ));
    let client = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }";
    let open = format!("{}{client}", server("listen = [\"0.0.0.0:80\"]"));
    good(&open);
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
        check(
            &server(&format!("listen = [\"{wrong}\"]")),
            &["2 server.listen[0]: must be an address and a port"],
        );
    }
    check(
        &server("listen = []"),
        &["2 server.listen: must name at least one address"],
    );
    check(
        &server("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]"),
        &["2 server.listen[1]: is named twice"],
    );
    check(
        &more("[admin]\nlisten = \"127.0.0.1:8080\""),
        &["14 admin.listen: 127.0.0.1:8080 is where server.listen serves"],
    );
    check(
        &more("[admin]\nlisten = \"here\""),
        &["14 admin.listen: must be an address and a port"],
    );
    assert_eq!(good(&more("[admin]")).admin.unwrap().listen.port(), 9090);
    assert!(
        good(&more("[admin]\nlisten = \"0.0.0.0:9090\""))
            .admin
            .is_some()
    );
}

#[test]
fn words_are_of_the_list() {
    // O1
    check(
        &server("expose = [\"subscription\", \"subscription\"]"),
        &["2 server.expose[1]: is named twice"],
    );
    check(
        &server("expose = [\"all\"]"),
        &["2 server.expose[0]: must be \"subscription\""],
    );
    check(
        &server("log = { level = \"loud\", format = \"xml\" }"),
        &[
            "2 server.log.level: must be \"error\"",
            "2 server.log.format: must be \"text\" or",
        ],
    );
    check(
        &provider("roots = \"none\""),
        &["6 provider[0].roots: must be \"bundled\""],
    );
    check(
        &provider("flavour = \"strange\""),
        &["6 provider[0].flavour: is no known flavour"],
    );
    let config = good(&server("log = { level = \"trace\", format = \"json\" }"));
    assert!(config.server.log.json && config.server.log.level == tracing::Level::TRACE);
}

#[test]
fn credentials_go_in_cleartext_to_loopback_only_unless_told() {
    // K5
    let url = |url: &str| with("https://api.openai.com/v1", url);
    check(
        &url("http://api.openai.com/v1"),
        &["5 provider[0].base_url: would send credentials in cleartext"],
    );
    check(
        &url("http://10.0.0.1/v1"),
        &["5 provider[0].base_url: would send credentials in cleartext"],
    );
    good(&url("http://127.0.0.1:1/v1"));
    good(&url("http://localhost:1/v1"));
    good(&url("http://10.0.0.1/v1\"\ninsecure = true #\""));
    check(
        &url("http://169.254.169.254/v1\"\ninsecure = true #\""),
        &["5 provider[0].base_url: must not lead to a link-local"],
    );
    check(
        &provider("insecure = true"),
        &["6 provider[0].insecure: allows cleartext only"],
    );
    check(
        &url("https://api.openai.com"),
        &["5 provider[0].base_url: lacks its path"],
    );
    let anthropic = GOOD.replace("\"openai\"", "\"anthropic\"");
    check(&anthropic, &["5 provider[0].base_url: must not end in /v1"]);
}

#[test]
fn certificates_are_read_and_seen_to_be_some() {
    // O1
    good(&provider("ca = { file = \"cert.pem\" }"));
    check(
        &provider("ca = { file = \"none.pem\" }"),
        &["6 provider[0].ca.file: cannot read none.pem: "],
    );
    check(
        &provider("ca = { file = \"key.pem\" }"),
        &["6 provider[0].ca.file: key.pem holds no certificate"],
    );
    check(
        &provider("ca = { file = \"half.pem\" }"),
        &["6 provider[0].ca.file: half.pem holds no certificate"],
    );
    check(
        &provider("ca = { file = \"cert.pem\" }\nroots = \"system\""),
        &["7 provider[0].roots: has no effect beside ca"],
    );
    let local = provider("ca = { file = \"cert.pem\" }")
        .replace("https://api.openai.com", "http://127.0.0.1");
    check(
        &local,
        &["6 provider[0].ca: is about certificates, which http has none of"],
    );
    good(&server("tls = { cert = \"cert.pem\", key = \"key.pem\" }"));
    check(
        &server("tls = { cert = \"none.pem\", key = \"secret\" }"),
        &[
            "2 server.tls.cert: cannot read none.pem: ",
            "2 server.tls.key: secret holds no private key",
        ],
    );
}

#[test]
fn the_way_a_credential_is_written_is_a_header_of_its_own() {
    // section 14, K7
    let generic = with("\"openai\"", "\"generic\"");
    check(
        &generic,
        &["2 provider[0].auth: is missing: generic has no usual one"],
    );
    good(&generic.replace(
        "[[subscription]]",
        "auth = { header = \"x-key\" }\n[[subscription]]",
    ));
    check(
        &provider("auth = { scheme = \"Bearer\" }"),
        &["6 provider[0].auth.header: is missing"],
    );
    check(
        &provider("auth = { header = \"host\" }"),
        &["6 provider[0].auth.header: belongs to the connection"],
    );
    check(
        &provider("auth = { header = \"a b\" }"),
        &["6 provider[0].auth.header: is not the name of a header"],
    );
    check(
        &provider("auth = { header = \"x\", scheme = \"a b\" }"),
        &["6 provider[0].auth.scheme: must be a word"],
    );
    check(
        &provider("pass_headers = [\"cookie\", \"Authorization\", \"te\", \"Cookie\"]"),
        &[
            "6 provider[0].pass_headers[1]: carries a key",
            "6 provider[0].pass_headers[2]: belongs to the connection",
            "6 provider[0].pass_headers[3]: is named twice",
        ],
    );
    check(
        &provider("auth = { header = \"x-key\" }\npass_headers = [\"x-key\"]"),
        &["7 provider[0].pass_headers[0]: carries the credential"],
    );
    check(
        &more("session_headers = [\"x-api-key\", \"x\", \"x\"]"),
        &[
            "13 pool[0].session_headers[0]: carries a key",
            "13 pool[0].session_headers[2]: is named twice",
        ],
    );
}

#[test]
fn paths_and_groups_are_well_formed() {
    // F6, F11
    check(
        &provider("allow_paths = [\"GET /v1/x/*\", \"/v1/y\", \"GET /v1/x/*\"]"),
        &[
            "6 provider[0].allow_paths[1]: must be a method and a path",
            "6 provider[0].allow_paths[2]: is named twice",
        ],
    );
    check(
        &provider("limit_groups = { all = [\"x\"], \"a b\" = [\"x\"], c = [\"x y\"] }"),
        &[
            "6 provider[0].limit_groups.all: is taken",
            "6 provider[0].limit_groups.a b: must be 1 to 64",
            "6 provider[0].limit_groups.c[0]: must be a pattern",
        ],
    );
    check(
        &more("[[route]]\npool = \"main\"\npath_prefix = \"/a/\"\nhost = \"h:80\""),
        &[
            "15 route[0].path_prefix: must not end in a slash",
            "16 route[0].host: must be a host as clients name it",
        ],
    );
    let config = good(&more(
        "[[route]]\npool = \"main\"\nhost = \"[::1]\"\n[[route]]\npool = \"main\"\nhost = \"H.example\"\npath_prefix = \"/a/b\"",
    ));
    assert_eq!(config.routes[1].host.as_deref(), Some("h.example"));
    assert_eq!(&*config.routes[1].path_prefix, "/a/b");
}

#[test]
fn patterns_allow_something() {
    // section 14
    check(
        &subscription("models = []"),
        &["10 subscription[0].models: must name at least one"],
    );
    check(
        &subscription("models = [\"\"]"),
        &["10 subscription[0].models[0]: must be a pattern"],
    );
    check(
        &subscription("deny_models = [\"x\", \"*\"]"),
        &["10 subscription[0].deny_models[1]: denies all models"],
    );
    good(&subscription("deny_models = []"));
    check(
        &more("[[route]]\npool = \"main\"\nmodels = []\nclients = []"),
        &[
            "15 route[0].models: must name",
            "16 route[0].clients: must name",
        ],
    );
    let client = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }\n";
    check(
        &more(&format!("{client}pools = []")),
        &["16 client[0].pools: must name"],
    );
}

#[test]
fn secrets_are_found_and_fit_a_header() {
    // O1, K4
    let credential = |reference: &str| with("{ env = \"KEY\" }", reference);
    for (reference, expected) in [
        (
            format!("\"{CANARY}\""),
            "9 subscription[0].credential: must name where the secret is",
        ),
        (
            format!("[\"{CANARY}\"]"),
            "9 subscription[0].credential: must name where the secret is",
        ),
        (
            "{}".to_owned(),
            "9 subscription[0].credential: must have exactly one of `env`, `file`",
        ),
        (
            "{ env = \"KEY\", file = \"secret\" }".to_owned(),
            "9 subscription[0].credential: must have exactly one of",
        ),
        (
            "{ env = 1 }".to_owned(),
            "9 subscription[0].credential.env: must be a text",
        ),
        (
            format!("{{ env = \"{CANARY}\" }}"),
            "9 subscription[0].credential.env: must be the name of an environment variable",
        ),
        (
            "{ env = \"canary4f1c9a77e0b2d85c6631\" }".to_owned(),
            "9 subscription[0].credential.env: the environment variable named here is not set",
        ),
        (
            "{ env = \"NOWHERE\" }".to_owned(),
            "9 subscription[0].credential.env: the environment variable NOWHERE is not set",
        ),
        (
            "{ env = \"\" }".to_owned(),
            "9 subscription[0].credential.env: must be the name of",
        ),
        (
            "{ env = \"EMPTY\" }".to_owned(),
            "9 subscription[0].credential.env: names a variable whose content is empty",
        ),
        (
            "{ env = \"BROKEN\" }".to_owned(),
            "9 subscription[0].credential.env: names a variable whose content has a line break",
        ),
        (
            "{ env = \"BLANK\" }".to_owned(),
            "9 subscription[0].credential.env: names a variable whose content begins or ends with a blank",
        ),
        (
            "{ env = \"CONTROL\" }".to_owned(),
            "9 subscription[0].credential.env: names a variable whose content has a control",
        ),
        (
            "{ env = \"BEYOND\" }".to_owned(),
            "9 subscription[0].credential.env: names a variable whose content has characters beyond",
        ),
        (
            format!("{{ file = \"{CANARY}\" }}"),
            "9 subscription[0].credential.file: names a file that cannot be read",
        ),
        (
            "{ file = \"empty\" }".to_owned(),
            "9 subscription[0].credential.file: names a file whose content is empty",
        ),
        (
            "{ file = \"broken\" }".to_owned(),
            "9 subscription[0].credential.file: names a file whose content has a line break",
        ),
    ] {
        check(&credential(&reference), &[expected]);
    }
    good(&credential("{ env = \"INNER_BLANK\" }"));
}

#[test]
fn client_keys_are_long_enough_and_each_clients_own() {
    // K1
    let client = |key: &str| more(&format!("[[client]]\nid = \"c\"\nkey = {key}"));
    check(
        &client("{ env = \"SHORT\" }"),
        &["15 client[0].key.env: names a key of less than 24 characters"],
    );
    check(
        &client("{ env = \"INNER_BLANK\" }"),
        &["15 client[0].key.env: names a key with blanks in it"],
    );
    check(
        &client(&format!("\"{CANARY}\"")),
        &["15 client[0].key: must name where the secret is"],
    );
    check(
        &client("{}"),
        &["15 client[0].key: must have exactly one of `env`, `file`, `sha256`"],
    );
    for wrong in [
        "",
        "00",
        &"0".repeat(63),
        &"g".repeat(64),
        &"0".repeat(65),
        CANARY,
    ] {
        check(
            &client(&format!("{{ sha256 = \"{wrong}\" }}")),
            &["15 client[0].key.sha256: must be 64 hexadecimal digits"],
        );
    }
    good(&client("{ file = \"secret\" }"));
    good(&client(&format!("{{ sha256 = \"{}\" }}", "aF".repeat(32))));
    let both = "[[client]]\nid = \"c\"\nkey = { env = \"CLIENT\" }\n[[client]]\nid = \"d\"\nkey = { env = \"CLIENT\" }";
    check(
        &more(both),
        &["18 client[1].key.env: names the key that client `c` has"],
    );
}

#[test]
fn a_tenant_is_not_named_after_a_client_of_another() {
    // HARDENING 60, S3
    let two = |tenant: &str, other: &str| {
        more(&format!(
            "[[client]]\nid = \"c\"\nkey = {{ env = \"CLIENT\" }}\n{other}\n[[client]]\nid = \"d\"\nkey = {{ env = \"OTHER_CLIENT\" }}\ntenant = \"{tenant}\""
        ))
    };
    check(
        &two("C", ""),
        &["20 client[1].tenant: is the id of client `c`, which is not of this tenant"],
    );
    check(&two("a b", ""), &["20 client[1].tenant: must be 1 to 64"]);
    good(&two("c", "tenant = \"c\""));
    good(&two("t", ""));
    good(&two("d", ""));
}

#[test]
fn a_pool_speaks_one_dialect() {
    // section 14
    let second = r#"[[provider]]
id = "q"
dialect = "anthropic"
base_url = "https://api.anthropic.com"
[[subscription]]
id = "b"
provider = "q"
credential = { env = "KEY" }"#;
    let text = more(second).replace("[\"a\"]", "[\"a\", \"b\"]");
    check(
        &text,
        &[
            "12 pool[0].subscriptions[1]: speaks anthropic, but `a` speaks openai: a pool has one dialect",
        ],
    );
    // A subscription may be in no pool.
    good(&more(second));
}

#[test]
fn without_a_route_there_is_one_pool_of_each_dialect() {
    // F11, F6
    let second = "[[pool]]\nid = \"more\"\nsubscriptions = [\"a\"]";
    check(
        &more(second),
        &["13 pool[1]: speaks openai as pool `main` does: without a [[route]]"],
    );
    good(&more(&format!("{second}\n[[route]]\npool = \"main\"")));
    let generic = r#"[[provider]]
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
    check(
        &more(generic),
        &["22 pool[1]: is generic and not the only pool, so it needs a [[route]]"],
    );
    good(&more(&format!(
        "{generic}\n[[route]]\npool = \"other\"\npath_prefix = \"/x\"\n[[route]]\npool = \"main\""
    )));
}

#[test]
fn a_domain_is_not_named_after_another_subscription() {
    // O6
    let second = |domain: &str| {
        more(&format!(
            "[[subscription]]\nid = \"b\"\nprovider = \"p\"\ncredential = {{ env = \"KEY\" }}\ndomain = \"{domain}\""
        ))
    };
    check(
        &second("A"),
        &["17 subscription[1].domain: is the id of subscription `a`"],
    );
    check(
        &second("a b"),
        &["17 subscription[1].domain: must be 1 to 64"],
    );
    let config = good(&second("b"));
    assert!(config.subscriptions[1].domain_named);
    let text = second("Org").replacen("[[pool]]", "domain = \"org\"\n[[pool]]", 1);
    check(
        &text,
        &["18 subscription[1].domain: differs from domain `org` in case only"],
    );
    let config = good(&text.replace("Org", "org"));
    assert_eq!(
        config.subscriptions[0].domain,
        config.subscriptions[1].domain
    );
}

#[test]
fn the_path_is_the_argument_else_the_variable_else_the_usual_one() {
    // O3
    let mut fake = Fake::new();
    assert_eq!(
        config::path(None, &fake),
        Path::new("/etc/authpool/authpool.toml")
    );
    fake.variables.insert("AUTHPOOL_CONFIG".into(), "".into());
    assert_eq!(
        config::path(None, &fake),
        Path::new("/etc/authpool/authpool.toml")
    );
    fake.variables
        .insert("AUTHPOOL_CONFIG".into(), "/x.toml".into());
    assert_eq!(config::path(None, &fake), Path::new("/x.toml"));
    assert_eq!(config::path(Some(Path::new("y")), &fake), Path::new("y"));
}

#[test]
fn a_file_is_loaded_with_what_lies_beside_it_and_named_in_its_faults() {
    // O1
    let mut fake = Fake::new();
    let text = with("{ env = \"KEY\" }", "{ file = \"../keys/a\" }");
    fake.files
        .insert("/etc/authpool.toml".into(), text.into_bytes());
    let load = |fake: &Fake| Config::load(Path::new("/etc/authpool.toml"), fake);
    let error = load(&fake).unwrap_err().to_string();
    assert!(
        error.starts_with("/etc/authpool.toml:9: subscription[0].credential.file: names a file"),
        "{error}"
    );
    fake.files.insert("/etc/../keys/a".into(), CANARY.into());
    load(&fake).unwrap();
    assert!(matches!(
        Config::load(Path::new("/none"), &fake),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn nothing_secret_prints_from_a_configuration() {
    // K4
    let text = format!(
        "{}[[client]]\nid = \"c\"\nkey = {{ env = \"CLIENT\" }}",
        server("tls = { cert = \"cert.pem\", key = \"key.pem\" }")
    );
    let shown = format!("{:?}", good(&text));
    assert!(
        !shown.contains("canary") && !shown.contains("BEGIN"),
        "{shown}"
    );
}

/// A piece of text that a configuration might hold, or nearly.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[server]\n",
        "[[provider]]\n",
        "[[client]]\n",
        "[[route]]\n",
        "[admin]\n",
        "id = ",
        "\"a\"",
        "= ",
        "{ env = \"KEY\" }",
        "{ file = \"secret\" }",
        "[\"*\"]",
        "\n",
        "\"30s\"",
        "-1",
        "1e9",
        "true",
        "listen",
        "auth = ",
        "limit_groups.x = ",
        "\"",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        ".",
        "#",
        "\\",
        "\u{0}",
        "ä",
        "models = [\"x\"]\n",
        "key = ",
        "1979-05-27T07:32:00Z",
        "0xffffffffffffffffffff",
        "[provider.auth]\n",
        "a.b.c = 1\n",
    ];
    prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        ".{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_no_error_shows_a_secret(
        edits in prop::collection::vec((0_usize..600, 0_usize..30, piece()), 1..6),
    ) {
        // O1, K4, HARDENING 4
        let mut text: Vec<char> = format!(
            "{GOOD}[[route]]\npool = \"main\"\n[[client]]\nid = \"c\"\nkey = {{ env = \"CLIENT\" }}\ntenant = \"t\"\n"
        ).chars().collect();
        for (at, cut, piece) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains("canary"));
                prop_assert_eq!(config.pools.len(), text.matches("[[pool]]").count());
                prop_assert!(config.routes.iter().all(|route| route.pool < config.pools.len()));
            }
            Err(error) => {
                let lines = u32::try_from(text.lines().count()).unwrap() + 1;
                prop_assert!(!error.faults().is_empty());
                prop_assert!(error.faults().iter().all(|fault| (1..=lines).contains(&fault.line)));
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("canary"), "{}", shown);
            }
        }
    }
}
