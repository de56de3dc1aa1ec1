//! Seeded randomness: SplitMix64 and the three distributions that the demonstration needs.
//!
//! The same seed gives the same users, latencies and faults; only the network's timing differs between runs.

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough for traffic.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// A stream of its own for each seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..bound; 0 when the bound is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.uniform() * bound as f64) as usize
    }

    /// Exponential with this mean: the gaps of a Poisson stream.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Log-normal with this median (Box-Muller).
    pub(super) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        median * (sigma * normal).exp()
    }

    /// How often one user comes: P(K) ∝ K^-1.5 on 1..=50, so that a few users make much of the traffic.
    pub(super) fn visits(&mut self) -> u32 {
        let weight = |visits: u32| f64::from(visits).powf(-1.5);
        let mut left = self.uniform() * (1..=50).map(weight).sum::<f64>();
        (1..50)
            .find(|visits| {
                left -= weight(*visits);
                left < 0.0
            })
            .unwrap_or(50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_have_their_moments() {
        let mut random = Random::new(7);
        let n = 20_000;
        let mean =
            |draw: &mut dyn FnMut() -> f64| (0..n).map(|_| draw()).sum::<f64>() / f64::from(n);
        let uniform = mean(&mut || random.uniform());
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let gap = mean(&mut || random.exponential(3.0));
        assert!((gap - 3.0).abs() < 0.1, "{gap}");
        // E of a log-normal: median · exp(σ²/2).
        let latency = mean(&mut || random.log_normal(8.0, 0.5));
        assert!((latency - 8.0 * 0.125_f64.exp()).abs() < 0.15, "{latency}");
        // Σ K^-0.5 / Σ K^-1.5 over 1..=50.
        let visits = mean(&mut || f64::from(random.visits()));
        assert!((visits - 5.46).abs() < 0.3, "{visits}");
    }

    #[test]
    fn a_seed_is_a_stream() {
        let draw = |seed| Random::new(seed).uniform();
        assert_eq!(draw(1).to_bits(), draw(1).to_bits());
        assert_ne!(draw(1).to_bits(), draw(2).to_bits());
    }
}
