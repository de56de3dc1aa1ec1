//! The command line against a running process: what each verb does, and its exit code.

use serde_json::Value;

use crate::support::admin::actual;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::{Serin, command, run};
use crate::support::site::{Digits, Site};

/// A running ramp of two good releases that waits long in each step.
struct Scene {
    site: Site,
    digits: Digits,
    _serin: Serin,
    _models: [ModelServer; 2],
}

const RAMP: &str = "steps: [{weight: 5%, min_duration: 1h}, {weight: 25%, min_duration: 1h}, \
                    {weight: 50%, min_duration: 1h, requires_approval: true}, {weight: 100%, min_duration: 1h}]";

impl Scene {
    async fn start(plan: &str) -> Self {
        let models = [
            ModelServer::start(Behaviour::GOOD),
            ModelServer::start(Behaviour::GOOD),
        ];
        let site = Site::new();
        let digits = Digits::new(models[0].address(), models[1].address(), plan);
        site.configure(&digits);
        let serin = site.start().await;
        Self {
            site,
            digits,
            _serin: serin,
            _models: models,
        }
    }

    /// A verb that works, and the phase and weight it leads to.
    async fn good(&self, verb: &[&str], phase: &str, weight: f64) -> Value {
        self.site.verb_exits(0, verb).await;
        let status = self.site.admin().phase(phase).await;
        assert_eq!(actual(&status), weight, "{verb:?}: {status:#}");
        status
    }

    /// A verb that this phase doesn't allow: exit 1, 409, nothing changed.
    async fn refused(&self, verb: &str) {
        let admin = self.site.admin();
        let before = admin.status().await;
        self.site.verb_exits(1, &[verb, "digits"]).await;
        let reply = admin.post(verb, "{}").await;
        assert_eq!(reply.status, 409, "{verb}: {reply:?}");
        expect_problem(&reply);
        let after = admin.status().await;
        for part in ["phase", "epoch", "weight"] {
            assert_eq!(before[part], after[part], "{verb} changed {part}");
        }
    }
}

/// An RFC 9457 problem document.
#[track_caller]
pub(crate) fn expect_problem(reply: &crate::support::client::Reply) {
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{reply:?}");
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status.as_u16(), "{problem:#}");
    assert!(problem["title"].is_string(), "{problem:#}");
}

#[tokio::test]
async fn a_whole_ramp_by_hand() {
    let scene = Scene::start(RAMP).await;
    let status = scene.site.admin().status().await;
    assert_eq!(
        (&status["phase"], actual(&status)),
        (&"Progressing".into(), 0.05)
    );
    assert_eq!(status["step"]["index"], 0);
    assert_eq!(status["step"]["of"], 4);

    scene.refused("approve").await;
    scene.refused("resume").await;
    scene.refused("retry").await;
    scene.good(&["pause", "digits"], "Paused", 0.05).await;
    scene.good(&["resume", "digits"], "Progressing", 0.05).await;
    let status = scene
        .good(&["promote", "digits"], "Progressing", 0.25)
        .await;
    assert_eq!(status["step"]["index"], 1);
    scene
        .good(&["set-weight", "digits", "30%"], "Paused", 0.3)
        .await;
    // The first step that is not below 30 % wants approval.
    scene
        .good(&["resume", "digits"], "WaitingApproval", 0.3)
        .await;
    let status = scene.good(&["approve", "digits"], "Progressing", 0.5).await;
    assert_eq!(status["step"]["index"], 2);
    scene.good(&["abort", "digits"], "Aborted", 0.0).await;
    scene.refused("promote").await;
    scene.refused("pause").await;
    scene.good(&["abort", "digits"], "Aborted", 0.0).await;
    scene.good(&["retry", "digits"], "Progressing", 0.05).await;
}

#[tokio::test]
async fn promote_in_full() {
    let scene = Scene::start(RAMP).await;
    scene
        .site
        .verb_exits(0, &["promote", "digits", "--full"])
        .await;
    scene.site.admin().weight(1.0).await;
}

#[tokio::test]
async fn a_weight_set_by_hand_survives_reloads_until_the_plan_is_edited() {
    let scene = Scene::start("weight: 5%").await;
    let admin = scene.site.admin();
    scene.good(&["set-weight", "40%"], "Paused", 0.4).await;
    let before = admin.reloads("applied").await;
    // Another part of the file changes: the override stays.
    let text = scene
        .site
        .text(&scene.digits)
        .replace("drain: 10s", "drain: 9s");
    scene.site.write(text);
    admin.reloads_beyond(before, "applied").await;
    assert_eq!(actual(&admin.status().await), 0.4);
    scene.site.configure(&scene.digits.plan("weight: 15%"));
    admin.weight(0.15).await;
}

#[tokio::test]
async fn the_rollout_may_be_left_out_when_there_is_one() {
    let scene = Scene::start(RAMP).await;
    scene.good(&["pause"], "Paused", 0.05).await;
    scene.good(&["set-weight", "10%"], "Paused", 0.1).await;
    scene.good(&["abort"], "Aborted", 0.0).await;
}

