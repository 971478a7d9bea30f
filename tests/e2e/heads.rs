//! What of a request reaches the provider and what of its answer reaches the client: F1, F3, F11's base URL, K4, K7.

use std::io::Write;

use authpool::scripted::{Action, Entry, Match, Options, Provider, Raw, Rule, Then};

use super::support::client::{Ask, chat, exchange, message};
use super::support::{Authpool, CLIENT_KEY, Setup, eventually};

/// A provider that gives this answer to every request, byte for byte.
fn saying(answer: &[u8]) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    say(&provider, answer);
    provider
}

fn say(provider: &Provider, answer: &[u8]) {
    provider.script().clear();
    provider.script().push(Rule {
        matches: Match::default(),
        times: None,
        chance: None,
        delay: std::time::Duration::ZERO,
        action: Action::Raw(Raw {
            bytes: answer.to_vec(),
            repeat: Some(1),
            piece: 0,
            gap_ms: 0,
            then: Then::Keep,
        }),
    });
}

fn last(provider: &Provider) -> Entry {
    provider.ledger().entries().pop().unwrap()
}

fn values<'a>(entry: &'a Entry, name: &str) -> Vec<&'a [u8]> {
    entry
        .headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect()
}

// F1, F11: base_url's path takes the place of /v1
#[test]
fn method_query_header_values_and_body_reach_the_provider_unchanged() {
    let provider = Provider::start(Options::default()).unwrap();
    let mut setup = Setup::new("openai", &["a"]);
    setup.provider = r#"allow_paths = ["PUT /v1/files/*"]"#.into();
    let authpool = setup.start_at(&format!("http://{}/openai/v3", provider.addr()));
    let body: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let mut request = format!(
        "PUT /v1/files/a%20b?b=2&a=1&b=%2F..%2f&empty= HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {CLIENT_KEY}\r\n\
         X-Order: first\r\nX-Other: 1\r\nx-order: second, third\r\nX-ORDER: fourth\r\nContent-Type: application/x-odd; q=\"1\"\r\n\
         Accept-Encoding: br;q=0.5, gzip\r\nUser-Agent: agent/1 (x; y)\r\nOpenAI-Beta: assistants=v2\r\nX-Latin: ",
        authpool.addr
    )
    .into_bytes();
    request.extend_from_slice(b"caf\xe9\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n");
    request.extend_from_slice(&body);
    let answer = exchange(authpool.addr, &request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let entry = last(&provider);
    assert_eq!(entry.method.as_str(), "PUT");
    assert_eq!(
        entry.path,
        "/openai/v3/files/a%20b?b=2&a=1&b=%2F..%2f&empty="
    );
    assert_eq!(entry.body, body);
    let order: [&[u8]; 3] = [b"first", b"second, third", b"fourth"];
    assert_eq!(values(&entry, "x-order"), order);
    assert_eq!(values(&entry, "x-latin"), [b"caf\xe9"]);
    assert_eq!(
        values(&entry, "content-type"),
        [b"application/x-odd; q=\"1\""]
    );
    assert_eq!(values(&entry, "accept-encoding"), [b"br;q=0.5, gzip"]);
    assert_eq!(values(&entry, "user-agent"), [b"agent/1 (x; y)"]);
    assert_eq!(values(&entry, "openai-beta"), [b"assistants=v2"]);
    assert_eq!(values(&entry, "content-length"), [b"10000"]);
    assert_eq!(
        values(&entry, "host"),
        [provider.addr().to_string().as_bytes()]
    );
    assert_eq!(values(&entry, "authorization"), [b"Bearer cred-a"]);
}

// F1: metered endpoints ask for an answer that can be read
#[test]
fn accept_encoding_is_identity_on_metered_endpoints_and_the_clients_elsewhere() {
    let provider = Provider::start(Options::default()).unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let anthropic = Setup::new("anthropic", &["a"]).start(provider.addr());
    let check = |addr, path: &str, body: &str, sent: &[&str], expected: &[&str]| {
        let ask = Ask::post(path, body);
        let ask = sent
            .iter()
            .fold(ask, |ask, value| ask.header("accept-encoding", value));
        assert_eq!(ask.send(addr).status, 200, "{path}");
        let entry = last(&provider);
        let expected: Vec<_> = expected.iter().map(|value| value.as_bytes()).collect();
        assert_eq!(values(&entry, "accept-encoding"), expected, "{path}");
    };
    let metered = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
    ];
    for path in metered {
        let body = r#"{"model":"m","input":"x"}"#;
        check(
            authpool.addr,
            path,
            body,
            &["gzip, br", "zstd"],
            &["identity"],
        );
        check(authpool.addr, path, body, &[], &["identity"]);
    }
    let body = message("m", false);
    check(
        anthropic.addr,
        "/v1/messages",
        &body,
        &["gzip"],
        &["identity"],
    );
    check(
        anthropic.addr,
        "/v1/messages/count_tokens",
        &body,
        &["gzip"],
        &["gzip"],
    );
    check(
        authpool.addr,
        "/v1/moderations",
        "{}",
        &["gzip", "br"],
        &["gzip", "br"],
    );
    check(authpool.addr, "/v1/moderations", "{}", &[], &[]);
}

