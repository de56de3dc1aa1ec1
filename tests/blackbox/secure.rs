//! TLS from end to end: certificates in files, the command line over https, and a rotation without a restart.

use std::fs;
use std::io::{Read as _, Write as _};

use hyper::Method;
use rcgen::{CertificateParams, KeyPair};

use crate::support::client::Client;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::{command, run};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

/// Writes a certificate for the loopback address that vouches for itself, and its key. Both are moved into their
/// places, so that nobody reads half of them.
fn rotate(site: &Site) {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    for (name, content) in [
        ("key.pem", pair.serialize_pem()),
        ("cert.pem", certificate.pem()),
    ] {
        fs::write(site.path("new"), content).unwrap();
        fs::rename(site.path("new"), site.path(name)).unwrap();
    }
}

#[tokio::test]
async fn the_command_line_speaks_https_and_a_new_certificate_needs_no_restart() {
    let site = Site::new();
    rotate(&site);
    let model = ModelServer::start(Behaviour::GOOD);
    let digits = Digits::new(model.address(), model.address(), "weight: 10%");
    let (plain, tls) = (
        format!("admin: {}", site.admin),
        format!(
            "admin: {{address: {}, tls: {{cert: cert.pem, key: key.pem}}}}",
            site.admin
        ),
    );
    let text = site.text(&digits);
    assert!(text.contains(&plain));
    site.write(text.replace(&plain, &tls));
    let mut serin = site.launch();
    let url = format!("https://{}", site.admin);
    let first = site.path("first.pem");
    fs::copy(site.path("cert.pem"), &first).unwrap();
    let ask = async |ca: &std::path::Path| {
        let ca = ca.to_str().unwrap();
        let said = site
            .verb(&["history", "digits", "--admin", &url, "--admin-ca", ca])
            .await;
        said.code == Some(0)
    };
    eventually("https is answered", SOON, async || {
        assert!(serin.is_running(), "it ended: {}", serin.log());
        ask(&first).await.then_some(())
    })
    .await;
    // Nobody vouches for it but its own file, and plain HTTP is not spoken.
    site.verb_exits(1, &["history", "digits", "--admin", &url])
        .await;
    site.verb_exits(1, &["history", "digits"]).await;

    rotate(&site);
    let second = site.path("cert.pem");
    eventually("the new certificate is shown", SOON, async || {
        ask(&second).await.then_some(())
    })
    .await;
    assert!(!ask(&first).await, "the old one is gone");
}

/// Without a check of its health an endpoint's certificate is looked at by requests alone: the log says why none of them
/// is answered, and doesn't say it for each.
#[tokio::test]
async fn why_an_endpoint_is_not_trusted_is_logged_once() {
    let site = Site::new();
    rotate(&site);
    // The admin port itself is such an endpoint.
    site.write(format!(
        "listen: {}\nadmin: {{address: {admin}, tls: {{cert: cert.pem, key: key.pem}}}}\nstate: {}\nroutes:\n  - name: \
         plain\n    backends: {{baseline: {{endpoints: [\"https://{admin}\"]}}}}\n",
        site.http,
        site.path("state").display(),
        admin = site.admin,
    ));
    let mut serin = site.launch();
    let mut client = Client::http1(site.http);
    let mut ask = async || client.ask(Method::GET, "/livez", &[], "").await;
    eventually("the endpoint is there", SOON, async || {
        assert!(serin.is_running(), "it ended: {}", serin.log());
        std::net::TcpStream::connect(site.admin).ok()
    })
    .await;
    for _ in 0..20 {
        assert_eq!(ask().await.unwrap().status, 502);
    }
    let log = serin.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("an endpoint gives no answer"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains("certificate") && told[0].contains(&site.admin.to_string()),
        "{told:?}"
    );
}

/// Nothing would be believed of such an endpoint, and a route that is left out is traffic that goes elsewhere.
#[tokio::test]
async fn https_endpoints_without_any_roots_are_refused() {
    let site = Site::new();
    let config = site.config();
    for backend in ["", ", tls: {server_name: models.example}"] {
        site.write(format!(
            "listen: {}\nroutes:\n  - name: secret\n    match: {{path_prefix: /secret}}\n    backends: {{baseline: \
             {{endpoints: [\"https://127.0.0.1:1\"]{backend}}}}}\n  - name: rest\n    backends: {{baseline: {{endpoints: \
             [\"http://127.0.0.1:2\"]}}}}\n",
            site.http,
        ));
        let mut check = command();
        check
            .args(["check", "-c", config.to_str().unwrap()])
            .env("SSL_CERT_FILE", site.path("none.pem"))
            .env("SSL_CERT_DIR", site.path("none"));
        let said = run(check).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        let why = "https endpoints, and no root certificates on this system";
        assert!(said.err.contains(why), "{said:?}");
    }
}

/// Whoever may connect may say anything in a handshake, as often as they like: the log is not theirs to fill.
#[tokio::test]
async fn handshakes_that_are_odd_are_not_logged() {
    /// TLS 1.2, a record of a kind that nobody has begun with.
    const ODD: &[u8] = b"\x17\x03\x03\x00\x05hello";
    let site = Site::new();
    rotate(&site);
    site.write(format!(
        "listen: {{address: {}, tls: {{cert: cert.pem, key: key.pem}}}}\nroutes:\n  - name: plain\n    backends: \
         {{baseline: {{endpoints: [\"http://127.0.0.1:1\"]}}}}\n",
        site.http,
    ));
    let mut serin = site.launch();
    eventually("it listens", SOON, async || {
        assert!(serin.is_running(), "it ended: {}", serin.log());
        std::net::TcpStream::connect(site.http).ok()
    })
    .await;
    for _ in 0..20 {
        let mut client = std::net::TcpStream::connect(site.http).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client.write_all(ODD).unwrap();
        // The connection is over, and what is said of it was said.
        let _ = client.read_to_end(&mut Vec::new());
    }
    let log = serin.log();
    assert!(!log.contains("rustls"), "{log}");
}
