//! What evidence is held against: guardrails, shares of α, and where the rollout stands.
//!
//! α is the chance of rolling back a harmless canary over a whole rollout, however often one looks. It is
//! divided once (Bonferroni over rules); shares of rules that are not built or not configured stay unused.

use serde::{Deserialize, Serialize};
use serin_config::model::{Analysis, Guardrail, Margin, Metric, OnBreach};

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
    /// The first epoch of the present step: what `stage` counts.
    pub step_epoch: u64,
    /// The canary's share of the key space in force.
    pub share: f64,
    /// Canary requests that the present step asks for.
    pub step_min_samples: u64,
    /// Whether the present step has lasted long enough.
    pub dwelt: bool,
    /// Values in the frozen latency reference, once there is one: the scale of ridits.
    pub reference_total: Option<u64>,
}

impl Policy {
    /// The guardrail on a metric.
    #[must_use]
    pub fn guardrail(&self, metric: Metric) -> Option<&Guardrail> {
        self.guardrails
            .iter()
            .find(|guardrail| guardrail.metric == metric)
    }

    /// How α is divided.
    #[must_use]
    pub fn shares(&self) -> Shares {
        let scale = self.analysis.alpha / REFERENCE_ALPHA;
        let latencies = self
            .guardrails
            .iter()
            .filter(|guardrail| guardrail.metric == Metric::LatencyP95)
            .count();
        Shares {
            error_rate: 0.025 * scale,
            recent_break: 0.005 * scale,
            latency: 0.010 * scale / latencies.max(1) as f64,
        }
    }

    /// By how much the canary's error rate may exceed baseline's.
    #[must_use]
    pub fn error_margin(&self, baseline: f64) -> f64 {
        self.guardrail(Metric::ErrorRate)
            .map_or(
                Margin {
                    absolute: Some(DEFAULT_ERROR_MARGIN),
                    relative: None,
                },
                |guardrail| guardrail.max_increase,
            )
            .over(baseline)
    }
}

/// Each rule's share of α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Error rate: the guardrail and the catastrophe rule together.
    pub error_rate: f64,
    /// All generations of the recent-break rule together.
    pub recent_break: f64,
    /// One latency guardrail.
    pub latency: f64,
}
