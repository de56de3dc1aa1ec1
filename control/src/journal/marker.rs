//! `latches.json`: the few facts that must outlive the journal.
//!
//! Per rollout the releases that are held at 0, and the newest epoch that was journalled. Written whole,
//! after the database: temporary file, fsync, rename, fsync of the folder. So it may lag behind the database
//! by a moment, and is never ahead of it; a database that is behind its marker has lost something.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::JournalError;

const VERSION: u32 = 1;

/// A release that stays at 0 until somebody says `retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// The canary's identity.
    pub digest: String,
    /// When it was latched, Unix ms.
    pub since_ms: u64,
    /// `RolledBack` or `Aborted`.
    pub phase: String,
    /// Why.
    pub reason: String,
}

/// What is remembered of one rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMark {
    /// The newest journalled epoch.
    pub epoch: u64,
    /// Oldest first.
    pub latches: Vec<Latch>,
}

/// The content of `latches.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    version: u32,
    /// By rollout.
    pub rollouts: BTreeMap<String, RolloutMark>,
}

impl Marker {
    /// Reads the marker of a folder; `None` when there is none.
    ///
    /// # Errors
    /// A message when it cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Self>, String> {
        let text = match fs::read(path(folder)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let marker: Self = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if marker.version == VERSION {
            Ok(Some(marker))
        } else {
            Err(format!(
                "it has version {}, expected {VERSION}",
                marker.version
            ))
        }
    }

    /// Writes the marker so that after a crash either the old or the new one is there, whole.
    pub(super) fn write(&mut self, folder: &Path) -> Result<(), JournalError> {
        self.version = VERSION;
        let path = path(folder);
        let temporary = path.with_extension("json.new");
        let failed = JournalError::file("write", &path);
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let mut file = File::create(&temporary).map_err(&failed)?;
        file.write_all(&text).map_err(&failed)?;
        file.sync_all().map_err(&failed)?;
        fs::rename(&temporary, &path).map_err(&failed)?;
        sync_folder(folder).map_err(&failed)
    }

    /// Takes over epochs that are higher than ours.
    pub(super) fn raise_epochs(&mut self, other: &Self) {
        for (rollout, mark) in &other.rollouts {
            let mine = self.rollouts.entry(rollout.clone()).or_default();
            mine.epoch = mine.epoch.max(mark.epoch);
        }
    }

    /// The latch of a release, if it is held at 0.
    #[must_use]
    pub fn latch(&self, rollout: &str, digest: &str) -> Option<&Latch> {
        let mark = self.rollouts.get(rollout)?;
        mark.latches.iter().find(|latch| latch.digest == digest)
    }
}

/// Where the marker of a folder is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("latches.json")
}

/// Makes renames in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
