//! A bound on the connections to one endpoint means what it says, whatever worker they belong to.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use serin_config::model::{Concurrency, Config, Handling, Pool, Protocol, Route};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::support::{Proxy, config, get, get2, route, text, until, within};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// A server of HTTP/1.1 that answers as soon as it may, and counts its connections.
struct Server {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    /// At once.
    most: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    leave: Arc<Semaphore>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            most: Arc::default(),
            accepted: Arc::default(),
            asked: Arc::default(),
            leave: Arc::new(Semaphore::new(0)),
        };
        let (open, most) = (Arc::clone(&server.open), Arc::clone(&server.most));
        let (accepted, asked) = (Arc::clone(&server.accepted), Arc::clone(&server.asked));
        let leave = Arc::clone(&server.leave);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, SeqCst);
                most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
                let (open, asked) = (Arc::clone(&open), Arc::clone(&asked));
                let (leave, tls) = (Arc::clone(&leave), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &asked, &leave).await,
                        Some(tls) => serve(tls.accept(stream).await.unwrap(), &asked, &leave).await,
                    }
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        server
    }

    /// So many more requests are answered.
    fn answer(&self, count: usize) {
        self.leave.add_permits(count);
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    asked: &AtomicUsize,
    leave: &Semaphore,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        asked.fetch_add(1, SeqCst);
        leave.acquire().await.unwrap().forget();
        if stream.write_all(ANSWER).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn bounded(mut route: Route, most: usize, queue: usize) -> Config {
    route.baseline.handling = Handling {
        pool: Pool {
            max_connections: Some(most),
            idle_timeout: Duration::from_secs(60),
            ..Handling::DEFAULT.pool
        },
        concurrency: (queue > 0).then_some(Concurrency {
            max_in_flight: 1000,
            queue,
            queue_timeout: Duration::from_secs(5),
        }),
        ..Handling::DEFAULT
    };
    let mut config = config(vec![route]);
    config.workers = NonZeroUsize::new(4);
    config
}

async fn twenty_of_http1(proxy: &Proxy) {
    let mut client = proxy.http1().await;
    for _ in 0..20 {
        let response = within("a response", client.send_request(get("/"))).await;
        assert_eq!(text(response.unwrap()).await, "hi");
    }
}

async fn twenty_of_http2(proxy: &Proxy) {
    let mut client = proxy.http2().await;
    for _ in 0..20 {
        let response = within("a response", client.send_request(get2("/"))).await;
        assert_eq!(text(response.unwrap()).await, "hi");
    }
}

/// Many at once, of clients of either protocol, on all workers.
async fn storm(proxy: &Proxy, server: &Server) {
    server.answer(10_000);
    let first = join_all((0..8).map(|_| twenty_of_http1(proxy)));
    let second = join_all((0..8).map(|_| twenty_of_http2(proxy)));
    tokio::join!(first, second);
}

#[tokio::test]
async fn so_many_and_no_more_serve_all_workers() {
    for most in [1, 3] {
        let server = Server::start(None).await;
        let proxy = Proxy::start(bounded(route(server.address), most, 100), 0.0);
        storm(&proxy, &server).await;
        assert!(server.most.load(SeqCst) <= most);
        // They go from worker to worker, and none is closed for that.
        assert!(server.accepted.load(SeqCst) <= most);
        assert_eq!(server.asked.load(SeqCst), 8 * 20 * 2);
    }
}

#[tokio::test]
async fn encrypted_ones_go_from_worker_to_worker_too() {
    // What is spoken may be found out by each of the four workers.
    for (protocol, found_out) in [(Protocol::Http1, 0), (Protocol::Auto, 4)] {
        let authority = Authority::new();
        let tls = authority.listener(&authority.issue("127.0.0.1"), None).tls;
        let mut tls = rustls::ServerConfig::clone(tls.unwrap().config());
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::start(Some(TlsAcceptor::from(Arc::new(tls)))).await;
        let url = format!("https://{}", server.address);
        let mut secure = route(server.address);
        secure.baseline = authority.backend(&url, &json!({"ca": authority.ca()}));
        secure.baseline.protocol = protocol;
        let proxy = Proxy::start(bounded(secure, 2, 100), 0.0);
        storm(&proxy, &server).await;
        assert!(server.most.load(SeqCst) <= 2, "{protocol:?}");
        assert!(
            server.accepted.load(SeqCst) <= 2 + found_out,
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn without_a_queue_one_more_is_sent_away() {
    let server = Server::start(None).await;
    let proxy = Proxy::start(bounded(route(server.address), 2, 0), 0.0);
    let held = join_all([proxy.ask(get("/")), proxy.ask(get("/"))]);
    let refused = async {
        until("two", || server.asked.load(SeqCst) == 2).await;
        let refused = proxy.ask(get("/")).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        let refused = proxy.http2().await.send_request(get2("/")).await;
        assert_eq!(refused.unwrap().status(), 503);
        server.answer(100);
    };
    let (answers, ()) = tokio::join!(held, refused);
    assert!(answers.iter().all(|answer| answer.status() == 200));
    // Free again, for whichever worker.
    for _ in 0..10 {
        assert_eq!(proxy.ask(get("/")).await.status(), 200);
    }
    assert_eq!(server.accepted.load(SeqCst), 2);
}

#[tokio::test]
async fn what_one_endpoint_has_no_room_for_goes_to_another() {
    let (one, other) = (Server::start(None).await, Server::start(None).await);
    let mut both = route(one.address);
    let endpoints = &mut both.baseline.endpoints;
    endpoints.extend(route(other.address).baseline.endpoints);
    let proxy = Proxy::start(bounded(both, 1, 0), 0.0);
    for round in 1..=20 {
        let two = join_all([proxy.ask(get("/")), proxy.ask(get("/"))]);
        let answering = async {
            let all = || [&one, &other].map(|server| server.asked.load(SeqCst));
            until("one each", || all() == [round; 2]).await;
            one.answer(1);
            other.answer(1);
        };
        let (answers, ()) = tokio::join!(two, answering);
        assert!(answers.iter().all(|answer| answer.status() == 200));
        // Their connections are free again.
        until("free again", || proxy.plane.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_who_leaves_it_takes_nothing() {
    let server = Server::start(None).await;
    let proxy = Proxy::start(bounded(route(server.address), 1, 2), 0.0);
    let metric = |line: &str| {
        let mut page = serin_stats::metrics::Page::default();
        proxy.plane.metrics(&mut page);
        page.to_text().contains(line)
    };
    let waiting = |count: usize| {
        let labels = "{rollout=\"main\",arm=\"baseline\"}";
        metric(&format!("serin_backend_waiting{labels} {count}\n"))
    };
    let first = proxy.ask(get("/"));
    let rest = async {
        until("asked", || server.asked.load(SeqCst) == 1).await;
        let mut leaves = proxy.connect().await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        leaves.write_all(request).await.unwrap();
        until("one waits", || waiting(1)).await;
        let third = proxy.ask(get("/"));
        let more = async {
            until("two wait", || waiting(2)).await;
            assert_eq!(proxy.ask(get("/")).await.status(), 503);
            drop(leaves);
            until("one waits", || waiting(1)).await;
            server.answer(2);
        };
        tokio::join!(third, more).0
    };
    let (first, third) = tokio::join!(first, rest);
    assert!([first, third].iter().all(|answer| answer.status() == 200));
    assert_eq!(server.asked.load(SeqCst), 2);
    assert_eq!(server.accepted.load(SeqCst), 1);
}

#[tokio::test]
async fn a_reload_changes_the_bound() {
    let server = Server::start(None).await;
    let mut proxy = Proxy::start(bounded(route(server.address), 4, 100), 0.0);
    let four = join_all((0..4).map(|_| proxy.ask(get("/"))));
    let answering = async {
        until("all", || server.asked.load(SeqCst) == 4).await;
        server.answer(4);
    };
    tokio::join!(four, answering);
    assert_eq!(server.open.load(SeqCst), 4);
    for most in [2, 1, 3] {
        proxy.install(&Arc::new(bounded(route(server.address), most, 100)), 0.0);
        server.answer(1);
        proxy.ask(get("/")).await;
        until("closed", || server.open.load(SeqCst) <= most).await;
        server.most.store(0, SeqCst);
        storm(&proxy, &server).await;
        assert!(server.most.load(SeqCst) <= most);
    }
}
