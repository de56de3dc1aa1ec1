//! The one record that a routed request leaves behind.
//!
//! A ticket is opened when the request has its arm, and closed by whoever knows how it ended. A ticket that is
//! dropped open is a client that left first: that is the only way an exchange can vanish, so nothing goes
//! uncounted.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serin_config::model::Endpoint;
use serin_stats::snapshot::{Arm, Outcome};

use super::trace::Ending;
use super::traceparent::Traceparent;
use super::{Sampling, Trace, TracedHead};
use crate::identity::RequestId;
use crate::measure::Record;
use crate::route::{Assignment, RouteEntry};
use crate::shadow::Pairing;
use crate::worker::Desk;

/// A client's clock runs ahead of ours: it began to wait before its request came. So much ahead at most.
const SLACK: Duration = Duration::from_millis(20);

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
    is_covered: bool,
    first_byte: Option<Duration>,
    /// How long its client said it would wait.
    patience: Option<Duration>,
    asked: Option<Asked>,
    /// Of one in many.
    trace: Option<Box<Trace>>,
    is_open: bool,
    /// The copy that was made of it.
    copy: OnceCell<Rc<Pairing>>,
}

/// An endpoint that is being asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    arm: Arm,
    at: Instant,
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
        entry.stage.see(arm, assignment.slot);
        Self {
            entry,
            worker,
            arm,
            assignment,
            arrival,
            request_id,
            is_covered: false,
            first_byte: None,
            patience: None,
            asked: None,
            trace: None,
            is_open: true,
            copy: OnceCell::new(),
        }
    }

    /// The client said how long it will wait. If it leaves because nothing came in that time, that is the arm's failure:
    /// a model that is too slow for all of its clients would look well otherwise, since none of them sees its answers.
    pub(crate) const fn waits(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// How long the client said it would wait, from the request's arrival.
    pub(crate) const fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// The route.
    pub(crate) const fn entry(&self) -> &Arc<RouteEntry> {
        &self.entry
    }

    /// The key's hash, for who ties keys to endpoints.
    pub(crate) const fn place(&self) -> u64 {
        self.assignment.place
    }

    /// Who is to answer, and whom the request counts for.
    pub(crate) const fn arm(&self) -> Arm {
        self.arm
    }

    /// Who answers in the end.
    pub(crate) const fn answerer(&self) -> Arm {
        if self.is_covered {
            Arm::Baseline
        } else {
            self.arm
        }
    }

    /// The arm failed, which is counted now, and baseline answers in its place.
    pub(crate) fn cover(&mut self, unreachable: bool) {
        self.count(Outcome::Error, unreachable, Instant::now());
        self.is_covered = true;
        if let Some(trace) = &mut self.trace {
            trace.cover();
        }
    }

    /// Whether baseline answers in place of the arm.
    pub(crate) const fn is_covered(&self) -> bool {
        self.is_covered
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

    /// Begins to trace the request, if it is one of those that are traced.
    pub(crate) fn trace<'h>(
        &mut self,
        desk: &Desk,
        sampling: Sampling,
        head: impl FnOnce() -> TracedHead<'h>,
    ) {
        if let Some(links) = desk.span_links() {
            let (identity, id) = (&desk.identity, self.request_id);
            let whose = (&*self.entry, self.arm);
            self.trace = Trace::begin(links, sampling, identity, head(), id, whose);
        }
    }

    /// What endpoints are told as `traceparent`, when the request is traced; otherwise what the client said
    /// goes on.
    pub(crate) fn traceparent(&self) -> Option<Traceparent> {
        self.trace.as_ref()?.traceparent()
    }

    /// Whether no endpoint was asked yet.
    pub(crate) const fn is_unasked(&self) -> bool {
        self.asked.is_none() && !self.is_covered
    }

    /// An endpoint of this arm is asked now: for the first time, or after another try failed.
    pub(crate) fn asks(&mut self, arm: Arm, endpoint: &Endpoint, at: Instant) {
        self.asked_until(at);
        self.asked = Some(Asked { arm, at });
        if let Some(trace) = &mut self.trace {
            trace.asks(arm, endpoint);
        }
    }

    /// The endpoint answered with this status.
    pub(crate) fn see_answer(&mut self, status: u16) {
        if let Some(trace) = &mut self.trace {
            trace.answered(status);
        }
    }

    /// The client gets this status from us, for want of an answer.
    pub(crate) fn see_reply(&mut self, status: u16) {
        if let Some(trace) = &mut self.trace {
            trace.replied(status);
        }
    }

    fn asked_until(&mut self, end: Instant) {
        if let Some(asked) = self.asked.take() {
            let took = end.saturating_duration_since(asked.at);
            self.entry.stage.record_asked(self.worker, asked.arm, took);
        }
    }

    /// The first byte of the response's body came (of its head, when there is no body).
    pub(crate) fn see_first_byte(&mut self) {
        if self.first_byte.is_none() {
            self.see_first_byte_at(Instant::now());
        }
    }

    /// The same, when the time is known already.
    pub(crate) fn see_first_byte_at(&mut self, at: Instant) {
        let came = || at.saturating_duration_since(self.arrival.at);
        self.first_byte.get_or_insert_with(came);
    }

    /// The request ended: now. Only the first ending counts.
    pub(crate) fn close(&mut self, outcome: Outcome, unreachable: bool) -> Instant {
        let now = Instant::now();
        self.asked_until(now);
        self.count(outcome, unreachable, now);
        if let Some(trace) = self.trace.take() {
            let ending = Ending {
                outcome,
                first_byte: self.first_byte,
                total: now.saturating_duration_since(self.arrival.at),
            };
            trace.end(&self.entry, ending);
        }
        now
    }

    /// Only the first count of a request counts.
    fn count(&mut self, outcome: Outcome, unreachable: bool, now: Instant) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let total = now.saturating_duration_since(self.arrival.at);
        let is_late = |patience: Duration| total + SLACK.min(patience / 8) >= patience;
        let outcome = match outcome {
            Outcome::Aborted if self.patience.is_some_and(is_late) => Outcome::Error,
            outcome => outcome,
        };
        let record = Record {
            arm: self.arm,
            assignment: self.assignment,
            outcome,
            unreachable,
            arrived_ms: self.arrival.unix_ms,
            total_ms: milliseconds(total),
            first_byte_ms: self.first_byte.map(milliseconds),
        };
        self.entry.stage.record(self.worker, &record);
        if let Some(copy) = self.copy.take() {
            copy.original(outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_open {
            self.close(Outcome::Aborted, false);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
