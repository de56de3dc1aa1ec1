//! One guardrail under the assumptions: what proves "not worse", what finds "worse", and what is known.
//!
//! At a fixed horizon both are the one look at `at_samples`: it finds or it does not.

use serin_config::model::{Guardrail, Method, Metric, MetricKind};
use serin_stats::first_error;
use serin_stats::power::{canary_requests_for, information_for_half_width};
use serin_stats::quantile::QuantileLevel;
use serin_stats::sequential::tuned_rho;
use serin_stats::special::normal;

use super::Assumptions;
use crate::rollout::RolloutSpec;

/// σ of the logarithm of a latency.
const SIGMA: f64 = 0.5;
/// Error rate of each proof.
const PROOF_ALPHA: f64 = 0.05;
/// Canary requests, or copies in a shadow step, without which no latency is judged.
pub(super) const FEWEST_LATENCIES: f64 = 100.0;
/// Erring users without which the engine says nothing of the error rate.
const ERRING: [(f64, Arm); 2] = [(20.0, Arm::Baseline), (10.0, Arm::Canary)];
/// What is believed to be never.
const MOST: f64 = 1e12;

#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Baseline,
    Canary,
}

/// A guardrail under the assumptions.
pub(super) struct Rule {
    pub(super) metric: Metric,
    pub(super) margin: f64,
    min_samples: f64,
    /// The guardrail's share of α.
    alpha: f64,
    /// Error rate of each process that it watches.
    process_alpha: f64,
    /// Canary requests at which it is decided, once.
    decided_at: Option<f64>,
    kind: Kind,
}

enum Kind {
    /// Baseline's rate.
    Rate(f64),
    /// The quantile, and baseline's median in milliseconds.
    Quantile(f64, f64),
}

/// Where requests are counted: the canary's share, and the design effect of the time that they take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    pub(super) share: f64,
    pub(super) deff: f64,
}

/// What earlier steps told a rule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// What a proof has already.
    information: f64,
    /// Canary requests that were counted.
    counted: f64,
    /// What the one look of a fixed horizon said.
    settled: Option<bool>,
}

impl Stage {
    /// Users who err, for each error: one that errs, errs again in the rest of its requests, which are half of
    /// what the design effect counts.
    fn users_per_error(self) -> f64 {
        2.0 / (1.0 + self.deff)
    }
}

