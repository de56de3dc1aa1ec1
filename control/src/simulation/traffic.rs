//! Users and their requests.
//!
//! P(a user sends K requests) ∝ K^-1.5 on 1..50; every user's own error rate comes from a Beta distribution
//! whose correlation between two requests of one user is the ICC (drawn request by request as Pólya's urn,
//! which is the same distribution and never needs the rate itself); latency is log-normal with σ = 0.5, and
//! the ICC is also the user's share of the variance of its logarithm. Requests arrive as a Poisson process; each
//! is sent by one of the users who are active at the time, so the requests of one user are spread over time.
//! The population is stationary from the first request on. Answers are counted when they are asked for: no
//! request takes virtual time.
//!
//! A copied request is answered twice, by each release for itself: a canary like the baseline fails for the same
//! users, but not for the same requests. Who is copied is decided as in the proxy, by a second hash of the point
//! that decides on the arm. Copies have chance of their own: requests are the same with and without them.

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::weighted::WeightedAliasIndex;
use rand_distr::{Distribution as _, Exp1, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serin_stats::histogram::{bin_at, log_position};
use serin_stats::snapshot::{Arm, Outcome, USER_BUCKETS, USER_SLOTS};

// A user's bucket and slot are drawn as a byte and as two.
const _: () = assert!(USER_BUCKETS == 1 << 8 && USER_SLOTS == 1 << 16);

/// The longest that a user's requests are.
const MOST_REQUESTS: u8 = 50;
/// σ of the logarithm of a latency.
const LATENCY_SIGMA: f64 = 0.5;
/// Between two requests of an active user, on average.
const PAUSE_SECONDS: f64 = 60.0;
/// Fewest and most users who are active at a time, unless somebody says how many.
const ACTIVE: (f64, f64) = (50.0, 100_000.0);

/// What the traffic is like when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second, both arms.
    pub requests_per_second: f64,
    /// Share of requests that end in an error, mean over requests.
    pub error_rate: f64,
    /// Share of requests that are rejected.
    pub rejected_rate: f64,
    /// Share of requests that their clients give up.
    pub aborted_rate: f64,
    /// Correlation between two requests of one user, in [0, 1): of errors and of the logarithm of latency.
    pub icc: f64,
    /// Median time to the whole response, in milliseconds.
    pub median_ms: f64,
    /// Median time to the first byte, in milliseconds.
    pub first_byte_ms: f64,
    /// Users who are active at a time; `None`: as many as send one request a minute each.
    pub active_users: Option<usize>,
    /// The most requests that one user sends.
    pub most_requests: u8,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests_per_second: 50.0,
            error_rate: 0.01,
            rejected_rate: 0.0,
            aborted_rate: 0.0,
            icc: 0.1,
            median_ms: 100.0,
            first_byte_ms: 100.0,
            active_users: None,
            most_requests: MOST_REQUESTS,
        }
    }
}

impl Traffic {
    /// Users who are active at a time.
    #[must_use]
    pub fn active_users(&self) -> usize {
        let usual = (self.requests_per_second * PAUSE_SECONDS).clamp(ACTIVE.0, ACTIVE.1);
        self.active_users.unwrap_or(usual as usize).max(1)
    }

    /// How many times the variance of an error rate exceeds that of independent requests, with users
    /// hashed into buckets, in the long run: 1 + (E K²/E K − 1)·ICC.
    #[must_use]
    pub fn design_effect(&self) -> f64 {
        self.design_effect_within(f64::INFINITY)
    }

