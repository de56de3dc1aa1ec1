//! The journal's tables, and how a connection is set up.
//!
//! `transitions` holds the whole state after each one, so the newest readable row of a rollout is all that is
//! needed to go on. `latches` and `epochs` outlive retention. Retention keeps each table bounded.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::JournalError;

/// Version of the tables below; a newer file is left alone.
pub(super) const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE transitions (
  seq     INTEGER PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  rollout TEXT NOT NULL,
  digest  TEXT NOT NULL,
  epoch   INTEGER NOT NULL,
  share   REAL NOT NULL,
  phase   TEXT NOT NULL,
  cause   TEXT NOT NULL,
  actor   TEXT NOT NULL,
  reason  TEXT NOT NULL,
  event   TEXT NOT NULL,
  state   TEXT NOT NULL,
  seal    INTEGER NOT NULL
) STRICT;
CREATE INDEX transitions_of ON transitions (rollout, seq);
CREATE TABLE decisions (
  id             INTEGER PRIMARY KEY,
  at_ms          INTEGER NOT NULL,
  rollout        TEXT NOT NULL,
  epoch          INTEGER NOT NULL,
  kind           TEXT NOT NULL,
  recommendation TEXT NOT NULL,
  summary        TEXT NOT NULL,
  report         TEXT NOT NULL,
  seal           INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_of ON decisions (rollout, id);
CREATE TABLE decision_evidence (
  decision INTEGER PRIMARY KEY REFERENCES decisions (id) ON DELETE CASCADE,
  evidence BLOB NOT NULL,
  seal     INTEGER NOT NULL
) STRICT;
CREATE TABLE checkpoints (
  rollout  TEXT PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  after    INTEGER NOT NULL,
  state    TEXT NOT NULL,
  evidence BLOB NOT NULL,
  seal     INTEGER NOT NULL
) STRICT;
CREATE TABLE latches (
  rollout  TEXT NOT NULL,
  digest   TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  phase    TEXT NOT NULL,
  reason   TEXT NOT NULL,
  PRIMARY KEY (rollout, digest)
) STRICT;
CREATE TABLE epochs (
  rollout TEXT PRIMARY KEY,
  epoch   INTEGER NOT NULL
) STRICT;
";

/// Opens the database for writing, creating it when missing.
pub(super) fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Creates the tables in a new database; a no-op in one of our version.
pub(super) fn create(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// The version a database says it has; 0 when it is new.
pub(super) fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Opens the database for reading beside a writer.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(JournalError::database("open the journal to read"))?;
    connection
        .busy_timeout(Duration::from_millis(500))
        .map_err(JournalError::database("open the journal to read"))?;
    Ok(connection)
}
