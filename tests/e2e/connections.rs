//! Connections that break, from either side: nothing is lost, sent twice or kept open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use authpool::clock::Clock;
use authpool::scripted::{Ended, Entry, IdleClose, Options, Provider};
use socket2::{Domain, Socket, Type};

use super::support::client::{Answer, Ask, chat};
use super::support::{Authpool, PATIENCE, Setup, alone, eventually};

const MIB: u64 = 1024 * 1024;

fn rule(credential: &str, deed: &str) -> String {
    format!(r#"{{"match":{{"credential":"{credential}"}},"do":{deed}}}"#)
}

fn code(answer: &Answer) -> String {
    let json = answer.json();
    json["error"]["code"].as_str().unwrap_or("none").to_owned()
}

/// A port that is taken and refuses connections as long as the socket lives.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

// Acceptance 8, F5, C8 (a)
#[test]
fn early_refusals_of_large_bodies_leave_neither_connections_nor_memory_behind() {
    const FEW: usize = 20;
    const MANY: usize = 100;
    const LATER: Duration = Duration::from_secs(5);
    let _alone = alone();
    let provider = Provider::start(Options::default()).unwrap();
    let early = r#"{"fault":"early_429","retry_after_ms":20}"#;
    provider.script().push_json(&rule("cred-a", early)).unwrap();
    // Nothing is said of limits, else bodies of this size would be paced.
    provider
        .script()
        .limit_json(r#"{"cred-b":{"requests_per_minute":1000000,"silent":true}}"#)
        .unwrap();
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.server = "body_memory = \"512MiB\"".into();
    // What `b` leaves idle must be gone, too, when the connections are counted.
    setup.provider = "keep_alive = \"1s\"".into();
    // Limits that are known, so that it does not begin slowly (C4).
    setup.subscriptions[1].2 = r#"priority = 1
limits = [{ dimension = "requests", per = "minute", limit = 1000000 }]"#
        .into();
    let authpool = setup.start(provider.addr());
    let settle = |refusals: usize| {
        refuse_early(&provider, &authpool, refusals);
        let end = Instant::now();
        assert!(provider.wait_connections(|open| open == 0, LATER));
        assert_eq!(authpool.metric("authpool_in_flight{"), 0.0);
        end
    };
    settle(FEW);
    let before = authpool.resident();
    let end = settle(FEW + MANY);
    let mut after = authpool.resident();
    while after > before + 8 * MIB && end.elapsed() < LATER {
        thread::sleep(Duration::from_millis(50));
        after = authpool.resident();
    }
    println!(
        "resident after {FEW} early refusals: {} KiB, after {MANY} more: {} KiB",
        before / 1024,
        after / 1024
    );
    assert!(
        after <= before + 8 * MIB,
        "memory grew from {before} to {after} bytes"
    );
}

/// Sends requests of 20 MB, ten at once, until so many have been refused before their bodies were read.
fn refuse_early(provider: &Provider, authpool: &Authpool, refusals: usize) {
    let filler = "x".repeat(20_000_000);
    let body =
        format!(r#"{{"model":"gpt-x","messages":[{{"role":"user","content":"{filler}"}}]}}"#);
    let ask = Ask::post("/v1/chat/completions", body);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                while provider.ledger().count("cred-a") < refusals {
                    let answer = ask.send(authpool.addr);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
    let entries = provider.ledger().entries();
    let refused = |entry: &&Entry| entry.credential == "cred-a";
    for entry in entries.iter().filter(refused) {
        assert_eq!((entry.status, entry.body_whole), (429, false));
    }
}

// Acceptance 9, F3
#[test]
fn a_thousand_clients_that_leave_take_their_upstream_requests_with_them() {
    const CLIENTS: usize = 1_000;
    const AT_ONCE: usize = 20;
    let _alone = alone();
    let clock = Clock::new();
    let provider = Provider::start(Options {
        clock,
        ..Options::default()
    })
    .unwrap();
    let mut setup = Setup::new("openai", &["a", "b", "c"]);
    setup.provider = "keep_alive = \"1s\"".into();
    let authpool = setup.start(provider.addr());
    for _ in 0..3 {
        let warm = Ask::post("/v1/chat/completions", chat("gpt-x", true)).send(authpool.addr);
        assert_eq!(warm.status, 200);
    }
    assert!(provider.wait_connections(|open| open == 0, PATIENCE));
    let before = authpool.descriptors();
    let next = AtomicUsize::new(0);
    let left: Vec<(usize, Instant)> = thread::scope(|scope| {
        let run = || {
            let mut left = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= CLIENTS {
                    return left;
                }
                left.push((index, leave(authpool.addr, index)));
            }
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(run)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect()
    });
    let none = |entries: &[Entry]| entries.iter().all(|entry| entry.ended_at.is_some());
    assert!(provider.ledger().wait_until(none, PATIENCE));
    judge_ends(&provider.ledger().entries(), &left, &clock);
    eventually("no attempt is in flight", || {
        authpool.metric("authpool_in_flight{") == 0.0
    });
    eventually("file descriptors are back", || {
        authpool.descriptors() <= before + 5
    });
    assert!(provider.wait_connections(|open| open == 0, PATIENCE));
}

/// Opens a request whose answer takes for ever and leaves at an instant that the index decides: within the request,
/// before the head (40 ms), in the hold (the next 60 ms: a role without content) or in the stream.
fn leave(addr: SocketAddr, index: usize) -> Instant {
    let mut random = fastrand::Rng::with_seed(index as u64);
    let body = format!(
        r#"{{"model":"gpt-x","stream":true,"scripted":{{"output_tokens":4000,"gap_ms":60,"delay_ms":40}},"messages":[{{"role":"user","content":"client {index}."}}]}}"#
    );
    let ask = Ask::post("/v1/chat/completions", body);
    if index.is_multiple_of(10) {
        let bytes = ask.bytes(addr);
        let mut socket = std::net::TcpStream::connect(addr).unwrap();
        let part = random.usize(..bytes.len());
        std::io::Write::write_all(&mut socket, &bytes[..part]).unwrap();
        return Instant::now();
    }
    let open = ask.open(addr).unwrap();
    thread::sleep(Duration::from_millis(random.u64(0..200)));
    drop(open);
    Instant::now()
}

fn judge_ends(entries: &[Entry], left: &[(usize, Instant)], clock: &Clock) {
    let (mut reached, mut before_head, mut slowest) = (0, 0, Duration::ZERO);
    for (index, left) in left {
        let mark = format!("\"client {index}.\"");
        let mut own = entries
            .iter()
            .filter(|entry| String::from_utf8_lossy(&entry.body).contains(&mark));
        let Some(entry) = own.next() else {
            continue;
        };
        assert!(own.next().is_none(), "client {index} was sent twice");
        assert_eq!(entry.ended, Ended::ClientGone);
        let ended = clock.instant(entry.ended_at.unwrap()).into_std();
        slowest = slowest.max(ended.saturating_duration_since(*left));
        reached += 1;
        before_head += usize::from(entry.status == 0);
    }
    println!(
        "{} clients left, {reached} requests had reached the provider, {before_head} of them were without a head; \
         the last was cancelled {slowest:?} after its client had left",
        left.len()
    );
    assert!(slowest <= Duration::from_secs(1), "{slowest:?}");
    // How many get how far depends on the machine; that there are some of each kind is the point.
    assert!(reached > left.len() / 4 && before_head > 0);
}

// Acceptance 10, C8 (e)
#[test]
fn a_request_that_was_sent_and_lost_is_told_so_and_never_sent_again() {
    let provider = Provider::start(Options::default()).unwrap();
    provider
        .script()
        .push_json(r#"{"do":{"fault":"reset_after_request"}}"#)
        .unwrap();
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    for stream in [false, true] {
        provider.ledger().clear();
        let answer = Ask::post("/v1/chat/completions", chat("gpt-x", stream)).send(authpool.addr);
        assert_eq!(answer.status, 502);
        assert_eq!(code(&answer), "outcome_unknown");
        assert_eq!(provider.ledger().entries().len(), 1);
    }
}

// Acceptance 10, C8 (d)
#[test]
fn a_request_whose_connection_is_refused_is_served_by_another_subscription() {
    let (_port, dead) = refusing();
    let provider = Provider::start(Options::default()).unwrap();
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.apart.push(("a".into(), setup.base_url(dead)));
    // Limits that are known, so that it does not begin slowly (C4).
    setup.subscriptions[1].2 = r#"priority = 1
limits = [{ dimension = "requests", per = "minute", limit = 1000000 }]"#
        .into();
    let authpool = setup.start(provider.addr());
    for stream in [false, true] {
        let answer = Ask::post("/v1/chat/completions", chat("gpt-x", stream)).send(authpool.addr);
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    assert_eq!(provider.ledger().count("cred-b"), 2);
    assert_eq!(attempts(&authpool, "a"), 2.0);
}

fn attempts(authpool: &Authpool, subscription: &str) -> f64 {
    let text = super::support::client::get_text(authpool.admin, "/metrics");
    let label = format!("subscription=\"{subscription}\"");
    text.lines()
        .filter(|line| line.starts_with("authpool_attempts_total{") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

// Acceptance 10, C8 (d) and (e)
#[test]
fn idle_connections_that_the_provider_closes_at_random_cost_hardly_a_request() {
    const REQUESTS: usize = 10_000;
    const AT_ONCE: usize = 16;
    let _alone = alone();
    let provider = Provider::start(Options {
        idle_close: Some(IdleClose {
            chance: 0.5,
            min: Duration::ZERO,
            max: Duration::from_millis(10),
        }),
        ..Options::default()
    })
    .unwrap();
    let authpool = Setup::new("openai", &["a", "b", "c"]).start(provider.addr());
    let next = AtomicUsize::new(0);
    let statuses: Vec<(usize, u16)> = thread::scope(|scope| {
        let run = || ask_in_turn(authpool.addr, &next, REQUESTS);
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(run)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect()
    });
    let mut seen = vec![0_usize; REQUESTS];
    let entries = provider.ledger().entries();
    for entry in &entries {
        let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
        let index = body["messages"][0]["content"].as_str().unwrap();
        seen[index.parse::<usize>().unwrap()] += 1;
    }
    let lost = statuses.iter().filter(|(_, status)| *status == 502).count();
    let connections: std::collections::HashSet<u64> =
        entries.iter().map(|entry| entry.connection).collect();
    println!(
        "{REQUESTS} requests by {} connections, of which the provider closed what was idle: 502 {lost} times",
        connections.len()
    );
    for (index, status) in statuses {
        match status {
            200 => assert_eq!(seen[index], 1, "request {index}"),
            // The close and the request crossed on the wire, so that nobody can tell.
            502 => assert!(
                seen[index] <= 1,
                "request {index} was sent {} times",
                seen[index]
            ),
            other => panic!("request {index}: {other}"),
        }
    }
    assert!(connections.len() > REQUESTS / 50, "few were closed");
    // A close crosses with a request where it falls into the moment between our look at the connection and the
    // provider's read, out of the 10 ms in which it may fall.
    assert!(lost <= connections.len() / 4, "{lost} requests were lost");
}

/// Requests on one connection of the client's; between two of them a short pause that their number decides.
fn ask_in_turn(addr: SocketAddr, next: &AtomicUsize, requests: usize) -> Vec<(usize, u16)> {
    let mut statuses = Vec::new();
    let mut connection = None;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= requests {
            return statuses;
        }
        let body =
            format!(r#"{{"model":"gpt-x","messages":[{{"role":"user","content":"{index}"}}]}}"#);
        let ask = Ask::post("/v1/chat/completions", body);
        let open = match &mut connection {
            None => connection.insert(ask.open(addr).unwrap()),
            Some(open) => {
                open.again(&ask.bytes(addr)).unwrap();
                open
            }
        };
        let status = open.read_head().unwrap();
        let (body, whole) = open.rest(false);
        assert!(whole, "request {index}");
        if status == 502 {
            let text = String::from_utf8_lossy(&body);
            assert!(text.contains("outcome_unknown"), "{text}");
        }
        statuses.push((index, status));
        let pause = fastrand::Rng::with_seed(index as u64).u64(0..10);
        thread::sleep(Duration::from_millis(pause));
    }
}

/// Requests by the clock, each on a thread of its own: when it began and ended, and its answer.
fn offer(
    addr: SocketAddr,
    count: u32,
    apart: Duration,
) -> Vec<thread::JoinHandle<(Instant, Instant, Answer)>> {
    let start = Instant::now();
    let mut running = Vec::new();
    for index in 0..count {
        thread::sleep((start + apart * index).saturating_duration_since(Instant::now()));
        running.push(thread::spawn(move || {
            let begun = Instant::now();
            let body = chat("gpt-x", index % 2 == 0);
            let answer = Ask::post("/v1/chat/completions", body).send(addr);
            (begun, Instant::now(), answer)
        }));
    }
    running
}

// Acceptance 13, D11
#[test]
fn a_dead_base_url_beside_two_that_work_gets_probes_only_and_clients_never_know() {
    let (_port, dead) = refusing();
    let provider = Provider::start(Options::default()).unwrap();
    let other = Provider::start(Options::default()).unwrap();
    let mut setup = Setup::new("openai", &["a", "b", "c"]);
    setup.apart.push(("a".into(), setup.base_url(dead)));
    setup.apart.push(("c".into(), setup.base_url(other.addr())));
    let authpool = setup.start(provider.addr());
    let ejected = "authpool_subscription_state{state=\"ejected\",subscription=\"a\"}";
    let mut sent = 0;
    while authpool.metric(ejected) < 1.0 {
        let all = offer(authpool.addr, 5, Duration::from_millis(5));
        for asked in all {
            assert_eq!(asked.join().unwrap().2.status, 200);
            sent += 1;
        }
        assert!(sent < 200, "it is never ejected");
    }
    let before = attempts(&authpool, "a");
    for asked in offer(authpool.addr, 200, Duration::from_millis(25)) {
        let answer = asked.join().unwrap().2;
        assert_eq!((answer.status, answer.whole), (200, true));
        sent += 1;
    }
    let probes = attempts(&authpool, "a") - before;
    println!(
        "{sent} requests: the dead one was tried {before} times, then probed {probes} times in 5 s"
    );
    // 1 s, 2 s, 4 s apart: the instants of five seconds see three at most.
    assert!((1.0..=3.0).contains(&probes), "{probes} tries in 5 s");
    let served = provider.ledger().count("cred-b") + other.ledger().count("cred-c");
    assert_eq!(served, sent);
}

// Acceptance 13, C8 (d) and (g), D11
#[test]
fn a_dead_base_url_that_all_share_is_told_clearly_and_serves_at_once_when_it_is_back() {
    let provider = Provider::start(Options::default()).unwrap();
    let addr = provider.addr();
    let authpool = Setup::new("openai", &["a", "b", "c"]).start(addr);
    for asked in offer(authpool.addr, 12, Duration::from_millis(5)) {
        assert_eq!(asked.join().unwrap().2.status, 200);
    }
    provider.stop();
    let running = offer(authpool.addr, 40, Duration::from_millis(50));
    let back = Instant::now();
    let provider = Provider::start(Options {
        listen: addr,
        ..Options::default()
    })
    .unwrap();
    let since = Instant::now();
    let after = offer(authpool.addr, 30, Duration::from_millis(10));
    let mut refused = 0;
    for asked in running {
        let (_, ended, answer) = asked.join().unwrap();
        if answer.status == 200 {
            assert!(ended > back, "served while the provider was away");
            continue;
        }
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (502, "upstream_failed")
        );
        refused += 1;
    }
    assert!(refused >= 30, "{refused}");
    for (index, asked) in after.into_iter().enumerate() {
        let (begun, ended, answer) = asked.join().unwrap();
        assert_eq!(
            answer.status,
            200,
            "request {index}, {:?} after the provider was back: {}",
            begun - since,
            answer.text()
        );
        assert!(
            ended - begun < Duration::from_secs(1),
            "{:?}",
            ended - begun
        );
    }
    assert!(provider.ledger().entries().len() >= 30);
}
