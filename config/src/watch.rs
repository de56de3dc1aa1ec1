//! Notices that the configuration file changed, reads it again, and keeps the last good one.
//!
//! **Folders, not files.** Kubernetes swaps a symlink beside the file and editors replace the file by a rename;
//! a watch on the file itself goes blind after the first of either. So the folder of the path is watched, and
//! the folder its target is in now; likewise for the tokens and certificates that the file names. Events are only a
//! nudge: what counts is the content's [`Fingerprint`], over the file and the secrets it names, which is also compared
//! every second, for file systems without events.
//!
//! **Half-written files.** A change is read once the content has stood still for a moment; a person who asks
//! ([`Watcher::trigger`], on SIGHUP) is answered at once, also when nothing changed.
//!
//! It does not decide what a change means: the callback gets it, on the watcher's own thread.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::diagnostic::Diagnostics;
use crate::diff::Diff;
use crate::load::{self, Fingerprint, Loaded};
use crate::model::Config;

/// How long content must stand still before it is read.
const QUIET: Duration = Duration::from_millis(100);
/// How often content that never stands still is given another chance, before it is read anyhow.
const RESTLESS: u32 = 8;
/// How often content is compared without any event.
const POLL: Duration = Duration::from_secs(1);

/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of a look at the file.
#[derive(Clone, Debug)]
pub enum Reload {
    /// Another configuration, now in force, and how it differs from the one before.
    Applied(Loaded, Diff),
    /// The file says what is in force already.
    Unchanged,
    /// The file is broken; what is in force stays.
    Refused(Diagnostics),
}

/// Watches one configuration file until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    polling_only: Option<String>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Config>,
    /// Somebody wants an answer, changed or not.
    asked: AtomicBool,
    stopping: AtomicBool,
    /// Holds one wake-up; more say nothing new.
    bell: SyncSender<()>,
}

impl Shared {
    fn ring(&self) {
        // Full: a wake-up is waiting already. Gone: so is the thread.
        let _ = self.bell.try_send(());
    }
}

impl Watcher {
    /// Watches the file that `loaded` came from.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        path: &Path,
        loaded: &Loaded,
        deliver: impl FnMut(Reload) + Send + 'static,
    ) -> io::Result<Self> {
        let (bell, wakes) = sync_channel(1);
        let shared = Arc::new(Shared {
            current: ArcSwap::new(Arc::clone(&loaded.config)),
            asked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            bell,
        });
        let (folders, polling_only) = match Folders::new(Arc::clone(&shared)) {
            Ok(folders) => (Some(folders), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut watch = Watch {
            path: path.to_owned(),
            files: loaded.files.clone(),
            seen: loaded.fingerprint,
            shared: Arc::clone(&shared),
            wakes,
            folders,
            deliver,
        };
        let thread = std::thread::Builder::new()
            .name("serin-config".to_owned())
            .spawn(move || watch.run())?;
        let thread = Some(thread);
        Ok(Self {
            shared,
            thread,
            polling_only,
        })
    }

    /// Reads the file at once and delivers the outcome, also [`Reload::Unchanged`].
    pub fn trigger(&self) {
        self.shared.asked.store(true, Ordering::Release);
        self.shared.ring();
    }

    /// The last good configuration.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        self.shared.current.load_full()
    }

    /// Why there are no file events, if there are none: a change is then noticed within a second or two.
    #[must_use]
    pub fn polling_only(&self) -> Option<&str> {
        self.polling_only.as_deref()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.ring();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // It may be reading a file that never ends: whoever stops does not wait for that.
            let latest = Instant::now() + PATIENCE;
            while !thread.is_finished() && Instant::now() < latest {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // It has nothing to say any more, not even that it panicked.
                let _ = thread.join();
            }
        }
    }
}

/// The thread's own.
struct Watch<D> {
    path: PathBuf,
    /// The secrets that the file named when it was last read.
    files: Vec<PathBuf>,
    /// The content that was last read, good or bad.
    seen: Fingerprint,
    shared: Arc<Shared>,
    wakes: Receiver<()>,
    folders: Option<Folders>,
    deliver: D,
}

impl<D: FnMut(Reload)> Watch<D> {
    /// Folders first, then the content, then the wait: so no change can slip between them.
    fn run(&mut self) {
        loop {
            if let Some(folders) = &mut self.folders {
                folders.follow(std::iter::once(&self.path).chain(&self.files));
            }
            let changed = self.fingerprint() != self.seen && self.settled() != self.seen;
            if self.shared.stopping.load(Ordering::Acquire) {
                return;
            }
            if self.shared.asked.swap(false, Ordering::AcqRel) || changed {
                self.reload();
                continue;
            }
            if let Err(RecvTimeoutError::Disconnected) = self.wakes.recv_timeout(POLL) {
                return;
            }
        }
    }

    fn reload(&mut self) {
        let attempt = load::attempt(&self.path);
        self.files = attempt.files;
        self.seen = attempt.fingerprint;
        let reload = match attempt.outcome {
            Err(errors) => Reload::Refused(errors),
            Ok(loaded) => {
                let old = self.shared.current.load_full();
                if *old == *loaded.config {
                    Reload::Unchanged
                } else {
                    let diff = Diff::between(&old, &loaded.config);
                    self.shared.current.store(Arc::clone(&loaded.config));
                    Reload::Applied(loaded, diff)
                }
            }
        };
        (self.deliver)(reload);
    }

    /// The content once it has stood still, or after enough patience, or when somebody asks.
    fn settled(&self) -> Fingerprint {
        let mut last = self.fingerprint();
        for _ in 0..RESTLESS {
            if self.interrupted_within(QUIET) {
                break;
            }
            let now = self.fingerprint();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    fn interrupted_within(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let interrupted = || {
            self.shared.asked.load(Ordering::Acquire)
                || self.shared.stopping.load(Ordering::Acquire)
        };
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if interrupted() || self.wakes.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
            {
                break;
            }
        }
        interrupted()
    }

    fn fingerprint(&self) -> Fingerprint {
        let files = self.files.iter().map(PathBuf::as_path);
        Fingerprint::of(std::iter::once(self.path.as_path()).chain(files))
    }
}

/// The folders in which a change of the file would show.
struct Folders {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(shared: Arc<Shared>) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| matters(event.kind)) {
                shared.ring();
            }
        })?;
        let watched = BTreeSet::new();
        Ok(Self { watcher, watched })
    }

    /// Watches each path's folder and its target's. A folder that can't be watched is left to the polling.
    fn follow<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) {
        let folder = |path: &Path| match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let wanted: BTreeSet<PathBuf> = paths
            .flat_map(|path| {
                let target = std::fs::canonicalize(path).ok();
                [Some(folder(path)), target.map(|target| folder(&target))]
            })
            .flatten()
            .collect();
        for gone in self.watched.difference(&wanted) {
            // The kernel drops the watch of a folder that was removed.
            let _ = self.watcher.unwatch(gone);
        }
        let watcher = &mut self.watcher;
        let watched = &self.watched;
        self.watched = wanted
            .into_iter()
            .filter(|new| {
                watched.contains(new) || watcher.watch(new, RecursiveMode::NonRecursive).is_ok()
            })
            .collect();
    }
}

/// Whether content may have changed. Opening and reading are events too: ours would wake us for ever.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
