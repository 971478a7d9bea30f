//! The scripted provider: an LLM provider for tests, for `authpool demo` and for `authpool provider`. It speaks the
//! shapes of Anthropic and OpenAI, keeps real limits, fails as a script tells it, and enters every request in a
//! ledger, by which tests judge. It decides nothing about pooling and shares no code with what it tests but the type
//! of an instant. Law: equal requests get equal bodies, whichever credential carries them, so that a body through a
//! proxy can be compared with one that went direct.
//!
//! # Paths
//!
//! Under any prefix: `POST /v1/messages`, `/v1/messages/count_tokens`, `/v1/chat/completions`, `/v1/responses`,
//! `/v1/embeddings`; `GET /v1/models` and `/v1/models/ID`; `GET` and `DELETE /v1/responses/ID`, only for the
//! credential that made it. Every other path is echoed (without headers). The credential is `authorization: Bearer`,
//! `x-api-key` or `api-key`. A request may say what it wants: `"scripted":{"output_tokens":64,"gap_ms":5,
//! "delay_ms":100,"fresh_id":true,"input_tokens":300}`; without that an answer has 16 tokens, or as many as its maximum allows.
//!
//! # Script
//!
//! `POST /_script` (and `--script FILE`) takes one rule, an array of rules, or one a line; the first that fits a
//! request decides; `GET` counts them, `DELETE` clears them:
//!
//! ```json
//! {"match":{"credential":"key-a","model":"m","path":"/v1/messages"},"times":2,"chance":0.5,"delay_ms":50,"do":{"corpus":"anth-529"}}
//! ```
//!
//! Every member of `match` may be absent; `path` is the end of the path, or its beginning where it ends in `*`.
//! `times` absent: for ever; `chance`: the part of the fitting requests it takes; `delay_ms`: waited before. `do` is
//! one of
//!
//! - `{"corpus":ID,"headers":{"retry-after":"7","date":null}}`: as recorded, with headers put over or removed;
//! - `{"status":429,"headers":{...},"body":"..."}`;
//! - `{"fault":NAME,...}`: `delay` (`ms`), `slow_stream` (`gap_ms`, `events`), `trickle` (`gap_ms`), `early_429`
//!   (`retry_after_ms`, `hold_ms`, `drain_bytes`), `reset_on_accept`, `reset_before`, `reset_within` (`bytes`),
//!   `reset_after_request`, `reset_after_head` (`events`), `cut_stream` (`events`, `clean`), `error_event_first` and
//!   `error_event_later` (`error`: `rate_limit`, `overloaded`, `server`; `events`), `html_403`, `hang`;
//! - `{"raw":"HTTP/1.1 200 OK\r\n...","repeat":1,"piece":0,"gap_ms":0,"then":"keep"}` (or `raw_base64`; `repeat`
//!   null: without end; `then`: `keep`, `close`, `reset`, `hang`);
//! - `{"serve":true}`: as if there were no rule.
//!
//! # Limits
//!
//! `POST /_limits` (and `--limits FILE`): `{"key-a":{"requests_per_minute":60,"tokens_per_minute":90000}}`, see
//! [`Limits`]; or among the rules `{"match":{"credential":"key-a"},"limit":{...}}`.
//!
//! # Ledger
//!
//! `GET /_ledger`: sums per credential; with `?entries` every request that is kept; `DELETE` forgets.

mod answer;
mod ask;
mod base64;
mod bucket;
mod connection;
mod control;
mod corpus;
mod dates;
mod deliver;
mod head;
mod ledger;
mod limits;
mod open;
mod plan;
mod rule;
mod script;
mod shapes;
mod signal;
mod ticket;
mod wire;
mod written;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use ledger::{Ended, Entry, Ledger, Totals};
pub use limits::Limits;
pub use rule::{Action, ErrorKind, Fault, Match, Raw, Rule, ScriptError, Then};
pub use script::Script;

use crate::clock::Clock;
use crate::tasks::Tasks;
use connection::Connection;
use ledger::Bounds;
use open::{Open, OpenGuard};
use shapes::responses::Made;
use wire::{Io, Wire};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;
/// What the kernel takes of a connection that is not read, in bytes. Left to itself it takes tens of megabytes, and
/// an answer before the body's end is none to a client that could write it all.
const UNREAD: usize = 256 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// How a provider is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0: one that is free.
    pub listen: SocketAddr,
    /// Speaks TLS by this configuration; `None`: cleartext.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Closes idle connections at random; `None`: never.
    pub idle_close: Option<IdleClose>,
    /// Whether the ledger keeps each request; else its sums only.
    pub record: bool,
    /// How many requests are kept; the oldest goes first.
    pub entries_kept: usize,
    /// How many bytes of each body are kept.
    pub body_kept: usize,
    /// How many bytes of all bodies together are kept; the oldest are emptied first.
    pub bodies_kept: usize,
    /// Decides what is left to chance: rules with a chance, idle connections.
    pub seed: u64,
    /// Threads, each with a runtime of its own; at least one.
    pub workers: usize,
    /// Whose instants the ledger shows.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            idle_close: None,
            record: true,
            entries_kept: 65_536,
            body_kept: 256 * 1024,
            bodies_kept: 64 * 1024 * 1024,
            seed: 0,
            workers: 1,
            clock: Clock::new(),
        }
    }
}

