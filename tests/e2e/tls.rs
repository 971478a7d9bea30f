//! TLS on both sides: towards clients over HTTP/1.1 and HTTP/2, with hyper as the client; towards providers, always
//! verified.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authpool::scripted::{Options, Provider};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::support::client::{Ask, chat};
use super::support::{Authpool, CLIENT_KEY, Setup};

pub type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

pub fn certificate() -> Made {
    rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

#[track_caller]
fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A client that trusts this certificate and offers this protocol.
async fn connect(addr: std::net::SocketAddr, made: &Made, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::clone(made.cert.der())).unwrap();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

fn request(uri: String, body: String) -> Request<Full<Bytes>> {
    Request::post(uri)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {CLIENT_KEY}"))
        .header("content-type", "application/json")
        .body(Full::from(body))
        .unwrap()
}

async fn checked(answer: impl Future<Output = hyper::Result<Response<Incoming>>>, direct: &[u8]) {
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-authpool-request-id"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, direct);
}

// F2
#[test]
fn clients_are_served_over_tls_by_http_1_1_and_by_http_2() {
    let provider = Provider::start(Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = certificate();
    let cert = file(folder.path(), "cert.pem", &made.cert.pem());
    let key = file(folder.path(), "key.pem", &made.signing_key.serialize_pem());
    let mut setup = Setup::new("openai", &["a"]);
    setup.server = format!("tls = {{ cert = {cert:?}, key = {key:?} }}");
    let authpool = setup.start(provider.addr());
    let direct = |stream| {
        let ask = Ask::post("/v1/chat/completions", chat("gpt-x", stream));
        ask.send(provider.addr()).body
    };
    let answers = [(false, direct(false)), (true, direct(true))];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let addr = authpool.addr;
    runtime.block_on(async {
        let stream = connect(addr, &made, b"http/1.1").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let client = async {
            for (stream, direct) in &answers {
                let uri = "/v1/chat/completions".to_owned();
                sender.ready().await.unwrap();
                checked(
                    sender.send_request(request(uri, chat("gpt-x", *stream))),
                    direct,
                )
                .await;
            }
            drop(sender);
        };
        let ((), ended) = tokio::join!(client, connection);
        ended.unwrap();

        let stream = connect(addr, &made, b"h2").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (sender, connection) = handshake.await.unwrap();
        let client = async {
            // Both at once, on one connection.
            let [mut one, mut two] = [sender.clone(), sender];
            let uri = || "https://localhost/v1/chat/completions".to_owned();
            tokio::join!(
                checked(
                    one.send_request(request(uri(), chat("gpt-x", false))),
                    &answers[0].1
                ),
                checked(
                    two.send_request(request(uri(), chat("gpt-x", true))),
                    &answers[1].1
                ),
            );
        };
        let ((), ended) = tokio::join!(client, connection);
        ended.unwrap();
    });
    assert_eq!(provider.ledger().count("cred-a"), 4);
    // Cleartext to a TLS listener is no request.
    let clear = Ask::post("/v1/chat/completions", chat("gpt-x", false)).try_send(addr);
    assert!(clear.is_err());
    assert_eq!(provider.ledger().count("cred-a"), 4);
}

/// A provider that speaks TLS.
pub fn speaking_tls(made: &Made) -> Provider {
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::clone(made.cert.der())], key)
        .unwrap();
    let provider = Provider::start(Options {
        tls: Some(Arc::new(tls)),
        ..Options::default()
    });
    provider.unwrap()
}

/// The same, before which an authpool trusts `ca`.
fn before_tls(made: &Made, ca: Option<&Made>, host: &str) -> (Provider, Authpool) {
    let provider = speaking_tls(made);
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new("openai", &["a", "b"]);
    if let Some(ca) = ca {
        let path = file(folder.path(), "ca.pem", &ca.cert.pem());
        setup.provider = format!("ca = {{ file = {path:?} }}");
    }
    let base_url = format!("https://{host}:{}/v1", provider.addr().port());
    let authpool = Authpool::start(&setup.text(&base_url), &setup.variables());
    (provider, authpool)
}

// F2, K5
#[test]
fn a_provider_is_verified_against_the_given_ca_and_else_gets_no_request() {
    let made = certificate();
    let other = certificate();
    let elsewhere = rcgen::generate_simple_self_signed(["elsewhere.test".to_owned()]).unwrap();
    let ask = Ask::post("/v1/chat/completions", chat("gpt-x", false));
    for host in ["127.0.0.1", "localhost"] {
        let (provider, authpool) = before_tls(&made, Some(&made), host);
        let answer = ask.send(authpool.addr);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(provider.ledger().entries().len(), 1);
    }
    // Unknown to the bundled roots; of another CA; for another name.
    for (made, ca) in [
        (&made, None),
        (&made, Some(&other)),
        (&elsewhere, Some(&elsewhere)),
    ] {
        let (provider, authpool) = before_tls(made, ca, "127.0.0.1");
        let answer = ask.send(authpool.addr);
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(answer.header("x-authpool-code"), Some("upstream_failed"));
        assert_eq!(provider.ledger().entries().len(), 0);
    }
}
