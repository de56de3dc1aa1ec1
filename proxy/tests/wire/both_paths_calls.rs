//! Calls of gRPC, over all ways; and what calls and other requests are told when there is nobody to ask.

use std::time::Duration;

use serin_config::model::Endpoint;
use serin_stats::snapshot::Outcome;

use super::both_paths::{
    Body, MOST, ONLY_HTTP1, ONLY_HTTP2, Pairs, ROW, Row, Says, play, play_where,
};
use super::support::refusing;

/// A message of no bytes, in its frame.
const MESSAGE: Body = Body::Pieces(&["\0\0\0\0\0"]);
const KIND: Pairs = &[("content-type", "application/grpc")];

/// A call that is answered well, by its trailers.
const CALL: Row = Row {
    method: "POST",
    path: "/inference.GRPCInferenceService/ModelInfer",
    fields: &[("content-type", "application/grpc"), ("te", "trailers")],
    body: MESSAGE,
    answer: KIND,
    answer_body: MESSAGE,
    answer_trailers: &[("grpc-status", "0"), ("grpc-message", "")],
    ..ROW
};

/// One that the proxy answers, and that counts against the arm.
const FAILED: Row = Row {
    refused: Some(14),
    counted: Some(Outcome::Error),
    ..CALL
};

#[tokio::test]
async fn calls_are_answered_by_their_trailers() {
    let mut rows = vec![
        Row {
            name: "one message each",
            ..CALL
        },
        Row {
            name: "many messages each",
            body: Body::Pieces(&["\0\0\0\0\u{1}a", "\0\0\0\0\u{1}b", "\0\0\0\0\0"]),
            answer_body: Body::Pieces(&["\0\0\0\0\0", "\0\0\0\0\u{1}c"]),
            ..CALL
        },
        Row {
            name: "more than a status",
            answer_trailers: &[
                ("grpc-status", "0"),
                ("grpc-status-details-bin", "AAA"),
                ("x-a", "1"),
                ("x-a", "2"),
            ],
            ..CALL
        },
        Row {
            name: "trailers alone",
            answer_body: Body::Pieces(&[]),
            ..CALL
        },
        Row {
            name: "no status",
            answer_trailers: &[("x-a", "1")],
            counted: Some(Outcome::Error),
            ..CALL
        },
        Row {
            name: "neither status nor trailers",
            answer_trailers: &[],
            counted: Some(Outcome::Error),
            ..CALL
        },
        Row {
            name: "no answer of gRPC",
            status: 503,
            answer_trailers: &[],
            counted: Some(Outcome::Error),
            ..CALL
        },
    ];
    let statuses: [(&str, Pairs, _); 4] = [
        ("cancelled", &[("grpc-status", "1")], Outcome::Aborted),
        ("not found", &[("grpc-status", "5")], Outcome::Rejected),
        ("unavailable", &[("grpc-status", "14")], Outcome::Error),
        ("no number", &[("grpc-status", "good")], Outcome::Error),
    ];
    for (name, answer_trailers, outcome) in statuses {
        rows.push(Row {
            name,
            answer_trailers,
            counted: Some(outcome),
            ..CALL
        });
    }
    play(&rows).await;
}

#[tokio::test]
async fn calls_are_answered_by_a_head_alone() {
    let head = Row {
        answer_body: Body::Length(""),
        answer_trailers: &[],
        ..CALL
    };
    let not_found: Pairs = &[
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "no such model"),
    ];
    let invalid: Pairs = &[
        ("content-type", "application/grpc"),
        ("grpc-status", "13"),
        ("x-a", "1"),
    ];
    play(&[
        Row {
            name: "the client's fault",
            answer: not_found,
            counted: Some(Outcome::Rejected),
            ..head
        },
        Row {
            name: "the server's fault",
            answer: invalid,
            counted: Some(Outcome::Error),
            ..head
        },
        Row {
            name: "without a word of a length",
            upstreams: ONLY_HTTP2,
            answer: not_found,
            answer_body: Body::Nothing,
            counted: Some(Outcome::Rejected),
            ..head
        },
    ])
    .await;
}

#[tokio::test]
async fn calls_that_break_off_are_told_so() {
    let breaks = Row {
        says: Says::BreaksOff,
        counted: Some(Outcome::Error),
        answer_trailers: &[],
        ..CALL
    };
    play(&[
        Row {
            name: "behind a message",
            ..breaks
        },
        Row {
            name: "within one",
            answer_body: Body::Pieces(&["\0\0\0\0\0", "\0\0\0"]),
            ..breaks
        },
        Row {
            name: "before any",
            answer_body: Body::Pieces(&[]),
            ..breaks
        },
    ])
    .await;
}

#[tokio::test]
async fn calls_that_cannot_be_made_get_a_status() {
    play(&[
        Row {
            name: "no answer",
            says: Says::Nothing,
            ..FAILED
        },
        Row {
            name: "nonsense",
            says: Says::Words("nonsense\r\n\r\n"),
            upstreams: ONLY_HTTP1,
            ..FAILED
        },
        Row {
            name: "too large",
            body: Body::Length("x".repeat(MOST as usize + 1).leak()),
            refused: Some(8),
            counted: None,
            ..FAILED
        },
        Row {
            name: "an expectation of others",
            // HTTP/1.1 is refused before it is known to be a call.
            clients: ONLY_HTTP2,
            fields: &[("content-type", "application/grpc"), ("expect", "200-ok")],
            refused: Some(3),
            counted: None,
            ..FAILED
        },
    ])
    .await;
    let late = Row {
        name: "no answer in time",
        says: Says::Waits,
        refused: Some(4),
        ..FAILED
    };
    play_where(&[late], |route| {
        route.timeouts.response = Duration::from_millis(50);
    })
    .await;
}

/// Requests of all kinds, none of which gets to an upstream.
fn requests(status: u16, grpc: u16, counted: Option<Outcome>) -> Vec<Row> {
    let row = Row {
        refused: Some(status),
        counted,
        ..ROW
    };
    let post = Row {
        method: "POST",
        ..row
    };
    vec![
        Row {
            name: "no body",
            ..row
        },
        Row {
            name: "a body",
            body: Body::Length("hello"),
            ..post
        },
        Row {
            name: "a body in pieces",
            body: Body::Pieces(&["hel", "lo"]),
            ..post
        },
        Row {
            name: "a call",
            refused: Some(grpc),
            counted,
            ..CALL
        },
    ]
}

#[tokio::test]
async fn who_is_on_no_route_is_told_so() {
    play_where(&requests(404, 12, None), |route| {
        route.matcher.host = Some("elsewhere.example".to_owned());
    })
    .await;
}

#[tokio::test]
async fn who_asks_for_an_upstream_that_refuses_is_told_so() {
    let nobody = refusing().await;
    play_where(&requests(502, 14, Some(Outcome::Error)), |route| {
        route.baseline.endpoints = vec![Endpoint {
            is_https: false,
            host: nobody.ip().to_string(),
            port: nobody.port(),
        }];
    })
    .await;
}
