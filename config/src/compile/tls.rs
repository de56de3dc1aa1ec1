//! `tls`: which files hold certificates and keys, and whether they belong together.
//!
//! The files are read and tried out at once. What is wrong is said where the file is named; what a key holds
//! is never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{Error, RootCertStore};

use super::secret;
use crate::load::Fingerprint;
use crate::tls::{self, ClientTls, Identity, ServerTls};
use crate::walk::{At, Fields, Keys};

pub(crate) const SERVER_KEYS: Keys = Keys {
    known: &["cert", "key", "client_ca"],
    later: &[],
};
pub(crate) const CLIENT_KEYS: Keys = Keys {
    known: &["ca", "cert", "key", "server_name"],
    later: &[],
};
const CERTIFICATE: &str = "a PEM file with a certificate and its chain";
const KEY: &str = "a PEM file with the certificate's private key";
const AUTHORITY: &str = "a PEM file with certificates of authorities";

/// A listener's `{cert, key, client_ca}`.
pub(crate) fn server(at: &At<'_>) -> Option<ServerTls> {
    let fields = at.fields(SERVER_KEYS)?;
    let mut read = Read::default();
    let cert = fields.require("cert", CERTIFICATE);
    let key = fields.require("key", KEY);
    let cert = cert.and_then(|at| read.certificate(at));
    let key = key.and_then(|at| read.key(at));
    let clients = fields.get("client_ca").map(|at| read.roots(at));
    let (cert, chain) = cert?;
    let (key, private) = key?;
    let (client_ca, roots) = split(none_if_refused(clients)?);
    let identity = Identity {
        chain,
        key: private,
    };
    let config = tls::server(identity, roots)
        .map_err(|error| blame(&fields, &error))
        .ok()?;
    Some(ServerTls {
        cert,
        key,
        client_ca,
        content: read.content(),
        config,
    })
}

/// A backend's `tls: {ca, cert, key, server_name}`; without a `ca`, the system's roots.
pub(crate) fn client(backend: &Fields<'_>) -> Option<ClientTls> {
    let Some(at) = backend.get("tls") else {
        let offers = tls::client(known_roots(&backend.at)?, None)
            .map_err(|error| blame(backend, &error))
            .ok()?;
        return Some(ClientTls {
            ca: None,
            cert: None,
            key: None,
            server_name: None,
            content: Read::default().content(),
            offers,
        });
    };
    let fields = at.fields(CLIENT_KEYS)?;
    let mut read = Read::default();
    let ca = fields.get("ca").map(|at| read.roots(at));
    let certificate = fields.get("cert").map(|at| read.certificate(at));
    let key = fields.get("key").map(|at| read.key(at));
    let name = fields.get("server_name").map(server_name);
    if certificate.is_some() != key.is_some() {
        at.refuse(
            "one of `cert` and `key`",
            "both, or neither: a certificate is shown with its key",
        );
        return None;
    }
    let (ca, roots) = split(none_if_refused(ca)?);
    let (cert, chain) = split(none_if_refused(certificate)?);
    let (key, private) = split(none_if_refused(key)?);
    let server_name = none_if_refused(name)?;
    let identity = chain
        .zip(private)
        .map(|(chain, key)| Identity { chain, key });
    let roots = match roots {
        Some(roots) => Arc::new(roots),
        None => known_roots(at)?,
    };
    let offers = tls::client(roots, identity)
        .map_err(|error| blame(&fields, &error))
        .ok()?;
    Some(ClientTls {
        ca,
        cert,
        key,
        server_name,
        content: read.content(),
        offers,
    })
}

/// The system's roots, if it has any: without one no certificate would be believed.
fn known_roots(at: &At<'_>) -> Option<Arc<RootCertStore>> {
    let roots = tls::system_roots();
    if roots.is_empty() {
        at.refuse(
            "https endpoints, and no root certificates on this system",
            "`tls: {ca: FILE}`, or the system's own (usually in a package `ca-certificates`)",
        );
        return None;
    }
    Some(roots)
}

fn server_name(at: &At<'_>) -> Option<ServerName<'static>> {
    const NAME: &str = "a host's name such as \"models.example\"";
    let name = ServerName::try_from(at.text(NAME)?.to_owned()).ok();
    if name.is_none() {
        at.unexpected(NAME);
    }
    name
}

/// The certificate and key were read one by one; together they don't work.
fn blame(fields: &Fields<'_>, error: &Error) {
    let (name, found, expected) = match error {
        Error::InconsistentKeys(_) => (
            "key",
            "a private key that belongs to another certificate",
            KEY,
        ),
        Error::InvalidCertificate(_) => ("cert", "a certificate that is malformed", CERTIFICATE),
        _ => ("key", "a private key of a kind that is not supported", KEY),
    };
    let at = fields.get(name).unwrap_or(&fields.at);
    at.refuse(&format!("{}, {found}", at.described()), expected);
}

/// A key that stands there and was refused spoils the whole.
fn none_if_refused<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn split<A, B>(pair: Option<(A, B)>) -> (Option<A>, Option<B>) {
    pair.unzip()
}

/// Files as they are read, for the fingerprint of all of them.
#[derive(Default)]
struct Read(Vec<u8>);

impl Read {
    fn certificate(&mut self, at: &At<'_>) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
        let (path, content) = self.file(at, CERTIFICATE)?;
        let chain = tls::certificates_in(&content);
        let refuse = |found| at.refuse(&format!("{}, {found}", at.described()), CERTIFICATE);
        Some((path, chain.map_err(refuse).ok()?))
    }

    fn key(&mut self, at: &At<'_>) -> Option<(PathBuf, PrivateKeyDer<'static>)> {
        let (path, content) = self.file(at, KEY)?;
        match PrivateKeyDer::from_pem_slice(&content) {
            Ok(key) => Some((path, key)),
            Err(_) => {
                let is_encrypted = content.windows(9).any(|part| part == b"ENCRYPTED");
                let what = if is_encrypted {
                    "a private key that is encrypted"
                } else {
                    "no private key in PEM"
                };
                let found = format!("{}, which holds {what}", at.described());
                at.refuse(&found, KEY);
                None
            }
        }
    }

    fn roots(&mut self, at: &At<'_>) -> Option<(PathBuf, RootCertStore)> {
        let (path, content) = self.file(at, AUTHORITY)?;
        let roots = tls::roots_in(&content);
        let refuse = |found| at.refuse(&format!("{}, {found}", at.described()), AUTHORITY);
        Some((path, roots.map_err(refuse).ok()?))
    }

    fn file(&mut self, at: &At<'_>, expected: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = Path::new(at.text(expected)?).to_owned();
        let content = secret::content(at, expected)?;
        self.0
            .extend_from_slice(&(content.len() as u64).to_le_bytes());
        self.0.extend_from_slice(&content);
        Some((path, content))
    }

    fn content(&self) -> Fingerprint {
        Fingerprint::of_bytes(&self.0)
    }
}
