//! Requests that two readers could read differently, or that are none: refused, never repaired.
//!
//! Each class of sin is a test of its own. Whatever follows on the connection is not taken for a request, the
//! connection is closed, and no upstream hears of any of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Proxy, config, raw_upstream, read_head, route, until, within};

/// What a smuggler hopes to have served.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A proxy, and how many requests its upstream has seen.
struct Front {
    proxy: Proxy,
    reached: Arc<AtomicUsize>,
}

async fn front() -> Front {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let server = raw_upstream(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    });
    Front {
        proxy: Proxy::start(config(vec![route(server.await)]), 0.0),
        reached,
    }
}

impl Front {
    /// Says this, and something to be smuggled behind it: there is one answer, with this status, and the end.
    async fn refuses(&self, status: u16, words: &[u8]) {
        let all = [words, SMUGGLED.as_bytes()].concat();
        let answer = self.proxy.converse(&all).await;
        let said = words.escape_ascii().to_string();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{said}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{said}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{said}: {answer}");
        assert!(
            answer.contains("application/problem+json"),
            "{said}: {answer}"
        );
        assert_eq!(self.reached.load(Ordering::SeqCst), 0, "{said}");
    }
}

/// Each of these is answered with this status, and the connection closed.
async fn refused(status: u16, cases: &[&str]) {
    let front = front().await;
    for case in cases {
        front.refuses(status, case.as_bytes()).await;
    }
    until("the ends", || front.proxy.plane.connections() == 0).await;
}

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")
}

#[tokio::test]
async fn content_length_beside_transfer_encoding_is_refused() {
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 0\r\ntransfer-encoding: chunked",
    ] {
        refused(400, &[&post(fields)]).await;
    }
}

#[tokio::test]
async fn more_than_one_content_length_is_refused() {
    for fields in [
        "content-length: 4\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 4, 4",
        "content-length: 4,5",
    ] {
        refused(400, &[&post(fields)]).await;
    }
}

#[tokio::test]
async fn a_content_length_that_is_no_number_is_refused() {
    for value in [
        "+4",
        "-4",
        "4x",
        "0x4",
        "4 4",
        "4.0",
        "",
        "184467440737095516199",
    ] {
        refused(400, &[&post(&format!("content-length: {value}"))]).await;
    }
}

#[tokio::test]
async fn a_transfer_encoding_that_is_not_exactly_chunked_is_not_implemented() {
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "",
    ] {
        refused(501, &[&post(&format!("transfer-encoding: {value}"))]).await;
    }
    let twice = post("transfer-encoding: chunked\r\ntransfer-encoding: chunked");
    refused(400, &[&twice]).await;
}

#[tokio::test]
async fn transfer_encoding_in_http_1_0_is_refused() {
    let words = "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(400, &[words]).await;
}

