//! Connections that are used again, rules that change under load, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::support::{
    DEADLINE, Proxy, config, full, get, get2, holding, post, raw_upstream, read_head, refusing,
    rollout, route, says, text, until, upstream, within,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";

/// Answers one request per connection, promises to keep it, and closes it when told; says when it has.
type Close = (oneshot::Sender<()>, oneshot::Receiver<()>);

async fn forgetful() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Close>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(ANSWER).await.unwrap();
            let (close, closing) = oneshot::channel();
            let (say, closed) = oneshot::channel();
            tell.send((close, closed)).unwrap();
            let _ = closing.await;
            drop(stream);
            let _ = say.send(());
        }
    });
    (address.await, told)
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closed_costs_no_client_anything() {
    let (server, mut told) = forgetful().await;
    let proxy = Proxy::of(route(server));
    let mut client = proxy.http1().await;
    for round in 0..50 {
        let (close, closed) = {
            let method = if round % 2 == 0 { "GET" } else { "POST" };
            let request = Request::builder()
                .method(method)
                .uri("/")
                .header("host", "a");
            let request = request.body(full("")).unwrap();
            let response = within("response", client.send_request(request))
                .await
                .unwrap();
            assert_eq!(response.status(), 200, "round {round}");
            text(response).await;
            told.recv().await.unwrap()
        };
        let _ = close.send(());
        if round % 2 == 0 {
            // The next one is a POST: no second chance once it was sent.
            closed.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_twice_only_when_that_does_no_harm() {
    // The first request of a connection is answered; the second is read, and the connection closed.
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let server = raw_upstream(move |mut stream| {
        let reads = Arc::clone(&counted);
        async move {
            for _ in 0..2 {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                if reads.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    stream.write_all(ANSWER).await.unwrap();
                }
            }
        }
    });
    let server = server.await;
    for (method, status, sent) in [("GET", 200, 3), ("POST", 502, 2)] {
        reads.store(0, Ordering::SeqCst);
        let proxy = Proxy::start(config(vec![rollout(server, refusing().await)]), 0.0);
        let mut client = proxy.http1().await;
        for expected in [200, status] {
            let request = Request::builder()
                .method(method)
                .uri("/")
                .header("host", "a");
            let request = request.body(full("")).unwrap();
            let response = within("response", client.send_request(request))
                .await
                .unwrap();
            assert_eq!(response.status(), expected, "{method}");
            text(response).await;
        }
        assert_eq!(reads.load(Ordering::SeqCst), sent, "{method}");
        let counts = proxy.counts(2).await;
        let failed = u64::from(status != 200);
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), failed);
    }
}

/// How many connections an upstream has seen.
async fn counting() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = raw_upstream(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            loop {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                stream.write_all(ANSWER).await.unwrap();
            }
        }
    });
    (address.await, connections)
}

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let (server, connections) = counting().await;
    let mut one_worker = config(vec![route(server)]);
    one_worker.workers = std::num::NonZeroUsize::new(1);
    let proxy = Proxy::start(one_worker, 0.0);
    let mut client = proxy.http1().await;
    for _ in 0..20 {
        text(client.send_request(get("/")).await.unwrap()).await;
    }
    for _ in 0..20 {
        text(proxy.ask(get("/")).await).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_http2_connection_carries_all_and_is_opened_again() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|_: Request<Incoming>| async {
                Ok::<_, std::convert::Infallible>(Response::new(full("x")))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let stream = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(stream, service);
            tell.send(tokio::spawn(connection)).unwrap();
        }
    });
    let mut only_http2 = route(address);
    only_http2.baseline.protocol = Protocol::Http2;
    let mut one_worker = config(vec![only_http2]);
    one_worker.workers = std::num::NonZeroUsize::new(1);
    let proxy = Proxy::start(one_worker, 0.0);
    for _ in 0..3 {
        let many = (0..20).map(|_| proxy.ask(get("/")));
        for response in futures_util::future::join_all(many).await {
            assert_eq!(response.status(), 200);
        }
        let connection = told.try_recv().expect("one connection");
        assert!(told.try_recv().is_err(), "only one connection");
        connection.abort();
        let _ = connection.await;
    }
}

#[tokio::test]
async fn the_less_loaded_endpoint_is_asked() {
    let (slow, mut held) = holding("slow").await;
    let mut two = route(says("fast").await);
    let slow = super::support::backend(slow, "1").endpoints;
    two.baseline.endpoints.extend(slow);
    let mut one_worker = config(vec![two]);
    one_worker.workers = std::num::NonZeroUsize::new(1);
    let proxy = Proxy::start(one_worker, 0.0);
    // With two endpoints both are always looked at: while the slow one is busy, the other gets all.
    let mut http2 = proxy.http2().await;
    let mut waiting = Vec::new();
    while held.is_empty() {
        waiting.push(tokio::spawn(http2.send_request(get2("/"))));
        until("asked", || {
            let answered = waiting.iter().all(tokio::task::JoinHandle::is_finished);
            answered || !held.is_empty()
        })
        .await;
    }
    for _ in 0..50 {
        let response = within("response", http2.send_request(get2("/")))
            .await
            .unwrap();
        assert_eq!(text(response).await, "fast");
    }
    held.recv().await.unwrap().send(()).unwrap();
}

