//! What evidence is held against: guardrails, shares of α, and where the rollout stands.
//!
//! α is the chance of rolling back a harmless canary over a whole rollout, however often one looks. It is
//! divided once (Bonferroni over rules); shares of rules that are not built or not configured stay unused.

use serde::{Deserialize, Serialize};
use serin_config::model::{Analysis, Guardrail, Margin, Method, Metric, OnBreach};

use super::shadow::ShadowPolicy;

/// The α that the shares below are written for.
const REFERENCE_ALPHA: f64 = 0.05;

/// The tolerated increase of the error rate when no `error_rate` guardrail says otherwise.
const DEFAULT_ERROR_MARGIN: f64 = 0.005;

/// Under which rules the evidence is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// In the order of the config.
    pub guardrails: Vec<Guardrail>,
    /// How the evidence is weighed.
    pub analysis: Analysis,
    /// What the rules without a guardrail of their own do.
    pub on_breach: OnBreach,
    /// What it does when users do not arrive in the declared proportion.
    pub on_sample_ratio_mismatch: OnBreach,
    /// The first epoch of the present step: what `stage` counts.
    pub step_epoch: u64,
    /// Position in the plan, counted from 0; none for a weight that is set by hand.
    pub step: Option<usize>,
    /// Steps in the plan.
    pub steps: usize,
    /// The canary's share of the key space in force.
    pub share: f64,
    /// Canary requests that the present step asks for.
    pub step_min_samples: u64,
    /// How much longer the present step has to last.
    pub dwell_left_ms: u64,
    /// The present step has lasted longer than its `max_duration`.
    pub overdue: bool,
    /// Values in the frozen latency reference, once there is one: the scale of ridits.
    pub reference_total: Option<u64>,
    /// Shadow steps at the plan's beginning: the first step with clients comes after them.
    #[serde(default)]
    pub shadow_steps: usize,
    /// Where copies go.
    #[serde(default)]
    pub shadow: ShadowPolicy,
}

impl Policy {
    /// Each proof of non-inferiority may be wrong this often; all of them are needed, so none is corrected.
    pub(super) const PROOF_ALPHA: f64 = 0.05;

    /// The guardrail on a metric.
    #[must_use]
    pub fn guardrail(&self, metric: Metric) -> Option<&Guardrail> {
        self.guardrails
            .iter()
            .find(|guardrail| guardrail.metric == metric)
    }

    /// A guardrail's share of α. The error rate's is for its guardrail and the catastrophe rule together;
    /// that of the latencies is divided among those that are configured; rejected and aborted requests have
    /// half of theirs each.
    #[must_use]
    pub fn share_of(&self, metric: Metric) -> f64 {
        let latencies = self
            .guardrails
            .iter()
            .filter(|guardrail| !guardrail.metric.is_rate())
            .count();
        match metric {
            Metric::ErrorRate => 0.025 * self.scale(),
            Metric::RejectedRate | Metric::AbortedRate => 0.0025 * self.scale(),
            Metric::LatencyP50
            | Metric::LatencyP90
            | Metric::LatencyP95
            | Metric::LatencyP99
            | Metric::TtftP95 => 0.010 * self.scale() / latencies.max(1) as f64,
        }
    }

    /// The recent-break rule's share of α, over all its generations.
    #[must_use]
    pub fn recent_break_share(&self) -> f64 {
        0.005 * self.scale()
    }

    /// The share of α for copies that fail more often than their originals. It stands beside the others, not
    /// among them: what it guards is met by no client.
    #[must_use]
    pub fn shadow_share(&self) -> f64 {
        0.005 * self.scale()
    }

    fn scale(&self) -> f64 {
        self.analysis.alpha / REFERENCE_ALPHA
    }

    /// What the rules on errors (catastrophe, recent break) do; nothing when the guardrail on the error rate
    /// is a dry run.
    #[must_use]
    pub fn error_on_breach(&self) -> Option<OnBreach> {
        match self.guardrail(Metric::ErrorRate) {
            Some(guardrail) => (!guardrail.dry_run).then_some(guardrail.on_breach),
            None => Some(self.on_breach),
        }
    }

    /// By how much the canary's error rate may exceed baseline's.
    #[must_use]
    pub fn error_margin(&self, baseline: f64) -> f64 {
        let guardrail = self.guardrail(Metric::ErrorRate);
        guardrail
            .map_or(
                Margin {
                    absolute: Some(DEFAULT_ERROR_MARGIN),
                    relative: None,
                },
                |guardrail| guardrail.max_increase,
            )
            .over(baseline)
    }

    /// By how many times a guardrail's margin "not worse" has to be proven: leaving the first step with clients, with its
    /// few requests, twice.
    #[must_use]
    pub fn proof_factor(&self) -> f64 {
        if self.step == Some(self.shadow_steps) {
            2.0
        } else {
            1.0
        }
    }

    /// Everybody gets the canary: there is nobody left to compare it with, and no proof to wait for.
    #[must_use]
    pub fn is_unopposed(&self) -> bool {
        self.share >= 1.0
    }

    /// The canary's requests after which the guardrails are decided, once.
    #[must_use]
    pub const fn decided_at(&self) -> Option<u64> {
        match self.analysis.method {
            Method::Sequential => None,
            Method::FixedHorizon { at_samples } => Some(at_samples),
        }
    }
}
