//! Bodies of both directions: F3's pieces and back-pressure, F5's limits, F2's other version.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use authpool::scripted::{Action, Match, Options, Provider, Raw, Rule, Then};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::support::client::{Ask, Open, chat, exchange, message};
use super::support::{CLIENT_KEY, PATIENCE, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";

fn provider() -> Provider {
    Provider::start(Options::default()).unwrap()
}

/// A chat body of so many bytes.
fn sized(model: &str, bytes: usize) -> String {
    let bare = chat(model, false).replace("hello", "").len();
    chat(model, false).replace("hello", &"x".repeat(bytes - bare))
}

fn chunked(path: &str, key: &str, body: &str) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.as_bytes().chunks(8_192) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

// F3: one read to one write; nothing is merged
#[test]
fn pieces_of_an_answer_arrive_one_by_one_as_they_were_sent() {
    let provider = provider();
    let piece = b"9\r\naudio...\n\r\n";
    // The provider writes so many bytes at a time, so the head is made to end with such a write.
    let mut head =
        "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\nx-pad: "
            .to_owned();
    while !(head.len() + 4).is_multiple_of(piece.len()) {
        head.push('p');
    }
    head.push_str("\r\n\r\n");
    let mut bytes = head.into_bytes();
    for _ in 0..8 {
        bytes.extend_from_slice(piece);
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    provider.script().push(Rule {
        matches: Match::default(),
        times: None,
        chance: None,
        delay: Duration::ZERO,
        action: Action::Raw(Raw {
            bytes,
            repeat: Some(1),
            piece: piece.len(),
            gap_ms: 40,
            then: Then::Keep,
        }),
    });
    let authpool = Setup::new("openai", &["a"]).start(provider.addr());
    let mut open = Ask::post("/v1/audio/speech", "{}")
        .open(authpool.addr)
        .unwrap();
    assert_eq!(open.read_head().unwrap(), 200);
    let mut pieces = Vec::new();
    while let Some(piece) = open.chunk().unwrap() {
        pieces.push(piece);
    }
    assert_eq!(pieces.len(), 8, "as many as were sent");
    assert!(pieces.iter().all(|(piece, _)| piece == b"audio...\n"));
    let spread = pieces[7].1 - pieces[0].1;
    assert!(
        spread >= Duration::from_millis(150),
        "they came together, within {spread:?}"
    );
}

// F3: back-pressure reaches the provider
#[test]
fn a_client_that_does_not_read_stops_the_provider() {
    const BOUND: usize = 256 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let provider = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = [0; 4_096];
        let _ = socket.read(&mut head).unwrap();
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n\r\n")
            .unwrap();
        // A write that makes no way for so long has met back-pressure.
        socket
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let block = vec![7; 256 * 1_024];
        let mut written = 0;
        while written < BOUND {
            match socket.write(&block) {
                Ok(bytes) => written += bytes,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        written
    });
    let authpool = Setup::new("openai", &["a"]).start_at(&format!("http://{addr}/v1"));
    let before = authpool.resident();
    let mut open = Ask::post("/v1/audio/speech", "{}")
        .open(authpool.addr)
        .unwrap();
    assert_eq!(open.read_head().unwrap(), 200);
    let written = provider.join().unwrap();
    // What the kernel's buffers of four sockets hold at most, with room.
    assert!(written < 64 << 20, "{written} bytes were read ahead");
    let grown = authpool.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more in memory");
}

// F5, F7
#[test]
fn a_body_over_the_limit_is_413_with_and_without_a_length() {
    let provider = provider();
    for dialect in ["openai", "anthropic"] {
        let mut setup = Setup::new(dialect, &["a"]);
        setup.server = "body_limit = \"64KiB\"".into();
        let authpool = setup.start(provider.addr());
        let path = if dialect == "openai" {
            CHAT
        } else {
            "/v1/messages"
        };
        let at = sized("m", 64 * 1_024);
        assert_eq!(
            Ask::post(path, at.clone()).send(authpool.addr).status,
            200,
            "at the limit"
        );
        let mut open = Open::with(authpool.addr, &chunked(path, CLIENT_KEY, &at)).unwrap();
        assert_eq!(open.read_head().unwrap(), 200, "at the limit, in chunks");
        let before = provider.ledger().count("cred-a");
        let over = sized("m", 64 * 1_024 + 1);
        let mut open = Open::with(authpool.addr, &chunked(path, CLIENT_KEY, &over)).unwrap();
        open.read_head().unwrap();
        for answer in [
            Ask::post(path, over).send(authpool.addr),
            open.finish(false),
        ] {
            assert_eq!(answer.status, 413, "{}", answer.text());
            assert_eq!(answer.header("x-authpool-code"), Some("invalid_request"));
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
            assert_eq!(answer.json()["type"] == "error", dialect == "anthropic");
        }
        assert_eq!(
            provider.ledger().count("cred-a"),
            before,
            "none of it reaches the provider"
        );
    }
}

// F5, F7: who is refused reads why, however much he was about to send
#[test]
fn a_refused_client_with_a_big_body_still_reads_his_status() {
    let provider = provider();
    let mut setup = Setup::new("openai", &["a"]);
    setup.server = "body_limit = \"64KiB\"".into();
    let authpool = setup.start(provider.addr());
    let big = "x".repeat(4 << 20);
    for (key, status) in [("wrong-key-0123456789abcdef", 401), (CLIENT_KEY, 413)] {
        let length = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{big}",
            big.len()
        );
        for bytes in [length.into_bytes(), chunked(CHAT, key, &big)] {
            // All of it is written before a byte is read, as simple clients do.
            let mut open = Open::with(authpool.addr, &bytes).unwrap();
            assert_eq!(open.read_head().unwrap(), status);
            assert!(open.finish(false).whole);
        }
    }
    assert!(provider.ledger().entries().is_empty());
}

// F5, F7, K1: before the body is polled
#[test]
fn a_refused_client_that_expects_100_gets_none_and_an_admitted_one_does() {
    let provider = provider();
    let mut setup = Setup::new("openai", &["a"]);
    setup.server = "body_limit = \"64KiB\"".into();
    let authpool = setup.start(provider.addr());
    let head = |path: &str, key: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n\
             Connection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    for (path, key, length, status) in [
        (CHAT, "wrong-key-0123456789abcdef", 100, 401),
        (CHAT, CLIENT_KEY, 100_000, 413),
        ("/v1/nothing", CLIENT_KEY, 100, 403),
    ] {
        let answer = exchange(authpool.addr, head(path, key, length).as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let body = chat("m", false);
    let mut open =
        Open::with(authpool.addr, head(CHAT, CLIENT_KEY, body.len()).as_bytes()).unwrap();
    let mut first = [0; 25];
    open.socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    open.socket.write_all(body.as_bytes()).unwrap();
    assert_eq!(open.read_head().unwrap(), 200);
    assert!(
        !provider.ledger().entries()[0]
            .headers
            .contains_key("expect")
    );
}

// F5: body_memory, of a body not begun and of one half read
#[test]
fn when_the_memory_for_bodies_is_full_further_ones_are_503_queue_full() {
    let provider = provider();
    let hang = r#"{"match":{"model":"hang"},"do":{"fault":"hang"}}"#;
    provider.script().push_json(hang).unwrap();
    let mut setup = Setup::new("openai", &["a"]);
    setup.server = "body_limit = \"128KiB\"\nbody_memory = \"128KiB\"".into();
    let authpool = setup.start(provider.addr());
    let full = |answer: &super::support::client::Answer| {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("x-authpool-code"), Some("queue_full"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json()["error"]["type"], "server_error");
    };
    let arrived = |count| {
        provider.ledger().wait_until(
            |entries| entries.iter().filter(|entry| entry.body_whole).count() == count,
            PATIENCE,
        )
    };
    let half = Ask::post(CHAT, sized("hang", 64 * 1_024))
        .open(authpool.addr)
        .unwrap();
    assert!(arrived(1));
    // half read: no room for the rest
    let start = Instant::now();
    full(&Ask::post(CHAT, sized("m", 100 * 1_024)).send(authpool.addr));
    assert!(start.elapsed() < Duration::from_secs(20));
    // not begun: there is no room at all
    let rest = Ask::post(CHAT, sized("hang", 64 * 1_024))
        .open(authpool.addr)
        .unwrap();
    assert!(arrived(2));
    let start = Instant::now();
    full(&Ask::post(CHAT, chat("m", false)).send(authpool.addr));
    assert!(
        start.elapsed() >= Duration::from_millis(4_500),
        "{:?}",
        start.elapsed()
    );
    // one that waits goes on when there is room
    let waiting = Ask::post(CHAT, chat("m", false))
        .open(authpool.addr)
        .unwrap();
    drop(half);
    let mut waiting = waiting;
    assert_eq!(waiting.read_head().unwrap(), 200);
    drop(rest);
    eventually("all of it is free again", || {
        Ask::post(CHAT, sized("m", 128 * 1_024))
            .send(authpool.addr)
            .status
            == 200
    });
}

// F2, F1: HTTP/2 by prior knowledge, several requests on one connection
#[test]
fn a_client_of_http_2_by_prior_knowledge_is_served_like_any_other() {
    let provider = provider();
    let authpool = Setup::new("anthropic", &["a"]).start(provider.addr());
    let direct = |stream| {
        let ask = Ask::post("/v1/messages", message("m", stream)).without("authorization");
        ask.header("x-api-key", "k").send(provider.addr()).body
    };
    let expected = [direct(false), direct(true)];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(authpool.addr).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        let exchange =
            |method: &'static str, path: &'static str, key: &'static str, body: String| {
                let mut sender = sender.clone();
                let request = http::Request::builder()
                    .method(method)
                    .uri(format!("http://{}{path}", authpool.addr))
                    .header("x-api-key", key)
                    .body(Full::new(Bytes::from(body)))
                    .unwrap();
                async move {
                    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
                    (head, body.collect().await.unwrap().to_bytes())
                }
            };
        let work = async {
            let ((plain, plain_body), (stream, stream_body), (refused, _)) = tokio::join!(
                exchange(
                    "POST",
                    "/v1/messages?beta=true",
                    CLIENT_KEY,
                    message("m", false)
                ),
                exchange(
                    "POST",
                    "/v1/messages?beta=true",
                    CLIENT_KEY,
                    message("m", true)
                ),
                exchange(
                    "POST",
                    "/v1/messages",
                    "no-such-key-0123456789abcdef",
                    message("m", true)
                ),
            );
            assert_eq!(
                [
                    plain.status.as_u16(),
                    stream.status.as_u16(),
                    refused.status.as_u16()
                ],
                [200, 200, 401]
            );
            assert_eq!([plain_body.to_vec(), stream_body.to_vec()], expected);
            for head in [&plain, &stream, &refused] {
                assert!(head.headers.contains_key("x-authpool-request-id"));
                for name in ["connection", "transfer-encoding", "keep-alive"] {
                    assert!(!head.headers.contains_key(name), "{name}");
                }
            }
            let (head, _) = exchange("GET", "/v1/../x", CLIENT_KEY, String::new()).await;
            assert_eq!(head.status, 400);
            let (head, body) = exchange("HEAD", "/", CLIENT_KEY, String::new()).await;
            assert_eq!((head.status.as_u16(), body.len()), (200, 0));
        };
        tokio::select! {
            () = work => {}
            ended = connection => panic!("the connection ended: {ended:?}"),
        }
    });
    let entries = provider.ledger().entries();
    let through = entries.iter().filter(|entry| entry.credential == "cred-a");
    for entry in through.clone() {
        assert_eq!(entry.path, "/v1/messages?beta=true");
        assert_eq!(entry.headers["host"], provider.addr().to_string());
    }
    assert_eq!(through.count(), 2);
}
