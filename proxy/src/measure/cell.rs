//! One worker's counts for one arm of one stage.
//!
//! One writer, many readers, no lock: every counter is written by plain load and store, never by a locked
//! instruction. The writer stores its counters in one order (requests, how they ended, latency), each with
//! `Release`; the reader loads them in the opposite order with `Acquire`. Whatever it sees of a later counter
//! it sees of the earlier ones too, so errors never exceed requests in any snapshot, however it falls between
//! two stores. Outcomes are not counted a second time: they are the sums of the buckets, and agree with them.

use std::sync::atomic::{AtomicU64, Ordering};

use serin_stats::histogram::{BINS, Histogram, bin_of};
use serin_stats::snapshot::{ArmCounts, Outcome, USER_BUCKETS};
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
    requests: AtomicU64,
    errors: AtomicU64,
    rejected: AtomicU64,
    aborted: AtomicU64,
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
        add(&bucket.requests, 1);
        match record.outcome {
            Outcome::Success => {}
            Outcome::Error => add(&bucket.errors, 1),
            Outcome::Rejected => add(&bucket.rejected, 1),
            Outcome::Aborted => add(&bucket.aborted, 1),
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
            *requests += bucket.requests;
            *errors += bucket.errors;
            *rejected += bucket.rejected;
            *aborted += bucket.aborted;
            *measured += bucket.measured;
            *slow += bucket.slow;
            *half_ranks += bucket.half_ranks;
            for (sum, outcome) in outcomes.iter_mut().zip(Outcome::ALL) {
                *sum += bucket.outcome(outcome);
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
        let aborted = read(&self.aborted);
        let rejected = read(&self.rejected);
        let errors = read(&self.errors);
        let requests = read(&self.requests);
        BucketCounts {
            requests,
            errors,
            rejected,
            aborted,
            measured,
            slow,
            half_ranks,
        }
    }
}

/// What was read of a bucket.
struct BucketCounts {
    requests: u64,
    errors: u64,
    rejected: u64,
    aborted: u64,
    measured: u64,
    slow: u64,
    half_ranks: u64,
}

impl BucketCounts {
    const fn outcome(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Success => self.requests - self.errors - self.rejected - self.aborted,
            Outcome::Error => self.errors,
            Outcome::Rejected => self.rejected,
            Outcome::Aborted => self.aborted,
        }
    }
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

    use super::*;

    /// The window between two loads of a bucket is a nanosecond: many tries, with a writer that always fails.
    #[test]
    fn no_bucket_ever_has_more_failures_than_requests() {
        let bucket = Bucket::default();
        let stop = AtomicBool::new(false);
        let unfair = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    add(&bucket.requests, 1);
                    add(&bucket.errors, 1);
                    add(&bucket.measured, 1);
                    add(&bucket.slow, 1);
                }
            });
            while read(&bucket.requests) == 0 {
                std::thread::yield_now();
            }
            let tries = std::iter::repeat_with(|| bucket.read()).take(1_000_000);
            let is_unfair = |read: &BucketCounts| {
                read.errors > read.requests
                    || read.measured > read.errors
                    || read.slow > read.measured
            };
            let unfair = tries.filter(is_unfair).count();
            stop.store(true, Ordering::Relaxed);
            unfair
        });
        assert_eq!(unfair, 0);
    }
}
