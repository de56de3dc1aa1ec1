//! Opening a journal that may be damaged.
//!
//! A torn tail is SQLite's own business: its WAL ends at the last whole commit. Beyond that, a database that
//! is missing, fails `quick_check` or bears a broken seal is set aside untouched, and every row of it that can
//! still be read and whose seal holds is carried into a new one. A rollout goes on from a carried state only
//! when the marker file confirms that nothing newer existed; otherwise [`Memory::lost`](super::Memory) is set.
//!
//! What is *not* damage: a full disk, missing permissions, a newer schema. Those are errors, nothing is moved,
//! and the caller tries again later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Row, ffi};

use super::marker::{Latch, Marker, path as marker_path, sync_folder};
use super::read::{TransitionRow, checkpoint, newest_transition, transition};
use super::seal::loaded;
use super::write::{insert_checkpoint, insert_transition, raise_epoch, set_latch};
use super::{DATABASE, JournalError, schema};

/// Damaged journals kept for a person to look at; the oldest beyond these are deleted.
const KEPT_DAMAGED: usize = 4;

/// What was found broken when a journal was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// For the operator.
    pub message: String,
    /// Where the damaged file is now.
    pub kept: Option<PathBuf>,
    /// When it was found, Unix ms.
    pub at_ms: u64,
    /// No marker says which rollouts there were.
    pub(super) blind: bool,
}

impl Damage {
    /// The marker could not be read; sets it aside.
    pub(super) fn marker(folder: &Path, why: &str, at_ms: u64) -> Result<Self, JournalError> {
        let path = marker_path(folder);
        let kept = folder.join(format!("latches.json.damaged-{at_ms}"));
        fs::rename(&path, &kept).map_err(JournalError::file("set aside", &path))?;
        Ok(Self {
            message: format!(
                "latches.json could not be read ({why}) and was written anew from journal.db; \
                 the old file is kept as {}",
                kept.display()
            ),
            kept: Some(kept),
            at_ms,
            blind: false,
        })
    }
}

/// Opens or creates the database of a folder, recovering what can be recovered.
pub(super) fn open(
    folder: &Path,
    witness: Option<&Marker>,
    now_ms: u64,
) -> Result<(Connection, Option<Damage>), JournalError> {
    let path = folder.join(DATABASE);
    let doing = JournalError::database("open the journal");
    let expected = witness.is_some_and(|marker| !marker.rollouts.is_empty());
    let length = length(&path)?;
    let wal = sibling(&path, "-wal");
    let fault = match length {
        Some(0) | None if expected || self::length(&wal)?.is_some_and(|bytes| bytes > 0) => {
            Some(Fault::Damaged("it is missing or empty".to_owned()))
        }
        Some(0) | None => None,
        Some(_) => inspect(&path).err(),
    };
    let damage = match fault {
        None => None,
        Some(Fault::Unusable(source)) => return Err(doing(source)),
        Some(Fault::Damaged(why)) => Some(rebuild(folder, witness, &why, now_ms)?),
    };
    let mut connection = schema::open(&path).map_err(&doing)?;
    schema::create(&mut connection).map_err(&doing)?;
    let damage = damage.or(tail_lost(&connection, witness, now_ms).map_err(&doing)?);
    Ok((connection, damage))
}

/// What is wrong with a database file.
#[derive(Debug)]
enum Fault {
    /// Its content.
    Damaged(String),
    /// Everything but its content.
    Unusable(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::Damaged(error.to_string());
        };
        let short = failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ;
        match failure.code {
            ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OutOfMemory => Self::Unusable(error),
            ErrorCode::SystemIoFailure if !short => Self::Unusable(error),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Reads all of a database that we would go on from.
fn inspect(path: &Path) -> Result<(), Fault> {
    let connection = schema::open(path)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    if verdict != "ok" {
        return Err(Fault::Damaged(verdict));
    }
    let tables: i64 =
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match schema::version(&connection)? {
        0 if tables == 0 => return Ok(()),
        schema::VERSION => {}
        newer => {
            return Err(Fault::Unusable(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_CANTOPEN),
                Some(format!("it has schema version {newer}, not ours")),
            )));
        }
    }
    for rollout in rollouts(&connection)? {
        newest_transition(&connection, &rollout)?;
        checkpoint(&connection, &rollout)?;
    }
    Ok(())
}

