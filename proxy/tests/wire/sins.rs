//! What upstreams do wrong: the client is told so, or sees that its response is incomplete, and nobody else
//! suffers from that connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::AsyncWriteExt;

use super::support::{
    Proxy, config, get, get2, raw_upstream, read_head, rollout, says, text, within,
};

/// An upstream that says this to each request, and counts connections. Then it waits to be left.
async fn sinner(words: &'static [u8]) -> (Proxy, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = raw_upstream(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                if stream.write_all(words).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut route = rollout(says("baseline").await, server.await);
    route.canary.as_mut().unwrap().protocol = Protocol::Http1;
    let mut config = config(vec![route]);
    config.workers = std::num::NonZeroUsize::new(1);
    (Proxy::start(config, 1.0), connections)
}

/// The client gets a 502, whichever protocol it speaks, and each request a connection of its own.
async fn is_a_bad_gateway(words: &'static [u8]) {
    let (proxy, connections) = sinner(words).await;
    let said = words.escape_ascii().to_string();
    let mut http2 = proxy.http2().await;
    for request in 1..=4 {
        let response = if request % 2 == 1 {
            proxy.ask(get("/")).await
        } else {
            http2.send_request(get2("/")).await.unwrap()
        };
        assert_eq!(response.status(), 502, "{said}");
        text(response).await;
        assert_eq!(connections.load(Ordering::SeqCst), request, "{said}");
    }
    let counts = proxy.counts(4).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 4, "{said}");
}

