//! What happens to a rollout while the process runs.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serin_stats::snapshot::{Arm, Outcome};

use super::house::{House, Setup, ask, eventually};
use crate::runtime::Reload;

#[test]
fn a_fresh_rollout_enters_its_first_step() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.plane.share(), Some(0.05));
    let status = house.wait_for_phase("Progressing");
    assert_eq!(status["step"]["index"], 0);
    assert_eq!(status["weight"]["actual"], 0.05);
    // Everything to baseline was in force before anything was raised.
    assert_eq!(
        house.plane.history().first().map(|split| split.1),
        Some(0.0)
    );
}

#[test]
fn a_canary_that_fails_everything_is_gone_after_a_few_requests() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let failed = house.break_canary();
    assert!(failed <= 12, "it took {failed} requests");
    let status = house.wait_for_phase("RolledBack");
    assert_eq!(status["weight"]["desired"], 0.0);
    assert_eq!(status["weight"]["actual"], 0.0);
    assert_eq!(status["recommendation"], "ROLLBACK_IMMEDIATELY");
    assert_eq!(status["arms"]["canary"]["errors"], failed);
    assert_eq!(status["breach"]["metric"], "error_rate");
    assert_eq!(status["guardrails"][0]["verdict"], "Failed");

    let list = ask(
        house.address(),
        "GET",
        "/api/v1/rollouts/digits/decisions",
        &[],
        "",
    )
    .json();
    let rollback = &list[0];
    assert_eq!(rollback["kind"], "transition", "{list}");
    assert!(
        rollback["summary"]
            .as_str()
            .unwrap()
            .starts_with("RolledBack: ")
    );
    let path = format!("/api/v1/rollouts/digits/decisions/{}", rollback["id"]);
    let decision = ask(house.address(), "GET", &path, &[], "").json();
    assert_eq!(
        decision["inputs"]["report"]["recommendation"],
        "ROLLBACK_IMMEDIATELY"
    );
    assert_eq!(decision["inputs"]["to"]["weight"], 0.0);
    assert!(decision["evidence"].is_object(), "{decision}");

    // What the canary still answers changes nothing that was judged.
    house.traffic(Arm::Canary, Outcome::Error, 5);
    house.operate("pause", "");
    assert_eq!(house.status()["arms"]["canary"]["errors"], failed);
    let metrics = ask(house.address(), "GET", "/metrics", &[], "").body;
    assert!(metrics.contains("serin_rollbacks_total{rollout=\"digits\",reason="));
    assert!(metrics.contains("serin_phase{rollout=\"digits\",phase=\"RolledBack\"} 1"));
}

#[test]
fn a_good_canary_ramps_up_to_the_end() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        plan: "steps: [{weight: 5%, min_duration: 50ms}, {weight: 50%, min_duration: 50ms}, {weight: 100%, min_duration: 50ms}]",
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    eventually("Healthy", || {
        house.traffic(Arm::Baseline, Outcome::Success, 20);
        house.traffic(Arm::Canary, Outcome::Success, 20);
        (house.status()["phase"] == "Healthy").then_some(())
    });
    assert_eq!(house.plane.share(), Some(1.0));
    let history = house.plane.history();
    assert!(history.is_sorted_by(|a, b| a.0 <= b.0), "{history:?}");
    let mut shares: Vec<f64> = history.iter().map(|split| split.1).collect();
    shares.dedup();
    assert_eq!(shares, [0.0, 0.05, 0.5, 1.0]);
}