impl Rule {
    pub(super) fn of(
        guardrail: &Guardrail,
        alpha: f64,
        spec: &RolloutSpec,
        assumptions: &Assumptions,
    ) -> Self {
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
            min_samples: guardrail.min_samples as f64,
            alpha,
            process_alpha: alpha / processes,
            decided_at: match spec.rollout.analysis.method {
                Method::Sequential => None,
                Method::FixedHorizon { at_samples } => Some(at_samples as f64),
            },
            kind,
        }
    }

    pub(super) const fn is_rate(&self) -> bool {
        matches!(self.kind, Kind::Rate(_))
    }

    /// Canary requests until `factor` times the margin is excluded, beside what is known.
    pub(super) fn to_prove(&self, factor: f64, stage: Stage, known: &Known) -> f64 {
        let Stage { share, deff } = stage;
        let margin = factor * self.margin;
        let missing = match (self.decided_at, known.settled, &self.kind) {
            (Some(_), Some(true), _) => 0.0,
            (Some(_), Some(false), _) => f64::INFINITY,
            (Some(at), None, _) if self.settles(at, margin, stage) => at - known.counted,
            (Some(_), None, _) => f64::INFINITY,
            (None, _, Kind::Rate(rate)) => {
                let whole = information_for_half_width(margin, rho(0.005), PROOF_ALPHA);
                let missing = (whole - known.information).max(0.0);
                canary_requests_for(missing, *rate, margin, deff, share)
            }
            (None, _, Kind::Quantile(q, median)) => {
                let proven = |requests: f64| self.reach(*q, *median, requests, stage) < margin;
                let whole = least(proven);
                (whole - known.information / (1.0 - share)).max(0.0)
            }
        };
        missing.max(self.min_samples - known.counted).max(0.0)
    }

    /// Adds what so many canary requests tell, in a step where `factor` times the margin is to be excluded.
    pub(super) fn learn(&self, known: &mut Known, requests: f64, factor: f64, stage: Stage) {
        let Stage { share, deff } = stage;
        known.counted = (known.counted + requests).round();
        known.information += match self.kind {
            Kind::Rate(rate) => requests / canary_requests_for(1.0, rate, self.margin, deff, share),
            // n_c·n_b/(n_c + n_b), by which the engine weighs stages.
            Kind::Quantile(..) => requests * (1.0 - share),
        };
        if let Some(at) = self.decided_at
            && known.settled.is_none()
            && known.counted >= at
        {
            known.settled = Some(self.settles(at, factor * self.margin, stage));
        }
    }

    /// Whether the one look at so many canary requests proves "not worse by the margin".
    fn settles(&self, requests: f64, margin: f64, stage: Stage) -> bool {
        match self.kind {
            Kind::Rate(rate) => {
                let deviation = (rate * (1.0 - rate) / (requests * (1.0 - stage.share))).sqrt();
                normal::quantile(1.0 - PROOF_ALPHA) * deviation < margin
            }
            Kind::Quantile(q, median) => self.reach(q, median, requests, stage) < margin,
        }
    }

    /// How far above no difference the quantile's upper bound is with so many canary requests.
    fn reach(&self, q: f64, median: f64, requests: f64, stage: Stage) -> f64 {
        let Stage { share, deff } = stage;
        let level = QuantileLevel::engine(q);
        let above = q + level.rank_half_width(requests, deff);
        let others = requests * (1.0 - share) / share;
        let below = q - level.rank_half_width(others, deff);
        if above >= 1.0 || below <= 0.0 {
            return f64::INFINITY;
        }
        let point = quantile(q, median);
        (quantile(above, median) - point).hypot(point - quantile(below, median))
    }

    /// Canary requests until an increase of so much is found, from nothing.
    pub(super) fn to_detect(&self, increase: f64, stage: Stage) -> f64 {
        let Stage { share, deff } = stage;
        match (self.decided_at, &self.kind) {
            (Some(at), Kind::Rate(rate)) => {
                let pooled = (rate + share * increase).min(1.0);
                let variance = pooled * (1.0 - pooled);
                self.at_the_look(at, increase, variance, share)
            }
            (Some(at), Kind::Quantile(q, median)) => {
                let (ridit, _) = ranks(increase / quantile(*q, *median));
                self.at_the_look(at, ridit, 1.0 / 12.0, share)
            }
            (None, Kind::Rate(rate)) => {
                let information =
                    information_for_half_width(increase, rho(0.005), self.process_alpha);
                let engine = canary_requests_for(information, *rate, increase, deff, share);
                if self.metric == Metric::ErrorRate {
                    let floor = ERRING.map(|(users, arm)| self.erring(users, arm, increase, stage));
                    let engine = floor.into_iter().fold(engine, f64::max);
                    engine.min(self.by_first_errors(*rate, increase, stage))
                } else {
                    engine
                }
            }
            (None, Kind::Quantile(q, median)) => {
                let (ridit, slow) = ranks(increase / quantile(*q, *median));
                let found = |difference: f64, tuned: f64, variance: f64| {
                    let information =
                        information_for_half_width(difference, rho(tuned), self.process_alpha);
                    information * deff * variance / (1.0 - share)
                };
                found(ridit, 0.03, 1.0 / 12.0)
                    .min(found(slow, 0.02, 0.05 * 0.95))
                    .max(FEWEST_LATENCIES)
            }
        }
    }

    /// All canary requests of the one look if a difference is then beyond chance, with this variance of one
    /// request.
    fn at_the_look(&self, at: f64, difference: f64, variance: f64, share: f64) -> f64 {
        let deviation = (variance / (at * (1.0 - share))).sqrt();
        if difference >= normal::quantile(1.0 - self.alpha) * deviation {
            at
        } else {
            f64::INFINITY
        }
    }

    /// Canary requests until so many users of an arm have erred.
    fn erring(&self, users: f64, arm: Arm, increase: f64, stage: Stage) -> f64 {
        let share = stage.share;
        let Kind::Rate(rate) = self.kind else {
            return 0.0;
        };
        let per_request = match arm {
            Arm::Canary => (rate + increase).min(1.0),
            Arm::Baseline => rate * (1.0 - share) / share,
        };
        users / (per_request * stage.users_per_error())
    }

    /// Canary requests until the first errors of users speak, as many as are expected.
    fn by_first_errors(&self, rate: f64, increase: f64, stage: Stage) -> f64 {
        let (share, users) = (stage.share, stage.users_per_error());
        let canary_rate = (rate + increase).min(1.0) * users;
        let baseline_rate = rate * users * (1.0 - share) / share;
        let wanted = -self.process_alpha.ln();
        least(|requests| {
            let (canary, baseline) = (requests * canary_rate, requests * baseline_rate);
            let (canary, total) = (canary.round() as u64, (canary + baseline).round() as u64);
            canary >= first_error::MIN_CANARY_USERS
                && first_error::ln_e(canary, total, share) >= wanted
        })
    }

    /// The least increase that so many canary requests find; none when that is everything.
    pub(super) fn detectable(&self, requests: f64, stage: Stage) -> Option<f64> {
        let most = match self.kind {
            Kind::Rate(rate) => 1.0 - rate,
            Kind::Quantile(_, median) => 100.0 * median,
        };
        let found = |increase: f64| self.to_detect(increase, stage) <= requests;
        if !found(most) {
            return None;
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..40 {
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

/// What a latency that is longer by this fraction does to the mean ridit and to the share of slow requests.
fn ranks(longer: f64) -> (f64, f64) {
    let shift = longer.ln_1p() / SIGMA;
    let ridit = normal::cdf(shift / std::f64::consts::SQRT_2) - 0.5;
    let slow = normal::sf(normal::quantile(0.95) - shift) - 0.05;
    (ridit, slow)
}

/// The least number of requests for which something holds that goes on to hold; infinite when there is none.
fn least(holds: impl Fn(f64) -> bool) -> f64 {
    if !holds(MOST) {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, MOST.ln());
    for _ in 0..45 {
        let middle: f64 = 0.5 * (low + high);
        if holds(middle.exp()) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.exp().ceil()
}
