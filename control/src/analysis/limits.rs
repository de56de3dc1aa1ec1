//! Absolute limits: a guardrail's `max`, whatever baseline does.
//!
//! The canary is beyond it when its confidence bound is: one noisy minute proves nothing. If baseline is
//! beyond it too, taking the canary back would help nobody; that holds and alerts.

use serin_config::model::{Guardrail, Metric};
use serin_stats::quantile::{QuantileLevel, RHO as QUANTILE_RHO};
use serin_stats::sequential::ln_e_one_sided;

use super::counts::BothTotals;
use super::figures::{ENGINE_USERS, ErrorFigures, LatencyFigures, RHO};

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

/// Compares both arms with the guardrail's `max`, at its share of α.
pub(super) fn limit(
    guardrail: &Guardrail,
    totals: &BothTotals,
    error: &ErrorFigures,
    latency: &LatencyFigures,
    alpha: f64,
) -> Limit {
    let Some(max) = guardrail.max else {
        return Limit::Respected;
    };
    let (canary_beyond, baseline) = match guardrail.metric {
        Metric::ErrorRate => (
            rate_beyond(max, totals, error, alpha),
            totals.baseline.error_rate(),
        ),
        Metric::LatencyP95 => (
            p95_beyond(max, totals, latency.deff, alpha),
            totals.baseline.histogram().quantile_ms(0.95),
        ),
    };
    match baseline {
        _ if !canary_beyond => Limit::Respected,
        Some(baseline) if baseline > max => Limit::BothBeyond,
        _ => Limit::CanaryBeyond,
    }
}

/// The engine on one arm: S = (p_c − max)·V with the variance at the limit.
fn rate_beyond(max: f64, totals: &BothTotals, error: &ErrorFigures, alpha: f64) -> bool {
    let Some(rate) = totals.canary.error_rate() else {
        return false;
    };
    if rate <= max || error.canary_users < ENGINE_USERS.1 {
        return false;
    }
    let variance = (max * (1.0 - max)).max(1e-9) * error.deff;
    let information = totals.canary.requests() as f64 / variance;
    let ln_e = ln_e_one_sided((rate - max) * information, information, RHO.error);
    ln_e >= -alpha.ln()
}

fn p95_beyond(max_ms: f64, totals: &BothTotals, deff: f64, alpha: f64) -> bool {
    let level = QuantileLevel {
        quantile: 0.95,
        rho: QUANTILE_RHO,
        alpha,
    };
    level
        .histogram_bounds(&totals.canary.histogram(), deff)
        .and_then(|bounds| bounds.low)
        .is_some_and(|low| low > max_ms)
}
