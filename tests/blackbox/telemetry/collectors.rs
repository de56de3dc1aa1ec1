//! A collector that is away, hangs or refuses costs requests nothing: none fails, none waits, memory is bounded.

use std::time::{Duration, Instant};

use super::{Scene, telemetry};
use crate::support::client::Version;
use crate::support::collector::Manner;
use crate::support::load::Load;
use crate::support::ports::free_address;
use crate::support::process::Serin;
use crate::support::site::Site;
use crate::support::{SOON, eventually};

/// More than what the queue of spans, and what is on its way, can take.
const MEMORY: u64 = 32 << 20;

/// Drives a load until more spans were made than the queue holds; the median latency in it.
async fn drive(site: &Site) -> Duration {
    let load = Load::start(site.http, 6);
    let mut client = site.client(Version::Http1);
    let mut took = Vec::new();
    eventually("enough requests", 3 * SOON, async || {
        let began = Instant::now();
        client.infer("u").await.unwrap();
        took.push(began.elapsed());
        (load.sent() > 3_000).then_some(())
    })
    .await;
    load.stop().await.expect_clean();
    took.sort_unstable();
    took[took.len() / 2]
}

fn memory(serin: &Serin) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serin.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

async fn dropped(site: &Site) -> f64 {
    let name = "serin_telemetry_spans_dropped_total";
    site.admin().metric(name, &[]).await
}

async fn costs_nothing(protocol: &str, manner: Manner) {
    let good = Scene::start(protocol, "0%", Manner::Takes).await;
    let without = drive(&good.site).await;
    drop(good);
    let scene = Scene::start(protocol, "100%", manner).await;
    let before = memory(&scene.serin);
    let with = drive(&scene.site).await;
    let grown = memory(&scene.serin).saturating_sub(before);
    assert!(scene.collector.seen().requests > 0, "nobody reported");
    assert!(grown < MEMORY, "{grown} bytes");
    // Not a benchmark: a request that waits for the collector takes seconds.
    assert!(
        with < 5 * without + Duration::from_millis(20),
        "{with:?} {without:?}"
    );
    eventually("spans are dropped and counted", SOON, async || {
        (dropped(&scene.site).await > 0.0).then_some(())
    })
    .await;

    scene.collector.behave(Manner::Takes);
    let mut client = scene.site.client(Version::Http1);
    eventually("spans arrive again", SOON, async || {
        client.infer("u").await.unwrap();
        (!scene.collector.seen().spans.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_hangs_costs_nothing_over_grpc() {
    costs_nothing("grpc", Manner::Hangs).await;
}

#[tokio::test]
async fn a_collector_that_hangs_costs_nothing_over_http() {
    costs_nothing("http", Manner::Hangs).await;
}

#[tokio::test]
async fn a_collector_that_refuses_costs_nothing() {
    costs_nothing("grpc", Manner::Refuses).await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nothing() {
    let scene = Scene::start("grpc", "100%", Manner::Takes).await;
    let Scene {
        site,
        serin,
        model: _model,
        collector,
    } = scene;
    let text = std::fs::read_to_string(site.config()).unwrap();
    let (_, routes) = text.split_once('\n').unwrap();
    serin.kill();
    drop(collector);
    let away = free_address().to_string();
    site.write(format!("{}{routes}", telemetry(&away, "grpc", "100%")));
    let mut serin = site.start().await;
    drive(&site).await;
    eventually("spans are dropped and counted", SOON, async || {
        (dropped(&site).await > 0.0).then_some(())
    })
    .await;
    let failed = [("signal", "metrics"), ("result", "failed")];
    let admin = site.admin();
    let name = "serin_telemetry_exports_total";
    assert!(admin.metric(name, &failed).await > 0.0);
    let said = "the OTLP collector gets no telemetry";
    let log = serin.log();
    assert_eq!(log.matches(said).count(), 2, "once a signal: {log}");
    serin.terminate();
    assert!(serin.ended(SOON).await.success(), "{}", serin.log());
}
