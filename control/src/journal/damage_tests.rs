//! Real damage to real files. Whatever is done to the journal, opening it does not fail, a recorded rollback
//! is still in force, nothing goes on from a state that is not the newest, and the loss is reported.

use std::fs;

use super::tests::{decision, entry, open, rolled_back, state};
use super::*;

/// A folder with some history: `good` at 25 %, `bad` rolled back. With the log left uncheckpointed, as after
/// kill -9, when `killed`.
fn history(killed: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for epoch in 1..=20 {
        journal.record(&entry("good", epoch, 0.05)).unwrap();
        journal.record(&entry("bad", epoch, 0.05)).unwrap();
        journal
            .decide("good", epoch, epoch, &decision("summary"), None)
            .unwrap();
    }
    journal.record(&entry("good", 21, 0.25)).unwrap();
    journal.record(&rolled_back("bad", 21)).unwrap();
    journal.settle().unwrap();
    if !killed {
        return folder;
    }
    // Copied while open: what a killed process leaves behind.
    let left = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal", "latches.json"] {
        fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    left
}

/// Opens a damaged folder twice and checks what must hold after any damage. Returns the first damage report.
fn check(folder: &Path, what: &str) -> Option<Damage> {
    let journal = open(folder);
    let damage = journal.damage().cloned();
    for rollout in ["good", "bad"] {
        let memory = journal.recall(rollout).unwrap();
        if memory.state != state(21) {
            assert!(memory.lost, "{what}: {rollout} goes on from an old state");
            assert!(damage.is_some(), "{what}: the loss is not reported");
        }
        assert!(memory.lost || memory.epoch >= 21, "{what}: epochs restart");
    }
    let latches = journal.recall("bad").unwrap().latches;
    assert_eq!(latches.len(), 1, "{what}: the rollback is forgotten");
    assert_eq!(latches[0].digest, "d1", "{what}");
    assert_eq!(journal.recall("good").unwrap().latches, vec![], "{what}");
    if let Some(kept) = damage.as_ref().and_then(|damage| damage.kept.as_ref()) {
        assert!(kept.exists(), "{what}: nothing was kept aside");
    }
    drop(journal);

    let mut again = open(folder);
    assert_eq!(again.damage(), None, "{what}: the damage came back");
    assert_eq!(again.recall("bad").unwrap().latches.len(), 1, "{what}");
    again.record(&entry("good", 30, 0.0)).unwrap();
    assert!(!again.recall("good").unwrap().lost, "{what}");
    damage
}

#[test]
fn no_damage_is_no_damage() {
    for killed in [false, true] {
        let folder = history(killed);
        assert_eq!(check(folder.path(), "untouched"), None);
    }
}

#[test]
fn truncated_at_many_offsets() {
    for (file, killed) in [
        ("journal.db", false),
        ("journal.db", true),
        ("journal.db-wal", true),
    ] {
        let length = fs::metadata(history(killed).path().join(file))
            .unwrap()
            .len();
        let mut offset = 0;
        while offset < length {
            let folder = history(killed);
            fs::File::options()
                .write(true)
                .open(folder.path().join(file))
                .unwrap()
                .set_len(offset)
                .unwrap();
            check(folder.path(), &format!("{file} cut at {offset}"));
            offset += length / 24 + 17;
        }
    }
}

#[test]
fn overwritten_with_junk_page_by_page() {
    for (file, killed) in [("journal.db", false), ("journal.db-wal", true)] {
        let length = fs::metadata(history(killed).path().join(file))
            .unwrap()
            .len();
        let step = (length / 24).next_multiple_of(512);
        for offset in (0..length).step_by(usize::try_from(step).unwrap()) {
            let folder = history(killed);
            overwrite(&folder.path().join(file), offset, &junk(offset, 4_096));
            check(folder.path(), &format!("{file}: junk at {offset}"));
        }
    }
}