#[tokio::test]
async fn folded_lines_are_refused() {
    refused(
        400,
        &[
            "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tz\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: first\r\nhost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn bare_line_feeds_and_carriage_returns_are_refused() {
    refused(
        400,
        &[
            "GET / HTTP/1.1\nhost: a\n\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: y\ncontent-length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: y\rz\r\n\r\n",
            "GET / HTTP/1.1\rhost: a\r\r",
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn control_characters_are_refused() {
    refused(
        400,
        &[
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx\0y: a\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\x0bb\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\x7fb\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn blanks_around_a_name_are_refused() {
    refused(
        400,
        &[
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 4\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n: empty\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn hosts_that_are_missing_doubled_or_malformed_are_refused() {
    refused(
        400,
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn targets_that_are_malformed_or_name_another_host_are_refused() {
    refused(
        400,
        &[
            "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\nhost: b\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /#fragment HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_not_http_1_is_refused() {
    refused(
        400,
        &[
            "GET /\r\n\r\n",
            "GET / HTTQ/1.1\r\nhost: a\r\n\r\n",
            "GET / http/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1x\r\nhost: a\r\n\r\n",
            "G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ],
    )
    .await;
    refused(
        505,
        &[
            "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nhost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn trace_and_connect_are_not_served() {
    refused(
        405,
        &[
            "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn unknown_expectations_fail() {
    let words = post("content-length: 3\r\nexpect: 200-ok");
    refused(417, &[&words]).await;
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let head = post("transfer-encoding: chunked");
    for body in [
        "\r\n",
        "g\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello6\r\nworld!\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "1000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a b\r\nhello\r\n0\r\n\r\n",
        "5;a \r\nhello\r\n0\r\n\r\n",
        "5;a=\"\0\"\r\nhello\r\n0\r\n\r\n",
    ] {
        refused(400, &[&format!("{head}{body}")]).await;
    }
}

#[tokio::test]
async fn trailers_that_frame_are_refused() {
    let head = post("transfer-encoding: chunked");
    for trailer in [
        "content-length: 5",
        "transfer-encoding: chunked",
        "host: b",
        "connection: close",
        "bad line",
        "x: y\n",
        " folded: x",
    ] {
        let words = format!("{head}1\r\na\r\n0\r\n{trailer}\r\n\r\n");
        refused(400, &[&words]).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_malformed_later_is_refused_too() {
    // Takes all and says nothing.
    let server = raw_upstream(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let proxy = Proxy::of(route(server.await));
    let mut stream = proxy.connect().await;
    let words = format!("{}3\r\nabc\r\n", post("transfer-encoding: chunked"));
    stream.write_all(words.as_bytes()).await.unwrap();
    until("in flight", || proxy.plane.in_flight() == 1).await;
    stream.write_all(b"nonsense\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    until("the end", || proxy.plane.connections() == 0).await;
}

#[tokio::test]
async fn heads_and_targets_that_never_end_are_refused_early() {
    let front = front().await;
    let limits = config(Vec::new()).limits;
    for (status, start, filler, least) in [
        (414, "GET /", "x", limits.max_uri_bytes),
        (
            431,
            "GET / HTTP/1.1\r\nhost: a\r\nx: ",
            "x",
            limits.max_header_bytes,
        ),
        (
            431,
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "x: y\r\n",
            limits.max_header_bytes,
        ),
    ] {
        let mut words = start.to_owned();
        while words.len() < 2 * (limits.max_uri_bytes + limits.max_header_bytes) {
            words.push_str(filler);
        }
        assert!(words.len() > least);
        // Never complete: it is refused for what came.
        front.refuses(status, words.as_bytes()).await;
    }
    let many: String = (0..150).map(|at| format!("x-{at}: y\r\n")).collect();
    let words = format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    front.refuses(431, words.as_bytes()).await;
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_before_it_is_sent() {
    let too_large = config(Vec::new()).limits.max_body + 1;
    let words = post(&format!("content-length: {too_large}"));
    refused(413, &[&words]).await;
}

#[tokio::test]
async fn a_refusal_is_seen_by_a_client_that_goes_on_sending() {
    let front = front().await;
    let mut stream = front.proxy.connect().await;
    let too_large = config(Vec::new()).limits.max_body + 1;
    let head = post(&format!("content-length: {too_large}"));
    stream.write_all(head.as_bytes()).await.unwrap();
    // Not a byte of the answer is read before these are written.
    for _ in 0..8 {
        stream.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    }
    let mut answer = vec![0; 13];
    within("an answer", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 413 ");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = raw_upstream(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let Some(path) = head.split(' ').nth(1) else {
                return;
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                path.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let proxy = Proxy::of(route(server.await));
    let mut words = String::new();
    for at in 0..20 {
        words.push_str(&format!("GET /{at} HTTP/1.1\r\nhost: a\r\n\r\n"));
        words.push_str(&format!(
            "POST /{at}p HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
    }
    words.push_str("GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answer = proxy.converse(words.as_bytes()).await;
    let told: Vec<&str> = answer
        .split("HTTP/1.1 200 OK")
        .skip(1)
        .map(|one| one.rsplit("\r\n\r\n").next().unwrap())
        .collect();
    let mut expected: Vec<String> = (0..20)
        .flat_map(|at| [format!("/{at}"), format!("/{at}p")])
        .collect();
    expected.push("/last".to_owned());
    assert_eq!(told, expected);
}

/// A refusal says how long it would be and ends with its head, as every response to a HEAD must (RFC 9110, section 9.3.2).
#[tokio::test]
async fn a_refused_head_is_answered_by_a_head() {
    let mut narrow = config(vec![route(super::support::says("x").await)]);
    narrow.limits.header_timeout = std::time::Duration::from_millis(100);
    let proxy = Proxy::start(narrow, 0.0);
    let many = format!(
        "HEAD / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    let long = format!("HEAD /{}", "x".repeat(20_000));
    let cases = [
        (400, "HEAD / HTTP/1.1\r\n\r\n"),
        (400, "\r\nHEAD / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        (400, "HEAD / HTTP/1.1\r\nhost: a\r\nx y\r\n\r\n"),
        (408, "HEAD / HTTP/1.1\r\nhost: a\r\n"),
        (414, &long),
        (431, &many),
        (
            501,
            "HEAD / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        ),
        (505, "HEAD / HTTP/2.0\r\nhost: a\r\n\r\n"),
    ];
    for (status, words) in cases {
        let answer = proxy.converse(words.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{words}: {answer}");
        assert!(answer.contains("content-length: "), "{words}: {answer}");
        assert!(!answer.contains("content-length: 0"), "{words}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{words}: {answer}");
    }
}
