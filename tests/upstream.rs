//! Upstream connections over real sockets, against a peer scripted byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use authpool::clock::Clock;
use authpool::config::{BaseUrl, PemFile, ProviderConfig};
use authpool::core::dialect::Dialect;
use authpool::core::dialect::flavour::Flavour;
use authpool::secret::Secret;
use authpool::tasks::Tasks;
use authpool::upstream::{
    BodyError, ConnectionCounts, Endpoint, Incoming, Outgoing, SendError, TlsError, client_tls,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// An endpoint and what it leaves behind.
struct Client {
    endpoint: Endpoint,
    tasks: Tasks,
    counts: Arc<ConnectionCounts>,
}

impl Client {
    fn new(provider: ProviderConfig) -> Self {
        let tls = client_tls(&provider).unwrap();
        let (tasks, counts) = (Tasks::new(), Arc::default());
        let endpoint = Endpoint::new(
            &Arc::new(provider),
            Clock::new(),
            tasks.clone(),
            Arc::clone(&counts),
            tls,
        );
        Self {
            endpoint,
            tasks,
            counts,
        }
    }

    async fn get(&self) -> Result<Response<Incoming>, SendError> {
        within(self.endpoint.send(get())).await
    }

    fn open(&self) -> (i64, i64) {
        (
            self.counts.idle.load(Ordering::Relaxed),
            self.counts.active.load(Ordering::Relaxed),
        )
    }

    /// Waits until that many connections are idle and active.
    async fn has(&self, idle: i64, active: i64) {
        within(async {
            while self.open() != (idle, active) {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

fn provider(address: SocketAddr) -> ProviderConfig {
    let host = address.ip().to_string();
    ProviderConfig {
        id: "p".into(),
        dialect: Dialect::Generic,
        flavour: Flavour::Generic,
        base_url: BaseUrl {
            tls: false,
            authority: address.to_string().into(),
            host: host.into(),
            port: address.port(),
            path: "".into(),
        },
        ca: None,
        system_roots: false,
        connect: SOON,
        first_byte: SOON,
        idle: SOON,
        total: 6 * SOON,
        keep_alive: 3 * SOON,
        allow_paths: Vec::new(),
        pass_headers: Vec::new(),
        limit_groups: Vec::new(),
    }
}

async fn listen() -> (TcpListener, ProviderConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(listener.local_addr().unwrap());
    (listener, provider)
}

fn get() -> Request<Outgoing> {
    Request::get("/v1/models?a=b")
        .body(Outgoing::empty())
        .unwrap()
}

fn post(frames: &Arc<[Bytes]>) -> Request<Outgoing> {
    Request::post("/v1/messages")
        .body(Outgoing::held(Arc::clone(frames)))
        .unwrap()
}

fn megabytes(count: usize) -> Arc<[Bytes]> {
    vec![Bytes::from(vec![b'x'; 1 << 20]); count].into()
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("in time")
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

/// Reads a request's head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads whatever still comes; an error is a reset.
async fn to_end(stream: &mut TcpStream) -> io::Result<usize> {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await
}

async fn reset_of(stream: &mut TcpStream) {
    let end = to_end(stream).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

async fn text(response: Response<Incoming>) -> Bytes {
    within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes()
}

/// One exchange that the peer answers in full.
async fn exchange(client: &Client, stream: &mut TcpStream) -> StatusCode {
    let (response, _) = tokio::join!(client.get(), async {
        let head = head(stream).await;
        stream.write_all(OK).await.unwrap();
        head
    });
    let response = response.unwrap();
    let status = response.status();
    assert_eq!(text(response).await, "hi");
    status
}

async fn first(client: &Client, listener: &TcpListener) -> TcpStream {
    let (response, stream) = tokio::join!(client.get(), async {
        let mut stream = accept(listener).await;
        head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        stream
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    stream
}

// F1, F11
#[tokio::test]
async fn a_request_goes_out_in_origin_form_with_host_and_framing_of_ours() {
    let (listener, provider) = listen().await;
    let authority = provider.base_url.authority.clone();
    let client = Client::new(provider);
    let request = Request::post("https://elsewhere.example/v1/x?y=%20z")
        .version(http::Version::HTTP_2)
        .header("host", "elsewhere.example")
        .header("transfer-encoding", "chunked")
        .body(Outgoing::empty())
        .unwrap();
    let (response, head) = tokio::join!(within(client.endpoint.send(request)), async {
        let mut stream = accept(&listener).await;
        let head = head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        head
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /v1/x?y=%20z HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(lines, ["content-length: 0", &format!("host: {authority}")]);
}

// F2
#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (a, b, (mut one, mut two)) = tokio::join!(client.get(), client.get(), async {
        let mut one = accept(&listener).await;
        let mut two = accept(&listener).await;
        head(&mut one).await;
        head(&mut two).await;
        one.write_all(OK).await.unwrap();
        two.write_all(OK).await.unwrap();
        (one, two)
    });
    assert_eq!(client.open(), (0, 2));
    assert_eq!(text(a.unwrap()).await, "hi");
    client.has(1, 1).await;
    assert_eq!(text(b.unwrap()).await, "hi");
    client.has(2, 0).await;
    for _ in 0..3 {
        // Whichever of the two was given back last is the only one that hears of it.
        tokio::select! {
            status = exchange(&client, &mut two) => assert_eq!(status, 200),
            _ = head(&mut one) => panic!("the older connection was used"),
        }
        client.has(2, 0).await;
    }
    assert!(timeout(SHORT, listener.accept()).await.is_err());
}

// C8
#[tokio::test]
async fn a_request_that_is_wanted_no_more_is_not_begun_and_its_connection_serves_the_next() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    // Over a fresh connection, then over a kept one.
    for _ in 0..2 {
        let error = within(client.endpoint.send_if(get(), || false)).await;
        let error = error.unwrap_err();
        assert!(error.withdrawn && !error.sent && !error.connect && !error.timeout);
        client.has(1, 0).await;
    }
    let (response, head) = tokio::join!(within(client.endpoint.send_if(get(), || true)), async {
        let mut stream = accept(&listener).await;
        let head = head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        head
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    assert_eq!(
        head.matches("GET").count(),
        1,
        "nothing of the others went out"
    );
}

// F2
#[tokio::test]
async fn an_idle_connection_that_the_provider_closed_is_not_used() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    for how in [drop, reset] {
        let stream = first(&client, &listener).await;
        client.has(1, 0).await;
        // Nothing is awaited in between: only the kernel can know of the end.
        how(stream);
        let stream = first(&client, &listener).await;
        client.has(1, 0).await;
        how(stream);
    }
}

// F2
#[tokio::test]
async fn an_idle_connection_with_unasked_bytes_is_not_used() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let mut stream = first(&client, &listener).await;
    client.has(1, 0).await;
    stream.write_all(OK).await.unwrap();
    let _second = first(&client, &listener).await;
    client.has(1, 0).await;
}

// F2
#[tokio::test]
async fn an_unused_connection_is_closed_in_order_after_keep_alive() {
    let (listener, mut provider) = listen().await;
    provider.keep_alive = SHORT;
    let client = Client::new(provider);
    let mut stream = first(&client, &listener).await;
    assert_eq!(to_end(&mut stream).await.unwrap(), 0);
    client.has(0, 0).await;
    // Nor did a reset follow the end.
    assert!(stream.take_error().unwrap().is_none());
    within(client.tasks.finished()).await;
    let _second = first(&client, &listener).await;
}

// F2
#[tokio::test]
async fn an_answer_that_closes_leaves_nothing_behind() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (response, _) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi")
            .await
            .unwrap();
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    client.has(0, 0).await;
}

// C8 (d)
#[tokio::test]
async fn a_refused_connection_is_told_as_such() {
    let (listener, provider) = listen().await;
    drop(listener);
    let error = Client::new(provider).get().await.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (false, false, true)
    );
}

// K5
#[tokio::test]
async fn a_metadata_service_is_not_connected_to() {
    let address: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let error = Client::new(provider(address)).get().await.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (false, false, true)
    );
    assert!(error.source.to_string().contains("169.254.169.254:80"));
}

// C8 (e)
#[tokio::test]
async fn a_reset_after_the_request_leaves_its_outcome_unknown() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (error, ()) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        reset(stream);
    });
    let error = error.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (true, false, false)
    );
    client.has(0, 0).await;
}

// C8 (e)
#[tokio::test]
async fn an_end_within_the_head_leaves_the_outcome_unknown() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (error, ()) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconte").await.unwrap();
    });
    let error = error.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (true, false, false)
    );
}

