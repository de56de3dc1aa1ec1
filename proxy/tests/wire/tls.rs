//! TLS with clients and with upstreams, with certificates that are made here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use serde_json::json;
use serin_config::model::{Protocol, Route};
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{Authority, Pair};
use super::support::{
    AnyBody, Proxy, config, full, get, get2, refusing, rollout, route, says, text, until, upstream,
    within,
};

const NAME: &str = "models.example";
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

async fn shake(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    within("handshake", connector.connect(name, stream)).await
}

/// Hands over the stream for a round on HTTP/1.1: status, and text.
async fn ask1(stream: TlsStream<TcpStream>) -> (u16, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = within("response", sender.send_request(get("/")))
        .await
        .unwrap();
    (response.status().as_u16(), text(response).await)
}

async fn ask2(stream: TlsStream<TcpStream>) -> (u16, String) {
    let (mut sender, connection) =
        http2::handshake::<_, _, AnyBody>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let response = within("response", sender.send_request(get2("/")))
        .await
        .unwrap();
    (response.status().as_u16(), text(response).await)
}

/// A proxy whose one listener bears this certificate.
fn secured(authority: &Authority, pair: &Pair, route: Route) -> Proxy {
    let mut config = config(vec![route]);
    config.listeners = vec![authority.listener(pair, None)];
    Proxy::start(config, 0.0)
}

/// Answers with the scheme that the proxy says the client used.
async fn echoes_scheme() -> SocketAddr {
    let answer = |request: Request<Incoming>| async move {
        let scheme = request.headers()["x-forwarded-proto"].to_str().unwrap();
        Response::new(full(scheme.to_owned()))
    };
    upstream(answer).await
}

#[tokio::test]
async fn the_handshake_says_which_protocol_is_spoken_and_the_first_bytes_where_it_does_not() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let proxy = secured(&authority, &pair, route(echoes_scheme().await));
    let https = (200, "https".to_owned());

    let both = authority.client(&[HTTP2, HTTP1], None);
    let stream = shake(proxy.address, &both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
    assert_eq!(ask2(stream).await, https);

    let one = authority.client(&[HTTP1], None);
    let stream = shake(proxy.address, &one).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP1));
    assert_eq!(ask1(stream).await, https);

    let silent = authority.client(&[], None);
    assert_eq!(
        ask1(shake(proxy.address, &silent).await.unwrap()).await,
        https
    );
    assert_eq!(
        ask2(shake(proxy.address, &silent).await.unwrap()).await,
        https
    );

    let other = authority.client(&[b"smtp"], None);
    assert!(shake(proxy.address, &other).await.is_err());
    until("counted", || {
        let mut page = serin_stats::metrics::Page::default();
        proxy.plane.metrics(&mut page);
        let metrics = page.to_text();
        metrics.contains("serin_tls_handshakes_total{result=\"completed\"} 4\n")
            && metrics.contains("serin_tls_handshakes_total{result=\"failed\"} 1\n")
    })
    .await;
}

