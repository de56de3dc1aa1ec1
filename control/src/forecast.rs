//! How long will it take? Requests and time that each step of a ramp needs, before a single one was sent.
//!
//! Rates: **n_c = V*·DEFF·[(p+δ)(1−p−δ) + p(1−p)·share/(1−share)]**, where V* is the information at which the
//! confidence sequence's half-width equals the margin δ. Latencies: the rank bound of the quantile on a
//! log-normal latency with σ = 0.5 for the proof, ranks and slow requests for the detection. Evidence of earlier
//! steps counts in later ones, as in the engine. All are medians for a canary that is no different (proof) or
//! different by exactly the margin (detection); [`FOR_EIGHTY_PERCENT`] times as many suffice four times in five.
//! The formulas foresee; they decide nothing.

use std::collections::BTreeMap;

use serin_config::model::{Guardrail, Metric, MetricKind, Step};
use serin_stats::power::{FOR_EIGHTY_PERCENT, canary_requests_for, information_for_half_width};
use serin_stats::quantile::QuantileLevel;
use serin_stats::sequential::tuned_rho;
use serin_stats::special::normal;

use crate::rollout::{RolloutSpec, begin};

/// σ of the logarithm of a latency.
const SIGMA: f64 = 0.5;
/// Error rate of each proof.
const PROOF_ALPHA: f64 = 0.05;
/// Canary requests without which no step is left.
const FEWEST: f64 = 200.0;
/// Canary requests, or copies in a shadow step, without which no latency is judged.
const FEWEST_LATENCIES: f64 = 100.0;
/// Leaving the first step, the margin counts so often.
const FIRST_STEP: f64 = 2.0;
/// What is believed to be never.
const MOST: f64 = 1e12;

/// What the forecast is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// Requests per second, both arms.
    pub requests_per_second: f64,
    /// Baseline's error rate.
    pub error_rate: f64,
    /// How many times the variance exceeds that of independent requests.
    pub design_effect: f64,
    /// Median latency, in milliseconds.
    pub median_ms: f64,
}

/// What one step needs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepForecast {
    /// The canary's share of the traffic.
    pub share: f64,
    /// In a shadow step: the share that is copied to it.
    pub shadow: f64,
    /// Canary requests (in a shadow step: copies) in the step until it can be left, at the median.
    pub canary_requests: f64,
    /// Seconds in the step, at the median; infinite: never.
    pub seconds: f64,
    /// Seconds that suffice four times in five.
    pub likely_seconds: f64,
    /// Whether the step ends within its `max_duration`.
    pub ends: Ends,
    /// In the order of the config; none at 100 %, where there is nothing to compare with.
    pub guardrails: Vec<GuardrailForecast>,
}

/// Whether a step ends within its `max_duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Four times in five, or there is no such limit.
    InTime,
    /// At the median, but not four times in five.
    Perhaps,
    /// Not even at the median.
    Late,
}

/// What one guardrail needs in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardrailForecast {
    /// Which metric.
    pub metric: Metric,
    /// The tolerated increase, in the metric's unit.
    pub margin: f64,
    /// To prove "not worse than that" (in the first step: than twice that), with what earlier steps showed.
    pub prove: Need,
    /// To find a canary that is worse by so much, from nothing.
    pub detect: Need,
    /// The increase that is found by the end of the step, in the metric's unit.
    pub detectable: Option<f64>,
}

/// Requests and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Requests of the canary; infinite: never.
    pub canary_requests: f64,
    /// Seconds at the assumed rate.
    pub seconds: f64,
}

