//! Who gets what: the value that comes down from the control loop to the proxy.

use std::sync::Arc;

use crate::histogram::{Histogram, bin_of};

/// The split of one rollout during one epoch. Every change of it is a new epoch, so that samples taken under
/// different splits are never mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Ascending per rollout, across restarts.
    pub epoch: u64,
    /// The canary's share of the key space, in [0, 1]: min(weight, 1 − holdback).
    pub share: f64,
    /// Requests that arrived before this moment (Unix ms) leave latency out: the canary's caches are cold.
    pub latency_from_ms: u64,
    /// What latencies are ranked against; `None` until enough baseline requests were seen.
    pub reference: Option<Arc<LatencyReference>>,
    /// The share of baseline's requests that are copied to the canary: a shadow step's. In [0, 1].
    pub shadow: f64,
    /// Whether the route's standing mirror may copy.
    pub mirror: bool,
}

impl Split {
    /// Everything to baseline, and a standing mirror as configured.
    #[must_use]
    pub const fn baseline_only(epoch: u64) -> Self {
        Self {
            epoch,
            share: 0.0,
            latency_from_ms: 0,
            reference: None,
            shadow: 0.0,
            mirror: true,
        }
    }
}

/// A frozen baseline histogram that later latencies are ranked against, so that their ridits can be summed
/// and watched sequentially: R(x) = (count below + ½ count in bin) / n.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyReference {
    histogram: Histogram,
    half_ranks: Vec<u32>,
    total: u64,
    p95_bin: usize,
}

impl LatencyReference {
    /// Freezes a baseline histogram; `None` when it is empty or holds more than 2³⁰ values.
    #[must_use]
    pub fn freeze(histogram: Histogram) -> Option<Self> {
        let total = histogram.total();
        if total == 0 || total > 1 << 30 {
            return None;
        }
        let mut below = 0_u64;
        let mut p95_bin = None;
        let half_ranks = histogram
            .counts()
            .iter()
            .enumerate()
            .map(|(bin, &count)| {
                let half_rank = (2 * below + count) as u32;
                below += count;
                if p95_bin.is_none() && 20 * below >= 19 * total {
                    p95_bin = Some(bin);
                }
                half_rank
            })
            .collect();
        Some(Self {
            half_ranks,
            total,
            p95_bin: p95_bin?,
            histogram,
        })
    }

    /// The frozen histogram.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// Number of values in the reference; a half rank divided by twice this is a ridit.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Twice the ridit's numerator, and whether the latency lies in a bin above the reference's P95.
    #[must_use]
    pub fn rank(&self, ms: f64) -> (u32, bool) {
        self.rank_bin(bin_of(ms))
    }

    /// As [`rank`](Self::rank), of a latency in this bin (the last one for numbers beyond it).
    #[must_use]
    pub fn rank_bin(&self, bin: usize) -> (u32, bool) {
        let bin = bin.min(self.half_ranks.len() - 1);
        (self.half_ranks[bin], bin > self.p95_bin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_run_from_zero_to_twice_the_total() {
        let mut histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.record(f64::from(ms));
        }
        let reference = LatencyReference::freeze(histogram).unwrap();
        assert_eq!(reference.rank(0.0), (0, false));
        assert_eq!(reference.rank(1e9), (200, true));
        assert!(!reference.rank(90.0).1);
        assert!(reference.rank(99.0).1);
        assert!(LatencyReference::freeze(Histogram::default()).is_none());
    }
}
