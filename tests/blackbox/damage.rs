//! A damaged journal: what was recorded as bad stays out, and the damage is shown.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::SOON;
use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

use crate::latch::RolledBack;

/// The files of the journal's database.
fn database(state: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("journal.db") && !name.contains("damaged")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no journal in the state folder");
    files
}

async fn expect_damage_is_shown(site: &Site) {
    site.admin()
        .status_when("the damage is shown", SOON, |status| {
            status["alarms"].as_array().is_some_and(|alarms| {
                alarms
                    .iter()
                    .any(|alarm| alarm["kind"] == "journal_damaged")
            })
        })
        .await;
}

/// Rolls back, damages the journal, starts again: the release must still be out.
async fn survives(damage: impl FnOnce(&Path), shown: bool) {
    let mut scene = RolledBack::reach("weight: 25%").await;
    let state = scene.site.path("state");
    let old = std::mem::replace(&mut scene.serin, Serin::spawn(&["--version"]));
    old.kill();
    damage(&state);
    scene.serin = scene.site.start().await;
    scene.expect_still_rolled_back().await;
    if shown {
        expect_damage_is_shown(&scene.site).await;
    }
    // It can be written again: a person's word is remembered.
    scene.site.verb_exits(0, &["retry", "digits"]).await;
    scene.site.admin().weight(0.25).await;
}

#[tokio::test]
async fn overwritten_from_end_to_end() {
    survives(
        |state| {
            for file in database(state) {
                let length = fs::metadata(&file).unwrap().len().max(4096);
                fs::write(&file, vec![0x5A; length as usize]).unwrap();
            }
        },
        true,
    )
    .await;
}

#[tokio::test]
async fn truncated_to_half() {
    survives(
        |state| {
            for file in database(state) {
                let length = fs::metadata(&file).unwrap().len();
                let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
                file.set_len(length / 2).unwrap();
            }
        },
        false,
    )
    .await;
}

#[tokio::test]
async fn emptied() {
    survives(
        |state| {
            for file in database(state) {
                fs::write(&file, b"").unwrap();
            }
        },
        true,
    )
    .await;
}

#[tokio::test]
async fn deleted() {
    survives(
        |state| {
            for file in database(state) {
                fs::remove_file(&file).unwrap();
            }
        },
        true,
    )
    .await;
}

#[tokio::test]
async fn a_damaged_journal_starts_on_baseline_only() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let plan = "steps: [{weight: 50%, min_duration: 10m}, {weight: 100%}]";
    site.configure(&Digits::new(baseline.address(), canary.address(), plan));
    let serin = site.start().await;
    site.admin().weight(0.5).await;
    serin.kill();
    // Everything in the state folder is garbage: what was known about the canary is lost.
    for entry in fs::read_dir(site.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let is_lock = path.file_name().is_some_and(|name| name == "lock");
        if path.is_file() && !is_lock {
            fs::write(&path, vec![0x5A; 8192]).unwrap();
        }
    }
    let _serin = site.start().await;
    expect_damage_is_shown(&site).await;
    let mut client = site.client(Version::Http1);
    for user in 0..200 {
        let reply = client.infer(&format!("user-{user}")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.arm()), (200, "baseline"));
    }
    assert_eq!(canary.requests(), 0);
    let kept = fs::read_dir(site.path("state")).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().contains("damaged")
    });
    assert!(kept, "the damaged journal is kept aside");
}

#[tokio::test]
async fn a_full_disk_never_keeps_a_bad_canary_alive() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let plan = "steps: [{weight: 25%, min_duration: 10m}, {weight: 100%}]";
    site.configure(&Digits::new(baseline.address(), canary.address(), plan));
    let config = site.config();
    let serin = Serin::spawn_on_small_disk(&["run", "-c", config.to_str().unwrap()]);
    let admin = site.admin();
    admin.weight(0.25).await;

    serin.fill_disk();
    canary.behave(Behaviour::BROKEN);
    let mut client = site.client(Version::Http1);
    let mut ask = async |users: std::ops::Range<usize>| {
        let mut failed = 0;
        for user in users {
            let reply = client.infer(&format!("user-{user}")).await.unwrap();
            failed += usize::from(reply.status != 200);
        }
        failed
    };
    let failed = ask(0..400).await;
    assert!((5..=40).contains(&failed), "{failed} requests failed");
    assert_eq!(ask(400..700).await, 0, "the canary is still there");
    let status = admin
        .status_when("the trouble is shown", SOON, |status| {
            status["alarms"].as_array().is_some_and(|alarms| {
                alarms
                    .iter()
                    .any(|alarm| alarm["kind"] == "journal_failing")
            })
        })
        .await;
    assert_eq!(crate::support::admin::actual(&status), 0.0);
    assert_ne!(status["phase"], "RolledBack", "it is not on disk yet");

    serin.free_disk();
    admin.phase("RolledBack").await;
    serin.kill();
    let _serin = site.start().await;
    admin.phase("RolledBack").await;
    assert_eq!(ask(700..900).await, 0);
}