/// The steps of a ramp, or the one that a weight set by hand amounts to.
#[must_use]
pub fn forecast(spec: &RolloutSpec, assumptions: &Assumptions) -> Vec<StepForecast> {
    let policy = begin(spec.clone(), 0, BTreeMap::new(), 0).state.policy(0);
    let rules: Vec<Rule> = spec
        .rollout
        .guardrails
        .iter()
        .filter(|guardrail| !guardrail.dry_run)
        .map(|guardrail| Rule::of(guardrail, policy.share_of(guardrail.metric), assumptions))
        .collect();
    let warmup_s = spec.rollout.analysis.warmup.as_secs_f64();
    let mut known = vec![0.0; rules.len()];
    if let Some(weight) = spec.manual_weight() {
        let step = Step {
            weight,
            shadow: 0.0,
            min_duration: std::time::Duration::ZERO,
            min_samples: 0,
            max_duration: None,
            requires_approval: false,
            bake: None,
            holdback: 0.0,
        };
        return vec![foresee(
            &step,
            1.0,
            &rules,
            &mut known,
            assumptions,
            warmup_s,
        )];
    }
    let factors = std::iter::repeat_n(1.0, policy.shadow_steps)
        .chain(std::iter::once(FIRST_STEP))
        .chain(std::iter::repeat(1.0));
    spec.steps()
        .iter()
        .zip(factors)
        .map(|(step, factor)| foresee(step, factor, &rules, &mut known, assumptions, warmup_s))
        .collect()
}

/// One step; what it adds to what is known is added to `known`.
fn foresee(
    step: &Step,
    factor: f64,
    rules: &[Rule],
    known: &mut [f64],
    assumptions: &Assumptions,
    warmup_s: f64,
) -> StepForecast {
    if step.is_shadow() {
        return copied(step, rules, assumptions, warmup_s);
    }
    let holdback = step.bake.map_or(0.0, |_| step.holdback);
    let share = step.weight.min(1.0 - holdback);
    let rate = assumptions.requests_per_second * share;
    let dwell = step
        .min_duration
        .max(step.bake.unwrap_or_default())
        .as_secs_f64();
    let fewest = FEWEST.max(step.min_samples as f64);
    let compared = share > 0.0 && share < 1.0;
    let asked = if compared {
        fewest
    } else {
        step.min_samples as f64
    };
    let need = |requests: f64, late_s: f64| Need {
        canary_requests: requests,
        seconds: if requests > 0.0 {
            requests / rate + late_s
        } else {
            0.0
        },
    };
    let mut guardrails = Vec::new();
    for (rule, known) in rules.iter().zip(&*known).filter(|_| compared) {
        let late_s = if rule.is_rate() { 0.0 } else { warmup_s };
        guardrails.push(GuardrailForecast {
            metric: rule.metric,
            margin: rule.margin,
            prove: need(rule.to_prove(factor, share, *known), late_s),
            detect: need(rule.to_detect(rule.margin, share), late_s),
            detectable: None,
        });
    }
    let slowest = |times: f64| {
        guardrails
            .iter()
            .map(|each| times * each.prove.seconds)
            .fold(dwell.max(asked / rate), f64::max)
    };
    let (seconds, likely_seconds) = (slowest(1.0), slowest(FOR_EIGHTY_PERCENT));
    let canary_requests = seconds * rate;
    for ((rule, known), each) in rules.iter().zip(known).zip(&mut guardrails) {
        let counted = if rule.is_rate() {
            canary_requests
        } else {
            (seconds - warmup_s).max(0.0) * rate
        };
        *known += rule.knowledge(counted, share);
        each.detectable = rule.detectable(counted, share);
    }
    let limit = step
        .max_duration
        .map_or(f64::INFINITY, |limit| limit.as_secs_f64());
    StepForecast {
        share,
        shadow: 0.0,
        canary_requests,
        seconds,
        likely_seconds,
        ends: match () {
            () if seconds > limit || seconds.is_infinite() => Ends::Late,
            () if likely_seconds > limit => Ends::Perhaps,
            () => Ends::InTime,
        },
        guardrails,
    }
}

