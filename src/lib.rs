//! authpool: a reverse proxy that pools an organisation's LLM provider credentials.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod app;
pub mod balancer;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod core;
pub mod metrics;
pub mod proxy;
pub mod records;
pub mod scripted;
pub mod secret;
pub mod server;
pub mod tasks;
pub mod upstream;
