//! Requests, over all ways: what reaches the upstream, and what is refused before.

use std::time::Duration;

use serin_stats::snapshot::Outcome;

use super::both_paths::{
    Body, MOST, ONLY_HTTP1, ONLY_HTTP2, ROW, Row, STOPPED, STRAY, Says, Text, play, play_where,
};

/// A text of so many bytes.
fn long(length: usize) -> Text {
    "x".repeat(length).leak()
}

const POST: Row = Row {
    method: "POST",
    body: Body::Length("hello"),
    ..ROW
};

#[tokio::test]
async fn methods_targets_and_bodies_arrive() {
    let pieces = Body::Pieces(&["he", "l", "lo"]);
    let mut rows = vec![
        Row {
            name: "plain",
            ..ROW
        },
        Row {
            name: "a query",
            path: "/v2/models/m?a=b&c=%20d&e",
            ..ROW
        },
        Row {
            name: "odd letters",
            path: "/a%2Fb;c=d/~e/..%00/$&'()*+,=:@",
            ..ROW
        },
        Row {
            name: "letters that are none of a path's",
            path: "/{\"a\"|^\\}?`^|{}\\[]",
            ..ROW
        },
        Row {
            name: "a path with dots and empty parts",
            path: "//a/./../b//",
            ..ROW
        },
        Row {
            name: "a body",
            ..POST
        },
        Row {
            name: "a body in pieces",
            body: pieces,
            ..POST
        },
        Row {
            name: "a body of nothing",
            body: Body::Length(""),
            ..POST
        },
        Row {
            name: "no pieces",
            body: Body::Pieces(&[]),
            ..POST
        },
        Row {
            name: "no body",
            body: Body::Nothing,
            ..POST
        },
        Row {
            name: "a body beyond ASCII",
            body: Body::Length("h\u{e9}llo \u{1f600}"),
            ..POST
        },
        Row {
            name: "a body that looks like a message",
            body: Body::Length("0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            ..POST
        },
        Row {
            name: "any star",
            method: "OPTIONS",
            path: "*",
            ..ROW
        },
        Row {
            name: "trailers",
            body: pieces,
            trailers: &[("x-t", "one"), ("x-t", "two"), ("x-u", "")],
            ..POST
        },
        Row {
            name: "trailers that concern others",
            body: pieces,
            trailers: STRAY,
            trailers_without: STOPPED,
            ..POST
        },
        Row {
            name: "a length behind the body",
            clients: ONLY_HTTP2,
            body: pieces,
            trailers: &[("content-length", "9"), ("x-t", "y")],
            trailers_without: &["content-length"],
            ..POST
        },
        Row {
            name: "trailers alone",
            body: Body::Pieces(&[]),
            trailers: &[("x-t", "y")],
            ..POST
        },
    ];
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "X-y"] {
        for body in [Body::Nothing, Body::Length("hello"), pieces] {
            rows.push(Row {
                name: method,
                method,
                body,
                ..ROW
            });
        }
    }
    play(&rows).await;
}

#[tokio::test]
async fn fields_arrive_unless_they_end_here() {
    play(&[
        Row {
            name: "some",
            fields: &[
                ("accept", "*/*"),
                ("x-a", "1"),
                ("x-b", ""),
                ("x-a", "2"),
                ("user-agent", "u/1 (x; y)"),
            ],
            ..ROW
        },
        Row {
            name: "beyond ASCII",
            fields: &[("x-a", "\u{e9}\u{1f600}")],
            ..ROW
        },
        Row {
            name: "signs",
            fields: &[("x-!#$%&'*+.^`|~1", "\"a\\b\", (c) {d} <e>")],
            ..ROW
        },
        Row {
            name: "a large one",
            fields: vec![("x-a", long(5_000))].leak(),
            ..ROW
        },
        Row {
            name: "a type",
            fields: &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            ..POST
        },
        Row {
            name: "a range",
            fields: &[
                ("range", "bytes=0-1"),
                ("if-match", "\"x\""),
                ("authorization", "Bearer x"),
            ],
            ..ROW
        },
        Row {
            name: "a date",
            fields: &[("date", "Sun, 06 Nov 1994 08:49:37 GMT")],
            ..ROW
        },
        Row {
            name: "one cookie",
            fields: &[("cookie", "a=b; c=d")],
            ..ROW
        },
        Row {
            name: "cookies in crumbs",
            clients: ONLY_HTTP2,
            upstreams: ONLY_HTTP1,
            fields: &[
                ("cookie", "a=b"),
                ("x-a", "1"),
                ("cookie", "c=d"),
                ("cookie", "e=f"),
            ],
            up_without: &["cookie"],
            up_with: &[("cookie", "a=b; c=d; e=f")],
            ..ROW
        },
        Row {
            name: "what ends here",
            fields: &[
                ("proxy-authorization", "Basic x"),
                ("http2-settings", "AAAA"),
                ("x-a", "1"),
            ],
            up_without: &["proxy-authorization", "http2-settings"],
            ..ROW
        },
        Row {
            name: "what concerns one connection",
            clients: ONLY_HTTP1,
            fields: &[
                ("connection", "keep-alive, x-hop"),
                ("connection", "X-Hop-Too"),
                ("x-hop", "1"),
                ("x-hop-too", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "gzip"),
                ("upgrade", "websocket"),
                ("x-a", "1"),
            ],
            up_without: &[
                "connection",
                "x-hop",
                "x-hop-too",
                "keep-alive",
                "proxy-connection",
                "te",
                "upgrade",
            ],
            ..ROW
        },
        Row {
            name: "trailers are welcome",
            fields: &[("te", "trailers")],
            ..ROW
        },
        Row {
            name: "what is ours to say",
            fields: &[
                ("x-serin-arm", "canary"),
                ("x-serin-shadow", "1"),
                ("x-serin-request-id", "mine"),
                ("x-serin-routing-key", "u1"),
            ],
            up_without: &["x-serin-arm", "x-serin-shadow", "x-serin-request-id"],
            ..ROW
        },
        Row {
            name: "underscores",
            fields: &[("content_length", "5"), ("x_a", "1"), ("x-a", "1")],
            up_without: &["content_length", "x_a"],
            ..ROW
        },
        Row {
            name: "who passed it on before",
            fields: &[
                ("via", "1.0 one"),
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "front.example"),
                ("forwarded", "for=203.0.113.9"),
            ],
            up_without: &["via", "x-forwarded-for"],
            up_with: &[
                ("via", "1.0 one, {} serin"),
                ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
            ],
            ..ROW
        },
        Row {
            name: "many who did",
            fields: &[
                ("via", "1.0 one"),
                ("x-forwarded-for", "a, b"),
                ("via", "2 two"),
                ("x-forwarded-for", "c"),
            ],
            up_without: &["via", "x-forwarded-for"],
            up_with: &[
                ("via", "1.0 one, 2 two, {} serin"),
                ("x-forwarded-for", "a, b, c, 127.0.0.1"),
            ],
            ..ROW
        },
        Row {
            name: "who waits for leave",
            fields: &[("expect", "100-continue")],
            up_without: &["expect"],
            ..POST
        },
        Row {
            name: "who waits for leave, in pieces",
            fields: &[("expect", "100-Continue")],
            up_without: &["expect"],
            body: Body::Pieces(&["a", "b"]),
            ..POST
        },
    ])
    .await;
}

