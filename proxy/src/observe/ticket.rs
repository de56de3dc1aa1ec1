//! The one record that a routed request leaves behind.
//!
//! A ticket is opened when the request has its arm, and closed by whoever knows how it ended. A ticket that is
//! dropped open is a client that left first: that is the only way an exchange can vanish, so nothing goes
//! uncounted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serin_stats::snapshot::{Arm, Outcome};

use crate::measure::Record;
use crate::route::{Assignment, RouteEntry};

/// When a request's head had arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// For durations.
    pub(crate) at: Instant,
    /// In Unix milliseconds.
    pub(crate) unix_ms: u64,
}

/// A routed request, not yet counted.
#[derive(Debug)]
pub(crate) struct Ticket {
    entry: Arc<RouteEntry>,
    worker: usize,
    arm: Arm,
    assignment: Assignment,
    arrival: Arrival,
    first_byte: Option<Duration>,
    is_open: bool,
}

impl Ticket {
    /// Opens the ticket of a request on this route: its assignment decides the arm.
    pub(crate) fn open(
        entry: Arc<RouteEntry>,
        worker: usize,
        assignment: Assignment,
        arrival: Arrival,
    ) -> Self {
        let arm = match &entry.route.canary {
            Some(_) => assignment.arm(entry.stage.split().share),
            None => Arm::Baseline,
        };
        Self {
            entry,
            worker,
            arm,
            assignment,
            arrival,
            first_byte: None,
            is_open: true,
        }
    }

    /// The route.
    pub(crate) const fn entry(&self) -> &Arc<RouteEntry> {
        &self.entry
    }

    /// Who answers.
    pub(crate) const fn arm(&self) -> Arm {
        self.arm
    }

    /// The first byte of the response's body came (of its head, when there is no body).
    pub(crate) fn see_first_byte(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.arrival.at.elapsed());
        }
    }

    /// The request ended. Only the first ending counts.
    pub(crate) fn close(&mut self, outcome: Outcome, unreachable: bool) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let record = Record {
            arm: self.arm,
            assignment: self.assignment,
            outcome,
            unreachable,
            arrived_ms: self.arrival.unix_ms,
            total_ms: milliseconds(self.arrival.at.elapsed()),
            first_byte_ms: self.first_byte.map(milliseconds),
        };
        self.entry.stage.record(self.worker, &record);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Outcome::Aborted, false);
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
