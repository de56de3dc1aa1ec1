//! Copies of requests: what the target sees, what is counted, and that clients see no difference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serin_config::model::{Config, Mirror, Protocol, Route};
use serin_proxy::Drained;
use serin_stats::agreement::Pairs;
use serin_stats::metrics::Page;
use serin_stats::shadow::{ShadowCounts, Target};
use serin_stats::snapshot::Outcome;
use serin_stats::split::Split;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::frames;
use super::hpack::{block, compressed, string};
use super::http2_client::Http2;
use super::http2_upstreams::framing;
use super::support::{
    AnyBody, Proxy, backend, config, full, get, post, raw_upstream, read_head, refusing, rollout,
    says, telling, text, trailed, until, upstream, within,
};

/// A request as a server saw it.
#[derive(Debug)]
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A server that says what it was asked.
async fn listening() -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (tell, seen) = mpsc::unbounded_channel();
    let address = upstream(move |request: Request<Incoming>| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let _ = tell.send(Seen {
                method: head.method,
                path: head.uri.path_and_query().unwrap().to_string(),
                headers: head.headers,
                body: body.unwrap_or_default(),
            });
            Response::new(full("from the shadow"))
        }
    });
    (address.await, seen)
}

/// All of baseline's requests are copied to this.
fn mirrored(baseline: SocketAddr, shadow: SocketAddr) -> Route {
    Route {
        shadow: Some(backend(shadow, "3")),
        mirror: Some(Mirror { share: 1.0 }),
        ..rollout(baseline, baseline)
    }
}

fn start(route: Route) -> Proxy {
    Proxy::start(config(vec![route]), 0.0)
}

fn metric(proxy: &Proxy, sample: &str) -> Option<u64> {
    let mut page = Page::default();
    proxy.plane.metrics(&mut page);
    page.to_text()
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

/// What the metrics say of the copies that ended so.
fn copies(proxy: &Proxy, result: &str) -> u64 {
    let sample = format!("serin_shadow_total{{rollout=\"main\",result=\"{result}\"}}");
    metric(proxy, &sample).unwrap()
}

/// … and of those under way.
fn in_flight(proxy: &Proxy) -> u64 {
    metric(proxy, "serin_shadow_in_flight{rollout=\"main\"}").unwrap()
}

async fn until_copies(proxy: &Proxy, result: &str, count: u64) {
    until(result, || copies(proxy, result) >= count).await;
    assert_eq!(copies(proxy, result), count, "{result}");
}

/// The counts of copies in the newest stage.
fn counts(proxy: &Proxy, target: Target) -> Option<ShadowCounts> {
    let snapshot = proxy.plane.snapshot();
    let stage = snapshot.rollouts.get("main")?.last()?;
    stage.shadow.get(&target).cloned()
}

/// A body in pieces, whose length is not known.
fn chunked(pieces: &[&[u8]]) -> AnyBody {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces)))
}

/// The body's last piece and its end come apart.
#[tokio::test]
async fn a_request_whose_end_came_late_is_copied_too() {
    let (baseline, mut told) = telling(|| async { Response::new(full("from baseline")) }).await;
    let (shadow, mut seen) = listening().await;
    let proxy = start(mirrored(baseline, shadow));
    let mut client = Http2::hello(&proxy, "late end").await;
    client
        .send(&[frames::post(1, "/"), frames::data(1, b"all")].concat())
        .await;
    within("the piece", told.recv()).await.unwrap();
    client.send(&frames::last_data(1, b"")).await;
    client.served(1).await;
    let copy = within("the copy", seen.recv()).await.unwrap();
    assert_eq!(copy.body, "all");
}

