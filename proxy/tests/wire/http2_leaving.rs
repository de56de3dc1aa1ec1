//! Exchanges with HTTP/2 upstreams that are given up: at every moment the upstream hears of it at once, and nothing of
//! them keeps others waiting. And what an upstream says before its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serin_config::model::Timeouts;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::both_paths::Over;
use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::http2_upstreams::{framing, front, greet, hearing, setting};
use super::support::{Proxy, config, raw_upstream, read_head, refusing, rollout, within};

const OK: &[(&str, &str)] = &[(":status", "200")];

fn head(id: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, id, &block(OK))
}

/// An upstream that takes `streams` at once, begins every answer, takes no more than a window, and tells of resets.
async fn halting(streams: u32) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<u8>) {
    let (tell, told) = mpsc::unbounded_channel();
    let answer = move |kind, flags, id, _: &[u8]| {
        if matches!(kind, HEADERS | RST_STREAM) {
            tell.send(kind).unwrap();
        }
        match kind {
            HEADERS if flags & END_STREAM != 0 => head(id, END_STREAM),
            HEADERS => [settings(&[(MAX_CONCURRENT_STREAMS, streams)]), head(id, 0)].concat(),
            _ => Vec::new(),
        }
    };
    (hearing(answer).await, told)
}

/// The answer has begun, and the window is shut: whoever leaves leaves nothing behind.
#[tokio::test]
async fn a_shut_window_keeps_nobody() {
    const STREAMS: u32 = 4;
    for over in [Over::Http1, Over::Http2] {
        let (server, mut told) = halting(STREAMS).await;
        let proxy = front(server, Over::Http2).await;
        for round in 0..2 * STREAMS {
            let name = format!("{over:?}, {round}");
            let body = vec![b'a'; 60_000];
            match over {
                Over::Http1 => {
                    let mut stream = proxy.connect().await;
                    let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n";
                    stream.write_all(words).await.unwrap();
                    stream.write_all(&body).await.unwrap();
                    read_head(&mut stream).await;
                    stream.write_all(&body).await.unwrap();
                }
                Over::Http2 => {
                    let mut http2 = Http2::hello(&proxy, &name).await;
                    let pieces = body.chunks(15_000).flat_map(|piece| data(1, piece));
                    let pieces = pieces.collect::<Vec<_>>();
                    http2
                        .send(&[ask(1, 0, "POST", &[]), pieces.clone()].concat())
                        .await;
                    http2.awaits(Event::Head(1)).await;
                    http2.send(&pieces).await;
                    http2.send(&reset(1, CANCEL)).await;
                    http2.goes_on().await;
                }
            }
            assert_eq!(within(&name, told.recv()).await, Some(HEADERS), "{name}");
            assert_eq!(within(&name, told.recv()).await, Some(RST_STREAM), "{name}");
        }
        let answer = proxy
            .converse(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// Serin's own deadline is told like a client's leaving.
#[tokio::test]
async fn a_stalled_answer_is_given_up_at_the_upstream_too() {
    let (server, mut told) = halting(100).await;
    let mut route = rollout(server, refusing().await);
    route.baseline.protocol = serin_config::model::Protocol::Http2;
    route.timeouts = Timeouts {
        idle: Duration::from_millis(100),
        ..route.timeouts
    };
    let proxy = Proxy::start(config(vec![route]), 0.0);
    let mut http2 = Http2::hello(&proxy, "stalls").await;
    let pieces = vec![b'a'; 90_000];
    let pieces = pieces.chunks(15_000).flat_map(|piece| data(1, piece));
    let words = [ask(1, 0, "POST", &[]), pieces.collect()].concat();
    http2.send(&words).await;
    assert_eq!(within("a head", told.recv()).await, Some(HEADERS));
    assert_eq!(within("a reset", told.recv()).await, Some(RST_STREAM));
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1);
}

/// A request that waits for a stream and is given up is never heard of.
#[tokio::test]
async fn who_never_got_a_stream_was_never_there() {
    let heads = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&heads);
    let answer = move |kind, _: u8, id: u32, _: &[u8]| match kind {
        HEADERS => {
            seen.fetch_add(1, Relaxed);
            head(id, 0)
        }
        _ => Vec::new(),
    };
    let server = setting(&[(MAX_CONCURRENT_STREAMS, 1)], answer).await;
    let proxy = front(server, Over::Http2).await;
    // As many as there may be connections, and one more; all on one, so that one worker has them all.
    let mut http2 = Http2::hello(&proxy, "waits").await;
    for id in (1..16).step_by(2) {
        http2.send(&ask(id, END_STREAM, "GET", &[])).await;
        http2.awaits(Event::Head(id)).await;
    }
    let post = [ask(17, 0, "POST", &[]), last_data(17, b"abc")].concat();
    http2.send(&post).await;
    http2.goes_on().await;
    http2.send(&reset(17, CANCEL)).await;
    http2.goes_on().await;
    for id in (1..16).step_by(2) {
        http2.send(&reset(id, CANCEL)).await;
    }
    let counts = proxy.counts(9).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 9);
    http2.goes_on().await;
    assert_eq!(heads.load(Relaxed), 8);
}