/// After an answer an idle connection is closed with this chance, after a time drawn evenly from the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdleClose {
    /// 0 to 1.
    pub chance: f64,
    /// The shortest time.
    pub min: Duration,
    /// The longest time.
    pub max: Duration,
}

/// A running provider. Dropping it stops it: the listener and every connection are closed.
#[derive(Debug)]
pub struct Provider {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    script: Script,
    ledger: Ledger,
    made: Made,
    clock: Clock,
    tls: Option<Arc<rustls::ServerConfig>>,
    idle_close: Option<IdleClose>,
    seed: u64,
    /// Counts ids that were asked to be fresh.
    fresh: AtomicU64,
    accepted: AtomicU64,
    open: Arc<Open>,
}

impl Provider {
    /// Binds and serves, on threads of its own: it may be used from any runtime or none.
    ///
    /// # Errors
    ///
    /// Where the address cannot be bound, or a runtime or thread not be made.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = bind(options.listen)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script: Script::new(options.seed),
            ledger: Ledger::new(Bounds {
                entries: if options.record {
                    options.entries_kept
                } else {
                    0
                },
                body: options.body_kept,
                bodies: options.bodies_kept,
            }),
            made: Made::default(),
            clock: options.clock,
            tls: options.tls,
            idle_close: options.idle_close,
            seed: options.seed,
            fresh: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            open: Arc::default(),
        });
        let mut provider = Self {
            addr,
            shared,
            stop: CancellationToken::new(),
            threads: Vec::new(),
        };
        for _ in 0..options.workers.max(1) {
            let thread = provider.worker(listener.try_clone()?)?;
            provider.threads.push(thread);
        }
        Ok(provider)
    }

    fn worker(&self, listener: StdListener) -> io::Result<JoinHandle<()>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        std::thread::Builder::new()
            .name("scripted".to_owned())
            .spawn(move || work(runtime, listener, shared, &stop))
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as a URL, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.addr)
    }

    /// What it is told to do.
    pub fn script(&self) -> &Script {
        &self.shared.script
    }

    /// What it was asked. A clone outlives the provider.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// How many accepted connections are open, as far as this side knows.
    pub fn open_connections(&self) -> usize {
        self.shared.open.count()
    }

    /// Blocks until the condition holds of the number of open connections. `false` where it does not within `timeout`.
    pub fn wait_connections<F>(&self, condition: F, timeout: Duration) -> bool
    where
        F: FnMut(usize) -> bool,
    {
        self.shared.open.wait(condition, timeout)
    }

    /// Waits until the condition holds of the number of open connections, without blocking. `false` where it does not
    /// within `timeout`.
    pub async fn connections_until<F>(&self, condition: F, timeout: Duration) -> bool
    where
        F: FnMut(usize) -> bool,
    {
        self.shared.open.until(condition, timeout).await
    }

    /// Stops it, and returns once the listener and every connection are closed: from then on connections are refused.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic over there has been printed there; the tests see its effect.
            let _ = thread.join();
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // Tests restart a provider on the address it had.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(UNREAD)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until told to stop. What then still runs is dropped with the runtime.
fn work(runtime: Runtime, listener: TcpListener, shared: Arc<Shared>, stop: &CancellationToken) {
    runtime.block_on(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(listener, shared) => {}
        }
    });
    drop(runtime);
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let tasks = Tasks::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let open = Open::enter(&shared.open);
                drop(tasks.spawn(greet(stream, Arc::clone(&shared), open)));
            }
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

async fn greet(stream: TcpStream, shared: Arc<Shared>, open: OpenGuard) {
    if shared.script.resets_accepted() {
        let _ = stream.set_zero_linger();
        drop(stream);
        return drop(open);
    }
    let _ = stream.set_nodelay(true);
    let io = match &shared.tls {
        None => Io::Plain(stream),
        Some(config) => {
            let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
            match tokio::time::timeout(HANDSHAKE, accepting).await {
                Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
    Connection::new(Wire::new(io), shared, number, open)
        .run()
        .await;
}
