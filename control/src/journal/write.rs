//! What is written, and for how long it is kept.
//!
//! One entry is one SQLite transaction: the state after a transition, its epoch, its latch, its decision and
//! its evidence are all there or none of them is.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::marker::{Latch, Marker};
use super::read::{
    Checkpoint, DecisionHead, TransitionRow, checkpoint_seal, decision_seal, transition_seal,
};
use super::seal::{loaded, seal, stored};
use super::{Journal, JournalError, read};

/// Decisions and transitions older than this are forgotten …
const KEPT_MS: u64 = 30 * 24 * 3_600_000;
/// … and those beyond this number, …
const KEPT_ROWS: i64 = 10_000;
/// … and the evidence of all but the newest decisions that have some.
const KEPT_EVIDENCE: i64 = 256;
/// Latched releases remembered per rollout.
const KEPT_LATCHES: i64 = 256;

/// One transition to be remembered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The row; its `seq` is given by the journal.
    pub row: TransitionRow,
    /// Every release of this rollout that is held at 0 after it.
    pub latches: Vec<Latch>,
    /// The evidence at that moment.
    pub evidence: Option<Vec<u8>>,
    /// The decision behind it.
    pub decision: Option<NewDecision>,
}

/// A decision to be remembered.
#[derive(Clone, Debug)]
pub struct NewDecision {
    /// `transition`, `verdict` or `summary`.
    pub kind: &'static str,
    /// What the analysis recommended.
    pub recommendation: String,
    /// In one sentence.
    pub summary: String,
    /// The full report, as JSON.
    pub report: String,
}

impl Journal {
    /// Remembers a transition: when this returns it is on disk. The marker follows with
    /// [`settle`](Self::settle).
    ///
    /// # Errors
    /// When it could not be written; nothing of it was.
    pub fn record(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.check_present()?;
        write_entry(&mut self.connection, entry)
            .map_err(JournalError::database("record a transition"))?;
        let mark = self
            .marker
            .rollouts
            .entry(entry.row.rollout.clone())
            .or_default();
        let latches = read::latches(&self.connection, &entry.row.rollout)
            .map_err(JournalError::database("read latches"))?;
        let epoch = mark.epoch.max(entry.row.epoch);
        if mark.epoch != epoch || mark.latches != latches {
            mark.epoch = epoch;
            mark.latches = latches;
            self.marker_stale = true;
        }
        Ok(())
    }

    /// Remembers a decision that changed nothing.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn decide(
        &mut self,
        rollout: &str,
        at_ms: u64,
        epoch: u64,
        decision: &NewDecision,
        evidence: Option<&[u8]>,
    ) -> Result<(), JournalError> {
        self.check_present()?;
        let doing = JournalError::database("record a decision");
        let transaction = self.connection.transaction().map_err(&doing)?;
        write_decision(&transaction, rollout, at_ms, epoch, decision, evidence)
            .and_then(|()| transaction.commit())
            .map_err(doing)
    }

    /// Replaces a rollout's checkpoint.
    ///
    /// # Errors
    /// When it could not be written; the one before stays.
    pub fn checkpoint(
        &mut self,
        rollout: &str,
        at_ms: u64,
        state: &str,
        evidence: &[u8],
    ) -> Result<(), JournalError> {
        self.check_present()?;
        let doing = JournalError::database("write a checkpoint");
        let transaction = self.connection.transaction().map_err(&doing)?;
        write_checkpoint(&transaction, rollout, at_ms, state, evidence)
            .and_then(|()| transaction.commit())
            .map_err(doing)
    }

    /// Forgets what is too old or too much; the newest transition of every rollout stays.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn prune(&mut self, now_ms: u64) -> Result<(), JournalError> {
        prune(&mut self.connection, stored(now_ms.saturating_sub(KEPT_MS)))
            .map_err(JournalError::database("forget old decisions"))
    }

    /// A database that was deleted or replaced under us takes writes without complaint, into nowhere.
    fn check_present(&self) -> Result<(), JournalError> {
        if self.identity.is_some() && self.identity == file_id(&self.folder) {
            return Ok(());
        }
        let path = self.folder.join(super::DATABASE);
        let gone = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "it was removed or replaced while it was open",
        );
        Err(JournalError::file("write", &path)(gone))
    }

    /// Puts back the latches that only the marker still knows, and its epochs.
    pub(super) fn restore_latches(&mut self, witness: &Marker) -> Result<(), JournalError> {
        let doing = JournalError::database("restore latches");
        let transaction = self.connection.transaction().map_err(&doing)?;
        for (rollout, mark) in &witness.rollouts {
            raise_epoch(&transaction, rollout, mark.epoch).map_err(&doing)?;
            let newest = read::newest_transition(&transaction, rollout).map_err(&doing)?;
            // The marker is written last, so where the database is ahead a latch it lacks was cleared.
            if newest.is_none_or(|row| row.epoch <= mark.epoch) {
                for latch in &mark.latches {
                    set_latch(&transaction, rollout, latch).map_err(&doing)?;
                }
            }
        }
        transaction.commit().map_err(doing)
    }
}

/// Which file a name stands for: device and inode where there are such.
pub(super) type FileId = (u64, u64);

/// Which file the database of a folder is now.
pub(super) fn file_id(folder: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(folder.join(super::DATABASE)).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        metadata.is_file().then_some((0, 0))
    }
}

