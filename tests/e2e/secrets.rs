//! K4: canaries as credentials, keys, prompts, headers and queries, driven through every way a request can fail at
//! the loudest log level. No output may show one, in any of the forms a secret is known to leak in.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use authpool::scripted::{Options, Provider};

use super::canaries::assert_silent;
use super::support::client::{Answer, Ask, get_text};
use super::support::{Setup, command, eventually};

/// Each with what base64 and a URL would change, and long enough that no chance makes it.
const CREDENTIALS: [(&str, &str); 3] = [
    ("a", "sk-canary+a/Zq7=wXk93vLmT0aPd5+e"),
    ("b", "sk-canary+b/Hn2=yRf84uKsQ1bGc6+e"),
    ("c", "sk-canary+c/Vt5=jWd71oNxB2cMh9+e"),
];
const NEW_CREDENTIAL: &str = "sk-canary+n/Js8=pLq60zYvC3dEk4+e";
const KEY: &str = "ck-canary+k/Bw4=rTg52iFmU6eSn7+e";
const WRONG_KEY: &str = "ck-canary+w/Dx9=hQz17lAkI8fYp3+e";
const PROMPT: &str = "Canary prompt+p/Oe3=tCj68mXbR5gLw2 end";
const HEADER: &str = "hd-canary+h/Un6=sVy39kPqE7hZd1+e";
const QUERY: &str = "qu-canary_q.Ig1-aMr45xTfW9iKo8_e";
const OURS: [&str; 8] = [
    CREDENTIALS[0].1,
    CREDENTIALS[1].1,
    CREDENTIALS[2].1,
    NEW_CREDENTIAL,
    KEY,
    WRONG_KEY,
    HEADER,
    QUERY,
];