#[test]
fn single_bits_flipped() {
    let length = fs::metadata(history(false).path().join("journal.db"))
        .unwrap()
        .len();
    // From behind the header: a flipped bit there can only be read as another format.
    for offset in (100..length).step_by(usize::try_from(length / 40).unwrap()) {
        let folder = history(false);
        let path = folder.path().join("journal.db");
        let byte = fs::read(&path).unwrap()[usize::try_from(offset).unwrap()];
        overwrite(&path, offset, &[byte ^ 0x10]);
        check(folder.path(), &format!("bit flipped at {offset}"));
    }
}

#[test]
fn deleted_emptied_or_replaced() {
    let folder = history(false);
    fs::remove_file(folder.path().join("journal.db")).unwrap();
    let damage = check(folder.path(), "deleted").unwrap();
    assert!(damage.message.contains("missing"), "{damage:?}");

    let folder = history(false);
    fs::write(folder.path().join("journal.db"), "").unwrap();
    let damage = check(folder.path(), "emptied").unwrap();
    assert!(damage.kept.is_some());

    let folder = history(false);
    fs::write(folder.path().join("journal.db"), "these are not the rows").unwrap();
    let damage = check(folder.path(), "replaced").unwrap();
    assert!(damage.message.contains("not a database"), "{damage:?}");
}

#[test]
fn an_older_copy_put_back_is_noticed() {
    let old = tempfile::tempdir().unwrap();
    let mut journal = open(old.path());
    journal.record(&entry("good", 3, 0.5)).unwrap();
    journal.record(&entry("bad", 3, 0.5)).unwrap();
    drop(journal);
    let folder = history(false);
    fs::copy(
        old.path().join("journal.db"),
        folder.path().join("journal.db"),
    )
    .unwrap();
    let damage = check(folder.path(), "older copy").unwrap();
    assert!(damage.message.contains("bad, good"), "{damage:?}");
}

#[test]
fn without_a_marker_nothing_recovered_is_trusted() {
    let folder = history(false);
    fs::remove_file(folder.path().join("latches.json")).unwrap();
    let path = folder.path().join("journal.db");
    let middle = fs::metadata(&path).unwrap().len() / 2 / 4_096 * 4_096;
    overwrite(&path, middle, &junk(1, 4_096));
    let journal = open(folder.path());
    assert!(journal.damage().is_some());
    assert!(journal.recall("good").unwrap().lost);
    assert!(journal.recall("bad").unwrap().lost);
}

#[test]
fn a_broken_marker_is_written_anew() {
    for text in ["", "{", r#"{"version":9,"rollouts":{}}"#] {
        let folder = history(false);
        fs::write(folder.path().join("latches.json"), text).unwrap();
        let damage = check(folder.path(), "broken marker").unwrap();
        assert!(damage.message.starts_with("latches.json"), "{damage:?}");
        let marker = Marker::read(folder.path()).unwrap().unwrap();
        assert!(marker.latch("bad", "d1").is_some());
    }
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = history(false);
    let connection = Connection::open(folder.path().join("journal.db")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let lock = StateLock::take(folder.path()).unwrap().unwrap();
    let error = Journal::open(&lock, 1).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    assert!(folder.path().join("journal.db").exists());
}

#[test]
fn damaged_files_do_not_pile_up() {
    let folder = history(false);
    for round in 0..10 {
        fs::write(folder.path().join("journal.db"), "junk").unwrap();
        let lock = StateLock::take(folder.path()).unwrap().unwrap();
        drop(Journal::open(&lock, 1_000 + round).unwrap());
    }
    let kept = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.contains("damaged"))
        .count();
    assert_eq!(kept, 4);
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().write(true).open(path).unwrap();
    let room = file.metadata().unwrap().len() - offset;
    let end = bytes.len().min(usize::try_from(room).unwrap());
    file.write_all_at(&bytes[..end], offset).unwrap();
}

/// The same bytes for the same seed.
fn junk(seed: u64, length: usize) -> Vec<u8> {
    let mut word = seed | 1;
    (0..length)
        .map(|_| {
            word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (word >> 56) as u8
        })
        .collect()
}
