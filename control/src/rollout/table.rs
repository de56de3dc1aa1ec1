//! The phase × event table: what each event may do in each phase.
//!
//! One table for three readers: [`step`](super::step) refuses by it, a test drives every pair of it through
//! `step` and compares, and ARCHITECTURE.md reproduces what [`markdown`] prints.

use std::fmt::Write as _;

use super::{Phase, Verb};

use Cell::{Refused, Stays, To};
use Phase::{Aborted, Baking, Healthy, Paused, Pending, Progressing, RolledBack, WaitingApproval};

/// What can happen, as far as the table tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A reload without a change for this rollout.
    SameConfig,
    /// Steps were edited, or replaced a hand-set weight.
    StepsEdited,
    /// A hand-set weight was edited, or replaced the steps.
    WeightEdited,
    /// Another canary release.
    NewCanary,
    /// Another baseline release.
    NewBaseline,
    /// The process started over.
    Restarted,
    /// Time passed.
    Tick,
    /// Judged: the step's conditions are not met yet, or a hold.
    NotYet,
    /// Judged: the step's conditions are met.
    Passed,
    /// Judged: a breach that rolls back, while the canary has traffic.
    Breached,
    /// The latency reference was frozen.
    ReferenceFrozen,
    /// The journal took a record, or failed to.
    Journal,
    /// `promote`.
    Promote,
    /// `promote --full`.
    PromoteFull,
    /// `pause`.
    Pause,
    /// `resume`.
    Resume,
    /// `abort`.
    Abort,
    /// `retry`.
    Retry,
    /// `set-weight`.
    SetWeight,
    /// `approve`.
    Approve,
    /// `undo`.
    Undo,
}

impl EventKind {
    /// The kind of a verb.
    #[must_use]
    pub const fn of_verb(verb: Verb) -> Self {
        match verb {
            Verb::Promote { full: false } => Self::Promote,
            Verb::Promote { full: true } => Self::PromoteFull,
            Verb::Pause => Self::Pause,
            Verb::Resume => Self::Resume,
            Verb::Abort => Self::Abort,
            Verb::Retry => Self::Retry,
            Verb::Undo => Self::Undo,
            Verb::SetWeight(_) => Self::SetWeight,
            Verb::Approve => Self::Approve,
        }
    }
}

