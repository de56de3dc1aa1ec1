//! What the journal remembers, read back: states to go on from, and decisions to look at.
//!
//! A row whose seal is broken reads as an error, never as data.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::marker::{Latch, Marker, RolloutMark};
use super::seal::{loaded, seal, stored};
use super::{DATABASE, Journal, JournalError, schema};

/// What is remembered of one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Its newest state, as JSON.
    pub state: Option<String>,
    /// The newest epoch that was ever in force; new ones must be higher.
    pub epoch: u64,
    /// The evidence's last checkpoint.
    pub evidence: Option<Vec<u8>>,
    /// The releases held at 0, oldest first.
    pub latches: Vec<Latch>,
    /// Something newer than `state` was recorded once and is gone: start on baseline only.
    pub lost: bool,
}

/// One transition.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionRow {
    /// Ascending over all rollouts.
    pub seq: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// Whose.
    pub rollout: String,
    /// Of which canary.
    pub digest: String,
    /// The epoch after it.
    pub epoch: u64,
    /// The canary's share of the key space after it.
    pub share: f64,
    /// The phase after it.
    pub phase: String,
    /// What kind of event it was.
    pub cause: String,
    /// Who, or `serin`.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The event, as JSON.
    pub event: String,
    /// The whole state after it, as JSON.
    pub state: String,
}

/// One decision, without its inputs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DecisionHead {
    /// Ascending over all rollouts.
    pub id: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// Under which split.
    pub epoch: u64,
    /// `transition`, `verdict` or `summary`.
    pub kind: String,
    /// What the analysis recommended.
    pub recommendation: String,
    /// In one sentence.
    pub summary: String,
}

/// One decision with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// The decision.
    pub head: DecisionHead,
    /// Its full report, as JSON.
    pub report: String,
    /// The evidence it was drawn from, while it is kept.
    pub evidence: Option<Vec<u8>>,
}

/// A journal that another process writes.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens a folder's journal for reading.
    ///
    /// # Errors
    /// When there is none, or none of our version.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let doing = JournalError::database("read the journal's version");
        let connection = schema::open_to_read(&folder.join(DATABASE))?;
        match schema::version(&connection).map_err(&doing)? {
            schema::VERSION => Ok(Self { connection }),
            _ => Err(doing(rusqlite::Error::InvalidQuery)),
        }
    }

    /// The rollouts that something was decided about, by name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn rollouts(&self) -> Result<Vec<String>, JournalError> {
        self.connection
            .prepare_cached("SELECT DISTINCT rollout FROM decisions ORDER BY rollout")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(JournalError::database("read the rollouts"))
    }

    /// See [`Journal::recall`].
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn recall(&self, rollout: &str) -> Result<Memory, JournalError> {
        recall(&self.connection, rollout)
    }

    /// See [`Journal::decisions`].
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn decisions(&self, rollout: &str, limit: u32) -> Result<Vec<DecisionHead>, JournalError> {
        decisions(&self.connection, rollout, limit)
    }

    /// See [`Journal::decision`].
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn decision(&self, rollout: &str, id: u64) -> Result<Option<DecisionRow>, JournalError> {
        decision(&self.connection, rollout, id)
    }
}

impl Journal {
    /// Everything that is remembered of a rollout.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn recall(&self, rollout: &str) -> Result<Memory, JournalError> {
        let mut memory = recall(&self.connection, rollout)?;
        let blind = self.damage.as_ref().is_some_and(|damage| damage.blind);
        memory.lost |= blind && memory.state.is_none();
        Ok(memory)
    }

    /// A rollout's newest decisions, newest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn decisions(&self, rollout: &str, limit: u32) -> Result<Vec<DecisionHead>, JournalError> {
        decisions(&self.connection, rollout, limit)
    }

    /// One decision of a rollout.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn decision(&self, rollout: &str, id: u64) -> Result<Option<DecisionRow>, JournalError> {
        decision(&self.connection, rollout, id)
    }
}