    /// The same of so many seconds, in which not all of a user's requests fall: 1 + ICC times the requests that
    /// the user of a request sends besides within that time.
    #[must_use]
    pub fn design_effect_within(&self, seconds: f64) -> f64 {
        let pause = self.active_users() as f64 / self.requests_per_second.max(1e-9);
        let pauses = (seconds / pause).clamp(1e-9, 1e6);
        let lengths = || (1..=self.most_requests.max(1)).map(f64::from);
        let requests: f64 = lengths().map(|k| k.powf(-0.5)).sum();
        // The j-th request after one of a user's is sent with this chance, about j pauses later; what of it falls
        // into the time is averaged over the moment of the first, forwards and backwards.
        let others = lengths().map(|j| {
            let longer = lengths().filter(|k| *k > j);
            let sent: f64 = longer.map(|k| k.powf(-1.5) * (k - j)).sum();
            let within = if pauses >= j {
                pauses - j + 0.5
            } else {
                (pauses - j + 1.0).max(0.0).powi(2) / 2.0
            };
            2.0 * (sent / requests) * (within / pauses)
        });
        1.0 + self.icc * others.sum::<f64>()
    }
}

/// What is wrong with the canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Added to the error rate; 1 fails every request.
    pub error_rate: f64,
    /// Added to the rate of rejected requests.
    pub rejected_rate: f64,
    /// Added to the rate of requests that clients give up.
    pub aborted_rate: f64,
    /// Whether its errors are failures to connect or to answer in time.
    pub unreachable: bool,
    /// What the time to the first byte is multiplied by; the whole response takes as much longer.
    pub first_byte: f64,
    /// What the time to the whole response is multiplied by.
    pub latency: f64,
}

impl Effect {
    /// Nothing is wrong.
    pub const NONE: Self = Self {
        error_rate: 0.0,
        rejected_rate: 0.0,
        aborted_rate: 0.0,
        unreachable: false,
        first_byte: 1.0,
        latency: 1.0,
    };

    /// So much more of its requests end in an error.
    #[must_use]
    pub const fn errors(more: f64) -> Self {
        Self {
            error_rate: more,
            ..Self::NONE
        }
    }
}

/// Who sends a request: the same user has the same of everything each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// Decides on the arm.
    pub(super) unit: f64,
    /// How much slower than the median, in bins of the histogram.
    slowness: f32,
    pub(super) slot: u16,
    pub(super) bucket: u8,
    left: u8,
    /// From healthy releases, and from broken ones.
    seen: [Seen; 2],
}

/// What a user has got so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u8,
    errors: u8,
}

/// Whose request it was, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) user: User,
    pub(super) arm: Arm,
    pub(super) outcome: Outcome,
    pub(super) unreachable: bool,
    /// Bin of the time to the first byte.
    pub(super) first_byte: usize,
    /// Bin of the time to the whole response.
    pub(super) total: usize,
}

/// A stream of requests. The same seed gives the same stream; arms don't change it.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    random: Xoshiro256PlusPlus,
    /// Of the answers to copies.
    luck_of_copies: Xoshiro256PlusPlus,
    traffic: Traffic,
    effect: Effect,
    healthy: Release,
    broken: Release,
    noise: f64,
    user_noise: f64,
    lengths: Option<WeightedAliasIndex<f64>>,
    active: Vec<User>,
    gap_ms: f64,
}

/// How one arm answers.
#[derive(Clone, Debug)]
struct Release {
    error_rate: Rate,
    rejected_rate: f64,
    aborted_rate: f64,
    unreachable: bool,
    /// Logarithms of the medians, in bins of the histogram.
    first_byte: f64,
    total: f64,
}

/// Error rates of users: Beta-distributed with this mean and this sum of its two parameters.
#[derive(Clone, Copy, Debug)]
struct Rate {
    mean: f64,
    /// (1 − ICC)/ICC; infinite when all users are the same.
    strength: f64,
}

impl Rate {
    fn of(mean: f64, icc: f64) -> Self {
        Self {
            mean: mean.clamp(0.0, 1.0),
            strength: (1.0 - icc) / icc,
        }
    }

    /// The chance that the next request of somebody who has seen this fails.
    fn after(self, seen: Seen) -> f64 {
        if self.strength.is_finite() {
            let errors = self.mean * self.strength + f64::from(seen.errors);
            errors / (self.strength + f64::from(seen.requests))
        } else {
            self.mean
        }
    }
}

