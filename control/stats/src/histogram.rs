//! Log-spaced latency histogram: ratio 1.02 between bin edges, 850 bins from 0.05 ms to about 1,000 s, with
//! an underflow and an overflow bin. Two values in one bin differ by at most 2 %, so a quantile read at the
//! geometric middle is off by at most 1 %. Merging is addition.

/// Ratio between neighbouring bin edges.
pub const GAMMA: f64 = 1.02;
/// Lower edge of the first proper bin, in milliseconds.
pub const MIN_MS: f64 = 0.05;
/// Proper bins, without under- and overflow.
pub const LOG_BINS: usize = 850;
/// All bins: underflow, [`LOG_BINS`], overflow.
pub const BINS: usize = LOG_BINS + 2;

/// 1 / ln(1.02).
const INVERSE_LN_GAMMA: f64 = 50.498_349_783_868_35;

/// The bin of a latency in milliseconds; NaN and values below [`MIN_MS`] fall into bin 0.
#[must_use]
pub fn bin_of(ms: f64) -> usize {
    if ms.is_nan() || ms < MIN_MS {
        return 0;
    }
    bin_at(log_position(ms))
}

/// Where a latency in milliseconds lies on the bins' scale: the first proper bin covers [0, 1), the next one
/// [1, 2).
#[must_use]
pub fn log_position(ms: f64) -> f64 {
    (ms / MIN_MS).ln() * INVERSE_LN_GAMMA
}

/// The bin at a [`log_position`]; NaN and negative ones fall into bin 0.
#[must_use]
pub fn bin_at(position: f64) -> usize {
    if position.is_nan() || position < 0.0 {
        0
    } else if position >= LOG_BINS as f64 {
        BINS - 1
    } else {
        position as usize + 1
    }
}

/// Lower edge of a bin in milliseconds (0 for the underflow bin).
#[must_use]
pub fn lower_edge_ms(bin: usize) -> f64 {
    if bin == 0 {
        0.0
    } else {
        MIN_MS * GAMMA.powi(bin as i32 - 1)
    }
}

/// What a bin stands for in milliseconds: its geometric middle; the underflow bin reads as [`MIN_MS`], the
/// overflow bin as its lower edge.
#[must_use]
pub fn middle_ms(bin: usize) -> f64 {
    match bin {
        0 => MIN_MS,
        _ if bin >= BINS - 1 => lower_edge_ms(BINS - 1),
        _ => lower_edge_ms(bin) * GAMMA.sqrt(),
    }
}

/// Counts per bin; always [`BINS`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BINS],
        }
    }
}

impl Histogram {
    /// From raw counts; missing bins are zero, surplus ones are dropped.
    #[must_use]
    pub fn from_counts(mut counts: Vec<u64>) -> Self {
        counts.resize(BINS, 0);
        Self { counts }
    }

    /// Counts one latency in milliseconds.
    pub fn record(&mut self, ms: f64) {
        self.counts[bin_of(ms)] += 1;
    }

    /// Counts one latency of this bin (the last one for numbers beyond it).
    pub fn record_bin(&mut self, bin: usize) {
        self.counts[bin.min(BINS - 1)] += 1;
    }

    /// Counts per bin, [`BINS`] of them.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of recorded values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The `q`-quantile in milliseconds with geometric interpolation inside the bin; `None` when empty.
    /// `q` is clamped to [0, 1]. The overflow bin reads as its lower edge, the underflow bin as [`MIN_MS`].
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        self.quantiles().at_ms(q)
    }

    /// For reading many quantiles.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        let mut upto = 0;
        let filled = self.counts.iter().enumerate();
        let filled = filled.filter(|&(_, &count)| count > 0);
        let filled = filled
            .map(|(bin, &count)| {
                upto += count;
                Filled { bin, count, upto }
            })
            .collect();
        Quantiles {
            filled,
            total: upto,
        }
    }
}

/// A histogram's quantiles, each found in a few steps.
#[derive(Clone, Debug)]
pub struct Quantiles {
    filled: Vec<Filled>,
    total: u64,
}

/// A bin with values, and how many there are up to its end.
#[derive(Clone, Copy, Debug)]
struct Filled {
    bin: usize,
    count: u64,
    upto: u64,
}

impl Quantiles {
    /// Number of values.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// As [`Histogram::quantile_ms`].
    #[must_use]
    pub fn at_ms(&self, q: f64) -> Option<f64> {
        let target = q.clamp(0.0, 1.0) * self.total as f64;
        let first = self
            .filled
            .partition_point(|filled| (filled.upto as f64) < target);
        let Filled { bin, count, upto } = *self.filled.get(first)?;
        let below = (upto - count) as f64;
        Some(match bin {
            0 => MIN_MS,
            _ if bin == BINS - 1 => lower_edge_ms(bin),
            _ => {
                let inside = ((target - below) / count as f64).clamp(0.0, 1.0);
                lower_edge_ms(bin) * GAMMA.powf(inside)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bin_holds_its_lower_edge() {
        for bin in 1..BINS {
            // A hair above the edge: the edge itself may round either way.
            assert_eq!(bin_of(lower_edge_ms(bin) * 1.000_001), bin);
        }
        assert_eq!(bin_of(f64::NAN), 0);
        assert_eq!(bin_of(-1.0), 0);
        assert_eq!(bin_of(f64::INFINITY), BINS - 1);
    }

    #[test]
    fn quantiles_are_within_one_bin() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.record(f64::from(ms));
        }
        let p95 = histogram.quantile_ms(0.95).unwrap();
        assert!((p95 / 950.0 - 1.0).abs() < 0.02, "{p95}");
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
    }
}
