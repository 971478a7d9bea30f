//! Which requests go where, and what every response carries: F6, F8, F11, and the rules of clients and routes.

use authpool::scripted::{Options, Provider};

use super::refusals::{Words, check};
use super::support::client::{Ask, chat, exchange, message};
use super::support::{Authpool, CLIENT_KEY, Setup};

pub const OTHER_KEY: &str = "another-client-key-0123456789";

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

/// Three pools, of the three dialects, before one provider: `o` (credential `cred-o`), `m`, `g`, and what else is given.
pub fn three(provider: &Provider, server: &str, more: &str) -> Authpool {
    let addr = provider.addr();
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n{server}\n[admin]\nlisten = \"127.0.0.1:0\"\n"
    );
    for (id, dialect, base, auth) in [
        ("o", "openai", "/v1", ""),
        ("m", "anthropic", "", ""),
        (
            "g",
            "generic",
            "/base/x",
            "auth = { header = \"x-api-key\" }",
        ),
    ] {
        if id == "g" && !more.contains("pool = \"g\"") {
            continue;
        }
        text.push_str(&format!(
            "[[provider]]\nid = \"{id}\"\ndialect = \"{dialect}\"\nbase_url = \"http://{addr}{base}\"\n{auth}\n\
             [[subscription]]\nid = \"{id}\"\nprovider = \"{id}\"\ncredential = {{ env = \"CRED_{id}\" }}\n\
             [[pool]]\nid = \"{id}\"\nsubscriptions = [\"{id}\"]\n"
        ));
    }
    text.push_str("[[client]]\nid = \"tester\"\nkey = { env = \"CLIENT_KEY\" }\n");
    text.push_str(more);
    let variables = [
        ("CRED_o", "cred-o"),
        ("CRED_m", "cred-m"),
        ("CRED_g", "cred-g"),
        ("CLIENT_KEY", CLIENT_KEY),
        ("OTHER_KEY", OTHER_KEY),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Authpool::start(&text, &variables)
}

// F6, F11: without routes each pool answers for its dialect
#[test]
fn every_listed_path_goes_with_its_methods_to_the_pool_of_its_dialect() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let listed = [
        ("POST", "/v1/messages", "m"),
        ("POST", "/v1/messages/count_tokens", "m"),
        ("POST", "/v1/chat/completions", "o"),
        ("POST", "/v1/completions", "o"),
        ("POST", "/v1/responses", "o"),
        ("POST", "/v1/embeddings", "o"),
        ("POST", "/v1/moderations", "o"),
        ("POST", "/v1/audio/speech", "o"),
        ("POST", "/v1/audio/transcriptions", "o"),
        ("POST", "/v1/images/generations", "o"),
        ("POST", "/v1/images/edits", "o"),
        ("GET", "/v1/models", "o"),
        ("GET", "/v1/models/gpt-x", "o"),
        ("HEAD", "/v1/models", "o"),
        ("HEAD", "/v1/models/gpt-x", "o"),
    ];
    for (method, path, pool) in listed {
        let before = provider.ledger().count(&format!("cred-{pool}"));
        let body = r#"{"model":"m","max_tokens":3,"input":"x","messages":[]}"#;
        let ask = if method == "POST" {
            Ask::post(path, body)
        } else {
            Ask::get(path).method(method)
        };
        let answer = ask.send(authpool.addr);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        assert_eq!(
            provider.ledger().count(&format!("cred-{pool}")),
            before + 1,
            "{method} {path}"
        );
        assert_eq!(provider.ledger().entries().pop().unwrap().path, path);
    }
    for path in ["/v1/models", "/v1/models/claude-x"] {
        let ask = Ask::get(path).header("anthropic-version", "2023-06-01");
        assert_eq!(ask.send(authpool.addr).status, 200);
        assert_eq!(
            provider.ledger().entries().pop().unwrap().credential,
            "cred-m",
            "{path}"
        );
    }
}

