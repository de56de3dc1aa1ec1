//! A route's totals since it came into the configuration, for the metrics: they only ever rise, through every epoch
//! and reload, and count warm-up, plain routes and late records too.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serin_stats::metrics::Buckets;
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
    server: DurationsCell,
    client: DurationsCell,
}

#[derive(Debug, Default)]
struct DurationsCell {
    /// By bucket, not cumulative; the last one has no bound.
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

/// One arm's totals, over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmTotals {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 4],
    /// From a request's arrival to the end of its response.
    pub server: Durations,
    /// From asking an endpoint of this arm to the end of its response.
    pub client: Durations,
}

/// How long something took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By bucket (not cumulative); the last one has no bound.
    pub buckets: [u64; BOUNDS_S.len() + 1],
    /// Sum in microseconds.
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
        let Some(cell) = self.cell(worker, record.arm) else {
            return;
        };
        cell.server.count(record.total_ms / 1e3);
        if let Some(count) = cell.outcomes.get(record.outcome as usize) {
            add(count, 1);
        }
    }

    /// Counts an endpoint's answer that ended, well or not. The same rule.
    pub fn count_asked(&self, worker: usize, arm: Arm, took: Duration) {
        if let Some(cell) = self.cell(worker, arm) {
            cell.client.count(took.as_secs_f64());
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
            cell.server.read_into(&mut sum.server);
            cell.client.read_into(&mut sum.client);
        }
        sum
    }

    fn cell(&self, worker: usize, arm: Arm) -> Option<&ArmCell> {
        let cell = self.workers.get(worker).map(|Worker(arms)| arms.get(arm));
        debug_assert!(cell.is_some(), "worker {worker} has no totals");
        cell
    }
}

impl DurationsCell {
    fn count(&self, seconds: f64) {
        let at = BOUNDS_S.partition_point(|&bound| bound < seconds);
        // A float to integer cast saturates, and takes NaN for zero.
        add(&self.sum_us, (seconds * 1e6).round() as u64);
        if let Some(bucket) = self.buckets.get(at) {
            add(bucket, 1);
        }
    }

    fn read_into(&self, sum: &mut Durations) {
        for (sum, count) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += read(count);
        }
        sum.sum_us = sum.sum_us.wrapping_add(read(&self.sum_us));
    }
}

impl ArmTotals {
    /// Requests with this outcome.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }
}

impl Durations {
    /// For the page of metrics.
    #[must_use]
    pub fn to_buckets(&self) -> Buckets {
        Buckets {
            bounds: &BOUNDS_S,
            counts: self.buckets.to_vec(),
            sum: self.sum_us as f64 / 1e6,
        }
    }
}
