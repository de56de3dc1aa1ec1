//! HTTP/2 upstreams that say what hyper's server would not, frame by frame; and what they and HTTP/1.1 upstreams hear of
//! an upload that breaks off.

use std::net::SocketAddr;

use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::both_paths::{BOTH, Over};
use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::support::{Proxy, config, raw_upstream, read_head, refusing, rollout, within};

/// What an upstream hears of a request's body.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Piece(Vec<u8>),
    Whole,
    Broken,
}

pub(crate) type Hears = mpsc::UnboundedReceiver<Told>;

/// Speaks HTTP/2, and answers each head with these frames.
pub(crate) async fn framing<A>(answer: A) -> (SocketAddr, Hears)
where
    A: Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    let (tell, told) = mpsc::unbounded_channel();
    let hear = move |kind, flags, id, payload: &[u8]| {
        match kind {
            DATA => tell.send(Told::Piece(payload.to_vec())).unwrap(),
            RST_STREAM => tell.send(Told::Broken).unwrap(),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            tell.send(Told::Whole).unwrap();
        }
        if kind == HEADERS {
            answer(id)
        } else {
            Vec::new()
        }
    };
    (hearing(hear).await, told)
}

/// Speaks HTTP/2, and says to each frame what this does: to its kind, flags, stream and payload.
pub(crate) async fn hearing<H>(hear: H) -> SocketAddr
where
    H: Fn(u8, u8, u32, &[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    setting(&[], hear).await
}

/// The same, with these settings from the start.
pub(crate) async fn setting<H>(values: &[(u16, u32)], hear: H) -> SocketAddr
where
    H: Fn(u8, u8, u32, &[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    let first = settings(values);
    raw_upstream(move |stream| speak(stream, first.clone(), hear.clone())).await
}

async fn speak(
    mut stream: TcpStream,
    first: Vec<u8>,
    hear: impl Fn(u8, u8, u32, &[u8]) -> Vec<u8>,
) {
    let mut came = Vec::new();
    let mut begun = false;
    let mut out = first;
    loop {
        if stream.write_all(&out).await.is_err()
            || !matches!(stream.read_buf(&mut came).await, Ok(1..))
        {
            return;
        }
        out.clear();
        if !begun && came.starts_with(PREFACE) {
            came.drain(..PREFACE.len());
            begun = true;
        }
        while begun && let Some((kind, flags, id, payload, after)) = split(&came) {
            match kind {
                SETTINGS if flags & ACK == 0 => out.extend(frame(SETTINGS, ACK, 0, &[])),
                PING if flags & ACK == 0 => out.extend(frame(PING, ACK, 0, payload)),
                _ => out.extend(hear(kind, flags, id, payload)),
            }
            let left = after.len();
            came.drain(..came.len() - left);
        }
    }
}

/// Says what a server says first, and reads on until a request has come.
pub(crate) async fn greet(stream: &mut TcpStream) {
    stream.write_all(&settings(&[])).await.unwrap();
    let (mut came, mut begun) = (Vec::new(), false);
    loop {
        stream.read_buf(&mut came).await.unwrap();
        if !begun && came.starts_with(PREFACE) {
            came.drain(..PREFACE.len());
            begun = true;
        }
        while begun && let Some((kind, _, _, _, after)) = split(&came) {
            if kind == HEADERS {
                return;
            }
            let left = after.len();
            came.drain(..came.len() - left);
        }
    }
}

/// Speaks HTTP/1.1, and answers nothing.
async fn listening() -> (SocketAddr, Hears) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            let is_chunked = read_head(&mut stream).await.contains("chunked");
            let mut came = Vec::new();
            loop {
                let mut piece = Vec::new();
                if !matches!(stream.read_buf(&mut piece).await, Ok(1..)) {
                    break;
                }
                came.extend_from_slice(&piece);
                tell.send(Told::Piece(piece)).unwrap();
            }
            let is_whole = if is_chunked {
                came.ends_with(b"0\r\n\r\n")
            } else {
                came.len() >= 6
            };
            let end = if is_whole { Told::Whole } else { Told::Broken };
            tell.send(end).unwrap();
        }
    });
    (address.await, told)
}

/// A proxy of this upstream alone.
pub(crate) async fn front(server: SocketAddr, over: Over) -> Proxy {
    let mut route = rollout(server, refusing().await);
    route.baseline.protocol = match over {
        Over::Http1 => Protocol::Http1,
        Over::Http2 => Protocol::Http2,
    };
    Proxy::start(config(vec![route]), 0.0)
}

async fn hears(told: &mut Hears, wanted: &str) {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(wanted) {
        match within("the upload", told.recv()).await.unwrap() {
            Told::Piece(piece) => heard.extend(piece),
            end => panic!("{end:?} behind {heard:?}"),
        }
    }
}

