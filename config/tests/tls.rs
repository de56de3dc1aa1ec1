//! Certificates and keys in files: read, refused where they are named, and followed as they change.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serin_config::watch::{Reload, Watcher};

/// An edit is in force within two seconds; a busy machine is given more.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Writes a certificate that signs itself, and its key.
fn write_pair(folder: &Path, cert: &str, key: &str) {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["models.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    fs::write(folder.join(cert), certificate.pem()).unwrap();
    fs::write(folder.join(key), pair.serialize_pem()).unwrap();
}

fn write_config(folder: &Path, listen_tls: &str, backend: &str) -> std::path::PathBuf {
    let path = folder.join("serin.yaml");
    let text = format!(
        "listen: [127.0.0.1:8080, {{address: 127.0.0.1:8443, tls: {listen_tls}}}]
routes:
  - name: digits
    backends: {{baseline: {backend}}}
"
    );
    fs::write(&path, text).unwrap();
    path
}

const PLAIN: &str = "{endpoints: [\"http://h:1\"]}";

#[test]
fn a_certificate_and_its_key_are_read() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "cert.pem", "key.pem");
    let listen = "{cert: cert.pem, key: key.pem, client_ca: cert.pem}";
    let backend = "{endpoints: [\"https://h\"], tls: {ca: cert.pem, cert: cert.pem, key: key.pem, server_name: other}}";
    let path = write_config(folder.path(), listen, backend);
    let config = serin_config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let [plain, secured] = config.config.listeners.as_slice() else {
        panic!("two listeners");
    };
    assert!(plain.tls.is_none());
    let tls = secured.tls.as_ref().expect("TLS");
    assert_eq!(tls.config().alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    let baseline = &config.config.routes.first().unwrap().baseline;
    let endpoint = baseline.endpoints.first().unwrap();
    assert_eq!(
        (endpoint.to_string().as_str(), endpoint.port),
        ("https://h:443", 443)
    );
    let tls = baseline.tls.as_ref().expect("TLS");
    assert_eq!(tls.http1().alpn_protocols, [b"http/1.1"]);
    assert_eq!(tls.http2().alpn_protocols, [b"h2"]);
    assert_eq!(tls.either().alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    // Shown by path, and read back as the same.
    let effective = serin_config::effective(&config.config);
    assert!(!format!("{effective} {config:?}").contains("PRIVATE"));
    let again = serin_config::parse(&effective.to_string(), &path.display().to_string());
    assert_eq!(again.as_ref(), Ok(&*config.config));
}

#[test]
fn system_roots_vouch_where_nothing_else_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "cert.pem", "key.pem");
    let backend = "{endpoints: [\"https://h\", \"http://h\"]}";
    let path = write_config(folder.path(), "{cert: cert.pem, key: key.pem}", backend);
    let config = serin_config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let baseline = &config.config.routes.first().unwrap().baseline;
    assert!(baseline.tls.as_ref().is_some_and(|tls| tls.ca.is_none()));
}

#[test]
fn bad_files_are_refused_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "cert.pem", "key.pem");
    write_pair(folder.path(), "other.pem", "other-key.pem");
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join("broken.pem"), broken).unwrap();
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join("nonsense.pem"), nonsense).unwrap();
    // Clients look at all of a chain.
    let good = fs::read_to_string(folder.path().join("cert.pem")).unwrap();
    fs::write(folder.path().join("chain.pem"), good + nonsense).unwrap();
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(folder.path().join("locked.pem"), locked).unwrap();
    // Nobody ever writes into it.
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    // The column of the value that is to blame, and words of the message.
    for (tls, column, expected) in [
        (
            "{cert: none.pem, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"none.pem\", which cannot be read (No such file",
        ),
        (
            "{cert: empty.pem, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"empty.pem\", which holds no certificate in PEM",
        ),
        (
            "{cert: broken.pem, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"broken.pem\", which is broken PEM",
        ),
        (
            "{cert: nonsense.pem, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"nonsense.pem\", which holds a malformed certificate",
        ),
        (
            "{cert: chain.pem, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"chain.pem\", which holds a malformed certificate",
        ),
        (
            "{cert: pipe, key: key.pem}",
            57 + 7,
            "listen[1].tls.cert: found \"pipe\", which cannot be read (not a regular file)",
        ),
        (
            "{cert: cert.pem, key: locked.pem}",
            57 + 22,
            "listen[1].tls.key: found \"locked.pem\", which holds a private key that is encrypted",
        ),
        (
            "{cert: cert.pem, key: cert.pem}",
            57 + 22,
            "listen[1].tls.key: found \"cert.pem\", which holds no private key in PEM",
        ),
        (
            "{cert: cert.pem, key: other-key.pem}",
            57 + 22,
            "listen[1].tls.key: found \"other-key.pem\", a private key that belongs to another certificate",
        ),
        (
            "{cert: cert.pem, key: key.pem, client_ca: key.pem}",
            57 + 42,
            "listen[1].tls.client_ca: found \"key.pem\", which holds no certificate in PEM",
        ),
    ] {
        let path = write_config(folder.path(), tls, PLAIN);
        let said = serin_config::load(&path).unwrap_err().to_string();
        assert!(said.contains(expected), "{tls}: {said}");
        let place = format!("serin.yaml:1:{column}: ");
        assert!(said.contains(&place), "{tls}: {said}");
        assert!(!said.contains('\n'), "{tls}: {said}");
    }
    let alone = "{endpoints: [\"https://h\"], tls: {cert: cert.pem}}";
    let path = write_config(folder.path(), "{cert: cert.pem, key: key.pem}", alone);
    let said = serin_config::load(&path).unwrap_err().to_string();
    assert!(said.contains("found one of `cert` and `key`"), "{said}");
}

/// Also in a folder that is not the configuration's.
#[test]
fn a_new_certificate_is_a_reload_and_a_bad_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    write_pair(&certs, "cert.pem", "key.pem");
    let path = write_config(
        folder.path(),
        "{cert: certs/cert.pem, key: certs/key.pem}",
        PLAIN,
    );
    let loaded = serin_config::load(&path).unwrap();
    let (deliver, reloads) = channel();
    let watcher = Watcher::start(&path, &loaded, move |reload| drop(deliver.send(reload))).unwrap();
    let next = || reloads.recv_timeout(IN_FORCE).expect("a reload in time");

    // Half of a rotation: the new certificate with the old key.
    write_pair(&certs, "cert.pem", "next-key.pem");
    let Reload::Refused(errors) = next() else {
        panic!("refused expected");
    };
    assert!(
        errors
            .to_string()
            .contains("belongs to another certificate"),
        "{errors}"
    );
    assert_eq!(*watcher.current(), *loaded.config);

    // A folder that nobody watches for its own sake: the watcher has to know of it.
    fs::rename(certs.join("next-key.pem"), certs.join("key.pem")).unwrap();
    let Reload::Applied(new, diff) = next() else {
        panic!("applied expected");
    };
    assert_eq!(diff.to_string(), "listen tls changed");
    assert_ne!(*new.config, *loaded.config);
}
