//! authpool: a reverse proxy that pools an organisation's LLM provider credentials.
//!
//! A pure [`core`] decides and does nothing; a shell reads clocks, sockets and files and carries out what the core
//! decided. Dependencies point one way: `main -> cli -> app -> everything else -> core`; `tests/architecture.rs`
//! checks them.
//!
//! # Where is...
//!
//! - a 429 read: `core/dialect/answer`; an operator's rule of what it means: `core/limit/rules`
//! - what it does to a subscription: `core/limit/breaker`, called from `core/pools` at observe and settle
//! - whether we try again: `proxy/attempt`
//! - when the first byte goes to the client: `proxy/commit`
//! - what the client is told: `proxy/refusal` (which code and status), `core/dialect/word` (in which words)
//! - a header stripped: `proxy/head`
//! - who waits and who is next: `core/choice`, `balancer`
//! - which pools a request falls back to, and by which name of the model: `proxy/chain`; when: `core/pools/decide`
//! - a connection to a provider: `upstream`
//! - a line of the log: `log`; a figure: `metrics`; how either gets there: `records`, `app/hub`
//!
//! # Invariants
//!
//! 1. `core` takes time as a `Timestamp`, randomness as a `u64`, and returns consequences as values.
//! 2. `core` holds no secret; credentials sit in a table beside the pools, reached by index.
//! 3. Whether a subscription may serve is computed from stored facts and `now`. Nothing latches.
//! 4. Every ticket is settled exactly once; a dropped lease settles itself as abandoned.
//! 5. After the commit point there is no second attempt. What may have been processed is never sent twice.
//! 6. Every queue has a bound and a stated policy for when it is full. The request path never waits for a sink.
//! 7. No lock is held over an `.await`; under the pools' guard nothing is sent, woken, formatted or grown.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admin;
pub mod app;
pub mod balancer;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod core;
pub mod log;
pub mod metrics;
pub mod proxy;
pub mod records;
pub mod scripted;
pub mod secret;
pub mod server;
mod sync;
pub mod tasks;
pub mod upstream;
