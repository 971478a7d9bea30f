//! Starting, stopping, TLS, and an ordinary client.

use super::*;

#[test]
fn a_stopped_provider_refuses_and_may_come_back_at_its_address() {
    let provider = scripted(&json!({"do": {"fault": "hang"}}));
    let addr = provider.addr();
    let ledger = provider.ledger().clone();
    let mut client = Client::new(&provider);
    client.send(&post("/v1/messages", "a", "{}"));
    assert!(ledger.wait_until(|entries| entries.len() == 1, PATIENCE));
    provider.stop();
    assert_eq!(ledger.entries()[0].ended, Ended::Stopped);
    assert_eq!(client.rest().0, b"");
    let refused = Client::connect(addr).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let again = Provider::start(Options {
        listen: addr,
        workers: 2,
        ..Options::default()
    })
    .unwrap();
    assert_eq!(once(&again, "/v1/messages", "a", &streamed()).status, 200);
}

#[test]
fn connections_are_counted() {
    let provider = provider();
    let mut clients: Vec<Client> = (0..5).map(|_| Client::new(&provider)).collect();
    for client in &mut clients {
        client.ask("/v1/messages", "a", &streamed()).unwrap();
    }
    assert_eq!(provider.open_connections(), 5);
    drop(clients);
    wait_closed(&provider);
}

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![made.cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key.unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[test]
fn tls_is_served_and_reset_beneath() {
    let (server, client) = tls();
    let provider = Provider::start(Options {
        tls: Some(server),
        ..Options::default()
    })
    .unwrap();
    let ask = || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
        let stream = TcpStream::connect(provider.addr()).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let request = post("/v1/messages", "a", "{}");
        let request = request.replace("content-type", "connection: close\r\ncontent-type");
        stream.write_all(request.as_bytes()).unwrap();
        let mut read = String::new();
        stream.read_to_string(&mut read).map(|_| read)
    };
    assert!(ask().unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    let rule = json!({"do": {"fault": "reset_after_request"}}).to_string();
    provider.script().push_json(&rule).unwrap();
    assert_eq!(ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn hyper_keeps_its_connection_over_streams_and_large_bodies() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::TokioIo;

    let provider = provider();
    let stream = tokio::net::TcpStream::connect(provider.addr()).await;
    let io = TokioIo::new(stream.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let tasks = authpool::tasks::Tasks::new();
    let driving = tasks.spawn(connection);
    for size in [10, 100_000, 3_000_000] {
        let body = json!({"model": "m", "stream": true, "pad": "x".repeat(size)}).to_string();
        let length = body.len();
        let request = http::Request::post("/v1/messages")
            .header("host", "x")
            .header("x-api-key", "a")
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains(&format!("A prompt of {length} bytes:")));
        assert!(text.ends_with("{\"type\":\"message_stop\"}\n\n"));
    }
    assert!(
        provider
            .ledger()
            .entries()
            .iter()
            .all(|entry| entry.connection == 0)
    );
    drop(sender);
    driving.await.unwrap().unwrap();
}