// F2
#[tokio::test]
async fn no_head_within_first_byte_is_a_time_limit_and_resets() {
    let (listener, mut provider) = listen().await;
    provider.first_byte = SHORT;
    let client = Client::new(provider);
    let (error, ()) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        reset_of(&mut stream).await;
    });
    let error = error.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (true, true, false)
    );
    client.has(0, 0).await;
}

// F2
#[tokio::test]
async fn first_byte_counts_from_the_last_byte_that_went_out() {
    let (listener, mut provider) = listen().await;
    provider.first_byte = 8 * SHORT;
    // What the kernel keeps for the peer counts as gone out, so let it be little.
    socket2::SockRef::from(&listener)
        .set_recv_buffer_size(64 * 1024)
        .unwrap();
    let client = Client::new(provider);
    let body = megabytes(24);
    let (response, _stream) = tokio::join!(client.endpoint.send(post(&body)), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        // The upload takes longer than the limit.
        let mut piece = vec![0; 1 << 20];
        for _ in 0..24 {
            within(stream.read_exact(&mut piece)).await.unwrap();
            sleep(SHORT / 2).await;
        }
        stream.write_all(OK).await.unwrap();
        stream
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    client.has(1, 0).await;
}

// F2
#[tokio::test]
async fn a_pause_in_an_answer_is_a_time_limit_and_resets() {
    let (listener, mut provider) = listen().await;
    provider.idle = SHORT;
    let client = Client::new(provider);
    let (response, mut stream) = tokio::join!(client.get(), chunked(&listener));
    let mut body = response.unwrap().into_body();
    stream.write_all(b"2\r\nhi\r\n").await.unwrap();
    let frame = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hi");
    // A reader that does not ask is not kept waiting.
    sleep(2 * SHORT).await;
    stream.write_all(b"2\r\nho\r\n").await.unwrap();
    let frame = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "ho");
    let error = within(body.frame()).await.unwrap().unwrap_err();
    assert!(matches!(error, BodyError::IdleTimeout));
    reset_of(&mut stream).await;
    client.has(0, 0).await;
}

