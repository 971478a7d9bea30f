//! End to end: the real binary on real sockets before the scripted provider, judged by the provider's ledger. Few
//! tests, each of something that only the whole can show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // a client has a clock of its own, and tells figures

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod canaries;
mod clients;
mod connections;
mod counting;
mod fallback;
mod first_light;
mod heads;
mod lifecycle;
mod limit_headers;
mod limits;
mod operation;
mod operator_rules;
mod overtaken;
mod refusals;
mod retries;
mod rules;
mod secrets;
mod sessions;
mod streams;
mod tls;
mod waiting;
mod wishes;
