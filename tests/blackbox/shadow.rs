//! Copies of requests from end to end: before the first client meets a canary, and beside everything else.

use std::time::Duration;

use crate::support::admin::{actual, number};
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

/// Copies first, then clients; latency is measured from the start.
const STEPS: &str = "steps: [{shadow: 100%, min_samples: 60}, \
                     {weight: 50%, min_duration: 300ms, min_samples: 20}, \
                     {weight: 100%, min_duration: 300ms, min_samples: 20}]";

struct Models {
    baseline: ModelServer,
    canary: ModelServer,
    shadow: ModelServer,
}

impl Models {
    fn start(canary: Behaviour, shadow: Behaviour) -> Self {
        Self {
            baseline: ModelServer::start(Behaviour::GOOD),
            canary: ModelServer::start(canary),
            shadow: ModelServer::start(shadow),
        }
    }

    /// A process that runs this plan; with a standing mirror if that is asked for.
    async fn serve(&self, plan: &str, mirrored: bool) -> (Site, Serin) {
        let site = Site::new();
        let mut digits = Digits::new(self.baseline.address(), self.canary.address(), plan);
        digits.interval = "100ms";
        let mut text = site
            .text(&digits)
            .replace("analysis: {", "analysis: {warmup: 0s, ");
        if mirrored {
            let shadow = format!(
                "      shadow: {{endpoints: [\"http://{}\"]}}\n    mirror: {{percent: 100%}}\n    rollout:\n",
                self.shadow.address()
            );
            text = text.replace("    rollout:\n", &shadow);
        }
        site.write(text);
        let serin = site.start().await;
        (site, serin)
    }
}

#[tokio::test]
async fn a_good_canary_answers_copies_first_and_then_clients() {
    let models = Models::start(Behaviour::GOOD, Behaviour::GOOD);
    let (site, _serin) = models.serve(STEPS, false).await;
    let mut client = site.client(crate::support::client::Version::Http1);
    for user in 0..40 {
        let reply = client.infer(&format!("user-{user}")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.is_canary()), (200, false));
    }
    let wanted = |status: &serde_json::Value| number(status, "/arms/shadow/step_pairs") >= 40.0;
    let status = site
        .admin()
        .status_when("the first copies", SOON, |status| {
            status["arms"]["shadow"]["step_pairs"].is_number() && wanted(status)
        })
        .await;
    assert_eq!(status["phase"], "Progressing");
    assert_eq!(
        (status["step"]["index"].as_u64(), actual(&status)),
        (Some(0), 0.0)
    );
    assert_eq!(number(&status, "/step/shadow"), 1.0);
    let shadow = &status["arms"]["shadow"];
    assert_eq!(shadow["target"], "canary");
    assert_eq!(shadow["release"]["version"], "2");
    assert_eq!(number(shadow, "/requests"), 40.0);
    assert_eq!(number(shadow, "/processed"), 1.0);
    assert_eq!(number(shadow, "/pairs/both_ok"), 40.0);
    assert_eq!(number(shadow, "/agreement/rate"), 1.0);
    assert_eq!(shadow["latency_p95"]["met"], true);
    // Copies are no requests of the arm.
    assert_eq!(number(&status, "/arms/canary/requests"), 0.0);
    assert_eq!(models.canary.requests(), 40);
    let text = site.verb(&["status", "digits"]).await.out;
    for words in [
        "100% of requests to the canary: 40 offered, 100% processed without failure",
        "40 both fine, 0 only baseline, 0 only shadow, 0 neither",
        "step    1 of 3 (shadow 100%)",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let load = Load::start(site.http, 4);
    let status = site.admin().phase("Healthy").await;
    assert_eq!(actual(&status), 1.0);
    load.stop().await.expect_clean();
    let ok = [("rollout", "digits"), ("result", "ok")];
    assert!(site.admin().metric("serin_shadow_total", &ok).await >= 60.0);
}

#[tokio::test]
async fn a_bad_canary_is_gone_before_any_client_met_it() {
    let models = Models::start(Behaviour::BROKEN, Behaviour::GOOD);
    let (site, _serin) = models.serve(STEPS, false).await;
    let load = Load::start(site.http, 4);
    let status = site.admin().phase("RolledBack").await;
    let rule = status["breach"]["rule"].as_str().unwrap();
    assert!(rule == "shadow" || rule == "shadow_down", "{status:#}");
    let copies = models.canary.requests();
    let sent = load.sent();
    eventually("more requests", SOON, async || {
        (load.sent() > sent + 100).then_some(())
    })
    .await;
    assert!(
        models.canary.requests() <= copies + 8,
        "it is copied to still"
    );
    load.stop().await.expect_clean();
}

#[tokio::test]
async fn a_canary_that_is_killed_in_its_shadow_step_is_taken_back() {
    let models = Models::start(Behaviour::GOOD, Behaviour::GOOD);
    let plan = "steps: [{shadow: 100%, min_duration: 10m}, {weight: 100%}]";
    let (site, _serin) = models.serve(plan, false).await;
    let load = Load::start(site.http, 4);
    site.admin()
        .status_when("copies", SOON, |status| {
            status["arms"]["shadow"]["requests"].as_u64() > Some(50)
        })
        .await;
    let Models {
        baseline: _baseline,
        canary,
        ..
    } = models;
    drop(canary);
    let status = site.admin().phase("RolledBack").await;
    // Pair by pair, or after twenty failures in a row: whichever comes first.
    let rule = status["breach"]["rule"].as_str().unwrap_or_default();
    assert!(["shadow", "shadow_down"].contains(&rule), "{status:#}");
    load.stop().await.expect_clean();
}

#[tokio::test]
async fn a_broken_mirror_is_stopped_and_nobody_notices() {
    let slow = Behaviour::Slow(Duration::from_millis(1));
    let models = Models::start(Behaviour::GOOD, slow);
    let (site, _serin) = models.serve("weight: 0%", true).await;
    let load = Load::start(site.http, 4);
    site.admin()
        .status_when("copies", SOON, |status| {
            number(status, "/arms/baseline/requests") > 50.0
                && status["arms"]["shadow"]["requests"].as_u64() > Some(20)
        })
        .await;
    models.shadow.behave(Behaviour::BROKEN);
    let status = site
        .admin()
        .status_when("the alarm", SOON, |status| {
            status["alarms"][0]["kind"] == "shadow_breach"
                && status["arms"]["shadow"]["stopped"].is_string()
        })
        .await;
    assert_eq!(status["arms"]["shadow"]["target"], "shadow");
    assert_eq!(
        (status["phase"].as_str(), actual(&status)),
        (Some("Pending"), 0.0)
    );
    let copies = models.shadow.requests();
    let sent = load.sent();
    eventually("more requests", SOON, async || {
        (load.sent() > sent + 100).then_some(())
    })
    .await;
    assert!(
        models.shadow.requests() <= copies + 8,
        "it is copied to still"
    );
    load.stop().await.expect_clean();
}
