//! Laws of the codec, tried on many inputs: a corpus of heads and bodies, whole and mutilated.
//!
//! What we accept hyper accepts too and reads the same: where the two differ, ours is the stricter one.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::body::{Body, BodyError};
use super::head::{self, Framing, Room};

/// Heads that are right, nearly right, and attacks that were found in the wild.
const HEADS: [&str; 23] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /v2/models/digits?x=1&y=%20 HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX-User-Id: u1\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "PUT /p HTTP/1.1\r\nHost: [::1]:80\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a:80?x HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
];

const BODIES: [&[u8]; 10] = [
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\n0\r\n\r\n",
    b"3;x=\"a\\\"b\"\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
    b"003\r\nabc\r\n000\r\n\r\n",
    b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"3\nabc\n0\n\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
];

/// Bytes that parsers stumble over.
const AWKWARD: &[u8] = b"\0\t\n\r \"#,/:;=?@AZ_az09\x7f\x80\xff-+%";

/// Replaces, inserts or removes a few bytes.
fn mutilated(original: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => proptest::sample::select(AWKWARD),
        1 => any::<u8>(),
    ];
    let change = (any::<proptest::sample::Index>(), 0..3_u8, byte);
    proptest::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut bytes = original.to_vec();
        for (at, kind, byte) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn any_head() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(&HEADS[..]).prop_flat_map(|head| mutilated(head.as_bytes()))
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(&BODIES[..]).prop_flat_map(mutilated)
}

/// What a reader made of a request: method, target, framing-free fields, content.
#[derive(Debug, PartialEq)]
struct Read {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

/// How we read a request: `None` when we refuse it, or all of it isn't there.
fn ours(input: &[u8]) -> Option<Read> {
    let mut room = Room::new();
    let head = head::request(input, &mut room).ok()??;
    let mut body = Body::unlimited(head.framing);
    let mut content = Vec::new();
    body.content(&input[head.len..], &mut content).ok()?;
    let mut fields: Vec<_> = head
        .fields
        .iter()
        .map(|(_, field)| (field.name.to_lowercase(), field.value.to_vec()))
        .collect();
    fields.sort();
    body.is_done().then(|| Read {
        method: head.method.to_owned(),
        target: if head.target.starts_with('?') {
            format!("/{}", head.target)
        } else {
            head.target.to_owned()
        },
        fields,
        content,
    })
}

/// How hyper reads it.
async fn hypers(input: &[u8]) -> Option<Read> {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(content) = body.collect().await {
                let mut fields: Vec<_> = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                    .collect();
                fields.sort();
                let target = head.uri.path_and_query().map(ToString::to_string);
                let _ = tell.send(Read {
                    method: head.method.to_string(),
                    target: target.unwrap_or_else(|| "/".to_owned()),
                    fields,
                    content: content.to_bytes().to_vec(),
                });
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    let asking = async {
        client.write_all(input).await.ok()?;
        client.shutdown().await.ok()?;
        client.read_to_end(&mut Vec::new()).await.ok()
    };
    let _ = tokio::join!(serving, asking);
    told.try_recv().ok()
}

/// `http::Uri` takes fewer characters in a target than servers do.
fn uri_takes(target: &str) -> bool {
    target.parse::<http::Uri>().is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_we_accept_hyper_reads_the_same(head in any_head(), body in any_body()) {
        let mut input = head;
        // The content of a `Content-Length: 3`, or chunks, or the next request.
        input.extend_from_slice(&body);
        if let Some(ours) = ours(&input)
            && uri_takes(&ours.target)
        {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let hypers = runtime.block_on(hypers(&input));
            prop_assert_eq!(Some(ours), hypers, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_head_means_the_same_however_it_arrives(head in any_head()) {
        let mut room = Room::new();
        let whole = head::request(&head, &mut room).map(|head| head.map(|head| head.len));
        for length in 0..head.len() {
            let mut room = Room::new();
            match head::request(&head[..length], &mut room) {
                // Refused early: it would be refused whole.
                Err(_) => prop_assert!(whole.is_err(), "at {}", length),
                Ok(Some(early)) => prop_assert_eq!(whole, Ok(Some(early.len))),
                Ok(None) => {}
            }
        }
    }

    #[test]
    fn anything_at_all_is_read_without_a_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut room = Room::new();
        let _ = head::request(&input, &mut room);
        let mut room = Room::new();
        let mut large = None;
        let _ = head::response(&input, (&mut room, &mut large), false);
        let _ = Body::unlimited(Framing::Chunked).relay(&input);
    }

    #[test]
    fn a_chunked_body_means_the_same_however_it_arrives(
        body in any_body(),
        piece in 1..8_usize,
    ) {
        let read = |piece: usize| -> Result<(usize, Vec<u8>, Vec<u8>, bool), BodyError> {
            let mut relaying = Body::unlimited(Framing::Chunked);
            let mut decoding = Body::unlimited(Framing::Chunked);
            let (mut taken, mut passed, mut content) = (0, Vec::new(), Vec::new());
            for part in body.chunks(piece) {
                let relayed = relaying.relay(part)?;
                assert_eq!(decoding.content(part, &mut content)?, relayed.taken);
                passed.extend_from_slice(&part[..relayed.passed]);
                passed.extend(relaying.take_trailer());
                taken += relayed.taken;
                if relayed.taken < part.len() {
                    break;
                }
            }
            Ok((taken, passed, content, relaying.is_done()))
        };
        prop_assert_eq!(read(piece), read(body.len().max(1)));
    }

    #[test]
    fn content_survives_any_chunks(
        content in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1..50_usize, 1..20),
        behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let (mut coded, mut rest) = (Vec::new(), content.as_slice());
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at((*size).min(rest.len()));
            super::write::chunk(&mut coded, now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        coded.extend_from_slice(b"0\r\n\r\n");
        let length = coded.len();
        coded.extend_from_slice(&behind);
        let mut body = Body::unlimited(Framing::Chunked);
        let mut decoded = Vec::new();
        prop_assert_eq!(body.content(&coded, &mut decoded), Ok(length));
        prop_assert!(body.is_done());
        prop_assert_eq!(decoded, content);
    }
}