/// A shadow step: it waits for copies, and for the latency of some of them, and proves nothing.
fn copied(step: &Step, rules: &[Rule], assumptions: &Assumptions, warmup_s: f64) -> StepForecast {
    let rate = assumptions.requests_per_second * step.shadow;
    let wanted = step.min_samples.max(1) as f64;
    let measured = if rules.iter().any(|rule| rule.metric == Metric::LatencyP95) {
        warmup_s + wanted.min(FEWEST_LATENCIES) / rate
    } else {
        0.0
    };
    let dwell = step.min_duration.as_secs_f64();
    let seconds = dwell.max(wanted / rate).max(measured);
    let limit = step
        .max_duration
        .map_or(f64::INFINITY, |limit| limit.as_secs_f64());
    StepForecast {
        share: 0.0,
        shadow: step.shadow,
        canary_requests: seconds * rate,
        seconds,
        likely_seconds: seconds,
        ends: if seconds > limit {
            Ends::Late
        } else {
            Ends::InTime
        },
        guardrails: Vec::new(),
    }
}

/// A guardrail under the assumptions.
struct Rule {
    metric: Metric,
    margin: f64,
    /// Error rate of each process that it watches.
    process_alpha: f64,
    design_effect: f64,
    kind: Kind,
}

enum Kind {
    /// Baseline's rate.
    Rate(f64),
    /// The quantile, and baseline's median in milliseconds.
    Quantile(f64, f64),
}

impl Rule {
    fn of(guardrail: &Guardrail, alpha: f64, assumptions: &Assumptions) -> Self {
        let metric = guardrail.metric;
        let (kind, baseline) = match metric.kind() {
            MetricKind::Rate => {
                // Nothing is assumed to be rejected or given up.
                let is_error = metric == Metric::ErrorRate;
                let rate = if is_error {
                    assumptions.error_rate
                } else {
                    0.0
                };
                (Kind::Rate(rate), rate)
            }
            MetricKind::Latency { quantile: q } => {
                let median = assumptions.median_ms;
                (Kind::Quantile(q, median), quantile(q, median))
            }
        };
        // Two processes share the guardrail's α, but for rejected and given-up requests.
        let processes = match metric {
            Metric::RejectedRate | Metric::AbortedRate => 1.0,
            _ => 2.0,
        };
        Self {
            metric,
            margin: guardrail.max_increase.over(baseline),
            process_alpha: alpha / processes,
            design_effect: assumptions.design_effect,
            kind,
        }
    }

    const fn is_rate(&self) -> bool {
        matches!(self.kind, Kind::Rate(_))
    }

    /// Canary requests until `factor` times the margin is excluded, beside what is known.
    fn to_prove(&self, factor: f64, share: f64, known: f64) -> f64 {
        let margin = factor * self.margin;
        match self.kind {
            Kind::Rate(rate) => {
                let whole = information_for_half_width(margin, rho(0.005), PROOF_ALPHA);
                let missing = (whole - known).max(0.0);
                canary_requests_for(missing, rate, margin, self.design_effect, share)
            }
            Kind::Quantile(q, median) => {
                let proven = |requests: f64| self.reach(q, median, requests, share) < margin;
                let whole = least(proven);
                (whole - known / (1.0 - share)).max(0.0)
            }
        }
    }

    /// What so many canary requests are worth to later steps.
    fn knowledge(&self, requests: f64, share: f64) -> f64 {
        match self.kind {
            Kind::Rate(rate) => {
                requests / canary_requests_for(1.0, rate, self.margin, self.design_effect, share)
            }
            // n_c·n_b/(n_c + n_b), by which the engine weighs stages.
            Kind::Quantile(..) => requests * (1.0 - share),
        }
    }

    /// How far above no difference the quantile's upper bound is with so many canary requests.
    fn reach(&self, q: f64, median: f64, requests: f64, share: f64) -> f64 {
        let level = QuantileLevel::engine(q);
        let above = q + level.rank_half_width(requests, self.design_effect);
        let others = requests * (1.0 - share) / share;
        let below = q - level.rank_half_width(others, self.design_effect);
        if above >= 1.0 || below <= 0.0 {
            return f64::INFINITY;
        }
        let point = quantile(q, median);
        (quantile(above, median) - point).hypot(point - quantile(below, median))
    }