// F1: hop-by-hop, K3: what `connection` names cannot strip what authpool sets
#[test]
fn hop_by_hop_headers_end_at_authpool() {
    let provider = Provider::start(Options::default()).unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let request = format!(
        "POST /v1/moderations HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {CLIENT_KEY}\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
         Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nTrailer: x-sum\r\nUpgrade: odd\r\n\
         X-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Sum: 7\r\n\r\n",
        authpool.addr
    );
    let answer = exchange(authpool.addr, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let entry = last(&provider);
    assert_eq!(entry.body, b"{}".as_slice());
    for name in [
        "x-hop",
        "keep-alive",
        "te",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "trailer",
        "x-sum",
    ] {
        assert!(values(&entry, name).is_empty(), "{name} arrived");
    }
    let connection = values(&entry, "connection");
    assert!(
        connection
            .iter()
            .all(|value| value.eq_ignore_ascii_case(b"keep-alive")),
        "{connection:?}"
    );
    assert_eq!(values(&entry, "x-end"), [b"2"]);
    assert_eq!(values(&entry, "authorization"), [b"Bearer cred-a"]);
    let naming = Ask::get("/v1/models").header("connection", "authorization");
    assert_eq!(naming.send(authpool.addr).status, 400);
    assert_eq!(provider.ledger().count("cred-a"), 1);
}

// K7, F1, F9
#[test]
fn headers_that_choose_identity_server_or_method_do_not_reach_the_provider() {
    let provider = Provider::start(Options::default()).unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let mine = [
        "openai-organization",
        "openai-project",
        "cookie",
        "cookie2",
        // client certificates
        "ssl-client-cert",
        "x-ssl-client-cert",
        "x-client-cert",
        "client-cert",
        "x-forwarded-client-cert",
        "x-arr-clientcert",
        // our own
        "x-authpool-session",
        "x-authpool-unheard-of",
        "x-authpool-subscription",
        // servers and base URLs of other gateways
        "x-portkey-custom-host",
        "x-portkey-virtual-key",
        "helicone-target-url",
        "helicone-openai-api-base",
        "x-litellm-api-base",
        // host, URL and method overrides
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-host",
        "x-host",
        "x-original-host",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        // forwarding
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-anything",
        "x-real-ip",
        // underscores
        "openai_organization",
        "x_custom",
        // other places for a key
        "x-api-key",
        "api-key",
        "x-goog-api-key",
    ];
    let ask = mine
        .iter()
        .filter(|name| **name != "x-authpool-subscription")
        .fold(Ask::post("/v1/moderations", "{}"), |ask, name| {
            let key = matches!(*name, "x-api-key" | "api-key" | "x-goog-api-key");
            ask.header(
                name,
                if key {
                    CLIENT_KEY
                } else {
                    "https://evil.example"
                },
            )
        })
        .header("x-anything-else", "passes");
    let answer = ask.send(authpool.addr);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let entry = last(&provider);
    let arrived: Vec<&str> = mine
        .into_iter()
        .filter(|name| entry.headers.contains_key(*name))
        .collect();
    assert_eq!(arrived, [""; 0], "these arrived");
    assert_eq!(values(&entry, "x-anything-else"), [b"passes"]);
}

// K7: an operator may let named ones through
#[test]
fn pass_headers_let_named_headers_through_and_no_others() {
    let provider = Provider::start(Options::default()).unwrap();
    let mut setup = Setup::new("openai", &["a"]);
    setup.provider = r#"pass_headers = ["openai-project", "x_trace"]"#.into();
    let authpool = setup.start(provider.addr());
    let ask = Ask::post("/v1/moderations", "{}")
        .header("OpenAI-Project", "proj_1")
        .header("openai-organization", "org_1")
        .header("x_trace", "7")
        .header("x_other", "8");
    assert_eq!(ask.send(authpool.addr).status, 200);
    let entry = last(&provider);
    assert_eq!(values(&entry, "openai-project"), [b"proj_1"]);
    assert_eq!(values(&entry, "x_trace"), [b"7"]);
    assert!(!entry.headers.contains_key("openai-organization"));
    assert!(!entry.headers.contains_key("x_other"));
}

// K7: keys in the query never go on
#[test]
fn a_key_in_the_query_counts_for_nothing_and_never_goes_on() {
    let provider = Provider::start(Options::default()).unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let path = format!("/v1/models?key={CLIENT_KEY}&limit=5");
    assert_eq!(
        Ask::get(&path)
            .without("authorization")
            .send(authpool.addr)
            .status,
        401
    );
    assert_eq!(Ask::get(&path).send(authpool.addr).status, 200);
    let entry = last(&provider);
    assert!(!entry.path.contains(CLIENT_KEY), "{}", entry.path);
    assert!(entry.path.contains("limit=5"), "{}", entry.path);
}

// F1, D9, K4
#[test]
fn an_answer_passes_unchanged_but_for_what_is_the_credentials_own() {
    let body = "\u{0}odd\u{ff} body";
    let kept = "x-one: 1\r\nx-one: 2\r\nserver: provider\r\netag: \"e\"\r\ncontent-type: application/x-odd\r\n\
         x-request-id: req_9\r\nopenai-processing-ms: 12\r\ncontent-language: de\r\nx-latin: caf\u{e9}\r\n";
    let taken = "set-cookie: a=b\r\nalt-svc: h3=\":443\"\r\nopenai-organization: org-secret\r\n\
         openai-project: proj-secret\r\nanthropic-organization-id: org-secret\r\n\
         x-ratelimit-limit-requests: 5\r\nx-ratelimit-remaining-tokens: 7\r\nx-ratelimit-reset-requests: 1s\r\n\
         anthropic-ratelimit-requests-limit: 9\r\nanthropic-ratelimit-unified-status: allowed\r\n\
         x-authpool-anything: 1\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=3\r\n";
    let provider = saying(b"");
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    for status in [200, 207, 299, 400, 409, 418, 422] {
        let raw = format!(
            "HTTP/1.1 {status} Odd\r\n{kept}{taken}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        say(&provider, raw.as_bytes());
        let answer = Ask::post("/v1/moderations", "{}").send(authpool.addr);
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, body.as_bytes());
        let ones: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "x-one")
            .collect();
        assert_eq!(
            ones.iter()
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>(),
            ["1", "2"]
        );
        for line in kept.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let came = answer.headers.iter().any(|(n, v)| n == name && v == value);
            assert!(came, "{status}: {line} is missing: {:?}", answer.headers);
        }
        for line in taken.lines() {
            let name = line.split_once(": ").unwrap().0;
            assert!(
                name == "connection" || answer.header(name).is_none(),
                "{status}: {name} came"
            );
        }
    }
    assert_eq!(
        provider.ledger().count("cred-a"),
        7,
        "nothing of it is tried again"
    );
}