#[tokio::test]
async fn rules_change_under_load_without_a_failure() {
    let (old, new) = (says("old").await, says("new").await);
    let base = config(vec![rollout(old, new)]);
    let mut proxy = Proxy::start(base.clone(), 0.0);
    let sent = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = Vec::new();
    for client in 0..8 {
        let mut connection = proxy.http1().await;
        let (sent, stopped) = (Arc::clone(&sent), stopped.clone());
        clients.push(tokio::spawn(async move {
            let mut failed = 0;
            while !*stopped.borrow() {
                let user = sent.fetch_add(1, Ordering::SeqCst);
                let mut request = get("/");
                let value = format!("{client}-{user}").parse().unwrap();
                request.headers_mut().insert("x-user-id", value);
                let response = connection.send_request(request).await.unwrap();
                failed += usize::from(response.status() != 200);
                text(response).await;
            }
            failed
        }));
    }
    for round in 1..=40 {
        let mut changed = base.clone();
        changed.limits.max_body += round;
        proxy.install(&Arc::new(changed), round as f64 / 40.0);
        proxy.counted();
        let seen = sent.load(Ordering::SeqCst);
        until("requests", || sent.load(Ordering::SeqCst) > seen + 20).await;
    }
    stop.send(true).unwrap();
    for client in clients {
        assert_eq!(within("client", client).await.unwrap(), 0);
    }
    let sent = sent.load(Ordering::SeqCst) as u64;
    let counts = proxy.counts(sent).await;
    let succeeded: u64 = Arm::ALL
        .into_iter()
        .map(|arm| counts.of(arm, Outcome::Success))
        .sum();
    assert_eq!(succeeded, sent);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (server, mut held) = holding("done").await;
    let proxy = Proxy::start(config(vec![rollout(server, refusing().await)]), 0.0);
    let idle = proxy.http1().await;
    let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
    let first = tokio::spawn(http1.send_request(post("/", full("abc"))));
    let second = tokio::spawn(http2.send_request(get2("/")));
    let releases = [
        within("request", held.recv()).await.unwrap(),
        within("request", held.recv()).await.unwrap(),
    ];
    let plane = proxy.plane.clone();
    let drain = tokio::spawn(async move { plane.drain(DEADLINE).await });
    until("the idle one to be closed", || idle.is_closed()).await;
    until("the listener to be closed", || {
        std::net::TcpStream::connect(proxy.address).is_err()
    })
    .await;
    assert!(!drain.is_finished());
    for release in releases {
        release.send(()).unwrap();
    }
    let first = within("first", first).await.unwrap().unwrap();
    assert_eq!(first.headers()["connection"], "close");
    assert_eq!(text(first).await, "done");
    let second = within("second", second).await.unwrap().unwrap();
    assert_eq!(text(second).await, "done");
    let drained = within("drain", drain).await.unwrap();
    assert!(drained.finished);
    assert_eq!(drained.cut, 0);
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 2);
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end_and_counts_it() {
    let server = upstream(|_: Request<Incoming>| std::future::pending());
    let proxy = Proxy::start(config(vec![rollout(server.await, refusing().await)]), 0.0);
    let mut client = proxy.http1().await;
    let asking = tokio::spawn(client.send_request(get("/")));
    until("in flight", || proxy.plane.in_flight() == 1).await;
    let drained = proxy.plane.drain(Duration::from_millis(50)).await;
    assert!(!drained.finished);
    assert_eq!(drained.cut, 1);
    assert!(within("cut", asking).await.unwrap().is_err());
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
    assert_eq!(proxy.plane.connections(), 0);
    assert_eq!(proxy.plane.in_flight(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_room() {
    let mut narrow = config(vec![route(says("x").await)]);
    narrow.limits.max_connections = 2;
    let proxy = Proxy::start(narrow, 0.0);
    let mut first = proxy.http1().await;
    text(first.send_request(get("/")).await.unwrap()).await;
    let mut second = proxy.http1().await;
    text(second.send_request(get("/")).await.unwrap()).await;
    // Completed by the kernel, not by us.
    let mut third = proxy.connect().await;
    third
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..20 {
        text(second.send_request(get("/")).await.unwrap()).await;
    }
    assert_eq!(proxy.plane.connections(), 2);
    drop(first);
    let mut byte = [0];
    within("an answer", third.read_exact(&mut byte))
        .await
        .unwrap();
    assert_eq!(&byte, b"H");
}

#[tokio::test]
async fn the_metrics_say_what_goes_on() {
    let proxy = Proxy::of(route(says("x").await));
    let mut client = proxy.http1().await;
    text(client.send_request(get("/")).await.unwrap()).await;
    until("counted", || {
        let mut page = serin_stats::metrics::Page::default();
        proxy.plane.metrics(&mut page);
        let metrics = page.to_text();
        metrics.contains(
            "serin_requests_total{rollout=\"main\",arm=\"baseline\",outcome=\"success\"} 1\n",
        ) && metrics.contains("\nhttp_server_active_requests 0\n")
            && metrics.contains("\nserin_connections 1\n")
    })
    .await;
    assert!(
        proxy.plane.snapshot().rollouts.is_empty(),
        "a plain route is not judged"
    );
}
