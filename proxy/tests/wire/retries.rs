//! When an upstream is asked again, and when baseline answers in place of the canary: the same on both protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::{Protocol, Retries, Route};
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    self, AnyBody, Proxy, backend, config, full, raw_upstream, read_head, refusing, rollout, route,
    says, text, upstream, within,
};

/// Asks over HTTP/1.1 and over HTTP/2.
async fn over_both(
    proxy: &Proxy,
    request: impl Fn() -> Request<AnyBody>,
) -> [(u16, http::HeaderMap, String); 2] {
    let mut answers = Vec::new();
    let mut http1 = proxy.http1().await;
    let mut http2 = proxy.http2().await;
    let first = {
        let mut request = request();
        request
            .headers_mut()
            .insert("host", "models.example".parse().unwrap());
        within("an answer", http1.send_request(request)).await
    };
    let second = {
        let mut request = request();
        let uri = format!("http://models.example{}", request.uri());
        *request.uri_mut() = uri.parse().unwrap();
        within("an answer", http2.send_request(request)).await
    };
    for response in [first.unwrap(), second.unwrap()] {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        answers.push((status, headers, text(response).await));
    }
    answers.try_into().unwrap()
}

fn get() -> Request<AnyBody> {
    Request::get("/").body(full("")).unwrap()
}

fn post() -> Request<AnyBody> {
    Request::post("/").body(full("abc")).unwrap()
}

fn retries(attempts: u32, statuses: &[u16]) -> Retries {
    Retries {
        attempts,
        connect: true,
        reset: true,
        statuses: statuses.to_vec(),
        budget: 0.1,
    }
}

/// One worker, this route, everything to the canary if there is one.
fn serving(route: Route) -> Proxy {
    let mut config = config(vec![route]);
    config.workers = std::num::NonZeroUsize::new(1);
    Proxy::start(config, 1.0)
}

/// Fails the first requests with this status, and counts all.
async fn stumbling(first: usize, status: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = upstream(move |request: Request<Incoming>| {
        let at = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut response = Response::new(full(body));
            if at < first {
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            }
            response
        }
    });
    (address.await, seen)
}

#[tokio::test]
async fn one_endpoint_that_refuses_costs_no_client_anything() {
    let mut two = route(says("up").await);
    two.baseline
        .endpoints
        .extend(backend(refusing().await, "1").endpoints);
    two.retries = Retries {
        budget: 0.01,
        ..retries(1, &[])
    };
    let proxy = serving(two);
    for _ in 0..20 {
        for request in [get, post] {
            for (status, _, said) in over_both(&proxy, request).await {
                assert_eq!((status, said.as_str()), (200, "up"));
            }
        }
    }
}

/// What an idempotent request bears is kept until it is answered, if it is not too much.
#[tokio::test]
async fn a_body_is_sent_again_too_where_that_does_no_harm() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (size, expected) in [(3, 200), (100_000, 200), (200_000, 503)] {
            let (server, seen) = stumbling(1, 503).await;
            let mut listed = route(server);
            listed.baseline.protocol = protocol;
            listed.retries = retries(1, &[503]);
            let proxy = serving(listed);
            let put = || Request::put("http://a/").body(full("x".repeat(size)));
            let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
            for is_http2 in [false, true] {
                seen.store(0, Ordering::SeqCst);
                let mut request = put().unwrap();
                let asked = if is_http2 {
                    within("an answer", http2.send_request(request)).await
                } else {
                    request.headers_mut().insert("host", "a".parse().unwrap());
                    within("an answer", http1.send_request(request)).await
                };
                let answer = asked.unwrap();
                assert_eq!(answer.status(), expected, "{protocol:?} {size} {is_http2}");
                assert_eq!(text(answer).await.len(), size, "{protocol:?} {is_http2}");
            }
        }
    }
}

