//! How long will it take? Requests and time that each step of a ramp needs, before a single one was sent.
//!
//! Rates: **n_c = V*·DEFF·[(p+δ)(1−p−δ) + p(1−p)·share/(1−share)]**, where V* is the information at which the
//! confidence sequence's half-width equals the margin δ; more errors are also found by the first errors of users,
//! whichever is sooner. Latencies: the rank bound of the quantile on a log-normal latency with σ = 0.5 for the
//! proof, ranks and slow requests for the detection. Evidence of earlier steps counts in later ones, as in the
//! engine. All are medians for a canary that is no different (proof) or different by exactly the margin
//! (detection); [`FOR_EIGHTY_PERCENT`] times as many suffice four times in five. The formulas foresee; they
//! decide nothing.

mod rule;

use std::collections::BTreeMap;

use serin_config::model::{Method, Metric, Step};
use serin_stats::power::FOR_EIGHTY_PERCENT;

use self::rule::{FEWEST_LATENCIES, Known, Rule, Stage};
use crate::rollout::{RolloutSpec, begin};
use crate::simulation::Traffic;

/// Canary requests without which no step is left.
pub const FEWEST: u64 = 200;
/// Leaving the first step, the margin counts so often.
const FIRST_STEP: f64 = 2.0;
/// Rounds until requests and the time that they take agree.
const SETTLING: usize = 12;
/// A canary that fails more often takes no step, however bad baseline is.
const MOSTLY: f64 = 0.5;

/// What the forecast is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// Requests per second, both arms.
    pub requests_per_second: f64,
    /// Baseline's error rate.
    pub error_rate: f64,
    /// How requests of one user belong together.
    pub clustering: Clustering,
    /// Median latency, in milliseconds.
    pub median_ms: f64,
}

/// How requests of one user belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clustering {
    /// The variance exceeds that of independent requests so many times.
    Constant(f64),
    /// As with these users, the more the longer one looks.
    Users(Traffic),
}

impl Clustering {
    /// How many times the variance exceeds that of independent requests, in so many seconds.
    #[must_use]
    pub fn design_effect(&self, seconds: f64) -> f64 {
        match self {
            Self::Constant(design_effect) => *design_effect,
            Self::Users(traffic) => traffic.design_effect_within(seconds),
        }
    }
}

/// What one step needs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepForecast {
    /// The canary's share of the traffic.
    pub share: f64,
    /// In a shadow step: the share that is copied to it.
    pub shadow: f64,
    /// A person has to let the rollout into the step; that time is not counted.
    pub requires_approval: bool,
    /// Canary requests (in a shadow step: copies) in the step until it can be left, at the median.
    pub canary_requests: f64,
    /// Seconds in the step, at the median; infinite: never.
    pub seconds: f64,
    /// Seconds that suffice four times in five.
    pub likely_seconds: f64,
    /// The step's `max_duration`, in seconds.
    pub limit_seconds: Option<f64>,
    /// Whether the step ends, and in time.
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
    /// It is not left by itself.
    Never(Never),
}

/// Why a step is not left by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// Every guardrail is a dry run: nothing proves anything.
    NothingActs,
    /// More than half of the requests fail.
    MostlyFailing,
    /// This guardrail's proof is out of reach.
    OutOfReach(Metric),
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
        .map(|guardrail| {
            let alpha = policy.share_of(guardrail.metric);
            Rule::of(guardrail, alpha, spec, assumptions)
        })
        .collect();
    let mut course = Course {
        known: vec![Known::default(); rules.len()],
        rules,
        assumptions,
        warmup_s: spec.rollout.analysis.warmup.as_secs_f64(),
        likely: match spec.rollout.analysis.method {
            Method::Sequential => FOR_EIGHTY_PERCENT,
            Method::FixedHorizon { .. } => 1.0,
        },
    };
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
        return vec![course.step(&step, 1.0)];
    }
    let factors = std::iter::repeat_n(1.0, policy.shadow_steps)
        .chain(std::iter::once(FIRST_STEP))
        .chain(std::iter::repeat(1.0));
    spec.steps()
        .iter()
        .zip(factors)
        .map(|(step, factor)| course.step(step, factor))
        .collect()
}

/// A ramp, as far as it is foreseen.
struct Course<'a> {
    rules: Vec<Rule>,
    /// What earlier steps told each of them.
    known: Vec<Known>,
    assumptions: &'a Assumptions,
    warmup_s: f64,
    /// So many times the requests suffice four times in five.
    likely: f64,
}