/// Refused by us: nobody is asked.
const REFUSED: Row = Row {
    counted: None,
    ..ROW
};

#[tokio::test]
async fn what_is_not_served_is_told_the_same_way() {
    let path = |length| -> Text { format!("/{}", "x".repeat(length)).leak() };
    let fields = vec![("x", long(3_000)); 3].leak();
    let many = vec![("x", "y"); 150].leak();
    let post = Row {
        body: Body::Length("hello"),
        method: "POST",
        ..REFUSED
    };
    play(&[
        Row {
            name: "an expectation of others",
            fields: &[("expect", "200-ok")],
            refused: Some(417),
            ..REFUSED
        },
        Row {
            name: "TRACE",
            method: "TRACE",
            refused: Some(405),
            ..REFUSED
        },
        Row {
            name: "a long target",
            path: path(2_100),
            refused: Some(414),
            ..REFUSED
        },
        Row {
            name: "a long query",
            path: format!("/?{}", "x".repeat(2_100)).leak(),
            refused: Some(414),
            ..REFUSED
        },
        Row {
            name: "a large field",
            fields: vec![("x", long(9_000))].leak(),
            refused: Some(431),
            ..REFUSED
        },
        Row {
            name: "large fields",
            fields,
            refused: Some(431),
            ..REFUSED
        },
        Row {
            name: "many fields",
            fields: many,
            refused: Some(431),
            ..REFUSED
        },
        Row {
            name: "a large body",
            body: Body::Length(long(MOST as usize + 1)),
            refused: Some(413),
            ..post
        },
        Row {
            name: "just small enough",
            body: Body::Length(long(MOST as usize)),
            method: "POST",
            ..ROW
        },
        Row {
            name: "just small enough in pieces",
            body: Body::Pieces(vec![long(MOST as usize - 400), long(400)].leak()),
            method: "POST",
            ..ROW
        },
    ])
    .await;
    // Found out when the upstream has been asked already: no fault of its own.
    let pieces = vec![long(MOST as usize - 400), long(401)].leak();
    play(&[
        Row {
            name: "a large body in pieces",
            body: Body::Pieces(pieces),
            refused: Some(413),
            counted: Some(Outcome::Aborted),
            ..post
        },
        Row {
            name: "a large body in one",
            body: Body::Pieces(vec![long(MOST as usize + 1)].leak()),
            refused: Some(413),
            counted: Some(Outcome::Aborted),
            ..post
        },
    ])
    .await;
}

#[tokio::test]
async fn upstreams_that_fail_are_told_the_same_way() {
    let failed = Row {
        counted: Some(Outcome::Error),
        ..ROW
    };
    let post = Row {
        method: "POST",
        body: Body::Length("hello"),
        ..failed
    };
    let mut rows = vec![
        Row {
            name: "no answer",
            says: Says::Nothing,
            refused: Some(502),
            ..post
        },
        Row {
            name: "no answer to a GET",
            says: Says::Nothing,
            refused: Some(502),
            ..failed
        },
    ];
    for words in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 5",
        "nonsense\r\n\r\n",
        "HTTP/1.1 99 No\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ] {
        let upstreams = ONLY_HTTP1;
        let row = Row {
            name: words,
            says: Says::Words(words),
            upstreams,
            refused: Some(502),
            ..post
        };
        rows.push(row);
    }
    play(&rows).await;
    let waits = [
        Row {
            name: "no answer in time",
            says: Says::Waits,
            refused: Some(504),
            ..post
        },
        Row {
            name: "no answer to a GET in time",
            says: Says::Waits,
            refused: Some(504),
            ..failed
        },
    ];
    play_where(&waits, |route| {
        route.timeouts.response = Duration::from_millis(50);
    })
    .await;
}
