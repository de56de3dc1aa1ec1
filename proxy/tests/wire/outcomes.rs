//! How each exchange is counted, and what its client sees of a failing upstream.

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::AsyncWriteExt;

use super::support::{
    Proxy, config, empty, full, get, get2, post, raw_upstream, read_head, refusing, rollout, says,
    text, upstream, within,
};

/// Everything to the canary, which is this.
async fn canary(address: std::net::SocketAddr, protocol: Protocol) -> Proxy {
    let mut route = rollout(says("baseline").await, address);
    route.canary.as_mut().unwrap().protocol = protocol;
    Proxy::start(config(vec![route]), 1.0)
}

#[tokio::test]
async fn statuses_are_counted_as_clients_see_them() {
    let server = upstream(|request: Request<Incoming>| async move {
        let mut response = Response::new(full("x"));
        let code = request
            .uri()
            .path()
            .trim_start_matches('/')
            .parse()
            .unwrap();
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    });
    let proxy = canary(server.await, Protocol::Http1).await;
    for (requests, (code, outcome)) in [
        (200, Outcome::Success),
        (302, Outcome::Success),
        (404, Outcome::Rejected),
        (422, Outcome::Rejected),
        (429, Outcome::Error),
        (500, Outcome::Error),
        (503, Outcome::Error),
    ]
    .into_iter()
    .enumerate()
    {
        let before = proxy.counts(requests as u64).await;
        let response = proxy.ask(get(&format!("/{code}"))).await;
        assert_eq!(response.status().as_u16(), code);
        text(response).await;
        let after = proxy.counts(requests as u64 + 1).await;
        let counted = |counts: &super::support::Counts| counts.of(Arm::Canary, outcome);
        assert_eq!(counted(&after), counted(&before) + 1, "{code}");
        assert_eq!(after.unreachable(Arm::Canary), 0);
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_bad_gateway() {
    let proxy = canary(refusing().await, Protocol::Http1).await;
    let response = proxy.ask(post("/", full("abc"))).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-serin-arm"], "canary");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem = text(response).await;
    assert!(!problem.contains("127.0.0.1"), "{problem}");
    let mut http2 = proxy.http2().await;
    let response = http2.send_request(get2("/")).await.unwrap();
    assert_eq!(response.status(), 502);
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 2);
    assert_eq!(counts.unreachable(Arm::Canary), 2);
    within("the bell", proxy.bell.notified()).await;
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_answer_is_seen_to() {
    let server = |answer: &'static [u8]| {
        raw_upstream(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
        })
    };
    for answer in [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    ] {
        let proxy = canary(server(answer).await, Protocol::Http1).await;
        let response = proxy.ask(get("/")).await;
        assert_eq!(response.status(), 200);
        let body = within("body", response.into_body().collect()).await;
        assert!(body.is_err());
        let mut http2 = proxy.http2().await;
        let response = http2.send_request(get2("/")).await.unwrap();
        let body = within("body", response.into_body().collect()).await;
        assert!(body.is_err());
        let raw = proxy.converse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(raw.contains("abc") && !raw.ends_with("0\r\n\r\n"), "{raw}");
        let counts = proxy.counts(3).await;
        assert_eq!(counts.of(Arm::Canary, Outcome::Error), 3);
        assert_eq!(counts.unreachable(Arm::Canary), 0);
    }
}

#[tokio::test]
async fn what_is_no_response_is_a_bad_gateway() {
    for answer in [b"".as_slice(), b"garbage\r\n\r\n", b"HTTP/1.1 200"] {
        let server = raw_upstream(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
        });
        let proxy = canary(server.await, Protocol::Http1).await;
        assert_eq!(proxy.ask(get("/")).await.status(), 502);
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Canary, Outcome::Error), 1);
    }
}

/// Uvicorn closes the connection after the answer to a request that raised an error, and doesn't say so: whatever
/// was sent there meanwhile is lost, and a POST can't be sent again.
#[tokio::test]
async fn a_connection_that_answered_500_is_not_used_again() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 1\r\n\r\nx";
        let _ = stream.write_all(answer).await;
        read_head(&mut stream).await;
    });
    let proxy = canary(server.await, Protocol::Http1).await;
    let mut client = proxy.http1().await;
    for _ in 0..3 {
        let response = client.send_request(post("/", empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(text(response).await, "x");
    }
}

/// A gRPC call's answer: how it ends is said in its path.
async fn grpc_server() -> std::net::SocketAddr {
    upstream(|request: Request<Incoming>| async move {
        let how = request.uri().path().trim_start_matches('/').to_owned();
        let _ = request.into_body().collect().await;
        let status = |code: &str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
        };
        let mut response = match how.split_once('-') {
            Some(("trailers", code)) => {
                let trailers = status(code);
                let body = full("\0\0\0\0\0").with_trailers(async move { Some(Ok(trailers)) });
                Response::new(body.boxed())
            }
            Some(("head", code)) => {
                let mut response = Response::new(empty());
                response.headers_mut().extend(status(code));
                response
            }
            _ => Response::new(full("\0\0\0\0\0")),
        };
        let kind = "application/grpc".parse().unwrap();
        response.headers_mut().insert("content-type", kind);
        response
    })
    .await
}

fn call(how: &str) -> Request<super::support::AnyBody> {
    Request::post(format!("http://models.example/{how}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(full("\0\0\0\0\0"))
        .unwrap()
}

#[tokio::test]
async fn calls_are_counted_by_their_own_status() {
    let proxy = canary(grpc_server().await, Protocol::Auto).await;
    let mut client = proxy.http2().await;
    for (calls, (how, outcome)) in [
        ("trailers-0", Outcome::Success),
        ("trailers-5", Outcome::Rejected),
        ("trailers-14", Outcome::Error),
        ("trailers-1", Outcome::Aborted),
        ("head-13", Outcome::Error),
        ("head-3", Outcome::Rejected),
        ("none", Outcome::Error),
    ]
    .into_iter()
    .enumerate()
    {
        let before = proxy.counts(calls as u64).await;
        let response = client.send_request(call(how)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = within("body", response.into_body().collect())
            .await
            .unwrap();
        let status = body
            .trailers()
            .map(|trailers| trailers["grpc-status"].clone());
        if let Some(("trailers", code)) = how.split_once('-') {
            assert_eq!(status.unwrap(), code);
        }
        let after = proxy.counts(calls as u64 + 1).await;
        let counted = |counts: &super::support::Counts| counts.of(Arm::Canary, outcome);
        assert_eq!(counted(&after), counted(&before) + 1, "{how}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_made_gets_a_status() {
    let proxy = canary(refusing().await, Protocol::Auto).await;
    let mut client = proxy.http2().await;
    let response = client.send_request(call("x")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let counts = proxy.counts(1).await;
    assert_eq!(counts.unreachable(Arm::Canary), 1);
}

#[tokio::test]
async fn a_call_that_breaks_off_gets_a_status() {
    // Speaks HTTP/1.1, so that it can be cut without HTTP/2's manners.
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\
            transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n";
        let _ = stream.write_all(answer).await;
    });
    let proxy = canary(server.await, Protocol::Http1).await;
    let mut client = proxy.http2().await;
    let response = client.send_request(call("x")).await.unwrap();
    let body = within("body", response.into_body().collect())
        .await
        .unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "14");
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 1);
}
