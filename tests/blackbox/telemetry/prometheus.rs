//! The real Prometheus: `promtool` checks the page, a server scrapes it and answers a query.
//!
//! `.ci/prometheus` gets the two binaries and runs this; `cargo test` alone reads the page with a parser of its
//! own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::Scene;
use crate::support::client::{Client, Version};
use crate::support::collector::Manner;
use crate::support::eventually;
use crate::support::ports::free_address;

/// A server that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tool(name: &str) -> String {
    let folder = std::env::var("PROMETHEUS_BIN").expect(
        "PROMETHEUS_BIN names the folder of promtool and prometheus; .ci/prometheus sets it",
    );
    format!("{folder}/{name}")
}

/// A page on which every metric has samples.
async fn scene() -> Scene {
    let scene = Scene::start("grpc", "100%", Manner::Takes).await;
    let mut client = scene.site.client(Version::Http1);
    for user in 0..100 {
        client.infer(&format!("user-{user}")).await.unwrap();
    }
    scene
}

#[tokio::test]
#[ignore = "needs promtool: .ci/prometheus gets it and runs this"]
async fn promtool_finds_nothing_wrong() {
    let scene = scene().await;
    let page = scene.site.admin().get("/metrics").await.body;
    let file = scene.site.path("metrics.txt");
    std::fs::write(&file, &page).unwrap();
    let output = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let families = String::from_utf8_lossy(&page).matches("# TYPE ").count();
    println!("promtool check metrics: {families} metrics, nothing to say");
}

#[tokio::test]
#[ignore = "needs Prometheus: .ci/prometheus gets it and runs this"]
async fn prometheus_scrapes_it() {
    let scene = scene().await;
    let (site, address) = (&scene.site, free_address());
    let config = site.path("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: serin, static_configs: [{{targets: \
         [\"{}\"]}}]}}]\n",
        site.admin
    );
    std::fs::write(&config, text).unwrap();
    let _server = Server(
        Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                site.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts"),
    );
    // `sum(serin_requests_total{outcome="success"})`, and whether every scrape was good.
    for (query, expected) in [
        (
            "sum(serin_requests_total%7Boutcome=%22success%22%7D)",
            "100",
        ),
        ("sum(http_client_request_duration_seconds_count)", "100"),
        ("serin_weight%7Bkind=%22actual%22%7D", "0.5"),
        ("min_over_time(up%5B1m%5D)", "1"),
    ] {
        let limit = Duration::from_secs(60);
        eventually(query, limit, async || {
            let path = format!("/api/v1/query?query={query}");
            let mut client = Client::http1(address);
            let reply = client.ask(Method::GET, &path, &[], "").await.ok()?;
            let answer: Value = serde_json::from_slice(&reply.body).ok()?;
            let value = &answer["data"]["result"][0]["value"][1];
            (value == expected).then_some(())
        })
        .await;
        println!("prometheus: {query} = {expected}");
    }
}
