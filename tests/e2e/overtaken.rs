//! A verdict that comes while an attempt's connection is being made: the attempt does not begin (C8).

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::support::client::{Ask, chat};
use super::support::{Authpool, Setup, eventually};
use super::tls::{certificate, speaking_tls};

const CHAT: &str = "/v1/chat/completions";

/// Stands before a provider. The first connection goes through; nothing of the others is carried before the gate
/// opens, so that their handshakes take as long as the test wants.
struct Relay {
    addr: SocketAddr,
    gate: Arc<(Mutex<bool>, Condvar)>,
    accepted: Arc<AtomicUsize>,
}

impl Relay {
    fn before(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (wait, count) = (Arc::clone(&gate), Arc::clone(&accepted));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                let wait = Arc::clone(&wait);
                thread::spawn(move || {
                    if !is_first {
                        let open = wait.0.lock().unwrap();
                        drop(wait.1.wait_while(open, |open| !*open).unwrap());
                    }
                    carry(client, TcpStream::connect(provider).unwrap());
                });
            }
        });
        Self {
            addr,
            gate,
            accepted,
        }
    }

    fn open(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

fn carry(client: TcpStream, provider: TcpStream) {
    let back = (provider.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || one_way(back.0, back.1));
    one_way(client, provider);
}

fn one_way(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn start(relay: &Relay, ca: &str) -> Authpool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, ca).unwrap();
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.provider = format!("ca = {{ file = {path:?} }}");
    setup.subscriptions[1].2 = "priority = 1".to_owned();
    let base_url = format!("https://{}/v1", relay.addr);
    // One thread, so that there is one set of connections.
    let text = setup.text(&base_url).replace("workers = 2", "workers = 1");
    Authpool::start(&text, &setup.variables())
}

// C8: no attempt starts on a subscription after a verdict against it was observed
#[test]
fn a_verdict_during_a_slow_connect_stops_the_attempt_before_its_first_byte() {
    let made = certificate();
    let provider = speaking_tls(&made);
    // Long enough for the second request to find `a` still in favour; were it not, it would go to `b` as well.
    let limited = r#"{"match":{"credential":"cred-a"},"delay_ms":500,
        "do":{"status":429,"headers":{"retry-after":"30"},"body":"{}"}}"#;
    provider.script().push_json(limited).unwrap();
    let relay = Relay::before(provider.addr());
    let authpool = start(&relay, &made.cert.pem());
    let ask = || Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr);
    thread::scope(|scope| {
        let first = scope.spawn(ask);
        eventually("the first is at the provider", || {
            provider.ledger().count("cred-a") == 1
        });
        let second = scope.spawn(ask);
        eventually("the second connects", || {
            relay.accepted.load(Ordering::SeqCst) == 2
        });
        // It goes on to `b`, over the connection that it has.
        assert_eq!(first.join().unwrap().status, 200);
        relay.open();
        assert_eq!(second.join().unwrap().status, 200);
    });
    assert_eq!(
        provider.ledger().count("cred-a"),
        1,
        "the second never asked"
    );
    assert_eq!(provider.ledger().count("cred-b"), 2);
    assert_eq!(
        relay.accepted.load(Ordering::SeqCst),
        2,
        "what was made is used"
    );
    assert_eq!(authpool.metric("authpool_in_flight{"), 0.0);
}
