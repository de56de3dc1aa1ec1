//! Everything that one judgement is made of, in numbers: the receipt of a decision.
//!
//! The judgement is computed from the receipt and from nothing else, live as well as later by `explain`; so
//! whoever holds the receipt can repeat the decision to the last bit. It holds sums, thresholds and the
//! versions of what it was made by; no request, no user, no histogram. Stages and strata are bounded, and so
//! is its size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;
use serin_stats::cluster::Moments;

use super::classic::RankSumFacts;
use super::facts::StageFacts;
use super::first_errors::FirstErrorFacts;
use super::fixed::Settled;
use super::folded::Folded;
use super::limits::LimitFacts;
use super::policy::Policy;
use super::recent::GenerationFacts;
use super::report::Arms;
use super::run::Standing;
use super::seen::SeenFacts;
use super::shadow::ShadowFacts;
use super::stored;

/// Of the receipt's form and of the formulas behind it.
const FORMAT: u32 = 1;

/// The formulas by which a receipt of this format is judged, by the names that the documentation uses.
pub const FORMULAS: [&str; 11] = [
    "rates: one-sided normal mixture on cluster-robust information, stages by inverse variance",
    "first errors: one-sided beta mixture on each stage's canary share",
    "error_rate: mean of first errors and rates",
    "latencies: mean of ridits and slow requests, each a one-sided normal mixture",
    "quantiles: rank confidence sequence, square-and-add",
    "proof on rates: one-sided normal mixture with the variance of the restricted null",
    "recent break: first errors in generations of 1, 10 and 60 minutes, union bound 1/(j(j+1))",
    "own previous stage: one-sided normal mixture, averaged with first errors above half the users",
    "sample ratio: Dirichlet-multinomial, concentration 100",
    "copies: first lone failure of each user bucket, one-sided beta mixture on a share of one half",
    "classic: pooled two-proportion z with Newcombe's interval, Mann-Whitney with tie and continuity correction",
];

/// The sufficient statistics, thresholds and versions of one judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of the receipt's form and of the formulas behind it.
    pub(super) format: u32,
    /// The program's version.
    pub(super) version: String,
    /// When it was judged, in Unix milliseconds.
    pub(super) at_ms: u64,
    /// The rules: guardrails, shares of α, where the rollout stood.
    pub(super) policy: Policy,
    pub(super) stages: Vec<StageFacts>,
    pub(super) folded: Folded,
    /// Counts since the rollout began.
    pub(super) arms: Arms,
    /// Counts of the present step.
    pub(super) step: Arms,
    pub(super) first_errors: FirstErrorFacts,
    pub(super) recent: Vec<GenerationFacts>,
    /// The canary's errors in the stage before the present step.
    #[serde(with = "stored::optional_moments")]
    pub(super) previous: Option<Moments>,
    pub(super) standing: Standing,
    pub(super) seen: SeenFacts,
    /// The largest ln E before this look, by guardrail.
    pub(super) largest: BTreeMap<Metric, f64>,
    /// What was decided once and for all.
    pub(super) settled: BTreeMap<Metric, Settled>,
    /// Of the whole response, and of the time to the first byte.
    pub(super) ranks: [Option<RankSumFacts>; 2],
    pub(super) limits: Vec<LimitFacts>,
    /// Of copies.
    #[serde(default)]
    pub(super) shadow: ShadowFacts,
}

/// What all receipts of this program have in common.
pub(super) fn version() -> (u32, String) {
    (FORMAT, env!("CARGO_PKG_VERSION").to_owned())
}

impl Receipt {
    /// Whether this program knows how it was judged.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.format == FORMAT
    }

    /// Which program wrote it.
    #[must_use]
    pub fn written_by(&self) -> &str {
        &self.version
    }

    /// The ranks of the times that a metric is about.
    pub(super) fn ranks_of(&self, metric: Metric) -> Option<&RankSumFacts> {
        let [whole, first_byte] = &self.ranks;
        if metric == Metric::TtftP95 {
            first_byte.as_ref()
        } else {
            whole.as_ref()
        }
    }
}
