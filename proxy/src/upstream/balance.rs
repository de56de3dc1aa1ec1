//! Which of several endpoints is asked. Pure: loads, times and dice are arguments.
//!
//! **The less loaded of two.** Two endpoints are drawn and the one with the smaller load is asked ("power of two
//! choices", Mitzenmacher 2001). Load is Finagle's peak EWMA: latency, which rises at once to a new peak and
//! decays by time, times the exchanges in flight plus one. So an endpoint that turns slow is left alone at once,
//! and forgiven slowly. It is measured over all workers: model servers answer few, long requests, and what one
//! worker sees of them is too little to judge by.
//!
//! **The key's own.** Rendezvous hashing gives every key an order of the endpoints of its own (Thaler and
//! Ravishankar 1998): an endpoint that comes or goes moves only its own keys. With bounded loads (Mirrokni et
//! al. 2016) an endpoint that has 1.25 times its share in flight passes keys on to their next.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How fast a latency is forgotten: after this, 1/e of it is left.
const DECAY_MS: f64 = 10_000.0;
/// How far ahead another worker's last look at the time may lie.
const AHEAD_MS: u32 = 60_000;
/// What an endpoint costs that was asked and has answered nothing yet.
const UNKNOWN: f64 = 1e9;
/// How much more than its share an endpoint may have in flight before keys are passed on.
const BOUND: f64 = 1.25;

/// A latency that was seen, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PeakEwma {
    /// In milliseconds.
    pub(super) latency_ms: f32,
    /// The lower half of Unix milliseconds.
    pub(super) at_ms: u32,
}

impl PeakEwma {
    /// After another latency was seen.
    pub(super) fn seen(self, latency_ms: f32, now_ms: u64) -> Self {
        let latency_ms = if latency_ms >= self.latency_ms {
            latency_ms
        } else {
            let weight = self.weight(now_ms);
            self.latency_ms * weight + latency_ms * (1.0 - weight)
        };
        Self {
            latency_ms,
            at_ms: now_ms as u32,
        }
    }

    /// What it costs to ask an endpoint that has so many exchanges in flight.
    pub(super) fn load(self, in_flight: usize, now_ms: u64) -> f64 {
        let latency_ms = f64::from(self.latency_ms * self.weight(now_ms));
        let in_flight = in_flight as f64;
        if latency_ms <= 0.0 && in_flight > 0.0 {
            UNKNOWN + in_flight
        } else {
            latency_ms * (in_flight + 1.0)
        }
    }

    /// What is left of it.
    fn weight(self, now_ms: u64) -> f32 {
        let elapsed = (now_ms as u32).wrapping_sub(self.at_ms);
        // Workers read the time apart: a moment that seems to lie just ahead is now.
        let elapsed = if elapsed > u32::MAX - AHEAD_MS {
            0
        } else {
            elapsed
        };
        (-f64::from(elapsed) / DECAY_MS).exp() as f32
    }

    /// As one word, so that no reader sees half of it.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.latency_ms.to_bits()) << 32 | u64::from(self.at_ms)
    }

    /// From [`to_bits`](Self::to_bits).
    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            latency_ms: f32::from_bits((bits >> 32) as u32),
            at_ms: bits as u32,
        }
    }
}

/// Two different ones of `count`, which is at least two.
pub(super) fn two_of(count: usize, draw: u64) -> (usize, usize) {
    let count = count as u64;
    let first = (draw >> 32) % count;
    let second = (first + 1 + (draw & 0xffff_ffff) % (count - 1)) % count;
    (first as usize, second as usize)
}

/// An endpoint as a key sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Names the endpoint, in this process and any other.
    pub(super) seed: u64,
    /// Exchanges in flight.
    pub(super) in_flight: usize,
}

