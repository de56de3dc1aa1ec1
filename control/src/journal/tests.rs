//! The journal as it should be used: what is written is read back, by this process, the next one and a
//! stand-by; and what happens when it cannot be written.

use super::*;

pub(super) const DAY_MS: u64 = 24 * 3_600_000;

pub(super) fn open(folder: &Path) -> Journal {
    let lock = StateLock::take(folder).unwrap().expect("free");
    Journal::open(&lock, 1_000).unwrap()
}

pub(super) fn entry(rollout: &str, epoch: u64, share: f64) -> Entry {
    Entry {
        row: TransitionRow {
            seq: 0,
            at_ms: 1_000 + epoch,
            rollout: rollout.to_owned(),
            digest: "d1".to_owned(),
            epoch,
            share,
            phase: "Progressing".to_owned(),
            cause: "judged".to_owned(),
            actor: "serin".to_owned(),
            reason: "min_duration and min_samples reached".to_owned(),
            event: "{}".to_owned(),
            state: format!(r#"{{"epoch":{epoch}}}"#),
        },
        latches: Vec::new(),
        evidence: None,
        decision: None,
    }
}

pub(super) fn rolled_back(rollout: &str, epoch: u64) -> Entry {
    let mut entry = entry(rollout, epoch, 0.0);
    entry.row.phase = "RolledBack".to_owned();
    entry.latches = vec![latch("d1")];
    entry.evidence = Some(vec![7; 5_000]);
    entry.decision = Some(decision("transition"));
    entry
}

pub(super) fn latch(digest: &str) -> Latch {
    Latch {
        digest: digest.to_owned(),
        since_ms: 1_000,
        phase: "RolledBack".to_owned(),
        reason: "error_rate".to_owned(),
    }
}

pub(super) fn decision(kind: &'static str) -> NewDecision {
    NewDecision {
        kind,
        recommendation: "ROLLBACK_IMMEDIATELY".to_owned(),
        summary: "error_rate: 9 of 9 failed".to_owned(),
        report: format!(r#"{{"pad":"{}"}}"#, "x".repeat(2_000)),
    }
}

pub(super) fn state(epoch: u64) -> Option<String> {
    Some(format!(r#"{{"epoch":{epoch}}}"#))
}

#[test]
fn what_was_recorded_is_recalled_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    assert_eq!(journal.damage(), None);
    assert_eq!(journal.recall("digits").unwrap(), Memory::default());
    journal.record(&entry("digits", 1, 0.05)).unwrap();
    journal.record(&rolled_back("digits", 2)).unwrap();
    journal.record(&entry("other", 1, 0.25)).unwrap();
    drop(journal);

    let journal = open(folder.path());
    assert_eq!(journal.damage(), None);
    let memory = journal.recall("digits").unwrap();
    assert_eq!(memory.state, state(2));
    assert_eq!(memory.epoch, 2);
    assert_eq!(memory.evidence, Some(vec![7; 5_000]));
    assert_eq!(memory.latches.len(), 1);
    assert_eq!(memory.latches[0].digest, "d1");
    assert!(!memory.lost);
    let heads = journal.decisions("digits", 10).unwrap();
    assert_eq!(heads.len(), 1);
    let row = journal.decision("digits", heads[0].id).unwrap().unwrap();
    assert_eq!(row.report, decision("transition").report);
    assert_eq!(row.evidence, Some(vec![7; 5_000]));
    assert_eq!(journal.decision("other", heads[0].id).unwrap(), None);
}

#[test]
fn a_retry_clears_only_its_own_release() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.record(&rolled_back("digits", 1)).unwrap();
    let mut second = rolled_back("digits", 2);
    second.row.digest = "d2".to_owned();
    second.latches.push(latch("d2"));
    journal.record(&second).unwrap();
    let mut retry = entry("digits", 3, 0.05);
    retry.latches = vec![latch("d2")];
    journal.record(&retry).unwrap();
    journal.settle().unwrap();
    drop(journal);

    let latches = open(folder.path()).recall("digits").unwrap().latches;
    assert_eq!(latches.len(), 1);
    assert_eq!(latches[0].digest, "d2");
    let marker = Marker::read(folder.path()).unwrap().unwrap();
    assert!(marker.latch("digits", "d1").is_none());
    assert!(marker.latch("digits", "d2").is_some());
}

#[test]
fn a_checkpoint_newer_than_the_last_transition_wins() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.record(&entry("digits", 1, 0.05)).unwrap();
    journal
        .checkpoint("digits", 5_000, r#"{"epoch":1,"dwelt":3}"#, b"one")
        .unwrap();
    let memory = journal.recall("digits").unwrap();
    assert_eq!(memory.state.as_deref(), Some(r#"{"epoch":1,"dwelt":3}"#));
    journal.record(&entry("digits", 2, 0.25)).unwrap();
    let memory = journal.recall("digits").unwrap();
    assert_eq!(memory.state, state(2));
    assert_eq!(memory.evidence.as_deref(), Some(&b"one"[..]));
}

#[test]
fn one_process_decides_and_another_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let lock = StateLock::take(folder.path()).unwrap().expect("free");
    let mut journal = Journal::open(&lock, 1_000).unwrap();
    assert!(StateLock::take(folder.path()).unwrap().is_none());
    assert_eq!(StateLock::holder(folder.path()), Some(std::process::id()));
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.recall("digits").unwrap(), Memory::default());
    journal.record(&rolled_back("digits", 4)).unwrap();
    assert_eq!(reader.recall("digits").unwrap().epoch, 4);
    assert_eq!(reader.decisions("digits", 5).unwrap().len(), 1);
    drop(lock);
    assert!(StateLock::take(folder.path()).unwrap().is_some());
}

#[test]
fn there_is_nothing_to_read_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Reader::open(folder.path()).is_err());
}

