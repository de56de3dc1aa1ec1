//! The page of `/metrics`: well-formed, and everything that the contract names is on it.

use super::Scene;
use crate::support::client::Version;
use crate::support::collector::Manner;
use crate::support::exposition;
use crate::support::{SOON, eventually};

#[tokio::test]
async fn everything_promised_is_on_the_page() {
    let scene = Scene::start("grpc", "1%", Manner::Takes).await;
    let mut client = scene.site.client(Version::Http1);
    for user in 0..40 {
        let reply = client.infer(&format!("user-{user}")).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    let page = eventually("guardrails are judged", SOON, async || {
        let reply = scene.site.admin().get("/metrics").await;
        let kind = reply.header("content-type").unwrap();
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        let page = exposition::read(std::str::from_utf8(&reply.body).unwrap());
        let judged = !page.families["serin_samples"].samples.is_empty();
        judged.then_some(page)
    })
    .await;
    for (name, kind, labels) in [
        (
            "http_server_request_duration_seconds",
            "histogram",
            &["arm", "route", "le"][..],
        ),
        (
            "http_client_request_duration_seconds",
            "histogram",
            &["arm", "route", "le"],
        ),
        ("serin_weight", "gauge", &["rollout", "kind"]),
        (
            "serin_requests_total",
            "counter",
            &["rollout", "arm", "outcome"],
        ),
        ("serin_verdict", "gauge", &["rollout", "metric"]),
        ("serin_samples", "gauge", &["rollout", "metric", "arm"]),
        ("serin_phase", "gauge", &["rollout", "phase"]),
        ("serin_config_reloads_total", "counter", &["result"]),
        ("serin_control_tick_seconds", "histogram", &["le"]),
        (
            "serin_telemetry_exports_total",
            "counter",
            &["signal", "result"],
        ),
        ("serin_telemetry_spans_dropped_total", "counter", &[]),
    ] {
        let family = &page.families[name];
        assert_eq!(family.kind, kind, "{name}");
        let (_, found, _) = &family.samples[0];
        let mut expected = labels.to_vec();
        expected.sort_unstable();
        assert!(found.keys().eq(expected), "{name}: {found:?}");
    }
    for name in ["serin_effect", "serin_rollbacks_total"] {
        assert!(page.families.contains_key(name), "{name}");
    }
}