#[tokio::test]
async fn plain_and_encrypted_listeners_stand_side_by_side() {
    let authority = Authority::new();
    let mut mixed = config(vec![route(echoes_scheme().await)]);
    let pair = authority.issue(NAME);
    mixed.listeners.push(authority.listener(&pair, None));
    let proxy = Proxy::start(mixed, 0.0);
    assert_eq!(text(proxy.ask(get("/")).await).await, "http");
    let secured = proxy.plane.addresses()[1];
    let stream = shake(secured, &authority.client(&[], None)).await.unwrap();
    assert_eq!(ask1(stream).await.1, "https");
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_breaks_no_old_ones() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let mut config = config(vec![route(says("x").await)]);
    config.listeners = vec![authority.listener(&pair, None)];
    let mut proxy = Proxy::start(config.clone(), 0.0);
    let client = authority.client(&[HTTP1], None);
    let old = shake(proxy.address, &client).await.unwrap();
    let first = certificate_of(&old);
    let (mut sender, connection) = http1::handshake(TokioIo::new(old)).await.unwrap();
    tokio::spawn(connection);
    text(sender.send_request(get("/")).await.unwrap()).await;

    // An edit that leaves the certificate as it is leaves session tickets as they are, too.
    config.limits.max_body += 1;
    config.listeners = vec![authority.listener(&pair, None)];
    proxy.install(&Arc::new(config.clone()), 0.0);
    let resumed = shake(proxy.address, &client).await.unwrap();
    let kind = resumed.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));

    let pair = authority.issue(NAME);
    config.listeners = vec![authority.listener(&pair, None)];
    proxy.install(&Arc::new(config), 0.0);
    let new = shake(proxy.address, &client).await.unwrap();
    assert_eq!(new.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    assert_ne!(certificate_of(&new), first);
    assert_eq!(ask1(new).await, (200, "x".to_owned()));
    let again = within("response", sender.send_request(get("/")))
        .await
        .unwrap();
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn clients_that_must_show_a_certificate_are_served_with_a_good_one_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.issue(NAME);
    let mut config = config(vec![route(says("x").await)]);
    config.listeners = vec![authority.listener(&pair, Some(&authority.ca()))];
    let proxy = Proxy::start(config, 0.0);
    let (good, foreign) = (authority.issue("client"), stranger.issue("client"));
    let client = authority.client(&[HTTP1], Some(&good));
    let stream = shake(proxy.address, &client).await.unwrap();
    assert_eq!(ask1(stream).await.0, 200);

    let expired = authority.issue_expired("late");
    for identity in [None, Some(&foreign), Some(&expired)] {
        let client = authority.client(&[HTTP1], identity);
        // In TLS 1.3 the client is done before the server has looked.
        if let Ok(mut stream) = shake(proxy.address, &client).await {
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            _ = stream.write_all(request).await;
            let mut answer = Vec::new();
            let read = within("the end", stream.read_to_end(&mut answer)).await;
            assert!(read.is_err(), "an alert, not an end: {identity:?}");
            assert!(answer.is_empty(), "{identity:?}");
        }
    }
}

/// A ClientHello of TLS 1.1, which knows nothing of later versions.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&[0, 4, 0xc0, 0x13, 0, 0x2f]);
    body.extend_from_slice(&[1, 0]);
    // Groups and signatures that we know, so that nothing but the version is to blame.
    body.extend_from_slice(&[0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut hello = vec![
        0x16,
        3,
        1,
        0,
        body.len() as u8 + 4,
        1,
        0,
        0,
        body.len() as u8,
    ];
    hello.extend_from_slice(&body);
    hello
}

#[tokio::test]
async fn versions_before_1_2_are_refused() {
    let authority = Authority::new();
    let proxy = secured(&authority, &authority.issue(NAME), route(says("x").await));
    let mut stream = proxy.connect().await;
    stream.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    _ = within("the end", stream.read_to_end(&mut answer)).await;
    // A fatal alert: protocol_version.
    assert!(answer.starts_with(&[0x15]), "{answer:?}");
    assert!(answer.ends_with(&[2, 70]), "{answer:?}");
}

#[tokio::test]
async fn who_speaks_plain_http_to_a_tls_port_is_told_so() {
    let authority = Authority::new();
    let proxy = secured(&authority, &authority.issue(NAME), route(says("x").await));
    let answer = proxy.converse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("This port speaks HTTPS, and you spoke HTTP.\r\n"),
        "{answer}"
    );
    until("closed", || proxy.plane.connections() == 0).await;
}

/// The end is said (RFC 8446, section 6.1): who hears it knows that nobody cut the connection. rustls takes an end that
/// was not said for an error.
#[tokio::test]
async fn connections_that_are_idle_end_politely() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let mut hasty = config(vec![route(says("x").await)]);
    hasty.listeners = vec![authority.listener(&pair, None)];
    hasty.limits.idle_timeout = Duration::from_millis(100);
    let proxy = Proxy::start(hasty, 0.0);
    for words in ["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let config = authority.client(&[HTTP1], None);
        let mut stream = shake(proxy.address, &config).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let ended = within("the end", stream.read_to_string(&mut answer)).await;
        assert!(ended.is_ok(), "{words:?}: {ended:?}");
        assert_eq!(answer.is_empty(), words.is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn a_handshake_may_not_take_longer_than_a_head() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let mut hasty = config(vec![route(says("x").await)]);
    hasty.listeners = vec![authority.listener(&pair, None)];
    hasty.limits.header_timeout = Duration::from_millis(100);
    let proxy = Proxy::start(hasty, 0.0);
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stream = proxy.connect().await;
        stream.write_all(start).await.unwrap();
        until("accepted", || proxy.plane.connections() == 1).await;
        let mut answer = Vec::new();
        _ = within("the end", stream.read_to_end(&mut answer)).await;
        until("closed", || proxy.plane.connections() == 0).await;
    }
}

