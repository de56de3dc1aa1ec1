//! What of an arm's user buckets the engine needs, in six sums: enough to repeat its variance from a record
//! that holds no buckets.

use super::{BucketVariance, DESIGN_EFFECT};

/// Sums over the user buckets of one arm, n_j requests and x_j counted ones (or summed values) each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Buckets with requests.
    pub filled: u64,
    /// N = Σ n_j.
    pub n: u64,
    /// X = Σ x_j.
    pub x: u64,
    /// Σ n_j².
    pub nn: f64,
    /// Σ n_j·x_j.
    pub nx: f64,
    /// Σ x_j².
    pub xx: f64,
}

impl Moments {
    /// The sums of these buckets; what lies beyond the shorter list is left out.
    #[must_use]
    pub fn of(n: &[u64], x: &[u64]) -> Self {
        let mut sums = Self::default();
        for (&n, &x) in n.iter().zip(x) {
            if n == 0 {
                continue;
            }
            sums.filled += 1;
            sums.n = sums.n.saturating_add(n);
            sums.x = sums.x.saturating_add(x);
            let (n, x) = (n as f64, x as f64);
            sums.nn += n * n;
            sums.nx += n * x;
            sums.xx += x * x;
        }
        sums
    }

    /// X/N; `None` without requests.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.x as f64 / self.n as f64)
    }

    /// The sandwich variance of the mean, Σ(x_j − m·n_j)²/N² = (Σx² − 2mΣnx + m²Σn²)/N²; `None` without
    /// requests.
    #[must_use]
    pub fn variance(&self) -> Option<BucketVariance> {
        let mean = self.mean()?;
        let n = self.n as f64;
        let squares = (self.xx - 2.0 * mean * self.nx + mean * mean * self.nn).max(0.0);
        let uncorrected = squares / (n * n);
        let filled = self.filled as f64;
        let correction = if filled > 1.0 {
            filled / (filled - 1.0)
        } else {
            1.0
        };
        Some(BucketVariance {
            mean,
            uncorrected,
            corrected: uncorrected * correction,
        })
    }

    /// DEFF of a yes/no metric, held within 1..=100: the bucket variance over that of independent requests. 1
    /// when nothing or everything counts, and with fewer than two filled buckets.
    #[must_use]
    pub fn design_effect(&self) -> f64 {
        if self.x == 0 || self.x >= self.n || self.filled < 2 {
            return DESIGN_EFFECT.0;
        }
        self.variance().map_or(DESIGN_EFFECT.0, |variance| {
            let p = variance.mean;
            let independent = p * (1.0 - p) / self.n as f64;
            (variance.corrected / independent).clamp(DESIGN_EFFECT.0, DESIGN_EFFECT.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{bucket_variance, counts, design_effect};
    use super::*;

    #[test]
    fn six_sums_tell_what_the_buckets_tell() {
        let close = |one: f64, other: f64| (one - other).abs() <= 1e-9 * other.abs().max(1e-300);
        for scale in [1, 1_000, 1_000_000] {
            let n: Vec<u64> = (0..256).map(|j| (j * 7 % 31) * scale).collect();
            let x: Vec<u64> = n.iter().zip(0..).map(|(n, j)| n * (j % 5) / 40).collect();
            let moments = Moments::of(&n, &x);
            let (ours, theirs) = (
                moments.variance().unwrap(),
                bucket_variance(counts(&n, &x)).unwrap(),
            );
            assert!(close(ours.corrected, theirs.corrected), "{scale}");
            assert!(close(moments.design_effect(), design_effect(&n, &x)));
        }
        assert_eq!(Moments::default().variance(), None);
        assert_eq!(Moments::of(&[5, 5], &[5, 5]).design_effect(), 1.0);
        assert_eq!(Moments::of(&[5, 0], &[1, 0]).design_effect(), 1.0);
    }
}
