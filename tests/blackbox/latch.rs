//! Rolled back stays rolled back, for that release, until somebody says `retry` or the release changes.

use std::fs;

use crate::support::admin::actual;
use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

/// A good baseline, a broken canary, and a process that has just taken it back.
pub(crate) struct RolledBack {
    /// Where it runs.
    pub(crate) site: Site,
    /// What is configured.
    pub(crate) digits: Digits,
    /// The process.
    pub(crate) serin: Serin,
    /// The broken release.
    pub(crate) canary: ModelServer,
    _baseline: ModelServer,
}

impl RolledBack {
    /// Starts everything and sends requests until the canary is gone.
    pub(crate) async fn reach(plan: &str) -> Self {
        let baseline = ModelServer::start(Behaviour::GOOD);
        let canary = ModelServer::start(Behaviour::BROKEN);
        let site = Site::new();
        let digits = Digits::new(baseline.address(), canary.address(), plan);
        site.configure(&digits);
        let serin = site.start().await;
        let mut client = site.client(Version::Http1);
        for user in 0..1_000 {
            let reply = client.infer(&format!("user-{user}")).await.unwrap();
            if reply.status != 200 && site.admin().status().await["phase"] == "RolledBack" {
                break;
            }
        }
        site.admin().phase("RolledBack").await;
        Self {
            site,
            digits,
            serin,
            canary,
            _baseline: baseline,
        }
    }

    /// Nothing reaches the canary, and the status says why.
    pub(crate) async fn expect_still_rolled_back(&self) {
        let status = self.site.admin().status().await;
        assert_eq!(status["phase"], "RolledBack", "{status:#}");
        assert_eq!(actual(&status), 0.0);
        let before = self.canary.requests();
        let mut client = self.site.client(Version::Http1);
        for user in 0..300 {
            let reply = client.infer(&format!("later-{user}")).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.arm()), (200, "baseline"));
        }
        assert_eq!(self.canary.requests(), before);
    }

    /// The canary gets traffic again.
    pub(crate) async fn expect_revived(&self) {
        let before = self.canary.requests();
        let mut client = self.site.client(Version::Http1);
        for user in 0..300 {
            client.infer(&format!("again-{user}")).await.unwrap();
            if self.canary.requests() > before {
                return;
            }
        }
        panic!("no request of 300 reached the canary");
    }
}

const RAMP: &str = "steps: [{weight: 25%, min_duration: 10m}, {weight: 100%, min_duration: 10m}]";

#[tokio::test]
async fn kill_minus_9_right_after_the_rollback() {
    let mut scene = RolledBack::reach(RAMP).await;
    for _ in 0..3 {
        let next = {
            // Killed before the next one starts: the state folder has one owner at a time.
            let old = std::mem::replace(&mut scene.serin, Serin::spawn(&["--version"]));
            old.kill();
            scene.site.start().await
        };
        scene.serin = next;
        scene.expect_still_rolled_back().await;
    }
    scene.canary.behave(Behaviour::GOOD);
    for verb in ["resume", "promote"] {
        scene.site.verb_exits(1, &[verb, "digits"]).await;
    }
    scene.expect_still_rolled_back().await;
    scene.site.verb_exits(0, &["retry", "digits"]).await;
    scene.site.admin().weight(0.25).await;
    scene.expect_revived().await;
}

#[tokio::test]
async fn a_hundred_reloads_of_the_same_release() {
    let scene = RolledBack::reach(RAMP).await;
    let admin = scene.site.admin();
    let loads = async || admin.reloads("applied").await + admin.reloads("unchanged").await;
    for turn in 0..100 {
        let before = loads().await;
        // Every other time the bytes differ, although the release does not.
        let remark = if turn % 2 == 0 { "# touched\n" } else { "" };
        let text = scene.site.text(&scene.digits) + remark;
        scene.site.write(text);
        scene.serin.hang_up();
        crate::support::eventually("the reload", crate::support::SOON, async || {
            (loads().await > before).then_some(())
        })
        .await;
        let status = admin.status().await;
        assert_eq!(status["phase"], "RolledBack", "after reload {turn}");
        assert_eq!(actual(&status), 0.0, "after reload {turn}");
    }
    scene.expect_still_rolled_back().await;
}

