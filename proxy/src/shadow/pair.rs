//! A copy beside its original: each side says how it ended, and when neither has anything left to say, both
//! are counted as one record.

use std::cell::Cell;
use std::sync::Arc;

use serin_stats::shadow::{CopyResult, Target};
use serin_stats::snapshot::Outcome;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::measure::copies::{CopyRecord, Pair};
use crate::observe::Ticket;
use crate::route::RouteEntry;

/// What is known of a request and its copy. Counted when it is dropped: by whichever side ends last.
#[derive(Debug)]
pub(crate) struct Pairing {
    entry: Arc<RouteEntry>,
    worker: usize,
    target: Target,
    bucket: u8,
    arrived_ms: u64,
    /// Since when the request has been whole: what both sides' times are counted from.
    whole: Cell<Option<Instant>>,
    copy: Cell<(CopyResult, Option<Instant>)>,
    original: Cell<Option<(Outcome, Instant)>>,
    original_over: Notify,
}

impl Pairing {
    pub(super) fn new(ticket: &Ticket, target: Target) -> Self {
        Self {
            entry: Arc::clone(ticket.entry()),
            worker: ticket.worker(),
            target,
            bucket: ticket.assignment().bucket,
            arrived_ms: ticket.arrived_ms(),
            whole: Cell::new(None),
            copy: Cell::new((CopyResult::DroppedRequest, None)),
            original: Cell::new(None),
            original_over: Notify::new(),
        }
    }

    pub(super) const fn entry(&self) -> &Arc<RouteEntry> {
        &self.entry
    }

    pub(super) const fn target(&self) -> Target {
        self.target
    }

    /// The request has arrived whole.
    pub(super) fn begin(&self) {
        self.whole.set(Some(Instant::now()));
    }

    /// The copy ended so; `at` when its time is worth something.
    pub(super) fn end(&self, result: CopyResult, at: Option<Instant>) {
        self.copy.set((result, at));
    }

    /// The original ended so.
    pub(crate) fn original(&self, outcome: Outcome) {
        self.original.set(Some((outcome, Instant::now())));
        self.original_over.notify_one();
    }

    /// Waits until the original is over.
    pub(super) async fn original_over(&self) {
        while self.original.get().is_none() {
            self.original_over.notified().await;
        }
    }

    fn pair(&self) -> Option<Pair> {
        let (result, copy_at) = self.copy.get();
        let (outcome, original_at) = self.original.get()?;
        let whole = self.whole.get()?;
        let says_something = match outcome {
            Outcome::Success | Outcome::Error | Outcome::Rejected => result.is_judged(),
            Outcome::Aborted => false,
        };
        let ms = |at: Instant| at.saturating_duration_since(whole).as_secs_f64() * 1e3;
        says_something.then(|| Pair {
            baseline_ok: outcome == Outcome::Success,
            baseline_ms: ms(original_at),
            copy_ms: copy_at.map(ms),
        })
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        let record = CopyRecord {
            target: self.target,
            result: self.copy.get().0,
            bucket: self.bucket,
            arrived_ms: self.arrived_ms,
            pair: self.pair(),
        };
        self.entry.stage.record_copy(self.worker, &record);
    }
}