/// The binary with both its outputs kept whole.
struct Loud {
    child: Child,
    outputs: Vec<JoinHandle<()>>,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Loud {
    fn start(setup: &Setup, text: &str, folder: &std::path::Path) -> Self {
        let config = folder.join("authpool.toml");
        std::fs::write(&config, text).unwrap();
        let mut child = command()
            .args(["serve", "--config"])
            .arg(&config)
            .envs(setup.variables())
            .env("CLIENT_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let pipes: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        let outputs = pipes.into_iter().map(|pipe| {
            let seen = std::sync::Arc::clone(&seen);
            std::thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = pipe.read(&mut piece) {
                    seen.lock().unwrap().extend(&piece[..read]);
                }
            })
        });
        let outputs = outputs.collect();
        Self {
            child,
            outputs,
            seen,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// An address that it told, in text or JSON.
    fn address(&self, admin: bool) -> SocketAddr {
        let mut found = None;
        eventually("it listens", || {
            let text = self.text();
            let mut lines = text.lines().filter(|line| line.contains("listening"));
            let line = lines.find(|line| line.contains("admin listening") == admin);
            found = line.filter(|_| text.ends_with('\n')).and_then(|line| {
                let rest = line.split("127.0.0.1:").nth(1)?;
                let digits = rest.split(|next: char| !next.is_ascii_digit()).next()?;
                digits.parse().ok()
            });
            found.is_some()
        });
        SocketAddr::from(([127, 0, 0, 1], found.unwrap()))
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let kill = kill.args(["-s", name, &self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    /// Ends it by a drain, and returns all that it wrote.
    fn end(mut self) -> String {
        self.signal("TERM");
        for output in self.outputs.drain(..) {
            output.join().unwrap();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.text()
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn body(model: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":16,"messages":[{{"role":"user","content":"{PROMPT}"}}],
        "metadata":{{"user_id":"{PROMPT}"}}}}"#
    )
}

/// With canaries wherever a client can put one.
fn ask(dialect: &str, body: String) -> Ask {
    let path = if dialect == "anthropic" {
        "/v1/messages"
    } else {
        "/v1/chat/completions"
    };
    Ask::post(&format!("{path}?key={QUERY}&q={QUERY}"), body)
        .without("authorization")
        .header("authorization", &format!("Bearer {KEY}"))
        .header("x-note", HEADER)
        .header("cookie", &format!("session={HEADER}"))
        .header("openai-organization", HEADER)
        .header("x-authpool-session", HEADER)
        .header("user-agent", HEADER)
}

/// What the provider is told to do, each to every key. `echo` stands for the key: providers do
/// name the key that they refuse.
fn faults() -> Vec<String> {
    let mut faults: Vec<String> = [
        r#"{"fault":"reset_before"}"#,
        r#"{"fault":"reset_after_request"}"#,
        r#"{"fault":"reset_within"}"#,
        r#"{"fault":"reset_after_head","events":2}"#,
        r#"{"fault":"cut_stream","events":3}"#,
        r#"{"fault":"error_event_first"}"#,
        r#"{"fault":"error_event_first","error":"overloaded"}"#,
        r#"{"fault":"error_event_later","events":2}"#,
        r#"{"fault":"html_403"}"#,
        r#"{"fault":"hang"}"#,
        r#"{"fault":"early_429","retry_after_ms":20}"#,
        r#"{"status":500,"headers":{},"body":"oh"}"#,
        r#"{"status":503,"headers":{"retry-after":"0"},"body":"{}"}"#,
        r#"{"status":429,"headers":{"retry-after":"1"},"body":"{}"}"#,
        r#"{"status":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"message\":\"no\"}}"}"#,
        r#"{"raw":"HTTP/1.1 abc\r\n\r\n","then":"close"}"#,
        r#"{"raw":"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n","then":"close"}"#,
        r#"{"raw":"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope","then":"close"}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    faults.push(
        r#"{"raw":"HTTP/1.1 200 OK\r\nx-bad\u0001: echo\r\nx-key: echo\r\n\r\n","then":"close"}"#
            .into(),
    );
    faults.push(
        r#"{"status":401,"headers":{"content-type":"application/json","x-key":"echo","www-authenticate":"Bearer echo"},
        "body":"{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"code\":\"invalid_api_key\",\"message\":\"Incorrect API key provided: echo\"}}"}"#
            .into(),
    );
    faults
}

fn credentials() -> impl Iterator<Item = &'static str> {
    CREDENTIALS.into_iter().map(|(_, credential)| credential)
}

/// An answer of ours shows nothing; one of the provider's may show what it was told, but no key.
#[track_caller]
fn assert_answer(answer: &Answer) {
    let head = format!("{:?}", answer.headers);
    assert_silent("the head of an answer", &head, &OURS);
    let text = answer.text();
    assert_silent("an answer", &text, &OURS);
    if answer.header("x-authpool-code").is_some() {
        assert_silent("an answer of ours", &text, &[PROMPT]);
    }
}

/// Each of the provider's faults, streamed and not, before a process that has seen none: what one fault teaches
/// would keep the next from being met.
fn drive_the_provider(dialect: &'static str, format: &str) {
    for fault in faults() {
        for stream in [true, false] {
            let provider = Provider::start(Options::default()).unwrap();
            for credential in credentials() {
                let told = fault.replace("echo", credential);
                let rule = format!(r#"{{"match":{{"credential":"{credential}"}},"do":{told}}}"#);
                provider.script().push_json(&rule).unwrap();
            }
            let (setup, folder) = (setup(dialect, format), tempfile::tempdir().unwrap());
            let text = setup.text(&setup.base_url(provider.addr()));
            let authpool = Loud::start(&setup, &text, folder.path());
            if let Ok(answer) = ask(dialect, body("m", stream)).try_send(authpool.address(false)) {
                assert_answer(&answer);
            }
            let met = provider.ledger().entries();
            let met = met.first().expect("the provider was asked");
            assert_ne!(met.action, "serve", "{fault}");
            assert!(credentials().any(|known| known == met.credential));
            let metrics = get_text(authpool.address(true), "/metrics");
            assert_silent("/metrics", &metrics, &all());
            assert_silent(&fault, &authpool.end(), &all());
        }
    }
}

fn all() -> Vec<&'static str> {
    OURS.into_iter().chain([PROMPT]).collect()
}

/// Loud, and quick to give up.
fn setup(dialect: &'static str, format: &str) -> Setup {
    let mut setup = Setup::new(dialect, &["a", "b", "c"]);
    for (subscription, (_, credential)) in setup.subscriptions.iter_mut().zip(CREDENTIALS) {
        subscription.1 = credential.into();
        subscription.2 = "deny_models = [\"denied\"]".into();
    }
    setup.server = format!(
        "drain = \"2s\"\nbody_limit = \"1MiB\"\nexpose = [\"subscription\"]\n\
         log = {{ level = \"trace\", format = {format:?} }}"
    );
    setup.provider = "first_byte = \"1s\"\nconnect = \"1s\"".into();
    setup.pool = "max_wait = \"0s\"".into();
    setup
}

/// Each of a client's own faults.
fn drive_the_client(dialect: &str, addr: SocketAddr) {
    let good = || ask(dialect, body("m", false));
    let path = format!("/nowhere?q={QUERY}");
    let twice = body("m", false).replacen('{', "{\"model\":\"n\",", 1);
    let broken = body("m", false).replace("]", "");
    let asks = [
        good().without("authorization"),
        good()
            .without("authorization")
            .header("authorization", &format!("Bearer {WRONG_KEY}")),
        good().header("x-api-key", WRONG_KEY),
        Ask::post(&path, PROMPT)
            .header("x-api-key", KEY)
            .without("authorization"),
        good().method("DELETE"),
        good().header("x-authpool-max-wait", HEADER),
        good().header("x-authpool-estimated-tokens", HEADER),
        good().header("x-padding", &HEADER.repeat(2500)),
        good().header("content-length", "7"),
        good().header("transfer-encoding", "chunked"),
        good().header("x_underscored", HEADER),
        good().header("upgrade", HEADER),
        ask(dialect, twice),
        ask(dialect, broken),
        ask(
            dialect,
            format!(
                "{{\"model\":\"m\",\"input\":\"{}\"}}",
                PROMPT.repeat(40_000)
            ),
        ),
        ask(dialect, body("denied", false)),
        ask(dialect, PROMPT.to_owned()),
    ];
    for ask in asks {
        if let Ok(answer) = ask.try_send(addr) {
            assert_answer(&answer);
        }
    }
    // What is no HTTP at all, a head that stays half, and a client that leaves in the middle of a stream.
    let raw = [
        format!("{KEY} {PROMPT}\r\n\r\n"),
        format!("GET /{QUERY} HTTP/1.1\r\nhost: x\r\n{HEADER}\r\n\r\n"),
        format!(
            "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nx: \u{1}{HEADER}\r\n\r\n"
        ),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{KEY}{PROMPT}{HEADER}"),
        format!("POST /v1/messages?{QUERY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}"),
    ];
    for bytes in raw {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.write_all(bytes.as_bytes()).unwrap();
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        let _ = socket.read_to_end(&mut text);
        assert_silent("an answer", &String::from_utf8_lossy(&text), &all());
    }
    let mut open = ask(dialect, body("m", true)).open(addr).unwrap();
    let _ = open.read_head();
    drop(open);
}

/// A request by HTTP/2: its frames pass through other libraries, with logs of their own.
fn drive_http2(dialect: &str, addr: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let path = if dialect == "anthropic" {
        "/v1/messages"
    } else {
        "/v1/chat/completions"
    };
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, io);
        let (mut sender, connection) = handshake.await.unwrap();
        let client = async {
            for key in [KEY, WRONG_KEY] {
                let request = hyper::Request::post(format!("http://{addr}{path}?q={QUERY}"))
                    .header("authorization", format!("Bearer {key}"))
                    .header("x-note", HEADER)
                    .body(http_body_util::Full::new(bytes::Bytes::from(body(
                        "m", false,
                    ))))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let head = format!("{:?}", answer.headers());
                assert_silent("the head of an answer", &head, &OURS);
            }
            drop(sender);
        };
        let ((), _) = tokio::join!(client, connection);
    });
}