fn write_entry(connection: &mut Connection, entry: &Entry) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    let row = write_transition(&transaction, &entry.row)?;
    raise_epoch(&transaction, &row.rollout, row.epoch)?;
    transaction.execute("DELETE FROM latches WHERE rollout = ?1", [&row.rollout])?;
    for latch in &entry.latches {
        set_latch(&transaction, &row.rollout, latch)?;
    }
    let evidence = entry.evidence.as_deref();
    if let Some(evidence) = evidence {
        write_checkpoint(&transaction, &row.rollout, row.at_ms, &row.state, evidence)?;
    }
    if let Some(decision) = &entry.decision {
        write_decision(
            &transaction,
            &row.rollout,
            row.at_ms,
            row.epoch,
            decision,
            evidence,
        )?;
    }
    transaction.commit()
}

fn write_transition(
    transaction: &Transaction<'_>,
    row: &TransitionRow,
) -> Result<TransitionRow, rusqlite::Error> {
    let newest: i64 =
        transaction.query_row("SELECT COALESCE(MAX(seq), 0) FROM transitions", [], |row| {
            row.get(0)
        })?;
    let row = TransitionRow {
        seq: loaded(newest) + 1,
        ..row.clone()
    };
    insert_transition(transaction, &row)?;
    Ok(row)
}

/// Inserts a row under its own number.
pub(super) fn insert_transition(
    connection: &Connection,
    row: &TransitionRow,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO transitions VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
        )?
        .execute(params![
            stored(row.seq),
            stored(row.at_ms),
            row.rollout,
            row.digest,
            stored(row.epoch),
            row.share,
            row.phase,
            row.cause,
            row.actor,
            row.reason,
            row.event,
            row.state,
            transition_seal(row),
        ])
        .map(drop)
}

fn write_decision(
    transaction: &Transaction<'_>,
    rollout: &str,
    at_ms: u64,
    epoch: u64,
    decision: &NewDecision,
    evidence: Option<&[u8]>,
) -> Result<(), rusqlite::Error> {
    let newest: i64 =
        transaction.query_row("SELECT COALESCE(MAX(id), 0) FROM decisions", [], |row| {
            row.get(0)
        })?;
    let head = DecisionHead {
        id: loaded(newest) + 1,
        at_ms,
        epoch,
        kind: decision.kind.to_owned(),
        recommendation: decision.recommendation.clone(),
        summary: decision.summary.clone(),
    };
    transaction
        .prepare_cached("INSERT INTO decisions VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")?
        .execute(params![
            stored(head.id),
            stored(at_ms),
            rollout,
            stored(epoch),
            head.kind,
            head.recommendation,
            head.summary,
            decision.report,
            decision_seal(rollout, &head, &decision.report),
        ])?;
    if let Some(evidence) = evidence {
        transaction.execute(
            "INSERT INTO decision_evidence VALUES (?1, ?2, ?3)",
            params![stored(head.id), evidence, seal(&[evidence])],
        )?;
    }
    Ok(())
}

fn write_checkpoint(
    transaction: &Transaction<'_>,
    rollout: &str,
    at_ms: u64,
    state: &str,
    evidence: &[u8],
) -> Result<(), rusqlite::Error> {
    let after: i64 = transaction.query_row(
        "SELECT COALESCE(MAX(seq), 0) FROM transitions WHERE rollout = ?1",
        [rollout],
        |row| row.get(0),
    )?;
    let checkpoint = Checkpoint {
        at_ms,
        after: loaded(after),
        state: state.to_owned(),
        evidence: evidence.to_owned(),
    };
    insert_checkpoint(transaction, rollout, &checkpoint)
}

/// Inserts or replaces a rollout's checkpoint.
pub(super) fn insert_checkpoint(
    connection: &Connection,
    rollout: &str,
    checkpoint: &Checkpoint,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?1,?2,?3,?4,?5,?6)")?
        .execute(params![
            rollout,
            stored(checkpoint.at_ms),
            stored(checkpoint.after),
            checkpoint.state,
            checkpoint.evidence,
            checkpoint_seal(rollout, checkpoint),
        ])
        .map(drop)
}

/// Raises a rollout's newest epoch; never lowers it.
pub(super) fn raise_epoch(
    connection: &Connection,
    rollout: &str,
    epoch: u64,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO epochs VALUES (?1, ?2) \
             ON CONFLICT (rollout) DO UPDATE SET epoch = MAX(epoch, excluded.epoch)",
        )?
        .execute(params![rollout, stored(epoch)])
        .map(drop)
}

/// Latches a release; the first latch of a release stays.
pub(super) fn set_latch(
    connection: &Connection,
    rollout: &str,
    latch: &Latch,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO latches VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            rollout,
            latch.digest,
            stored(latch.since_ms),
            latch.phase,
            latch.reason,
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM latches WHERE rollout = ?1 AND digest NOT IN (SELECT digest FROM \
             latches WHERE rollout = ?1 ORDER BY since_ms DESC LIMIT ?2)",
        )?
        .execute(params![rollout, KEPT_LATCHES])
        .map(drop)
}

fn prune(connection: &mut Connection, oldest: i64) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "DELETE FROM decisions WHERE (at_ms < ?1 OR id <= (SELECT MAX(id) FROM decisions) - ?2) \
         AND id < (SELECT MAX(id) FROM decisions)",
        params![oldest, KEPT_ROWS],
    )?;
    transaction.execute(
        "DELETE FROM decision_evidence WHERE decision NOT IN \
         (SELECT decision FROM decision_evidence ORDER BY decision DESC LIMIT ?1)",
        [KEPT_EVIDENCE],
    )?;
    transaction.execute(
        "DELETE FROM transitions WHERE (at_ms < ?1 OR seq <= \
         (SELECT MAX(seq) FROM transitions) - ?2) AND seq NOT IN \
         (SELECT MAX(seq) FROM transitions GROUP BY rollout)",
        params![oldest, KEPT_ROWS],
    )?;
    transaction.commit()
}
