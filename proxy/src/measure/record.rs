//! What is known of a request when it ended.

use serin_stats::snapshot::{Arm, Outcome};

use crate::route::Assignment;

/// One request, by what its client could see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// The arm it was assigned to, whoever answered in the end.
    pub arm: Arm,
    /// Where its routing key fell.
    pub assignment: Assignment,
    /// How it ended.
    pub outcome: Outcome,
    /// An error for want of a connection, or of a response in time.
    pub unreachable: bool,
    /// When it arrived, in Unix milliseconds.
    pub arrived_ms: u64,
    /// From its arrival to its end; for an aborted request a lower bound of what it would have taken.
    pub total_ms: f64,
    /// From its arrival to the first byte of the response's body (of its head, when there is none).
    pub first_byte_ms: Option<f64>,
}

impl Record {
    /// Whether the control loop should hear of it at once: an error on either arm, or a canary's request that
    /// did not succeed.
    #[must_use]
    pub const fn is_alarming(&self) -> bool {
        match (self.arm, self.outcome) {
            (_, Outcome::Error) | (Arm::Canary, Outcome::Rejected | Outcome::Aborted) => true,
            (_, Outcome::Success) | (Arm::Baseline, Outcome::Rejected | Outcome::Aborted) => false,
        }
    }
}