// F6: an operator may open more
#[test]
fn allow_paths_open_what_they_name_and_no_more() {
    let provider = provider();
    let mut setup = Setup::new("openai", &["a"]);
    setup.provider = r#"allow_paths = ["GET /v1/files/*", "POST /v1/files"]"#.into();
    let authpool = setup.start(provider.addr());
    let get = |path| Ask::get(path).send(authpool.addr).status;
    assert_eq!(
        [get("/v1/files/f-1"), get("/v1/files/f-1/content")],
        [200, 200]
    );
    assert_eq!(Ask::post("/v1/files", "x").send(authpool.addr).status, 200);
    assert_eq!(
        Ask::get("/v1/files/x")
            .method("HEAD")
            .send(authpool.addr)
            .status,
        200
    );
    assert_eq!(get("/v1/files"), 405);
    assert_eq!(
        Ask::get("/v1/files/x")
            .method("DELETE")
            .send(authpool.addr)
            .status,
        405
    );
    assert_eq!(get("/v1/filesystem"), 403);
}

// F6, F8
#[test]
fn head_of_the_root_is_answered_locally_without_a_key() {
    let provider = provider();
    let authpool = three(&provider, "", "");
    let answer = Ask::get("/")
        .method("HEAD")
        .without("authorization")
        .send(authpool.addr);
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-authpool-request-id").is_some());
    assert_eq!(
        Ask::get("/")
            .without("authorization")
            .send(authpool.addr)
            .status,
        401
    );
    assert!(provider.ledger().entries().is_empty());
}