// F2
#[tokio::test]
async fn an_answer_that_never_ends_meets_the_total_limit() {
    let (listener, mut provider) = listen().await;
    provider.total = 10 * SHORT;
    provider.idle = 8 * SHORT;
    let client = Client::new(provider);
    let (response, mut stream) = tokio::join!(client.get(), chunked(&listener));
    let mut body = response.unwrap().into_body();
    let drip = async {
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    let read = async {
        loop {
            if let Err(error) = body.frame().await.unwrap() {
                break error;
            }
        }
    };
    let (error, ()) = within(async { tokio::join!(read, drip) }).await;
    assert!(matches!(error, BodyError::TotalTimeout));
}

async fn chunked(listener: &TcpListener) -> TcpStream {
    let mut stream = accept(listener).await;
    head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    stream
}

// F3
#[tokio::test]
async fn an_answer_cut_short_never_ends_in_order() {
    for cut in ["2\r\nhi\r\n", "2\r\nh", "2\r\nhi\r\n0\r\n"] {
        let (listener, provider) = listen().await;
        let client = Client::new(provider);
        let (response, mut stream) = tokio::join!(client.get(), chunked(&listener));
        stream.write_all(cut.as_bytes()).await.unwrap();
        drop(stream);
        let error = within(response.unwrap().into_body().collect()).await;
        assert!(matches!(error, Err(BodyError::Broken(_))), "{cut:?}");
        client.has(0, 0).await;
    }
}

// F3
#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_provider_back() {
    const MANY: usize = 256;
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (response, mut stream) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MANY << 20);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    let mut body = response.unwrap().into_body();
    let piece = vec![b'x'; 1 << 20];
    let mut ahead = 0;
    while let Ok(count) = timeout(3 * SHORT, stream.write(&piece)).await {
        ahead += count.unwrap();
        // Beyond what the kernel keeps for both sides nothing is taken.
        assert!(ahead < 64 << 20);
    }
    let (rest, read) = ((MANY << 20) - ahead, async {
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.unwrap().into_data().unwrap().len();
        }
        size
    });
    let write = async {
        stream.write_all(&vec![b'x'; rest]).await.unwrap();
    };
    let (size, ()) = within(async { tokio::join!(read, write) }).await;
    assert_eq!(size, MANY << 20);
    client.has(1, 0).await;
}

// F3
#[tokio::test]
async fn a_client_that_leaves_while_waiting_resets_the_provider_at_once() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let mut waiting = Box::pin(client.get());
    let mut stream = tokio::select! {
        _ = &mut waiting => panic!("nobody has answered"),
        stream = async {
            let mut stream = accept(&listener).await;
            head(&mut stream).await;
            stream
        } => stream,
    };
    drop(waiting);
    assert_eq!(client.open(), (0, 0));
    reset_of(&mut stream).await;
}

// F3
#[tokio::test]
async fn a_client_that_leaves_within_the_answer_resets_the_provider_at_once() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (response, mut stream) = tokio::join!(client.get(), chunked(&listener));
    drop(response.unwrap());
    assert_eq!(client.open(), (0, 0));
    reset_of(&mut stream).await;
}