fn recall(connection: &Connection, rollout: &str) -> Result<Memory, JournalError> {
    let doing = JournalError::database("read a rollout's history");
    let transition = newest_transition(connection, rollout).map_err(&doing)?;
    let checkpoint = checkpoint(connection, rollout).map_err(&doing)?;
    let epoch = connection
        .query_row(
            "SELECT epoch FROM epochs WHERE rollout = ?1",
            [rollout],
            |row| row.get(0).map(loaded),
        )
        .optional()
        .map_err(&doing)?
        .unwrap_or_default();
    let reached = transition.as_ref().map_or(0, |row| row.epoch);
    let last = transition.as_ref().map_or(0, |row| row.seq);
    let mut state = transition.map(|row| row.state);
    let evidence = checkpoint.map(|checkpoint| {
        if checkpoint.after >= last && checkpoint.after > 0 {
            state = Some(checkpoint.state);
        }
        checkpoint.evidence
    });
    Ok(Memory {
        state,
        epoch: epoch.max(reached),
        evidence,
        latches: latches(connection, rollout).map_err(&doing)?,
        lost: reached < epoch,
    })
}

/// The facts that `latches.json` repeats.
pub(super) fn marker(connection: &Connection) -> Result<Marker, JournalError> {
    let doing = JournalError::database("read latches and epochs");
    let mut marker = Marker::default();
    let epochs: BTreeMap<String, u64> = connection
        .prepare("SELECT rollout, epoch FROM epochs")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, loaded(row.get(1)?))))?
                .collect()
        })
        .map_err(&doing)?;
    for (rollout, epoch) in epochs {
        let latches = latches(connection, &rollout).map_err(&doing)?;
        marker
            .rollouts
            .insert(rollout, RolloutMark { epoch, latches });
    }
    Ok(marker)
}

/// The newest transition of a rollout.
pub(super) fn newest_transition(
    connection: &Connection,
    rollout: &str,
) -> Result<Option<TransitionRow>, rusqlite::Error> {
    connection
        .query_row(
            "SELECT * FROM transitions WHERE rollout = ?1 ORDER BY seq DESC LIMIT 1",
            [rollout],
            transition,
        )
        .optional()
}

/// The releases of a rollout that are held at 0, oldest first.
pub(super) fn latches(
    connection: &Connection,
    rollout: &str,
) -> Result<Vec<Latch>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, since_ms, phase, reason FROM latches WHERE rollout = ?1 \
         ORDER BY since_ms, digest",
    )?;
    statement
        .query_map([rollout], |row| {
            Ok(Latch {
                digest: row.get(0)?,
                since_ms: loaded(row.get(1)?),
                phase: row.get(2)?,
                reason: row.get(3)?,
            })
        })?
        .collect()
}

fn decisions(
    connection: &Connection,
    rollout: &str,
    limit: u32,
) -> Result<Vec<DecisionHead>, JournalError> {
    connection
        .prepare_cached(
            "SELECT id, at_ms, epoch, kind, recommendation, summary FROM decisions \
             WHERE rollout = ?1 ORDER BY id DESC LIMIT ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_map(params![rollout, limit], head)?
                .collect()
        })
        .map_err(JournalError::database("read decisions"))
}

fn decision(
    connection: &Connection,
    rollout: &str,
    id: u64,
) -> Result<Option<DecisionRow>, JournalError> {
    connection
        .query_row(
            "SELECT d.id, d.at_ms, d.epoch, d.kind, d.recommendation, d.summary, d.report, \
                    d.seal, e.evidence, e.seal \
             FROM decisions d LEFT JOIN decision_evidence e ON e.decision = d.id \
             WHERE d.rollout = ?1 AND d.id = ?2",
            params![rollout, stored(id)],
            |row| {
                let head = head(row)?;
                let report: String = row.get(6)?;
                let sealed: i64 = row.get(7)?;
                if sealed != decision_seal(rollout, &head, &report) {
                    return Err(broken_seal(7));
                }
                let evidence: Option<Vec<u8>> = row.get(8)?;
                if let Some(evidence) = &evidence
                    && row.get::<_, i64>(9)? != seal(&[evidence])
                {
                    return Err(broken_seal(9));
                }
                Ok(DecisionRow {
                    head,
                    report,
                    evidence,
                })
            },
        )
        .optional()
        .map_err(JournalError::database("read a decision"))
}