/// What an event may do in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The phase stays.
    Stays,
    /// 409: nothing changes.
    Refused(&'static str),
    /// One of these phases follows, depending on plan and position.
    To(&'static [Phase]),
}

/// One event's row.
struct Row {
    kind: EventKind,
    label: &'static str,
    /// In the order of [`Phase::ALL`].
    cells: [Cell; 8],
}

const LATCHED: Cell = Refused("it was taken back: only retry, or a new release, revives it");
const NOT_LATCHED: Cell = Refused("it was not taken back");
const NOT_PAUSED: Cell = Refused("it is not paused");
const NOTHING_WAITS: Cell = Refused("no step waits for approval");
const DONE: Cell = Refused("the rollout is done");
const NOT_DONE: Cell = Refused("it is not done yet: abort takes the canary back");
const BY_HAND: Cell = To(&[Pending, Progressing, Healthy]);
const STARTS: Cell = To(&[Pending, Progressing, WaitingApproval, Baking, Healthy]);
const ANEW: Cell = To(&[Pending, RolledBack, Aborted]);
const NEXT: Cell = To(&[Progressing, Baking, Healthy]);

const ROWS: [Row; 21] = [
    row(EventKind::SameConfig, "reload, nothing changed", [Stays; 8]),
    row(
        EventKind::StepsEdited,
        "reload, steps edited",
        [
            Stays,
            To(&[Pending, Progressing, Baking]),
            To(&[Pending, Progressing, Paused, Baking]),
            To(&[Pending, Progressing]),
            To(&[Progressing, Baking]),
            To(&[Progressing, Healthy]),
            Stays,
            Stays,
        ],
    ),
    row(
        EventKind::WeightEdited,
        "reload, hand-set weight edited",
        [
            BY_HAND, BY_HAND, BY_HAND, BY_HAND, BY_HAND, BY_HAND, Stays, Stays,
        ],
    ),
    row(
        EventKind::NewCanary,
        "reload, new canary release",
        [ANEW; 8],
    ),
    row(
        EventKind::NewBaseline,
        "reload, new baseline release",
        [Stays; 8],
    ),
    row(EventKind::Restarted, "process restarted", [Stays; 8]),
    row(
        EventKind::Tick,
        "time passes",
        [STARTS, Stays, Stays, Stays, Stays, Stays, Stays, Stays],
    ),
    row(
        EventKind::NotYet,
        "judged: not yet, or hold",
        [STARTS, Stays, Stays, Stays, Stays, Stays, Stays, Stays],
    ),
    row(
        EventKind::Passed,
        "judged: step passed",
        [
            STARTS,
            To(&[Progressing, WaitingApproval, Baking, Healthy]),
            Stays,
            Stays,
            To(&[Healthy]),
            Stays,
            Stays,
            Stays,
        ],
    ),
    row(
        EventKind::Breached,
        "judged: breach",
        [
            STARTS,
            To(&[RolledBack]),
            To(&[RolledBack]),
            To(&[RolledBack]),
            To(&[RolledBack]),
            To(&[Healthy, RolledBack]),
            Stays,
            Stays,
        ],
    ),
    row(
        EventKind::ReferenceFrozen,
        "latency reference frozen",
        [Stays; 8],
    ),
    row(
        EventKind::Journal,
        "journal written, or failing",
        [Stays; 8],
    ),
    row(
        EventKind::Promote,
        "`promote`",
        [
            To(&[Progressing, Baking]),
            NEXT,
            NEXT,
            To(&[Progressing, Baking]),
            To(&[Healthy]),
            DONE,
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::PromoteFull,
        "`promote --full`",
        [
            To(&[Healthy]),
            To(&[Healthy]),
            To(&[Healthy]),
            To(&[Healthy]),
            To(&[Healthy]),
            Stays,
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::Pause,
        "`pause`",
        [
            To(&[Paused]),
            To(&[Paused]),
            Refused("it is paused already"),
            To(&[Paused]),
            To(&[Paused]),
            DONE,
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::Resume,
        "`resume`",
        [
            NOT_PAUSED,
            NOT_PAUSED,
            To(&[Pending, Progressing, WaitingApproval, Baking, Healthy]),
            NOT_PAUSED,
            NOT_PAUSED,
            NOT_PAUSED,
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::Abort,
        "`abort`",
        [
            To(&[Aborted]),
            To(&[Aborted]),
            To(&[Aborted]),
            To(&[Aborted]),
            To(&[Aborted]),
            To(&[Aborted]),
            Stays,
            Stays,
        ],
    ),
    row(
        EventKind::Retry,
        "`retry`",
        [
            NOT_LATCHED,
            NOT_LATCHED,
            NOT_LATCHED,
            NOT_LATCHED,
            NOT_LATCHED,
            NOT_LATCHED,
            To(&[Pending]),
            To(&[Pending]),
        ],
    ),
    row(
        EventKind::SetWeight,
        "`set-weight`",
        [
            To(&[Paused]),
            To(&[Paused]),
            To(&[Paused]),
            To(&[Paused]),
            To(&[Paused]),
            To(&[Paused]),
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::Approve,
        "`approve`",
        [
            NOTHING_WAITS,
            NOTHING_WAITS,
            NOTHING_WAITS,
            To(&[Progressing, Baking]),
            NOTHING_WAITS,
            NOTHING_WAITS,
            LATCHED,
            LATCHED,
        ],
    ),
    row(
        EventKind::Undo,
        "`undo`",
        [
            NOT_DONE,
            NOT_DONE,
            NOT_DONE,
            NOT_DONE,
            NOT_DONE,
            To(&[RolledBack]),
            LATCHED,
            LATCHED,
        ],
    ),
];

const fn row(kind: EventKind, label: &'static str, cells: [Cell; 8]) -> Row {
    Row { kind, label, cells }
}

/// All events that the table tells apart, in its order.
pub fn kinds() -> impl Iterator<Item = EventKind> {
    ROWS.iter().map(|row| row.kind)
}

/// What an event may do in a phase.
#[must_use]
pub fn cell(kind: EventKind, phase: Phase) -> Cell {
    ROWS.iter()
        .find(|row| row.kind == kind)
        .and_then(|row| row.cells.get(phase as usize))
        .copied()
        .unwrap_or(Refused("unknown event"))
}

/// The table in Markdown, as it stands in ARCHITECTURE.md: `·` the phase stays, `409` the verb is refused.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| event |");
    for phase in Phase::ALL {
        let _ = write!(text, " {phase} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Phase::ALL.len()));
    for row in &ROWS {
        let _ = write!(text, "\n| {} |", row.label);
        for cell in row.cells {
            let shown = match cell {
                Stays => "·".to_owned(),
                Refused(_) => "409".to_owned(),
                To(phases) => {
                    let names: Vec<&str> = phases.iter().map(|phase| phase.name()).collect();
                    names.join(", ")
                }
            };
            let _ = write!(text, " {shown} |");
        }
    }
    text.push('\n');
    text
}
