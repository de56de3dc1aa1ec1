//! HTTP/2 clients and HTTP/1.1 upstreams: what the one says arrives at the other, framed as it must be.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serin_config::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::support::{
    AnyBody, Proxy, config, empty, full, get2, raw_upstream, read_head, rollout, route, says, text,
    trailed, within,
};

/// An upstream that says this much to each request, and tells what it read: up to the end of a body of which
/// every byte is known to come.
async fn hearing(ends: &'static str) -> (Proxy, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut heard = read_head(&mut stream).await;
            while !heard.is_empty() {
                while !heard.ends_with(ends) {
                    heard.push(char::from(stream.read_u8().await.unwrap()));
                }
                tell.send(std::mem::take(&mut heard)).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
                stream.write_all(answer).await.unwrap();
                heard = read_head(&mut stream).await;
            }
        }
    });
    (Proxy::of(http1_only(server.await)), told)
}

fn http1_only(address: SocketAddr) -> serin_config::model::Route {
    let mut route = route(address);
    route.baseline.protocol = Protocol::Http1;
    route
}

fn request(method: Method, body: AnyBody) -> Request<AnyBody> {
    let request = Request::builder().method(method);
    request.uri("http://models.example/").body(body).unwrap()
}

async fn heard(proxy: &Proxy, asked: Request<AnyBody>) -> String {
    let mut client = proxy.http2().await;
    let response = within("response", client.send_request(asked))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    text(response).await
}

#[tokio::test]
async fn a_body_arrives_whatever_the_method() {
    let (proxy, mut told) = hearing("\r\n0\r\nx-t: v\r\n\r\n").await;
    for method in [Method::GET, Method::DELETE, Method::OPTIONS, Method::POST] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-t", "v".parse().unwrap());
        let body = trailed("hello", trailers);
        heard(&proxy, request(method, body)).await;
        let heard = told.recv().await.unwrap();
        assert!(
            heard.contains("\r\ntransfer-encoding: chunked\r\n"),
            "{heard}"
        );
        assert!(
            heard.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-t: v\r\n\r\n"),
            "{heard}"
        );
    }
    let (proxy, mut told) = hearing("hello").await;
    for method in [Method::GET, Method::PUT] {
        heard(&proxy, request(method, full("hello"))).await;
        let heard = told.recv().await.unwrap();
        assert!(heard.contains("\r\ncontent-length: 5\r\n"), "{heard}");
        assert!(!heard.contains("transfer-encoding"), "{heard}");
    }
}

#[tokio::test]
async fn no_body_is_said_where_one_is_expected() {
    let (proxy, mut told) = hearing("\r\n\r\n").await;
    for (method, is_said) in [
        (Method::POST, true),
        (Method::PUT, true),
        (Method::GET, false),
        (Method::DELETE, false),
    ] {
        heard(&proxy, request(method, empty())).await;
        let heard = told.recv().await.unwrap();
        assert_eq!(heard.contains("content-length: 0"), is_said, "{heard}");
        assert!(!heard.contains("transfer-encoding"), "{heard}");
    }
}

#[tokio::test]
async fn trailers_go_up_without_having_been_announced_and_frame_nothing() {
    let (proxy, mut told) = hearing("x-t: v\r\n\r\n").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("content-length", HeaderValue::from_static("7"));
    trailers.insert("x-serin-arm", HeaderValue::from_static("evil"));
    trailers.insert("x-t", HeaderValue::from_static("v"));
    heard(&proxy, request(Method::POST, trailed("hello", trailers))).await;
    let heard = told.recv().await.unwrap();
    let end = "\r\n\r\n5\r\nhello\r\n0\r\nx-t: v\r\n\r\n";
    assert!(heard.ends_with(end), "{heard}");
}

