//! Certificates made on the spot, files of them, and TLS on both sides of the proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serin_config::model::{Backend, Config, Listener};

/// Someone who signs certificates, and the folder where they are kept.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for this name, valid now.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.sign(name, CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// One that was valid once.
    pub(crate) fn issue_expired(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Pair {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}-{kind}.pem"));
        let pair = Pair {
            cert: file("cert"),
            key: file("key"),
        };
        fs::write(&pair.cert, signed.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// A client that trusts this authority, speaks these protocols, and may have a certificate.
    pub(crate) fn client(&self, alpn: &[&[u8]], identity: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_file(&pair.cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// What a listener with this `tls` is; read as a configuration file would be.
    pub(crate) fn listener(&self, pair: &Pair, client_ca: Option<&Path>) -> Listener {
        let tls = serde_json::json!({"cert": pair.cert, "key": pair.key});
        let mut tls = tls;
        if let Some(ca) = client_ca {
            tls["client_ca"] = serde_json::json!(ca);
        }
        let config = self.read(serde_json::json!({
            "listen": {"address": "127.0.0.1:0", "tls": tls},
            "routes": [{"name": "a", "backends": {"baseline": {"endpoints": ["http://h:1"]}}}],
        }));
        config.listeners[0].clone()
    }

    /// A backend at this URL with this `tls`.
    pub(crate) fn backend(&self, url: &str, tls: &serde_json::Value) -> Backend {
        let config = self.read(serde_json::json!({
            "listen": "127.0.0.1:0",
            "routes": [{"name": "a", "backends": {"baseline": {"endpoints": [url], "tls": tls}}}],
        }));
        config.routes[0].baseline.clone()
    }

    fn read(&self, config: serde_json::Value) -> Config {
        let file = self.folder().join("serin.yaml").display().to_string();
        serin_config::parse(&config.to_string(), &file).unwrap_or_else(|errors| panic!("{errors}"))
    }
}
