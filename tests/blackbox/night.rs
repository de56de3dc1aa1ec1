//! What the person on call reads: the status counts until now, the history says why a weight moved, and the log names
//! rollbacks and alarms.

use serde_json::Value;

use crate::support::admin::{actual, number};
use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

struct Scene {
    site: Site,
    digits: Digits,
    serin: Serin,
    canary: ModelServer,
    _baseline: ModelServer,
}

impl Scene {
    async fn start(plan: &str, interval: &'static str) -> Self {
        let baseline = ModelServer::start(Behaviour::GOOD);
        let canary = ModelServer::start(Behaviour::GOOD);
        let site = Site::new();
        let digits = Digits {
            interval,
            ..Digits::new(baseline.address(), canary.address(), plan)
        };
        site.configure(&digits);
        let serin = site.start().await;
        Self {
            site,
            digits,
            serin,
            canary,
            _baseline: baseline,
        }
    }

    async fn requests(&self, count: usize) {
        let mut client = self.site.client(Version::Http1);
        for user in 0..count {
            client.infer(&format!("user-{user}")).await.unwrap();
        }
    }

    /// A line of the log with this message that is as wanted; each line is one JSON object that says everything once.
    async fn told(&self, message: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(message, SOON, async || {
            let log = self.serin.log();
            let whole = log.lines().filter(|line| line.ends_with('}'));
            let mut lines = whole.map(|line| {
                assert_eq!(line.matches("\"message\":").count(), 1, "{line}");
                serde_json::from_str::<Value>(line)
                    .unwrap_or_else(|error| panic!("{error}: {line}"))
            });
            lines.find(|line| line["message"] == message && wanted(line))
        })
        .await
    }
}

fn alarm<'s>(status: &'s Value, kind: &str) -> Option<&'s Value> {
    let mut alarms = status["alarms"].as_array()?.iter();
    alarms.find(|alarm| alarm["kind"] == kind)
}

#[tokio::test]
async fn the_status_counts_until_the_question() {
    let scene = Scene::start("weight: 50%", "1h").await;
    scene.requests(60).await;
    let counted = |status: &Value| {
        number(status, "/arms/baseline/requests") + number(status, "/arms/canary/requests")
    };
    let all = |status: &Value| counted(status) == 60.0;
    let admin = scene.site.admin();
    admin.status_when("60 requests", SOON, all).await;
}

#[tokio::test]
async fn a_weight_edited_by_hand_says_so() {
    let scene = Scene::start("weight: 5%", "100ms").await;
    let edited = scene.digits.plan("weight: 29%");
    scene.site.configure(&edited);
    scene.site.admin().weight(0.29).await;
    let said = scene.site.verb_exits(0, &["history"]).await;
    let last = said.out.lines().find(|line| line.contains("29%"));
    let last = last.unwrap_or_else(|| panic!("{said:?}"));
    assert!(last.contains("the config sets the weight to 29%"), "{last}");
    let moved = |line: &Value| line["weight"] == 0.29;
    let moved = scene.told("rollout moved", moved).await;
    assert_eq!(moved["reason"], "the config sets the weight to 29%");
    // 0.29 × 100 is not 29 in floating point.
    let said = scene.site.verb_exits(0, &["set-weight", "29%"]).await;
    assert!(said.out.contains("weight set to 29% by"), "{said:?}");
    scene.site.configure(&Digits {
        version: "3".to_owned(),
        ..edited
    });
    let renewed = eventually("the new release is in the history", SOON, async || {
        let said = scene.site.verb(&["history"]).await;
        said.out
            .contains("a new canary release, digest")
            .then_some(said)
    });
    renewed.await;
}

#[tokio::test]
async fn a_rollback_is_a_warning() {
    let scene = Scene::start("weight: 50%", "100ms").await;
    let admin = scene.site.admin();
    let labels = [("rollout", "digits"), ("reason", "catastrophe")];
    let page = admin.get("/metrics").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        page.contains("serin_rollbacks_total{rollout=\"digits\",reason=\"catastrophe\"} 0"),
        "{page}"
    );
    scene.canary.behave(Behaviour::BROKEN);
    scene.requests(60).await;
    admin.phase("RolledBack").await;
    assert_eq!(admin.metric("serin_rollbacks_total", &labels).await, 1.0);
    let back = |line: &Value| line["to"] == "RolledBack";
    let moved = scene.told("rollout moved", back).await;
    assert_eq!(moved["level"], "WARN", "{moved}");
}

#[tokio::test]
async fn alarms_are_logged_as_they_come() {
    let plan = "weight: 50%\n      on_breach: hold";
    let scene = Scene::start(plan, "100ms").await;
    scene.canary.behave(Behaviour::BROKEN);
    scene.requests(60).await;
    let breach = |line: &Value| line["alarm"] == "breach" && line["rollout"] == "digits";
    let raised = scene.told("alarm", breach).await;
    assert_eq!(raised["level"], "WARN", "{raised}");
}

/// Nobody is left on baseline, so nothing takes the release back; but the status doesn't keep silent either.
#[tokio::test]
async fn a_promoted_release_that_fails_raises_an_alarm() {
    let scene = Scene::start("weight: 100%", "100ms").await;
    let admin = scene.site.admin();
    admin.phase("Healthy").await;
    scene.requests(40).await;
    assert!(alarm(&admin.status().await, "promoted_failing").is_none());
    scene.canary.behave(Behaviour::BROKEN);
    scene.requests(100).await;
    let raised = |status: &Value| alarm(status, "promoted_failing").is_some();
    let status = admin.status_when("the alarm", SOON, raised).await;
    assert_eq!(
        (&status["phase"], actual(&status)),
        (&"Healthy".into(), 1.0)
    );
    let alarm = alarm(&status, "promoted_failing").unwrap();
    assert!(
        alarm["message"].as_str().unwrap().contains("`undo`"),
        "{alarm}"
    );
    let said = scene.site.verb_exits(0, &["undo"]).await;
    assert!(said.out.contains("RolledBack at 0%"), "{said:?}");
    assert!(!raised(&admin.status().await));
}
