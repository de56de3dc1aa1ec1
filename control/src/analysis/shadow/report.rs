//! What is shown of copies, and what the state machine has to act on. Field names are the contract's JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_stats::agreement::Pairs;
use serin_stats::proportion::wilson;
use serin_stats::shadow::CopyResult;

use super::super::report::{ArmReport, Breach};
use super::facts::CopyFacts;

/// The level of the interval that is shown.
const LEVEL: f64 = 0.95;

/// What copies say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Who gets them: `canary` or `shadow`.
    pub target: String,
    /// Copies that were answered, or should have been, in the form of an arm.
    #[serde(flatten)]
    pub arm: ArmReport,
    /// Requests that were to be copied.
    pub offered: u64,
    /// … by what became of the copy.
    pub results: BTreeMap<String, u64>,
    /// Share of the requests that were to be copied whose copy succeeded.
    pub processed: Option<f64>,
    /// Copies beside their originals.
    pub pairs: PairCounts,
    /// How far both sides agree.
    pub agreement: Option<Agreement>,
    /// Failures of both sides.
    pub error_rate: Option<ShadowRates>,
    /// P95 of both sides.
    pub latency_p95: Option<ShadowLatency>,
    /// Pairs of this step; 0 in a step that does not copy.
    pub step_pairs: u64,
}

/// Pairs by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Both succeeded.
    pub both_ok: u64,
    /// Only the original succeeded.
    pub only_baseline_ok: u64,
    /// Only the copy succeeded.
    pub only_shadow_ok: u64,
    /// Neither did.
    pub neither: u64,
}

/// How far both sides agree; fixed horizon, for reading only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Share of pairs in which both succeeded or both failed.
    pub rate: f64,
    /// Wilson's 95 % interval of it.
    pub interval: [f64; 2],
    /// McNemar's exact test of equal failure rates, two-sided.
    pub mcnemar_p: f64,
    /// Cohen's κ: agreement beyond chance; absent when chance alone explains all of it.
    pub kappa: Option<f64>,
}

/// Failures of both sides, as shares of the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRates {
    /// The originals'.
    pub baseline: f64,
    /// The copies'.
    pub shadow: f64,
    /// Shadow minus baseline.
    pub effect: f64,
    /// The increase tolerated over the present baseline.
    pub max_increase: f64,
    /// Always-valid: 1 over the largest evidence so far that the copies fail more often.
    pub p_value: f64,
}

/// P95 of both sides, from the moment that the request was whole, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowLatency {
    /// The originals'.
    pub baseline: f64,
    /// The copies'.
    pub shadow: f64,
    /// The most that the guardrail tolerates of the copies.
    pub limit: Option<f64>,
    /// Whether they keep within it.
    pub met: Option<bool>,
}

/// What the state machine needs of the copies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowJudgement {
    /// Pairs since this shadow step began.
    pub step_pairs: u64,
    /// Why this shadow step cannot be left, whatever its length.
    pub gate: Option<String>,
    /// Why the standing mirror must stop.
    pub mirror_breach: Option<Breach>,
}

impl From<Pairs> for PairCounts {
    fn from(pairs: Pairs) -> Self {
        Self {
            both_ok: pairs.both_ok,
            only_baseline_ok: pairs.only_shadow_failed,
            only_shadow_ok: pairs.only_baseline_failed,
            neither: pairs.both_failed,
        }
    }
}

impl Agreement {
    /// `None` without pairs.
    pub(super) fn of(pairs: Pairs) -> Option<Self> {
        let agreed = pairs.both_ok + pairs.both_failed;
        let interval = wilson(agreed, pairs.total(), LEVEL)?;
        Some(Self {
            rate: pairs.agreement()?,
            interval: [interval.low, interval.high],
            mcnemar_p: pairs.mcnemar().p_exact,
            kappa: pairs.cohens_kappa(),
        })
    }
}

impl ShadowReport {
    /// The counts; the comparisons are filled in by whoever knows the guardrails.
    pub(super) fn of(facts: &CopyFacts) -> Self {
        let result = |result| facts.result(result);
        let unreachable = result(CopyResult::Unreachable) + result(CopyResult::Timeout);
        let offered = facts.offered();
        let ok = result(CopyResult::Ok);
        Self {
            target: facts.target.clone(),
            arm: ArmReport {
                requests: facts.judged(),
                errors: result(CopyResult::Error) + unreachable,
                rejected: result(CopyResult::Rejected),
                unreachable,
                latency_ms: facts.latency,
                ..ArmReport::default()
            },
            offered,
            results: CopyResult::ALL
                .into_iter()
                .map(|result| (result.name().to_owned(), facts.result(result)))
                .collect(),
            processed: (offered > 0).then(|| ok as f64 / offered as f64),
            pairs: facts.pairs,
            agreement: Agreement::of(facts.pairs()),
            error_rate: None,
            latency_p95: None,
            step_pairs: 0,
        }
    }
}
