//! Answers that come before their request is over: the client can read them, and is told that the connection ends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{DEADLINE, Proxy, config, read_head, route, says, until, within};

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