// F1: answer trailers pass, 1xx answers are dropped
#[test]
fn trailers_of_an_answer_pass_and_early_hints_do_not() {
    let provider = saying(
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
          trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 77\r\n\r\n",
    );
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let request = format!(
        "POST /v1/moderations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\nTE: trailers\r\n\
         Connection: close, TE\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let answer = exchange(authpool.addr, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("link:"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(lower.contains("hello"), "{answer}");
    assert!(lower.ends_with("0\r\nx-sum: 77\r\n\r\n"), "{answer}");
    assert_told_as_whole(&authpool, 1);
    let idle = [("provider", "provider"), ("state", "idle")];
    let kept = authpool.series("authpool_upstream_connections", &idle);
    assert_eq!(kept, 1.0, "trailers are an end: the connection is kept");
}

/// O9: so many requests were told, none as one that its client left.
#[track_caller]
fn assert_told_as_whole(authpool: &Authpool, requests: usize) {
    eventually("all are told", || {
        authpool.log().matches("msg=request").count() == requests
    });
    let log = authpool.log();
    assert_eq!(log.matches("aborted=false").count(), requests, "{log}");
}

// F1, C9: answers without a body, and redirects, are the provider's own and are never followed
#[test]
fn answers_without_a_body_and_redirects_pass_as_they_are() {
    let provider = Provider::start(Options::default()).unwrap();
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let get = Ask::get("/v1/models").send(authpool.addr);
    let head = Ask::get("/v1/models").method("HEAD").send(authpool.addr);
    assert_eq!((get.status, head.status, head.body.len()), (200, 200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(last(&provider).method.as_str(), "HEAD");
    for (status, extra) in [(204, ""), (304, "etag: \"e\"\r\n")] {
        say(
            &provider,
            format!("HTTP/1.1 {status} X\r\n{extra}\r\n").as_bytes(),
        );
        let answer = Ask::get("/v1/models").send(authpool.addr);
        assert_eq!((answer.status, answer.body.len()), (status, 0));
        assert_eq!(answer.header("etag"), (status == 304).then_some("\"e\""));
    }
    assert_told_as_whole(&authpool, 4);
    let before = provider.ledger().count("cred-a");
    let codes = [301, 302, 303, 307, 308];
    for status in codes {
        let location = format!("http://{}/elsewhere", provider.addr());
        let raw =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 4\r\n\r\nmove");
        say(&provider, raw.as_bytes());
        let answer = Ask::post("/v1/chat/completions", chat("m", false)).send(authpool.addr);
        assert_eq!((answer.status, answer.text().as_str()), (status, "move"));
        assert_eq!(answer.header("location"), Some(location.as_str()));
    }
    assert_eq!(provider.ledger().count("cred-a"), before + codes.len());
    assert_eq!(provider.ledger().count(""), 0, "nobody followed");
}

// F1, U1: a compressed answer passes unchanged and its usage is counted all the same
#[test]
fn an_answer_compressed_against_our_word_passes_unchanged_and_is_counted() {
    let plain = Provider::start(Options::default()).unwrap();
    let ask = |stream| Ask::post("/v1/chat/completions", chat("gpt-x", stream));
    let direct = |stream| {
        let direct = ask(stream)
            .without("authorization")
            .header("x-api-key", "k");
        direct.send(plain.addr()).body
    };
    let provider = saying(b"");
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    for (stream, kind, times) in [
        (false, "application/json", 1.0),
        (true, "text/event-stream", 2.0),
    ] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&direct(stream)).unwrap();
        let gzip = encoder.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            gzip.len()
        );
        say(&provider, &[head.as_bytes(), &gzip].concat());
        let answer = ask(stream).send(authpool.addr);
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (200, Some("gzip"))
        );
        assert_eq!(answer.body, gzip);
        eventually("its 16 tokens are counted", || {
            authpool.series("authpool_tokens_total", &[("kind", "output")]) == 16.0 * times
        });
    }
    assert_eq!(authpool.metric("authpool_usage_unknown_total"), 0.0);
}
