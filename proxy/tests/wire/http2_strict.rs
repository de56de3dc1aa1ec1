//! The finer rules of RFC 9113, which many codecs leave out, and interim responses, which few pass on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Verdict::{Refuses, Resets};
use super::http2_cases::{Case, Front, case, check};
use super::http2_client::Http2;
use super::support::{Proxy, config, raw_upstream, read_head, route};

#[tokio::test]
async fn settings_come_first() {
    let front = Front::start().await;
    for words in [
        [PREFACE, &ping()].concat(),
        [PREFACE, &get(1, "/")].concat(),
        [PREFACE, &window(0, 1)].concat(),
        [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(),
        [PREFACE, &frame(0xfa, 0, 0, b"x")].concat(),
    ] {
        let mut client = Http2::silent(&front.proxy, "no settings").await;
        client.send(&words).await;
        client.breaks(&[PROTOCOL_ERROR]).await;
    }
}

#[tokio::test]
async fn trailers_have_no_pseudo_fields_at_all() {
    let trailed = |more: &[(&str, &str)]| {
        let trailers = frame(HEADERS, WHOLE, 1, &block(more));
        [post(1, "/"), data(1, b"test"), trailers].concat()
    };
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        (":status", "200"),
        (":other", "x"),
    ];
    let as_case = |field: (&str, &str)| {
        let words = trailed(&[("x-t", "y"), field]);
        case(field.0, words, Resets(1, &[PROTOCOL_ERROR]))
    };
    let mut cases: Vec<Case> = pseudo.into_iter().map(as_case).collect();
    cases.extend(pseudo.map(|field| {
        let name = format!("{} alone", field.0);
        case(&name, trailed(&[field]), Resets(1, &[PROTOCOL_ERROR]))
    }));
    for field in [
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
    ] {
        let words = trailed(&[field]);
        cases.push(case(field.0, words, Resets(1, &[PROTOCOL_ERROR])));
    }
    check(cases).await;
}

#[tokio::test]
async fn fragments_and_what_is_not_ascii_are_no_part_of_a_path() {
    let paths = ["/#", "/a#b", "/a?b#c", "#", "/\u{e9}", "/\u{7f}", "/a\tb"];
    let as_case = |path: &str| {
        let words = frame(HEADERS, WHOLE, 1, &block(&head("GET", path)));
        case(&format!("{path:?}"), words, Refuses(1))
    };
    check(paths.into_iter().map(as_case).collect()).await;
}

#[tokio::test]
async fn values_neither_begin_nor_end_with_blanks() {
    let values = [" y", "y ", "\ty", "y\t", " "];
    let as_case = |value: &str| {
        let words = ask(1, END_STREAM, "GET", &[("x", value)]);
        case(&format!("{value:?}"), words, Resets(1, &[PROTOCOL_ERROR]))
    };
    check(values.into_iter().map(as_case).collect()).await;
}

/// What was on its way to a stream that was refused is nobody's mistake.
#[tokio::test]
async fn what_comes_for_a_refused_stream_is_read_over() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "refused").await;
    let most = client.settings[&MAX_CONCURRENT_STREAMS];
    for stream in (1..).step_by(2).take(most as usize) {
        client.send(&post(stream, "/")).await;
    }
    let late = 2 * most + 1;
    let fields = block(&[("x-t", "y")]);
    client
        .send(&[post(late, "/"), data(late, b"some")].concat())
        .await;
    assert_eq!(client.answer(late).await.reset, Some(REFUSED_STREAM));
    let rest = [
        window(late, 1),
        data(late, b"more"),
        frame(HEADERS, WHOLE, late, &fields),
        reset(late, CANCEL),
    ];
    client.send(&rest.concat()).await;
    client.goes_on().await;
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let server = raw_upstream(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let words = "HTTP/1.1 100 Continue\r\n\r\n\
                HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-serin-arm: evil\r\n\r\n\
                HTTP/1.1 103 Early Hints\r\nlink: </b>\r\nconnection: x\r\nx: y\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
            stream.write_all(words.as_bytes()).await.unwrap();
        }
    });
    let proxy = Proxy::of(route(server.await));
    let mut client = Http2::hello(&proxy, "interim").await;
    for stream in [1, 3] {
        client.send(&get(stream, "/")).await;
        let answer = client.served(stream).await;
        assert_eq!(answer.text(), "x");
        let named = |interim: &Vec<(String, String)>, name| {
            let mut fields = interim.iter().filter(|field| field.0 == name);
            fields.next().map(|field| field.1.clone())
        };
        let hints: Vec<_> = answer
            .interim
            .iter()
            .filter(|interim| interim[0].1 == "103")
            .collect();
        assert_eq!(hints.len(), 2, "{answer:?}");
        for (hint, link) in hints.into_iter().zip(["</a>", "</b>"]) {
            assert_eq!(named(hint, "link").as_deref(), Some(link));
            assert_eq!(named(hint, "x-serin-arm"), None);
            assert_eq!(named(hint, "x"), None);
        }
    }
}

/// A client that waits for leave gets it, and its body arrives.
#[tokio::test]
async fn who_waits_for_leave_gets_it() {
    let server = raw_upstream(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            assert!(!head.contains("expect"), "{head}");
            let mut body = [0; 5];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            let words = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
            stream
                .write_all(&[words, &body[..]].concat())
                .await
                .unwrap();
        }
    });
    let mut config = config(vec![route(server.await)]);
    config.limits.max_body = 5;
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "leave").await;
    let asks = |stream, length| {
        let more = [("expect", "100-continue"), ("content-length", length)];
        ask(stream, 0, "POST", &more)
    };
    client.send(&asks(1, "5")).await;
    while client.so_far(1).interim.is_empty() {
        assert_ne!(client.event().await, Event::Closed);
    }
    assert_eq!(client.so_far(1).interim[0][0].1, "100");
    client.send(&last_data(1, b"hello")).await;
    assert_eq!(client.served(1).await.text(), "hello");
    // Who is refused gets none.
    client.send(&asks(3, "6")).await;
    let answer = client.answer(3).await;
    assert_eq!(
        (answer.status, answer.interim.len()),
        (413, 0),
        "{answer:?}"
    );
    // Who doesn't wait needs none.
    client
        .send(&[asks(5, "5"), last_data(5, b"world")].concat())
        .await;
    assert_eq!(client.served(5).await.text(), "world");
}