impl Release {
    fn of(traffic: &Traffic, effect: &Effect) -> Self {
        let slower_by = (effect.first_byte - 1.0) * traffic.first_byte_ms;
        Self {
            error_rate: Rate::of(traffic.error_rate + effect.error_rate, icc(traffic)),
            rejected_rate: traffic.rejected_rate + effect.rejected_rate,
            aborted_rate: traffic.aborted_rate + effect.aborted_rate,
            unreachable: effect.unreachable,
            first_byte: log_position(traffic.first_byte_ms * effect.first_byte),
            total: log_position((traffic.median_ms + slower_by) * effect.latency),
        }
    }
}

impl Requests {
    pub(super) fn new(traffic: Traffic, seed: u64) -> Self {
        let icc = icc(&traffic);
        let per_unit = log_position(std::f64::consts::E) - log_position(1.0);
        let healthy = Release::of(&traffic, &Effect::NONE);
        let mut requests = Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            luck_of_copies: Xoshiro256PlusPlus::seed_from_u64(seed ^ COPIES),
            traffic,
            effect: Effect::NONE,
            broken: healthy.clone(),
            healthy,
            noise: LATENCY_SIGMA * (1.0 - icc).sqrt() * per_unit,
            user_noise: LATENCY_SIGMA * icc.sqrt() * per_unit,
            lengths: lengths(traffic.most_requests, -1.5),
            active: Vec::new(),
            gap_ms: 1_000.0 / traffic.requests_per_second.max(1e-9),
        };
        // Whoever is active at a random moment sends more than a random user, and has sent some already.
        let met = lengths(traffic.most_requests, -0.5);
        requests.active = (0..traffic.active_users())
            .map(|_| {
                let all = draw(met.as_ref(), &mut requests.random);
                let left = requests.random.random_range(1..=all);
                requests.arrival(left)
            })
            .collect();
        requests
    }

    /// From now on this is wrong with the canary.
    pub(super) fn set_effect(&mut self, effect: Effect) {
        self.effect = effect;
        self.broken = Release::of(&self.traffic, &effect);
        for user in &mut self.active {
            let [_, of_broken] = &mut user.seen;
            *of_broken = Seen::default();
        }
    }

    fn arrival(&mut self, left: u8) -> User {
        let slowness: f64 = self.random.sample(StandardNormal);
        let place: u32 = self.random.random();
        let [bucket, _, low, high] = place.to_le_bytes();
        User {
            unit: self.random.random(),
            slowness: (self.user_noise * slowness) as f32,
            slot: u16::from_le_bytes([low, high]),
            bucket,
            left,
            seen: [Seen::default(); 2],
        }
    }

    /// Milliseconds until the next request.
    pub(super) fn gap_ms(&mut self) -> f64 {
        let gap: f64 = self.random.sample(Exp1);
        gap * self.gap_ms
    }

    /// The next request, under a split with this share for the canary.
    pub(super) fn next(&mut self, share: f64) -> Answer {
        self.next_copied(share, 0.0).0
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "at least one user is active, and `at` is one of them"
    )]
    /// The next request, and the canary's answer to its copy: this share of baseline's requests is copied.
    pub(super) fn next_copied(&mut self, share: f64, copied: f64) -> (Answer, Option<Answer>) {
        let at = self.random.random_range(0..self.active.len());
        let luck: f64 = self.random.random();
        let noise: f64 = self.random.sample(StandardNormal);
        let user = &mut self.active[at];
        let arm = if user.unit < share {
            Arm::Canary
        } else {
            Arm::Baseline
        };
        let broken = self.effect.error_rate != 0.0;
        let release = match arm {
            Arm::Baseline => &self.healthy,
            Arm::Canary => &self.broken,
        };
        let answer = release.answer(arm, broken, user, luck, self.noise * noise);
        user.left -= 1;
        let copy = (arm == Arm::Baseline && is_copied(user.unit, copied)).then(|| {
            let luck: f64 = self.luck_of_copies.random();
            let noise: f64 = self.luck_of_copies.sample(StandardNormal);
            self.broken
                .answer(Arm::Canary, broken, user, luck, self.noise * noise)
        });
        if user.left == 0 {
            let left = draw(self.lengths.as_ref(), &mut self.random);
            let fresh = self.arrival(left);
            self.active[at] = fresh;
        }
        (answer, copy)
    }
}

