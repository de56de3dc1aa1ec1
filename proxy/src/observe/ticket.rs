//! The one record that a routed request leaves behind.
//!
//! A ticket is opened when the request has its arm, and closed by whoever knows how it ended. A ticket that is
//! dropped open is a client that left first: that is the only way an exchange can vanish, so nothing goes
//! uncounted.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serin_stats::snapshot::{Arm, Outcome};

use crate::identity::RequestId;
use crate::measure::Record;
use crate::route::{Assignment, RouteEntry};
use crate::shadow::Pairing;

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
    request_id: RequestId,
    first_byte: Option<Duration>,
    is_open: bool,
    /// The copy that was made of it.
    copy: OnceCell<Rc<Pairing>>,
}

impl Ticket {
    /// Opens the ticket of a request on this route: its assignment decides the arm.
    pub(crate) fn open(
        entry: Arc<RouteEntry>,
        worker: usize,
        assignment: Assignment,
        arrival: Arrival,
        request_id: RequestId,
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
            request_id,
            first_byte: None,
            is_open: true,
            copy: OnceCell::new(),
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

    /// Our id for the request.
    pub(crate) const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Where the request falls.
    pub(crate) const fn assignment(&self) -> Assignment {
        self.assignment
    }

    /// Whose request this is to count.
    pub(crate) const fn worker(&self) -> usize {
        self.worker
    }

    /// When it arrived, in Unix milliseconds.
    pub(crate) const fn arrived_ms(&self) -> u64 {
        self.arrival.unix_ms
    }

    /// A copy was made of the request: it is told how this one ends.
    pub(crate) fn pair_with(&self, copy: Rc<Pairing>) {
        // One copy is made at most.
        let _ = self.copy.set(copy);
    }

    /// The first byte of the response's body came (of its head, when there is no body).
    pub(crate) fn see_first_byte(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.arrival.at.elapsed());
        }
    }

    /// The request ended: now. Only the first ending counts.
    pub(crate) fn close(&mut self, outcome: Outcome, unreachable: bool) -> Instant {
        let now = Instant::now();
        if !std::mem::take(&mut self.is_open) {
            return now;
        }
        let record = Record {
            arm: self.arm,
            assignment: self.assignment,
            outcome,
            unreachable,
            arrived_ms: self.arrival.unix_ms,
            total_ms: milliseconds(now.saturating_duration_since(self.arrival.at)),
            first_byte_ms: self.first_byte.map(milliseconds),
        };
        self.entry.stage.record(self.worker, &record);
        if let Some(copy) = self.copy.take() {
            copy.original(outcome);
        }
        now
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