// F2
#[tokio::test]
async fn an_answer_without_a_body_gives_its_connection_back_unread() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (response, _stream) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        let answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream
    });
    let response = response.unwrap();
    assert_eq!(response.status(), 204);
    assert!(response.body().is_end_stream());
    drop(response);
    client.has(1, 0).await;
}

// C8 (e)
#[tokio::test]
async fn an_unasked_switch_of_protocols_is_no_answer() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (error, ()) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = to_end(&mut stream).await;
    });
    let error = error.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (true, false, false)
    );
    client.has(0, 0).await;
}

// F3: a provider's head is bounded, whatever it sends.
#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let (error, ()) = tokio::join!(client.get(), async {
        let mut stream = accept(&listener).await;
        head(&mut stream).await;
        let mut answer = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        answer.resize(1 << 20, b'x');
        let _ = stream.write_all(&answer).await;
    });
    assert!(error.unwrap_err().sent);
    client.has(0, 0).await;
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_its_connection_is_used_again() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let body = megabytes(20);
    let mut stream = first(&client, &listener).await;
    client.has(1, 0).await;
    let (response, head) = tokio::join!(client.endpoint.send(post(&body)), async {
        let head = head(&mut stream).await;
        let mut all = vec![0; 20 << 20];
        within(stream.read_exact(&mut all)).await.unwrap();
        assert!(all.iter().all(|byte| *byte == b'x'));
        stream.write_all(OK).await.unwrap();
        head
    });
    assert!(head.contains("content-length: 20971520\r\n"));
    assert_eq!(text(response.unwrap()).await, "hi");
    client.has(1, 0).await;
    assert_eq!(exchange(&client, &mut stream).await, 200);
    assert_eq!(Arc::strong_count(&body), 1);
}

/// A peer that answers 429 at once and reads no further.
async fn early(listener: &TcpListener) -> TcpStream {
    let mut stream = accept(listener).await;
    head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nstop")
        .await
        .unwrap();
    stream
}

// Acceptance 8 of the main job: what an early answer leaves unread does not stay.
#[tokio::test]
async fn early_answers_to_large_bodies_leave_no_connection_no_task_and_no_memory() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let body = megabytes(20);
    let mut streams = Vec::new();
    for _ in 0..10 {
        let (response, stream) =
            tokio::join!(within(client.endpoint.send(post(&body))), early(&listener));
        let response = response.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(text(response).await, "stop");
        streams.push(stream);
    }
    assert_eq!(client.open(), (0, 0));
    within(client.tasks.finished()).await;
    assert_eq!(client.tasks.owned(), 0);
    assert_eq!(Arc::strong_count(&body), 1);
    for mut stream in streams {
        reset_of(&mut stream).await;
    }
}

// Acceptance 8
#[tokio::test]
async fn a_connection_is_not_used_again_after_an_early_answer_though_the_provider_reads_on() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let body = megabytes(20);
    let (response, mut stream) =
        tokio::join!(within(client.endpoint.send(post(&body))), early(&listener));
    let answered = text(response.unwrap()).await;
    let _ = to_end(&mut stream).await;
    assert_eq!(answered, "stop");
    assert_eq!(client.open(), (0, 0));
}

// Acceptance 8
#[tokio::test]
async fn an_early_answer_dropped_unread_frees_everything_at_once() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let body = megabytes(20);
    let (response, mut stream) =
        tokio::join!(within(client.endpoint.send(post(&body))), early(&listener));
    drop(response.unwrap());
    assert_eq!(client.open(), (0, 0));
    reset_of(&mut stream).await;
    within(async {
        while client.tasks.owned() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(Arc::strong_count(&body), 1);
}

// F2
#[tokio::test]
async fn dropping_the_endpoint_closes_what_it_keeps() {
    let (listener, provider) = listen().await;
    let client = Client::new(provider);
    let mut stream = first(&client, &listener).await;
    client.has(1, 0).await;
    drop(client.endpoint);
    let _ = to_end(&mut stream).await;
    assert_eq!(client.counts.idle.load(Ordering::Relaxed), 0);
}

/// A certificate authority of this test's own.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test");
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn acceptor(&self, name: &str, expired: bool) -> tokio_rustls::TlsAcceptor {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config).into()
    }

    fn trusted_by(&self, provider: &mut ProviderConfig) {
        provider.base_url.tls = true;
        provider.ca = Some(PemFile {
            path: "ca.pem".into(),
            content: Secret::new(self.0.pem().into_bytes()),
        });
    }
}

