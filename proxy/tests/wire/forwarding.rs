//! What of a head goes on, and what ends at the proxy, both ways.

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serin_config::model::{Expose, Protocol};
use tokio::sync::mpsc;

use super::support::{
    AnyBody, Proxy, empty, full, get, get2, post, raw_upstream, read_head, route, says, text,
    trailed, upstream, within,
};

/// A proxy before an upstream that shows what it got and answers with these fields.
async fn shown(answer: HeaderMap) -> (Proxy, mpsc::UnboundedReceiver<Request<()>>) {
    let (show, seen) = mpsc::unbounded_channel();
    let upstream = upstream(move |request: Request<_>| {
        let (show, answer) = (show.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let _ = BodyExt::collect(body).await;
            show.send(Request::from_parts(head, ())).unwrap();
            let mut response = Response::new(full("x"));
            *response.headers_mut() = answer;
            response
        }
    });
    (Proxy::of(route(upstream.await)), seen)
}

fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
    let list = list.iter();
    list.map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn the_upstream_is_told_who_asks_and_nothing_that_concerns_one_connection() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    let mut request = get("/a");
    request.headers_mut().extend(fields(&[
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eDp5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("upgrade", "websocket"),
        ("x-serin-arm", "canary"),
        ("x-serin-shadow", "1"),
        ("x-serin-request-id", "mine"),
        ("x-serin-routing-key", "u1"),
        ("x-forwarded-for", "203.0.113.9"),
        ("via", "1.0 before"),
        ("accept", "*/*"),
    ]));
    assert_eq!(proxy.ask(request).await.status(), 200);
    let got = seen.recv().await.unwrap();
    let headers = got.headers();
    for gone in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
        "x-serin-arm",
        "x-serin-shadow",
    ] {
        assert!(!headers.contains_key(gone), "{gone}: {headers:?}");
    }
    assert_eq!(headers["host"], "models.example");
    assert_eq!(headers["accept"], "*/*");
    assert_eq!(headers["x-serin-routing-key"], "u1");
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "models.example");
    assert_eq!(headers["via"], "1.0 before, 1.1 serin");
    assert_eq!(headers["x-serin-request-id"].len(), 36);
    assert_eq!(headers["traceparent"].len(), 55);
}

#[tokio::test]
async fn a_trace_goes_on_and_a_broken_one_begins_anew() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (given, goes_on) in [(good, true), ("00-0-0-00", false)] {
        let mut request = get("/");
        let given = [("traceparent", given), ("tracestate", "a=b")];
        request.headers_mut().extend(fields(&given));
        proxy.ask(request).await;
        let got = seen.recv().await.unwrap();
        assert_eq!(got.headers()["traceparent"] == given[0].1, goes_on);
        assert_eq!(got.headers().contains_key("tracestate"), goes_on);
        assert_eq!(got.headers()["traceparent"].len(), 55);
    }
}