#[tokio::test]
async fn a_copy_is_the_request_with_a_mark_on_it() {
    let (baseline, mut original) = listening().await;
    let (shadow, mut seen) = listening().await;
    let large = vec![b'x'; 700_000];
    for wire in [Protocol::Http1, Protocol::Http2] {
        let mut route = mirrored(baseline, shadow);
        route.shadow.as_mut().unwrap().protocol = wire;
        let proxy = start(route);
        for body in [&b"{\"a\": 1}"[..], b"", &large] {
            for in_pieces in [false, true] {
                for over_http2 in [false, true] {
                    let sent = if in_pieces {
                        chunked(&[body, b"and more"])
                    } else {
                        full(Bytes::copy_from_slice(body))
                    };
                    let mut request = post("/v2/models/x?a=b", sent);
                    request
                        .headers_mut()
                        .insert("x-user-id", "ada".parse().unwrap());
                    let response = if over_http2 {
                        request.headers_mut().remove("host");
                        *request.uri_mut() =
                            "http://models.example/v2/models/x?a=b".parse().unwrap();
                        let mut client = proxy.http2().await;
                        client.send_request(request).await.unwrap()
                    } else {
                        proxy.ask(request).await
                    };
                    let id = response.headers()["x-serin-request-id"].clone();
                    assert_eq!(response.headers()["x-serin-arm"], "baseline");
                    text(response).await;
                    let original = within("the original", original.recv()).await.unwrap();
                    let copy = within("the copy", seen.recv()).await.unwrap();
                    let case = format!("{wire:?} {} {in_pieces} {over_http2}", body.len());
                    assert_eq!(copy.method, Method::POST, "{case}");
                    assert_eq!(copy.path, "/v2/models/x?a=b", "{case}");
                    assert_eq!(copy.body, original.body, "{case}");
                    assert_eq!(copy.headers["x-serin-shadow"], "1", "{case}");
                    assert_eq!(copy.headers["x-serin-request-id"], id, "{case}");
                    for name in ["x-user-id", "traceparent", "x-forwarded-for", "via"] {
                        assert_eq!(copy.headers[name], original.headers[name], "{case}");
                    }
                    assert!(!original.headers.contains_key("x-serin-shadow"), "{case}");
                }
            }
        }
        until_copies(&proxy, "ok", 12).await;
        let pairs = counts(&proxy, Target::Shadow).unwrap().pairs();
        assert_eq!((pairs.both_ok, pairs.total()), (12, 12));
    }
}

#[tokio::test]
async fn trailers_are_copied_too() {
    let (shadow, mut seen) = listening().await;
    let mut route = mirrored(says("x").await, shadow);
    route.shadow.as_mut().unwrap().protocol = Protocol::Http2;
    let proxy = start(route);
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "abc".parse().unwrap())]);
    let mut client = proxy.http2().await;
    let request = Request::post("http://models.example/")
        .body(trailed("body", trailers))
        .unwrap();
    text(client.send_request(request).await.unwrap()).await;
    let copy = within("the copy", seen.recv()).await.unwrap();
    assert_eq!(copy.body, "body");
    until_copies(&proxy, "ok", 1).await;
}

#[tokio::test]
async fn what_is_not_to_be_copied_is_not() {
    let (shadow, mut seen) = listening().await;
    let mut route = mirrored(says("x").await, shadow);
    route.copying.max_body = 1000;
    let proxy = start(route);
    // Not its method; too large, said beforehand or not.
    text(proxy.ask(get("/")).await).await;
    let large = vec![b'x'; 1001];
    text(proxy.ask(post("/large", full(large.clone()))).await).await;
    let in_pieces = chunked(&[&large[..600], &large[600..]]);
    text(proxy.ask(post("/large", in_pieces)).await).await;
    text(proxy.ask(post("/just", full(large[1..].to_vec()))).await).await;
    let copy = within("the copy", seen.recv()).await.unwrap();
    assert_eq!((copy.path.as_str(), copy.body.len()), ("/just", 1000));
    until_copies(&proxy, "ok", 1).await;
    until_copies(&proxy, "dropped_body", 2).await;
    assert!(seen.try_recv().is_err());
    let counted = counts(&proxy, Target::Shadow).unwrap();
    assert_eq!((counted.offered(), counted.pairs().total()), (3, 1));
}

#[tokio::test]
async fn originals_and_copies_are_paired() {
    let by_path = |which: usize| {
        upstream(move |request: Request<Incoming>| async move {
            let path = request.uri().path().trim_start_matches('/').to_owned();
            let status = path.split('-').nth(which).unwrap();
            let mut response = Response::new(full("x"));
            *response.status_mut() = status.parse::<StatusCode>().unwrap();
            response
        })
    };
    let proxy = start(mirrored(by_path(0).await, by_path(1).await));
    for (path, times) in [
        ("200-200", 4),
        ("200-500", 3),
        ("503-200", 2),
        ("404-404", 1),
    ] {
        for _ in 0..times {
            let response = proxy.ask(post(&format!("/{path}"), full("x"))).await;
            assert_eq!(response.status().as_str(), &path[..3]);
            text(response).await;
        }
    }
    until_copies(&proxy, "ok", 6).await;
    until_copies(&proxy, "error", 3).await;
    until_copies(&proxy, "rejected", 1).await;
    let counted = counts(&proxy, Target::Shadow).unwrap();
    let expected = Pairs {
        both_ok: 4,
        only_shadow_failed: 3,
        only_baseline_failed: 2,
        both_failed: 1,
    };
    assert_eq!(counted.pairs(), expected);
    assert_eq!(counted.latency.total(), 10);
    assert_eq!(counted.baseline_latency.total(), 10);
    within("the bell", proxy.bell.notified()).await;
}

