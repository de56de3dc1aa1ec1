//! Many p-values at once: adjustments that keep the chance of a false alarm over all of them.
//!
//! Adjusted values are in the order of the input, in [0, 1], and are rejected at α when they are at most α.
//! P-values that are not numbers count as 1.
//!
//! References: Bonferroni; Holm 1979; Benjamini & Hochberg 1995.

/// Bonferroni: m·p. Family-wise error rate under any dependence.
#[must_use]
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    let m = p.len() as f64;
    p.iter().map(|&p| (m * probability(p)).min(1.0)).collect()
}

/// Holm's step-down: the largest of (m−i)·p₍ᵢ₎ so far, i from 0. Family-wise, never weaker than Bonferroni.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * probability(p[at]));
        adjusted[at] = largest.min(1.0);
    }
    adjusted
}

/// Benjamini and Hochberg's step-up: the smallest of m·p₍ᵢ₎/i from above. False discovery rate.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut smallest = 1.0_f64;
    for (rank, &at) in order.iter().enumerate().rev() {
        smallest = smallest.min(p.len() as f64 * probability(p[at]) / (rank + 1) as f64);
        adjusted[at] = smallest;
    }
    adjusted
}

/// Which adjusted p-values are rejected at `alpha`.
#[must_use]
pub fn rejected(adjusted: &[f64], alpha: f64) -> Vec<bool> {
    adjusted.iter().map(|&p| p <= alpha).collect()
}

fn probability(p: f64) -> f64 {
    if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| probability(p[a]).total_cmp(&probability(p[b])));
    order
}
