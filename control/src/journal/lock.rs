//! One process decides for one state folder: an exclusive lock on `state:`/lock.
//!
//! The lock is the operating system's, so it goes away with its process however that ends. The file's content
//! (the holder's process id) is for people only. Nothing here waits: who finds the lock taken stands by.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::JournalError;

/// Proof that this process decides for a folder; dropped, the folder is free.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
    folder: PathBuf,
}

impl StateLock {
    /// Creates the folder when it is missing and tries to lock it; `None` when another process holds it.
    ///
    /// # Errors
    /// When the folder or the lock file cannot be created or locked at all.
    pub fn take(folder: &Path) -> Result<Option<Self>, JournalError> {
        fs::create_dir_all(folder).map_err(JournalError::file("create", folder))?;
        let path = folder.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(JournalError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::file("lock", &path)(source));
            }
        }
        // On a full disk the number may be missing; the lock holds all the same.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "the lock file bears no process id");
        }
        Ok(Some(Self {
            _file: file,
            folder: folder.to_owned(),
        }))
    }

    /// The process id in a folder's lock file, for messages.
    #[must_use]
    pub fn holder(folder: &Path) -> Option<u32> {
        let mut text = String::new();
        let file = File::open(folder.join("lock")).ok()?;
        file.take(32).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// The locked folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
