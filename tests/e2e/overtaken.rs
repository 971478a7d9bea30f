//! A verdict that comes while an attempt's connection is being made: the attempt does not begin (C8).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use authpool::scripted::Provider;

use super::support::client::{Ask, chat};
use super::support::{Authpool, Setup, eventually};
use super::tls::{certificate, speaking_tls};

const CHAT: &str = "/v1/chat/completions";

/// Holds back whoever passes while it is shut.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |shut| *shut).unwrap());
    }
}

/// Stands before a provider: what comes back passes the gate of its connection.
struct Relay {
    addr: SocketAddr,
    first: Gate,
    others: Gate,
    accepted: Arc<AtomicUsize>,
}

impl Relay {
    fn before(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            addr: listener.local_addr().unwrap(),
            first: Gate::default(),
            others: Gate::default(),
            accepted: Arc::default(),
        };
        let (first, others) = (relay.first.clone(), relay.others.clone());
        let accepted = Arc::clone(&relay.accepted);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let is_first = accepted.fetch_add(1, Ordering::SeqCst) == 0;
                let gate = if is_first { &first } else { &others };
                carry(client, TcpStream::connect(provider).unwrap(), gate);
            }
        });
        relay
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn carry(client: TcpStream, provider: TcpStream, gate: &Gate) {
    let there = (client.try_clone().unwrap(), provider.try_clone().unwrap());
    thread::spawn(move || one_way(there.0, there.1, &Gate::default()));
    let gate = gate.clone();
    thread::spawn(move || one_way(provider, client, &gate));
}

fn one_way(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        gate.pass();
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
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
    serves_once(&provider);
    let relay = Relay::before(provider.addr());
    let authpool = start(&relay, &made.cert.pem());
    let ask = || Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr);
    let in_flight = || authpool.metric("authpool_in_flight{subscription=\"a\"");
    // After one answer two may go at once.
    assert_eq!(ask().status, 200);
    relay.first.set(true);
    relay.others.set(true);
    thread::scope(|scope| {
        let first = scope.spawn(ask);
        eventually("the first is refused, which nobody knows yet", || {
            provider.ledger().count("cred-a") == 2
        });
        let second = scope.spawn(ask);
        eventually("the second connects, with the right to `a`", || {
            (relay.accepted(), in_flight()) == (2, 2.0)
        });
        relay.first.set(false);
        // It goes on to `b`, over the connection that it has.
        assert_eq!(first.join().unwrap().status, 200);
        relay.others.set(false);
        assert_eq!(second.join().unwrap().status, 200);
    });
    let asked = ["cred-a", "cred-b"].map(|one| provider.ledger().count(one));
    assert_eq!(asked, [2, 2], "the second never asked for `a`");
    assert_eq!(relay.accepted(), 2, "what was made is used");
    assert_eq!(authpool.metric("authpool_in_flight{"), 0.0);
}

/// The key `a` serves one request, and is limited then.
fn serves_once(provider: &Provider) {
    let script = r#"[
        {"match": {"credential": "cred-a"}, "times": 1, "do": {"serve": true}},
        {"match": {"credential": "cred-a"},
            "do": {"status": 429, "headers": {"retry-after": "30"}, "body": "{}"}}
    ]"#;
    provider.script().push_json(script).unwrap();
}
