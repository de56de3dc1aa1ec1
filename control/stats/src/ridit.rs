//! Ridits: ranks against a frozen reference, so that latencies can be summed bucket by bucket and watched.
//!
//! The ridit of a bin is (count below + ½ count inside)/n of the reference. The reference's own mean is ½, and
//! if the reference is the baseline itself, the canary's mean ridit is the AUC of Mann–Whitney.
//!
//! Reference: Bross 1958, "How to use ridit analysis".

/// Mean and variance of one arm's ridits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiditSummary {
    /// Mean ridit, in [0, 1].
    pub mean: f64,
    /// Variance of a single ridit (divided by n), ≥ 0.
    pub variance: f64,
    /// Number of values.
    pub n: f64,
}

/// The ridit of every bin of a reference histogram, each in [0, 1]; `None` when it is empty.
#[must_use]
pub fn scores(reference: &[u64]) -> Option<Vec<f64>> {
    let total: f64 = reference.iter().map(|&count| count as f64).sum();
    if !(total > 0.0) {
        return None;
    }
    let mut below = 0.0;
    Some(
        reference
            .iter()
            .map(|&count| {
                let count = count as f64;
                let score = (below + 0.5 * count) / total;
                below += count;
                score
            })
            .collect(),
    )
}

/// Mean and variance of an arm with these counts per bin; `None` when it is empty.
#[must_use]
pub fn summary(scores: &[f64], counts: &[u64]) -> Option<RiditSummary> {
    let weighted = || {
        scores
            .iter()
            .zip(counts)
            .map(|(&score, &count)| (score, count as f64))
    };
    let n: f64 = weighted().map(|(_, count)| count).sum();
    if !(n > 0.0) {
        return None;
    }
    let mean = weighted().map(|(score, count)| score * count).sum::<f64>() / n;
    let squares: f64 = weighted()
        .map(|(score, count)| count * (score - mean).powi(2))
        .sum();
    Some(RiditSummary {
        mean,
        variance: squares / n,
        n,
    })
}
