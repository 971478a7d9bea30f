//! How an exchange with a provider fails, told in the words that the choice of the next step needs: was anything
//! sent, was it a limit of ours, was there a connection at all. What follows from that is the proxy's.

use std::io;
use std::net::SocketAddr;

/// Any error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The exchange broke before an answer's head arrived.
#[derive(Debug, thiserror::Error)]
#[error("no answer from upstream")]
pub struct SendError {
    /// A byte of the request may have reached the provider. `false` is certain: it was not processed.
    pub sent: bool,
    /// One of our time limits ended it.
    pub timeout: bool,
    /// It failed before a connection existed (name, TCP or TLS).
    pub connect: bool,
    /// Whoever asked for it wanted it no more once there was a connection.
    pub withdrawn: bool,
    /// Why.
    pub source: BoxError,
}

impl SendError {
    /// The exchange had begun; `sent` tells whether bytes had gone out.
    pub(super) fn exchange(sent: bool, timeout: bool, source: impl Into<BoxError>) -> Self {
        Self {
            sent,
            timeout,
            connect: false,
            withdrawn: false,
            source: source.into(),
        }
    }

    /// It was not begun, by its sender's own wish.
    pub(super) fn withdrawn() -> Self {
        Self {
            withdrawn: true,
            ..Self::exchange(false, false, ExchangeError::Withdrawn)
        }
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        Self {
            sent: false,
            timeout: matches!(error, ConnectError::Timeout),
            connect: true,
            withdrawn: false,
            source: error.into(),
        }
    }
}

/// Why an exchange ended that had a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("no answer within the time limit")]
    Timeout,
    #[error("the request was withdrawn before it was begun")]
    Withdrawn,
    #[error("the provider switched protocols unasked")]
    Switched,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or looking it up failed.
    #[error("the host name cannot be resolved")]
    Resolve(#[source] io::Error),
    /// Every address of the host is one that must not be reached: link-local, where clouds keep their metadata.
    #[error("the address {0} is link-local or a metadata service")]
    Forbidden(SocketAddr),
    /// The last address that was tried.
    #[error("cannot connect to {0}")]
    Tcp(SocketAddr, #[source] io::Error),
    /// The certificate was refused, or the handshake broke.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// TLS was asked for, but no TLS configuration was given: never answered by going cleartext.
    #[error("no TLS configuration for a provider that needs one")]
    NoTls,
    /// The time limit `connect` passed.
    #[error("no connection within the time limit")]
    Timeout,
    /// HTTP could not be begun on the connection.
    #[error("the connection cannot be used")]
    Handshake(#[source] hyper::Error),
}

/// Why an answer's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing was read for the provider's `idle`.
    #[error("the answer paused for too long")]
    IdleTimeout,
    /// The attempt took the provider's `total`.
    #[error("the answer took too long")]
    TotalTimeout,
    /// The connection broke, or the framing was wrong.
    #[error("the answer broke off")]
    Broken(#[source] hyper::Error),
}

impl BodyError {
    /// Whether one of our time limits ended it.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::IdleTimeout | Self::TotalTimeout)
    }
}
