//! The rules for copies.
//!
//! A *breach* is a target that is down (20 copies in a row without a success, while most of their originals
//! succeeded), or one that fails more often than baseline: proven at a share of α of its own, and by more than
//! the error rate's margin. It takes the canary back in a shadow step, and stops a standing mirror; what it does
//! is the error rate guardrail's `on_breach`. The *gate* is weaker and needs no proof: a shadow step is not left
//! while the copies look worse than the guardrails allow, in errors or in P95. Latency only ever gates: a copy
//! waits for nobody, so its time is no client's.

use serin_config::model::{Guardrail, Metric, OnBreach};
use serin_stats::sequential::always_valid_p;

use super::super::policy::Policy;
use super::super::report::{Alarm, AlarmKind, Breach, Rule};
use super::super::words::{counted, grouped, milliseconds, p_value, points};
use super::ShadowJudgement;
use super::facts::{CopyFacts, ShadowFacts};
use super::report::{ShadowLatency, ShadowRates, ShadowReport};

/// Latencies below which a P95 is no P95, unless the step asks for fewer.
const LATENCIES: u64 = 100;

/// What one look at the copies found.
#[derive(Debug, Default)]
pub(in crate::analysis) struct ShadowFindings {
    /// What is shown; none when nothing is copied and nothing was.
    pub(in crate::analysis) report: Option<ShadowReport>,
    /// The present shadow step's rule that was broken.
    pub(in crate::analysis) breach: Option<Breach>,
    /// What the state machine needs.
    pub(in crate::analysis) judgement: ShadowJudgement,
}

impl ShadowFindings {
    /// A standing mirror that broke a rule is an alarm, and holds nobody back.
    pub(in crate::analysis) fn alarm(&self) -> Option<Alarm> {
        let breach = self.judgement.mirror_breach.as_ref()?;
        Some(Alarm {
            kind: AlarmKind::ShadowBreach,
            message: breach.sentence.clone(),
            holds: false,
        })
    }

    /// Where a shadow step stands.
    pub(in crate::analysis) fn words(&self) -> String {
        let seen = counted(self.judgement.step_pairs, "copied request");
        match &self.judgement.gate {
            Some(gate) => format!("{seen} compared in this step: {gate}"),
            None => format!("{seen} compared in this step, none of them a reason to stay"),
        }
    }
}

impl ShadowFacts {
    /// Copies of the present shadow step that were compared with their originals.
    pub(in crate::analysis) fn step_pairs(&self) -> u64 {
        let step = self.step.as_ref();
        step.map_or(0, |step| step.pairs().total())
    }

    /// The numbers of the copies that a rule is about.
    pub(in crate::analysis) fn explained(&self, policy: &Policy) -> Option<String> {
        let facts = self.step.as_ref().or(self.mirror.as_ref())?;
        let pairs = facts.pairs();
        Some(format!(
            "copies to the {}: of {} compared {} failed alone, their originals alone in {}; ln E {:.6}, \
             of {:.6} needed at a share of {} of α",
            facts.target,
            grouped(pairs.total()),
            grouped(pairs.only_shadow_failed),
            grouped(pairs.only_baseline_failed),
            facts.ln_e,
            -policy.shadow_share().ln(),
            policy.shadow_share(),
        ))
    }

    /// Holds the copies against the rules.
    pub(in crate::analysis) fn judge(&self, policy: &Policy, now_ms: u64) -> ShadowFindings {
        let look = |facts| Look {
            policy,
            facts,
            now_ms,
        };
        let mut findings = ShadowFindings::default();
        if let Some(shown) = &self.shown {
            let look = look(shown);
            let mut report = ShadowReport {
                error_rate: look.rates(),
                latency_p95: look.latency(),
                ..ShadowReport::of(shown)
            };
            if let Some(step) = &self.step {
                report.step_pairs = step.pairs().total();
                findings.breach = look.breach();
            }
            findings.judgement.step_pairs = report.step_pairs;
            findings.report = Some(report);
        }
        findings.judgement.gate = self.step.as_ref().and_then(|step| look(step).gate());
        let mirror = self.mirror.as_ref();
        findings.judgement.mirror_breach = mirror.and_then(|mirror| look(mirror).breach());
        findings
    }
}

/// One look at one target's copies.
struct Look<'a> {
    policy: &'a Policy,
    facts: &'a CopyFacts,
    now_ms: u64,
}

