//! What is spoken to an https endpoint that has the choice, and to how many connections that leads.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::server::Acceptor;
use serde_json::json;
use serin_config::model::{Handling, HealthCheck, HealthProbe, Mirror, Protocol, Route};
use serin_config::tls::{ALPN_HTTP1 as HTTP1, ALPN_HTTP2 as HTTP2};
use tokio::io::copy_bidirectional;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::LazyConfigAcceptor;

use super::authority::Authority;
use super::support::{
    Proxy, config, full, get, get2, post, raw_upstream, refusing, rollout, route, text, trailed,
    until, upstream, within,
};

/// What a server speaks, the dearest first.
type Choice = Vec<&'static [u8]>;

/// A server that chooses, and answers with what is spoken.
struct Server {
    authority: Authority,
    address: SocketAddr,
    choice: Arc<Mutex<Choice>>,
    /// What each handshake offered.
    offers: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    /// Nobody's handshake is answered before.
    is_open: watch::Sender<bool>,
}

impl Server {
    async fn start(choice: &[&'static [u8]]) -> Self {
        let authority = Authority::new();
        let pair = authority.issue("127.0.0.1");
        let tls = authority.listener(&pair, None).tls.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            authority,
            choice: Arc::new(Mutex::new(choice.to_vec())),
            offers: Arc::default(),
            connections: Arc::default(),
            is_open: watch::channel(true).0,
        };
        let (choice, offers) = (Arc::clone(&server.choice), Arc::clone(&server.offers));
        let connections = Arc::clone(&server.connections);
        let is_open = server.is_open.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut config = rustls::ServerConfig::clone(tls.config());
                let names = choice.lock().unwrap().clone();
                config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
                let (offers, mut is_open) = (Arc::clone(&offers), is_open.clone());
                let serving = tokio::spawn(async move {
                    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await
                    else {
                        return;
                    };
                    let names = start.client_hello().alpn().into_iter().flatten();
                    let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
                    offers.lock().unwrap().push(names.join(","));
                    is_open.wait_for(|is_open| *is_open).await.unwrap();
                    let Ok(stream) = start.into_stream(Arc::new(config)).await else {
                        return;
                    };
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder
                        .serve_connection_with_upgrades(
                            TokioIo::new(stream),
                            service_fn(|request| async move {
                                Ok::<_, std::convert::Infallible>(answer(request))
                            }),
                        )
                        .await;
                });
                connections.lock().unwrap().push(serving.abort_handle());
            }
        });
        server
    }

    fn backend(&self) -> serin_config::model::Backend {
        let url = format!("https://{}", self.address);
        let tls = json!({"ca": self.authority.ca()});
        self.authority.backend(&url, &tls)
    }

    fn route(&self) -> Route {
        Route {
            baseline: self.backend(),
            ..route(self.address)
        }
    }

    fn offers(&self) -> Vec<String> {
        self.offers.lock().unwrap().clone()
    }

    /// Loses its connections, and chooses so from now on.
    fn restart(&self, choice: &[&'static [u8]]) {
        *self.choice.lock().unwrap() = choice.to_vec();
        self.offers.lock().unwrap().clear();
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

fn answer(mut request: Request<Incoming>) -> Response<super::support::AnyBody> {
    let version = format!("{:?}", request.version());
    if request.headers().contains_key("upgrade") {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let mut stream = TokioIo::new(upgraded);
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let response = Response::builder().status(101);
        let response = response
            .header("connection", "upgrade")
            .header("upgrade", "websocket");
        return response.body(full("")).unwrap();
    }
    if request.headers().contains_key("content-type") {
        let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
        let mut response = Response::new(trailed("\0\0\0\0\0", status));
        let kind = "application/grpc".parse().unwrap();
        response.headers_mut().insert("content-type", kind);
        response
            .headers_mut()
            .insert("x-spoken", version.parse().unwrap());
        return response;
    }
    Response::new(full(version))
}

/// With one worker, so that all requests meet the same connections.
fn start(route: Route) -> Proxy {
    let mut config = config(vec![route]);
    config.workers = NonZeroUsize::new(1);
    Proxy::start(config, 0.0)
}

/// What is spoken for a request of an HTTP/1.1 client, and for one of an HTTP/2 client.
async fn spoken(proxy: &Proxy) -> [String; 2] {
    let first = text(proxy.ask(get("/")).await).await;
    let mut client = proxy.http2().await;
    let second = within("response", client.send_request(get2("/"))).await;
    [first, text(second.unwrap()).await]
}

const BOTH: &str = "h2,http/1.1";
const V1: [&str; 2] = ["HTTP/1.1"; 2];
const V2: [&str; 2] = ["HTTP/2.0"; 2];

#[tokio::test]
async fn the_endpoint_chooses_among_what_the_protocol_allows() {
    for (protocol, choice, offer, expected) in [
        (Protocol::Auto, &[HTTP2, HTTP1][..], BOTH, V2),
        (Protocol::Auto, &[HTTP1, HTTP2], BOTH, V1),
        (Protocol::Auto, &[HTTP2], BOTH, V2),
        (Protocol::Auto, &[HTTP1], BOTH, V1),
        // It knows nothing of ALPN.
        (Protocol::Auto, &[], BOTH, V1),
        (Protocol::Http1, &[HTTP2, HTTP1], "http/1.1", V1),
        (Protocol::Http1, &[], "http/1.1", V1),
        (Protocol::Http2, &[HTTP1, HTTP2], "h2", V2),
        (Protocol::Http2, &[], "h2", V2),
    ] {
        let server = Server::start(choice).await;
        let mut route = server.route();
        route.baseline.protocol = protocol;
        let proxy = start(route);
        for _ in 0..3 {
            assert_eq!(spoken(&proxy).await, expected, "{protocol:?} {choice:?}");
        }
        // One connection served all, whichever client came first.
        assert_eq!(server.offers(), [offer], "{protocol:?} {choice:?}");
    }
    for (protocol, choice) in [(Protocol::Http1, HTTP2), (Protocol::Http2, HTTP1)] {
        let server = Server::start(&[choice]).await;
        let mut route = server.route();
        route.baseline.protocol = protocol;
        let response = start(route).ask(get("/")).await;
        assert_eq!(response.status(), 502, "{protocol:?}");
    }
}

#[tokio::test]
async fn of_many_that_come_at_once_one_finds_out() {
    for (choice, expected) in [(HTTP2, "HTTP/2.0"), (HTTP1, "HTTP/1.1")] {
        let server = Server::start(&[choice]).await;
        server.is_open.send_replace(false);
        let proxy = start(server.route());
        let mut client = proxy.http2().await;
        let asking = (0..20).map(|_| client.send_request(get2("/")));
        let asking = tokio::spawn(join_all(asking));
        // On connections of their own, too.
        let others = proxy.http1().await;
        let mut others = [others, proxy.http1().await];
        let more = others
            .iter_mut()
            .map(|client| client.send_request(get("/")));
        let more = tokio::spawn(join_all(more.collect::<Vec<_>>()));
        until("a handshake", || !server.offers().is_empty()).await;
        server.is_open.send_replace(true);
        let answers = within("answers", asking).await.unwrap();
        for answer in answers
            .into_iter()
            .chain(within("more", more).await.unwrap())
        {
            assert_eq!(text(answer.unwrap()).await, expected);
        }
        let offers = server.offers();
        let both = offers.iter().filter(|offer| *offer == BOTH).count();
        assert_eq!(both, 1, "{offers:?}");
        if choice == HTTP2 {
            assert_eq!(offers.len(), 1, "{offers:?}");
        } else {
            assert!(offers.len() <= 22, "{offers:?}");
        }
    }
}

#[tokio::test]
async fn who_began_to_find_out_may_leave() {
    let server = Server::start(&[HTTP2]).await;
    server.is_open.send_replace(false);
    let proxy = start(server.route());
    let mut first = proxy.connect().await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    first.write_all(request).await.unwrap();
    until("a handshake", || server.offers().len() == 1).await;
    drop(first);
    until("gone", || proxy.plane.connections() == 0).await;
    server.is_open.send_replace(true);
    assert_eq!(spoken(&proxy).await, V2);
    assert_eq!(server.offers(), [BOTH]);
}

/// Nobody waited any more when that attempt failed: who comes later makes one of his own.
#[tokio::test]
async fn what_came_of_an_attempt_that_all_left_is_no_news() {
    let server = Server::start(&[HTTP2]).await;
    let behind = server.address;
    let (tell, mut told) = mpsc::unbounded_channel();
    let others = AtomicBool::new(false);
    let door = raw_upstream(move |mut stream| {
        let (tell, is_first) = (tell.clone(), !others.swap(true, Relaxed));
        async move {
            // The first to come is not answered.
            tell.send("came").unwrap();
            if is_first {
                let mut hello = Vec::new();
                let _ = stream.read_to_end(&mut hello).await;
                let _ = tell.send("given up");
                return;
            }
            let mut server = TcpStream::connect(behind).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    });
    let mut route = server.route();
    route.baseline.endpoints[0].port = door.await.port();
    route.timeouts.connect = Duration::from_millis(300);
    route.retries.attempts = 0;
    let proxy = start(route);
    let mut first = proxy.connect().await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    first.write_all(request).await.unwrap();
    assert_eq!(within("a connection", told.recv()).await, Some("came"));
    drop(first);
    until("gone", || proxy.plane.connections() == 0).await;
    assert_eq!(within("its end", told.recv()).await, Some("given up"));
    assert_eq!(spoken(&proxy).await, V2);
}

#[tokio::test]
async fn an_endpoint_may_choose_otherwise_after_a_restart() {
    let server = Server::start(&[HTTP2, HTTP1]).await;
    let proxy = start(server.route());
    assert_eq!(spoken(&proxy).await, V2);
    server.restart(&[HTTP1]);
    assert_eq!(spoken(&proxy).await, V1);
    assert_eq!(server.offers(), [BOTH]);

    // HTTP/1.1 is what is asked for from now on, as long as it is to be had …
    server.restart(&[HTTP2, HTTP1]);
    assert_eq!(spoken(&proxy).await, V1);
    assert_eq!(server.offers(), ["http/1.1"]);

    // … and when it is not, that is found out once.
    server.restart(&[HTTP2]);
    assert_eq!(proxy.ask(get("/")).await.status(), 502);
    assert_eq!(spoken(&proxy).await, V2);
}

#[tokio::test]
async fn health_checks_follow_the_endpoint_and_tell_what_it_chose() {
    let server = Server::start(&[HTTP1]).await;
    let mut route = server.route();
    route.baseline.handling = Handling {
        health_check: Some(HealthCheck {
            probe: HealthProbe::Http("/".into()),
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(5),
            unhealthy: 1,
            healthy: 1,
        }),
        ..Handling::DEFAULT
    };
    let proxy = start(route);
    assert_eq!(spoken(&proxy).await, V1);
    for choice in [&[HTTP2, HTTP1][..], &[HTTP1], &[HTTP2]] {
        server.restart(choice);
        until("a check", || {
            server.offers().iter().any(|offer| offer == BOTH)
        })
        .await;
        within("what is chosen", async {
            let expected = if choice[0] == HTTP2 { V2 } else { V1 };
            while spoken(&proxy).await != expected {}
        })
        .await;
    }
}

#[tokio::test]
async fn a_switch_of_protocols_is_asked_for_over_http1_alone() {
    let server = Server::start(&[HTTP2, HTTP1]).await;
    let mut route = server.route();
    route.upgrade = vec!["websocket".to_owned()];
    let proxy = start(route);
    for known in [false, true] {
        if known {
            assert_eq!(spoken(&proxy).await, V2);
        }
        let mut client = proxy.connect().await;
        let wish = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        client.write_all(wish.as_bytes()).await.unwrap();
        let head = within("a head", super::support::read_head(&mut client)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.write_all(b"word").await.unwrap();
        let mut echo = [0; 4];
        let echoed = within("an echo", client.read_exact(&mut echo)).await;
        echoed.unwrap();
        assert_eq!(&echo, b"word");
    }
    assert_eq!(server.offers(), ["http/1.1", BOTH, "http/1.1"]);
    assert_eq!(spoken(&proxy).await, V2);
}

#[tokio::test]
async fn calls_are_http2_whatever_the_endpoint_would_rather_speak() {
    let server = Server::start(&[HTTP1, HTTP2]).await;
    let proxy = start(server.route());
    let call = || {
        let mut call = post("/", full("\0\0\0\0\0"));
        let kind = "application/grpc".parse().unwrap();
        call.headers_mut().insert("content-type", kind);
        call
    };
    for _ in 0..2 {
        let response = proxy.ask(call()).await;
        assert_eq!(response.headers()["x-spoken"], "HTTP/2.0");
    }
    assert_eq!(server.offers(), ["h2"]);
    // What is open is used.
    assert_eq!(spoken(&proxy).await, V2);
    server.restart(&[HTTP1, HTTP2]);
    assert_eq!(spoken(&proxy).await, V1);
    let response = proxy.ask(call()).await;
    assert_eq!(response.headers()["x-spoken"], "HTTP/2.0");
    assert_eq!(server.offers(), [BOTH, "h2"]);
}

#[tokio::test]
async fn endpoints_of_one_backend_may_choose_differently() {
    let (one, other) = (Server::start(&[HTTP1]).await, Server::start(&[HTTP2]).await);
    // The two are of different authorities: a backend would trust one alone.
    let both = [&one, &other].map(|server| std::fs::read_to_string(server.authority.ca()).unwrap());
    let bundle = one.authority.folder().join("both.pem");
    std::fs::write(&bundle, both.concat()).unwrap();
    let url = format!("https://{}", one.address);
    let mut route = one.route();
    route.baseline = one.authority.backend(&url, &json!({"ca": bundle}));
    route.baseline.endpoints.extend(other.backend().endpoints);
    let proxy = start(route);
    let mut seen = std::collections::BTreeSet::new();
    within("both", async {
        while seen.len() < 2 {
            seen.extend(spoken(&proxy).await);
        }
    })
    .await;
}

#[tokio::test]
async fn copies_follow_the_target() {
    let server = Server::start(&[HTTP2]).await;
    let baseline = upstream(|_| async { Response::new(full("HTTP/2.0")) }).await;
    let mut mirrored = rollout(baseline, baseline);
    mirrored.shadow = Some(server.backend());
    mirrored.mirror = Some(Mirror { share: 1.0 });
    let proxy = start(mirrored);
    for _ in 0..3 {
        proxy.ask(post("/", full("abc"))).await;
    }
    let copied = "serin_shadow_total{rollout=\"main\",result=\"ok\"} 3\n";
    until("copies", || {
        let mut page = serin_stats::metrics::Page::default();
        proxy.plane.metrics(&mut page);
        page.to_text().contains(copied)
    })
    .await;
    assert!(server.offers().iter().all(|offer| offer == BOTH));
}

#[tokio::test]
async fn a_baseline_of_http2_covers_for_a_canary_of_http1() {
    let baseline = upstream(|request: Request<Incoming>| async move {
        Response::new(full(format!("{:?}", request.version())))
    })
    .await;
    let mut covered = rollout(baseline, refusing().await);
    covered.fallback = true;
    covered.baseline.protocol = Protocol::Http2;
    let proxy = Proxy::start(config(vec![covered]), 1.0);
    assert_eq!(spoken(&proxy).await, V2);
}