/// An upstream that takes nothing for a while is waited for, on the connection there is.
#[tokio::test]
async fn an_upstream_that_takes_no_streams_is_asked_when_it_does() {
    let (asked, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, connections) = (Arc::clone(&asked), Arc::clone(&told));
    let server = raw_upstream(move |mut stream| {
        let (count, connections) = (Arc::clone(&count), Arc::clone(&connections));
        async move {
            connections.fetch_add(1, Relaxed);
            greet(&mut stream).await;
            let none = settings(&[(MAX_CONCURRENT_STREAMS, 0)]);
            let words = [none, head(1, END_STREAM)].concat();
            stream.write_all(&words).await.unwrap();
            // The second request waits.
            while count.load(Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let words = [
                settings(&[(MAX_CONCURRENT_STREAMS, 9)]),
                head(3, END_STREAM),
            ];
            stream.write_all(&words[0]).await.unwrap();
            let mut came = Vec::new();
            while !came
                .windows(9)
                .any(|head| head[3] == HEADERS && head[8] == 3)
            {
                stream.read_buf(&mut came).await.unwrap();
            }
            stream.write_all(&words[1]).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let proxy = front(server, Over::Http2).await;
    let mut http2 = Http2::hello(&proxy, "takes none").await;
    http2.send(&ask(1, END_STREAM, "GET", &[])).await;
    assert_eq!(http2.served(1).await.status, 200);
    http2.send(&ask(3, END_STREAM, "GET", &[])).await;
    http2.goes_on().await;
    asked.fetch_add(1, Relaxed);
    assert_eq!(http2.served(3).await.status, 200);
    assert_eq!(told.load(Relaxed), 1);
}

/// What is said before the answer goes on to clients of both kinds, and its connection's own fields don't.
#[tokio::test]
async fn interim_responses_are_passed_on() {
    let hint = |id| {
        let fields = [(":status", "103"), ("link", "</a>"), ("x-serin-arm", "z")];
        frame(HEADERS, END_HEADERS, id, &block(&fields))
    };
    let (server, _told) =
        framing(move |id| [hint(id), hint(id), head(id, END_STREAM)].concat()).await;
    let proxy = front(server, Over::Http2).await;
    let answer = proxy
        .converse(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let both = format!("{hint}{hint}HTTP/1.1 200 OK\r\n");
    assert!(answer.starts_with(&both), "{answer}");
    // HTTP/1.0 knows nothing of the kind.
    let answer = proxy.converse(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "),
        "{answer}"
    );
    let mut http2 = Http2::hello(&proxy, "hints").await;
    http2.send(&ask(1, END_STREAM, "GET", &[])).await;
    let answer = http2.served(1).await;
    let hint = vec![
        (":status".to_owned(), "103".to_owned()),
        ("link".to_owned(), "</a>".to_owned()),
    ];
    assert_eq!(answer.interim, [hint.clone(), hint]);
}

/// A call whose client only listens is as lively as one that speaks.
#[tokio::test]
async fn who_listens_need_not_speak() {
    let server = raw_upstream(|mut stream| async move {
        greet(&mut stream).await;
        stream.write_all(&head(1, 0)).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            if stream.write_all(&data(1, b"token")).await.is_err() {
                return;
            }
        }
        let _ = stream.write_all(&last_data(1, b"")).await;
        std::future::pending().await
    })
    .await;
    let mut route = rollout(server, refusing().await);
    route.baseline.protocol = serin_config::model::Protocol::Http2;
    let mut limited = config(vec![route]);
    limited.limits.body_timeout = Duration::from_millis(200);
    let proxy = Proxy::start(limited, 0.0);
    let mut http2 = Http2::hello(&proxy, "listens").await;
    http2
        .send(&[ask(1, 0, "POST", &[]), data(1, b"go")].concat())
        .await;
    let answer = http2.answer(1).await;
    assert_eq!(answer.text(), "token".repeat(10));
}
