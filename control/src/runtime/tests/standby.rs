//! Two processes on one state folder: one decides.

use serin_stats::snapshot::{Arm, Outcome};

use super::house::{House, Setup, ask, eventually};

#[test]
fn a_second_process_follows_decides_nothing_and_takes_over() {
    let state = tempfile::tempdir().unwrap();
    let first = House::start(state.path(), &Setup::default());
    let second = House::start(state.path(), &Setup::default());
    eventually("followed", || {
        (second.plane.share() == Some(0.05)).then_some(())
    });
    let status = second.status();
    assert_eq!(status["alarms"][0]["kind"], "standby");
    for verb in ["promote", "abort", "pause", "retry"] {
        let refused = second.operate(verb, "");
        assert_eq!(refused.status, 409, "{verb}");
        assert!(refused.body.contains("standing by"), "{refused:?}");
    }
    // Errors that the second one sees move nothing.
    second.traffic(Arm::Canary, Outcome::Error, 50);
    assert_eq!(first.operate("promote", "").status, 200);
    eventually("followed on", || {
        (second.plane.share() == Some(0.5)).then_some(())
    });
    let probe = eventually("probe", || second.controller.probe_address());
    // It serves, so it is ready; and says that it does not decide.
    let readiness = eventually("a remark", || {
        let readiness = ask(probe, "GET", "/readyz", &[], "");
        readiness.body.contains("standing by").then_some(readiness)
    });
    assert_eq!(readiness.status, 200);
    let decisions = ask(
        second.address(),
        "GET",
        "/api/v1/rollouts/digits/decisions",
        &[],
        "",
    );
    assert!(!decisions.json().as_array().unwrap().is_empty());

    let epoch = first.plane.split("digits").unwrap().epoch;
    first.stop();
    eventually("taken over", || {
        (second.plane.split("digits")?.epoch > epoch).then_some(())
    });
    assert_eq!(second.plane.share(), Some(0.5));
    let status = second.wait_for("no alarm", |status| {
        status["alarms"].as_array().is_some_and(Vec::is_empty)
    });
    // What was measured while standing by belongs to nobody's evidence.
    assert_eq!(status["arms"]["canary"]["errors"], 0);
    assert_eq!(second.operate("abort", "").status, 200);
    assert_eq!(second.plane.share(), Some(0.0));
}

#[test]
fn a_rollback_by_the_one_that_decides_reaches_the_other() {
    let state = tempfile::tempdir().unwrap();
    let first = House::start(state.path(), &Setup::default());
    let second = House::start(state.path(), &Setup::default());
    eventually("followed", || {
        (second.plane.share() == Some(0.05)).then_some(())
    });
    first.break_canary();
    second.wait_for_phase("RolledBack");
    assert_eq!(second.plane.share(), Some(0.0));
}

#[test]
fn the_admin_port_is_waited_for() {
    let state = tempfile::tempdir().unwrap();
    let first = House::start(state.path(), &Setup::default());
    let address = first.address();
    let setup = Setup {
        admin: address.to_string(),
        ..Setup::default()
    };
    let second = House::start(state.path(), &setup);
    assert_eq!(second.controller.admin_address(), None);
    let probe = eventually("probe", || second.controller.probe_address());
    assert_eq!(ask(probe, "GET", "/readyz", &[], "").status, 200);
    first.stop();
    assert_eq!(second.address(), address);
    eventually("decides", || {
        (second.operate("pause", "").status == 200).then_some(())
    });
}