#[tokio::test]
async fn a_dead_shadow_hurts_nobody() {
    let proxy = start(mirrored(says("alive").await, refusing().await));
    for _ in 0..5 {
        let response = proxy.ask(post("/", full("x"))).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("x-serin-shadow"));
        assert_eq!(text(response).await, "alive");
    }
    until_copies(&proxy, "unreachable", 5).await;
    let snapshot = proxy.plane.snapshot();
    let stage = &snapshot.rollouts["main"][0];
    let pairs = stage.shadow[&Target::Shadow].pairs();
    assert_eq!((pairs.only_shadow_failed, pairs.total()), (5, 5));
    // Copies are nobody's requests.
    assert_eq!(stage.arms.baseline.outcome(Outcome::Success), 5);
    assert_eq!(stage.arms.baseline.total() + stage.arms.canary.total(), 5);
}

/// `NO_ERROR` is right only behind a whole answer; and heads may be as large as over HTTP/1.1.
#[tokio::test]
async fn an_answer_over_http2_is_read_like_one_over_http1() {
    use frames::{END_HEADERS, HEADERS, NO_ERROR, data, frame, last_data, reset};
    let large = [
        b"\0".to_vec(),
        string("x-large"),
        compressed(&"a".repeat(20_000)),
    ]
    .concat();
    let large = [block(&[(":status", "200")]), large].concat();
    for (result, fields, is_given_up) in [
        ("error", block(&[(":status", "200")]), true),
        ("ok", large, false),
    ] {
        let answer = move |id| {
            let head = frame(HEADERS, END_HEADERS, id, &fields);
            let end = match is_given_up {
                true => [data(id, b"half"), reset(id, NO_ERROR)].concat(),
                false => last_data(id, b"whole"),
            };
            [head, end].concat()
        };
        let (server, _told) = framing(answer).await;
        let mut route = mirrored(says("alive").await, server);
        route.shadow.as_mut().unwrap().protocol = Protocol::Http2;
        let proxy = start(route);
        assert_eq!(text(proxy.ask(post("/", full("x"))).await).await, "alive");
        until_copies(&proxy, result, 1).await;
    }
}

#[tokio::test]
async fn a_shadow_that_never_answers_keeps_so_many_places_and_no_more() {
    let silent = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let mut route = mirrored(says("alive").await, silent.await);
    route.copying.max_in_flight = 2;
    route.timeouts.response = Duration::from_millis(300);
    let proxy = start(route);
    for _ in 0..6 {
        assert_eq!(text(proxy.ask(post("/", full("x"))).await).await, "alive");
    }
    until_copies(&proxy, "timeout", 2).await;
    until_copies(&proxy, "dropped_in_flight", 4).await;
    // Their places are free again.
    text(proxy.ask(post("/", full("x"))).await).await;
    until_copies(&proxy, "timeout", 3).await;
    let counted = counts(&proxy, Target::Shadow).unwrap();
    assert_eq!((counted.offered(), counted.pairs().total()), (7, 3));
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_when_its_original_is_long_over() {
    let endless = |wire: Protocol| async move {
        let address = upstream(|_| async {
            let ticks = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"tick"))), ()))
            });
            Response::new(BodyExt::boxed(StreamBody::new(ticks)))
        });
        let mut route = mirrored(says("alive").await, address.await);
        route.shadow.as_mut().unwrap().protocol = wire;
        route.timeouts.response = Duration::from_millis(200);
        start(route)
    };
    for wire in [Protocol::Http1, Protocol::Http2] {
        let proxy = endless(wire).await;
        for _ in 0..3 {
            assert_eq!(text(proxy.ask(post("/", full("x"))).await).await, "alive");
        }
        until_copies(&proxy, "timeout", 3).await;
    }
}