fn head(row: &Row<'_>) -> Result<DecisionHead, rusqlite::Error> {
    Ok(DecisionHead {
        id: loaded(row.get(0)?),
        at_ms: loaded(row.get(1)?),
        epoch: loaded(row.get(2)?),
        kind: row.get(3)?,
        recommendation: row.get(4)?,
        summary: row.get(5)?,
    })
}

/// Reads a row of `SELECT * FROM transitions`.
pub(super) fn transition(row: &Row<'_>) -> Result<TransitionRow, rusqlite::Error> {
    let read = TransitionRow {
        seq: loaded(row.get(0)?),
        at_ms: loaded(row.get(1)?),
        rollout: row.get(2)?,
        digest: row.get(3)?,
        epoch: loaded(row.get(4)?),
        share: row.get(5)?,
        phase: row.get(6)?,
        cause: row.get(7)?,
        actor: row.get(8)?,
        reason: row.get(9)?,
        event: row.get(10)?,
        state: row.get(11)?,
    };
    if row.get::<_, i64>(12)? == transition_seal(&read) {
        Ok(read)
    } else {
        Err(broken_seal(12))
    }
}

/// A checkpoint as it stands in its table.
pub(super) struct Checkpoint {
    pub(super) at_ms: u64,
    pub(super) after: u64,
    pub(super) state: String,
    pub(super) evidence: Vec<u8>,
}

/// The checkpoint of a rollout.
pub(super) fn checkpoint(
    connection: &Connection,
    rollout: &str,
) -> Result<Option<Checkpoint>, rusqlite::Error> {
    connection
        .query_row(
            "SELECT at_ms, after, state, evidence, seal FROM checkpoints WHERE rollout = ?1",
            [rollout],
            |row| {
                let read = Checkpoint {
                    at_ms: loaded(row.get(0)?),
                    after: loaded(row.get(1)?),
                    state: row.get(2)?,
                    evidence: row.get(3)?,
                };
                if row.get::<_, i64>(4)? == checkpoint_seal(rollout, &read) {
                    Ok(read)
                } else {
                    Err(broken_seal(4))
                }
            },
        )
        .optional()
}

/// The seal of a transition.
pub(super) fn transition_seal(row: &TransitionRow) -> i64 {
    seal(&[
        &row.seq.to_le_bytes(),
        &row.at_ms.to_le_bytes(),
        row.rollout.as_bytes(),
        row.digest.as_bytes(),
        &row.epoch.to_le_bytes(),
        &row.share.to_le_bytes(),
        row.phase.as_bytes(),
        row.cause.as_bytes(),
        row.actor.as_bytes(),
        row.reason.as_bytes(),
        row.event.as_bytes(),
        row.state.as_bytes(),
    ])
}

/// The seal of a decision.
pub(super) fn decision_seal(rollout: &str, head: &DecisionHead, report: &str) -> i64 {
    seal(&[
        &head.id.to_le_bytes(),
        &head.at_ms.to_le_bytes(),
        rollout.as_bytes(),
        &head.epoch.to_le_bytes(),
        head.kind.as_bytes(),
        head.recommendation.as_bytes(),
        head.summary.as_bytes(),
        report.as_bytes(),
    ])
}

/// The seal of a checkpoint.
pub(super) fn checkpoint_seal(rollout: &str, checkpoint: &Checkpoint) -> i64 {
    seal(&[
        rollout.as_bytes(),
        &checkpoint.at_ms.to_le_bytes(),
        &checkpoint.after.to_le_bytes(),
        checkpoint.state.as_bytes(),
        &checkpoint.evidence,
    ])
}

fn broken_seal(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        Type::Integer,
        "the row does not match its checksum".into(),
    )
}
