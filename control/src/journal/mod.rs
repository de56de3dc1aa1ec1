//! What is remembered across restarts, in the `state:` folder.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | held by the one process that decides for this folder |
//! | `journal.db` | every transition with the whole state after it, decisions with their inputs, evidence |
//! | `latches.json` | the rollbacks in force and every rollout's last epoch, a second time |
//! | `journal.db.damaged-<ms>` | journals that could not be read in full, for a person to look at |
//!
//! The journal stores text and bytes and does not know what they mean. It is written by one thread
//! only, and a write returns when it is on disk (WAL, `synchronous=FULL`). It decides nothing: a failed write
//! is an error that the control loop turns into frozen step-ups.
//!
//! Every row bears a checksum, because SQLite notices a torn page but not a page full of plausible junk. The
//! marker file exists because a rollback must outlive the loss of the journal; it also tells after a loss
//! whether the newest recovered state of a rollout really was its newest ([`Memory::lost`]).

mod lock;
mod marker;
mod read;
mod recovery;
mod schema;
mod seal;
mod write;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use lock::StateLock;
pub use marker::{Latch, Marker, RolloutMark};
pub use read::{DecisionHead, DecisionRow, Memory, Reader, TransitionRow};
pub use recovery::Damage;
use write::FileId;
pub use write::{Entry, NewDecision};

/// File name of the database.
pub(crate) const DATABASE: &str = "journal.db";

/// Why the journal could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refused.
    #[error("cannot {doing}: {source}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl JournalError {
    /// Wraps an SQLite error; made for `map_err`.
    fn database(doing: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    /// Wraps a file error; made for `map_err`.
    fn file(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::File {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// An open journal. Whoever writes it holds the folder's [`StateLock`].
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    folder: PathBuf,
    marker: Marker,
    marker_stale: bool,
    /// The marker as it was found: what the database has to live up to.
    witness: Option<Marker>,
    damage: Option<Damage>,
    identity: Option<FileId>,
}

impl Journal {
    /// Opens, or creates, the journal in a locked folder. A damaged one is set aside and what can be read of
    /// it is carried over; [`damage`](Self::damage) says so.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(lock: &StateLock, now_ms: u64) -> Result<Self, JournalError> {
        let folder = lock.folder().to_owned();
        let (witness, marker_damage) = match Marker::read(&folder) {
            Ok(witness) => (witness, None),
            Err(problem) => (None, Some(problem)),
        };
        let (connection, damage) = recovery::open(&folder, witness.as_ref(), now_ms)?;
        let damage = match (damage, marker_damage) {
            (None, Some(problem)) => Some(Damage::marker(&folder, &problem, now_ms)?),
            (damage, _) => damage,
        };
        let mut journal = Self {
            connection,
            folder,
            marker: Marker::default(),
            marker_stale: true,
            witness,
            damage,
            identity: write::file_id(lock.folder()),
        };
        journal.adopt_witness()?;
        journal.settle()?;
        Ok(journal)
    }

    /// What was found broken when the journal was opened.
    #[must_use]
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Brings the database up to what the marker bears witness of (latches, epochs), and the marker in memory
    /// up to the database.
    fn adopt_witness(&mut self) -> Result<(), JournalError> {
        if let Some(witness) = self.witness.clone() {
            self.restore_latches(&witness)?;
        }
        self.marker = read::marker(&self.connection)?;
        if let Some(witness) = &self.witness {
            self.marker.raise_epochs(witness);
        }
        Ok(())
    }

    /// Writes the marker file when it is behind; a no-op otherwise.
    ///
    /// # Errors
    /// When the marker cannot be written. It stays behind, and the next call tries again.
    pub fn settle(&mut self) -> Result<(), JournalError> {
        if self.marker_stale {
            self.marker.write(&self.folder)?;
            self.marker_stale = false;
        }
        Ok(())
    }
}
