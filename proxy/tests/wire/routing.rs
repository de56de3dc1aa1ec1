//! Which arm answers, and what is refused before any is asked.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use serin_config::model::{KeyFallback, KeySource, Match, Protocol};
use serin_proxy::{Clock, DataPlane};
use serin_stats::snapshot::Outcome;
use tokio::sync::Notify;

use super::support::{
    Proxy, config, empty, full, get, get2, post, rollout, route, says, text, within,
};

#[tokio::test]
async fn the_same_user_gets_the_same_arm_on_both_protocols() {
    let proxy = Proxy::of(rollout(says("old").await, says("new").await));
    let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
    let mut canaries = 0;
    for user in 0..60 {
        let user = format!("user-{user}");
        let with_user = |mut request: Request<_>| {
            let headers = request.headers_mut();
            headers.insert("x-user-id", user.parse().unwrap());
            request
        };
        let first = http1.send_request(with_user(get("/"))).await.unwrap();
        let second = http2.send_request(with_user(get2("/"))).await.unwrap();
        let arm = first.headers()["x-serin-arm"].clone();
        assert_eq!(arm, second.headers()["x-serin-arm"], "{user}");
        let version = if arm == "canary" { "2" } else { "1" };
        assert_eq!(
            first.headers()["x-serin-release"],
            format!("digest-{version}")
        );
        let said = if arm == "canary" { "new" } else { "old" };
        assert_eq!(text(first).await, said);
        assert_eq!(text(second).await, said);
        canaries += u32::from(arm == "canary");
    }
    assert!((15..=45).contains(&canaries), "{canaries} of 60");
    let counts = proxy.counts(120).await;
    let canary = counts.of(serin_stats::snapshot::Arm::Canary, Outcome::Success);
    assert_eq!(canary, u64::from(2 * canaries));
}

#[tokio::test]
async fn all_protocols_meet_all_protocols() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let upstream = super::support::upstream(|request| async move {
            let version = request.version();
            let target = request.uri().to_string();
            let host = request.headers().get("host").cloned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let text = format!("{version:?} {target} {host:?} {}", body.len());
            http::Response::new(full(text))
        })
        .await;
        let mut plain = route(upstream);
        plain.baseline.protocol = protocol;
        let proxy = Proxy::of(plain);
        let expected = match protocol {
            Protocol::Http2 => "HTTP/2.0 http://models.example/a?b=c None 3",
            _ => "HTTP/1.1 /a?b=c Some(\"models.example\") 3",
        };
        let first = proxy.ask(post("/a?b=c", full("abc"))).await;
        assert_eq!(text(first).await, expected);
        let request = Request::post("http://models.example/a?b=c").body(full("abc"));
        let mut http2 = proxy.http2().await;
        let second = http2.send_request(request.unwrap()).await.unwrap();
        assert_eq!(text(second).await, expected);
    }
}

#[tokio::test]
async fn what_no_route_takes_is_a_problem() {
    let mut only = route(says("x").await);
    only.matcher = Match {
        path_prefix: Some("/v2".to_owned()),
        ..Match::default()
    };
    let proxy = Proxy::of(only);
    let response = proxy.ask(get("/elsewhere")).await;
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["status"], 404);
    assert_eq!(proxy.ask(get("/v2/x")).await.status(), 200);
}

#[tokio::test]
async fn a_missing_key_is_refused_where_the_route_wants_one() {
    let mut strict = rollout(says("old").await, says("new").await);
    strict.key_fallback = KeyFallback::Reject;
    let proxy = Proxy::of(strict);
    assert_eq!(proxy.ask(get("/")).await.status(), 400);
    let mut request = get("/");
    request
        .headers_mut()
        .insert("x-user-id", "u".parse().unwrap());
    assert_eq!(proxy.ask(request).await.status(), 200);
    proxy.counts(1).await;
}

