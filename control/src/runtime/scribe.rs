//! The thread that writes the journal, so that a slow disk never keeps the control loop from its next look.
//!
//! A write returns when it is on disk, and on a busy or networked disk that can take seconds. What nothing
//! waits for (verdicts, summaries, checkpoints, forgetting) is [posted](Scribe::post); what must be known to be
//! on disk (a transition) is [asked](Scribe::ask) for, for as long as [`PATIENCE`], or a tenth of it while the
//! journal fails. All of it happens in the
//! order in which it was handed over. A disk that hangs counts as a journal that cannot be written: lowering
//! exposure has acted before it is written down, so a bad canary is gone all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::journal::{Journal, JournalError};

/// For a write that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The same while the journal fails: it is tried again every second, and looks must fit in between.
pub(super) const LITTLE_PATIENCE: Duration = Duration::from_millis(200);
/// Writes that may wait for their turn; what is posted beyond that is lost, and said to be.
const MOST_WAITING: usize = 256;

/// The journal in the hands of its own thread. Dropping it waits for what was handed over, unless the disk
/// hangs.
#[derive(Debug)]
pub(super) struct Scribe {
    jobs: Option<SyncSender<Job>>,
    /// Handed over and not done.
    waiting: Arc<AtomicUsize>,
    reports: Receiver<Posted>,
    reporter: Sender<Posted>,
    /// A write that was waited for did not come back in time.
    is_stuck: bool,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&mut Journal) + Send>;

/// How something that was posted went.
#[derive(Debug)]
pub(super) struct Posted {
    /// The rollout whose checkpoint it was, if it was one.
    pub(super) checkpoint: Option<String>,
    /// Whether it is on disk.
    pub(super) written: Result<(), String>,
}

impl Scribe {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(journal: Journal) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(MOST_WAITING);
        let (reporter, reports) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("serin-journal".to_owned())
            .spawn(move || {
                let mut journal = journal;
                for job in queue {
                    job(&mut journal);
                    left.fetch_sub(1, Ordering::AcqRel);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            waiting,
            reports,
            reporter,
            is_stuck: false,
            thread: Some(thread),
        })
    }

    /// Does something with the journal and waits for it.
    ///
    /// # Errors
    /// What the journal said, or that the disk hangs: then it may or may not happen later.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        patience: Duration,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, String> {
        if self.hangs() {
            return Err(hanging(patience));
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.hand_over(Box::new(move |journal| {
            // Who asked may have given up.
            _ = answer.send(perform(journal, work));
        }))?;
        match answered.recv_timeout(patience) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => {
                self.is_stuck = true;
                Err(hanging(patience))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// Has something written that nothing waits for; [`reports`](Self::reports) tells how it went.
    pub(super) fn post(
        &self,
        checkpoint: Option<String>,
        work: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) {
        let (reporter, rollout) = (self.reporter.clone(), checkpoint.clone());
        let handed_over = self.hand_over(Box::new(move |journal| {
            // The control loop may have ended.
            _ = reporter.send(Posted {
                checkpoint: rollout,
                written: perform(journal, work),
            });
        }));
        if let Err(why) = handed_over {
            _ = self.reporter.send(Posted {
                checkpoint,
                written: Err(why),
            });
        }
    }

    /// How what was posted went, since the last time.
    pub(super) fn reports(&self) -> Vec<Posted> {
        self.reports.try_iter().collect()
    }

    /// Whether a write that was given up on is still under way.
    pub(super) fn hangs(&mut self) -> bool {
        self.is_stuck &= self.waiting.load(Ordering::Acquire) > 0;
        self.is_stuck
    }

    fn hand_over(&self, job: Job) -> Result<(), String> {
        let Some(jobs) = &self.jobs else {
            return Err(ended());
        };
        self.waiting.fetch_add(1, Ordering::AcqRel);
        jobs.try_send(job).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            hanging(PATIENCE)
        })
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.jobs = None;
        let hangs = self.hangs();
        if let Some(thread) = self.thread.take().filter(|_| !hangs)
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn perform<T>(
    journal: &mut Journal,
    work: impl FnOnce(&mut Journal) -> Result<T, JournalError>,
) -> Result<T, String> {
    let done = work(journal).map_err(|error| error.to_string())?;
    // The marker may lag behind; that is no reason to undo what is on disk.
    if let Err(error) = journal.settle() {
        tracing::warn!(%error, "the marker is behind the journal");
    }
    Ok(done)
}

fn hanging(patience: Duration) -> String {
    format!("the disk has not answered within {patience:?}")
}

fn ended() -> String {
    "its thread has ended".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::StateLock;

    fn journal(folder: &std::path::Path) -> (StateLock, Journal) {
        let lock = StateLock::take(folder).unwrap().unwrap();
        let journal = Journal::open(&lock, 1).unwrap();
        (lock, journal)
    }

    /// Keeps the thread busy until the sender is dropped.
    fn hang(scribe: &Scribe) -> Sender<()> {
        let (hold, held) = mpsc::channel::<()>();
        scribe.post(None, move |_| {
            _ = held.recv();
            Ok(())
        });
        hold
    }

    #[test]
    fn what_is_posted_is_waited_for_by_nobody_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (_lock, journal) = journal(folder.path());
        let mut scribe = Scribe::start(journal).unwrap();
        let hold = hang(&scribe);
        scribe.post(Some("digits".to_owned()), |_| Ok(()));
        assert!(scribe.reports().is_empty());
        drop(hold);
        assert_eq!(
            scribe.ask(PATIENCE, |_| Ok(7)),
            Ok(7),
            "in the order handed over"
        );
        let reports = scribe.reports();
        assert_eq!(reports.len(), 2);
        assert!(reports.iter().all(|posted| posted.written.is_ok()));
        assert_eq!(reports[1].checkpoint.as_deref(), Some("digits"));
    }

    #[test]
    fn a_disk_that_hangs_is_waited_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let (_lock, journal) = journal(folder.path());
        let mut scribe = Scribe::start(journal).unwrap();
        let hold = hang(&scribe);
        assert!(scribe.ask(PATIENCE, |_| Ok(())).is_err());
        assert!(scribe.hangs());
        let again = std::time::Instant::now();
        assert!(scribe.ask(PATIENCE, |_| Ok(())).is_err());
        assert!(again.elapsed() < PATIENCE, "the second time it is known");
        for _ in 0..2 * MOST_WAITING {
            scribe.post(None, |_| Ok(()));
        }
        assert!(
            scribe
                .reports()
                .iter()
                .any(|posted| posted.written.is_err())
        );
        drop(hold);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while scribe.hangs() {
            assert!(std::time::Instant::now() < deadline, "it hangs on");
            std::thread::yield_now();
        }
        assert_eq!(scribe.ask(PATIENCE, |_| Ok(())), Ok(()));
    }
}
