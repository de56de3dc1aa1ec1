//! A route's totals since it was first configured, for the metrics: they only ever rise, through every epoch
//! and reload, and count warm-up, plain routes and late records too.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serin_stats::snapshot::{Arm, Outcome, PerArm};

use super::cell::{add, read};
use super::copies::CopyTotals;
use super::record::Record;

/// Upper bounds of the duration buckets in seconds, as OpenTelemetry advises for
/// `http.server.request.duration`.
pub const BOUNDS_S: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// One route's totals, one cell per worker.
#[derive(Debug)]
pub struct Totals {
    workers: Box<[Worker]>,
    /// The copies made of its requests.
    pub copies: Arc<CopyTotals>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Worker(PerArm<ArmCell>);

#[derive(Debug, Default)]
struct ArmCell {
    outcomes: [AtomicU64; 4],
    /// By bucket, not cumulative; the last one has no bound.
    durations: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

/// One arm's totals, over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmTotals {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 4],
    /// Requests per duration bucket (not cumulative); the last one has no bound.
    pub durations: [u64; BOUNDS_S.len() + 1],
    /// Sum of the durations in microseconds.
    pub sum_us: u64,
}

impl Totals {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            copies: Arc::new(CopyTotals::new(workers)),
        }
    }

    /// Counts a request that ended. Each worker passes its own number, and no other thread does.
    pub fn count(&self, worker: usize, record: &Record) {
        let Some(Worker(arms)) = self.workers.get(worker) else {
            debug_assert!(false, "worker {worker} has no totals");
            return;
        };
        let cell = arms.get(record.arm);
        let total_s = record.total_ms / 1e3;
        let at = BOUNDS_S.partition_point(|&bound| bound < total_s);
        // A float to integer cast saturates, and takes NaN for zero.
        add(&cell.sum_us, (record.total_ms * 1e3) as u64);
        if let Some(bucket) = cell.durations.get(at) {
            add(bucket, 1);
        }
        if let Some(count) = cell.outcomes.get(record.outcome as usize) {
            add(count, 1);
        }
    }

    /// The sum over all workers.
    #[must_use]
    pub fn read(&self, arm: Arm) -> ArmTotals {
        let mut sum = ArmTotals::default();
        for Worker(arms) in &self.workers {
            let cell = arms.get(arm);
            for (sum, count) in sum.outcomes.iter_mut().zip(&cell.outcomes) {
                *sum += read(count);
            }
            for (sum, count) in sum.durations.iter_mut().zip(&cell.durations) {
                *sum += read(count);
            }
            sum.sum_us = sum.sum_us.wrapping_add(read(&cell.sum_us));
        }
        sum
    }
}

impl ArmTotals {
    /// Requests with this outcome.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }
}
