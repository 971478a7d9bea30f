//! TLS towards clients: 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN, resumption by tickets whose key outlives a
//! reload. A certificate that cannot serve is refused here, before it replaces one that can.

use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;

/// Why a certificate and its key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file is not PEM.
    #[error("the certificate file cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// The certificate file has no certificate.
    #[error("the certificate file has no certificate")]
    NoCertificate,
    /// The key file has no private key.
    #[error("the key file has no usable private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// The key is not the certificate's, or of a kind that cannot be used.
    #[error("certificate and key cannot be used")]
    Rustls(#[from] rustls::Error),
}

/// The TLS configuration of a listener, from the content of two PEM files: the chain, leaf first, and its key.
pub fn server_tls(cert_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, TlsError> {
    let chain = CertificateDer::pem_slice_iter(cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(TlsError::Key)?;
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = tickets()?;
    Ok(config)
}

/// One for the process: a ticket is honoured after a reload, and by every thread.
fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    static TICKETS: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(tickets) = TICKETS.get() {
        return Ok(Arc::clone(tickets));
    }
    let fresh = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::clone(TICKETS.get_or_init(|| fresh)))
}