#[tokio::test]
async fn ambiguous_framing_is_a_bad_gateway() {
    is_a_bad_gateway(
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nx").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

/// It ends with its head all the same (RFC 9112, section 6.3), and what follows is nobody's answer.
#[tokio::test]
async fn a_204_that_speaks_of_a_body_goes_on_without_it() {
    let said: [&[u8]; 6] = [
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 38\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for said in said {
        let (proxy, connections) = sinner(said).await;
        let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
        for request in 1..=4 {
            let response = if request % 2 == 1 {
                within("answer", http1.send_request(get("/"))).await
            } else {
                within("answer", http2.send_request(get2("/"))).await
            };
            let response = response.unwrap();
            let name = String::from_utf8_lossy(said);
            assert_eq!(response.status(), 204, "{name}");
            assert!(!response.headers().contains_key("content-length"), "{name}");
            assert!(!response.headers().contains_key("transfer-encoding"));
            assert_eq!(text(response).await, "", "{name}");
            assert_eq!(connections.load(Ordering::SeqCst), request, "{name}");
        }
        let counts = proxy.counts(4).await;
        assert_eq!(counts.of(Arm::Canary, Outcome::Success), 4);
    }
}

#[tokio::test]
async fn malformed_heads_are_a_bad_gateway() {
    is_a_bad_gateway(b"HTTP/1.1 2000 OK\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/1.1 099 OK\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/1.1 700 OK\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/1.1 OK\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/2.0 200 OK\r\n\r\n").await;
    is_a_bad_gateway(b"ICY 200 OK\r\n\r\n").await;
    is_a_bad_gateway(b"<html>\r\n\r\n").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\ncontent-length: 1\n\nx").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ncontent-length : 1\r\n\r\nx").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 1\r\n\r\nx").await;
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 1\r\n\r\nx").await;
    is_a_bad_gateway(b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_a_bad_gateway() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 300 * 1024]].concat();
    is_a_bad_gateway(endless.leak()).await;
}

#[tokio::test]
async fn a_head_of_too_many_fields_is_a_bad_gateway() {
    let words = |count: usize| {
        let many: String = (1..count).map(|at| format!("x-{at}: y\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n{many}\r\nx").leak()
    };
    is_a_bad_gateway(words(257).as_bytes()).await;
    let (proxy, _) = sinner(words(256).as_bytes()).await;
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = proxy.converse(asked).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(answer.matches(": y\r\n").count(), 255);
    let mut http2 = proxy.http2().await;
    let response = http2.send_request(get2("/")).await.unwrap();
    let passed = response.headers().values();
    assert_eq!(passed.filter(|value| *value == "y").count(), 255);
    assert_eq!(text(response).await, "x");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    is_a_bad_gateway(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn a_malformed_chunk_at_the_beginning_is_a_bad_gateway() {
    is_a_bad_gateway(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n").await;
}

#[tokio::test]
async fn more_than_the_length_promised_is_nobody_elses() {
    const WORDS: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let (proxy, connections) = sinner(WORDS).await;
    let mut client = proxy.http1().await;
    for request in 1..=3 {
        let response = client.send_request(get("/")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "x");
        assert_eq!(connections.load(Ordering::SeqCst), request);
    }
    const CHUNKS: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nevil";
    let (proxy, connections) = sinner(CHUNKS).await;
    for request in 1..=3 {
        assert_eq!(text(proxy.ask(get("/")).await).await, "x");
        assert_eq!(connections.load(Ordering::SeqCst), request);
    }
    let (proxy, connections) = sinner(WORDS).await;
    let mut http2 = proxy.http2().await;
    for request in 1..=3 {
        let response = http2.send_request(get2("/")).await.unwrap();
        assert_eq!(text(response).await, "x");
        assert_eq!(connections.load(Ordering::SeqCst), request);
    }
}

#[tokio::test]
async fn a_body_where_there_may_be_none_is_nobody_elses() {
    const WORDS: &[u8] =
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let (proxy, connections) = sinner(WORDS).await;
    let mut http2 = proxy.http2().await;
    for request in 1..=4 {
        let response = if request % 2 == 1 {
            proxy.ask(get("/")).await
        } else {
            http2.send_request(get2("/")).await.unwrap()
        };
        assert_eq!(response.status(), 304);
        assert_eq!(text(response).await, "");
        assert_eq!(connections.load(Ordering::SeqCst), request);
    }
}

#[tokio::test]
async fn a_chunk_that_breaks_later_breaks_the_response() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        stream.write_all(head).await.unwrap();
        // The client has the first piece by then.
        read_head(&mut stream).await;
    });
    let server = server.await;
    let mut slow = rollout(server, server);
    slow.timeouts.idle = std::time::Duration::from_millis(100);
    let proxy = Proxy::start(config(vec![slow]), 1.0);
    let raw = proxy.converse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(raw.contains("3\r\nabc\r\n"), "{raw}");
    assert!(!raw.ends_with("0\r\n\r\n"), "{raw}");
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 1);
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    const WORDS: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-serin-arm: evil\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    let (proxy, connections) = sinner(WORDS).await;
    let words =
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let raw = proxy.converse(words).await;
    assert_eq!(
        raw.matches("HTTP/1.1 100 Continue\r\n\r\n").count(),
        2,
        "{raw}"
    );
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103";
    assert_eq!(raw.matches(hint).count(), 2, "{raw}");
    assert_eq!(raw.matches("HTTP/1.1 200 OK").count(), 2, "{raw}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // HTTP/1.0 knows none.
    let raw = proxy.converse(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(raw.starts_with("HTTP/1.0 200 OK"), "{raw}");
    // HTTP/2 clients get the answer all the same.
    let mut http2 = proxy.http2().await;
    let response = http2.send_request(get2("/")).await.unwrap();
    assert_eq!(text(response).await, "x");
}

#[tokio::test]
async fn old_clients_and_old_upstreams_understand_each_other() {
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n";
    let (proxy, _) = sinner(CHUNKED).await;
    let words = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let raw = proxy.converse(words).await;
    assert!(raw.starts_with("HTTP/1.0 200 OK"), "{raw}");
    assert!(raw.ends_with("\r\n\r\nabcde"), "{raw}");
    assert!(!raw.contains("chunked"), "{raw}");
    // With a length the connection stays.
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    let (proxy, _) = sinner(LENGTH).await;
    let words = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let raw = proxy.converse(words).await;
    assert_eq!(raw.matches("HTTP/1.0 200 OK").count(), 2, "{raw}");
    assert_eq!(raw.matches("connection: keep-alive").count(), 1, "{raw}");
}
