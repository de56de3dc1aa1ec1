//! What copies of requests say about a release that no client hears from: counts, beside the baseline's answers
//! to the very same requests.
//!
//! A copy ends in exactly one [`CopyResult`]. One that was answered, or that should have been, is paired with
//! the baseline's answer to the original, unless the client left before that. Plain sums, merged by addition
//! like everything else that crosses; kept apart from the arms' counts, since a copy and its original are no
//! independent samples and no client ever saw the copy's answer.

use crate::agreement::Pairs;
use crate::histogram::Histogram;
use crate::snapshot::Buckets;

/// Who gets copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The canary: in a shadow step, or because the mirror has no backend of its own.
    Canary,
    /// The `shadow` backend.
    Shadow,
}

impl Target {
    /// Both, the canary first.
    pub const ALL: [Self; 2] = [Self::Canary, Self::Shadow];

    /// Lower-case name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

/// What became of a request that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyResult {
    /// Answered below 400, to the end.
    Ok,
    /// Answered with a 4xx other than 429.
    Rejected,
    /// 5xx, 429, a broken or truncated answer.
    Error,
    /// No connection could be opened.
    Unreachable,
    /// No answer, or no end of it, in time.
    Timeout,
    /// Not sent: as many copies as are allowed were under way.
    DroppedInFlight,
    /// Not sent: the body is larger than is copied.
    DroppedBody,
    /// Not sent: the copies that wait held all the memory they may.
    DroppedMemory,
    /// Not judged: the answer was longer than is read.
    DroppedAnswer,
    /// Not judged: a connection kept from an earlier copy turned out to be closed.
    DroppedConnection,
    /// Not sent or not finished: the proxy is stopping.
    DroppedDraining,
    /// Not sent: the original never arrived whole.
    DroppedRequest,
}

impl CopyResult {
    /// All of them, in the order of [`ShadowCounts::results`].
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Rejected,
        Self::Error,
        Self::Unreachable,
        Self::Timeout,
        Self::DroppedInFlight,
        Self::DroppedBody,
        Self::DroppedMemory,
        Self::DroppedAnswer,
        Self::DroppedConnection,
        Self::DroppedDraining,
        Self::DroppedRequest,
    ];

    /// Lower-case name, as in labels and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Error => "error",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::DroppedInFlight => "dropped_in_flight",
            Self::DroppedBody => "dropped_body",
            Self::DroppedMemory => "dropped_memory",
            Self::DroppedAnswer => "dropped_answer",
            Self::DroppedConnection => "dropped_connection",
            Self::DroppedDraining => "dropped_draining",
            Self::DroppedRequest => "dropped_request",
        }
    }

    /// Whether the release behind the target answered, or should have.
    #[must_use]
    pub const fn is_judged(self) -> bool {
        match self {
            Self::Ok | Self::Rejected | Self::Error | Self::Unreachable | Self::Timeout => true,
            Self::DroppedInFlight
            | Self::DroppedBody
            | Self::DroppedMemory
            | Self::DroppedAnswer
            | Self::DroppedConnection
            | Self::DroppedDraining
            | Self::DroppedRequest => false,
        }
    }
}

/// What was counted of one target's copies in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Requests that were to be copied, by what became of the copy, in the order of [`CopyResult::ALL`].
    pub results: [u64; CopyResult::ALL.len()],
    /// Per user bucket: pairs of a judged copy and its original.
    pub paired: Buckets,
    /// Per user bucket: of those, only the original succeeded.
    pub only_shadow_failed: Buckets,
    /// Per user bucket: of those, only the copy succeeded.
    pub only_baseline_failed: Buckets,
    /// Of the pairs, neither succeeded.
    pub both_failed: u64,
    /// Time from the whole request to the end of the copy's answer, of pairs; warm-up left out.
    pub latency: Histogram,
    /// The same of their originals.
    pub baseline_latency: Histogram,
}

impl ShadowCounts {
    /// Copies that ended so.
    #[must_use]
    pub const fn result(&self, result: CopyResult) -> u64 {
        self.results[result as usize]
    }

    /// Requests that were to be copied.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.results.iter().sum()
    }

    /// Copies that the target answered, or should have.
    #[must_use]
    pub fn judged(&self) -> u64 {
        let judged = CopyResult::ALL.into_iter().filter(|each| each.is_judged());
        judged.map(|result| self.result(result)).sum()
    }

    /// The pairs by outcome.
    #[must_use]
    pub fn pairs(&self) -> Pairs {
        let (only_shadow_failed, only_baseline_failed) = (
            self.only_shadow_failed.total(),
            self.only_baseline_failed.total(),
        );
        let failed = only_shadow_failed + only_baseline_failed + self.both_failed;
        Pairs {
            both_ok: self.paired.total().saturating_sub(failed),
            only_shadow_failed,
            only_baseline_failed,
            both_failed: self.both_failed,
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.results.iter_mut().zip(other.results) {
            *mine += theirs;
        }
        self.paired.merge(&other.paired);
        self.only_shadow_failed.merge(&other.only_shadow_failed);
        self.only_baseline_failed.merge(&other.only_baseline_failed);
        self.both_failed += other.both_failed;
        self.latency.merge(&other.latency);
        self.baseline_latency.merge(&other.baseline_latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_a_place_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for (at, result) in CopyResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, at);
            assert!(names.insert(result.name()));
            assert_eq!(
                result.is_judged(),
                !result.name().starts_with("dropped_"),
                "{result:?}"
            );
        }
    }

    #[test]
    fn pairs_are_what_the_buckets_leave() {
        let mut counts = ShadowCounts::default();
        counts.paired.0[3] = 10;
        counts.paired.0[200] = 5;
        counts.only_shadow_failed.0[3] = 2;
        counts.only_baseline_failed.0[200] = 1;
        counts.both_failed = 4;
        let pairs = counts.pairs();
        assert_eq!((pairs.both_ok, pairs.total()), (8, 15));
    }
}
