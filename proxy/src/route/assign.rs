//! Key → arm: a pure function of (salt, key), without state, the same in every process.
//!
//! A key hashes to a point `unit` in [0, 1); the canary owns the points below its share. Raising the share
//! therefore only moves keys from baseline to canary, lowering it only moves them back.
//!
//! The salt holds the canary's digest, so that every new release is tried on other users first; with a secret
//! in it, who controls a key cannot search for one that lands in an arm. A second hash with a seed of its own
//! places users in the buckets and slots of measurement: it knows nothing of the arm, and is the same for all
//! routes and releases. xxh3 is fast and well mixed, not cryptographic: the secret makes keys hard to search
//! for, it does not authenticate anything.

use serin_stats::snapshot::{Arm, USER_BUCKETS, USER_SLOTS};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Seed of the hash behind buckets and slots: the bytes of "measured".
const MEASURE_SEED: u64 = u64::from_be_bytes(*b"measured");

/// 2⁻⁵³: the spacing of the points that 53 hash bits fall on.
const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;

/// What one route and one canary release mix into every key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u64);

impl Salt {
    /// From the route's secret, its name and the canary's digest.
    ///
    /// Each part goes in behind its length plus one (0: absent), so that no two different triples give the
    /// same bytes.
    #[must_use]
    pub fn new(secret: Option<&[u8]>, route: &str, canary_digest: Option<&str>) -> Self {
        let parts = [
            secret,
            Some(route.as_bytes()),
            canary_digest.map(str::as_bytes),
        ];
        let mut bytes = Vec::new();
        for part in parts {
            let length = part.map_or(0, |part| part.len() as u64 + 1);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(part.unwrap_or_default());
        }
        Self(xxh3_64(&bytes))
    }

    /// Where this key falls.
    #[must_use]
    pub fn assign(&self, key: &[u8]) -> Assignment {
        let place = xxh3_64_with_seed(key, MEASURE_SEED);
        Assignment {
            unit: (xxh3_64_with_seed(key, self.0) >> 11) as f64 * UNIT,
            bucket: (place % USER_BUCKETS as u64) as u8,
            place,
            slot: (place / USER_BUCKETS as u64 % USER_SLOTS as u64) as u16,
        }
    }
}

/// Where a key falls: on the line that is cut into arms, and in the tables of measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assignment {
    /// The key's point in [0, 1).
    pub unit: f64,
    /// The user's bucket for cluster-robust variances; unrelated to `unit`.
    pub bucket: u8,
    /// The key's hash behind bucket and slot, the same for all routes and releases.
    pub place: u64,
    /// The user's slot in the sets of who erred; unrelated to `unit`.
    pub slot: u16,
}

impl Assignment {
    /// Canary iff the point lies below the canary's share.
    #[must_use]
    pub fn arm(&self, share: f64) -> Arm {
        if self.unit < share {
            Arm::Canary
        } else {
            Arm::Baseline
        }
    }
}

#[cfg(test)]
mod tests;
