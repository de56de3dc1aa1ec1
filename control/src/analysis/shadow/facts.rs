//! What a judgement of copies is made of, in numbers: the part of the receipt that is about them.

use serde::{Deserialize, Serialize};
use serin_stats::agreement::Pairs;
use serin_stats::shadow::{CopyResult, ShadowCounts, Target};

use super::super::policy::Policy;
use super::super::report::LatencyReport;
use super::Shadows;
use super::evidence::Copies;
use super::report::PairCounts;

/// Everything that copies said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::analysis) struct ShadowFacts {
    /// Of the target that is shown; none when nothing is copied and nothing was.
    pub(super) shown: Option<CopyFacts>,
    /// Of the present shadow step.
    pub(super) step: Option<CopyFacts>,
    /// Of the standing mirror.
    pub(super) mirror: Option<CopyFacts>,
}

/// One target's copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CopyFacts {
    /// `canary` or `shadow`.
    pub(super) target: String,
    /// By what became of them, in the order of [`CopyResult::ALL`].
    results: Vec<u64>,
    pub(super) pairs: PairCounts,
    /// Of the copies.
    pub(super) latency: LatencyReport,
    /// Of their originals.
    pub(super) baseline_p95: Option<f64>,
    /// Copies whose latency was measured.
    pub(super) measured: u64,
    /// Users whose first lone failure was the copy's.
    pub(super) shadow_users: u64,
    /// ln E against "the copies fail no more often than their originals": now, and at its largest.
    pub(super) ln_e: f64,
    pub(super) largest: f64,
    /// So many copies in a row failed, and the target is down.
    pub(super) down: Option<u64>,
}

impl Shadows {
    /// Reads off what a judgement is made of.
    pub(in crate::analysis) fn facts(&mut self, policy: &Policy) -> ShadowFacts {
        let ours = policy.shadow;
        if ours.has_backend {
            self.shadow.begin_at(ours.mirror_epoch);
        }
        let of = |target| {
            let copies = self.of(target);
            CopyFacts::of(target, copies, &copies.totals())
        };
        let shown = ours.shown_target();
        let is_shown = ours.in_step || ours.is_mirrored || !self.of(shown).is_empty();
        ShadowFacts {
            shown: is_shown.then(|| of(shown)),
            step: ours.in_step.then(|| {
                let counts = self.canary.totals_since(policy.step_epoch);
                CopyFacts::of(Target::Canary, &self.canary, &counts)
            }),
            mirror: ours.is_mirrored.then(|| of(ours.mirror_target())),
        }
    }
}

impl CopyFacts {
    fn of(target: Target, copies: &Copies, counts: &ShadowCounts) -> Self {
        let quantile = |q| counts.latency.quantile_ms(q);
        Self {
            target: target.name().to_owned(),
            results: counts.results.to_vec(),
            pairs: counts.pairs().into(),
            latency: LatencyReport {
                p50: quantile(0.50),
                p95: quantile(0.95),
                p99: quantile(0.99),
            },
            baseline_p95: counts.baseline_latency.quantile_ms(0.95),
            measured: counts.latency.total(),
            shadow_users: copies.claimed_by_shadow(),
            ln_e: copies.ln_e(),
            largest: copies.largest,
            down: copies.down(counts),
        }
    }

    /// Copies that ended so.
    pub(super) fn result(&self, result: CopyResult) -> u64 {
        self.results.get(result as usize).copied().unwrap_or(0)
    }

    /// Requests that were to be copied.
    pub(super) fn offered(&self) -> u64 {
        self.results.iter().sum()
    }

    /// Copies that the target answered, or should have.
    pub(super) fn judged(&self) -> u64 {
        let judged = CopyResult::ALL.into_iter().filter(|each| each.is_judged());
        judged.map(|result| self.result(result)).sum()
    }

    pub(super) fn pairs(&self) -> Pairs {
        Pairs {
            both_ok: self.pairs.both_ok,
            only_shadow_failed: self.pairs.only_baseline_ok,
            only_baseline_failed: self.pairs.only_shadow_ok,
            both_failed: self.pairs.neither,
        }
    }
}
