//! A journal that is being opened again, on a thread of its own: a disk that hangs keeps that thread, and nobody else.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::journal::{Journal, StateLock};

/// The journal's opening, under way.
#[derive(Debug)]
pub(super) struct Mending(Receiver<Result<Journal, String>>);

impl Mending {
    /// Starts the thread; the lock is held for as long as it runs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(lock: Arc<StateLock>, now_ms: u64) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("serin-mend".to_owned())
            .spawn(move || {
                let opened = Journal::open(&lock, now_ms).map_err(|error| error.to_string());
                // The control loop may have ended; the journal is closed before the lock is given back.
                _ = sender.send(opened);
                drop(lock);
            })?;
        Ok(Self(receiver))
    }

    /// What came of it, if that is known within this time.
    pub(super) fn opened(&mut self, patience: Duration) -> Option<Result<Journal, String>> {
        match self.0.recv_timeout(patience) {
            Ok(opened) => Some(opened),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err("the thread that opens the journal has ended".to_owned()))
            }
        }
    }
}