#[tokio::test]
async fn uploads_that_break_off_are_never_whole() {
    for &upstream in BOTH {
        for &client in BOTH {
            for says_length in [true, false] {
                let (server, mut told) = match upstream {
                    Over::Http1 => listening().await,
                    Over::Http2 => framing(|_| Vec::new()).await,
                };
                let proxy = front(server, upstream).await;
                let length: &[(&str, &str)] = if says_length {
                    &[("content-length", "6")]
                } else {
                    &[]
                };
                match client {
                    Over::Http1 => {
                        let mut stream = proxy.connect().await;
                        let words = if says_length {
                            "content-length: 6\r\n\r\nabc"
                        } else {
                            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
                        };
                        let words = format!("POST / HTTP/1.1\r\nhost: a\r\n{words}");
                        stream.write_all(words.as_bytes()).await.unwrap();
                        hears(&mut told, "abc").await;
                        drop(stream);
                    }
                    Over::Http2 => {
                        let mut http2 = Http2::hello(&proxy, "breaks off").await;
                        let words = [ask(1, 0, "POST", length), data(1, b"abc")].concat();
                        http2.send(&words).await;
                        hears(&mut told, "abc").await;
                        http2.send(&reset(1, CANCEL)).await;
                        http2.goes_on().await;
                    }
                }
                let name = format!("{client:?} to {upstream:?}, {says_length}");
                let mut end = within(&name, told.recv()).await.unwrap();
                while let Told::Piece(_) = end {
                    end = within(&name, told.recv()).await.unwrap();
                }
                assert_eq!(end, Told::Broken, "{name}");
                let counts = proxy.counts(1).await;
                assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1, "{name}");
            }
        }
    }
}

/// An answer without a body whose stream goes on behind its head: the client sees an answer without a body, at once,
/// and its connection is as good as before.
#[tokio::test]
async fn an_answer_that_can_have_no_body_has_none() {
    const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let endings = [
        ("an end that comes apart", Some(&b""[..])),
        ("a body", Some(EVIL)),
        ("no end", None),
    ];
    for (method, status) in [("GET", "204"), ("GET", "304"), ("HEAD", "200")] {
        for (name, behind) in endings {
            let answer = move |id| {
                let length = EVIL.len().to_string();
                let fields = block(&[(":status", status), ("content-length", &length)]);
                let behind = behind.map(|body| last_data(id, body)).unwrap_or_default();
                [frame(HEADERS, END_HEADERS, id, &fields), behind].concat()
            };
            let (server, _told) = framing(answer).await;
            let proxy = front(server, Over::Http2).await;
            let name = format!("{method}, {status} and {name}");
            let mut stream = proxy.connect().await;
            for _ in 0..2 {
                let words = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
                stream.write_all(words.as_bytes()).await.unwrap();
                let head = within(&name, read_head(&mut stream)).await;
                let line = format!("HTTP/1.1 {status} ");
                assert!(head.starts_with(&line), "{name}: {head}");
                assert!(!head.contains("evil"), "{name}: {head}");
                assert!(!head.contains("connection: close"), "{name}: {head}");
            }
            let mut http2 = Http2::hello(&proxy, &name).await;
            for id in [1, 3] {
                http2.send(&ask(id, END_STREAM, method, &[])).await;
                let answer = http2.answer(id).await;
                let is_whole = answer.is_whole && answer.reset.is_none();
                assert_eq!(
                    (answer.status.to_string().as_str(), is_whole),
                    (status, true),
                    "{name}"
                );
                assert!(answer.body.is_empty(), "{name}: {answer:?}");
                let says_length = answer.field("content-length").is_some();
                assert_eq!(says_length, status != "204", "{name}");
            }
            http2.goes_on().await;
            let counts = proxy.counts(4).await;
            assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 4, "{name}");
        }
    }
}

/// Node's servers give a stream up like this: `NO_ERROR`, which is right only behind a whole answer.
#[tokio::test]
async fn an_answer_that_is_given_up_without_an_error_is_not_whole() {
    let answer = |id| {
        let head = frame(HEADERS, END_HEADERS, id, &block(&[(":status", "200")]));
        [head, data(id, b"half"), reset(id, NO_ERROR)].concat()
    };
    let (server, _told) = framing(answer).await;
    let proxy = front(server, Over::Http2).await;
    let answer = proxy.converse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    let mut http2 = Http2::hello(&proxy, "given up").await;
    http2.send(&ask(1, END_STREAM, "GET", &[])).await;
    let answer = http2.answer(1).await;
    assert!(!answer.is_whole && answer.reset.is_some(), "{answer:?}");
    // Nor is it when there is more of the request to come.
    http2.send(&ask(3, 0, "POST", &[])).await;
    let answer = http2.answer(3).await;
    assert!(!answer.is_whole && answer.reset.is_some(), "{answer:?}");
    http2.goes_on().await;
    let counts = proxy.counts(3).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 3);
}

/// … and behind one it is: the upstream wants no more of the upload.
#[tokio::test]
async fn an_upload_that_is_not_wanted_spoils_no_answer() {
    let answer = |id| {
        let head = frame(HEADERS, END_HEADERS, id, &block(&[(":status", "200")]));
        [head, last_data(id, b"whole"), reset(id, NO_ERROR)].concat()
    };
    let (server, _told) = framing(answer).await;
    let proxy = front(server, Over::Http2).await;
    let mut stream = proxy.connect().await;
    let words = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc";
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.ends_with("5\r\nwhole\r\n0\r\n\r\n"), "{answer}");
    let mut http2 = Http2::hello(&proxy, "not wanted").await;
    http2
        .send(&[ask(1, 0, "POST", &[]), data(1, b"abc")].concat())
        .await;
    assert_eq!(http2.served(1).await.text(), "whole");
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 2);
}
