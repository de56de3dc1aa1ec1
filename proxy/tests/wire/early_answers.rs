//! Answers that come before their request is over: the client can read them, and is told that the connection ends.

use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use serin_config::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    DEADLINE, Proxy, config, full, raw_upstream, read_head, route, says, until, upstream, within,
};

/// More than is taken of a body (1 MiB in these tests).
const TOO_MUCH: usize = 8 * 1024 * 1024;

/// A client in the middle of an upload that was refused.
async fn refused(proxy: &Proxy) -> TcpStream {
    let mut stream = proxy.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOO_MUCH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn who_sends_all_before_it_reads_can_read_the_refusal() {
    const PIECES: usize = 25;
    let proxy = Proxy::of(route(says("x").await));
    for pause in [Duration::ZERO, Duration::from_millis(100)] {
        let mut stream = refused(&proxy).await;
        let piece = vec![b'x'; TOO_MUCH / PIECES];
        for _ in 0..PIECES {
            let sent = within("the body", stream.write_all(&piece)).await;
            sent.expect("a connection that takes all of it");
            tokio::time::sleep(pause).await;
        }
        let mut answer = String::new();
        let read = within("the answer", stream.read_to_string(&mut answer)).await;
        read.expect("an end, no reset");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}

/// It neither sends nor closes, and no request of it is in flight.
#[tokio::test]
async fn a_client_that_was_refused_does_not_prolong_a_drain() {
    for is_draining in [false, true] {
        let mut brief = config(vec![route(says("x").await)]);
        brief.limits.drain = Duration::from_millis(400);
        let proxy = Proxy::start(brief, 0.0);
        let mut stream = refused(&proxy).await;
        let head = within("the refusal", read_head(&mut stream)).await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        until("the end of the request", || proxy.plane.in_flight() == 0).await;
        let begun = Instant::now();
        if is_draining {
            let drained = proxy.plane.drain(DEADLINE).await;
            assert!(drained.finished);
            assert!(begun.elapsed() < Duration::from_secs(2));
        } else {
            until("the connection's end", || proxy.plane.connections() == 0).await;
            assert!(begun.elapsed() > Duration::from_secs(3));
        }
    }
}

/// Sends a head, reads all that is said to it, and sends the body only then.
async fn answered_first(proxy: &Proxy) -> String {
    let mut stream = proxy.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n0";
    stream.write_all(head).await.unwrap();
    let mut answer = within("the head", read_head(&mut stream)).await;
    let sent = within("the body", stream.write_all(&[b'x'; 499_999])).await;
    sent.unwrap();
    let read = within("the end", stream.read_to_string(&mut answer)).await;
    read.unwrap();
    answer
}

#[tokio::test]
async fn who_is_answered_before_it_has_sent_all_is_told_that_the_connection_ends() {
    for words in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 303 See Other\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno",
    ] {
        let server = raw_upstream(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(words.as_bytes()).await.unwrap();
            // Until it is left.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let proxy = Proxy::of(route(server.await));
        let answer = answered_first(&proxy).await;
        let (said, body) = words.split_once("\r\n\r\n").unwrap();
        assert!(answer.starts_with(&said[..13]), "{words}: {answer}");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{body}")),
            "{words}: {answer}"
        );
        assert!(
            answer.contains("connection: close\r\n"),
            "{words}: {answer}"
        );
    }
}

#[tokio::test]
async fn so_is_who_is_answered_early_over_http2() {
    for (status, body) in [(204, ""), (303, ""), (401, "no")] {
        let server = upstream(move |_: Request<Incoming>| async move {
            let mut response = Response::new(full(body));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        });
        let mut plain = route(server.await);
        plain.baseline.protocol = Protocol::Http2;
        let answer = answered_first(&Proxy::of(plain)).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}
