//! A journal that cannot be written, is damaged, or is gone.

use std::fs;
use std::path::Path;

use super::house::{House, Setup, ask, eventually, wait_until_free};

/// Makes every write to the journal fail, and every attempt to open it again.
fn block(state: &Path) {
    fs::rename(state.join("journal.db"), state.join("away")).unwrap();
    fs::create_dir(state.join("journal.db")).unwrap();
}

fn unblock(state: &Path) {
    fs::remove_dir(state.join("journal.db")).unwrap();
    fs::rename(state.join("away"), state.join("journal.db")).unwrap();
}

fn has_alarm(status: &serde_json::Value, kind: &str) -> bool {
    let alarms = status["alarms"].as_array().unwrap();
    alarms.iter().any(|alarm| alarm["kind"] == kind)
}

#[test]
fn while_it_fails_a_rollback_acts_and_nothing_is_raised() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    block(state.path());

    let refused = house.operate("promote", "");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(house.plane.share(), Some(0.05));
    let status = house.status();
    assert!(has_alarm(&status, "journal_failing"), "{status}");

    house.break_canary();
    let status = house.status();
    // It is said when it cannot be forgotten any more.
    assert_eq!(status["phase"], "Progressing", "{status}");
    assert_eq!(status["weight"]["actual"], 0.0);
    assert!(
        status["reason"]
            .as_str()
            .unwrap()
            .contains("not on disk yet")
    );
    assert_eq!(house.operate("retry", "").status, 409);
    assert_eq!(house.plane.share(), Some(0.0));
    // Nobody's traffic is taken away for it.
    let readiness = eventually("a remark", || {
        let readiness = ask(house.address(), "GET", "/readyz", &[], "");
        let is_told = readiness.body.contains("cannot be written");
        is_told.then_some(readiness)
    });
    assert_eq!(readiness.status, 200);

    unblock(state.path());
    let status = house.wait_for_phase("RolledBack");
    assert!(!has_alarm(&status, "journal_failing"), "{status}");
    drop(house);
    wait_until_free(state.path());
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.status()["phase"], "RolledBack");
}

#[test]
fn a_disk_that_hangs_delays_no_rollback() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    // Whoever holds the database's lock makes every write wait.
    let other = rusqlite::Connection::open(state.path().join("journal.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Also when the hanging disk is known, and tried again and again.
    assert_eq!(house.operate("promote", "").status, 409);
    house.wait_for("the alarm", |status| has_alarm(status, "journal_failing"));
    let took = house.break_canary();
    assert!(took <= 9, "{took} requests failed while writes hung");
    other.execute_batch("ROLLBACK").unwrap();
    let status = house.wait_for_phase("RolledBack");
    assert_eq!(status["weight"]["actual"], 0.0, "{status}");
}

#[test]
fn an_abort_acts_while_it_fails() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    block(state.path());
    assert_eq!(house.operate("abort", "").status, 200);
    assert_eq!(house.plane.share(), Some(0.0));
    unblock(state.path());
    house.wait_for_phase("Aborted");
}

#[test]
fn a_journal_deleted_under_us_is_written_anew_from_memory() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.operate("promote", "").status, 200);
    fs::remove_file(state.path().join("journal.db")).unwrap();
    eventually("written again", || {
        (house.operate("pause", "").status == 200).then_some(())
    });
    house.wait_for("mended", |status| !has_alarm(status, "journal_failing"));
    let epoch = house.plane.split("digits").unwrap().epoch;
    drop(house);
    wait_until_free(state.path());
    let house = House::start(state.path(), &Setup::default());
    assert_eq!(house.status()["phase"], "Paused");
    assert_eq!(house.plane.share(), Some(0.5));
    assert!(house.plane.split("digits").unwrap().epoch > epoch);
}

#[test]
fn a_folder_that_cannot_be_used_means_baseline_only() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "a file where the folder should be").unwrap();
    let house = House::start(&state, &Setup::default());
    assert_eq!(house.plane.share(), Some(0.0));
    let status = house.status();
    assert!(has_alarm(&status, "journal_failing"), "{status}");
    assert_eq!(house.operate("promote", "").status, 409);
    fs::remove_file(&state).unwrap();
    eventually("begun", || {
        (house.plane.share() == Some(0.05)).then_some(())
    });
}

#[test]
fn damage_is_reported_and_nothing_goes_on_from_an_old_state() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("deleted", |db| fs::remove_file(db).unwrap()),
        ("emptied", |db| fs::write(db, "").unwrap()),
        ("junk", |db| fs::write(db, [0xA5; 9_000]).unwrap()),
        ("truncated", |db| {
            let length = fs::metadata(db).unwrap().len();
            let file = fs::File::options().write(true).open(db).unwrap();
            file.set_len(length / 2).unwrap();
        }),
    ];
    for (what, damage) in damages {
        for rolled_back in [true, false] {
            let state = tempfile::tempdir().unwrap();
            let house = House::start(state.path(), &Setup::default());
            assert_eq!(house.operate("promote", "").status, 200);
            if rolled_back {
                house.break_canary();
                house.wait_for_phase("RolledBack");
            }
            let epoch = house.plane.split("digits").unwrap().epoch;
            house.stop();
            damage(&state.path().join("journal.db"));

            let house = House::start(state.path(), &Setup::default());
            let status = house.status();
            assert!(has_alarm(&status, "journal_damaged"), "{what}: {status}");
            assert!(house.plane.split("digits").unwrap().epoch > epoch, "{what}");
            if rolled_back {
                assert_eq!(status["phase"], "RolledBack", "{what}");
                assert_eq!(house.plane.share(), Some(0.0), "{what}");
                assert_eq!(house.operate("retry", "").status, 200, "{what}");
            } else if house.plane.share() == Some(0.0) {
                assert_eq!(status["phase"], "Paused", "{what}");
                assert_eq!(house.operate("resume", "").status, 200, "{what}");
            }
            assert!(house.plane.share() > Some(0.0), "{what}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_used_from_the_start_is_told_and_serves() {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join("journal.db")).unwrap();
    let house = House::start(state.path(), &Setup::default());
    let asked = |path| ask(house.address(), "GET", path, &[], "");
    let readiness = eventually("a remark", || {
        let readiness = asked("/readyz");
        let is_told = readiness.body.contains("nothing is decided");
        is_told.then_some(readiness)
    });
    assert_eq!(readiness.status, 200);
    let metrics = asked("/metrics").body;
    assert!(metrics.contains("serin_journal_failing 1"), "{metrics}");
}