#[tokio::test]
async fn the_client_is_told_who_answered_by_us_alone() {
    let (proxy, _seen) = shown(fields(&[
        ("connection", "x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("x-serin-arm", "canary"),
        ("x-serin-verdict", "good"),
        ("server", "triton"),
        ("via", "1.1 cache"),
    ]))
    .await;
    for response in [
        proxy.ask(get("/")).await,
        proxy.http2().await.send_request(get2("/")).await.unwrap(),
    ] {
        let headers = response.headers();
        for gone in ["x-private", "keep-alive", "connection", "x-serin-verdict"] {
            assert!(!headers.contains_key(gone), "{gone}: {headers:?}");
        }
        assert_eq!(headers["x-serin-arm"], "baseline");
        assert_eq!(headers["x-serin-release"], "digest-1");
        assert_eq!(headers["x-serin-request-id"].len(), 36);
        assert_eq!(headers["server"], "triton");
        assert_eq!(headers["via"], "1.1 cache, 1.1 serin");
    }
}

#[tokio::test]
async fn what_is_not_exposed_is_hidden() {
    let mut hidden = route(says("x").await);
    hidden.expose = Expose {
        arm: false,
        release: false,
        request_id: false,
    };
    let proxy = Proxy::of(hidden);
    let response = proxy.ask(get("/")).await;
    let mut names = response.headers().keys();
    assert!(names.all(|name| !name.as_str().starts_with("x-serin")));
}

#[tokio::test]
async fn the_absolute_form_names_the_host() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    let ask = |host| {
        format!(
            "GET http://other.example:81/p?q HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
    };
    let answer = proxy.converse(ask("Other.example:81").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let got = seen.recv().await.unwrap();
    assert_eq!(got.headers()["host"], "other.example:81");
    assert_eq!(got.uri(), "/p?q");
    // Two names for one request: servers differ in which they believe.
    let answer = proxy.converse(ask("lies").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn an_old_client_gets_an_answer_it_understands() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    let answer = proxy.converse(b"GET /p HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
    let got = seen.recv().await.unwrap();
    assert_eq!(got.headers()["via"], "1.0 serin");
    assert!(
        got.headers()["host"]
            .to_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}

#[tokio::test]
async fn bodiless_answers_keep_their_framing() {
    let upstream = upstream(|request: Request<_>| async move {
        let mut response: Response<AnyBody> = Response::new(empty());
        match request.uri().path() {
            "/204" => *response.status_mut() = http::StatusCode::NO_CONTENT,
            "/304" => {
                *response.status_mut() = http::StatusCode::NOT_MODIFIED;
                response
                    .headers_mut()
                    .insert("etag", "\"a\"".parse().unwrap());
            }
            _ => {
                response
                    .headers_mut()
                    .insert("content-length", "4711".parse().unwrap());
            }
        }
        response
    });
    let proxy = Proxy::of(route(upstream.await));
    let mut stream = proxy.connect().await;
    for (request, status, length) in [
        ("HEAD /", "200", Some("content-length: 4711")),
        ("GET /204", "204", None),
        ("GET /304", "304", None),
        // The connection has stayed in step.
        ("HEAD /", "200", Some("content-length: 4711")),
    ] {
        let words = format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, words.as_bytes())
            .await
            .unwrap();
        let head = within("head", read_head(&mut stream)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let framed = head.contains("content-length") || head.contains("transfer-encoding");
        assert_eq!(framed, length.is_some(), "{head}");
        assert!(length.is_none_or(|length| head.contains(length)), "{head}");
    }
    let mut http2 = proxy.http2().await;
    let head = Request::head("http://a/").body(empty()).unwrap();
    let response = http2.send_request(head).await.unwrap();
    assert_eq!(response.headers()["content-length"], "4711");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn the_client_is_asked_to_continue_when_its_body_is_wanted() {
    let echo = upstream(|request: Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("expect"));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    });
    let proxy = Proxy::of(route(echo.await));
    let mut stream = proxy.connect().await;
    let words = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    let write = tokio::io::AsyncWriteExt::write_all;
    write(&mut stream, words.as_bytes()).await.unwrap();
    let head = within("continue", read_head(&mut stream)).await;
    assert_eq!(head, "HTTP/1.1 100 Continue\r\n\r\n");
    write(&mut stream, b"abc").await.unwrap();
    let head = within("head", read_head(&mut stream)).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_bad_response() {
    let upstream = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
    });
    let proxy = Proxy::of(route(upstream.await));
    let mut request = get("/");
    let wish = fields(&[("connection", "upgrade"), ("upgrade", "x")]);
    request.headers_mut().extend(wish);
    assert_eq!(proxy.ask(request).await.status(), 502);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let upstream = upstream(|request: Request<hyper::body::Incoming>| async move {
        let body = request.into_body().collect().await.unwrap();
        let sum = body
            .trailers()
            .and_then(|trailers| trailers.get("x-sum"))
            .cloned();
        let trailers = HeaderMap::from_iter([("x-back".parse().unwrap(), sum.unwrap())]);
        let mut response = Response::new(trailed("x", trailers));
        response
            .headers_mut()
            .insert("trailer", "x-back".parse().unwrap());
        response
    })
    .await;
    for protocol in [
        serin_config::model::Protocol::Http1,
        serin_config::model::Protocol::Http2,
    ] {
        let mut plain = route(upstream);
        plain.baseline.protocol = protocol;
        let proxy = Proxy::of(plain);
        let request = |mut request: Request<AnyBody>| {
            let said = fields(&[("te", "trailers"), ("trailer", "x-sum")]);
            request.headers_mut().extend(said);
            request
        };
        let body = || trailed("abc", fields(&[("x-sum", "42")]));
        let over_http1 = proxy.ask(request(post("/", body()))).await;
        let second = Request::post("http://a/").body(body()).unwrap();
        let mut http2 = proxy.http2().await;
        let over_http2 = http2.send_request(request(second)).await.unwrap();
        for response in [over_http1, over_http2] {
            let body = within("body", response.into_body().collect())
                .await
                .unwrap();
            let back = body.trailers().map(|trailers| trailers["x-back"].clone());
            assert_eq!(back.unwrap(), "42", "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn connection_cannot_name_what_the_upstream_needs() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    for over_http2 in [false, true] {
        // HTTP/2 knows no `Connection`; there the names just stand for themselves.
        let named = "host, content-length, x-forwarded-for, x-forwarded-proto, via, traceparent, x-serin-request-id, content-type";
        let body = full("abc");
        if over_http2 {
            let request = Request::post("http://models.example/").body(body).unwrap();
            let answer = proxy.http2().await.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
        } else {
            let mut request = post("/", body);
            request.headers_mut().extend(fields(&[
                ("connection", named),
                ("content-type", "text/plain"),
            ]));
            assert_eq!(proxy.ask(request).await.status(), 200);
        }
        let got = seen.recv().await.unwrap();
        let headers = got.headers();
        assert_eq!(headers["host"], "models.example");
        assert_eq!(headers["content-length"], "3");
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        for kept in ["via", "traceparent", "x-serin-request-id"] {
            assert!(headers.contains_key(kept), "{kept}: {headers:?}");
        }
        assert_eq!(headers.contains_key("content-type"), !over_http2);
    }
}

#[tokio::test]
async fn names_with_underscores_are_not_passed_on() {
    let (proxy, mut seen) = shown(HeaderMap::new()).await;
    let confusing = fields(&[
        ("content_length", "5"),
        ("x_forwarded_for", "203.0.113.9"),
        ("x-fine", "1"),
    ]);
    let mut first = get("/");
    first.headers_mut().extend(confusing.clone());
    let mut second = get2("/");
    second.headers_mut().extend(confusing);
    proxy.ask(first).await;
    proxy.http2().await.send_request(second).await.unwrap();
    for _ in 0..2 {
        let got = seen.recv().await.unwrap();
        assert!(
            got.headers()
                .keys()
                .all(|name| !name.as_str().contains('_'))
        );
        assert_eq!(got.headers()["x-fine"], "1");
    }
}

/// Proxies are asked so, and some clients take us for one.
#[tokio::test]
async fn absolute_targets_go_on_as_paths() {
    let server = upstream(|request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path_and_query().unwrap().to_string();
        let host = request.headers().get("host").cloned();
        let host = host.map_or_else(
            || request.uri().authority().unwrap().to_string(),
            |host| host.to_str().unwrap().to_owned(),
        );
        Response::new(full(format!("{host} {path}")))
    });
    let server = server.await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut plain = route(server);
        plain.baseline.protocol = protocol;
        let proxy = Proxy::of(plain);
        for (target, host, heard) in [
            ("http://a.example/x?y", "a.example", "a.example /x?y"),
            ("http://a.example", "a.example", "a.example /"),
            ("http://a.example?x=1", "a.example", "a.example /?x=1"),
            ("http://a.example:80/x", "a.example", "a.example:80 /x"),
            ("http://a.example/x", "A.example:80", "a.example /x"),
            ("https://a.example:443/x", "a.example", "a.example:443 /x"),
            ("http://[::1]/x", "[::1]:80", "[::1] /x"),
        ] {
            let words =
                format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = proxy.converse(words.as_bytes()).await;
            let (_, said) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(said, heard, "{protocol:?}, {words}");
        }
    }
}

#[tokio::test]
async fn lists_are_added_to_without_empty_members() {
    let (proxy, mut seen) = shown(fields(&[("via", "")])).await;
    let mut http2 = proxy.http2().await;
    for (given, via, addresses) in [
        ("", "serin", "127.0.0.1"),
        ("1.0 a,", "1.0 a, serin", "1.0 a, 127.0.0.1"),
        (
            ",1.0 a ,, 1.1 b",
            "1.0 a, 1.1 b, serin",
            "1.0 a, 1.1 b, 127.0.0.1",
        ),
    ] {
        for over_http2 in [false, true] {
            let mut request = if over_http2 { get2("/") } else { get("/") };
            let lists = [("via", given), ("x-forwarded-for", given)];
            request.headers_mut().extend(fields(&lists));
            let (response, version) = if over_http2 {
                let answer = within("answer", http2.send_request(request)).await;
                (answer.unwrap(), "2 serin")
            } else {
                (proxy.ask(request).await, "1.1 serin")
            };
            assert_eq!(response.headers()["via"], "1.1 serin");
            let got = seen.recv().await.unwrap();
            assert_eq!(got.headers()["via"], via.replace("serin", version));
            assert_eq!(got.headers()["x-forwarded-for"], addresses);
        }
    }
}
