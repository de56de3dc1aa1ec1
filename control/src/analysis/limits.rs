//! Absolute limits: a guardrail's `max`, whatever baseline does.
//!
//! The canary is beyond it when its confidence bound is: one noisy minute proves nothing. If baseline is
//! beyond it too, taking the canary back would help nobody; that holds and alerts.

use serde::{Deserialize, Serialize};
use serin_config::model::{Guardrail, Metric, MetricKind};
use serin_stats::histogram::Histogram;
use serin_stats::sequential::ln_e_one_sided;

use super::classic::counted;
use super::counts::{BothTotals, rate};
use super::facts::level;
use super::figures::{ENGINE_USERS, RHO, RateFigures};
use super::report::Arms;

/// Where the arms stand to a guardrail's `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Within it, or nothing is proven, or there is no limit.
    Respected,
    /// The canary is beyond it, baseline is not.
    CanaryBeyond,
    /// Both are.
    BothBeyond,
}

impl Limit {
    fn of(canary_beyond: bool, baseline: Option<f64>, max: f64) -> Self {
        match baseline {
            _ if !canary_beyond => Self::Respected,
            Some(baseline) if baseline > max => Self::BothBeyond,
            _ => Self::CanaryBeyond,
        }
    }
}

/// What a latency's limit is compared with, over the whole rollout, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LimitFacts {
    pub(super) metric: Metric,
    /// The lower bound of the canary's quantile at the guardrail's share of α.
    canary_low: Option<f64>,
    baseline: Option<f64>,
}

impl LimitFacts {
    /// `None` for a guardrail on a rate, or without a limit.
    pub(super) fn of(
        guardrail: &Guardrail,
        totals: &BothTotals,
        deff: f64,
        alpha: f64,
    ) -> Option<Self> {
        let MetricKind::Latency { quantile } = guardrail.metric.kind() else {
            return None;
        };
        guardrail.max?;
        let times = |arm: &[u64]| Histogram::from_counts(arm.to_vec());
        let canary = times(totals.canary.times(guardrail.metric));
        let baseline = times(totals.baseline.times(guardrail.metric));
        Some(Self {
            metric: guardrail.metric,
            canary_low: level(quantile, alpha)
                .histogram_bounds(&canary, deff)
                .and_then(|bounds| bounds.low),
            baseline: baseline.quantile_ms(quantile),
        })
    }

    pub(super) fn limit(&self, max: f64) -> Limit {
        let beyond = self.canary_low.is_some_and(|low| low > max);
        Limit::of(beyond, self.baseline, max)
    }
}

/// A rate's limit. The engine on one arm: S = (p_c − max)·V with the variance at the limit.
pub(super) fn rate_limit(
    guardrail: &Guardrail,
    arms: &Arms,
    figures: &RateFigures,
    alpha: f64,
) -> Limit {
    let Some(max) = guardrail.max else {
        return Limit::Respected;
    };
    let count = counted(guardrail.metric);
    let baseline = rate(count(&arms.baseline), arms.baseline.requests);
    let Some(canary) = rate(count(&arms.canary), arms.canary.requests) else {
        return Limit::Respected;
    };
    let beyond = canary > max && figures.canary_users >= ENGINE_USERS.1 && {
        let variance = (max * (1.0 - max)).max(1e-9) * figures.deff;
        let information = arms.canary.requests as f64 / variance;
        let ln_e = ln_e_one_sided((canary - max) * information, information, RHO.error);
        ln_e >= -alpha.ln()
    };
    Limit::of(beyond, baseline, max)
}