// F2
#[tokio::test]
async fn a_provider_is_verified_and_its_connection_used_again() {
    let (listener, mut provider) = listen().await;
    let authority = Authority::new();
    authority.trusted_by(&mut provider);
    let acceptor = authority.acceptor("127.0.0.1", false);
    let client = Client::new(provider);
    let (response, mut stream) = tokio::join!(client.get(), async {
        let stream = accept(&listener).await;
        let mut stream = acceptor.accept(stream).await.unwrap();
        head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    client.has(1, 0).await;
    let (response, ()) = tokio::join!(client.get(), async {
        head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        stream.flush().await.unwrap();
    });
    assert_eq!(text(response.unwrap()).await, "hi");
    client.has(1, 0).await;
}

// K5, HARDENING 64
#[tokio::test]
async fn a_provider_that_cannot_be_verified_gets_no_byte_of_a_request() {
    let (trusted, other) = (Authority::new(), Authority::new());
    for (why, acceptor) in [
        ("wrong name", trusted.acceptor("wrong.example", false)),
        ("unknown authority", other.acceptor("127.0.0.1", false)),
        ("expired", trusted.acceptor("127.0.0.1", true)),
    ] {
        let (listener, mut provider) = listen().await;
        trusted.trusted_by(&mut provider);
        let client = Client::new(provider);
        let (error, received) = tokio::join!(client.get(), async {
            let stream = accept(&listener).await;
            let mut received = Vec::new();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = within(stream.read_to_end(&mut received)).await;
            }
            received
        });
        let error = error.unwrap_err();
        assert_eq!(
            (error.sent, error.timeout, error.connect),
            (false, false, true),
            "{why}"
        );
        assert!(received.is_empty(), "{why}");
        client.has(0, 0).await;
    }
}

// F2
#[tokio::test]
async fn a_handshake_that_hangs_is_a_time_limit_of_connecting() {
    let (listener, mut provider) = listen().await;
    Authority::new().trusted_by(&mut provider);
    provider.connect = SHORT;
    let client = Client::new(provider);
    let (error, _stream) = tokio::join!(client.get(), accept(&listener));
    let error = error.unwrap_err();
    assert_eq!(
        (error.sent, error.timeout, error.connect),
        (false, true, true)
    );
    client.has(0, 0).await;
}

// F3
#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_leaves_nothing_behind() {
    let (listener, mut provider) = listen().await;
    Authority::new().trusted_by(&mut provider);
    let client = Client::new(provider);
    let waiting = Box::pin(client.get());
    let mut stream = tokio::select! {
        _ = waiting => panic!("nobody has answered"),
        stream = async {
            let mut stream = accept(&listener).await;
            within(stream.read_u8()).await.unwrap();
            stream
        } => stream,
    };
    assert_eq!(client.open(), (0, 0));
    // Ends in order or by a reset; it does end.
    let _ = to_end(&mut stream).await;
}

// F2
#[tokio::test]
async fn every_address_of_a_host_is_tried() {
    let (listener, mut provider) = listen().await;
    // ::1 first, on many systems, where nobody listens.
    provider.base_url.host = "localhost".into();
    let client = Client::new(provider);
    let _stream = first(&client, &listener).await;
}

// K5
#[tokio::test]
async fn without_a_tls_configuration_nothing_goes_out_in_cleartext() {
    let (listener, mut provider) = listen().await;
    provider.base_url.tls = true;
    let endpoint = Endpoint::new(
        &Arc::new(provider),
        Clock::new(),
        Tasks::new(),
        Arc::default(),
        None,
    );
    let error = within(endpoint.send(get())).await.unwrap_err();
    assert!(error.connect && !error.sent);
    assert!(timeout(SHORT, listener.accept()).await.is_err());
}

#[test]
fn a_ca_file_that_cannot_be_used_is_refused_when_it_is_loaded() {
    let mut it = provider("127.0.0.1:443".parse().unwrap());
    assert!(client_tls(&it).unwrap().is_none());
    it.base_url.tls = true;
    assert!(client_tls(&it).unwrap().is_some());
    let mut check = |content: &str| {
        it.ca = Some(PemFile {
            path: "ca.pem".into(),
            content: Secret::new(content.as_bytes().to_vec()),
        });
        client_tls(&it).unwrap_err()
    };
    assert!(matches!(check(""), TlsError::NoRoots));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(matches!(check(broken), TlsError::Pem(_)));
    let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(check(wrong), TlsError::Rustls(_)));
    it.ca = None;
    it.base_url.host = "not a name".into();
    assert!(matches!(client_tls(&it), Err(TlsError::Name(_))));
}
