//! Answers, over all ways: what reaches the client, and how it sees that one is not whole.

use serin_stats::snapshot::Outcome;

use super::both_paths::{Body, ONLY_HTTP1, ONLY_HTTP2, ROW, Row, STOPPED, STRAY, Says, play};

#[tokio::test]
async fn statuses_and_bodies_arrive() {
    let pieces = Body::Pieces(&["he", "l", "lo"]);
    let head = Row {
        method: "HEAD",
        ..ROW
    };
    let mut rows = vec![
        Row {
            name: "a body",
            ..ROW
        },
        Row {
            name: "pieces",
            answer_body: pieces,
            ..ROW
        },
        Row {
            name: "no pieces",
            answer_body: Body::Pieces(&[]),
            ..ROW
        },
        Row {
            name: "nothing",
            answer_body: Body::Length(""),
            ..ROW
        },
        Row {
            name: "beyond ASCII",
            answer_body: Body::Length("h\u{e9}llo \u{1f600}"),
            ..ROW
        },
        Row {
            name: "HEAD",
            ..head
        },
        Row {
            name: "HEAD of nothing",
            answer_body: Body::Length(""),
            ..head
        },
        Row {
            name: "HEAD of pieces",
            answer_body: pieces,
            ..head
        },
        Row {
            name: "HEAD of a failure",
            status: 404,
            counted: Some(Outcome::Rejected),
            ..head
        },
        Row {
            name: "204",
            status: 204,
            answer_body: Body::Nothing,
            ..ROW
        },
        Row {
            name: "204 to a POST",
            status: 204,
            answer_body: Body::Nothing,
            method: "POST",
            body: Body::Length("hello"),
            ..ROW
        },
        Row {
            name: "304",
            status: 304,
            answer_body: Body::Nothing,
            answer: &[("etag", "\"x\"")],
            ..ROW
        },
        Row {
            name: "304 of a length",
            status: 304,
            answer: &[("etag", "\"x\"")],
            ..ROW
        },
        Row {
            name: "HEAD and 304",
            status: 304,
            ..head
        },
        Row {
            name: "trailers",
            answer_body: pieces,
            answer_trailers: &[("x-t", "one"), ("x-u", ""), ("x-t", "two")],
            fields: &[("te", "trailers")],
            ..ROW
        },
        Row {
            name: "trailers that concern others",
            answer_body: pieces,
            answer_trailers: STRAY,
            trailers_without: STOPPED,
            ..ROW
        },
        Row {
            name: "a length behind the body",
            upstreams: ONLY_HTTP2,
            answer_body: pieces,
            answer_trailers: &[("content-length", "9"), ("x-t", "y")],
            trailers_without: &["content-length"],
            ..ROW
        },
        Row {
            name: "trailers alone",
            answer_body: Body::Pieces(&[]),
            answer_trailers: &[("x-t", "y")],
            fields: &[("te", "trailers")],
            ..ROW
        },
        Row {
            name: "much",
            answer_body: Body::Length("0123456789".repeat(30_000).leak()),
            ..ROW
        },
        Row {
            name: "much in pieces",
            answer_body: Body::Pieces(vec![&*"0123456789".repeat(5_000).leak(); 6].leak()),
            ..ROW
        },
        Row {
            name: "trailers that nobody asked for",
            answer_body: pieces,
            answer_trailers: &[("x-t", "y")],
            ..ROW
        },
    ];
    for (status, counted) in [
        (201, Outcome::Success),
        (206, Outcome::Success),
        (299, Outcome::Success),
        (301, Outcome::Success),
        (307, Outcome::Success),
        (400, Outcome::Rejected),
        (401, Outcome::Rejected),
        (404, Outcome::Rejected),
        (418, Outcome::Rejected),
        (500, Outcome::Error),
        (429, Outcome::Error),
        (503, Outcome::Error),
        (599, Outcome::Error),
    ] {
        rows.push(Row {
            name: "a status",
            status,
            counted: Some(counted),
            ..ROW
        });
    }
    play(&rows).await;
}

