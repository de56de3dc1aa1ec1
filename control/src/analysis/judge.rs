//! The rules in their order, and the report.
//!
//! `serin_stats::decision` knows the order and the thresholds; here the rules are asked three times, once for
//! each thing a breach can do: first those that roll back, then those that hold, then those that warn. So a
//! guardrail that only warns never hides one that rolls back. Dry-run guardrails are shown and never asked.

use serin_config::model::{Metric, OnBreach};
use serin_stats::decision::{self, Reason, SAMPLE_RATIO_ALARM};
use serin_stats::sequential::always_valid_p;

use super::classic::shown_z;
use super::counts::rate;
use super::figures::RateFigures;
use super::forecast::Forecast;
use super::guardrail::{self, Judged};
use super::limits::Limit;
use super::policy::Policy;
use super::receipt::Receipt;
use super::recent::{self, RecentFigures};
use super::report::{
    Alarm, AlarmKind, ArmReport, Breach, Recommendation, Report, Rule, SampleRatio,
};
use super::run::Standing;
use super::shadow::ShadowFindings;
use super::words::{counted, grouped};

/// Canary requests in a step below which "most of them failed" is not worth an alarm.
const ALARM_REQUESTS: u64 = 20;
/// Canary requests in a step below which it is not left by itself.
const STEP_REQUESTS: u64 = 200;

/// What a judgement says, and what has to be remembered of it.
pub(super) struct Outcome {
    pub(super) report: Report,
    pub(super) guardrails: Vec<Judged>,
}

impl Receipt {
    /// Holds the evidence against the rules. The same receipt gives the same report, to the last bit.
    #[must_use]
    pub fn report(&self) -> Report {
        self.evaluate(&mut Forecast::default()).report
    }

    pub(super) fn evaluate(&self, forecast: &mut Forecast) -> Outcome {
        let policy = &self.policy;
        let error = RateFigures::of(self, Metric::ErrorRate);
        let guardrails: Vec<Judged> = policy
            .guardrails
            .iter()
            .map(|rule| guardrail::judge(rule, self, &error, forecast))
            .collect();
        let recent = recent::figures(
            &self.recent,
            policy.recent_break_share(),
            (policy.share, self.previous.as_ref()),
            |baseline| policy.error_margin(baseline),
        );
        let look = Look {
            receipt: self,
            policy,
            error: &error,
            guardrails: &guardrails,
            recent,
            standing: self.standing,
            sample_ratio: self.seen.report(),
        };
        let shadow = self.shadow.judge(policy, self.at_ms);
        Outcome {
            report: look.report(shadow),
            guardrails,
        }
    }
}

/// Everything that one look at the evidence is about.
pub(super) struct Look<'a> {
    pub(super) receipt: &'a Receipt,
    pub(super) policy: &'a Policy,
    pub(super) error: &'a RateFigures,
    pub(super) guardrails: &'a [Judged],
    pub(super) recent: Option<RecentFigures>,
    pub(super) standing: Standing,
    pub(super) sample_ratio: SampleRatio,
}