impl Look<'_> {
    fn rates(&self) -> Option<ShadowRates> {
        let pairs = self.facts.pairs();
        let share = |failed: u64| failed as f64 / pairs.total() as f64;
        let baseline = share(pairs.only_baseline_failed + pairs.both_failed);
        let shadow = share(pairs.only_shadow_failed + pairs.both_failed);
        (pairs.total() > 0).then(|| ShadowRates {
            baseline,
            shadow,
            effect: shadow - baseline,
            max_increase: self.policy.error_margin(baseline),
            p_value: always_valid_p(self.facts.largest),
        })
    }

    fn latency(&self) -> Option<ShadowLatency> {
        let baseline = self.facts.baseline_p95?;
        let shadow = self.facts.latency.p95?;
        let limit = self.policy.guardrail(Metric::LatencyP95).map(|guardrail| {
            let increased = baseline + guardrail.max_increase.over(baseline);
            guardrail.max.map_or(increased, |max| max.min(increased))
        });
        Some(ShadowLatency {
            baseline,
            shadow,
            limit,
            met: limit.map(|limit| shadow <= limit),
        })
    }

    /// The rule that is broken, and what that does.
    fn breach(&self) -> Option<Breach> {
        let rates = self.rates()?;
        let ln_e = self.facts.ln_e;
        let pairs = self.facts.pairs();
        let is_proven = ln_e >= -self.policy.shadow_share().ln();
        let (rule, on_breach, p, facts) = if let Some(run) = self.facts.down {
            let facts = format!("the last {} all failed", counted(run, "copied request"));
            (Rule::ShadowDown, self.policy.on_breach, None, facts)
        } else if is_proven && rates.effect > rates.max_increase {
            let facts = format!(
                "{} failed alone, their originals did in {}",
                counted(pairs.only_shadow_failed, "copied request"),
                grouped(pairs.only_baseline_failed),
            );
            let on_breach = self.policy.error_on_breach()?;
            (Rule::Shadow, on_breach, Some(always_valid_p(ln_e)), facts)
        } else {
            return None;
        };
        let classic = pairs.mcnemar().p_exact;
        let proof = p.map_or_else(String::new, |p| {
            format!(
                "; always-valid p {}, McNemar p {}",
                p_value(p),
                p_value(classic)
            )
        });
        let sentence = format!(
            "{}: {facts}, of {} compared (effect {}, margin {}{proof})",
            rule.name(),
            grouped(pairs.total()),
            points(rates.effect),
            points(rates.max_increase),
        );
        let report = ShadowReport::of(self.facts);
        Some(Breach {
            rule,
            metric: Metric::ErrorRate,
            on_breach,
            at_ms: self.now_ms,
            canary_requests: report.arm.requests,
            canary_errors: report.arm.errors,
            canary_failures: pairs.only_shadow_failed + pairs.both_failed,
            canary_users: self.facts.shadow_users,
            baseline_requests: pairs.total(),
            baseline_errors: pairs.only_baseline_failed + pairs.both_failed,
            effect: Some(rates.effect),
            margin: rates.max_increase,
            p_value: p,
            classic_p: Some(classic),
            sentence,
        })
    }

    /// Why a shadow step cannot be left with these copies.
    fn gate(&self) -> Option<String> {
        let rates = self.rates()?;
        if rates.shadow > 0.5 {
            return Some("more than half of the copies in this step failed".to_owned());
        }
        if self.gates(Metric::ErrorRate).is_some() && rates.effect > rates.max_increase {
            return Some(format!(
                "copies fail {} more often than their originals, {} is allowed",
                points(rates.effect),
                points(rates.max_increase)
            ));
        }
        self.gates(Metric::LatencyP95)?;
        let wanted = LATENCIES.min(self.policy.step_min_samples).max(1);
        if self.facts.measured < wanted {
            return Some(format!(
                "the latency of {} of {wanted} copies was measured in this step",
                grouped(self.facts.measured)
            ));
        }
        let latency = self.latency()?;
        let limit = latency.limit.filter(|limit| latency.shadow > *limit)?;
        Some(format!(
            "the P95 of copies is {}, of their originals {}; at most {} is allowed",
            milliseconds(latency.shadow),
            milliseconds(latency.baseline),
            milliseconds(limit)
        ))
    }

    /// The guardrail on this metric, if it does more than warn.
    fn gates(&self, metric: Metric) -> Option<&Guardrail> {
        self.policy
            .guardrail(metric)
            .filter(|guardrail| !guardrail.dry_run && guardrail.on_breach != OnBreach::Warn)
    }
}
