//! The rules in their order, and the report.
//!
//! `serin_stats::decision` knows the order and the thresholds; here the rules are asked three times, once for
//! each thing a breach can do: first those that roll back, then those that hold, then those that warn. So a
//! guardrail that only warns never hides one that rolls back. Dry-run guardrails are shown and never asked.

use serin_config::model::{Metric, OnBreach};
use serin_stats::decision::{self, Reason};
use serin_stats::sequential::always_valid_p;

use super::classic::z_test;
use super::counts::Totals;
use super::evidence::Evidence;
use super::figures::{ErrorFigures, LatencyFigures};
use super::guardrail::{self, Figures, Judged};
use super::limits::Limit;
use super::policy::Policy;
use super::recent::RecentFigures;
use super::report::{Alarm, AlarmKind, Arms, Breach, Recommendation, Report, Rule};
use super::run::Standing;
use super::shadow::ShadowFindings;
use super::stage::Scale;
use super::words::{counted, grouped};

/// Canary requests in a step below which "most of them failed" is not worth an alarm.
const ALARM_REQUESTS: u64 = 20;
/// Canary requests below which full promotion is not recommended.
const PROMOTION_REQUESTS: u64 = 200;

impl Evidence {
    /// Holds the evidence against the rules.
    pub fn judge(&mut self, policy: &Policy, now_ms: u64) -> Report {
        let effects = self.effects(Scale {
            reference_total: policy.reference_total,
            latency_alpha: policy.share_of(Metric::LatencyP95),
            proof_alpha: Policy::PROOF_ALPHA,
        });
        let figures = Figures {
            error: ErrorFigures::of(self, &effects),
            latency: LatencyFigures::of(self, &effects),
        };
        let guardrails: Vec<Judged> = policy
            .guardrails
            .iter()
            .map(|rule| guardrail::judge(rule, policy, self, &figures))
            .collect();
        let recent = self
            .recent
            .figures(&self.totals, policy.recent_break_share(), |baseline| {
                policy.error_margin(baseline)
            });
        let shadow = self.shadow.judge(policy, now_ms);
        let look = Look {
            evidence: self,
            policy,
            now_ms,
            error: &figures.error,
            guardrails: &guardrails,
            recent,
            standing: self.run.standing(&self.totals),
        };
        look.report(shadow)
    }
}

/// Everything that one look at the evidence is about.
pub(super) struct Look<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) policy: &'a Policy,
    pub(super) now_ms: u64,
    pub(super) error: &'a ErrorFigures,
    pub(super) guardrails: &'a [Judged],
    pub(super) recent: Option<RecentFigures>,
    pub(super) standing: Standing,
}

