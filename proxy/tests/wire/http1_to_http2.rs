//! HTTP/1.1 clients of HTTP/2 upstreams: many requests on one connection, and what breaks the rules on it. Single
//! exchanges are played by [`both_paths`](super::both_paths).

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    AnyBody, Proxy, config, full, read_head, refusing, rollout, trailed, upstream, within,
};

/// A proxy whose upstream answers by what it was asked.
async fn echo() -> Proxy {
    let server = upstream(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Response::new(full("broken"));
        };
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        let text = format!("{} {} {body}", head.method, head.uri.path());
        let body: AnyBody = match head.uri.path() {
            "/pieces" => trailed("pieces", http::HeaderMap::new()),
            _ => full(text),
        };
        Response::new(body)
    });
    let mut route = rollout(server.await, refusing().await);
    route.baseline.protocol = Protocol::Http2;
    Proxy::start(config(vec![route]), 0.0)
}

/// What stands behind the heads of these answers.
fn bodies(answers: &str) -> Vec<&str> {
    let each = answers.split("HTTP/1.1 200 OK\r\n").skip(1);
    each.map(|one| one.split_once("\r\n\r\n").unwrap().1)
        .collect()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_none_behind_the_last() {
    let proxy = echo().await;
    let words = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
        POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        2;x=\"y;z\"\r\nde\r\n01\r\nf\r\n0\r\nx-t: y\r\n\r\n\
        HEAD /3 HTTP/1.1\r\nhost: a\r\n\r\n\
        POST /4 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n\
        GET /pieces HTTP/1.1\r\nhost: a\r\n\r\n\
        GET /5 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n\
        GET /6 HTTP/1.1\r\nhost: a\r\n\r\n";
    let answers = proxy.converse(words.as_bytes()).await;
    let expected = [
        "POST /1 abc",
        "POST /2 def",
        "",
        "POST /4 ",
        "6\r\npieces\r\n0\r\n\r\n",
        "GET /5 ",
    ];
    assert_eq!(bodies(&answers), expected, "{answers}");
    let counts = proxy.counts(6).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 6);
}

#[tokio::test]
async fn a_body_that_makes_no_sense_ends_the_connection() {
    let proxy = echo().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let bodies = [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "5\r\nhello6\r\nworld!\r\n0\r\n\r\n",
        "5\r\nhello\r\nnonsense\r\n",
        "1000000000000000\r\n",
        "1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n",
        "1\r\na\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
        "1\r\na\r\n0\r\nbad line\r\n\r\n",
    ];
    for body in bodies {
        let words = [head, body, smuggled].concat();
        let answer = proxy.converse(words.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answer}");
    }
    let counts = proxy.counts(bodies.len() as u64).await;
    let aborted = counts.of(Arm::Baseline, Outcome::Aborted);
    assert_eq!(aborted, bodies.len() as u64);
}

#[tokio::test]
async fn who_waits_for_leave_gets_it_before_the_answer() {
    let proxy = echo().await;
    let mut stream = proxy.connect().await;
    for turn in 0..2 {
        let words =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        stream.write_all(words.as_bytes()).await.unwrap();
        let leave = within("leave", read_head(&mut stream)).await;
        assert_eq!(leave, "HTTP/1.1 100 Continue\r\n\r\n", "{turn}");
        stream.write_all(b"ab").await.unwrap();
        let head = within("the answer", read_head(&mut stream)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{turn}: {head}");
        let mut body = [0; 9];
        within("the body", stream.read_exact(&mut body))
            .await
            .unwrap();
        assert_eq!(&body, b"POST / ab", "{turn}");
    }
}

#[tokio::test]
async fn old_clients_get_an_answer_they_understand() {
    let proxy = echo().await;
    let answer = proxy.converse(b"GET /pieces HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\npieces"), "{answer}");
    // Who keeps the connection asks for that.
    let words = b"GET /1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n";
    let answer = proxy.converse(words).await;
    assert!(
        answer.contains("\r\n\r\nGET /1 HTTP/1.0 200 OK\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nGET /2 "), "{answer}");
}
