//! One worker's counts of one target's copies in one stage, and a route's totals of them.
//!
//! One writer, many readers, no lock, like the arms' [cells](super::cell): stores in one order, loads in the
//! opposite one, so that no reader sees more failures than pairs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serin_stats::histogram::{BINS, Histogram, bin_of};
use serin_stats::shadow::{CopyResult, ShadowCounts, Target};
use serin_stats::snapshot::USER_BUCKETS;
use serin_stats::split::Split;

use super::cell::{add, read};

/// What is known of a request that was to be copied, when both the copy and the original are over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyRecord {
    /// Who the copy was for.
    pub target: Target,
    /// What became of it.
    pub result: CopyResult,
    /// The bucket of the user whose request it was.
    pub bucket: u8,
    /// When the original arrived, in Unix milliseconds.
    pub arrived_ms: u64,
    /// The two answers side by side; absent when one of them says nothing.
    pub pair: Option<Pair>,
}

/// Two answers to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The original succeeded.
    pub baseline_ok: bool,
    /// From the whole request to the end of the original's answer, in milliseconds.
    pub baseline_ms: f64,
    /// The same for the copy; absent when we slowed its answer down.
    pub copy_ms: Option<f64>,
}

impl CopyRecord {
    /// Whether the control loop should hear of it at once: the copy failed and the original did not.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        self.result != CopyResult::Ok && self.pair.is_some_and(|pair| pair.baseline_ok)
    }
}

/// A worker's counts for one target.
#[derive(Debug)]
#[repr(align(128))]
pub struct CopyCell {
    /// Written last by every record.
    records: AtomicU64,
    results: [AtomicU64; CopyResult::ALL.len()],
    both_failed: AtomicU64,
    buckets: [Bucket; USER_BUCKETS],
    latency: [AtomicU64; BINS],
    baseline_latency: [AtomicU64; BINS],
}

#[derive(Debug, Default)]
struct Bucket {
    paired: AtomicU64,
    only_shadow_failed: AtomicU64,
    only_baseline_failed: AtomicU64,
}

impl Default for CopyCell {
    fn default() -> Self {
        Self {
            records: AtomicU64::new(0),
            results: [const { AtomicU64::new(0) }; CopyResult::ALL.len()],
            both_failed: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| Bucket::default()),
            latency: [const { AtomicU64::new(0) }; BINS],
            baseline_latency: [const { AtomicU64::new(0) }; BINS],
        }
    }
}

impl CopyCell {
    /// Counts one copy; only ever called by the worker that owns the cell.
    pub fn count(&self, record: &CopyRecord, split: &Split) {
        if let Some(result) = self.results.get(record.result as usize) {
            add(result, 1);
        }
        if let (Some(pair), Some(bucket)) =
            (record.pair, self.buckets.get(usize::from(record.bucket)))
        {
            add(&bucket.paired, 1);
            match (pair.baseline_ok, record.result == CopyResult::Ok) {
                (true, true) => {}
                (true, false) => add(&bucket.only_shadow_failed, 1),
                (false, true) => add(&bucket.only_baseline_failed, 1),
                (false, false) => add(&self.both_failed, 1),
            }
            if let Some(copy_ms) = pair.copy_ms
                && record.arrived_ms >= split.latency_from_ms
            {
                let bins = [
                    (&self.latency, copy_ms),
                    (&self.baseline_latency, pair.baseline_ms),
                ];
                for (bins, ms) in bins {
                    if let Some(bin) = bins.get(bin_of(ms)) {
                        add(bin, 1);
                    }
                }
            }
        }
        add(&self.records, 1);
    }

    /// Copies counted so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        read(&self.records)
    }

    /// Adds these counts to the sum over all workers.
    pub fn read_into(&self, sum: &mut ShadowCounts) {
        let histogram =
            |bins: &[AtomicU64]| Histogram::from_counts(bins.iter().map(read).collect());
        sum.baseline_latency
            .merge(&histogram(&self.baseline_latency));
        sum.latency.merge(&histogram(&self.latency));
        sum.both_failed += read(&self.both_failed);
        let sums = sum
            .only_baseline_failed
            .0
            .iter_mut()
            .zip(&mut sum.only_shadow_failed.0)
            .zip(&mut sum.paired.0);
        for (bucket, ((only_baseline_failed, only_shadow_failed), paired)) in
            self.buckets.iter().zip(sums)
        {
            *only_baseline_failed += read(&bucket.only_baseline_failed);
            *only_shadow_failed += read(&bucket.only_shadow_failed);
            *paired += read(&bucket.paired);
        }
        for (sum, result) in sum.results.iter_mut().zip(&self.results) {
            *sum += read(result);
        }
    }
}