#[tokio::test]
async fn fields_of_answers_arrive_unless_they_end_here() {
    play(&[
        Row {
            name: "some",
            answer: &[
                ("server", "triton"),
                ("content-type", "application/json; charset=utf-8"),
                ("set-cookie", "a=b; Path=/"),
                ("x-a", "1"),
                ("set-cookie", "c=d"),
                ("x-a", "2"),
                ("x-b", ""),
                ("x_c", "underscores are the client's own affair"),
            ],
            ..ROW
        },
        Row {
            name: "beyond ASCII",
            answer: &[("x-a", "\u{e9}\u{1f600}")],
            ..ROW
        },
        Row {
            name: "a large one",
            answer: vec![("x-a", &*"x".repeat(40_000).leak())].leak(),
            ..ROW
        },
        Row {
            name: "where to go",
            status: 302,
            answer: &[("location", "http://elsewhere/"), ("retry-after", "3")],
            ..ROW
        },
        Row {
            name: "what is ours to say",
            answer: &[
                ("x-serin-arm", "canary"),
                ("x-serin-request-id", "mine"),
                ("x-serin-verdict", "good"),
            ],
            down_without: &["x-serin-arm", "x-serin-request-id", "x-serin-verdict"],
            ..ROW
        },
        Row {
            name: "who passed it on before",
            answer: &[("via", "1.1 cache"), ("via", "2 other")],
            down_without: &["via"],
            down_with: &[("via", "1.1 cache, 2 other, {} serin")],
            ..ROW
        },
        Row {
            name: "what concerns one connection",
            upstreams: ONLY_HTTP1,
            answer: &[
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("upgrade", "h2c"),
                ("x-a", "1"),
            ],
            down_without: &[
                "connection",
                "x-hop",
                "keep-alive",
                "proxy-connection",
                "upgrade",
            ],
            ..ROW
        },
    ])
    .await;
}

#[tokio::test]
async fn answers_that_come_early_arrive() {
    let early = Row {
        method: "POST",
        says: Says::Early,
        status: 403,
        counted: Some(Outcome::Rejected),
        ..ROW
    };
    play(&[
        Row {
            name: "to a body",
            body: Body::Length("hello"),
            ..early
        },
        Row {
            name: "to pieces",
            body: Body::Pieces(&["hello"]),
            ..early
        },
        Row {
            name: "in pieces",
            body: Body::Pieces(&["hello"]),
            answer_body: Body::Pieces(&["a", "b"]),
            ..early
        },
        Row {
            name: "to who waits for leave",
            fields: &[("expect", "100-continue")],
            up_without: &["expect"],
            body: Body::Length("hello"),
            ..early
        },
        Row {
            name: "of nothing",
            body: Body::Length("hello"),
            answer_body: Body::Length(""),
            ..early
        },
    ])
    .await;
}

#[tokio::test]
async fn answers_that_break_off_are_seen_to() {
    let breaks = Row {
        says: Says::BreaksOff,
        counted: Some(Outcome::Error),
        ..ROW
    };
    let half = |words, body| Row {
        name: words,
        upstreams: ONLY_HTTP1,
        says: Says::Half(words),
        answer_body: body,
        ..breaks
    };
    let pieces = Body::Pieces(&["hel", "lo"]);
    play(&[
        half(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
            Body::Length("hello"),
        ),
        half(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
            pieces,
        ),
        half(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n",
            pieces,
        ),
        half(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n5\r\nlo",
            pieces,
        ),
        Row {
            name: "of a length",
            ..breaks
        },
    ])
    .await;
    play(&[
        Row {
            name: "in pieces",
            answer_body: Body::Pieces(&["hel", "lo"]),
            ..breaks
        },
        Row {
            name: "in pieces, of a POST",
            answer_body: Body::Pieces(&["hel"]),
            method: "POST",
            body: Body::Length("x"),
            ..breaks
        },
    ])
    .await;
}

#[tokio::test]
async fn answers_of_old_and_of_talkative_upstreams_arrive() {
    let words = |words, body| Row {
        name: words,
        upstreams: ONLY_HTTP1,
        says: Says::Words(words),
        answer_body: body,
        ..ROW
    };
    let before = |words, statuses| Row {
        name: words,
        upstreams: ONLY_HTTP1,
        before: (words, statuses),
        ..ROW
    };
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-serin-arm: evil\r\n\r\n";
    play(&[
        words("HTTP/1.1 200 OK\r\n\r\nhello", Body::Pieces(&["hello"])),
        Row {
            down_with: &[("via", "x, 1.0 serin")],
            ..words(
                "HTTP/1.0 200 OK\r\nvia: x\r\n\r\nhello",
                Body::Pieces(&["hello"]),
            )
        },
        words(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhello",
            Body::Length("hel"),
        ),
        words(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n5;x=y\r\nhello\r\n00\r\n\r\nevil",
            Body::Pieces(&["hello"]),
        ),
        before(HINT, &[103]),
        before("HTTP/1.1 100 Continue\r\n\r\n", &[]),
        before(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n",
            &[102, 103],
        ),
        Row {
            body: Body::Length("hello"),
            method: "POST",
            ..before(HINT, &[103])
        },
        Row {
            status: 404,
            counted: Some(Outcome::Rejected),
            ..before(HINT, &[103])
        },
        Row {
            status: 204,
            answer_body: Body::Nothing,
            ..before(HINT, &[103])
        },
    ])
    .await;
}
