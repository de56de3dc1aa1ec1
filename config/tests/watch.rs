//! The watcher over real files, changed the ways that editors, shells and Kubernetes change them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serin_config::diff::Part;
use serin_config::model::Plan;
use serin_config::watch::{Reload, Watcher};

/// An edit is in force within two seconds; a busy machine is given more.
const IN_FORCE: Duration = Duration::from_secs(10);

fn text(weight: &str) -> String {
    format!(
        "listen: 127.0.0.1:8080
routes:
  - name: digits
    backends:
      baseline: {{release: {{v: \"1\"}}, endpoints: [\"http://127.0.0.1:9001\"]}}
      canary: {{release: {{v: \"2\"}}, endpoints: [\"http://127.0.0.1:9002\"]}}
    rollout: {{weight: {weight}}}
"
    )
}

struct Watched {
    watcher: Watcher,
    reloads: Receiver<Reload>,
}

impl Watched {
    fn start(path: &Path) -> Self {
        let loaded = serin_config::load(path).unwrap_or_else(|errors| panic!("{errors}"));
        let (deliver, reloads) = channel();
        let deliver = move |reload| drop(deliver.send(reload));
        let watcher = Watcher::start(path, &loaded, deliver).unwrap();
        assert_eq!(watcher.polling_only(), None);
        Self { watcher, reloads }
    }

    fn next(&self) -> Reload {
        self.reloads
            .recv_timeout(IN_FORCE)
            .expect("a reload in time")
    }

    /// The next reload is an edit of the weight to this, and nothing else.
    fn expect_weight(&self, weight: f64) {
        let Reload::Applied(loaded, diff) = self.next() else {
            panic!("applied expected");
        };
        assert_eq!(diff.changed.len(), 1, "{diff}");
        assert_eq!(diff.changed[0].parts, [Part::Plan]);
        assert_eq!(*loaded.config, *self.watcher.current());
        assert_eq!(self.weight(), weight);
    }

    fn weight(&self) -> f64 {
        let config = self.watcher.current();
        match &config.routes[0].rollout.as_ref().unwrap().plan {
            Plan::Manual(weight) => *weight,
            Plan::Steps(_) => panic!("weight expected"),
        }
    }

    /// The answer to this question is the next thing that is delivered: nothing came of what was done before.
    fn expect_nothing_until_asked(&self) {
        self.watcher.trigger();
        assert!(matches!(self.next(), Reload::Unchanged));
    }
}

/// As vim and most tools write: a new file, renamed over the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn folder_with(weight: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, text(weight)).unwrap();
    (folder, path)
}

#[test]
fn a_rename_over_the_file_again_and_again() {
    let (_folder, path) = folder_with("10%");
    let watched = Watched::start(&path);
    for (weight, fraction) in [("20%", 0.2), ("30%", 0.3), ("40%", 0.4)] {
        replace(&path, &text(weight));
        watched.expect_weight(fraction);
    }
}

#[test]
fn the_file_written_in_place() {
    let (_folder, path) = folder_with("10%");
    let watched = Watched::start(&path);
    for (weight, fraction) in [("20%", 0.2), ("30%", 0.3)] {
        fs::write(&path, text(weight)).unwrap();
        watched.expect_weight(fraction);
    }
}

/// A slow writer: the empty and the half file in between are never seen.
#[test]
fn a_file_that_grows_is_read_when_it_is_whole() {
    use std::io::Write as _;
    let (_folder, path) = folder_with("10%");
    let watched = Watched::start(&path);
    let mut file = fs::File::create(&path).unwrap();
    let text = text("20%");
    let started = Instant::now();
    for piece in text.as_bytes().chunks(16) {
        file.write_all(piece).unwrap();
        file.sync_data().unwrap();
    }
    // Only a machine too slow to write this in a moment may have shown a half file.
    let slow = started.elapsed() > Duration::from_millis(80);
    while watched.weight() < 0.2 {
        match watched.next() {
            Reload::Applied(..) => {}
            Reload::Refused(errors) => assert!(slow, "{errors}"),
            Reload::Unchanged => panic!("an edit expected"),
        }
    }
}

/// Kubernetes: `serin.yaml → ..data/serin.yaml`, `..data → ..<time>`; an update renames a new `..data` over
/// the old one and removes the old folder.
#[test]
fn kubernetes_swaps_the_symlink() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let version = |name: &str, weight: &str| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("serin.yaml"), text(weight)).unwrap();
    };
    version("..1", "10%");
    symlink("..1", at("..data")).unwrap();
    symlink("..data/serin.yaml", at("serin.yaml")).unwrap();
    let watched = Watched::start(&at("serin.yaml"));
    for (old, new, weight, fraction) in [
        ("..1", "..2", "20%", 0.2),
        ("..2", "..3", "30%", 0.3),
        ("..3", "..4", "40%", 0.4),
    ] {
        version(new, weight);
        symlink(new, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(old)).unwrap();
        watched.expect_weight(fraction);
    }
}

/// The path is a symlink into another folder, whose file is edited.
#[test]
fn the_target_of_a_symlink_is_edited() {
    let (_folder, target) = folder_with("10%");
    let links = tempfile::tempdir().unwrap();
    let path = links.path().join("link.yaml");
    symlink(&target, &path).unwrap();
    let watched = Watched::start(&path);
    replace(&target, &text("20%"));
    watched.expect_weight(0.2);
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_mends_it() {
    let (_folder, path) = folder_with("10%");
    let watched = Watched::start(&path);

    replace(&path, &text("20"));
    let Reload::Refused(errors) = watched.next() else {
        panic!("refused expected");
    };
    assert!(
        errors
            .to_string()
            .contains("serin.yaml:7:23: routes[0].rollout.weight: found number 20")
    );
    assert_eq!(watched.weight(), 0.1);

    // Asked again, it is refused again.
    watched.watcher.trigger();
    assert!(matches!(watched.next(), Reload::Refused(_)));

    // Back to what is in force: said, because the refusal is over.
    replace(&path, &text("10%"));
    assert!(matches!(watched.next(), Reload::Unchanged));

    fs::remove_file(&path).unwrap();
    assert!(matches!(watched.next(), Reload::Refused(_)));
    assert_eq!(watched.weight(), 0.1);

    fs::write(&path, text("30%")).unwrap();
    watched.expect_weight(0.3);
}

#[test]
fn what_means_the_same_is_unchanged() {
    let (folder, path) = folder_with("10%");
    let watched = Watched::start(&path);

    // Another file in the folder, the same content again: not worth a word.
    fs::write(folder.path().join("other"), "x").unwrap();
    replace(&path, &text("10%"));
    watched.expect_nothing_until_asked();

    // Other content that means the same: said once.
    replace(&path, &format!("# a comment\n{}", text("10%")));
    assert!(matches!(watched.next(), Reload::Unchanged));
}

/// The secret stands in a folder nobody watches: noticed without any event.
#[test]
fn a_rotated_secret_is_a_change() {
    let (_folder, path) = folder_with("10%");
    let secrets = tempfile::tempdir().unwrap();
    let token = secrets.path().join("token");
    fs::write(&token, "one\n").unwrap();
    let admin = format!("admin: {{token_file: {}}}\n", token.display());
    fs::write(&path, admin + &text("10%")).unwrap();
    let watched = Watched::start(&path);
    let token_in_force = || watched.watcher.current().admin.token.clone().unwrap().0;
    assert_eq!(token_in_force(), b"one");
    replace(&token, "two\n");
    let Reload::Applied(_, diff) = watched.next() else {
        panic!("applied expected");
    };
    assert_eq!(diff.to_string(), "admin token changed");
    assert_eq!(token_in_force(), b"two");
}

#[test]
fn dropping_it_ends_its_thread() {
    let (_folder, path) = folder_with("10%");
    let watched = Watched::start(&path);
    let started = Instant::now();
    drop(watched.watcher);
    assert!(started.elapsed() < Duration::from_secs(1));
    // The callback is gone with its thread.
    assert!(
        watched
            .reloads
            .recv_timeout(Duration::ZERO)
            .is_err_and(|error| { error == std::sync::mpsc::RecvTimeoutError::Disconnected })
    );
}
