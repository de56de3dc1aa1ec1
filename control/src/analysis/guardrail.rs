//! One guardrail: its numbers against its margin, and the verdict that follows.

use serin_config::model::{Guardrail, Metric, MetricKind};
use serin_stats::decision::GuardEvidence;
use serin_stats::sequential::always_valid_p;

use super::classic::{counted, shown_ranks, shown_z};
use super::counts::rate;
use super::figures::{LatencyFigures, QuantileFigures, RHO, RateFigures};
use super::fixed::{Settled, Terms};
use super::forecast::{Forecast, Outlook, for_quantile};
use super::limits::{Limit, rate_limit};
use super::policy::Policy;
use super::receipt::Receipt;
use super::report::{Classic, GuardrailReport, Proof, Samples, Verdict};

/// Canary requests that a latency guardrail needs to be judged.
const LATENCY_REQUESTS: u64 = 100;

/// What one guardrail says, for people and for the rules.
pub(super) struct Judged {
    pub(super) report: GuardrailReport,
    pub(super) evidence: GuardEvidence,
    pub(super) limit: Limit,
    /// The largest ln E so far.
    pub(super) largest: f64,
    /// What was decided at the declared size, now or before.
    pub(super) settled: Option<Settled>,
}

/// What a guardrail compares, in its metric's unit.
struct Values {
    baseline: Option<f64>,
    canary: Option<f64>,
    effect: Option<f64>,
    interval: Option<[f64; 2]>,
    margin: f64,
    ln_e: f64,
    deff: f64,
    proof: Proof,
    limit: Limit,
    samples: Samples,
    samples_needed: Option<u64>,
    /// Whether the canary has answered the guardrail's `min_samples`.
    sampled: bool,
    /// Whether there are enough canary requests to find it worse, too.
    enough: bool,
    settled: Option<Settled>,
    classic: Classic,
}

/// Judges one guardrail. `error` are the figures of the error rate, which the other rules need anyway.
pub(super) fn judge(
    guardrail: &Guardrail,
    receipt: &Receipt,
    error: &RateFigures,
    forecast: &mut Forecast,
) -> Judged {
    let metric = guardrail.metric;
    let alpha = receipt.policy.share_of(metric);
    let mut values = match metric.kind() {
        MetricKind::Rate if metric == Metric::ErrorRate => {
            rate_values(guardrail, receipt, error, forecast)
        }
        MetricKind::Rate => {
            let figures = RateFigures::of(receipt, metric);
            rate_values(guardrail, receipt, &figures, forecast)
        }
        MetricKind::Latency { quantile } => latency_values(guardrail, quantile, receipt),
    };
    let before = receipt.largest.get(&metric).copied().unwrap_or(0.0);
    let largest = before.max(values.ln_e);
    let is_fixed = receipt.policy.decided_at().is_some();
    let p_value = match (is_fixed, &values.settled) {
        (false, _) => always_valid_p(largest),
        (true, Some(settled)) => settled.p_value,
        (true, None) => 1.0,
    };
    let evidence = rules_view(metric, alpha, &values, is_fixed);
    let verdict = verdict(&values, &evidence, is_fixed);
    values.proof.shown &= values.sampled;
    Judged {
        report: GuardrailReport {
            metric,
            verdict,
            baseline: values.baseline,
            canary: values.canary,
            effect: values.effect,
            interval: values.interval,
            max_increase: values.margin,
            max: guardrail.max,
            p_value,
            ln_e: values.ln_e,
            alpha,
            design_effect: values.deff,
            proof: values.proof,
            samples: values.samples,
            samples_needed: values.samples_needed,
            on_breach: guardrail.on_breach,
            dry_run: guardrail.dry_run,
            classic: values.classic,
        },
        evidence,
        limit: values.limit,
        largest,
        settled: values.settled,
    }
}

/// The same numbers as the rules see them. At a fixed horizon the tests that may be watched are silent, and
/// the one look speaks.
fn rules_view(metric: Metric, alpha: f64, values: &Values, is_fixed: bool) -> GuardEvidence {
    let certain = |is_certain| if is_certain { f64::INFINITY } else { 0.0 };
    let (ln_e, effect, proven) = if is_fixed {
        let settled = values.settled;
        let proven = settled.is_some_and(|settled| settled.verdict == Verdict::Successful);
        (
            certain(settled.is_some_and(|settled| settled.significant)),
            settled.and_then(|settled| settled.effect),
            proven,
        )
    } else {
        (values.ln_e, values.effect, values.proof.shown)
    };
    GuardEvidence {
        name: metric.name().to_owned(),
        alpha,
        min_canary_requests: if values.enough { 0 } else { u64::MAX },
        absolute_limit_exceeded: values.limit == Limit::CanaryBeyond,
        ln_e,
        effect: effect.unwrap_or(f64::NEG_INFINITY),
        margin: values.margin,
        ln_e_non_inferior: certain(proven && values.sampled),
    }
}

