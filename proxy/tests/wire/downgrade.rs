//! HTTP/2 requests that would mean something else in HTTP/1.1: refused before any upstream hears of them.
//!
//! Written frame by frame, since no decent client would send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Proxy, raw_upstream, read_head, route, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// HPACK without any compression: literals without indexing.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// How the proxy answered a stream.
#[derive(Debug, PartialEq)]
enum Answer {
    /// With a response of this status.
    Status(u16),
    /// The stream, or the connection, was given up.
    Reset,
}

/// The status in a block of fields: an index of the static table, or a literal behind the name's.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x08, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn answer(stream: &mut TcpStream) -> Answer {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Answer::Reset;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            HEADERS => return Answer::Status(status(&payload)),
            RST_STREAM | GOAWAY => return Answer::Reset,
            _ => {}
        }
    }
}

/// A proxy, and how many requests its upstream has seen.
async fn front() -> (Proxy, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let server = raw_upstream(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    (Proxy::of(route(server.await)), reached)
}

async fn ask(proxy: &Proxy, fields: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
    let mut stream = proxy.connect().await;
    let flags = if body.is_some() { 0 } else { END_STREAM };
    let mut words = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    words.extend(frame(HEADERS, END_HEADERS | flags, 1, &block(fields)));
    if let Some(body) = body {
        words.extend(frame(DATA, END_STREAM, 1, body));
    }
    stream.write_all(&words).await.unwrap();
    within("an answer", answer(&mut stream)).await
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a"),
];

fn with<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GET.iter().chain(fields).copied().collect()
}

/// Neither is any of these answered with success, nor does the upstream hear of it.
async fn refused(cases: &[Vec<(&str, &str)>]) {
    let (proxy, reached) = front().await;
    for case in cases {
        let answer = ask(&proxy, case, None).await;
        assert_ne!(answer, Answer::Status(200), "{case:?}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // And what is right is served still.
    assert_eq!(ask(&proxy, &GET, None).await, Answer::Status(200));
}

#[tokio::test]
async fn fields_of_one_connection_are_refused() {
    refused(&[
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "close")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, gzip")]),
    ])
    .await;
}

#[tokio::test]
async fn line_ends_and_nothing_in_fields_are_refused() {
    refused(&[
        with(&[("x", "a\r\ncontent-length: 5")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\0b")]),
        with(&[("x\r\ny", "a")]),
        with(&[("x y", "a")]),
        with(&[("X", "a")]),
        with(&[("x:y", "a")]),
        with(&[("", "a")]),
    ])
    .await;
}

#[tokio::test]
async fn targets_that_would_break_a_request_line_are_refused() {
    let target = |path| {
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "a"),
        ]
    };
    refused(&[
        target("/a b"),
        target("/ HTTP/1.1\r\nx: y"),
        target("/\t"),
        target("/\0"),
        target(""),
        target("a"),
        target("*"),
        target("?a"),
        target("http://a/"),
    ])
    .await;
    let method = |method| {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ]
    };
    refused(&[
        method("GET / HTTP/1.1\r\nx:"),
        method("G T"),
        method(""),
        method("TRACE"),
        method("CONNECT"),
    ])
    .await;
}

#[tokio::test]
async fn authorities_that_differ_or_make_no_sense_are_refused() {
    let authority = |authority| {
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", authority),
        ]
    };
    refused(&[
        with(&[("host", "b")]),
        with(&[("host", "a"), ("host", "b")]),
        authority("u@a"),
        authority("a b"),
        authority("a\r\nx: y"),
        authority("a/b"),
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/")],
    ])
    .await;
    let scheme = |scheme| {
        vec![
            (":method", "GET"),
            (":scheme", scheme),
            (":path", "/"),
            (":authority", "a"),
        ]
    };
    refused(&[
        scheme(""),
        scheme("ftp"),
        scheme("ht tp"),
        scheme("http://b/"),
    ])
    .await;
}

#[tokio::test]
async fn pseudo_fields_are_whole_single_and_first() {
    refused(&[
        vec![(":method", "GET"), (":path", "/"), (":authority", "a")],
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a")],
        vec![(":scheme", "http"), (":path", "/"), (":authority", "a")],
        with(&[(":path", "/b")]),
        with(&[(":method", "POST")]),
        with(&[(":status", "200")]),
        with(&[(":evil", "1")]),
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            ("x", "y"),
            (":path", "/"),
            (":authority", "a"),
        ],
    ])
    .await;
}

#[tokio::test]
async fn lengths_that_lie_are_refused() {
    let (proxy, reached) = front().await;
    let post = |length| {
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
            ("content-length", length),
        ]
    };
    for length in ["0", "+3", "3, 3", "x", "", "99999999999999999999"] {
        let answer = ask(&proxy, &post(length), Some(b"abc")).await;
        assert_ne!(answer, Answer::Status(200), "{length}");
    }
    let mut twice = post("3");
    twice.push(("content-length", "3"));
    assert_ne!(ask(&proxy, &twice, Some(b"abc")).await, Answer::Status(200));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // What is found out only when the body is over may have begun to go up; it is no success.
    for length in ["2", "4"] {
        let answer = ask(&proxy, &post(length), Some(b"abc")).await;
        assert_ne!(answer, Answer::Status(200), "{length}");
    }
    // A body that is said to be empty may end a frame later.
    assert_eq!(
        ask(&proxy, &post("0"), Some(b"")).await,
        Answer::Status(200)
    );
}