#[tokio::test]
async fn edits_of_weight_steps_and_endpoints_do_not_revive() {
    let scene = RolledBack::reach("weight: 25%").await;
    let admin = scene.site.admin();
    let moved = ModelServer::start(Behaviour::GOOD);
    let mut digits = scene.digits.clone();
    for plan in ["weight: 50%", RAMP, "weight: 100%", "weight: 10%"] {
        digits.plan = plan.to_owned();
        digits.canary = moved.address();
        let before = admin.reloads("applied").await;
        scene.site.configure(&digits);
        admin.reloads_beyond(before, "applied").await;
        scene.expect_still_rolled_back().await;
    }
    assert_eq!(moved.requests(), 0, "a moved server is the same release");
    scene.site.verb_exits(0, &["retry", "digits"]).await;
    admin.weight(0.10).await;
}

#[tokio::test]
async fn the_key_order_and_quoting_of_a_release_do_not_matter() {
    let scene = RolledBack::reach("weight: 25%").await;
    let admin = scene.site.admin();
    let text = scene.site.text(&scene.digits).replace(
        r#"{model: digits, version: "2"}"#,
        "{'version': '2', \"model\": digits}",
    );
    assert_ne!(text, scene.site.text(&scene.digits));
    scene.site.write(text);
    scene.serin.hang_up();
    scene.expect_still_rolled_back().await;
    let digest = admin.status().await["arms"]["canary"]["digest"].clone();
    assert!(digest.is_string());
}

#[tokio::test]
async fn a_new_release_starts_at_the_first_step() {
    let scene = RolledBack::reach(RAMP).await;
    let admin = scene.site.admin();
    let old = admin.status().await["arms"]["canary"]["digest"].clone();
    scene.canary.behave(Behaviour::GOOD);
    let mut digits = scene.digits.clone();
    digits.version = "3".to_owned();
    scene.site.configure(&digits);
    let status = admin.weight(0.25).await;
    assert_eq!(status["phase"], "Progressing", "{status:#}");
    assert_eq!(status["step"]["index"], 0, "{status:#}");
    assert_ne!(status["arms"]["canary"]["digest"], old);
    scene.expect_revived().await;

    // The old release is still latched.
    scene.site.configure(&scene.digits);
    admin.phase("RolledBack").await;
    scene.expect_still_rolled_back().await;
}

#[tokio::test]
async fn aborted_stays_aborted() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), canary.address(), RAMP);
    site.configure(&digits);
    let serin = site.start().await;
    site.verb_exits(0, &["abort", "digits"]).await;
    let status = site.admin().phase("Aborted").await;
    assert_eq!(actual(&status), 0.0);
    site.verb_exits(0, &["abort", "digits"]).await;

    serin.kill();
    let mut serin = site.start().await;
    let status = site.admin().status().await;
    assert_eq!(
        (&status["phase"], actual(&status)),
        (&"Aborted".into(), 0.0)
    );
    site.verb_exits(1, &["status", "digits"]).await;
    serin.terminate();
    assert!(serin.ended(crate::support::SOON).await.success());

    let _serin = site.start().await;
    site.verb_exits(0, &["retry", "digits"]).await;
    site.admin().weight(0.25).await;
}

#[tokio::test]
async fn a_deleted_file_changes_nothing() {
    let scene = RolledBack::reach("weight: 25%").await;
    let admin = scene.site.admin();
    let before = admin.reloads("refused").await;
    fs::remove_file(scene.site.config()).unwrap();
    scene.serin.hang_up();
    admin.reloads_beyond(before, "refused").await;
    scene.expect_still_rolled_back().await;
}
