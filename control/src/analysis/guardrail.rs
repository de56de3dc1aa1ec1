//! One guardrail: its numbers against its margin, and the verdict that follows.

use serin_config::model::{Guardrail, Metric};
use serin_stats::decision::GuardEvidence;
use serin_stats::sequential::always_valid_p;

use super::classic::classic;
use super::evidence::Evidence;
use super::figures::{ErrorFigures, LatencyFigures, RHO};
use super::forecast::Outlook;
use super::limits::{Limit, limit};
use super::policy::Policy;
use super::report::{GuardrailReport, Samples, Verdict};

/// Canary requests that a latency guardrail needs to be judged.
const LATENCY_REQUESTS: u64 = 100;

/// The numbers that all guardrails of one look share.
pub(super) struct Figures {
    pub(super) error: ErrorFigures,
    pub(super) latency: LatencyFigures,
}

/// What one guardrail says, for people and for the rules.
pub(super) struct Judged {
    pub(super) report: GuardrailReport,
    pub(super) evidence: GuardEvidence,
    pub(super) limit: Limit,
}

/// Judges one guardrail.
pub(super) fn judge(
    guardrail: &Guardrail,
    policy: &Policy,
    memory: &mut Evidence,
    figures: &Figures,
) -> Judged {
    let alpha = policy.share_of(guardrail.metric);
    let values = match guardrail.metric {
        Metric::ErrorRate => error_values(guardrail, policy, memory, figures),
        Metric::LatencyP95 => latency_values(guardrail, policy, memory, figures),
    };
    let largest = memory.largest.entry(guardrail.metric).or_insert(0.0);
    *largest = largest.max(values.ln_e);
    let p_value = always_valid_p(*largest);
    let evidence = GuardEvidence {
        name: guardrail.metric.name().to_owned(),
        alpha,
        min_canary_requests: if values.enough { 0 } else { u64::MAX },
        absolute_limit_exceeded: false,
        ln_e: values.ln_e,
        effect: values.effect.unwrap_or(f64::NEG_INFINITY),
        margin: values.margin,
        ln_e_non_inferior: values.ln_e_non_inferior,
    };
    let limit = limit(
        guardrail,
        &memory.totals,
        &figures.error,
        &figures.latency,
        alpha,
    );
    Judged {
        report: GuardrailReport {
            metric: guardrail.metric,
            verdict: verdict(&values, &evidence, limit),
            baseline: values.baseline,
            canary: values.canary,
            effect: values.effect,
            interval: values.interval,
            max_increase: values.margin,
            max: guardrail.max,
            p_value,
            ln_e: values.ln_e,
            samples: values.samples,
            samples_needed: values.samples_needed,
            on_breach: guardrail.on_breach,
            dry_run: guardrail.dry_run,
            classic: classic(guardrail.metric, &memory.totals),
        },
        evidence: GuardEvidence {
            absolute_limit_exceeded: limit == Limit::CanaryBeyond,
            ..evidence
        },
        limit,
    }
}

/// What a guardrail compares, in its metric's unit.
struct Values {
    baseline: Option<f64>,
    canary: Option<f64>,
    effect: Option<f64>,
    interval: Option<[f64; 2]>,
    margin: f64,
    ln_e: f64,
    ln_e_non_inferior: f64,
    samples: Samples,
    samples_needed: Option<u64>,
    /// Whether there are enough canary requests to judge by.
    enough: bool,
}

fn error_values(
    guardrail: &Guardrail,
    policy: &Policy,
    memory: &mut Evidence,
    figures: &Figures,
) -> Values {
    let (baseline, canary) = (&memory.totals.baseline, &memory.totals.canary);
    let baseline_rate = baseline.error_rate();
    let margin = guardrail.max_increase.over(baseline_rate.unwrap_or(0.0));
    let samples = Samples {
        baseline: baseline.requests(),
        canary: canary.requests(),
    };
    let canary_rate = canary.error_rate();
    let outlook = Outlook {
        margin,
        baseline_rate: baseline_rate.unwrap_or(0.0),
        deff: figures.error.deff,
        share: policy.share,
    };
    Values {
        baseline: baseline_rate,
        canary: canary_rate,
        effect: figures.error.effect(),
        interval: figures.error.interval(policy.share_of(Metric::ErrorRate)),
        margin,
        ln_e: figures.error.ln_e,
        ln_e_non_inferior: figures.error.ln_e_non_inferior(margin),
        samples,
        samples_needed: memory
            .forecast
            .samples_needed(outlook, RHO.error, Policy::PROOF_ALPHA),
        enough: samples.canary >= guardrail.min_samples,
    }
}

fn latency_values(
    guardrail: &Guardrail,
    _policy: &Policy,
    memory: &Evidence,
    figures: &Figures,
) -> Values {
    let figures = &figures.latency;
    let samples = Samples {
        baseline: memory.totals.baseline.measured(),
        canary: memory.totals.canary.measured(),
    };
    let margin = guardrail.max_increase.over(figures.baseline.unwrap_or(0.0));
    let proven = figures.proof_upper.is_some_and(|upper| upper < margin);
    Values {
        baseline: figures.baseline,
        canary: figures.canary,
        effect: figures.effect,
        interval: figures.interval,
        margin,
        ln_e: figures.ln_e,
        // The proof is a bound, not a process: it holds or it doesn't.
        ln_e_non_inferior: if proven { f64::INFINITY } else { 0.0 },
        samples,
        samples_needed: None,
        enough: figures.ranked >= LATENCY_REQUESTS && samples.canary >= guardrail.min_samples,
    }
}

fn verdict(values: &Values, evidence: &GuardEvidence, limit: Limit) -> Verdict {
    let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
    if values.ln_e.is_nan() || !finite(values.effect) || !values.margin.is_finite() {
        Verdict::Error
    } else if limit != Limit::Respected || evidence.breached(0) && values.enough {
        Verdict::Failed
    } else if values.effect.is_some() && values.enough && evidence.non_inferior() {
        Verdict::Successful
    } else {
        Verdict::Inconclusive
    }
}
