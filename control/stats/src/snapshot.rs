//! What happened: the sufficient statistics that go up from the proxy to the control loop.
//!
//! A stage is one epoch of one rollout: a stretch of time with one split. Counts are cumulative since the
//! stage began and merge by addition; [`SlotSet`]s merge by bit-wise or. Nothing else crosses, so a fleet of
//! sidecars merges to the same bits as one. Individual requests, users and bodies never appear here.

use std::collections::BTreeMap;

use crate::histogram::Histogram;
use crate::shadow::{ShadowCounts, Target};

/// Buckets that users are hashed into for cluster-robust variances.
pub const USER_BUCKETS: usize = 256;
/// Slots that users are hashed into for "who erred".
pub const USER_SLOTS: usize = 65_536;
const WORDS: usize = USER_SLOTS / 64;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arm {
    /// The release that serves today.
    Baseline,
    /// The release that has to earn its traffic.
    Canary,
}

impl Arm {
    /// Both arms, baseline first.
    pub const ALL: [Self; 2] = [Self::Baseline, Self::Canary];

    /// Lower-case name, as in headers, labels and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Canary => "canary",
        }
    }
}

/// How a request ended, by what its client could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered below 400, to the end.
    Success,
    /// 5xx, no connection, timeout, truncated body, or the upstream's 429.
    Error,
    /// Any other 4xx that the upstream answered.
    Rejected,
    /// The client left first.
    Aborted,
}

impl Outcome {
    /// All outcomes, in the order of [`ArmCounts::outcomes`].
    pub const ALL: [Self; 4] = [Self::Success, Self::Error, Self::Rejected, Self::Aborted];

    /// Lower-case name, as in labels and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Rejected => "rejected",
            Self::Aborted => "aborted",
        }
    }
}

/// One value per arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerArm<T> {
    /// The baseline's.
    pub baseline: T,
    /// The canary's.
    pub canary: T,
}

impl<T> PerArm<T> {
    /// The value of one arm.
    pub const fn get(&self, arm: Arm) -> &T {
        match arm {
            Arm::Baseline => &self.baseline,
            Arm::Canary => &self.canary,
        }
    }

    /// The value of one arm, to change.
    pub const fn get_mut(&mut self, arm: Arm) -> &mut T {
        match arm {
            Arm::Baseline => &mut self.baseline,
            Arm::Canary => &mut self.canary,
        }
    }
}

/// One count per user bucket; always [`USER_BUCKETS`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets(pub Vec<u64>);

impl Default for Buckets {
    fn default() -> Self {
        Self(vec![0; USER_BUCKETS])
    }
}

impl Buckets {
    /// Sum over all buckets.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// Latency of one arm in one stage, from the end of its warm-up on.
///
/// Ridits are kept as whole numbers (half ranks in the frozen reference), so that sums merge to the bit:
/// the ridit of a value in a bin is `half_rank / (2 · reference total)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// Time from the request's arrival to the end of the response.
    pub total: Histogram,
    /// Time to the first byte of the response's body (of its head, when there is none).
    pub first_byte: Histogram,
    /// Per bucket: requests measured against the frozen reference.
    pub measured: Buckets,
    /// Per bucket: of those, slower than the reference's P95.
    pub slow: Buckets,
    /// Per bucket: sum of half ranks.
    pub half_ranks: Buckets,
    /// Sum of squared half ranks over all measured requests.
    pub half_ranks_squared: u64,
}

impl LatencyCounts {
    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        self.first_byte.merge(&other.first_byte);
        self.measured.merge(&other.measured);
        self.slow.merge(&other.slow);
        self.half_ranks.merge(&other.half_ranks);
        self.half_ranks_squared += other.half_ranks_squared;
    }
}

/// Everything counted for one arm in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 4],
    /// Of the errors: no connection, or no response in time.
    pub unreachable: u64,
    /// Requests per user bucket.
    pub requests: Buckets,
    /// Errors per user bucket.
    pub errors: Buckets,
    /// Rejected requests per user bucket.
    pub rejected: Buckets,
    /// Aborted requests per user bucket.
    pub aborted: Buckets,
    /// Latency; warm-up left out.
    pub latency: LatencyCounts,
}

impl ArmCounts {
    /// Requests with this outcome.
    #[must_use]
    pub const fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
        self.unreachable += other.unreachable;
        self.requests.merge(&other.requests);
        self.errors.merge(&other.errors);
        self.rejected.merge(&other.rejected);
        self.aborted.merge(&other.aborted);
        self.latency.merge(&other.latency);
    }
}

/// A set of user slots, one bit each; [`USER_SLOTS`] bits. Empty sets own no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// From 64-bit words, lowest slots first; all-zero input becomes the empty set.
    #[must_use]
    pub fn from_words(mut words: Vec<u64>) -> Self {
        if words.iter().all(|&word| word == 0) {
            words = Vec::new();
        } else {
            words.resize(WORDS, 0);
        }
        Self { words }
    }

    /// The words, lowest slots first; none when the set is empty.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds a slot (taken modulo [`USER_SLOTS`]).
    pub fn insert(&mut self, slot: usize) {
        if self.words.is_empty() {
            self.words = vec![0; WORDS];
        }
        self.words[(slot % USER_SLOTS) / 64] |= 1 << (slot % 64);
    }

    /// Whether a slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: usize) -> bool {
        self.words
            .get((slot % USER_SLOTS) / 64)
            .is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Number of slots in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// Whether no slot is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds all slots of another set.
    pub fn merge(&mut self, other: &Self) {
        if self.words.is_empty() {
            self.words.clone_from(&other.words);
            return;
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }
}

/// One epoch of one rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageSnapshot {
    /// The epoch of the split under which these requests were assigned.
    pub epoch: u64,
    /// The canary's share of the key space in that epoch, in [0, 1].
    pub share: f64,
    /// Cumulative counts since the stage began.
    pub arms: PerArm<ArmCounts>,
    /// Slots of the users that erred **since the previous snapshot** (not cumulative: the control loop's
    /// generations need to see a user again who errs again).
    pub erred: PerArm<SlotSet>,
    /// Slots of the users that were seen, in the arm that their slot's first request went to; cumulative.
    /// A slot in both sets was claimed by two recorders and belongs to neither.
    pub seen: PerArm<SlotSet>,
    /// Cumulative counts of the copies made under this split, by target; none where nothing was copied.
    pub shadow: BTreeMap<Target, ShadowCounts>,
}

impl StageSnapshot {
    /// Merges the same epoch of another recorder.
    pub fn merge(&mut self, other: &Self) {
        for arm in Arm::ALL {
            self.arms.get_mut(arm).merge(other.arms.get(arm));
            self.erred.get_mut(arm).merge(other.erred.get(arm));
            self.seen.get_mut(arm).merge(other.seen.get(arm));
        }
        for (target, counts) in &other.shadow {
            self.shadow.entry(*target).or_default().merge(counts);
        }
    }
}

/// What happened, for every rollout: its live stages in ascending order of epoch.
///
/// An idle or finished stage may be absent; absent means unchanged since it was last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By rollout (route name).
    pub rollouts: BTreeMap<String, Vec<StageSnapshot>>,
}

impl Snapshot {
    /// Merges another recorder's snapshot; associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        for (rollout, stages) in &other.rollouts {
            let mine = self.rollouts.entry(rollout.clone()).or_default();
            for stage in stages {
                match mine.binary_search_by_key(&stage.epoch, |known| known.epoch) {
                    Ok(at) => mine[at].merge(stage),
                    Err(at) => mine.insert(at, stage.clone()),
                }
            }
        }
    }
}
