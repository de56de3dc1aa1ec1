//! Clients that leave while nothing of them is read: because the upstream takes nothing of what they send, or
//! because they wait for their turn.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::support::{
    Proxy, config, full, get, holding, one_at_a_time, raw_upstream, read_head, refusing, rollout,
    says, text, until, upstream, within,
};

/// A request, and what stands behind it that cannot be read on.
const MORE_BEHIND: [&str; 2] = [
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /next HTTP/1.1\r\nhost: a\r\n\r\n",
];

/// Leaves: politely, which keeps the socket open, or by a reset.
fn leave(stream: TcpStream, by_reset: bool) -> Option<TcpStream> {
    let socket = socket2::SockRef::from(&stream);
    if by_reset {
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        return None;
    }
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    Some(stream)
}

#[tokio::test]
async fn a_stalled_upload_is_given_up_when_its_client_leaves() {
    const MUCH: usize = 64 * 1024 * 1024;
    for answers_first in [false, true] {
        let (hand, mut handed) = mpsc::unbounded_channel();
        let server = raw_upstream(move |mut stream| {
            let hand = hand.clone();
            async move {
                read_head(&mut stream).await;
                if answers_first {
                    let words = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na";
                    stream.write_all(words).await.unwrap();
                }
                hand.send(stream).unwrap();
            }
        });
        let mut config = config(vec![rollout(server.await, refusing().await)]);
        config.limits.max_body = MUCH as u64;
        let proxy = Proxy::start(config, 0.0);
        let mut stream = proxy.connect().await;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {MUCH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut upstream = within("the request", handed.recv()).await.unwrap();
        // It is held up at some point, and leaves wherever it is by then.
        let body = vec![b'x'; MUCH - 1];
        let _ = timeout(Duration::from_millis(200), stream.write_all(&body)).await;
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(stream);
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
        let mut rest = Vec::new();
        let ended = within("the end", upstream.read_to_end(&mut rest)).await;
        assert!(ended.is_err(), "{} bytes, and a clean end", rest.len());
    }
}

/// While a connection is opened it is watched whether the client leaves, and so its body may be read then.
#[tokio::test]
async fn a_body_that_comes_while_the_upstream_is_connected_is_passed_on() {
    let echo = upstream(async |request: Request<Incoming>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body.len().to_string()))
    });
    let proxy = Proxy::start(config(vec![rollout(echo.await, refusing().await)]), 0.0);
    // More than is read at once, whatever of it is the head.
    for length in [32 * 1024, 40_000, 100_000] {
        let mut stream = proxy.connect().await;
        let mut words = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        words.resize(words.len() + length, b'x');
        stream.write_all(&words).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        within("the answer", read).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{length}")), "{answer}");
    }
}

/// The upstream speaks HTTP/2 and opens no window: it is silent from the start.
#[tokio::test]
async fn a_stalled_upload_over_http2_is_given_up_too() {
    let (hand, mut handed) = mpsc::unbounded_channel();
    let server = raw_upstream(move |stream| {
        let hand = hand.clone();
        async move { hand.send(stream).unwrap() }
    });
    let mut silent = rollout(server.await, refusing().await);
    silent.baseline.protocol = Protocol::Http2;
    let proxy = Proxy::start(config(vec![silent]), 0.0);
    let mut stream = proxy.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let _held = within("the request", handed.recv()).await.unwrap();
    let body = vec![b'x'; 999_999];
    let _ = timeout(Duration::from_millis(200), stream.write_all(&body)).await;
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
}

#[tokio::test]
async fn who_leaves_the_queue_is_not_asked_for() {
    let (server, mut held) = holding("done").await;
    let mut limited = rollout(server, refusing().await);
    limited.baseline.handling.concurrency = one_at_a_time(1);
    let proxy = Proxy::start(config(vec![limited]), 0.0);
    let mut first = proxy.http1().await;
    let first = tokio::spawn(async move { first.send_request(get("/")).await });
    let release = within("the first", held.recv()).await.unwrap();
    let waiting = |count: u32| {
        let line = format!("serin_backend_waiting{{rollout=\"main\",arm=\"baseline\"}} {count}\n");
        let mut page = serin_stats::metrics::Page::default();
        proxy.plane.metrics(&mut page);
        page.to_text().contains(&line)
    };
    let alone = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    for words in [alone, MORE_BEHIND[0], MORE_BEHIND[1]] {
        for by_reset in [false, true] {
            let mut second = proxy.connect().await;
            second.write_all(words.as_bytes()).await.unwrap();
            until("the second waits", || waiting(1)).await;
            let _half = leave(second, by_reset);
            until("the second left", || waiting(0)).await;
        }
    }
    release.send(()).unwrap();
    let answered = within("the first", first).await.unwrap().unwrap();
    assert_eq!(text(answered).await, "done");
    assert!(held.try_recv().is_err(), "the second was asked for");
    let counts = proxy.counts(7).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 6);
}

/// While the response's head is waited for, and in its middle: nothing is read of the client, and still it is noticed.
#[tokio::test]
async fn who_leaves_with_more_behind_the_request_is_noticed() {
    for begun in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na"] {
        let (hand, mut handed) = mpsc::unbounded_channel();
        let canary = raw_upstream(move |mut stream| {
            let hand = hand.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(begun).await.unwrap();
                hand.send(stream).unwrap();
            }
        });
        let mut covered = rollout(says("baseline").await, canary.await);
        covered.fallback = true;
        let proxy = Proxy::start(config(vec![covered]), 1.0);
        for words in MORE_BEHIND {
            for by_reset in [false, true] {
                let mut stream = proxy.connect().await;
                stream.write_all(words.as_bytes()).await.unwrap();
                let mut upstream = within("the request", handed.recv()).await.unwrap();
                if !begun.is_empty() {
                    within("the response", read_head(&mut stream)).await;
                }
                let half = leave(stream, by_reset);
                let mut rest = Vec::new();
                let end = upstream.read_to_end(&mut rest);
                let noticed = timeout(Duration::from_secs(3), end).await;
                assert!(noticed.is_ok(), "{words:?}, reset: {by_reset}");
                if let Some(mut half) = half {
                    let mut said = Vec::new();
                    let _ = within("the end", half.read_to_end(&mut said)).await;
                    assert!(!said.starts_with(b"HTTP"), "baseline was asked");
                }
            }
        }
        let counts = proxy.counts(4).await;
        assert_eq!(counts.of(Arm::Canary, Outcome::Aborted), 4);
    }
}
