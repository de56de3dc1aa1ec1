//! HTTP/2 upstreams that lie in their heads; and paths that few of them may be asked for.

use serin_stats::snapshot::{Arm, Outcome};

use tokio::io::AsyncWriteExt;

use super::both_paths::Over;
use super::frames::*;
use super::hpack::{Treat, block, literal};
use super::http2_client::Http2;
use super::http2_upstreams::{framing, front};
use super::support::{raw_upstream, read_head};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn says(id: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, id, &block(fields))
}

#[tokio::test]
async fn a_length_that_is_not_the_bodys_never_looks_whole() {
    for length in ["3", "9", ""] {
        for ends_with_trailers in [false, true] {
            let answer = move |id| {
                let head = says(id, 0, &[(":status", "200"), ("content-length", length)]);
                let body = match ends_with_trailers {
                    false => last_data(id, b"whole"),
                    true => [data(id, b"whole"), says(id, END_STREAM, &[("x-t", "y")])].concat(),
                };
                [head, body].concat()
            };
            let name = format!("{length:?}, {ends_with_trailers}");
            let (server, _told) = framing(answer).await;
            let proxy = front(server, Over::Http2).await;
            let answer = proxy.converse(ASK).await;
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            // It shows sooner or later.
            let is_refused = answer.starts_with("HTTP/1.1 502 ");
            match length {
                _ if is_refused => {}
                "" => assert!(!body.ends_with("0\r\n\r\n"), "{name}: {answer}"),
                length => assert!(body.len() < length.parse().unwrap(), "{name}: {answer}"),
            }
            let mut http2 = Http2::hello(&proxy, &name).await;
            http2.send(&ask(1, END_STREAM, "GET", &[])).await;
            let answer = http2.answer(1).await;
            let is_refused = answer.status == 502;
            assert!(is_refused || !answer.is_whole, "{name}: {answer:?}");
            http2.goes_on().await;
            let counts = proxy.counts(2).await;
            assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 2, "{name}");
        }
    }
}

#[tokio::test]
async fn a_head_that_breaks_the_rules_is_a_bad_gateway() {
    let with = |name, value| {
        [
            block(&[(":status", "200")]),
            literal(Treat::Forget, name, value),
        ]
    };
    let lengths = |lengths: [&str; 2]| {
        lengths
            .map(|length| block(&[("content-length", length)]))
            .concat()
    };
    let mut heads = vec![
        ("no status".to_owned(), block(&[("a", "b")])),
        (
            "a status behind the fields".to_owned(),
            block(&[("a", "b"), (":status", "200")]),
        ),
        (
            "two statuses".to_owned(),
            block(&[(":status", "200"), (":status", "500")]),
        ),
        (
            "two lengths".to_owned(),
            [block(&[(":status", "200")]), lengths(["0", "5"])].concat(),
        ),
    ];
    for status in ["100", "101", "103", "99", "1000", "+20", "abc", ""] {
        heads.push((status.to_owned(), block(&[(":status", status)])));
    }
    for (name, value) in [
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("keep-alive", "1"),
        ("content-length", "abc"),
        ("content-length", "+0"),
        ("content-length", "9"),
        ("UPPER", "x"),
        ("a b", "x"),
        ("a:b", "x"),
        ("", "x"),
        ("x", "a\r\nb: c"),
        ("x", "a\0"),
        ("x", "\u{7f}"),
    ] {
        heads.push((format!("{name:?}: {value:?}"), with(name, value).concat()));
    }
    for (name, head) in heads {
        let answer = move |id| frame(HEADERS, WHOLE, id, &head);
        let (server, _told) = framing(answer).await;
        let proxy = front(server, Over::Http2).await;
        let answer = proxy.converse(ASK).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        let mut http2 = Http2::hello(&proxy, &name).await;
        http2.send(&ask(1, END_STREAM, "GET", &[])).await;
        assert_eq!(http2.answer(1).await.status, 502, "{name}");
        http2.goes_on().await;
        let counts = proxy.counts(2).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 2, "{name}");
    }
}

#[tokio::test]
async fn a_path_gets_one_answer_from_whomever_to_whomever() {
    let paths = [
        ("/\"|\\{}^", 200),
        ("//a/b", 200),
        ("/%zz", 200),
        ("/<", 200),
        ("/>", 200),
        ("/`", 200),
        ("/?<", 200),
        ("/?`", 200),
        ("/?q=\"x\"", 200),
        ("/a<b", 200),
        ("/a-path-that-is-longer-than-any-register/<b>/c", 200),
        ("/#a", 400),
        ("/\u{e4}", 400),
        ("*", 400),
    ];
    // Some servers refuse of themselves what no URI holds.
    let tolerant = raw_upstream(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let (tolerant, strict) = (tolerant.await, super::support::says("served").await);
    for (over, server) in [(Over::Http1, tolerant), (Over::Http2, strict)] {
        let proxy = front(server, over).await;
        for (path, status) in paths {
            let words = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let answer = proxy.converse(words.as_bytes()).await;
            let line = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&line), "{over:?}, {path}: {answer}");
            let mut http2 = Http2::hello(&proxy, path).await;
            let fields = block(&head("GET", path));
            http2.send(&frame(HEADERS, WHOLE, 1, &fields)).await;
            assert_eq!(http2.answer(1).await.status, status, "{over:?}, {path}");
            http2.goes_on().await;
        }
    }
}
