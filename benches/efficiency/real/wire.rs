//! Requests as bytes, each on a connection of its own, at their instants.

use std::net::SocketAddr;
use std::time::Duration;

use authpool::clock::Clock;
use authpool::core::time::Timestamp;
use authpool::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Arrivals, Sent};
use crate::load::{Load, MAX_TOKENS, MODELS};
use crate::setting::Setting;
use crate::words::Habit;

/// How long a client has patience, beyond what the pool makes him wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events of an answer's stream.
const EVENTS: u64 = 5;

/// Sends each at its instant, worded by `request` with its number, and waits for all answers.
pub(super) async fn send(
    arrivals: Arrivals,
    request: impl Fn(usize, &Load) -> Vec<u8>,
    clock: Clock,
    address: SocketAddr,
) -> Vec<Sent> {
    let tasks = Tasks::new();
    let mut running = Vec::with_capacity(arrivals.len());
    for (number, (at, load)) in arrivals.into_iter().enumerate() {
        clock.sleep_until(Timestamp::from_micros(at)).await;
        let request = request(number, &load);
        running.push(tasks.spawn(async move {
            let arrival = clock.now().as_micros();
            let asked = tokio::time::timeout(PATIENCE, ask(address, &request)).await;
            let status = asked.ok().and_then(Result::ok).unwrap_or(0);
            Sent {
                load,
                arrival,
                status,
            }
        }));
    }
    let mut sent = Vec::with_capacity(running.len());
    for task in running {
        sent.extend(task.await);
    }
    sent
}

/// One request as bytes: its number first, so that the ledger keeps it.
pub(super) fn request(setting: &Setting, number: usize, key: &str, load: &Load) -> Vec<u8> {
    let (path, header) = match setting.habit {
        Habit::Anthropic => ("/v1/messages", "x-api-key: "),
        Habit::OpenAi | Habit::Gemini => ("/v1/chat/completions", "authorization: Bearer "),
    };
    let (delay, gap) = (load.head / 1_000, load.length / 1_000 / EVENTS);
    let (model, input) = (MODELS[load.model], load.input);
    let begin = format!(
        r#"{{"n":{number},"model":"{model}","max_tokens":{MAX_TOKENS},"stream":true,"scripted":{{"output_tokens":{EVENTS},"input_tokens":{input},"delay_ms":{delay},"gap_ms":{gap}}},"messages":[{{"role":"user","content":"{number} "#
    );
    let end = r#""}]}"#;
    let padding = (load.bytes as usize).saturating_sub(begin.len() + end.len());
    let body = format!("{begin}{}{end}", "x".repeat(padding));
    format!(
        "POST {path} HTTP/1.1\r\nhost: authpool\r\n{header}{key}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request on a connection of its own and reads its answer to the end.
async fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<u16> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(request).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let status = answer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(status.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}
