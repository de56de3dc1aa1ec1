//! The Hodges–Lehmann shift: the median of all differences canary − baseline, in the unit of the values.
//!
//! Never forms the n_c·n_b differences: the k-th smallest is found by bisection on its value, counting the
//! pairs at or below a trial value in one pass over both sorted arms. With histograms a bin stands for its
//! geometric middle, so the shift is good to about 1 % of the values.
//!
//! Reference: Hodges & Lehmann 1963; the interval inverts the Mann–Whitney test (Lehmann 1963).

use crate::histogram::{BINS, Histogram, middle_ms};
use crate::proportion::Interval;
use crate::rank_sum;
use crate::special::normal;

/// A shift and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Median of the pairwise differences, canary minus baseline.
    pub estimate: f64,
    /// Interval at the level asked for; fixed-horizon.
    pub interval: Interval,
}

/// The shift between raw samples; values that are not finite are left out. `None` when an arm is empty.
#[must_use]
pub fn from_samples(canary: &[f64], baseline: &[f64], level: f64) -> Option<Shift> {
    let sigma = rank_sum::from_samples(canary, baseline)?.sigma_u;
    shift(&Weighted::of(canary), &Weighted::of(baseline), sigma, level)
}

/// The shift in milliseconds between latency histograms. `None` when an arm is empty.
#[must_use]
pub fn from_histograms(canary: &Histogram, baseline: &Histogram, level: f64) -> Option<Shift> {
    let sigma = rank_sum::from_counts(canary.counts(), baseline.counts())?.sigma_u;
    let weighted = |histogram: &Histogram| {
        Weighted::new((0..BINS).map(|bin| (middle_ms(bin), histogram.counts()[bin])))
    };
    shift(&weighted(canary), &weighted(baseline), sigma, level)
}

fn shift(canary: &Weighted, baseline: &Weighted, sigma: f64, level: f64) -> Option<Shift> {
    let pairs = canary.total().saturating_mul(baseline.total());
    if pairs == 0 {
        return None;
    }
    let ranked = |rank: u128| kth_difference(canary, baseline, rank.clamp(1, pairs));
    let lower = ranked(pairs.div_ceil(2));
    // With an even number of pairs the median lies between two of them, mostly equal ones.
    let middle = pairs / 2 + 1;
    let upper = if pairs_at_or_below(canary, baseline, lower) >= middle {
        lower
    } else {
        ranked(middle)
    };
    let reach = normal::two_sided_z(level) * sigma;
    let low_rank = (0.5 * pairs as f64 - reach).round().max(1.0) as u128;
    Some(Shift {
        estimate: 0.5 * lower + 0.5 * upper,
        interval: Interval {
            low: ranked(low_rank),
            high: ranked((pairs + 1).saturating_sub(low_rank)),
        },
    })
}

/// Ascending values with the number of observations at or below each.
struct Weighted {
    values: Vec<f64>,
    cumulative: Vec<u128>,
}

impl Weighted {
    fn of(samples: &[f64]) -> Self {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Self::new(sorted.into_iter().map(|value| (value, 1)))
    }

    fn new(ascending: impl Iterator<Item = (f64, u64)>) -> Self {
        let (mut values, mut cumulative, mut sum) = (Vec::new(), Vec::new(), 0);
        for (value, count) in ascending.filter(|&(_, count)| count > 0) {
            sum += u128::from(count);
            values.push(value);
            cumulative.push(sum);
        }
        Self { values, cumulative }
    }

    fn total(&self) -> u128 {
        self.cumulative.last().copied().unwrap_or(0)
    }
}

/// The k-th smallest (from 1) of all differences.
fn kth_difference(canary: &Weighted, baseline: &Weighted, rank: u128) -> f64 {
    let reached = |trial: f64| pairs_at_or_below(canary, baseline, trial) >= rank;
    // Over the doubles in their order: at most 64 steps to the exact value.
    let (mut low, mut high) = (ordered(f64::NEG_INFINITY), ordered(f64::INFINITY));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reached(from_ordered(middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    from_ordered(high)
}

/// Pairs whose difference is at most `trial`, in one pass: as the canary's value rises, so must the
/// baseline's.
fn pairs_at_or_below(canary: &Weighted, baseline: &Weighted, trial: f64) -> u128 {
    let (mut pairs, mut before, mut first) = (0_u128, 0, 0);
    for (&value, &upto) in canary.values.iter().zip(&canary.cumulative) {
        while first < baseline.values.len() && value - baseline.values[first] > trial {
            first += 1;
        }
        if first == baseline.values.len() {
            break;
        }
        let skipped = if first == 0 {
            0
        } else {
            baseline.cumulative[first - 1]
        };
        pairs = pairs.saturating_add((upto - before).saturating_mul(baseline.total() - skipped));
        before = upto;
    }
    pairs
}

/// Maps doubles to whole numbers in the same order.
fn ordered(value: f64) -> i128 {
    let bits = value.to_bits() as i64;
    i128::from(if bits < 0 {
        i64::MIN.wrapping_sub(bits)
    } else {
        bits
    })
}

fn from_ordered(order: i128) -> f64 {
    let order = order as i64;
    let bits = if order < 0 {
        i64::MIN.wrapping_sub(order)
    } else {
        order
    };
    f64::from_bits(bits as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_doubles_survives_the_round_trip() {
        for value in [
            f64::NEG_INFINITY,
            -1.5,
            -1e-300,
            0.0,
            1e-300,
            2.0,
            f64::INFINITY,
        ] {
            assert_eq!(from_ordered(ordered(value)), value);
        }
        assert!(ordered(-2.0) < ordered(-1.0) && ordered(-1.0) < ordered(0.5));
    }

    #[test]
    fn median_of_the_differences() {
        let found = from_samples(&[4.0, 5.0, 9.0], &[1.0, 2.0], 0.95).unwrap();
        // Differences 2, 3, 3, 4, 7, 8.
        assert_eq!(found.estimate, 3.5);
        assert!(found.interval.low <= 3.5 && found.interval.high >= 3.5);
        assert_eq!(from_samples(&[], &[1.0], 0.95), None);
    }

    #[test]
    fn histograms_agree_with_samples_within_a_bin() {
        let (mut slow, mut fast) = (Histogram::default(), Histogram::default());
        for step in 0..400 {
            fast.record(100.0 + f64::from(step % 40));
            slow.record(150.0 + f64::from(step % 40));
        }
        let found = from_histograms(&slow, &fast, 0.95).unwrap();
        assert!((found.estimate - 50.0).abs() < 4.0, "{found:?}");
        assert!(
            found.interval.low > 40.0 && found.interval.high < 60.0,
            "{found:?}"
        );
    }
}