/// Rewrites a key, then files that cannot be taken, with canaries where a hasty operator would put them.
fn drive_reloads(authpool: &Loud, folder: &std::path::Path, text: &str) {
    let config = folder.join("authpool.toml");
    let inline = format!("\"{NEW_CREDENTIAL}\"");
    let reference = "{ env = \"CRED_b\" }";
    let bad = [
        text.replace(reference, &inline),
        text.replace(reference, &format!("{{ env = {inline} }}")),
        text.replace(reference, &format!("{{ file = {inline} }}")),
        text.replace(reference, &format!("{{ secret = {inline} }}")),
        text.replace(reference, &format!("{{ {inline} = 1 }}")),
        text.replace(reference, &format!("{reference} {NEW_CREDENTIAL}")),
        text.replace(reference, &format!("\"{NEW_CREDENTIAL}")),
        text.replace(
            "{ env = \"CLIENT_KEY\" }",
            &format!("{{ sha256 = {inline} }}"),
        ),
        text.replace(
            "http://127.0.0.1",
            &format!("http://u:{NEW_CREDENTIAL}@127.0.0.1"),
        ),
        text.replace(
            "http://127.0.0.1",
            &format!("http://127.0.0.1/{NEW_CREDENTIAL}?{QUERY}#"),
        ),
        text.replace(reference, &format!("{reference}\nmodels = [{inline}, 7]")),
    ];
    for (bad, refused) in bad.into_iter().zip(1..) {
        assert_ne!(bad, text);
        std::fs::write(&config, bad).unwrap();
        authpool.signal("HUP");
        eventually("the reload is refused", || {
            authpool.text().matches("reload refused").count() == refused
        });
    }
    std::fs::write(folder.join("key-a"), NEW_CREDENTIAL).unwrap();
    std::fs::write(&config, text).unwrap();
    authpool.signal("HUP");
    eventually("the new key is taken", || {
        authpool.text().contains("reloaded")
    });
}

