//! The limiting distribution of Kolmogorov's statistic.

use std::f64::consts::PI;

/// P(K > x) of the Kolmogorov distribution, 2 Σ (−1)ʲ⁻¹ e^(−2j²x²) for large x and by its theta transform
/// for small x.
#[must_use]
pub fn sf(x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.18 {
        let base = -PI * PI / (8.0 * x * x);
        let sum: f64 = [1.0_f64, 9.0, 25.0, 49.0, 81.0]
            .iter()
            .map(|square| (base * square).exp())
            .sum();
        return (1.0 - (2.0 * PI).sqrt() / x * sum).clamp(0.0, 1.0);
    }
    let mut sum = 0.0;
    for j in 1..=10_i32 {
        let term = (-2.0 * f64::from(j * j) * x * x).exp();
        sum += if j % 2 == 1 { term } else { -term };
    }
    (2.0 * sum).clamp(0.0, 1.0)
}