#[test]
fn retention_keeps_the_newest_state_of_every_rollout() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.record(&rolled_back("quiet", 1)).unwrap();
    for epoch in 1..=3 {
        journal.record(&entry("busy", epoch, 0.05)).unwrap();
        journal
            .decide("busy", epoch * DAY_MS, epoch, &decision("summary"), None)
            .unwrap();
    }
    journal.prune(32 * DAY_MS).unwrap();
    assert_eq!(journal.recall("quiet").unwrap().state, state(1));
    assert_eq!(journal.recall("quiet").unwrap().latches.len(), 1);
    assert_eq!(journal.recall("busy").unwrap().state, state(3));
    let rows: i64 = journal
        .connection
        .query_row("SELECT COUNT(*) FROM transitions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2);
    assert_eq!(journal.decisions("quiet", 10).unwrap(), vec![]);
    assert_eq!(journal.decisions("busy", 10).unwrap().len(), 2);
}

#[test]
fn retention_keeps_the_evidence_of_the_newest_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for epoch in 0..300 {
        journal
            .decide("busy", epoch, 1, &decision("verdict"), Some(b"evidence"))
            .unwrap();
    }
    journal.prune(1_000).unwrap();
    let with_evidence: i64 = journal
        .connection
        .query_row("SELECT COUNT(*) FROM decision_evidence", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(with_evidence, 256);
    assert_eq!(journal.decisions("busy", 1_000).unwrap().len(), 300);
}

#[test]
fn a_full_database_refuses_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.record(&entry("digits", 1, 0.05)).unwrap();
    let pages: i64 = journal
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    journal
        .connection
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    let mut large = rolled_back("digits", 2);
    large.evidence = Some(vec![1; 1 << 20]);
    let error = journal.record(&large).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(journal.recall("digits").unwrap().state, state(1));
    assert_eq!(journal.recall("digits").unwrap().latches, vec![]);
    journal
        .connection
        .pragma_update(None, "max_page_count", 1 << 30)
        .unwrap();
    journal.record(&large).unwrap();
    assert_eq!(journal.recall("digits").unwrap().state, state(2));
}

#[test]
fn a_database_deleted_under_us_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.record(&entry("digits", 1, 0.05)).unwrap();
    std::fs::remove_file(folder.path().join(DATABASE)).unwrap();
    assert!(journal.record(&entry("digits", 2, 0.25)).is_err());
    std::fs::write(folder.path().join(DATABASE), "").unwrap();
    let error = journal.record(&entry("digits", 2, 0.25)).unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[test]
fn a_marker_that_cannot_be_written_stays_behind_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let temporary = folder.path().join("latches.json.new");
    std::fs::create_dir(&temporary).unwrap();
    journal.record(&rolled_back("digits", 1)).unwrap();
    assert!(journal.settle().is_err());
    std::fs::remove_dir(&temporary).unwrap();
    journal.settle().unwrap();
    let marker = Marker::read(folder.path()).unwrap().unwrap();
    assert!(marker.latch("digits", "d1").is_some());
}

#[test]
fn a_folder_that_is_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::fs::write(&path, "").unwrap();
    let error = StateLock::take(&path).unwrap_err();
    assert!(error.to_string().starts_with("cannot create"), "{error}");
}
