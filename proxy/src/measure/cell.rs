//! One worker's counts for one arm of one stage.
//!
//! One writer, many readers, no lock: every counter is written by plain load and store, never by a locked
//! instruction. A request is one step of one counter, that of its outcome; requests are the sum of outcomes.
//! So a snapshot that falls between two stores never shows a failure as a success first, errors never exceed
//! requests, and no figure ever shrinks. Latency is stored after the outcome with `Release` and loaded before
//! it with `Acquire`: there are never more latencies than requests.

use std::sync::atomic::{AtomicU64, Ordering};

use serin_stats::histogram::{BINS, Histogram, bin_of};
use serin_stats::snapshot::{ArmCounts, USER_BUCKETS};
use serin_stats::split::Split;

use super::record::Record;

/// A worker's counts for one arm. Aligned so that no two workers share a cache line (or a pair of lines that
/// is fetched together).
#[derive(Debug)]
#[repr(align(128))]
pub struct Cell {
    /// Written last by every record, so that a reader knows whether anything changed.
    records: AtomicU64,
    unreachable: AtomicU64,
    half_ranks_squared: AtomicU64,
    buckets: [Bucket; USER_BUCKETS],
    total: [AtomicU64; BINS],
    first_byte: [AtomicU64; BINS],
}

/// All that is counted per user bucket: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// In the order of `Outcome::ALL`.
    outcomes: [AtomicU64; 4],
    measured: AtomicU64,
    slow: AtomicU64,
    half_ranks: AtomicU64,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            records: AtomicU64::new(0),
            unreachable: AtomicU64::new(0),
            half_ranks_squared: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| Bucket::default()),
            total: [const { AtomicU64::new(0) }; BINS],
            first_byte: [const { AtomicU64::new(0) }; BINS],
        }
    }
}

impl Cell {
    /// Counts one request; only ever called by the worker that owns the cell. The caller ends the record with
    /// [`Self::finish`].
    pub fn count(&self, record: &Record, split: &Split) {
        let Some(bucket) = self.buckets.get(usize::from(record.assignment.bucket)) else {
            return;
        };
        if let Some(outcome) = bucket.outcomes.get(record.outcome as usize) {
            add(outcome, 1);
        }
        if record.unreachable {
            add(&self.unreachable, 1);
        }
        if record.arrived_ms >= split.latency_from_ms {
            self.count_latency(bucket, record, split);
        }
    }

    fn count_latency(&self, bucket: &Bucket, record: &Record, split: &Split) {
        if let Some(reference) = &split.reference {
            let (half_rank, slow) = reference.rank(record.total_ms);
            let half_rank = u64::from(half_rank);
            add(&bucket.measured, 1);
            add(&bucket.half_ranks, half_rank);
            if slow {
                add(&bucket.slow, 1);
            }
            // Below 2⁶²; the sum would wrap only with references far larger than the control loop freezes.
            add(&self.half_ranks_squared, half_rank * half_rank);
        }
        if let Some(bin) = self.total.get(bin_of(record.total_ms)) {
            add(bin, 1);
        }
        if let Some(first_byte_ms) = record.first_byte_ms
            && let Some(bin) = self.first_byte.get(bin_of(first_byte_ms))
        {
            add(bin, 1);
        }
    }

    /// Makes a counted request visible to [`Self::records`].
    pub fn finish(&self) {
        add(&self.records, 1);
    }

    /// Requests finished so far. Read it before [`Self::read_into`]: what it counts is then read.
    #[must_use]
    pub fn records(&self) -> u64 {
        read(&self.records)
    }

    /// Adds these counts to the sum over all workers.
    pub fn read_into(&self, sum: &mut ArmCounts) {
        sum.latency.first_byte.merge(&histogram(&self.first_byte));
        sum.latency.total.merge(&histogram(&self.total));
        let squared = &mut sum.latency.half_ranks_squared;
        *squared = squared.wrapping_add(read(&self.half_ranks_squared));
        sum.unreachable += read(&self.unreachable);

        let buckets = self.buckets.iter().map(Bucket::read);
        let sums = sum
            .requests
            .0
            .iter_mut()
            .zip(&mut sum.errors.0)
            .zip(&mut sum.rejected.0)
            .zip(&mut sum.aborted.0)
            .zip(&mut sum.latency.measured.0)
            .zip(&mut sum.latency.slow.0)
            .zip(&mut sum.latency.half_ranks.0);
        let mut outcomes = [0; 4];
        for (bucket, sums) in buckets.zip(sums) {
            let ((((((requests, errors), rejected), aborted), measured), slow), half_ranks) = sums;
            let [_, bucket_errors, bucket_rejected, bucket_aborted] = bucket.outcomes;
            *requests += bucket.outcomes.iter().sum::<u64>();
            *errors += bucket_errors;
            *rejected += bucket_rejected;
            *aborted += bucket_aborted;
            *measured += bucket.measured;
            *slow += bucket.slow;
            *half_ranks += bucket.half_ranks;
            for (sum, count) in outcomes.iter_mut().zip(bucket.outcomes) {
                *sum += count;
            }
        }
        for (sum, count) in sum.outcomes.iter_mut().zip(outcomes) {
            *sum += count;
        }
    }
}

impl Bucket {
    /// Loads in the opposite order of the stores.
    fn read(&self) -> BucketCounts {
        let slow = read(&self.slow);
        let half_ranks = read(&self.half_ranks);
        let measured = read(&self.measured);
        let outcomes = self.outcomes.each_ref().map(read);
        BucketCounts {
            outcomes,
            measured,
            slow,
            half_ranks,
        }
    }
}

/// What was read of a bucket.
struct BucketCounts {
    outcomes: [u64; 4],
    measured: u64,
    slow: u64,
    half_ranks: u64,
}

/// One writer: no other thread can come between the load and the store.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    let value = counter.load(Ordering::Relaxed).wrapping_add(by);
    counter.store(value, Ordering::Release);
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Acquire)
}

fn histogram(bins: &[AtomicU64]) -> Histogram {
    Histogram::from_counts(bins.iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use serin_stats::snapshot::Outcome;

    use super::*;

    /// The window between two loads of a bucket is a nanosecond: many tries, with a writer that always fails.
    #[test]
    fn a_failure_is_never_seen_as_a_success_first() {
        const ERROR: usize = Outcome::Error as usize;
        let bucket = Bucket::default();
        let stop = AtomicBool::new(false);
        let unfair = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    add(&bucket.outcomes[ERROR], 1);
                    add(&bucket.measured, 1);
                    add(&bucket.slow, 1);
                }
            });
            while read(&bucket.outcomes[ERROR]) == 0 {
                std::thread::yield_now();
            }
            let tries = std::iter::repeat_with(|| bucket.read()).take(1_000_000);
            let is_unfair = |read: &BucketCounts| {
                read.outcomes[Outcome::Success as usize] > 0
                    || read.measured > read.outcomes[ERROR]
                    || read.slow > read.measured
            };
            let unfair = tries.filter(is_unfair).count();
            stop.store(true, Ordering::Relaxed);
            unfair
        });
        assert_eq!(unfair, 0);
    }

    #[test]
    fn outcomes_stand_in_the_order_of_their_numbers() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
    }
}
