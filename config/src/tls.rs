//! TLS, proven: certificates that were read, keys that belong to them, and what both make in rustls.
//!
//! A configuration is built as soon as its files are read, so that a bad file is refused with its place in the
//! YAML and never found out by a client. Two are equal when their files hold the same: a rewritten file with
//! the same content changes nothing, and a new certificate is an edit like any other. Whoever serves keeps a
//! configuration for as long as it is equal, because session tickets are its own.
//!
//! TLS 1.2 and 1.3 only, with *ring*, which is named here and nowhere relied on as a default. Verification
//! can't be turned off.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::load::Fingerprint;

/// HTTP/2, as the handshake names it.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1, as the handshake names it.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// How a listener proves who it is.
#[derive(Clone)]
pub struct ServerTls {
    /// The certificate, and what leads from it to its root, in PEM.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates, in PEM; they are required then.
    pub client_ca: Option<PathBuf>,
    pub(crate) content: Fingerprint,
    pub(crate) config: Arc<ServerConfig>,
}

/// How a backend's endpoints are reached and recognised.
#[derive(Clone)]
pub struct ClientTls {
    /// Who signs the endpoints' certificates, in PEM; the system's roots when there is none.
    pub ca: Option<PathBuf>,
    /// Our certificate, if endpoints want to see one, in PEM.
    pub cert: Option<PathBuf>,
    /// Its private key in PEM.
    pub key: Option<PathBuf>,
    /// The name that endpoints must prove and are told (SNI), instead of their own.
    pub server_name: Option<ServerName<'static>>,
    pub(crate) content: Fingerprint,
    pub(crate) offers: Offers,
}

/// What handshakes with upstreams are made with, by what they offer.
#[derive(Clone)]
pub(crate) struct Offers {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
}

impl ServerTls {
    /// What handshakes are made with; offers HTTP/2 and HTTP/1.1.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl ClientTls {
    /// What handshakes for HTTP/1.1 are made with.
    #[must_use]
    pub const fn http1(&self) -> &Arc<ClientConfig> {
        &self.offers.http1
    }

    /// What handshakes for HTTP/2 are made with.
    #[must_use]
    pub const fn http2(&self) -> &Arc<ClientConfig> {
        &self.offers.http2
    }

    /// What handshakes are made with in which the endpoint chooses between the two.
    #[must_use]
    pub const fn either(&self) -> &Arc<ClientConfig> {
        &self.offers.either
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
            && self.cert == other.cert
            && self.key == other.key
            && self.client_ca == other.client_ca
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
            && self.ca == other.ca
            && self.cert == other.cert
            && self.key == other.key
            && self.server_name == other.server_name
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("client_ca", &self.client_ca)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// A certificate with what leads to its root, and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// The cryptography of every configuration.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(provider)
}

/// For a listener; with `clients`, only clients that these vouch for.
pub(crate) fn server(
    identity: Identity,
    clients: Option<RootCertStore>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    // Sessions live in tickets that clients keep: workers share no cache.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// For a backend: they differ in what they offer and share their sessions.
pub(crate) fn client(
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
) -> Result<Offers, rustls::Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier);
    let config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
        None => builder.with_no_client_auth(),
    };
    let offering = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    };
    Ok(Offers {
        http1: offering(&[ALPN_HTTP1]),
        http2: offering(&[ALPN_HTTP2]),
        either: offering(&[ALPN_HTTP2, ALPN_HTTP1]),
    })
}

/// Trusts who these certificates in PEM vouch for, or else the system's roots; nothing is offered by ALPN.
///
/// # Errors
/// When there is no certificate, or a broken one.
pub fn trusting(authorities: Option<&[u8]>) -> Result<ClientConfig, String> {
    let roots = match authorities {
        None => system_roots(),
        Some(pem) => Arc::new(roots_in(pem)?),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities in a PEM file; at least one.
pub(crate) fn roots_in(pem: &[u8]) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(pem)? {
        roots
            .add(certificate)
            .map_err(|_| "which holds a malformed certificate")?;
    }
    Ok(roots)
}

/// The certificates in a PEM file; at least one.
pub(crate) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("which holds no certificate in PEM"),
        Ok(certificates) if certificates.iter().any(is_malformed) => {
            Err("which holds a malformed certificate")
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("which is broken PEM"),
    }
}

/// Whether nobody can read it. rustls looks at the first of a chain only, and clients at all of them.
fn is_malformed(certificate: &CertificateDer<'_>) -> bool {
    let parsed = ParsedCertificate::try_from(certificate);
    matches!(
        parsed,
        Err(rustls::Error::InvalidCertificate(
            CertificateError::BadEncoding
        ))
    )
}

/// The roots that the system trusts, read once; a change of them needs a restart.
pub(crate) fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // Some systems carry certificates that nobody can parse: they vouch for nothing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}