#[tokio::test]
async fn status_and_history_as_text_and_as_json() {
    let scene = Scene::start(RAMP).await;
    let site = &scene.site;
    let json = site.verb(&["status", "digits", "--output", "json"]).await;
    let shown: Value = serde_json::from_str(&json.out).unwrap();
    let shown = shown.as_array().map_or(shown.clone(), |all| all[0].clone());
    assert_eq!(shown["name"], "digits");
    for part in [
        "phase",
        "reason",
        "weight",
        "epoch",
        "arms",
        "guardrails",
        "config",
    ] {
        assert!(!shown[part].is_null(), "no {part}: {shown:#}");
    }
    let text = site.verb(&["status", "digits"]).await;
    for part in ["digits", "Progressing", "error_rate", "latency_p95"] {
        assert!(text.out.contains(part), "no {part}: {}", text.out);
    }
    assert!(!text.out.contains('\u{1b}'), "colours without a terminal");

    site.verb_exits(0, &["abort", "digits"]).await;
    let history = site.verb_exits(0, &["history", "digits"]).await;
    assert!(history.out.contains("abort") || history.out.contains("Aborted"));
    let history = site
        .verb_exits(0, &["history", "digits", "--output", "json"])
        .await;
    let parsed: Value = serde_json::from_str(&history.out).unwrap();
    assert!(!parsed.is_null());
    site.verb_exits(1, &["status", "digits"]).await;
}

#[tokio::test]
async fn answers_that_are_no() {
    let scene = Scene::start(RAMP).await;
    for verb in ["status", "pause", "abort", "history"] {
        let said = scene.site.verb_exits(1, &[verb, "nobody"]).await;
        assert!(said.err.contains("nobody"), "{verb}: {said:?}");
    }
    let elsewhere = Site::new();
    for verb in ["status", "pause", "history"] {
        let said = elsewhere.verb_exits(1, &[verb, "digits"]).await;
        let address = elsewhere.admin.to_string();
        assert!(said.err.contains(&address), "{verb}: {said:?}");
    }
}

#[tokio::test]
async fn wrong_usage() {
    let site = Site::new();
    for arguments in [
        &["no-such-verb"] as &[&str],
        &[],
        &["run"],
        &["check", "-c"],
        &["set-weight", "digits"],
        &["set-weight", "digits", "10"],
        &["set-weight", "digits", "150%"],
        &["set-weight", "digits", "10ms"],
        &["status", "--output", "xml"],
    ] {
        let said = site.verb(arguments).await;
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.contains("panicked"), "{said:?}");
    }
}

#[tokio::test]
async fn every_verb_explains_itself_with_an_example() {
    for verb in [
        "run",
        "demo",
        "check",
        "plan",
        "simulate",
        "schema",
        "status",
        "promote",
        "pause",
        "resume",
        "abort",
        "retry",
        "undo",
        "set-weight",
        "history",
        "explain",
        "approve",
    ] {
        let mut command = command();
        command.args([verb, "--help"]);
        let said = run(command).await;
        assert_eq!(said.code, Some(0), "{verb}: {said:?}");
        assert!(
            said.out.contains(&format!("serin {verb}")),
            "{verb}: {said:?}"
        );
        assert!(
            said.out.to_lowercase().contains("example"),
            "{verb}: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_promotion_can_be_undone_and_stays_undone() {
    let scene = Scene::start(RAMP).await;
    scene.refused("undo").await;
    scene
        .good(&["promote", "digits", "--full"], "Healthy", 1.0)
        .await;
    let reason = "complaints since yesterday";
    let undo = ["undo", "digits", "--reason", reason];
    let status = scene.good(&undo, "RolledBack", 0.0).await;
    let why = status["reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("promotion undone"), "{why}");
    assert!(why.contains(reason), "{why}");
    scene.refused("promote").await;
    scene.site.configure(&scene.digits.plan("weight: 50%"));
    scene.site.admin().reloads_beyond(0.0, "applied").await;
    assert_eq!(actual(&scene.site.admin().status().await), 0.0);
    scene.good(&["retry"], "Progressing", 0.5).await;
}

#[tokio::test]
async fn the_schema_is_a_json_schema() {
    let site = Site::new();
    let said = site.verb_exits(0, &["schema"]).await;
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    assert!(schema["$schema"].is_string(), "{schema:#}");
    assert!(schema["properties"]["routes"].is_object(), "{schema:#}");
}

#[tokio::test]
async fn weights_in_the_api_have_units_too() {
    let scene = Scene::start(RAMP).await;
    let admin = scene.site.admin();
    for body in [
        r#"{"weight": 10}"#,
        r#"{"weight": "10"}"#,
        r#"{"weight": "101%"}"#,
        "{}",
        "not json",
    ] {
        let reply = admin.post("set-weight", body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        expect_problem(&reply);
    }
    let reply = admin
        .post("set-weight", r#"{"weight": "12.5%", "reason": "by hand"}"#)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    admin.weight(0.125).await;
}

#[tokio::test]
async fn a_script_can_wait_for_the_end() {
    let plan = "steps: [{weight: 20%, min_duration: 0s}, {weight: 100%, min_duration: 0s}]\n      \
                guardrails: [{error_rate: {max_increase: 5pp}}, {latency_p95: {max_increase: 500ms}}]";
    let scene = Scene::start(RAMP).await;
    let site = &scene.site;
    let wait = ["status", "digits", "--timeout", "200ms"];
    site.verb_exits(1, &wait).await;

    let mut digits = scene.digits.plan(plan);
    digits.interval = "100ms, warmup: 0s";
    site.configure(&digits);
    let load = crate::support::load::Load::start(site.http, 8);
    site.verb_exits(0, &["status", "digits", "--timeout", "90s"])
        .await;
    load.stop().await.expect_clean();
}