#[test]
fn operators_move_it_and_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let reason = r#"{"reason":"looking"}"#;
    for (verb, body, status, phase, share) in [
        ("resume", "", 409, "Progressing", 0.05),
        ("retry", "", 409, "Progressing", 0.05),
        ("approve", "", 409, "Progressing", 0.05),
        ("pause", reason, 200, "Paused", 0.05),
        ("pause", "", 409, "Paused", 0.05),
        ("resume", "", 200, "Progressing", 0.05),
        ("promote", "", 200, "Progressing", 0.5),
        ("set-weight", r#"{"weight":"10%"}"#, 200, "Paused", 0.1),
        ("set-weight", r#"{"weight":10}"#, 400, "Paused", 0.1),
        ("set-weight", r#"{"weight":"120%"}"#, 400, "Paused", 0.1),
        ("promote", r#"{"full":true}"#, 200, "Healthy", 1.0),
        ("abort", reason, 200, "Aborted", 0.0),
        ("abort", "", 200, "Aborted", 0.0),
        ("promote", "", 409, "Aborted", 0.0),
        ("set-weight", r#"{"weight":"10%"}"#, 409, "Aborted", 0.0),
        ("retry", "", 200, "Progressing", 0.05),
    ] {
        let answer = house.operate(verb, body);
        assert_eq!(answer.status, status, "{verb} {body}: {answer:?}");
        let now = house.status();
        assert_eq!(now["phase"], phase, "{verb} {body}");
        assert_eq!(house.plane.share(), Some(share), "{verb} {body}");
        if status == 200 {
            assert_eq!(answer.json()["phase"], phase, "{verb} {body}");
        } else {
            let kind = answer.header("content-type");
            assert_eq!(kind, Some("application/problem+json"));
            assert_eq!(answer.json()["status"], status);
        }
    }
}

#[test]
fn guardrails_act_while_paused() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.operate("pause", "").status, 200);
    house.break_canary();
    house.wait_for_phase("RolledBack");
}

#[test]
fn a_reload_takes_all_routes_to_the_new_configuration_at_once() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let more = Setup {
        version: "3",
        more: r#"
  - name: second
    match: {path: /second}
    backends:
      baseline: {release: {v: "1"}, endpoints: ["http://127.0.0.1:9001"]}
      canary: {release: {v: "2"}, endpoints: ["http://127.0.0.1:9002"]}
    rollout: {weight: 20%, guardrails: [{error_rate: {max_increase: 1pp}}]}
"#,
        ..Setup::default()
    };
    let before = house.plane.split("digits").unwrap();
    house.controller.reload(Reload::Applied {
        config: more.config(state.path()),
        summary: "a new release and a new route".to_owned(),
    });
    eventually("the new route", || {
        (house.plane.split("second")?.share == 0.2).then_some(())
    });
    let after = house.wait_for("the new release", |status| {
        status["arms"]["canary"]["release"]["version"] == "3"
    });
    assert_eq!(after["weight"]["actual"], 0.05);
    assert!(house.plane.split("digits").unwrap().epoch > before.epoch);
    // The new release never ran under the former one's split.
    let splits = house.plane.history();
    assert!(splits.iter().any(|split| split.2 == "3"));
    assert!(
        splits
            .iter()
            .all(|split| (split.2 == "3") == (split.0 > before.epoch)),
        "{splits:?}"
    );

    house
        .controller
        .reload(Reload::Refused("line 3: expected a duration".to_owned()));
    let refused = house.wait_for("refused", |status| !status["config"]["refused"].is_null());
    assert_eq!(refused["config"]["refused"], "line 3: expected a duration");
    house.controller.reload(Reload::Applied {
        config: Setup {
            version: "3",
            ..Setup::default()
        }
        .config(state.path()),
        summary: "the second route is gone".to_owned(),
    });
    eventually("the route is gone", || {
        house.plane.split("second").is_none().then_some(())
    });
    assert!(house.status()["config"]["refused"].is_null());
    house.controller.reload(Reload::Unchanged);
    eventually("counted", || {
        let metrics = ask(house.address(), "GET", "/metrics", &[], "").body;
        ["applied\"} 2", "refused\"} 1", "unchanged\"} 1"]
            .iter()
            .all(|count| metrics.contains(count))
            .then_some(())
    });
}

#[test]
fn a_rolled_back_route_that_leaves_and_comes_back_is_still_rolled_back() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    house.break_canary();
    let apply = |config| {
        let summary = "edited".to_owned();
        house.controller.reload(Reload::Applied { config, summary });
    };
    let mut without = (*Setup::default().config(state.path())).clone();
    without.routes.clear();
    apply(Arc::new(without));
    eventually("gone", || {
        house.plane.split("digits").is_none().then_some(())
    });
    let answer = ask(house.address(), "GET", "/api/v1/rollouts/digits", &[], "");
    assert_eq!(answer.status, 404);
    apply(Setup::default().config(state.path()));
    let split = eventually("back", || house.plane.split("digits"));
    assert_eq!(split.share, 0.0);
    assert_eq!(house.status()["phase"], "RolledBack");
}