/// The first in the key's order that has not more than its share in flight; its place among the candidates.
pub(super) fn for_key(
    key: u64,
    candidates: impl Iterator<Item = Candidate> + Clone,
) -> Option<usize> {
    let (count, in_flight) = candidates.clone().fold((0_usize, 0_usize), |sum, each| {
        (sum.0 + 1, sum.1 + each.in_flight)
    });
    // With the one that is to come.
    let most = (BOUND * (in_flight + 1) as f64 / count.max(1) as f64).ceil() as usize;
    let key = key.to_le_bytes();
    candidates
        .enumerate()
        .filter(|(_, each)| each.in_flight < most)
        .max_by_key(|(_, each)| xxh3_64_with_seed(&key, each.seed))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let calm = PeakEwma::default().seen(10.0, 1_000);
        assert_eq!(calm.load(0, 1_000), 10.0);
        assert_eq!(calm.load(3, 1_000), 40.0);
        let peak = calm.seen(500.0, 1_000);
        assert_eq!(peak.load(0, 1_000), 500.0);
        let later = peak.seen(10.0, 11_000);
        let expected = 500.0 * (-1.0_f64).exp() + 10.0 * (1.0 - (-1.0_f64).exp());
        assert!((later.load(0, 11_000) - expected).abs() < 0.01, "{later:?}");
        // Nobody asked for a minute: worth a try again.
        assert!(peak.load(0, 61_000) < 2.0);
    }

    #[test]
    fn who_has_answered_nothing_yet_is_asked_once() {
        let new = PeakEwma::default();
        assert_eq!(new.load(0, 5), 0.0);
        assert!(new.load(1, 5) > PeakEwma::default().seen(60_000.0, 5).load(1_000, 5));
    }

    /// How many of 10,000 keys each of `count` endpoints gets when all are idle.
    fn shares(seeds: &[u64]) -> Vec<usize> {
        let mut shares = vec![0; seeds.len()];
        for key in 0..10_000_u64 {
            let candidates = seeds.iter().map(|&seed| Candidate { seed, in_flight: 0 });
            shares[for_key(key, candidates).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn keys_are_spread_evenly_and_few_move() {
        let seeds: Vec<u64> = (1..=10).collect();
        for share in shares(&seeds) {
            // Binomial: 1,000 ± 30; five deviations either way.
            assert!((850..1_150).contains(&share), "{share}");
        }
        for key in 0..1_000 {
            let of = |seeds: &[u64]| {
                let all = seeds.iter().map(|&seed| Candidate { seed, in_flight: 0 });
                seeds[for_key(key, all).unwrap()]
            };
            let before = of(&seeds);
            let after = of(&seeds[..9]);
            assert!(
                before == after || before == 10,
                "only the gone one's keys move"
            );
        }
    }

    proptest! {
        #[test]
        fn the_two_differ_and_exist(count in 2_usize..1_000, draw: u64) {
            let (first, second) = two_of(count, draw);
            prop_assert!(first != second && first < count && second < count);
        }

        #[test]
        fn someone_always_has_room(
            key: u64,
            in_flight in proptest::collection::vec(0_usize..1_000, 1..40),
        ) {
            let candidates = in_flight
                .iter()
                .enumerate()
                .map(|(seed, &in_flight)| Candidate { seed: seed as u64, in_flight });
            let chosen = for_key(key, candidates).unwrap();
            let total: usize = in_flight.iter().sum();
            let share = (total + 1) as f64 / in_flight.len() as f64;
            prop_assert!(in_flight[chosen] as f64 + 1.0 <= (BOUND * share).ceil());
        }

        #[test]
        fn a_latency_stays_between_what_was_seen(
            seen in proptest::collection::vec((0.0_f32..1e6, 0_u64..60_000), 1..50),
        ) {
            let mut ewma = PeakEwma::default();
            let mut now = 0;
            let mut highest = 0.0_f32;
            for (latency, wait) in seen {
                now += wait;
                highest = highest.max(latency);
                ewma = ewma.seen(latency, now);
                // Floating point rounds the last digit.
                let range = latency * 0.999_99..=highest * 1.000_01;
                prop_assert!(range.contains(&ewma.latency_ms), "{ewma:?}");
                prop_assert_eq!(PeakEwma::from_bits(ewma.to_bits()), ewma);
            }
        }
    }
}