impl Course<'_> {
    /// The next step.
    fn step(&mut self, step: &Step, factor: f64) -> StepForecast {
        if step.is_shadow() {
            return self.copies(step);
        }
        let holdback = step.bake.map_or(0.0, |_| step.holdback);
        let share = step.weight.min(1.0 - holdback);
        let rate = self.assumptions.requests_per_second * share;
        let mut guardrails = self.guardrails(factor, share, rate);
        let slowest = |times: f64| {
            let proofs = guardrails.iter().map(|each| times * each.prove.seconds);
            proofs.fold(least_seconds(step, rate), f64::max)
        };
        let (seconds, likely) = (slowest(1.0), slowest(self.likely));
        let mut foreseen = StepForecast {
            share,
            ..self.outcome(step, rate, (seconds, likely))
        };
        let out_of_reach = guardrails
            .iter()
            .find(|each| each.prove.seconds.is_infinite());
        match out_of_reach {
            _ if matches!(foreseen.ends, Ends::Never(_)) => {}
            Some(each) => foreseen.never(Never::OutOfReach(each.metric)),
            None if share > 0.0 && share < 1.0 && self.rules.is_empty() => {
                foreseen.never(Never::NothingActs);
            }
            None => {}
        }
        let known = self.known.iter_mut();
        for ((rule, known), each) in self.rules.iter().zip(known).zip(&mut guardrails) {
            let counted = if rule.is_rate() {
                foreseen.canary_requests
            } else {
                (foreseen.seconds - self.warmup_s).max(0.0) * rate
            };
            if counted.is_finite() {
                let deff = self.assumptions.clustering.design_effect(foreseen.seconds);
                let stage = Stage { share, deff };
                rule.learn(known, counted, factor, stage);
                each.detectable = rule.detectable(counted, stage);
            }
        }
        foreseen.guardrails = guardrails;
        foreseen
    }

    /// A shadow step: it waits for copies, and for the latency of some of them, and proves nothing.
    fn copies(&self, step: &Step) -> StepForecast {
        let rate = self.assumptions.requests_per_second * step.shadow;
        let wanted = step.min_samples.max(1) as f64;
        let mut rules = self.rules.iter();
        let measured = if rules.any(|rule| rule.metric == Metric::LatencyP95) {
            self.warmup_s + wanted.min(FEWEST_LATENCIES) / rate
        } else {
            0.0
        };
        let dwell = step.min_duration.as_secs_f64();
        let seconds = dwell.max(wanted / rate).max(measured);
        StepForecast {
            shadow: step.shadow,
            ..self.outcome(step, rate, (seconds, seconds))
        }
    }

    /// What each guardrail needs where there is something to compare with.
    fn guardrails(&self, factor: f64, share: f64, rate: f64) -> Vec<GuardrailForecast> {
        let compared = share > 0.0 && share < 1.0;
        let need = |requests: f64, late_s: f64| Need {
            canary_requests: requests,
            seconds: if requests > 0.0 {
                requests / rate + late_s
            } else {
                0.0
            },
        };
        let rules = self.rules.iter().zip(&self.known);
        rules
            .filter(|_| compared)
            .map(|(rule, known)| {
                let late_s = if rule.is_rate() { 0.0 } else { self.warmup_s };
                GuardrailForecast {
                    metric: rule.metric,
                    margin: rule.margin,
                    prove: need(
                        self.settled(share, rate, |stage| rule.to_prove(factor, stage, known)),
                        late_s,
                    ),
                    detect: need(
                        self.settled(share, rate, |stage| rule.to_detect(rule.margin, stage)),
                        late_s,
                    ),
                    detectable: None,
                }
            })
            .collect()
    }

    /// Requests that suffice with the design effect of the time that they take.
    fn settled(&self, share: f64, rate: f64, need: impl Fn(Stage) -> f64) -> f64 {
        let within = |seconds| Stage {
            share,
            deff: self.assumptions.clustering.design_effect(seconds),
        };
        let mut requests = need(within(f64::INFINITY));
        for _ in 0..SETTLING {
            let fewer = need(within(requests / rate));
            let is_settled = requests.is_infinite() || requests - fewer <= 1e-3 * requests;
            requests = fewer;
            if is_settled {
                break;
            }
        }
        requests
    }

    fn outcome(&self, step: &Step, rate: f64, (seconds, likely): (f64, f64)) -> StepForecast {
        let limit_seconds = step.max_duration.map(|limit| limit.as_secs_f64());
        let limit = limit_seconds.unwrap_or(f64::INFINITY);
        let mut outcome = StepForecast {
            share: 0.0,
            shadow: 0.0,
            requires_approval: step.requires_approval,
            canary_requests: seconds * rate,
            seconds,
            likely_seconds: likely,
            limit_seconds,
            ends: match () {
                () if seconds > limit => Ends::Late,
                () if likely > limit => Ends::Perhaps,
                () => Ends::InTime,
            },
            guardrails: Vec::new(),
        };
        if self.assumptions.error_rate > MOSTLY && rate > 0.0 {
            outcome.never(Never::MostlyFailing);
        }
        outcome
    }
}

impl StepForecast {
    fn never(&mut self, why: Never) {
        self.canary_requests = f64::INFINITY;
        self.seconds = f64::INFINITY;
        self.likely_seconds = f64::INFINITY;
        self.ends = Ends::Never(why);
    }
}

/// The least time in a step with clients, whatever is proven: its own, and that of the requests that it asks for.
fn least_seconds(step: &Step, rate: f64) -> f64 {
    let dwell = step.min_duration.max(step.bake.unwrap_or_default());
    let asked = if rate > 0.0 {
        step.min_samples.max(FEWEST) as f64 / rate
    } else {
        0.0
    };
    dwell.as_secs_f64().max(asked)
}

#[cfg(test)]
mod tests;