/// Whether the user at this point is among this share of the users: a hash of the point, so that who is copied
/// says nothing about who gets the canary next.
fn is_copied(unit: f64, share: f64) -> bool {
    if share <= 0.0 {
        return false;
    }
    let mut hash = unit.to_bits() ^ COPIES;
    for factor in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
        hash = (hash ^ hash >> 30).wrapping_mul(factor);
    }
    ((hash ^ hash >> 31) >> 11) as f64 / ((1_u64 << 53) as f64) < share
}

/// Sets the chances of copies apart.
const COPIES: u64 = u64::from_be_bytes(*b"shadowed");

impl Release {
    /// Answers a user, who is the wiser for it.
    fn answer(&self, arm: Arm, broken: bool, user: &mut User, luck: f64, noise: f64) -> Answer {
        // A canary whose errors are baseline's is the same release to its users.
        let [healthy, of_broken] = &mut user.seen;
        let seen = if arm == Arm::Canary && broken {
            of_broken
        } else {
            healthy
        };
        let outcome = self.outcome(luck, *seen);
        seen.requests = seen.requests.saturating_add(1);
        seen.errors = seen
            .errors
            .saturating_add(u8::from(outcome == Outcome::Error));
        let slowness = f64::from(user.slowness) + noise;
        Answer {
            user: *user,
            arm,
            outcome,
            unreachable: outcome == Outcome::Error && self.unreachable,
            first_byte: bin_at(self.first_byte + slowness),
            total: bin_at(self.total + slowness),
        }
    }

    fn outcome(&self, luck: f64, seen: Seen) -> Outcome {
        let errors = self.error_rate.after(seen);
        let rejected = errors + self.rejected_rate;
        if luck < errors {
            Outcome::Error
        } else if luck < rejected {
            Outcome::Rejected
        } else if luck < rejected + self.aborted_rate {
            Outcome::Aborted
        } else {
            Outcome::Success
        }
    }
}

fn icc(traffic: &Traffic) -> f64 {
    traffic.icc.clamp(0.0, 0.999)
}

fn lengths(most: u8, power: f64) -> Option<WeightedAliasIndex<f64>> {
    let weights = (1..=most.max(1)).map(|k| f64::from(k).powf(power));
    WeightedAliasIndex::new(weights.collect()).ok()
}

fn draw(lengths: Option<&WeightedAliasIndex<f64>>, random: &mut Xoshiro256PlusPlus) -> u8 {
    lengths.map_or(1, |lengths| lengths.sample(random) as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_user_belong_together_the_more_the_longer_one_looks() {
        let traffic = Traffic::default();
        // E K²/E K of K^-1.5 on 1..50.
        assert!((traffic.design_effect() - 2.7744).abs() < 1e-3);
        let within = |seconds| traffic.design_effect_within(seconds);
        assert!((within(1e-6) - 1.0).abs() < 1e-3);
        let mut before = 1.0;
        for minutes in [1.0, 10.0, 60.0, 600.0] {
            let now = within(60.0 * minutes);
            assert!(now > before && now < traffic.design_effect(), "{minutes}");
            before = now;
        }
        // Half an hour is what users stay, about.
        assert!((1.5..2.6).contains(&within(1_800.0)));
        let independent = Traffic {
            icc: 0.0,
            ..traffic
        };
        assert_eq!(independent.design_effect_within(600.0), 1.0);
    }
}