/// The connection that lay idle is closed when the request is on it; its body comes later than its head.
#[tokio::test]
async fn a_body_meets_a_connection_that_closes() {
    let server = raw_upstream(|mut stream| async move {
        for is_first in [true, false] {
            let mut body = [0; 3];
            read_head(&mut stream).await;
            if stream.read_exact(&mut body).await.is_err() || !is_first {
                return;
            }
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
            let answer = [head, body.as_slice()].concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let mut plain = route(server.await);
    plain.baseline.protocol = Protocol::Http1;
    let proxy = serving(plain);
    let mut client = proxy.connect().await;
    let mut http2 = proxy.http2().await;
    for _ in 0..3 {
        let head = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n";
        client.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.write_all(b"abc").await.unwrap();
        let head = within("an answer", read_head(&mut client)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = [0; 3];
        client.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"abc");
        let put = Request::put("http://a/").body(full("def")).unwrap();
        let answer = within("an answer", http2.send_request(put)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await, "def");
    }
}

#[tokio::test]
async fn a_listed_status_is_asked_again_and_a_post_never() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (server, seen) = stumbling(usize::MAX, 503).await;
        let mut listed = route(server);
        listed.baseline.protocol = protocol;
        listed.retries = retries(1, &[503]);
        let proxy = serving(listed);
        for (status, ..) in over_both(&proxy, get).await {
            assert_eq!(status, 503, "the second answer is the answer");
        }
        assert_eq!(
            seen.swap(0, Ordering::SeqCst),
            4,
            "{protocol:?}: each twice"
        );
        for (status, ..) in over_both(&proxy, post).await {
            assert_eq!(status, 503);
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2, "{protocol:?}: each once");
    }
}

#[tokio::test]
async fn what_is_not_listed_is_not_asked_again() {
    for policy in [retries(1, &[]), retries(0, &[503])] {
        let (server, seen) = stumbling(usize::MAX, 503).await;
        let mut listed = route(server);
        listed.retries = policy;
        let proxy = serving(listed);
        over_both(&proxy, get).await;
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_second_attempt_that_succeeds_is_a_success() {
    let (server, seen) = stumbling(1, 502).await;
    let mut listed = rollout(says("baseline").await, server);
    listed.retries = retries(1, &[502]);
    let proxy = serving(listed);
    for (status, headers, _) in over_both(&proxy, get).await {
        assert_eq!(status, 200);
        assert_eq!(headers["x-serin-arm"], "canary");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Success), 2);
}

#[tokio::test]
async fn a_server_in_trouble_is_not_asked_twice_as_often() {
    let (server, seen) = stumbling(usize::MAX, 503).await;
    let mut listed = route(server);
    listed.retries = retries(1, &[503]);
    let proxy = serving(listed);
    for _ in 0..100 {
        over_both(&proxy, get).await;
    }
    let extra = seen.load(Ordering::SeqCst) - 200;
    assert!((20..=23).contains(&extra), "{extra} of 200 requests");
}

/// Reads each request and closes without a word.
async fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = raw_upstream(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            if !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (address.await, seen)
}

#[tokio::test]
async fn a_connection_that_breaks_in_silence_is_asked_again_if_that_does_no_harm() {
    for (request, times) in [(get as fn() -> _, 2), (post, 1)] {
        let (server, seen) = silent().await;
        let mut listed = route(server);
        listed.baseline.protocol = Protocol::Http1;
        listed.retries = retries(1, &[]);
        let proxy = serving(listed);
        for (status, ..) in over_both(&proxy, request).await {
            assert_eq!(status, 502);
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2 * times);
    }
}

/// Answers so many requests of each connection, and then says only that an answer is to come.
async fn interrupted(answers: usize, interim: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = raw_upstream(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            for answer in 0..=answers {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let words = if answer < answers {
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                } else {
                    interim
                };
                stream.write_all(words.as_bytes()).await.unwrap();
            }
        }
    });
    (address.await, seen)
}