#[test]
fn a_hand_set_weight_follows_the_file_and_the_guardrails() {
    let state = tempfile::tempdir().unwrap();
    let by_hand = |plan| Setup {
        plan,
        ..Setup::default()
    };
    let house = House::start(state.path(), &by_hand("weight: 10%"));
    assert_eq!(house.plane.share(), Some(0.1));
    let edit = |plan| {
        house.controller.reload(Reload::Applied {
            config: by_hand(plan).config(state.path()),
            summary: "weight".to_owned(),
        });
    };
    edit("weight: 30%");
    eventually("30 %", || (house.plane.share() == Some(0.3)).then_some(()));
    house.break_canary();
    house.wait_for_phase("RolledBack");
    edit("weight: 40%");
    house.wait_for("the edit", |status| status["phase"] == "RolledBack");
    assert_eq!(house.plane.share(), Some(0.0));
}

#[test]
fn a_panic_leaves_the_last_split_and_is_told_by_readiness() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let probe = eventually("probe", || house.controller.probe_address());
    assert_eq!(ask(probe, "GET", "/readyz", &[], "").status, 200);
    house.plane.panics.store(true, SeqCst);
    house.traffic(Arm::Canary, Outcome::Error, 1);
    let answer = eventually("not ready", || {
        Some(ask(probe, "GET", "/readyz", &[], "")).filter(|answer| answer.status == 503)
    });
    assert!(
        answer.body.contains("the last split keeps serving"),
        "{answer:?}"
    );
    assert_eq!(ask(probe, "GET", "/livez", &[], "").status, 200);
    assert!(
        ask(probe, "GET", "/metrics", &[], "")
            .body
            .contains("serin_connections 7")
    );
    assert_eq!(
        ask(house.address(), "GET", "/api/v1/rollouts", &[], "").status,
        503
    );
    assert_eq!(house.plane.share(), Some(0.05));
}

#[test]
fn the_latency_reference_is_frozen_into_the_split() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    let epoch = house.plane.split("digits").unwrap().epoch;
    house.plane.latencies(Arm::Baseline, 1_200);
    let split = eventually("a reference", || {
        house
            .plane
            .split("digits")
            .filter(|split| split.reference.is_some())
    });
    assert!(split.epoch > epoch);
    assert_eq!(split.share, 0.05);
    assert!(Arc::strong_count(&split) > 1);
}

#[test]
fn a_minute_without_news_is_summed_up() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    house.traffic(Arm::Baseline, Outcome::Success, 20);
    house.wait_for("counts", |status| {
        status["arms"]["baseline"]["requests"] == 20
    });
    let summaries = || {
        let path = "/api/v1/rollouts/digits/decisions?limit=1000";
        let list = ask(house.address(), "GET", path, &[], "").json();
        let list = list.as_array().unwrap();
        list.iter().filter(|each| each["kind"] == "summary").count()
    };
    assert_eq!(summaries(), 0);
    house.ahead_ms.fetch_add(61_000, SeqCst);
    eventually("a summary", || (summaries() == 1).then_some(()));
}
