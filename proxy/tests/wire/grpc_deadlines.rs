//! How long a gRPC client says it will wait (`grpc-timeout`): what it gets then, and whose failure that is.

use std::time::Duration;

use serin_stats::snapshot::{Arm, Outcome};

use super::both_paths::Over;
use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::http2_upstreams::{framing, front};

fn call(timeout: &str) -> Vec<u8> {
    let fields = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", timeout),
    ];
    [ask(1, 0, "POST", &fields), last_data(1, b"\0\0\0\0\0")].concat()
}

fn status(fields: &[(String, String)]) -> Option<&str> {
    let status = fields.iter().find(|(name, _)| name == "grpc-status");
    status.map(|(_, value)| value.as_str())
}

/// Neither who says nothing nor who stops half-way keeps the client longer than it said.
#[tokio::test]
async fn a_call_is_over_when_its_client_said() {
    let silent = |_| Vec::new();
    let halting = |id| {
        let head = block(&[(":status", "200"), ("content-type", "application/grpc")]);
        [
            frame(HEADERS, END_HEADERS, id, &head),
            data(id, b"\0\0\0\0\0"),
        ]
        .concat()
    };
    let (first, _told) = framing(silent).await;
    let (second, _told) = framing(halting).await;
    for server in [first, second] {
        let proxy = front(server, Over::Http2).await;
        let mut http2 = Http2::hello(&proxy, "a deadline").await;
        http2.send(&call("100m")).await;
        let answer = http2.answer(1).await;
        assert!(answer.is_whole);
        let said = status(&answer.fields).or(answer.trailers.as_deref().and_then(status));
        assert_eq!(said, Some("4"), "{answer:?}");
        http2.goes_on().await;
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1);
    }
}

/// A client that leaves when its time is up left because the arm was too slow; one that leaves before, or that says
/// nothing we understand, did as it liked.
#[tokio::test]
async fn leaving_at_the_deadline_is_the_arms_failure() {
    for (timeout, left_at, outcome) in [
        ("160m", Duration::from_millis(150), Outcome::Error),
        ("60S", Duration::ZERO, Outcome::Aborted),
        ("99999999H", Duration::ZERO, Outcome::Aborted),
        ("soon", Duration::ZERO, Outcome::Aborted),
    ] {
        let (server, mut told) = framing(|_| Vec::new()).await;
        let proxy = front(server, Over::Http2).await;
        let mut http2 = Http2::hello(&proxy, timeout).await;
        http2.send(&call(timeout)).await;
        super::support::within(timeout, told.recv()).await.unwrap();
        tokio::time::sleep(left_at).await;
        http2.send(&reset(1, CANCEL)).await;
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, outcome), 1, "{timeout}");
        http2.goes_on().await;
    }
}