/// Neither because the connection had lain idle nor by the policy: the server has begun with the request, and its
/// client may know that.
#[tokio::test]
async fn a_connection_that_breaks_behind_an_interim_response_is_not_asked_again() {
    let interims = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
    ];
    for interim in interims {
        for answers in [0, 1] {
            let (server, seen) = interrupted(answers, interim).await;
            let mut listed = route(server);
            listed.baseline.protocol = Protocol::Http1;
            listed.retries = retries(1, &[]);
            let proxy = serving(listed);
            for over_http2 in [false, true] {
                for _ in 0..answers {
                    assert_eq!(proxy.ask(support::get("/")).await.status(), 200);
                }
                let answer = if over_http2 {
                    let mut client = proxy.http2().await;
                    let asked = client.send_request(support::get2("/"));
                    within("an answer", asked).await.unwrap()
                } else {
                    proxy.ask(support::get("/")).await
                };
                assert_eq!(answer.status(), 502, "{interim:?}");
                let asked = seen.swap(0, Ordering::SeqCst);
                assert_eq!(asked, answers + 1, "{interim:?}, over HTTP/2: {over_http2}");
            }
        }
    }
}

/// A canary that fails like this, covered by a baseline that echoes.
async fn covered(canary: SocketAddr, protocol: Protocol) -> (Proxy, Arc<AtomicUsize>) {
    let (baseline, seen) = stumbling(0, 200).await;
    let mut covered = rollout(baseline, canary);
    covered.fallback = true;
    let (baseline, canary) = (&mut covered.baseline, covered.canary.as_mut().unwrap());
    (baseline.protocol, canary.protocol) = (protocol, protocol);
    (serving(covered), seen)
}

#[tokio::test]
async fn baseline_answers_for_a_canary_that_fails_and_the_canary_is_blamed_once() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (failing, _) = stumbling(usize::MAX, 500).await;
        for (canary, unreachable) in [(failing, 0), (refusing().await, 4)] {
            let (proxy, seen) = covered(canary, protocol).await;
            for request in [get, post] {
                for (status, headers, said) in over_both(&proxy, request).await {
                    assert_eq!(status, 200, "{protocol:?}");
                    assert_eq!(headers["x-serin-arm"], "baseline");
                    assert_eq!(headers["x-serin-release"], "digest-1");
                    assert_eq!(headers["x-serin-fallback"], "canary");
                    assert!(said.is_empty() || said == "abc", "{said}");
                }
            }
            assert_eq!(seen.load(Ordering::SeqCst), 4);
            let counts = proxy.counts(4).await;
            assert_eq!(counts.of(Arm::Canary, Outcome::Error), 4, "{protocol:?}");
            assert_eq!(counts.unreachable(Arm::Canary), unreachable);
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_held_is_not_covered() {
    let (failing, _) = stumbling(usize::MAX, 500).await;
    let (proxy, seen) = covered(failing, Protocol::Http1).await;
    // The tests' limit is 1 KiB.
    let large = || {
        let body = full(Bytes::from(vec![b'x'; 100 * 1024]));
        Request::post("/").body(body).unwrap()
    };
    for (status, headers, _) in over_both(&proxy, large).await {
        assert_eq!(status, 500);
        assert_eq!(headers["x-serin-arm"], "canary");
        assert!(!headers.contains_key("x-serin-fallback"));
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 2);
}

#[tokio::test]
async fn a_canary_that_works_is_not_covered_and_rejections_are_answers() {
    let (canary, _) = stumbling(usize::MAX, 404).await;
    let (proxy, seen) = covered(canary, Protocol::Http1).await;
    for (status, headers, _) in over_both(&proxy, post).await {
        assert_eq!(status, 404);
        assert_eq!(headers["x-serin-arm"], "canary");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_failing_baseline_covers_nobody() {
    let refused = refusing().await;
    let mut covered = rollout(refused, refused);
    covered.fallback = true;
    let proxy = serving(covered);
    for (status, headers, _) in over_both(&proxy, get).await {
        assert_eq!(status, 502);
        assert_eq!(headers["x-serin-arm"], "baseline");
    }
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Canary, Outcome::Error), 2);
}

#[tokio::test]
async fn a_body_in_pieces_is_held_for_the_second_arm() {
    let (failing, _) = stumbling(usize::MAX, 503).await;
    let (proxy, _) = covered(failing, Protocol::Http1).await;
    let mut stream = proxy.connect().await;
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    for piece in [head, "3\r\nabc\r\n", "2\r\nde\r\n", "0\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    let reading = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer);
    within("an answer", reading).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("abcde"), "{answer}");
    assert!(answer.contains("x-serin-fallback: canary"), "{answer}");
}