impl Look<'_> {
    fn report(&self, shadow: ShadowFindings) -> Report {
        let step = &self.receipt.step;
        let mostly_failing = 2 * step.canary.failures() > step.canary.requests;
        let mut breaches: Vec<Breach> = [OnBreach::Rollback, OnBreach::Hold, OnBreach::Warn]
            .into_iter()
            .filter_map(|level| self.breach(level))
            .collect();
        // In a shadow step the arms have nothing to compare: the copies are the only breach.
        breaches.extend(shadow.breach.clone());
        let mut alarms = self.alarms(&breaches, &step.canary, mostly_failing);
        alarms.extend(shadow.alarm());
        let step_up = self.may_step_up(&breaches);
        let (recommendation, mut reason) = self.conclusion(breaches.first(), &alarms, step_up);
        let holds = alarms.iter().any(|alarm| alarm.holds);
        if self.policy.shadow.in_step && breaches.is_empty() && !holds {
            reason = shadow.words();
        }
        Report {
            recommendation,
            reason,
            breach: breaches.into_iter().next(),
            alarms,
            arms: self.receipt.arms.clone(),
            stage: step.clone(),
            guardrails: self
                .guardrails
                .iter()
                .map(|judged| judged.report.clone())
                .collect(),
            sample_ratio: self.sample_ratio,
            step_up,
            mostly_failing,
            shadow: shadow.report,
            shadow_judgement: shadow.judgement,
        }
    }

    /// Whether the step may be left, as far as the evidence says: "not worse by the margin" is proven on every
    /// guardrail that acts, or nobody is left to compare with.
    fn may_step_up(&self, breaches: &[Breach]) -> bool {
        let acting = || {
            self.guardrails
                .iter()
                .filter(|judged| !judged.report.dry_run)
        };
        let proven =
            acting().next().is_some() && acting().all(|judged| judged.evidence.non_inferior());
        let trusted = self.sample_ratio.p_value >= SAMPLE_RATIO_ALARM
            || self.policy.on_sample_ratio_mismatch == OnBreach::Warn;
        let unbroken = breaches
            .iter()
            .all(|breach| breach.on_breach == OnBreach::Warn);
        unbroken && trusted && self.nothing_is_missing() && (proven || self.policy.is_unopposed())
    }

    /// What the rules see when only guardrails that do this are asked; `None` asks all.
    fn view(&self, level: Option<OnBreach>) -> decision::Evidence {
        let asked = |on_breach| level.is_none_or(|level| level == on_breach);
        let rules_of_error = self.policy.error_on_breach().filter(|&does| asked(does));
        let silent = f64::NEG_INFINITY;
        let recent = self.recent.filter(|_| rules_of_error.is_some());
        decision::Evidence {
            canary_down: asked(self.policy.on_breach) && matches!(self.standing, Standing::Down(_)),
            alpha_error: self.policy.share_of(Metric::ErrorRate),
            error_margin: self.error_margin(),
            error_diff: self.error.effect().unwrap_or(silent),
            catastrophe_ln_e: rules_of_error.and(self.error.ln_e_first).unwrap_or(silent),
            canary_erring_users: self.error.canary_users,
            recent_ln_e: recent.map_or(silent, |recent| recent.ln_e),
            recent_ln_threshold: recent.map_or(0.0, |recent| recent.ln_threshold),
            recent_erring_users: recent.map_or(0, |recent| recent.users),
            recent_diff: recent.map_or(silent, |recent| {
                // The margin may be relative; the rules compare with that of the whole rollout.
                let margin = self.policy.error_margin(recent.baseline_rate);
                recent.diff() - margin + self.error_margin()
            }),
            sample_ratio_p: self.sample_ratio.p_value,
            canary_requests: self.receipt.step.canary.requests,
            min_requests_to_promote: self.wanted_requests(),
            dwell_seconds: 0.0,
            min_dwell_seconds: self.policy.dwell_left_ms as f64 / 1e3,
            guards: self
                .guardrails
                .iter()
                .filter(|judged| !judged.report.dry_run && asked(judged.report.on_breach))
                .map(|judged| judged.evidence.clone())
                .collect(),
        }
    }

    /// Canary requests in this step without which it is not left.
    pub(super) fn wanted_requests(&self) -> u64 {
        self.policy.step_min_samples.max(STEP_REQUESTS)
    }

    fn error_margin(&self) -> f64 {
        let baseline = &self.receipt.arms.baseline;
        let baseline = rate(baseline.errors, baseline.requests);
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
                let p = always_valid_p(self.error.ln_e_first.unwrap_or(0.0));
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
            Reason::SampleRatioMismatch => {
                let p = self.sample_ratio.p_value;
                (self.policy.on_sample_ratio_mismatch == OnBreach::Rollback
                    && level == OnBreach::Rollback)
                    .then(|| self.rule_breach(Rule::SampleRatioMismatch, level, Some(p)))
            }
            Reason::SignificantBelowMargin | Reason::NonInferior | Reason::Inconclusive => None,
        }
    }

    fn rule_breach(&self, rule: Rule, on_breach: OnBreach, p: Option<f64>) -> Breach {
        // A canary that is down need not answer with errors: compare everything but successes.
        let count = match rule {
            Rule::CanaryDown => ArmReport::failures,
            _ => |arm: &ArmReport| arm.errors,
        };
        let classic = shown_z(&self.receipt.arms, count);
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
        let (baseline, canary) = (&self.receipt.arms.baseline, &self.receipt.arms.canary);
        Breach {
            rule: Rule::Guardrail,
            metric: Metric::ErrorRate,
            on_breach: OnBreach::Warn,
            at_ms: self.receipt.at_ms,
            canary_requests: canary.requests,
            canary_errors: canary.errors,
            canary_failures: canary.failures(),
            canary_users: self.error.canary_users,
            baseline_requests: baseline.requests,
            baseline_errors: baseline.errors,
            effect: None,
            margin: 0.0,
            p_value: None,
            classic_p: None,
            sentence: String::new(),
        }
    }

    fn alarms(&self, breaches: &[Breach], step: &ArmReport, mostly_failing: bool) -> Vec<Alarm> {
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
        if mostly_failing && step.requests >= ALARM_REQUESTS {
            alarms.push(Alarm {
                kind: AlarmKind::MostlyFailing,
                message: format!(
                    "{} of {} in this step failed",
                    grouped(step.failures()),
                    counted(step.requests, "canary request")
                ),
                holds: true,
            });
        }
        if self.sample_ratio.p_value < SAMPLE_RATIO_ALARM {
            alarms.push(Alarm {
                kind: AlarmKind::SampleRatioMismatch,
                message: self.words_of_sample_ratio(),
                holds: self.policy.on_sample_ratio_mismatch != OnBreach::Warn,
            });
        }
        if self.policy.overdue {
            alarms.push(Alarm {
                kind: AlarmKind::StepStuck,
                message: self.words_of_a_stuck_step(),
                holds: true,
            });
        }
        alarms
    }

    fn conclusion(
        &self,
        breach: Option<&Breach>,
        alarms: &[Alarm],
        step_up: bool,
    ) -> (Recommendation, String) {
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
            (_, Reason::SignificantBelowMargin) => (
                Recommendation::MonitorClosely,
                self.words_of_significance(step_up),
            ),
            (_, _) if step_up && self.policy.is_unopposed() => (
                Recommendation::ProceedToFullRollout,
                "at 100 % there is nothing left to compare with".to_owned(),
            ),
            (_, _) => (Recommendation::MonitorClosely, self.words_of_doubt()),
        }
    }

    /// Whether the step has lasted long enough and seen enough, whatever was proven.
    pub(super) fn nothing_is_missing(&self) -> bool {
        self.policy.dwell_left_ms == 0
            && self.receipt.step.canary.requests >= self.wanted_requests()
    }
}