// F7, client.models, client.pools, route.models, route.clients
#[test]
fn routes_decide_404_and_what_a_client_may_use_403() {
    let provider = provider();
    let authpool = three(
        &provider,
        "",
        "[[client]]\nid = \"other\"\nkey = { env = \"OTHER_KEY\" }\nmodels = [\"gpt-*\"]\npools = [\"o\"]\n\
         [[route]]\npool = \"o\"\npath_prefix = \"/mine\"\nclients = [\"test*\"]\n\
         [[route]]\npool = \"o\"\npath_prefix = \"/o\"\nmodels = [\"gpt-*\", \"o4*\"]\n\
         [[route]]\npool = \"m\"\npath_prefix = \"/m\"\n",
    );
    let other = |ask: Ask| {
        let ask = ask
            .without("authorization")
            .header("authorization", &format!("Bearer {OTHER_KEY}"));
        ask.send(authpool.addr)
    };
    let path = "/o/v1/chat/completions";
    assert_eq!(other(Ask::post(path, chat("gpt-x", false))).status, 200);
    // the route takes it, the client may not
    let kind = "permission_error";
    check(
        &other(Ask::post(path, chat("o4", false))),
        Words::OpenAi,
        403,
        "forbidden",
        kind,
    );
    // nobody has it
    let answer = other(Ask::post(path, chat("claude", false)));
    check(
        &answer,
        Words::OpenAi,
        404,
        "not_found",
        "invalid_request_error",
    );
    // no model on a metered endpoint, and models are restricted
    check(
        &other(Ask::post(path, r#"{"messages":[]}"#)),
        Words::OpenAi,
        403,
        "forbidden",
        kind,
    );
    assert_eq!(
        Ask::post(path, r#"{"messages":[]}"#)
            .send(authpool.addr)
            .status,
        200
    );
    assert_eq!(other(Ask::get("/o/v1/models")).status, 200);
    // a pool that is not the client's
    let answer = other(Ask::post("/m/v1/messages", message("gpt-x", false)));
    check(
        &answer,
        Words::Anthropic,
        403,
        "forbidden",
        "permission_error",
    );
    // a route that is for others is no route
    let mine = "/mine/v1/chat/completions";
    assert_eq!(
        Ask::post(mine, chat("any", false))
            .send(authpool.addr)
            .status,
        200
    );
    assert_eq!(other(Ask::post(mine, chat("gpt-x", false))).status, 404);
    assert_eq!(provider.ledger().count("cred-m"), 0);
    assert_eq!(provider.ledger().count("cred-o"), 4);
}

// F11
#[test]
fn path_prefixes_match_whole_segments_and_are_stripped_and_hosts_choose_too() {
    let provider = provider();
    let authpool = three(
        &provider,
        "",
        "[[route]]\npool = \"m\"\nhost = \"claude.example\"\n\
         [[route]]\npool = \"g\"\npath_prefix = \"/gen\"\n\
         [[route]]\npool = \"o\"\npath_prefix = \"/team/a\"\n\
         [[route]]\npool = \"m\"\npath_prefix = \"/team\"\n",
    );
    let sent = |ask: &Ask| {
        let answer = ask.send(authpool.addr);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let entry = provider.ledger().entries().pop().unwrap();
        (entry.credential, entry.path)
    };
    let is = |credential: &str, path: &str| (credential.to_owned(), path.to_owned());
    let post = |path| Ask::post(path, chat("x", false));
    assert_eq!(
        sent(&post("/team/a/v1/chat/completions?q=1")),
        is("cred-o", "/v1/chat/completions?q=1")
    );
    assert_eq!(
        sent(&post("/team/v1/messages")),
        is("cred-m", "/v1/messages")
    );
    // generic: every method and path, after base_url's own
    assert_eq!(
        sent(&Ask::get("/gen/any/thing?x=%20").method("DELETE")),
        is("cred-g", "/base/x/any/thing?x=%20")
    );
    assert_eq!(sent(&Ask::get("/gen").method("OPTIONS")).0, "cred-g");
    // whole segments: /team/ab is /team's, with /ab left
    assert_eq!(
        post("/team/ab/v1/chat/completions")
            .send(authpool.addr)
            .status,
        403
    );
    assert_eq!(post("/teams/v1/messages").send(authpool.addr).status, 404);
    assert_eq!(post("/v1/messages").send(authpool.addr).status, 404);
    for host in ["claude.example", "Claude.Example:8080"] {
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CLIENT_KEY}\r\nConnection: close\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(authpool.addr, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

// F6, F7: generic speaks OpenAI's words
#[test]
fn a_generic_pool_alone_needs_no_route_and_takes_every_path() {
    let provider = provider();
    let mut setup = Setup::new("generic", &["a"]);
    setup.provider = r#"auth = { header = "authorization", scheme = "Bearer" }"#.into();
    let authpool = setup.start_at(&format!("http://{}/deep", provider.addr()));
    for (method, path) in [
        ("GET", "/"),
        ("PUT", "/a/b"),
        ("PATCH", "/v1/chat/completions"),
        ("DELETE", "/x"),
    ] {
        let answer = Ask::get(path).method(method).send(authpool.addr);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        let entry = provider.ledger().entries().pop().unwrap();
        assert_eq!(
            (entry.credential.as_str(), entry.method.as_str()),
            ("cred-a", method)
        );
        assert_eq!(entry.path, format!("/deep{path}"));
    }
    let answer = Ask::post("/x", r#"{"model":"a","mod\u0065l":"b"}"#)
        .header("content-type", "application/json");
    check(
        &answer.send(authpool.addr),
        Words::OpenAi,
        400,
        "invalid_request",
        "invalid_request_error",
    );
}

// F8
#[test]
fn every_response_carries_a_request_id_and_only_what_the_operator_exposes() {
    let provider = provider();
    provider
        .script()
        .push_json(r#"{"match":{"path":"/moderations"},"do":{"status":200,"headers":{"x-authpool-request-id":"forged","x-authpool-attempts":"9"},"body":"{}"}}"#)
        .unwrap();
    let mut setup = Setup::new("openai", &["a"]);
    let plain = setup.start(provider.addr());
    setup.server = r#"expose = ["subscription", "attempts", "server-timing"]"#.into();
    let open = setup.start(provider.addr());
    let asks = [
        Ask::post("/v1/chat/completions", chat("m", false)),
        Ask::post("/v1/chat/completions", chat("m", true)),
        Ask::post("/v1/moderations", "{}"),
        Ask::get("/v1/nothing"),
        Ask::get("/v1/models").without("authorization"),
        Ask::get("/").method("HEAD"),
        Ask::get("/a//b"),
    ];
    let mut ids = std::collections::HashSet::new();
    for ask in &asks {
        for (authpool, exposes) in [(&plain, false), (&open, true)] {
            let answer = ask.send(authpool.addr);
            let id = answer.header("x-authpool-request-id").unwrap();
            let parsed = uuid::Uuid::parse_str(id).unwrap();
            assert_eq!(parsed.get_version_num(), 7, "{id}");
            assert_eq!(id, parsed.hyphenated().to_string());
            assert!(ids.insert(id.to_owned()), "{id} came twice");
            let refused = answer.header("x-authpool-code").is_some();
            let sent = ask.bytes(plain.addr).starts_with(b"POST") && !refused;
            let told = |value| (exposes && sent).then_some(value);
            assert_eq!(
                answer.header("x-authpool-subscription"),
                told("a"),
                "{ask:?}"
            );
            if sent {
                assert_eq!(answer.header("x-authpool-attempts"), told("1"), "{ask:?}");
                assert_eq!(answer.header("server-timing").is_some(), exposes, "{ask:?}");
            }
        }
    }
}
