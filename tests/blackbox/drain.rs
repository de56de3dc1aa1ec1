//! SIGTERM: what has begun is finished, nothing new begins, and the process leaves with 0.

use std::time::Duration;

use hyper::StatusCode;
use tokio::net::TcpStream;

use crate::support::client::{Client, Version};
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

async fn held_request_survives(version: Version) {
    let model = ModelServer::start(Behaviour::Hold);
    let site = Site::new();
    site.configure(&Digits::new(model.address(), model.address(), "weight: 0%"));
    let mut serin = site.start().await;
    let mut client = site.client(version);
    let held = tokio::spawn(async move { client.infer("patient").await });
    eventually("the request is under way", SOON, async || {
        (model.requests() == 1).then_some(())
    })
    .await;

    serin.terminate();
    eventually("not ready any more", SOON, async || {
        let readiness = site.admin().readiness().await;
        (readiness == Some(StatusCode::SERVICE_UNAVAILABLE)).then_some(())
    })
    .await;
    eventually("new connections are refused", SOON, async || {
        TcpStream::connect(site.http).await.err().map(drop)
    })
    .await;
    assert!(serin.is_running(), "it left a request behind");

    model.behave(Behaviour::GOOD);
    let reply = held.await.unwrap().unwrap();
    assert_eq!(reply.status, 200);
    let exit = serin.ended(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", serin.log());
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_http1() {
    held_request_survives(Version::Http1).await;
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_http2() {
    held_request_survives(Version::Http2).await;
}

#[tokio::test]
async fn a_load_sees_nothing_worse_than_a_refused_connection() {
    let model = ModelServer::start(Behaviour::Slow(Duration::from_millis(50)));
    let site = Site::new();
    site.configure(&Digits::new(
        model.address(),
        model.address(),
        "weight: 50%",
    ));
    let mut serin = site.start().await;
    // Each request on a connection of its own: whatever was accepted must be answered.
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let address = site.http;
            tokio::spawn(async move {
                for turn in 0_u32.. {
                    let mut client = Client::http1(address);
                    match client.infer(&format!("user-{number}-{turn}")).await {
                        Ok(reply) if reply.status == 200 => {}
                        Ok(reply) => return Err(format!("{reply:?}")),
                        Err(error) if error.starts_with("connect") => return Ok(turn),
                        Err(error) => return Err(error),
                    }
                }
                unreachable!("the clients run until they are refused")
            })
        })
        .collect();
    eventually("traffic flows", SOON, async || {
        (model.requests() > 100).then_some(())
    })
    .await;
    serin.terminate();
    assert_eq!(serin.ended(SOON).await.code(), Some(0), "{}", serin.log());
    let mut broken = Vec::new();
    let mut answered = 0;
    for client in clients {
        match client.await.unwrap() {
            Ok(turns) => answered += turns,
            Err(error) => broken.push(error),
        }
    }
    assert!(answered > 50, "only {answered} were answered");
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn kept_connections_are_told_to_leave() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    site.configure(&Digits::new(model.address(), model.address(), "weight: 0%"));
    let mut serin = site.start().await;
    let load = Load::start(site.http, 4);
    eventually("traffic flows", SOON, async || {
        (load.sent() > 40).then_some(())
    })
    .await;
    let stopped = std::time::Instant::now();
    serin.terminate();
    assert_eq!(serin.ended(SOON).await.code(), Some(0), "{}", serin.log());
    // The configured drain is 10 s: kept connections must not use it up.
    assert!(stopped.elapsed() < Duration::from_secs(6));
    let tally = load.stop().await;
    let cut: Vec<_> = tally
        .failed
        .iter()
        .filter(|error| !error.starts_with("connect"))
        .collect();
    // A kept connection may be closed in the very moment its client writes: one each at most.
    assert!(cut.len() <= 4, "{} of {}: {cut:?}", cut.len(), tally.sent);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_limit() {
    let model = ModelServer::start(Behaviour::Hold);
    let site = Site::new();
    let mut digits = Digits::new(model.address(), model.address(), "weight: 0%");
    digits.response = "10m";
    site.write(site.text(&digits).replace("drain: 10s", "drain: 500ms"));
    let mut serin = site.start().await;
    let mut client = site.client(Version::Http1);
    let held = tokio::spawn(async move { client.infer("patient").await });
    eventually("the request is under way", SOON, async || {
        (model.requests() == 1).then_some(())
    })
    .await;
    serin.terminate();
    let exit = serin.ended(Duration::from_secs(10)).await;
    assert_eq!(exit.code(), Some(0), "{}", serin.log());
    let reply = held.await.unwrap();
    assert!(!reply.is_ok_and(|reply| reply.status == 200));
}
