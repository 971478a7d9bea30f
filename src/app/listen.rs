//! The listening sockets. All are bound before anything is announced, so that an occupied port ends the start.

use std::net::{SocketAddr, TcpListener};

use super::StartError;
use crate::config::Config;
use crate::server;

/// For each worker, one socket of each listener: the first worker's decides the port where the file says 0.
pub(super) fn bind_all(config: &Config) -> Result<Vec<Vec<TcpListener>>, StartError> {
    let mut all: Vec<Vec<TcpListener>> = Vec::new();
    for _ in 0..config.server.workers.get() {
        let bound: Result<Vec<_>, _> = match all.first() {
            None => config
                .server
                .listen
                .iter()
                .map(|addr| bind_first("server.listen", *addr))
                .collect(),
            Some(first) => addresses(first)
                .into_iter()
                .map(|addr| bind("server.listen", addr))
                .collect(),
        };
        all.push(bound?);
    }
    Ok(all)
}

pub(super) fn bind_admin(config: &Config) -> Result<Option<TcpListener>, StartError> {
    config
        .admin
        .as_ref()
        .map(|admin| bind_first("admin.listen", admin.listen))
        .transpose()
}

/// Binds after a look whether the port is free: by `SO_REUSEPORT` alone a second process would share it unseen.
fn bind_first(key: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    if addr.port() != 0 {
        drop(server::bind(addr, false).map_err(|source| StartError::Listen { key, addr, source })?);
    }
    bind(key, addr)
}

fn bind(key: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    server::bind(addr, true).map_err(|source| StartError::Listen { key, addr, source })
}

pub(super) fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect()
}
