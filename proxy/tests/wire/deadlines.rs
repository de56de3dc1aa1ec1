//! Who keeps us waiting, and for how long.

use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::{Concurrency, Protocol, Route, Timeouts};
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames;
use super::http2_client::Http2;
use super::support::{
    DEADLINE, Proxy, config, full, get, get2, post, raw_upstream, read_head, refusing, rollout,
    route, says, telling, text, upstream, within,
};

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

const PATIENT: Timeouts = Timeouts {
    connect: DEADLINE,
    response: DEADLINE,
    idle: DEADLINE,
    total: None,
};

/// Everything to the baseline, with these deadlines.
fn impatient(mut route: Route, timeouts: Timeouts) -> Proxy {
    route.timeouts = timeouts;
    Proxy::start(config(vec![route]), 0.0)
}

#[tokio::test]
async fn an_upstream_that_hangs_is_a_gateway_timeout() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = upstream(|request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            std::future::pending().await
        });
        let mut hanging = rollout(server.await, refusing().await);
        hanging.baseline.protocol = protocol;
        let response = Timeouts {
            response: SHORT,
            ..PATIENT
        };
        let proxy = impatient(hanging, response);
        let begun = Instant::now();
        assert_eq!(proxy.ask(post("/", full("abc"))).await.status(), 504);
        let mut http2 = proxy.http2().await;
        let response = http2.send_request(get2("/")).await.unwrap();
        assert_eq!(response.status(), 504);
        assert!(begun.elapsed() >= 2 * SHORT);
        let counts = proxy.counts(2).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 2);
        assert_eq!(counts.unreachable(Arm::Baseline), 2);
    }
}

/// The body's last piece and its end come apart: from the end on it is the upstream's turn.
#[tokio::test]
async fn an_upstream_that_hangs_behind_a_body_whose_end_came_late_is_one_too() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (server, mut told) = telling(std::future::pending).await;
        let mut hanging = route(server);
        hanging.baseline.protocol = protocol;
        let response = Timeouts {
            response: SHORT,
            ..PATIENT
        };
        let proxy = impatient(hanging, response);
        let mut client = Http2::hello(&proxy, "late end").await;
        client
            .send(&[frames::post(1, "/"), frames::data(1, b"all")].concat())
            .await;
        within("the piece", told.recv()).await.unwrap();
        client.send(&frames::last_data(1, b"")).await;
        assert_eq!(client.answer(1).await.status, 504, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_response_that_stalls_is_cut() {
    for total in [None, Some(SHORT)] {
        let server = raw_upstream(|mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
            let _ = stream.write_all(answer).await;
            // Until the proxy gives up.
            let _ = stream.read_u8().await;
        });
        let timeouts = Timeouts {
            idle: if total.is_some() { DEADLINE } else { SHORT },
            total,
            ..PATIENT
        };
        let proxy = impatient(rollout(server.await, refusing().await), timeouts);
        let response = proxy.ask(get("/")).await;
        assert_eq!(response.status(), 200);
        assert!(
            within("body", response.into_body().collect())
                .await
                .is_err()
        );
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1);
        assert_eq!(counts.unreachable(Arm::Baseline), 0);
    }
}

#[tokio::test]
async fn a_lively_response_may_last_longer_than_any_silence() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        for _ in 0..10 {
            tokio::time::sleep(SHORT / 2).await;
            let _ = stream.write_all(b"x").await;
        }
    });
    let timeouts = Timeouts {
        idle: 3 * SHORT,
        response: 3 * SHORT,
        ..PATIENT
    };
    let proxy = impatient(route(server.await), timeouts);
    assert_eq!(text(proxy.ask(get("/")).await).await, "x".repeat(10));
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so_and_the_upstream_is_not_blamed() {
    let server = upstream(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        Response::new(full("x"))
    });
    let mut slow = config(vec![rollout(server.await, refusing().await)]);
    slow.limits.body_timeout = SHORT;
    // The client's silence doesn't use up the upstream's time.
    let proxy = Proxy::start(slow, 0.0);
    let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc";
    let answer = proxy.converse(words).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
}