fn drive(dialect: &'static str, format: &str) {
    let provider = Provider::start(Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key-a");
    std::fs::write(&key, CREDENTIALS[0].1).unwrap();
    let setup = setup(dialect, format);
    let text = setup
        .text(&setup.base_url(provider.addr()))
        .replace("{ env = \"CRED_a\" }", &format!("{{ file = {key:?} }}"));
    let authpool = Loud::start(&setup, &text, folder.path());
    let (addr, admin) = (authpool.address(false), authpool.address(true));

    let served = ask(dialect, body("m", true)).send(addr);
    assert_eq!(served.status, 200, "{}", served.text());
    let entries = provider.ledger().entries();
    let used = &entries.last().unwrap().credential;
    assert!(
        credentials().any(|known| known == used),
        "a canary is in use"
    );
    drive_the_client(dialect, addr);
    drive_http2(dialect, addr);
    drive_reloads(&authpool, folder.path(), &text);
    provider.stop();
    // Connections are refused from here on.
    for stream in [true, false] {
        assert_answer(&ask(dialect, body("m", stream)).send(addr));
    }
    let metrics = Ask::get(&format!("/metrics?q={QUERY}")).header("x-note", HEADER);
    let metrics = metrics.header("authorization", KEY).send(admin).text();
    let output = authpool.end();
    assert!(metrics.contains("authpool_refusals_total"));
    assert_silent("/metrics", &metrics, &all());
    // It did say much: the libraries below were heard too.
    for heard in ["TRACE", "msg", "request_id", "reload refused"] {
        assert!(output.contains(heard), "{heard} was not heard");
    }
    assert_silent("the log", &output, &all());
}

// Acceptance 12, K4
#[test]
fn no_canary_shows_in_any_output_at_trace_as_text() {
    drive("openai", "text");
    drive_the_provider("openai", "text");
}

// Acceptance 12, K4
#[test]
fn no_canary_shows_in_any_output_at_trace_as_json() {
    drive("anthropic", "json");
    drive_the_provider("anthropic", "json");
}
