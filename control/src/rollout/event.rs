//! What can happen to a rollout, and what has to be done about it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serin_stats::split::LatencyReference;

use super::{Phase, RolloutSpec, State};
use crate::analysis::{Judgement, stored};

/// What can happen to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The config was loaded or reloaded; also when it is the same as before.
    Configured(Box<RolloutSpec>),
    /// The process started over: what is measured from now on is a stage of its own.
    Restarted,
    /// Time passed.
    Tick,
    /// The evidence was looked at.
    Judged(Box<Judgement>),
    /// Enough of baseline's latency was seen to rank later latencies against it.
    ReferenceFrozen(#[serde(with = "stored::reference")] Arc<LatencyReference>),
    /// The journal took the last record (`true`), or failed to (`false`).
    Journal {
        /// Whether it can be written.
        ok: bool,
    },
    /// A person or a script said something.
    Operator(Command),
}

/// What an operator said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who they are, as far as it is known.
    #[serde(default)]
    pub actor: Option<String>,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Take the next step now, or go to 100 % (`full`).
    Promote {
        /// To 100 % at once.
        full: bool,
    },
    /// Stay at this weight.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Weight 0 until `retry`.
    Abort,
    /// Start again after a rollback or an abort.
    Retry,
    /// Undo a promotion.
    Undo,
    /// Pause at this weight, a fraction of 1.
    SetWeight(f64),
    /// Enter the step that waits for it.
    Approve,
}

impl Verb {
    /// Its name in paths, in the CLI and in history.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Undo => "undo",
            Self::SetWeight(_) => "set-weight",
            Self::Approve => "approve",
        }
    }
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The state from now on.
    pub state: State,
    /// What has to be done about it, in this order; nothing when nothing changed that anybody must act on.
    pub actions: Vec<Action>,
}

/// What has to be done about a transition.
///
/// Lowering exposure comes as install before record (a full disk must never keep a bad canary alive): the
/// state counts whether or not the record succeeds. Raising comes as record before install: **when the
/// record fails the whole transition is void**; keep the former state and tell it `Event::Journal { ok:
/// false }`. After every record, whatever it was for, tell the state in force how it went with
/// [`Event::Journal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Put [`State::split`] in force.
    Install,
    /// Write the event and the new state to the journal, and sync.
    Record,
    /// Forget the evidence and begin anew: the state's `first_epoch` and `began_ms` say where.
    BeginEvidence,
    /// Send [`Event::Tick`] at once: there is more to do.
    TickNow,
}

/// The phase doesn't allow this. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{verb} is not allowed in phase {phase}: {why}")]
pub struct Refused {
    /// What was asked.
    pub verb: String,
    /// Where the rollout stands.
    pub phase: Phase,
    /// Why not, and what is possible instead.
    pub why: String,
}