/// Every rollout that a database knows.
fn rollouts(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare("SELECT rollout FROM epochs UNION SELECT rollout FROM checkpoints")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A sound database can still be behind its marker: somebody cut off its tail.
fn tail_lost(
    connection: &Connection,
    witness: Option<&Marker>,
    now_ms: u64,
) -> Result<Option<Damage>, rusqlite::Error> {
    let known: Vec<(String, u64)> = connection
        .prepare("SELECT rollout, epoch FROM epochs")?
        .query_map([], |row| Ok((row.get(0)?, loaded(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    let behind: Vec<&str> = witness
        .into_iter()
        .flat_map(|marker| &marker.rollouts)
        .filter(|(rollout, mark)| {
            !known
                .iter()
                .any(|(name, epoch)| name == *rollout && *epoch >= mark.epoch)
        })
        .map(|(rollout, _)| rollout.as_str())
        .collect();
    Ok((!behind.is_empty()).then(|| Damage {
        message: format!(
            "journal.db lacks the newest entries of {}: they start on baseline only",
            behind.join(", ")
        ),
        kept: None,
        at_ms: now_ms,
        blind: false,
    }))
}

/// Sets a damaged database aside and puts a new one with all that could be read in its place.
fn rebuild(
    folder: &Path,
    witness: Option<&Marker>,
    why: &str,
    now_ms: u64,
) -> Result<Damage, JournalError> {
    let path = folder.join(DATABASE);
    let copy = folder.join("journal.db.salvage");
    let fresh = folder.join("journal.db.recovered");
    let failed = JournalError::file("recover", &path);
    for scratch in [&copy, &fresh] {
        remove_database(scratch).map_err(&failed)?;
    }
    let mut target = schema::open(&fresh)
        .and_then(|mut target| schema::create(&mut target).map(|()| target))
        .map_err(JournalError::database("create a new journal"))?;
    // A copy is read, because opening a database may change it.
    let carried = if copy_database(&path, &copy).map_err(&failed)? {
        salvage(&copy, &mut target, witness)
            .map_err(JournalError::database("carry over the damaged journal"))?
    } else {
        Carried::default()
    };
    target
        .close()
        .map_err(|(_, source)| JournalError::database("close the new journal")(source))?;

    let kept = folder.join(format!("{DATABASE}.damaged-{now_ms}"));
    let existed = set_aside(&path, &kept).map_err(&failed)?;
    fs::rename(&fresh, &path).map_err(&failed)?;
    remove_database(&copy).map_err(&failed)?;
    bound_damaged(folder).map_err(&failed)?;
    sync_folder(folder).map_err(&failed)?;
    let kept = existed.then_some(kept);
    Ok(Damage {
        message: format!(
            "journal.db could not be read in full ({why}); carried over {} transitions and {} \
             decisions{}",
            carried.transitions,
            carried.decisions,
            kept.as_ref().map_or_else(String::new, |kept| format!(
                "; the damaged file is kept as {}",
                kept.display()
            ))
        ),
        kept,
        at_ms: now_ms,
        blind: witness.is_none(),
    })
}

#[derive(Debug, Default)]
struct Carried {
    transitions: usize,
    decisions: usize,
}

/// Carries every readable row into a new database. Errors are the target's; what the source cannot give is
/// left behind.
fn salvage(
    source: &Path,
    target: &mut Connection,
    witness: Option<&Marker>,
) -> Result<Carried, rusqlite::Error> {
    let mut carried = Carried::default();
    let Ok(source) = Connection::open(source) else {
        return Ok(carried);
    };
    let target = target.transaction()?;
    let mut reached = BTreeMap::<String, u64>::new();
    let mut seen = BTreeSet::new();
    for sql in [
        "SELECT * FROM transitions NOT INDEXED ORDER BY seq",
        "SELECT * FROM transitions NOT INDEXED ORDER BY seq DESC",
    ] {
        each_readable(&source, sql, transition, |row: TransitionRow| {
            if seen.insert(row.seq) {
                insert_transition(&target, &row)?;
                let epoch = reached.entry(row.rollout).or_default();
                *epoch = row.epoch.max(*epoch);
            }
            Ok(())
        })?;
    }
    carried.transitions = seen.len();
    for (rollout, epoch) in &reached {
        let confirmed = witness
            .and_then(|marker| marker.rollouts.get(rollout))
            .is_some_and(|mark| mark.epoch <= *epoch);
        // An epoch beyond the newest state says that something newer is gone.
        raise_epoch(&target, rollout, epoch + u64::from(!confirmed))?;
        if let Ok(Some(checkpoint)) = checkpoint(&source, rollout) {
            insert_checkpoint(&target, rollout, &checkpoint)?;
        }
    }
    each_readable(
        &source,
        "SELECT * FROM latches",
        latch,
        |(rollout, latch)| {
            raise_epoch(&target, &rollout, 0)?;
            set_latch(&target, &rollout, &latch)
        },
    )?;
    carried.decisions = carry_decisions(&source, &target)?;
    target.commit()?;
    Ok(carried)
}

fn carry_decisions(source: &Connection, target: &Connection) -> Result<usize, rusqlite::Error> {
    let mut insert =
        target.prepare("INSERT OR IGNORE INTO decisions VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")?;
    let mut carried = 0;
    for sql in [
        "SELECT * FROM decisions NOT INDEXED ORDER BY id",
        "SELECT * FROM decisions NOT INDEXED ORDER BY id DESC",
    ] {
        let columns = |row: &Row<'_>| -> Result<Vec<rusqlite::types::Value>, rusqlite::Error> {
            (0..9).map(|column| row.get(column)).collect()
        };
        each_readable(source, sql, columns, |row| {
            carried += match insert.execute(rusqlite::params_from_iter(row)) {
                // A decision's seal is checked whenever it is read; wrong types are dropped here.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    0
                }
                inserted => inserted?,
            };
            Ok(())
        })?;
    }
    Ok(carried)
}

fn latch(row: &Row<'_>) -> Result<(String, Latch), rusqlite::Error> {
    let latch = Latch {
        digest: row.get(1)?,
        since_ms: loaded(row.get(2)?),
        phase: row.get(3)?,
        reason: row.get(4)?,
    };
    Ok((row.get(0)?, latch))
}

/// Hands on the rows of a query up to the first that the database cannot deliver, without those that make no
/// sense.
///
/// # Errors
/// Those of the receiver.
fn each_readable<T>(
    source: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, rusqlite::Error>,
    mut receive: impl FnMut(T) -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let Ok(mut statement) = source.prepare(sql) else {
        return Ok(());
    };
    let Ok(mut rows) = statement.query([]) else {
        return Ok(());
    };
    while let Ok(Some(row)) = rows.next() {
        if let Ok(row) = read(row) {
            receive(row)?;
        }
    }
    Ok(())
}

/// Moves a database with its log to another name; whether there was one.
fn set_aside(path: &Path, kept: &Path) -> std::io::Result<bool> {
    let mut existed = false;
    // The log first: beside a new database it would be taken for that one's.
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(sibling(path, suffix), sibling(kept, suffix)) {
            Ok(()) => existed |= suffix != "-shm",
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(existed)
}

fn copy_database(path: &Path, copy: &Path) -> std::io::Result<bool> {
    if length(path).ok().flatten().unwrap_or_default() == 0 {
        return Ok(false);
    }
    fs::copy(path, copy)?;
    match fs::copy(sibling(path, "-wal"), sibling(copy, "-wal")) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn remove_database(path: &Path) -> std::io::Result<()> {
    for suffix in ["-wal", "-shm", ""] {
        match fs::remove_file(sibling(path, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Deletes the oldest damaged journals beyond [`KEPT_DAMAGED`].
fn bound_damaged(folder: &Path) -> std::io::Result<()> {
    let prefix = format!("{DATABASE}.damaged-");
    let mut stamps = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stamp = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        stamps.extend(stamp.and_then(|stamp| stamp.parse::<u64>().ok()));
    }
    for stamp in stamps.iter().rev().skip(KEPT_DAMAGED) {
        remove_database(&folder.join(format!("{prefix}{stamp}")))?;
    }
    Ok(())
}

fn length(path: &Path) -> Result<Option<u64>, JournalError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::file("find", path)(error)),
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
