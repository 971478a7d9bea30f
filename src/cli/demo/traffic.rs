//! The demo's clients: bursts that go beyond what the subscriptions allow at once, and pauses that let them recover.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// Requests of a burst and the pause after it: on average below what the three subscriptions allow (2 a second).
const BURSTS: [(u32, Duration); 4] = [
    (3, Duration::from_millis(1500)),
    (16, Duration::from_secs(8)),
    (2, Duration::from_secs(1)),
    (6, Duration::from_secs(4)),
];
const MODELS: [&str; 2] = ["gpt-x", "gpt-y-mini"];

/// Requests to one proxy, and what became of them. Clones share the counts.
#[derive(Clone)]
pub struct Traffic {
    address: SocketAddr,
    key: &'static str,
    stop: CancellationToken,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Traffic {
    /// None yet.
    pub fn new(address: SocketAddr, key: &'static str) -> Self {
        Self {
            address,
            key,
            stop: CancellationToken::new(),
            counts: Arc::default(),
        }
    }

    /// Begins no more requests.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Answers with 429.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Answers with 5xx, and none at all.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Burst after burst, until stopped.
    pub async fn run(self, tasks: Tasks) {
        let mut number = 0u32;
        loop {
            for (burst, pause) in BURSTS {
                for _ in 0..burst {
                    number += 1;
                    let one = self.clone();
                    tasks.spawn(async move { one.count(number).await });
                }
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    async fn count(&self, number: u32) {
        match self.ask(number).await {
            Ok(429) => self.counts.refused.fetch_add(1, Ordering::Relaxed),
            Ok(status) if status < 500 => return,
            Ok(_) | Err(_) => self.counts.failed.fetch_add(1, Ordering::Relaxed),
        };
    }

    async fn ask(&self, number: u32) -> io::Result<u16> {
        let model = MODELS
            .into_iter()
            .cycle()
            .nth(number as usize % MODELS.len())
            .unwrap_or("gpt-x");
        let stream = number.is_multiple_of(2);
        let prompt = "tell me something about rate limits ".repeat(1 + number as usize % 40);
        // Models take their time; a provider that answers at once would hide what happens meanwhile.
        let delay = 250 + u64::from(number % 7) * 100;
        let options = if stream {
            r#","stream_options":{"include_usage":true}"#
        } else {
            ""
        };
        let body = format!(
            r#"{{"model":"{model}","stream":{stream}{options},"scripted":{{"delay_ms":{delay}}},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        let mut socket = TcpStream::connect(self.address).await?;
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let status = answer
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
