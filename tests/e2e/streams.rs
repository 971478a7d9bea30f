//! Streams pass untouched and at once, however many there are.

use std::thread;
use std::time::{Duration, Instant};

use authpool::clock::Clock;
use authpool::scripted::{Options, Provider};
use sha2::{Digest, Sha256};

use super::support::client::{Ask, Open};
use super::support::{Authpool, PATIENCE, Setup, alone};

const STREAMS: usize = 200;
/// Straight to the provider beside them: what the machine itself costs in the meantime.
const CONTROLS: usize = 40;
const EVENTS: u64 = 16;
/// Coprime with the gap, so that the streams' events spread over it.
const APART: Duration = Duration::from_millis(7);
const GAP_MS: u64 = 250;
const MOST_ADDED: Duration = Duration::from_millis(5);
/// Noise only adds: a program that delays events does so in every round.
const ROUNDS: usize = 4;

/// A body as it came: its bytes, and how many there were at which instant.
struct Came {
    body: Vec<u8>,
    reads: Vec<(usize, Instant)>,
}

// Acceptance 7, F3, C9
#[test]
fn two_hundred_streams_pass_unchanged_and_no_event_is_delayed() {
    let _alone = alone();
    let clock = Clock::new();
    let provider = Provider::start(Options {
        clock,
        ..Options::default()
    })
    .unwrap();
    for credential in ["cred-a", "cred-b", "cred-c", "control"] {
        let rule = format!(
            r#"{{"match":{{"credential":"{credential}"}},"do":{{"fault":"slow_stream","gap_ms":{GAP_MS}}}}}"#
        );
        provider.script().push_json(&rule).unwrap();
    }
    let authpool = Setup::new("openai", &["a", "b", "c"]).start(provider.addr());
    let mut best = Duration::MAX;
    for round in 0..ROUNDS {
        provider.ledger().clear();
        let (proxied, direct) = stream_side_by_side(&provider, &authpool, round);
        if round == 0 {
            compare_with_direct(&provider, &proxied);
        }
        let (proxied, direct) = (
            delays(&provider, &clock, &proxied, "stream"),
            delays(&provider, &clock, &direct, "control"),
        );
        let added = percentile(&proxied, 99).saturating_sub(percentile(&direct, 99));
        best = best.min(added);
        println!(
            "round {round}: {} events, from the provider's write to the client's read: median {:?}, p99 {:?}; \
             direct: median {:?}, p99 {:?}; added at p99: {added:?}",
            proxied.len(),
            percentile(&proxied, 50),
            percentile(&proxied, 99),
            percentile(&direct, 50),
            percentile(&direct, 99),
        );
        if best <= MOST_ADDED {
            break;
        }
    }
    assert!(best <= MOST_ADDED, "events are delayed by {best:?}");
}

/// The streams through authpool and the controls, started one by one and open at the same time.
fn stream_side_by_side(
    provider: &Provider,
    authpool: &Authpool,
    round: usize,
) -> (Vec<Came>, Vec<Came>) {
    let start = Instant::now();
    let run = |ask: Ask, addr, after: Duration| {
        thread::spawn(move || {
            thread::sleep((start + after).saturating_duration_since(Instant::now()));
            read_stream(ask.open(addr).unwrap())
        })
    };
    let proxied: Vec<_> = (0..STREAMS)
        .map(|index| {
            let ask = Ask::post("/v1/chat/completions", body(&format!("stream {index}")));
            run(ask, authpool.addr, APART * index as u32)
        })
        .collect();
    let direct: Vec<_> = (0..CONTROLS)
        .map(|index| {
            let text = format!("control {index} of round {round}");
            let apart = APART * (STREAMS / CONTROLS) as u32;
            run(
                to_provider("control", &text),
                provider.addr(),
                apart * index as u32,
            )
        })
        .collect();
    let join = |handles: Vec<thread::JoinHandle<Came>>| {
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    };
    (join(proxied), join(direct))
}

fn body(text: &str) -> String {
    format!(
        r#"{{"model":"gpt-x","stream":true,"max_tokens":{EVENTS},"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}

fn to_provider(credential: &str, text: &str) -> Ask {
    Ask::post("/v1/chat/completions", body(text))
        .without("authorization")
        .header("x-api-key", credential)
}

fn read_stream(mut open: Open) -> Came {
    assert_eq!(open.read_head().unwrap(), 200);
    let mut came = Came {
        body: Vec::new(),
        reads: Vec::new(),
    };
    while let Some((piece, at)) = open.chunk().unwrap() {
        came.body.extend(piece);
        came.reads.push((came.body.len(), at));
    }
    came
}

fn compare_with_direct(provider: &Provider, proxied: &[Came]) {
    for (index, came) in proxied.iter().enumerate() {
        let direct = to_provider("direct", &format!("stream {index}")).send(provider.addr());
        assert_eq!(direct.status, 200);
        assert_eq!(
            Sha256::digest(&came.body),
            Sha256::digest(&direct.body),
            "stream {index} is not what the provider sent"
        );
    }
}

/// From each event's write to its read, sorted; of the events after the first content.
fn delays(provider: &Provider, clock: &Clock, all: &[Came], prefix: &str) -> Vec<Duration> {
    let ended = |entries: &[authpool::scripted::Entry]| {
        entries.iter().all(|entry| entry.ended_at.is_some())
    };
    assert!(provider.ledger().wait_until(ended, PATIENCE));
    let entries = provider.ledger().entries();
    let mut delays = Vec::new();
    for (index, came) in all.iter().enumerate() {
        let marks = [
            format!("\"{prefix} {index}\""),
            format!("\"{prefix} {index} of"),
        ];
        let entry = entries
            .iter()
            .filter(|entry| entry.credential != "direct")
            .find(|entry| {
                let body = String::from_utf8_lossy(&entry.body);
                marks.iter().any(|mark| body.contains(mark))
            })
            .unwrap();
        let text = std::str::from_utf8(&came.body).unwrap();
        let events: Vec<&str> = text.split_inclusive("\n\n").collect();
        assert_eq!(
            events.len(),
            entry.written.len(),
            "one instant an event: {text}"
        );
        // The role comes first, the first word after it.
        let mut end = events[0].len() + events[1].len();
        for (event, written) in events.iter().zip(&entry.written).skip(2) {
            end += event.len();
            let read = came.reads.iter().find(|(bytes, _)| *bytes >= end).unwrap();
            let written = clock.instant(*written).into_std();
            delays.push(read.1.saturating_duration_since(written));
        }
    }
    delays.sort_unstable();
    delays
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}