#[tokio::test]
async fn a_key_in_the_body_is_found_and_the_body_still_arrives_whole() {
    let echo = || {
        super::support::upstream(|request| async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            http::Response::new(full(body))
        })
    };
    let mut keyed = rollout(echo().await, echo().await);
    keyed.routing_key = vec![KeySource::JsonPointer("/user".to_owned())];
    keyed.key_fallback = KeyFallback::Reject;
    let proxy = Proxy::of(keyed);
    let mut arms = std::collections::BTreeSet::new();
    for user in 0..20 {
        let body = format!("{{\"user\": \"u{user}\"}}");
        let mut seen = Vec::new();
        for _ in 0..3 {
            let response = proxy.ask(post("/", full(body.clone()))).await;
            assert_eq!(response.status(), 200);
            seen.push(
                response.headers()["x-serin-arm"]
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
            assert_eq!(text(response).await, body);
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "u{user}");
        arms.extend(seen);
    }
    assert_eq!(arms.len(), 2);
    // Larger than may be held: the key counts as absent …
    let large = format!("{{\"user\": \"u\", \"x\": \"{}\"}}", "x".repeat(5000));
    let response = proxy.ask(post("/", full(large.clone()))).await;
    assert_eq!(response.status(), 400);
    // … and with another fallback the whole body arrives all the same.
    let mut keyed = rollout(echo().await, echo().await);
    keyed.routing_key = vec![KeySource::JsonPointer("/user".to_owned())];
    let proxy = Proxy::of(keyed);
    let chunks = http_body_util::StreamBody::new(futures_util::stream::iter(
        large
            .clone()
            .into_bytes()
            .chunks(700)
            .map(|chunk| Ok(http_body::Frame::data(Bytes::copy_from_slice(chunk))))
            .collect::<Vec<_>>(),
    ));
    let response = proxy.ask(post("/", BodyExt::boxed(chunks))).await;
    assert_eq!(text(response).await, large);
}

#[tokio::test]
async fn connections_wait_for_the_first_rules() {
    let config = Arc::new(config(vec![route(says("x").await)]));
    let plane = DataPlane::start(&config, Arc::new(Notify::new()), Clock::start()).unwrap();
    let mut proxy = Proxy::of(route(says("y").await));
    proxy.address = plane.addresses()[0];
    let mut client = proxy.http1().await;
    let early = tokio::spawn(async move { client.send_request(get("/")).await });
    assert_eq!(plane.connections(), 0);
    plane.install(&config, &Default::default());
    assert_eq!(
        text(within("an answer", early).await.unwrap().unwrap()).await,
        "x"
    );
}

#[tokio::test]
async fn limits_have_their_statuses() {
    let proxy = Proxy::of(route(says("x").await));
    let long_target = format!("/{}", "x".repeat(17 * 1024));
    assert_eq!(proxy.ask(get(&long_target)).await.status(), 414);
    let longer_target = format!("/{}", "x".repeat(40 * 1024));
    assert_eq!(proxy.ask(get(&longer_target)).await.status(), 414);
    let mut large = get("/");
    for name in ["a", "b", "c", "d"] {
        let value = "x".repeat(10 * 1024).parse().unwrap();
        large.headers_mut().insert(name, value);
    }
    assert_eq!(proxy.ask(large).await.status(), 431);
    let mut too_long = post("/", empty());
    let length = (2 * 1024 * 1024).to_string();
    too_long
        .headers_mut()
        .insert("content-length", length.parse().unwrap());
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\nexpect: 100-continue\r\n\r\n";
    let answer = proxy.converse(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut http2 = proxy.http2().await;
    let mut large = get2("/");
    for name in ["a", "b", "c", "d"] {
        let value = "x".repeat(15 * 1024).parse().unwrap();
        large.headers_mut().insert(name, value);
    }
    assert_eq!(http2.send_request(large).await.unwrap().status(), 431);
    assert_eq!(
        http2
            .send_request(get2(&long_target))
            .await
            .unwrap()
            .status(),
        414
    );
    for method in ["TRACE", "CONNECT"] {
        let head = format!("{method} a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n");
        let answer = proxy.converse(head.as_bytes()).await;
        let refused = answer.starts_with("HTTP/1.1 405 ") || answer.starts_with("HTTP/1.1 400 ");
        assert!(refused, "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_while_it_streams() {
    let upstream = super::support::upstream(|request| async move {
        let _ = request.into_body().collect().await;
        http::Response::new(full("x"))
    });
    let proxy = Proxy::of(rollout(upstream.await, says("x").await));
    let pieces = std::iter::repeat_n(Bytes::from(vec![b'x'; 64 * 1024]), 20);
    let frames = pieces.map(|piece| Ok(http_body::Frame::data(piece)));
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let mut request = post("/", BodyExt::boxed(body));
    // Of a user who is the baseline's.
    let mut client = proxy.http1().await;
    let users = (0..).map(|user| format!("user-{user}"));
    for user in users {
        let mut probe = get("/");
        probe
            .headers_mut()
            .insert("x-user-id", user.parse().unwrap());
        let response = within("probe", client.send_request(probe)).await.unwrap();
        let arm = response.headers()["x-serin-arm"].clone();
        text(response).await;
        if arm == "baseline" {
            request
                .headers_mut()
                .insert("x-user-id", user.parse().unwrap());
            break;
        }
    }
    let response = proxy.ask(request).await;
    assert_eq!(response.status(), 413);
    assert!(text(response).await.contains("larger"));
}
