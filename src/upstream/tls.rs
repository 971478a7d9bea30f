//! TLS towards providers: always verified, by the bundled roots, the system's or a given CA. What a configuration
//! makes impossible is refused when it is loaded, not when the first request comes.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::ProviderConfig;

/// Why a provider's TLS cannot work.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The base URL's host is neither a DNS name nor an address.
    #[error("the host {0} cannot be verified by TLS")]
    Name(Box<str>),
    /// The CA file is not PEM.
    #[error("the CA file cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A certificate of the CA file cannot be a root, or the parameters do not fit.
    #[error("the CA certificate cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The CA file, or the system's store, has no certificate.
    #[error("there is no root certificate to trust")]
    NoRoots,
}

/// The TLS configuration of a provider, to be shared by all threads: built and checked when the configuration is
/// loaded. `None`: its base URL is cleartext.
pub fn client_tls(provider: &ProviderConfig) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    if !provider.base_url.tls {
        return Ok(None);
    }
    server_name(&provider.base_url.host)?;
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(provider)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// The name that the provider's certificate must carry.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.into()))
}

fn roots(provider: &ProviderConfig) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &provider.ca {
        for certificate in CertificateDer::pem_slice_iter(ca.content.expose()) {
            roots.add(certificate.map_err(TlsError::Pem)?)?;
        }
    } else if provider.system_roots {
        // Single certificates of the system's store may be beyond repair; the rest still counts.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}