    /// Canary requests until an increase of so much is found.
    fn to_detect(&self, increase: f64, share: f64) -> f64 {
        match self.kind {
            Kind::Rate(rate) => {
                let information =
                    information_for_half_width(increase, rho(0.005), self.process_alpha);
                canary_requests_for(information, rate, increase, self.design_effect, share)
            }
            Kind::Quantile(q, median) => {
                let shift = (increase / quantile(q, median)).ln_1p() / SIGMA;
                let ridit = normal::cdf(shift / std::f64::consts::SQRT_2) - 0.5;
                let slow = normal::sf(normal::quantile(0.95) - shift) - 0.05;
                let found = |difference: f64, tuned: f64, variance: f64| {
                    let information =
                        information_for_half_width(difference, rho(tuned), self.process_alpha);
                    information * self.design_effect * variance / (1.0 - share)
                };
                found(ridit, 0.03, 1.0 / 12.0)
                    .min(found(slow, 0.02, 0.05 * 0.95))
                    .max(FEWEST_LATENCIES)
            }
        }
    }

    /// The least increase that so many canary requests find; none when that is everything.
    fn detectable(&self, requests: f64, share: f64) -> Option<f64> {
        let most = match self.kind {
            Kind::Rate(rate) => 1.0 - rate,
            Kind::Quantile(_, median) => 100.0 * median,
        };
        let found = |increase: f64| self.to_detect(increase, share) <= requests;
        if !found(most) {
            return None;
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if found(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

fn rho(tuned: f64) -> f64 {
    tuned_rho(tuned, 0.05)
}

/// Of a log-normal latency.
fn quantile(q: f64, median: f64) -> f64 {
    median * (SIGMA * normal::quantile(q)).exp()
}

/// The least number of requests for which something holds that goes on to hold; infinite when there is none.
fn least(holds: impl Fn(f64) -> bool) -> f64 {
    if !holds(MOST) {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, MOST.ln());
    for _ in 0..60 {
        let middle: f64 = 0.5 * (low + high);
        if holds(middle.exp()) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.exp().ceil()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::fixtures;

    fn foreseen(design_effect: f64) -> Vec<StepForecast> {
        let spec = fixtures::steps(&[0.05, 0.25, 1.0].map(fixtures::at));
        let assumptions = Assumptions {
            requests_per_second: 100.0,
            error_rate: 0.01,
            design_effect,
            median_ms: 100.0,
        };
        forecast(&spec, &assumptions)
    }

    #[test]
    fn the_examples_of_the_specification() {
        // The first step proves twice half a point.
        let steps = foreseen(1.0);
        let errors = steps[0].guardrails[0];
        assert_eq!(errors.metric, Metric::ErrorRate);
        assert!(
            (errors.prove.canary_requests - 1_699.0).abs() <= 2.0,
            "{errors:?}"
        );
        assert!((errors.prove.seconds - 339.8).abs() < 1.0);
        let steps = foreseen(2.8);
        let assumed = |share: f64| canary_requests_for(306_407.0, 0.01, 0.005, 2.8, share);
        assert!((assumed(0.05) - 13_123.0).abs() <= 2.0);
        // What the first step showed need not be shown again.
        assert!(steps[1].guardrails[0].prove.canary_requests < assumed(0.25));
        assert!(steps[2].guardrails.is_empty());
    }

    #[test]
    fn what_is_found_by_the_end_is_what_it_takes_to_find() {
        for step in &foreseen(2.8)[..2] {
            for guardrail in &step.guardrails {
                let found = guardrail.detectable.unwrap();
                let within = guardrail.detect.canary_requests <= step.canary_requests;
                assert_eq!(
                    found <= guardrail.margin,
                    within,
                    "{guardrail:?} of {step:?}"
                );
            }
        }
    }
}