#[tokio::test]
async fn a_flood_is_not_read_to_its_end() {
    let flood = upstream(|_| async {
        let block = Bytes::from(vec![b'x'; 256 * 1024]);
        let blocks = futures_util::stream::repeat_with(move || Ok(Frame::data(block.clone())));
        Response::new(BodyExt::boxed(StreamBody::new(blocks)))
    });
    let proxy = start(mirrored(says("alive").await, flood.await));
    assert_eq!(text(proxy.ask(post("/", full("x"))).await).await, "alive");
    until_copies(&proxy, "dropped_answer", 1).await;
    assert_eq!(counts(&proxy, Target::Shadow).unwrap().pairs().total(), 0);
}

/// A request that its client gave up says nothing about the shadow.
#[tokio::test]
async fn half_a_request_is_not_copied() {
    let (shadow, mut seen) = listening().await;
    let (baseline, _) = listening().await;
    let proxy = start(mirrored(baseline, shadow));
    let mut client = proxy.connect().await;
    let half = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    client.write_all(half).await.unwrap();
    until("the request", || proxy.plane.in_flight() == 1).await;
    drop(client);
    until_copies(&proxy, "dropped_request", 1).await;
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_shadow_step_copies_baselines_requests_to_the_canary() {
    let (canary, mut seen) = listening().await;
    let mut route = rollout(says("old").await, canary);
    // So that the metrics know of copies.
    route.mirror = Some(Mirror { share: 1e-9 });
    let config: Arc<Config> = Arc::new(config(vec![route]));
    let mut proxy = Proxy::start((*config).clone(), 0.0);
    let asked = |user: usize| {
        let mut request = post(&format!("/{user}"), full("x"));
        let user = user.to_string().parse().unwrap();
        request.headers_mut().insert("x-user-id", user);
        request
    };
    let step = |share, shadow| Split {
        share,
        shadow,
        ..Split::baseline_only(0)
    };
    proxy.install_split(&config, step(0.0, 1.0));
    for user in 0..20 {
        assert_eq!(text(proxy.ask(asked(user)).await).await, "old");
        let copy = within("the copy", seen.recv()).await.unwrap();
        assert_eq!(copy.headers["x-serin-shadow"], "1");
    }
    until("the pairs", || {
        counts(&proxy, Target::Canary).is_some_and(|counts| counts.pairs().both_ok == 20)
    })
    .await;
    // Half of the users, the same every time; and nobody whom the canary answers itself.
    proxy.install_split(&config, step(0.5, 0.5));
    let mut copied = Vec::new();
    for _ in 0..2 {
        let mut own = Vec::new();
        for user in 0..40 {
            let response = proxy.ask(asked(user)).await;
            if response.headers()["x-serin-arm"] == "canary" {
                own.push(format!("/{user}"));
            }
            text(response).await;
        }
        until("the copies", || in_flight(&proxy) == 0).await;
        let mut round = Vec::new();
        while let Ok(request) = seen.try_recv() {
            if request.headers.contains_key("x-serin-shadow") {
                assert!(!own.contains(&request.path), "{}", request.path);
                round.push(request.path);
            } else {
                assert!(own.contains(&request.path), "{}", request.path);
            }
        }
        round.sort();
        copied.push(round);
    }
    assert_eq!(copied[0], copied[1]);
    assert!((1..30).contains(&copied[0].len()), "{:?}", copied[0]);
}

#[tokio::test]
async fn a_mirror_that_was_stopped_copies_nothing() {
    let (shadow, mut seen) = listening().await;
    let route = mirrored(says("x").await, shadow);
    let config: Arc<Config> = Arc::new(config(vec![route]));
    let mut proxy = Proxy::start((*config).clone(), 0.0);
    text(proxy.ask(post("/", full("x"))).await).await;
    within("the copy", seen.recv()).await.unwrap();
    let stopped = Split {
        mirror: false,
        ..Split::baseline_only(0)
    };
    proxy.install_split(&config, stopped);
    text(proxy.ask(post("/", full("x"))).await).await;
    assert!(seen.try_recv().is_err());
    until_copies(&proxy, "ok", 1).await;
}

#[tokio::test]
async fn draining_waits_for_no_copy() {
    let silent = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let proxy = start(mirrored(says("x").await, silent.await));
    text(proxy.ask(post("/", full("x"))).await).await;
    let drained = within("the drain", proxy.plane.drain(Duration::from_secs(9))).await;
    let expected = Drained {
        finished: true,
        cut: 0,
    };
    assert_eq!(drained, expected);
    until_copies(&proxy, "dropped_draining", 1).await;
}