/// An upstream with this `tls`, which answers with what it saw in the handshake.
async fn tls_upstream(authority: &Authority, pair: &Pair, wants: Option<&Authority>) -> SocketAddr {
    let ca = wants.map(Authority::ca);
    let listener = authority.listener(pair, ca.as_deref());
    let acceptor = TlsAcceptor::from(Arc::clone(listener.tls.as_ref().unwrap().config()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let session = stream.get_ref().1;
                let seen = format!(
                    "{} {} {}",
                    session.server_name().unwrap_or("-"),
                    String::from_utf8_lossy(session.alpn_protocol().unwrap_or(b"-")),
                    session.peer_certificates().map_or(0, <[_]>::len)
                );
                let service = service_fn(move |request: Request<Incoming>| {
                    let scheme = request.uri().scheme_str().unwrap_or("-").to_owned();
                    let answer = full(format!("{seen} {scheme}"));
                    async move { Ok::<_, std::convert::Infallible>(Response::new(answer)) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

#[tokio::test]
async fn upstreams_are_recognised_by_their_certificates() {
    let authority = Authority::new();
    let server = tls_upstream(&authority, &authority.issue("localhost"), None).await;
    let url = format!("https://localhost:{}", server.port());
    let mut secure = route(server);
    secure.baseline = authority.backend(&url, &json!({"ca": authority.ca()}));
    secure.baseline.protocol = Protocol::Http1;
    let proxy = Proxy::of(secure.clone());
    let mut client = proxy.http1().await;
    for _ in 0..3 {
        let response = within("response", client.send_request(get("/")))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "localhost http/1.1 0 -");
    }
    secure.baseline.protocol = Protocol::Http2;
    let proxy = Proxy::of(secure);
    let response = proxy.ask(get("/")).await;
    assert_eq!(text(response).await, "localhost h2 0 https");
}

#[tokio::test]
async fn upstreams_are_told_another_name_and_shown_a_certificate_where_that_is_configured() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let pair = authority.issue(NAME);
    let server = tls_upstream(&authority, &pair, Some(&clients)).await;
    let own = clients.issue("serin");
    let tls = json!({
        "ca": authority.ca(), "server_name": NAME, "cert": own.cert, "key": own.key,
    });
    let mut secure = route(server);
    secure.baseline = authority.backend(&format!("https://{server}"), &tls);
    let response = Proxy::of(secure).ask(get("/")).await;
    assert_eq!(text(response).await, format!("{NAME} h2 1 https"));
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_itself_is_not_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.issue("localhost");
    let expired = authority.issue_expired("localhost-expired");
    let other_name = authority.issue(NAME);
    for (case, pair, ca, name) in [
        ("unknown authority", &good, &stranger, "localhost"),
        ("expired", &expired, &authority, "localhost-expired"),
        ("another's name", &other_name, &authority, "localhost"),
    ] {
        let server = tls_upstream(&authority, pair, None).await;
        let mut secure = rollout(server, refusing().await);
        let tls = json!({"ca": ca.ca(), "server_name": name});
        secure.baseline.tls = ca.backend("https://h", &tls).tls;
        secure.baseline.endpoints[0].is_https = true;
        let proxy = Proxy::start(config(vec![secure]), 0.0);
        let response = proxy.ask(get("/")).await;
        assert_eq!(response.status(), 502, "{case}");
        let told = text(response).await;
        assert!(told.contains("could not be connected"), "{case}: {told}");
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1, "{case}");
        assert_eq!(counts.unreachable(Arm::Baseline), 1, "{case}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_a_failed_connection() {
    let server = says("x").await;
    let authority = Authority::new();
    let mut secure = route(server);
    let tls = json!({"ca": authority.ca()});
    secure.baseline = authority.backend(&format!("https://{server}"), &tls);
    let response = Proxy::of(secure).ask(get("/")).await;
    assert_eq!(response.status(), 502);
}
