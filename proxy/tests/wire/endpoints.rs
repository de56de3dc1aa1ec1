//! Which endpoint is asked: keys, failures, health, names, and how much at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serin_config::model::{
    Balance, Ejection, Endpoint, Handling, HealthCheck, HealthProbe, Protocol, Route,
};
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::support::{
    AnyBody, Proxy, config, full, get, read_head, refusing, rollout, route, says, text, trailed,
    until, upstream, within,
};

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        is_https: false,
        host: address.ip().to_string(),
        port: address.port(),
    }
}

/// A route over these, which one worker serves.
pub(crate) fn among(addresses: &[SocketAddr], handling: Handling) -> Route {
    let mut several = route(addresses[0]);
    several.baseline.endpoints = addresses.iter().copied().map(endpoint).collect();
    several.baseline.handling = handling;
    several
}

pub(crate) fn start(route: Route) -> Proxy {
    let mut one_worker = config(vec![route]);
    one_worker.workers = NonZeroUsize::new(1);
    Proxy::start(one_worker, 0.0)
}

pub(crate) fn metrics(proxy: &Proxy) -> String {
    let mut page = serin_stats::metrics::Page::default();
    proxy.plane.metrics(&mut page);
    page.to_text()
}

/// How many addresses of the endpoint are in this state.
fn count(proxy: &Proxy, endpoint: &Endpoint, state: &str) -> usize {
    let wanted = format!("endpoint=\"{endpoint}\",state=\"{state}\"}} ");
    let metrics = metrics(proxy);
    let line = metrics.lines().find(|line| line.contains(&wanted));
    let line = line.unwrap_or_else(|| panic!("{wanted} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn from_user(user: usize) -> Request<AnyBody> {
    let mut request = get("/");
    let value = format!("user-{user}").parse().unwrap();
    request.headers_mut().insert("x-user-id", value);
    request
}

#[tokio::test]
async fn a_key_stays_with_its_endpoint_also_through_reloads_and_in_another_process() {
    let servers = [says("a").await, says("b").await, says("c").await];
    let handling = Handling {
        balance: Balance::RoutingKey,
        ..Handling::DEFAULT
    };
    let tied = among(&servers, handling);
    let mut proxy = start(tied.clone());
    let other = start(tied.clone());
    let mut all = BTreeSet::new();
    let mut firsts = Vec::new();
    for user in 0..30 {
        let first = text(proxy.ask(from_user(user)).await).await;
        assert_eq!(text(proxy.ask(from_user(user)).await).await, first);
        assert_eq!(text(other.ask(from_user(user)).await).await, first);
        all.insert(first.clone());
        firsts.push(first);
    }
    // Thirty keys that all miss one of three: (2/3)³⁰ · 3, one in 64,000, for names that are random; these stay.
    assert!(all.len() >= 2, "{all:?}");
    let mut changed = config(vec![tied]);
    changed.limits.max_body += 1;
    proxy.install(&Arc::new(changed), 0.0);
    for (user, first) in firsts.iter().enumerate() {
        assert_eq!(&text(proxy.ask(from_user(user)).await).await, first);
    }
}

#[tokio::test]
async fn a_key_that_is_required_is_asked_for() {
    let handling = Handling {
        balance: Balance::RoutingKey,
        ..Handling::DEFAULT
    };
    let mut strict = among(&[says("a").await, says("b").await], handling);
    strict.key_fallback = serin_config::model::KeyFallback::Reject;
    let proxy = start(strict);
    assert_eq!(proxy.ask(get("/")).await.status(), 400);
    assert_eq!(proxy.ask(from_user(1)).await.status(), 200);
}

/// Answers 503 as long as it is told to; counts.
async fn moody() -> (SocketAddr, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (is_bad, asked) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (mood, counter) = (Arc::clone(&is_bad), Arc::clone(&asked));
    let address = upstream(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let status = if mood.load(Ordering::SeqCst) {
            503
        } else {
            200
        };
        async move {
            let mut response = Response::new(full("moody"));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        }
    });
    (address.await, is_bad, asked)
}

fn ejection(time: Duration) -> Handling {
    Handling {
        ejection: Some(Ejection {
            failures: 3,
            time,
            max_share: 0.5,
        }),
        ..Handling::DEFAULT
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_left_alone_and_comes_back() {
    let (bad, mood, asked) = moody().await;
    let time = Duration::from_millis(300);
    let proxy = start(among(&[says("good").await, bad], ejection(time)));
    let mut failures = 0;
    while count(&proxy, &endpoint(bad), "ejected") == 0 {
        failures += usize::from(proxy.ask(get("/")).await.status() == 503);
        assert!(failures <= 3, "one more than may be");
    }
    assert_eq!(failures, 3);
    assert!(
        metrics(&proxy).contains("serin_ejections_total{rollout=\"main\",arm=\"baseline\"} 1\n")
    );
    mood.store(false, Ordering::SeqCst);
    until("back", || count(&proxy, &endpoint(bad), "healthy") == 1).await;
    within("asked again", async {
        while asked.load(Ordering::SeqCst) == 3 {
            assert_eq!(proxy.ask(get("/")).await.status(), 200);
        }
    })
    .await;
}

#[tokio::test]
async fn while_it_is_left_alone_the_others_serve_all() {
    let (bad, _, asked) = moody().await;
    let proxy = start(among(
        &[says("good").await, bad],
        ejection(Duration::from_secs(60)),
    ));
    while count(&proxy, &endpoint(bad), "ejected") == 0 {
        proxy.ask(get("/")).await;
    }
    for _ in 0..50 {
        assert_eq!(proxy.ask(get("/")).await.status(), 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn connections_that_fail_count_and_nobody_is_left_alone_when_all_fail() {
    let (one, other) = (refusing().await, refusing().await);
    let mut route = rollout(one, refusing().await);
    route.baseline.endpoints.push(endpoint(other));
    route.baseline.handling = ejection(Duration::from_secs(60));
    let proxy = start(route);
    for _ in 0..20 {
        assert_eq!(proxy.ask(get("/")).await.status(), 502);
    }
    let ejected = [one, other].map(|address| count(&proxy, &endpoint(address), "ejected"));
    assert_eq!(ejected.iter().sum::<usize>(), 1, "half of two");
    let counts = proxy.counts(20).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 20);
}

/// Answers one request a connection, until it is stopped; the port is free then.
async fn answering(at: SocketAddr) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
}

#[tokio::test]
async fn endpoints_that_are_restarted_one_after_the_other_cost_no_client_anything() {
    // Addresses that nobody else binds: the ports stay ours between two servers.
    let free = async |address: &str| {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let (one, other) = (free("127.77.0.1").await, free("127.77.0.2").await);
    let (first, second) = (answering(one).await, answering(other).await);
    let proxy = start(among(&[one, other], ejection(Duration::from_secs(60))));
    let ask = async || assert_eq!(proxy.ask(get("/")).await.status(), 200);
    first.abort();
    let _ = first.await;
    while count(&proxy, &endpoint(one), "ejected") == 0 {
        ask().await;
    }
    let first = answering(one).await;
    second.abort();
    let _ = second.await;
    for _ in 0..30 {
        ask().await;
    }
    assert_eq!(count(&proxy, &endpoint(one), "healthy"), 1, "it answered");
    assert!(!first.is_finished());
}

#[tokio::test]
async fn the_only_endpoint_is_never_left_alone() {
    let (bad, mood, asked) = moody().await;
    let proxy = start(among(&[bad], ejection(Duration::from_secs(60))));
    for _ in 0..10 {
        assert_eq!(proxy.ask(get("/")).await.status(), 503);
    }
    mood.store(false, Ordering::SeqCst);
    assert_eq!(proxy.ask(get("/")).await.status(), 200);
    assert_eq!(asked.load(Ordering::SeqCst), 11);
}

fn checks(probe: HealthProbe) -> Handling {
    Handling {
        health_check: Some(HealthCheck {
            probe,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            unhealthy: 2,
            healthy: 2,
        }),
        ejection: None,
        ..Handling::DEFAULT
    }
}

/// Serves, and says on `/healthz` whether it is well.
async fn patient(name: &'static str) -> (SocketAddr, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(true));
    let health = Arc::clone(&is_well);
    let address = upstream(move |request: Request<Incoming>| {
        let is_well = health.load(Ordering::SeqCst);
        async move {
            let mut response = Response::new(full(name));
            if request.uri().path() == "/healthz" {
                assert!(request.headers().contains_key("host"));
                *response.status_mut() =
                    http::StatusCode::from_u16(if is_well { 204 } else { 500 }).unwrap();
            }
            response
        }
    });
    (address.await, is_well)
}

#[tokio::test]
async fn an_unwell_endpoint_is_not_asked_until_it_is_well() {
    let ((one, first), (other, _)) = (patient("one").await, patient("other").await);
    let proxy = start(among(
        &[one, other],
        checks(HealthProbe::Http("/healthz".into())),
    ));
    first.store(false, Ordering::SeqCst);
    until("unwell", || count(&proxy, &endpoint(one), "unhealthy") == 1).await;
    for _ in 0..30 {
        assert_eq!(text(proxy.ask(get("/")).await).await, "other");
    }
    first.store(true, Ordering::SeqCst);
    until("well", || count(&proxy, &endpoint(one), "healthy") == 1).await;
    within("asked again", async {
        while text(proxy.ask(get("/")).await).await != "one" {}
    })
    .await;
}

#[tokio::test]
async fn when_nobody_is_well_everybody_is_asked() {
    let ((one, first), (other, second)) = (patient("one").await, patient("other").await);
    let proxy = start(among(
        &[one, other],
        checks(HealthProbe::Http("/healthz".into())),
    ));
    for health in [first, second] {
        health.store(false, Ordering::SeqCst);
    }
    for address in [one, other] {
        until("unwell", || {
            count(&proxy, &endpoint(address), "unhealthy") == 1
        })
        .await;
    }
    assert_eq!(proxy.ask(get("/")).await.status(), 200);
}

#[tokio::test]
async fn grpc_servers_are_asked_by_grpc() {
    // A server that is not serving (2) after a while, and one that always is (1).
    let status = Arc::new(AtomicUsize::new(1));
    let told = Arc::clone(&status);
    let one = upstream(move |request: Request<Incoming>| {
        let status = told.load(Ordering::SeqCst);
        async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let message = if status == 1 {
                "\0\0\0\0\x02\x08\x01"
            } else {
                "\0\0\0\0\x02\x08\x02"
            };
            let trailers =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            let mut response = Response::new(trailed(message, trailers));
            let kind = "application/grpc".parse().unwrap();
            response.headers_mut().insert("content-type", kind);
            response
        }
    })
    .await;
    let handling = checks(HealthProbe::Grpc("inference.GRPCInferenceService".into()));
    let mut calls = among(&[one, refusing().await], handling);
    calls.baseline.protocol = Protocol::Http2;
    let refused = calls.baseline.endpoints[1].clone();
    let proxy = start(calls);
    until("refused", || count(&proxy, &refused, "unhealthy") == 1).await;
    assert_eq!(count(&proxy, &endpoint(one), "healthy"), 1);
    status.store(2, Ordering::SeqCst);
    until("unwell", || count(&proxy, &endpoint(one), "unhealthy") == 1).await;
}

#[tokio::test]
async fn a_name_stands_for_its_addresses_and_one_that_refuses_costs_nothing() {
    // `localhost` may be ::1 as well, where nobody listens.
    let server = says("x").await;
    let mut named = among(&[server], Handling::DEFAULT);
    named.baseline.endpoints[0].host = "localhost".to_owned();
    let endpoint = named.baseline.endpoints[0].clone();
    let proxy = start(named);
    for _ in 0..20 {
        assert_eq!(text(proxy.ask(get("/")).await).await, "x");
    }
    let states = ["healthy", "ejected"].map(|state| count(&proxy, &endpoint, state));
    assert!(states[0] >= 1, "{states:?}");
}

#[tokio::test]
async fn a_name_that_means_nothing_is_a_failed_connection() {
    let mut named = rollout(says("x").await, refusing().await);
    named.baseline.endpoints[0].host = "nobody.invalid".to_owned();
    let proxy = start(named);
    assert_eq!(proxy.ask(get("/")).await.status(), 502);
    let counts = proxy.counts(1).await;
    assert_eq!(counts.unreachable(Arm::Baseline), 1);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_wanted() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = super::support::raw_upstream(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            use tokio::io::AsyncWriteExt;
            while !super::support::read_head(&mut stream).await.is_empty() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    let mut frugal = route(server.await);
    frugal.baseline.handling.pool.max_idle = 0;
    let proxy = start(frugal);
    for _ in 0..5 {
        text(proxy.ask(get("/")).await).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}