fn rate_values(
    guardrail: &Guardrail,
    receipt: &Receipt,
    figures: &RateFigures,
    forecast: &mut Forecast,
) -> Values {
    let (metric, policy, arms) = (guardrail.metric, &receipt.policy, &receipt.arms);
    let count = counted(metric);
    let baseline = rate(count(&arms.baseline), arms.baseline.requests);
    let margin = guardrail.max_increase.over(baseline.unwrap_or(0.0));
    let proof_margin = margin * policy.proof_factor();
    let alpha = policy.share_of(metric);
    let samples = Samples {
        baseline: arms.baseline.requests,
        canary: arms.canary.requests,
    };
    let ln_e_proof = figures.ln_e_non_inferior(proof_margin);
    let outlook = Outlook {
        margin: proof_margin,
        baseline_rate: baseline.unwrap_or(0.0),
        deff: figures.deff,
        share: policy.share,
    };
    let terms = Terms {
        margin,
        proof_margin,
        alpha,
    };
    let settled = settle(receipt, metric, samples, || {
        Settled::rate(receipt, metric, &terms)
    });
    Values {
        baseline,
        canary: rate(count(&arms.canary), arms.canary.requests),
        effect: figures.effect(),
        interval: figures.interval(alpha),
        margin,
        ln_e: figures.ln_e,
        deff: figures.deff,
        proof: Proof {
            margin: proof_margin,
            ln_e: Some(ln_e_proof),
            upper: None,
            shown: figures.effect().is_some() && ln_e_proof >= -Policy::PROOF_ALPHA.ln(),
        },
        limit: rate_limit(guardrail, arms, figures, alpha),
        samples,
        samples_needed: policy
            .decided_at()
            .or_else(|| forecast.samples_needed(metric, outlook, RHO.error, Policy::PROOF_ALPHA)),
        sampled: samples.canary >= guardrail.min_samples,
        enough: samples.canary >= guardrail.min_samples,
        settled,
        classic: Classic {
            used_for_decisions: policy.decided_at().is_some(),
            two_proportion_z: shown_z(arms, count),
            mann_whitney: None,
        },
    }
}

fn latency_values(guardrail: &Guardrail, quantile: f64, receipt: &Receipt) -> Values {
    let (metric, policy) = (guardrail.metric, &receipt.policy);
    let family = LatencyFigures::of(receipt, metric);
    let figures = QuantileFigures::of(receipt, metric);
    let [baseline, canary] = figures.samples;
    let samples = Samples { baseline, canary };
    let margin = guardrail.max_increase.over(figures.baseline.unwrap_or(0.0));
    let proof_margin = margin * policy.proof_factor();
    let terms = Terms {
        margin,
        proof_margin,
        alpha: policy.share_of(metric),
    };
    let settled = settle(receipt, metric, samples, || {
        let found = (figures.effect, figures.proof_upper);
        Settled::latency(receipt, metric, &terms, found, samples)
    });
    let facts = receipt.limits.iter().find(|facts| facts.metric == metric);
    let limit = guardrail.max.zip(facts);
    let ranks = receipt.ranks_of(metric);
    let is_fixed = policy.decided_at().is_some();
    Values {
        baseline: figures.baseline,
        canary: figures.canary,
        effect: figures.effect,
        interval: figures.interval,
        margin,
        ln_e: family.ln_e,
        deff: family.deff,
        proof: Proof {
            margin: proof_margin,
            ln_e: None,
            upper: figures.proof_upper,
            shown: figures
                .proof_upper
                .is_some_and(|upper| upper < proof_margin),
        },
        limit: limit.map_or(Limit::Respected, |(max, facts)| facts.limit(max)),
        samples,
        samples_needed: policy.decided_at().or_else(|| {
            let open = (figures.effect.unwrap_or(0.0), figures.proof_upper);
            for_quantile(quantile, family.deff, canary, open, proof_margin)
        }),
        sampled: samples.canary >= guardrail.min_samples,
        enough: (family.ranked >= LATENCY_REQUESTS || is_fixed)
            && samples.canary >= guardrail.min_samples,
        settled,
        classic: shown_ranks(ranks, is_fixed),
    }
}

/// What was decided at the declared size: before, or just now; `None` as long as there are too few.
fn settle(
    receipt: &Receipt,
    metric: Metric,
    samples: Samples,
    decide: impl FnOnce() -> Option<Settled>,
) -> Option<Settled> {
    let at = receipt.policy.decided_at()?;
    match receipt.settled.get(&metric) {
        Some(settled) => Some(*settled),
        None if samples.canary >= at => decide(),
        None => None,
    }
}

fn verdict(values: &Values, evidence: &GuardEvidence, is_fixed: bool) -> Verdict {
    let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
    if values.ln_e.is_nan() || !finite(values.effect) || !values.margin.is_finite() {
        return Verdict::Error;
    }
    if values.limit != Limit::Respected || evidence.breached(0) && values.enough {
        return Verdict::Failed;
    }
    if is_fixed {
        return values
            .settled
            .map_or(Verdict::Inconclusive, |settled| settled.verdict);
    }
    if values.sampled && values.proof.shown {
        Verdict::Successful
    } else {
        Verdict::Inconclusive
    }
}