#[tokio::test]
async fn cookies_that_were_split_are_one_again() {
    let (proxy, mut told) = hearing("\r\n\r\n").await;
    let mut asked = request(Method::GET, empty());
    for crumb in ["a=1", "b=2", "c=3"] {
        let crumb = HeaderValue::from_static(crumb);
        asked.headers_mut().append("cookie", crumb);
    }
    heard(&proxy, asked).await;
    let heard = told.recv().await.unwrap();
    assert!(heard.contains("\r\ncookie: a=1; b=2; c=3\r\n"), "{heard}");
    assert_eq!(heard.matches("cookie").count(), 1, "{heard}");
}

#[tokio::test]
async fn connections_are_the_same_as_those_of_http_1_clients() {
    let server = raw_upstream(|mut stream: TcpStream| async move {
        let port = stream.peer_addr().unwrap().port().to_string();
        while !read_head(&mut stream).await.is_empty() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{port}",
                port.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut config = config(vec![http1_only(server.await)]);
    config.workers = std::num::NonZeroUsize::new(1);
    let proxy = Proxy::start(config, 0.0);
    let first = text(proxy.ask(super::support::get("/")).await).await;
    let mut http2 = proxy.http2().await;
    for _ in 0..3 {
        let response = http2.send_request(get2("/")).await.unwrap();
        assert_eq!(text(response).await, first);
    }
    assert_eq!(text(proxy.ask(super::support::get("/")).await).await, first);
}

/// The client's windows are full of the response, and it takes nothing more before its own body is over.
#[tokio::test]
async fn an_upload_goes_on_while_the_client_takes_nothing_of_the_response() {
    const MUCH: usize = 4 * 1024 * 1024;
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            let (mut from, mut to) = stream.split();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
            let answer = [head.as_bytes(), &vec![b'x'; MUCH]].concat();
            let mut body = vec![0; MUCH];
            let (sent, read) = tokio::join!(to.write_all(&answer), async {
                let read = from.read_exact(&mut body).await;
                tell.send(()).unwrap();
                read
            });
            sent.unwrap();
            read.unwrap();
        }
    });
    let mut config = config(vec![http1_only(server.await)]);
    config.limits.max_body = MUCH as u64;
    let proxy = Proxy::start(config, 0.0);
    let mut client = proxy.http2().await;
    let asked = request(Method::POST, full(Bytes::from(vec![b'y'; MUCH])));
    let response = within("response", client.send_request(asked))
        .await
        .unwrap();
    within("the whole body upstream", told.recv())
        .await
        .unwrap();
    let body = within("body", response.into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes().len(), MUCH);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset() {
    for words in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n",
    ] {
        let server = raw_upstream(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(words.as_bytes()).await.unwrap();
        });
        let mut route = rollout(says("baseline").await, server.await);
        route.canary.as_mut().unwrap().protocol = Protocol::Http1;
        let proxy = Proxy::start(config(vec![route]), 1.0);
        let mut client = proxy.http2().await;
        let response = client.send_request(get2("/")).await.unwrap();
        let mut body = response.into_body();
        let first = within("the first piece", body.frame()).await.unwrap();
        assert_eq!(first.unwrap().into_data().unwrap(), "abc", "{words}");
        let rest = within("the end", body.collect()).await;
        assert!(rest.is_err(), "{words}");
        let counts = proxy.counts(1).await;
        let canary = serin_stats::snapshot::Arm::Canary;
        let error = serin_stats::snapshot::Outcome::Error;
        assert_eq!(counts.of(canary, error), 1, "{words}");
    }
}

/// Nothing but the end of the connection tells an old client that a body is whole.
#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_for_old_clients_too() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let words = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        stream.write_all(words).await.unwrap();
    });
    let proxy = Proxy::of(http1_only(server.await));
    let mut stream = proxy.connect().await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = within("the end", stream.read_to_end(&mut answer)).await;
    let error = ended.expect_err("the body seems whole");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(answer.ends_with(b"\r\n\r\nabc"), "{answer:?}");
}
