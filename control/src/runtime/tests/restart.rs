//! What survives the end of the process, however it ends.

use std::path::Path;

use serin_stats::snapshot::{Arm, Outcome};

use super::house::{House, Setup, eventually, wait_until_free};
use crate::runtime::Reload;

/// Ends a process without any last words, as kill -9 does.
fn kill(house: House, state: &Path) {
    drop(house);
    wait_until_free(state);
}

#[test]
fn a_rollback_survives_kill_reload_and_the_way_back_to_an_old_release() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let failed = house.break_canary();
    house.wait_for_phase("RolledBack");
    let epoch = house.plane.split("digits").unwrap().epoch;
    kill(house, state.path());

    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.plane.share(), Some(0.0));
    assert!(house.plane.split("digits").unwrap().epoch > epoch);
    let status = house.status();
    assert_eq!(status["phase"], "RolledBack");
    let errors = house.wait_for("judged numbers", |status| {
        status["arms"]["canary"]["errors"] == failed
    });
    assert_eq!(errors["breach"]["metric"], "error_rate");
    for _ in 0..100 {
        house.controller.reload(Reload::Applied {
            config: Setup::default().config(state.path()),
            summary: "the same".to_owned(),
        });
        house.status();
    }
    assert_eq!(house.status()["phase"], "RolledBack");

    let third = Setup {
        version: "3",
        ..Setup::default()
    };
    house.controller.reload(Reload::Applied {
        config: third.config(state.path()),
        summary: "a new release".to_owned(),
    });
    eventually("the new release", || {
        (house.plane.share() == Some(0.05)).then_some(())
    });
    kill(house, state.path());

    // Back to the release that was rolled back.
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.status()["phase"], "RolledBack");
    assert_eq!(house.plane.share(), Some(0.0));
    assert_eq!(house.operate("promote", "").status, 409);
    assert_eq!(
        house
            .operate("retry", r#"{"reason":"fixed the server"}"#)
            .status,
        200
    );
    assert_eq!(house.plane.share(), Some(0.05));
    kill(house, state.path());

    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.status()["phase"], "Progressing");
}

#[test]
fn evidence_survives_a_stop() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    house.traffic(Arm::Baseline, Outcome::Success, 300);
    house.traffic(Arm::Baseline, Outcome::Error, 3);
    house.traffic(Arm::Canary, Outcome::Success, 40);
    house.traffic(Arm::Canary, Outcome::Rejected, 2);
    let counted = |status: &serde_json::Value| {
        status["arms"]["baseline"]["requests"] == 303 && status["arms"]["canary"]["requests"] == 42
    };
    house.wait_for("counts", counted);
    house.stop();
    wait_until_free(state.path());

    let house = House::start(state.path(), &setup);
    let status = house.wait_for("the same counts", counted);
    assert_eq!(status["arms"]["canary"]["rejected"], 2);
    assert_eq!(status["phase"], "Progressing");
    house.traffic(Arm::Canary, Outcome::Success, 8);
    house.wait_for("counted on", |status| {
        status["arms"]["canary"]["requests"] == 50
    });
}

#[test]
fn positions_overrides_and_approvals_survive() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.operate("promote", "").status, 200);
    assert_eq!(house.operate("pause", "").status, 200);
    kill(house, state.path());
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.status()["phase"], "Paused");
    assert_eq!(house.plane.share(), Some(0.5));
    assert_eq!(
        house.operate("set-weight", r#"{"weight":"7%"}"#).status,
        200
    );
    kill(house, state.path());
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.plane.share(), Some(0.07));
    assert_eq!(house.status()["step"]["index"], 1);
}

#[test]
fn a_plan_edited_while_the_process_was_down_is_followed() {
    let state = tempfile::tempdir().unwrap();
    let by_hand = |plan| Setup {
        plan,
        ..Setup::default()
    };
    let house = House::start(state.path(), &by_hand("weight: 30%"));
    assert_eq!(house.plane.share(), Some(0.3));
    kill(house, state.path());
    let house = House::start(state.path(), &by_hand("weight: 10%"));
    assert_eq!(house.plane.share(), Some(0.1));
}
