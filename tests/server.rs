//! The server over real sockets: protocols, limits on slow clients, and how it stops.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::{Future, pending};
use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use authpool::clock::Clock;
use authpool::proxy::discard;
use authpool::server::{BoxError, Handler, Limits, SharedTls, TlsError, bind, serve, server_tls};
use authpool::tasks::Tasks;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

/// By path: what the tests ask for.
#[derive(Clone)]
struct Service(Arc<State>);

struct State {
    /// Requests and bodies that are under way.
    alive: AtomicUsize,
    /// The frames of the next `/stream`.
    frames: tokio::sync::Mutex<Option<mpsc::Receiver<Bytes>>>,
    tasks: Tasks,
}

struct Alive(Arc<State>);

impl Alive {
    fn new(state: &Arc<State>) -> Self {
        state.alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

enum Answer {
    Whole(Full<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
    Endless,
}

struct Counted {
    answer: Answer,
    _alive: Alive,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.answer {
            Answer::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Answer::Stream(frames) => frames.poll_recv(cx).map(|it| it.map(Frame::data).map(Ok)),
            Answer::Endless => Poll::Ready(Some(Ok(Frame::data(vec![b'x'; 65_536].into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.answer, Answer::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.answer {
            Answer::Whole(body) => body.size_hint(),
            _ => http_body::SizeHint::default(),
        }
    }
}

impl Handler for Service {
    type Body = Counted;

    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Counted> {
        let alive = Alive::new(&self.0);
        assert!(peer.ip().is_loopback());
        let version = request.version();
        let mut status = StatusCode::OK;
        let answer = match request.uri().path() {
            "/stream" => Answer::Stream(self.0.frames.lock().await.take().unwrap()),
            "/endless" => Answer::Endless,
            "/never" => pending().await,
            "/refuse" => {
                status = StatusCode::PAYLOAD_TOO_LARGE;
                discard(request.into_body(), false, &self.0.tasks);
                Answer::Whole("no".into())
            }
            _ => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Answer::Whole(format!("{version:?} {}", body.len()).into())
            }
        };
        let mut response = Response::new(Counted {
            answer,
            _alive: alive,
        });
        *response.status_mut() = status;
        response
    }
}

/// A server on a port of its own.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Tasks,
    state: Arc<State>,
}

fn limits() -> Limits {
    Limits::new(Arc::new(Semaphore::new(1000)))
}

impl Server {
    fn start(limits: Limits, tls: Option<SharedTls>) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let (stop, tasks) = (CancellationToken::new(), Tasks::new());
        let state = Arc::new(State {
            alive: AtomicUsize::new(0),
            frames: tokio::sync::Mutex::default(),
            tasks: tasks.clone(),
        });
        let address = listener.local_addr().unwrap();
        let service = Service(Arc::clone(&state));
        drop(tasks.spawn(serve(
            listener,
            tls,
            service,
            limits,
            stop.clone(),
            tasks.clone(),
        )));
        Self {
            address,
            stop,
            tasks,
            state,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stream(&self) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel(1);
        *self.state.frames.lock().await = Some(receiver);
        sender
    }

    async fn has_alive(&self, count: usize) {
        within(async {
            while self.state.alive.load(Ordering::SeqCst) != count {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("in time")
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        seen.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// What the peer sends until it closes; a reset is an end too.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    String::from_utf8_lossy(&rest).into_owned()
}

async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read_until(stream, "HTTP/1.1 0").await
}

async fn http2<S>(stream: S, tasks: &Tasks) -> SendRequest<Empty<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    drop(tasks.spawn(async move {
        let _ = connection.await;
    }));
    sender
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://x{path}")).body(Empty::new());
    within(sender.send_request(request.unwrap())).await.unwrap()
}

// F2
#[tokio::test]
async fn http_1_is_served_and_kept_alive() {
    let server = Server::start(limits(), None);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        let answer = get(&mut stream, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

// F2
#[tokio::test]
async fn http_2_is_served_by_its_preface_however_it_comes() {
    let server = Server::start(limits(), None);
    let mut sender = http2(server.connect().await, &Tasks::new()).await;
    let answer = ask(&mut sender, "/").await;
    assert_eq!(answer.version(), Version::HTTP_2);
    // In two pieces, and the settings after them.
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    sleep(SHORT / 10).await;
    stream
        .write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut frame = [0; 9];
    within(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "the server's settings");
}

/// A self-signed certificate: the configuration that serves it, and the certificate.
fn certificate() -> (rustls::ServerConfig, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let config = server_tls(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    (config, made.cert.der().clone())
}

async fn tls(
    server: &Server,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = server.connect().await;
    within(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

// F2
#[tokio::test]
async fn tls_serves_what_alpn_agrees_on_and_http_1_without_it() {
    let (config, trusted) = certificate();
    let server = Server::start(limits(), Some(Arc::new(ArcSwap::from_pointee(config))));
    for alpn in [&["http/1.1"][..], &[]] {
        let mut stream = tls(&server, &trusted, alpn).await.unwrap();
        assert!(get(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    }
    let stream = tls(&server, &trusted, &["h2", "http/1.1"]).await.unwrap();
    let mut sender = http2(stream, &Tasks::new()).await;
    assert_eq!(ask(&mut sender, "/").await.version(), Version::HTTP_2);
    // Agreed on HTTP/2, spoke HTTP/1.
    let mut stream = tls(&server, &trusted, &["h2"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

// O2
#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_breaks_no_old_one() {
    let ((old, trusted_before), (new, trusted_after)) = (certificate(), certificate());
    let shared: SharedTls = Arc::new(ArcSwap::from_pointee(old));
    let server = Server::start(limits(), Some(Arc::clone(&shared)));
    let mut open = tls(&server, &trusted_before, &[]).await.unwrap();
    shared.store(Arc::new(new));
    assert!(tls(&server, &trusted_before, &[]).await.is_err());
    let mut fresh = tls(&server, &trusted_after, &[]).await.unwrap();
    assert!(get(&mut fresh, "/").await.starts_with("HTTP/1.1 200"));
    assert!(get(&mut open, "/").await.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_certificate_that_cannot_serve_is_refused() {
    let [one, two] =
        [(), ()].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let check = |certificate: &str, key: &str| {
        server_tls(certificate.as_bytes(), key.as_bytes()).unwrap_err()
    };
    let other = two.signing_key.serialize_pem();
    assert!(matches!(check(&certificate, &other), TlsError::Rustls(_)));
    assert!(matches!(check("", &key), TlsError::NoCertificate));
    assert!(matches!(check(&certificate, ""), TlsError::Key(_)));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(matches!(check(broken, &key), TlsError::Certificate(_)));
}

// HARDENING 10
#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut() {
    let mut limits = limits();
    limits.head = SHORT;
    let server = Server::start(limits, None);
    let preface = "PRI * HTTP/2.0\r\n";
    let clock = Clock::new();
    for sent in ["", "GET / HTTP/1.1\r\nx: ", "PRI", preface] {
        let start = clock.now();
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "{sent:?}");
        let took = clock.now().since(start);
        assert!(SHORT <= took && took < SOON / 2, "{sent:?} {took:?}");
    }
}

// HARDENING 10
#[tokio::test]
async fn bytes_that_drip_in_do_not_buy_time_for_a_head() {
    let mut limits = limits();
    limits.head = SHORT;
    let server = Server::start(limits, None);
    let mut stream = server.connect().await;
    // A first request does not either.
    get(&mut stream, "/").await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        let _ = write.write_all(b"GET / HTTP/1.1\r\n").await;
        while write.write_all(b"x: y\r\n").await.is_ok() {
            sleep(SHORT / 20).await;
        }
    };
    within(async { tokio::join!(rest(&mut read), drip) }).await;
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_cut() {
    let mut limits = limits();
    limits.head = SHORT;
    let (config, trusted) = certificate();
    let server = Server::start(limits, Some(Arc::new(ArcSwap::from_pointee(config))));
    let mut stream = server.connect().await;
    assert_eq!(rest(&mut stream).await, "");
    // Nor does silence after it help.
    for alpn in ["h2", "http/1.1"] {
        let mut stream = tls(&server, &trusted, &[alpn]).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }
}

#[tokio::test]
async fn an_unused_connection_is_kept_as_long_as_idle_says_and_a_busy_one_longer() {
    let mut limits = limits();
    limits.head = SHORT / 4;
    limits.idle = 5 * SHORT;
    let server = Server::start(limits, None);
    let mut stream = server.connect().await;
    get(&mut stream, "/").await;
    sleep(SHORT).await;
    let clock = Clock::new();
    let start = clock.now();
    get(&mut stream, "/").await;
    assert_eq!(rest(&mut stream).await, "");
    let took = clock.now().since(start);
    assert!(5 * SHORT <= took && took < SOON / 2, "{took:?}");
    // Slower than every limit, but served.
    let frames = server.stream().await;
    let mut stream = server.connect().await;
    let request = b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    sleep(6 * SHORT).await;
    frames.send("late".into()).await.unwrap();
    drop(frames);
    let answer = read_until(&mut stream, "0\r\n\r\n").await;
    assert!(answer.contains("late"));
}

#[tokio::test]
async fn an_unused_http_2_connection_is_closed_too() {
    let mut limits = limits();
    limits.idle = SHORT;
    let server = Server::start(limits, None);
    let mut sender = http2(server.connect().await, &Tasks::new()).await;
    ask(&mut sender, "/").await;
    within(async {
        while !sender.is_closed() {
            sleep(SHORT / 20).await;
        }
    })
    .await;
}

// HARDENING 12
#[tokio::test]
async fn a_client_that_takes_nothing_more_is_cut() {
    let mut limits = limits();
    limits.write = SHORT;
    let server = Server::start(limits, None);
    let mut stream = server.connect().await;
    let request = b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    server.has_alive(1).await;
    server.has_alive(0).await;
}

// F3
#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_once() {
    let server = Server::start(limits(), None);
    let request = b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut stream = server.connect().await;
    stream.write_all(request).await.unwrap();
    server.has_alive(1).await;
    drop(stream);
    server.has_alive(0).await;
    // Half of it gone is gone.
    let mut stream = server.connect().await;
    stream.write_all(request).await.unwrap();
    server.has_alive(1).await;
    stream.shutdown().await.unwrap();
    server.has_alive(0).await;
    // One HTTP/2 stream of several.
    let mut sender = http2(server.connect().await, &Tasks::new()).await;
    let mut other = sender.clone();
    let one = Request::get("http://x/never").body(Empty::new()).unwrap();
    let one = Box::pin(sender.send_request(one));
    let wait = async {
        server.has_alive(1).await;
    };
    tokio::select! {
        _ = one => panic!("never answered"),
        () = wait => {}
    }
    server.has_alive(0).await;
    assert_eq!(ask(&mut other, "/").await.status(), 200);
}

// K7: over HTTP/1.1 what is a little too large is left to the handler, who refuses it in the client's words
#[tokio::test]
async fn a_head_of_far_more_than_64_kib_is_refused_with_431() {
    let server = Server::start(limits(), None);
    let head = |size: usize| {
        let value = "x".repeat(size);
        format!("GET / HTTP/1.1\r\nhost: x\r\ny: {value}\r\n\r\n")
    };
    let mut stream = server.connect().await;
    stream.write_all(head(60_000).as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "HTTP/1.1 0").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut stream = server.connect().await;
    let _ = stream.write_all(head(100_000).as_bytes()).await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // HTTP/2 counts 32 bytes a field on top.
    for (size, expected) in [(60_000, 200), (66_000, 431)] {
        let mut sender = http2(server.connect().await, &Tasks::new()).await;
        let request = Request::get("http://x/")
            .header("y", "x".repeat(size))
            .body(Empty::new())
            .unwrap();
        let answer = within(sender.send_request(request)).await;
        match answer {
            Ok(answer) => assert_eq!(answer.status(), expected),
            // h2's client heeds the limit by itself.
            Err(error) => assert_eq!(expected, 431, "{error}"),
        }
    }
}

// HARDENING 14
#[tokio::test]
async fn a_connection_too_many_is_closed_at_once_and_hurts_none() {
    let server = Server::start(Limits::new(Arc::new(Semaphore::new(2))), None);
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    get(&mut one, "/").await;
    get(&mut two, "/").await;
    let mut three = server.connect().await;
    assert_eq!(rest(&mut three).await, "");
    get(&mut two, "/").await;
    drop(one);
    within(async {
        loop {
            let mut four = server.connect().await;
            let _ = four.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if four.read_u8().await.is_ok() {
                break;
            }
        }
    })
    .await;
}

// F7: the status of a refusal is seen, however large the body is.
#[tokio::test]
async fn a_client_still_uploading_sees_that_it_was_refused() {
    let server = Server::start(limits(), None);
    let mut stream = server.connect().await;
    let size = 30 << 20;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..30 {
        within(stream.write_all(&piece)).await.unwrap();
    }
    let answer = read_until(&mut stream, "\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    get(&mut stream, "/").await;
}

// O8
#[tokio::test]
async fn a_stop_lets_open_streams_end_and_closes_what_is_unused() {
    let server = Server::start(limits(), None);
    let frames = server.stream().await;
    let mut idle = server.connect().await;
    get(&mut idle, "/").await;
    let mut stream = server.connect().await;
    let request = b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    frames.send("one".into()).await.unwrap();
    read_until(&mut stream, "one\r\n").await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    within(async {
        while TcpStream::connect(server.address).await.is_ok() {
            sleep(SHORT / 20).await;
        }
    })
    .await;
    frames.send("two".into()).await.unwrap();
    read_until(&mut stream, "two\r\n").await;
    assert!(server.tasks.running() > 0);
    drop(frames);
    assert_eq!(rest(&mut stream).await, "0\r\n\r\n");
    within(server.tasks.finished()).await;
}

// O8
#[tokio::test]
async fn an_answer_begun_after_a_stop_says_that_the_connection_closes() {
    let server = Server::start(limits(), None);
    let mut stream = server.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head).await.unwrap();
    server.has_alive(1).await;
    server.stop.cancel();
    sleep(SHORT / 10).await;
    stream.write_all(b"hi").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

// O8
#[tokio::test]
async fn a_stop_tells_http_2_to_go_away_and_lets_its_streams_end() {
    let server = Server::start(limits(), None);
    let frames = server.stream().await;
    let tasks = Tasks::new();
    let mut sender = http2(server.connect().await, &tasks).await;
    let mut body = ask(&mut sender, "/stream").await.into_body();
    frames.send("one".into()).await.unwrap();
    assert_eq!(data(&mut body).await, "one");
    server.stop.cancel();
    // Until it has heard of it, a client may go on asking.
    within(async {
        let request = || Request::get("http://x/").body(Empty::new()).unwrap();
        while sender.send_request(request()).await.is_ok() {}
    })
    .await;
    frames.send("two".into()).await.unwrap();
    assert_eq!(data(&mut body).await, "two");
    drop(frames);
    assert_eq!(within(body.collect()).await.unwrap().to_bytes(), "");
    within(server.tasks.finished()).await;
}

async fn data(body: &mut Incoming) -> Bytes {
    let frame = within(body.frame()).await.unwrap().unwrap();
    frame.into_data().unwrap()
}

// O8: CRATES 5.6, closing a listener resets its queue.
#[tokio::test]
async fn a_stop_serves_every_connection_that_the_kernel_had_accepted() {
    let listener = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients: Vec<_> = (0..64)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    for client in &mut clients[..32] {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
    }
    let (stop, tasks) = (CancellationToken::new(), Tasks::new());
    let state = Arc::new(State {
        alive: AtomicUsize::new(0),
        frames: tokio::sync::Mutex::default(),
        tasks: tasks.clone(),
    });
    stop.cancel();
    serve(
        listener,
        None,
        Service(state),
        limits(),
        stop,
        tasks.clone(),
    )
    .await;
    // Those that had not spoken yet speak now.
    for client in &mut clients[32..] {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
    }
    within(tasks.finished()).await;
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[test]
fn listeners_share_a_port_only_where_asked_to() {
    let first = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let address = first.local_addr().unwrap();
    bind(address, true).unwrap();
    let error = bind(address, false).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

/// A process of its own: a limit on file descriptors holds for all of one.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Child {
    /// Hundredths of a second of processor time so far.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

const FEW: &str = "AUTHPOOL_TEST_FEW_FILE_DESCRIPTORS";

// HARDENING 15
#[test]
fn a_server_out_of_file_descriptors_neither_ends_nor_spins_and_recovers() {
    let mut child = Child(
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_with_few_file_descriptors", "--nocapture"])
            .env(FEW, "64")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let output = std::io::BufReader::new(child.0.stdout.take().unwrap());
    let address = output
        .lines()
        .find_map(|line| line.unwrap().split("listens at ").nth(1).map(str::to_owned))
        .unwrap();
    let connect = || {
        let stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut clients: Vec<_> = (0..100).map(|_| connect()).collect();
    for client in &mut clients {
        client.write_all(request).unwrap();
    }
    clients[0].read_exact(&mut [0; 12]).unwrap();
    let before = child.ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.ticks() - before < 20, "it spins");
    assert!(child.0.try_wait().unwrap().is_none(), "it ended");
    drop(clients);
    let mut client = connect();
    client.write_all(request).unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
}

/// Not a test by itself: what the one before starts.
#[tokio::test]
async fn serves_with_few_file_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let Ok(few) = std::env::var(FEW) else {
        return;
    };
    let most = few.parse().ok();
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let server = Server::start(limits(), None);
    println!("listens at {}", server.address);
    pending::<()>().await;
}