impl Look<'_> {
    fn report(&self, shadow: ShadowFindings) -> Report {
        let step = self.evidence.totals_since(self.policy.step_epoch);
        let mostly_failing = 2 * step.canary.failures() > step.canary.requests();
        let mut breaches: Vec<Breach> = [OnBreach::Rollback, OnBreach::Hold, OnBreach::Warn]
            .into_iter()
            .filter_map(|level| self.breach(level))
            .collect();
        // In a shadow step the arms have nothing to compare: the copies are the only breach.
        breaches.extend(shadow.breach.clone());
        let mut alarms = self.alarms(&breaches, &step.canary, mostly_failing);
        alarms.extend(shadow.judgement.mirror_breach.as_ref().map(|breach| Alarm {
            kind: AlarmKind::ShadowBreach,
            message: breach.sentence.clone(),
            holds: false,
        }));
        let (recommendation, mut reason) = self.conclusion(breaches.first(), &alarms);
        if self.policy.shadow.in_step
            && breaches.is_empty()
            && !alarms.iter().any(|alarm| alarm.holds)
        {
            reason = shadow.words();
        }
        let totals = &self.evidence.totals;
        Report {
            recommendation,
            reason,
            breach: breaches.into_iter().next(),
            alarms,
            arms: Arms {
                baseline: totals.baseline.report(),
                canary: totals.canary.report(),
            },
            stage: Arms {
                baseline: step.baseline.report(),
                canary: step.canary.report(),
            },
            guardrails: self
                .guardrails
                .iter()
                .map(|judged| judged.report.clone())
                .collect(),
            mostly_failing,
            shadow: shadow.report,
            shadow_judgement: shadow.judgement,
        }
    }

    /// What the rules see when only guardrails that do this are asked; `None` asks all.
    fn view(&self, level: Option<OnBreach>) -> decision::Evidence {
        let asked = |on_breach| level.is_none_or(|level| level == on_breach);
        let rules_of_error = self.policy.error_on_breach().filter(|&does| asked(does));
        let silent = f64::NEG_INFINITY;
        let totals = &self.evidence.totals;
        let recent = self.recent.filter(|_| rules_of_error.is_some());
        decision::Evidence {
            canary_down: asked(self.policy.on_breach) && matches!(self.standing, Standing::Down(_)),
            alpha_error: self.policy.share_of(Metric::ErrorRate),
            error_margin: self.error_margin(),
            error_diff: self.error.effect().unwrap_or(silent),
            catastrophe_ln_e: rules_of_error.map_or(silent, |_| self.error.ln_e_first),
            canary_erring_users: self.error.canary_users,
            recent_ln_e: recent.map_or(silent, |recent| recent.ln_e),
            recent_ln_threshold: recent.map_or(0.0, |recent| recent.ln_threshold),
            recent_erring_users: recent.map_or(0, |recent| recent.users),
            recent_diff: recent.map_or(silent, |recent| {
                // The margin may be relative; the rules compare with that of the whole rollout.
                let margin = self.policy.error_margin(recent.baseline_rate);
                recent.diff() - margin + self.error_margin()
            }),
            sample_ratio_p: 1.0,
            canary_requests: totals.canary.requests(),
            min_requests_to_promote: self.policy.step_min_samples.max(PROMOTION_REQUESTS),
            dwell_seconds: if self.policy.dwelt { 1.0 } else { 0.0 },
            min_dwell_seconds: 1.0,
            guards: self
                .guardrails
                .iter()
                .filter(|judged| !judged.report.dry_run && asked(judged.report.on_breach))
                .map(|judged| judged.evidence.clone())
                .collect(),
        }
    }

    fn error_margin(&self) -> f64 {
        let baseline = self.evidence.totals.baseline.error_rate();
        self.policy.error_margin(baseline.unwrap_or(0.0))
    }

    /// The first rule that is broken among those that do this.
    fn breach(&self, level: OnBreach) -> Option<Breach> {
        let (_, reason) = decision::decide(&self.view(Some(level)));
        let named = |name: &str| {
            self.guardrails
                .iter()
                .find(|judged| judged.evidence.name == name && judged.report.on_breach == level)
        };
        let of_error = self.policy.error_on_breach().unwrap_or(level);
        match reason {
            Reason::CanaryDown => {
                Some(self.rule_breach(Rule::CanaryDown, self.policy.on_breach, None))
            }
            Reason::Catastrophe => {
                let p = always_valid_p(self.error.ln_e_first);
                Some(self.rule_breach(Rule::Catastrophe, of_error, Some(p)))
            }
            Reason::RecentBreak => {
                // Paid for all generations of all lengths.
                let p = self.recent.map(|recent| {
                    let spent = self.policy.recent_break_share();
                    (spent * (recent.ln_threshold - recent.ln_e).exp()).min(1.0)
                });
                Some(self.rule_breach(Rule::RecentBreak, of_error, p))
            }
            Reason::AbsoluteLimit(name) => {
                Some(self.guardrail_breach(Rule::AbsoluteLimit, named(&name)?))
            }
            Reason::Guardrail(name) => Some(self.guardrail_breach(Rule::Guardrail, named(&name)?)),
            Reason::SampleRatioMismatch
            | Reason::SignificantBelowMargin
            | Reason::NonInferior
            | Reason::Inconclusive => None,
        }
    }

    fn rule_breach(&self, rule: Rule, on_breach: OnBreach, p: Option<f64>) -> Breach {
        // A canary that is down need not answer with errors: compare everything but successes.
        let count = match rule {
            Rule::CanaryDown => Totals::failures,
            _ => Totals::errors,
        };
        let classic = z_test(&self.evidence.totals, count);
        let recent = self.recent.filter(|_| rule == Rule::RecentBreak);
        let effect = match (rule, recent) {
            (Rule::CanaryDown, _) => classic.map(|test| test.effect),
            (_, Some(recent)) => Some(recent.diff()),
            (_, None) => self.error.effect(),
        };
        let baseline = recent.map(|recent| recent.baseline_rate);
        let margin = baseline.map_or(self.error_margin(), |rate| self.policy.error_margin(rate));
        self.worded(Breach {
            rule,
            metric: Metric::ErrorRate,
            on_breach,
            effect,
            margin,
            p_value: p,
            classic_p: classic.map(|test| test.p_value),
            ..self.blank_breach()
        })
    }

    fn guardrail_breach(&self, rule: Rule, judged: &Judged) -> Breach {
        let report = &judged.report;
        self.worded(Breach {
            rule,
            metric: report.metric,
            on_breach: report.on_breach,
            effect: report.effect,
            margin: report.max_increase,
            p_value: (rule == Rule::Guardrail).then_some(report.p_value),
            classic_p: report.classic.p_value(),
            ..self.blank_breach()
        })
    }

    /// The counts that every breach carries.
    fn blank_breach(&self) -> Breach {
        let totals = &self.evidence.totals;
        Breach {
            rule: Rule::Guardrail,
            metric: Metric::ErrorRate,
            on_breach: OnBreach::Warn,
            at_ms: self.now_ms,
            canary_requests: totals.canary.requests(),
            canary_errors: totals.canary.errors(),
            canary_failures: totals.canary.failures(),
            canary_users: self.error.canary_users,
            baseline_requests: totals.baseline.requests(),
            baseline_errors: totals.baseline.errors(),
            effect: None,
            margin: 0.0,
            p_value: None,
            classic_p: None,
            sentence: String::new(),
        }
    }

    fn alarms(&self, breaches: &[Breach], step: &Totals, mostly_failing: bool) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for breach in breaches {
            if breach.on_breach != OnBreach::Rollback {
                alarms.push(Alarm {
                    kind: AlarmKind::Breach,
                    message: breach.sentence.clone(),
                    holds: breach.on_breach == OnBreach::Hold,
                });
            }
        }
        for judged in self.guardrails {
            if judged.limit == Limit::BothBeyond && !judged.report.dry_run {
                alarms.push(Alarm {
                    kind: AlarmKind::BothBeyondLimit,
                    message: format!(
                        "{} is over its max on both arms: taking the canary back would not help",
                        judged.report.metric.name()
                    ),
                    holds: true,
                });
            }
        }
        if let Standing::OneUserFailing(run) = self.standing {
            alarms.push(Alarm {
                kind: AlarmKind::OneUserFailing,
                message: format!(
                    "the last {} all failed, but come from one user",
                    counted(run, "canary request")
                ),
                holds: true,
            });
        }
        if mostly_failing && step.requests() >= ALARM_REQUESTS {
            alarms.push(Alarm {
                kind: AlarmKind::MostlyFailing,
                message: format!(
                    "{} of {} in this step failed",
                    grouped(step.failures()),
                    counted(step.requests(), "canary request")
                ),
                holds: true,
            });
        }
        alarms
    }

    fn conclusion(&self, breach: Option<&Breach>, alarms: &[Alarm]) -> (Recommendation, String) {
        if let Some(breach) = breach {
            let recommendation = match breach.on_breach {
                OnBreach::Rollback => Recommendation::RollbackImmediately,
                OnBreach::Hold | OnBreach::Warn => Recommendation::MonitorClosely,
            };
            return (recommendation, breach.sentence.clone());
        }
        if let Some(alarm) = alarms.iter().find(|alarm| alarm.holds) {
            return (Recommendation::MonitorClosely, alarm.message.clone());
        }
        let (recommendation, reason) = decision::decide(&self.view(None));
        match (recommendation, reason) {
            (decision::Recommendation::ProceedToFullRollout, _) => (
                Recommendation::ProceedToFullRollout,
                "proven not worse than its margin on every guardrail".to_owned(),
            ),
            (_, Reason::SignificantBelowMargin) => {
                (Recommendation::MonitorClosely, self.words_of_significance())
            }
            (_, _) => (Recommendation::MonitorClosely, self.words_of_doubt()),
        }
    }
}