/// A route's copies since it was first configured, through every epoch and reload.
#[derive(Debug)]
pub struct CopyTotals {
    workers: Box<[WorkerCopies]>,
    in_flight: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerCopies([AtomicU64; CopyResult::ALL.len()]);

/// A copy under way; no longer so when dropped.
#[derive(Debug)]
pub struct CopySlot(Arc<CopyTotals>);

impl CopyTotals {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerCopies::default()).collect(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Counts a copy. Each worker passes its own number, and no other thread does.
    pub fn count(&self, worker: usize, result: CopyResult) {
        if let Some(WorkerCopies(results)) = self.workers.get(worker)
            && let Some(count) = results.get(result as usize)
        {
            add(count, 1);
        }
    }

    /// Copies by what became of them, over all workers, in the order of [`CopyResult::ALL`].
    #[must_use]
    pub fn read(&self) -> [u64; CopyResult::ALL.len()] {
        let mut sums = [0; CopyResult::ALL.len()];
        for WorkerCopies(results) in &self.workers {
            for (sum, result) in sums.iter_mut().zip(results) {
                *sum += read(result);
            }
        }
        sums
    }

    /// Copies under way, all workers together.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Room for one more copy, if fewer than `most` are under way.
    #[must_use]
    pub fn slot(self: &Arc<Self>, most: usize) -> Option<CopySlot> {
        let room = |count: usize| (count < most).then_some(count + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Relaxed);
        let taken = self.in_flight.fetch_update(set, fetch, room);
        taken.is_ok().then(|| CopySlot(Arc::clone(self)))
    }
}

impl Drop for CopySlot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(result: CopyResult, baseline_ok: Option<bool>) -> CopyRecord {
        CopyRecord {
            target: Target::Shadow,
            result,
            bucket: 7,
            arrived_ms: 100,
            pair: baseline_ok.map(|baseline_ok| Pair {
                baseline_ok,
                baseline_ms: 10.0,
                copy_ms: Some(20.0),
            }),
        }
    }

    #[test]
    fn pairs_results_and_latencies_are_counted_apart() {
        let cell = CopyCell::default();
        let split = Split {
            latency_from_ms: 100,
            ..Split::baseline_only(1)
        };
        for (result, baseline_ok) in [
            (CopyResult::Ok, Some(true)),
            (CopyResult::Ok, Some(false)),
            (CopyResult::Error, Some(true)),
            (CopyResult::Timeout, Some(false)),
            (CopyResult::Ok, None),
            (CopyResult::DroppedBody, None),
        ] {
            cell.count(&record(result, baseline_ok), &split);
        }
        let cold = CopyRecord {
            arrived_ms: 99,
            ..record(CopyResult::Ok, Some(true))
        };
        cell.count(&cold, &split);
        let mut counts = ShadowCounts::default();
        cell.read_into(&mut counts);
        let pairs = counts.pairs();
        assert_eq!(
            [
                pairs.both_ok,
                pairs.only_shadow_failed,
                pairs.only_baseline_failed,
                pairs.both_failed
            ],
            [2, 1, 1, 1]
        );
        assert_eq!((counts.offered(), counts.judged()), (7, 6));
        assert_eq!(counts.latency.total(), 4);
        assert_eq!(counts.baseline_latency.total(), 4);
        assert_eq!(cell.records(), 7);
    }

    #[test]
    fn no_more_slots_than_there_are() {
        let totals = Arc::new(CopyTotals::new(1));
        let (one, two) = (totals.slot(2), totals.slot(2));
        assert!(one.is_some() && two.is_some() && totals.slot(2).is_none());
        drop(one);
        assert!(totals.slot(2).is_some());
        assert_eq!(totals.in_flight(), 1);
    }

    #[test]
    fn only_a_failure_of_the_copy_alone_is_alarming() {
        assert!(record(CopyResult::Unreachable, Some(true)).is_alarming());
        assert!(!record(CopyResult::Unreachable, Some(false)).is_alarming());
        assert!(!record(CopyResult::Ok, Some(true)).is_alarming());
        assert!(!record(CopyResult::DroppedInFlight, None).is_alarming());
    }
}