#[tokio::test]
async fn the_upstreams_time_runs_only_on_its_turn() {
    let server = upstream(|request: Request<Incoming>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    });
    let timeouts = Timeouts {
        response: 2 * SHORT,
        ..PATIENT
    };
    let proxy = impatient(route(server.await), timeouts);
    let mut stream = proxy.connect().await;
    let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc";
    stream.write_all(words).await.unwrap();
    tokio::time::sleep(5 * SHORT).await;
    stream.write_all(b"def").await.unwrap();
    let head = within("head", read_head(&mut stream)).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// Who is last in the queue waits longer than any answer takes, and gets its own all the same.
#[tokio::test]
async fn the_upstreams_time_begins_behind_the_queue() {
    let server = upstream(|_: Request<Incoming>| async move {
        tokio::time::sleep(3 * SHORT).await;
        Response::new(full("x"))
    });
    let mut limited = rollout(server.await, refusing().await);
    limited.baseline.handling.concurrency = Some(Concurrency {
        max_in_flight: 1,
        queue: 2,
        queue_timeout: DEADLINE,
    });
    let timeouts = Timeouts {
        response: 5 * SHORT,
        ..PATIENT
    };
    let proxy = impatient(limited, timeouts);
    let asked = (0..3).map(|_| proxy.ask(get("/")));
    for response in futures_util::future::join_all(asked).await {
        assert_eq!(response.status(), 200);
    }
    let counts = proxy.counts(3).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 3);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let mut strict = config(vec![route(says("x").await)]);
    strict.limits.header_timeout = SHORT;
    let proxy = Proxy::start(strict, 0.0);
    for words in ["GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let answer = proxy.converse(words.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{words:?}: {answer}");
    }
    // Also the second one of a connection.
    let words = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = proxy.connect().await;
    stream.write_all(words.as_bytes()).await.unwrap();
    let head = within("head", read_head(&mut stream)).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(within("body", stream.read_u8()).await.unwrap(), b'x');
    stream.write_all(b"GET /").await.unwrap();
    let mut rest = String::new();
    within("the end", stream.read_to_string(&mut rest))
        .await
        .unwrap();
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_eq!(proxy.plane.in_flight(), 0);
}

/// A line end behind a request is no beginning of the next: who then sends nothing is idle, and not late.
#[tokio::test]
async fn a_stray_line_end_begins_no_request() {
    let mut strict = config(vec![route(says("x").await)]);
    strict.limits.header_timeout = SHORT;
    strict.limits.idle_timeout = 4 * SHORT;
    let proxy = Proxy::start(strict, 0.0);
    let words = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na";
    for (behind, later) in [("\r\n", ""), ("", "\r\n")] {
        let mut stream = proxy.connect().await;
        stream
            .write_all(format!("{words}{behind}").as_bytes())
            .await
            .unwrap();
        let head = within("head", read_head(&mut stream)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream.write_all(later.as_bytes()).await.unwrap();
        let mut rest = String::new();
        within("the end", stream.read_to_string(&mut rest))
            .await
            .unwrap();
        assert_eq!(rest, "x", "{behind:?} {later:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let mut strict = config(vec![route(says("x").await)]);
    strict.limits.idle_timeout = SHORT;
    let proxy = Proxy::start(strict, 0.0);
    assert_eq!(proxy.converse(b"").await, "");
    let mut http1 = proxy.http1().await;
    text(http1.send_request(get("/")).await.unwrap()).await;
    let mut http2 = proxy.http2().await;
    text(http2.send_request(get2("/")).await.unwrap()).await;
    super::support::until("closed", || http1.is_closed() && http2.is_closed()).await;
    super::support::until("gone", || proxy.plane.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let server = upstream(|_: Request<Incoming>| async move {
        Response::new(full(vec![b'x'; 32 * 1024 * 1024]))
    });
    let mut strict = config(vec![rollout(server.await, refusing().await)]);
    strict.limits.idle_timeout = 2 * SHORT;
    let proxy = Proxy::start(strict, 0.0);
    let mut stream = proxy.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
    super::support::until("gone", || proxy.plane.connections() == 0).await;
}

/// A client that only listens is as lively as one that sends, over HTTP/1.1 too.
#[tokio::test]
async fn who_listens_need_not_send() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            stream.write_all(b"5\r\ntoken\r\n").await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut limited = config(vec![route(server)]);
    limited.limits.body_timeout = 2 * SHORT;
    let proxy = Proxy::start(limited, 0.0);
    let mut client = proxy.connect().await;
    let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab";
    client.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"0\r\n\r\n") {
        let read = within("a token", client.read_buf(&mut answer)).await;
        assert!(read.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
}
