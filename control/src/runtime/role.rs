//! Who decides for the state folder: this process or another one.

use std::path::Path;
use std::sync::Arc;

use super::scribe::Scribe;
use crate::journal::{Journal, JournalError, Reader, StateLock};

/// This process' part.
#[derive(Debug)]
pub(super) enum Role {
    /// It decides. The journal is gone for as long as it cannot be opened again.
    Deciding {
        /// Closed before the lock is given back.
        journal: Option<Scribe>,
        lock: Arc<StateLock>,
    },
    /// It serves what the journal says, decides nothing, and tries again.
    Waiting {
        why: Waiting,
        reader: Option<Reader>,
        since_ms: u64,
    },
}

/// Why a process does not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Another process holds the lock.
    ForLock {
        /// Its process id, if that is known.
        holder: Option<u32>,
    },
    /// The folder or the journal in it cannot be written.
    ForJournal {
        /// Why not.
        error: String,
    },
}

impl Waiting {
    /// The alarm's kind.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::ForLock { .. } => "standby",
            Self::ForJournal { .. } => "journal_failing",
        }
    }

    /// In a word for everybody: without what the system said.
    pub(super) const fn remark(&self) -> &'static str {
        match self {
            Self::ForLock { .. } => "standing by, another process decides",
            Self::ForJournal { .. } => "nothing is decided, the state folder cannot be used",
        }
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ForLock { holder: Some(pid) } => write!(
                f,
                "standing by: process {pid} decides for this state folder"
            ),
            Self::ForLock { holder: None } => {
                f.write_str("standing by: another process decides for this state folder")
            }
            Self::ForJournal { error } => write!(
                f,
                "nothing is decided until the journal can be opened: {error}"
            ),
        }
    }
}

/// Tries to become the one that decides.
pub(super) fn try_decide(folder: &Path, now_ms: u64) -> Result<(StateLock, Journal), Waiting> {
    let unusable = |error: JournalError| Waiting::ForJournal {
        error: error.to_string(),
    };
    let Some(lock) = StateLock::take(folder).map_err(unusable)? else {
        return Err(Waiting::ForLock {
            holder: StateLock::holder(folder),
        });
    };
    let journal = Journal::open(&lock, now_ms).map_err(unusable)?;
    Ok((lock, journal))
}
