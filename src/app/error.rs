//! Why authpool does not start: one clear line each, naming the thing at fault.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{server, upstream};

/// Why it does not start, or a reload is refused.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on.
    #[error("{key}: cannot listen on {addr}")]
    Listen {
        /// `server.listen` or `admin.listen`.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The listener's certificate or key.
    #[error("server.tls")]
    ServerTls(#[source] server::TlsError),
    /// A provider's trust roots.
    #[error("provider {id}")]
    ProviderTls {
        /// Which.
        id: Arc<str>,
        /// What is wrong.
        source: upstream::TlsError,
    },
    /// No thread or runtime.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// Two series of one name.
    #[error("cannot set up the metrics")]
    Metrics(#[from] prometheus::Error),
}
