//! A decision, told again from its receipt alone: first as a sentence, then in numbers, and compared with what
//! was recorded to the last bit.
//!
//! The recorded report plays no part in the retelling; it is only what the retelling is compared with. Where
//! they differ, the record was changed or was written by a program that judges otherwise, and that is said.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use serin_config::model::{Metric, MetricKind, OnBreach};

use super::figures::{LatencyFigures, QuantileFigures, RateFigures, rate_of};
use super::receipt::{FORMULAS, Receipt};
use super::recent;
use super::report::{GuardrailReport, Report, Rule, Verdict};
use super::words::{counted, grouped, milliseconds, p_value, percent, points};

/// Why a decision cannot be told again.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no receipt: nothing had been looked at yet, or an older program wrote it.
    #[error("the decision bears no receipt: it was not made from evidence")]
    NoReceipt,
    /// The receipt is no receipt.
    #[error("the receipt cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// This program does not know how it was judged.
    #[error(
        "the receipt was written by serin {0}, which judges in a way that this program does not know"
    )]
    Unknown(String),
}

/// A decision, told again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What was done and why.
    pub sentence: String,
    /// Whether the report computed from the receipt is the recorded one, bit for bit.
    pub agrees: bool,
    /// Where it is not: members of the report.
    pub differences: Vec<String>,
    /// The numbers, step by step.
    pub steps: Vec<String>,
    /// What they were computed by.
    pub formulas: Vec<&'static str>,
    /// The report, computed from the receipt alone.
    pub recomputed: Report,
}

/// Tells a decision again: `receipt` as it was written down, and the report that was recorded beside it.
///
/// # Errors
/// When there is no receipt that this program can judge by.
pub fn explain(receipt: &Value, recorded: &Value) -> Result<Explanation, ExplainError> {
    if receipt.is_null() {
        return Err(ExplainError::NoReceipt);
    }
    let receipt: Receipt = serde_json::from_value(receipt.clone())?;
    if !receipt.is_known() {
        return Err(ExplainError::Unknown(receipt.written_by().to_owned()));
    }
    let recomputed = receipt.report();
    let again = serde_json::to_value(&recomputed)?;
    let differences = differences(&again, recorded);
    Ok(Explanation {
        sentence: receipt.sentence(&recomputed),
        agrees: differences.is_empty(),
        differences,
        steps: receipt.steps(&recomputed),
        formulas: FORMULAS.to_vec(),
        recomputed,
    })
}

/// Members in which two documents differ, by their paths.
fn differences(one: &Value, other: &Value) -> Vec<String> {
    fn walk(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) => {
                let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
                for name in names {
                    let (one, other) = (one.get(name), other.get(name));
                    let (one, other) = (one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null));
                    walk(&format!("{path}.{name}"), one, other, found);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (index, (one, other)) in one.iter().zip(other).enumerate() {
                    walk(&format!("{path}[{index}]"), one, other, found);
                }
            }
            _ if one == other => {}
            _ => found.push(format!(
                "{}: computed {one}, recorded {other}",
                path.trim_start_matches('.')
            )),
        }
    }
    let mut found = Vec::new();
    walk("", one, other, &mut found);
    found
}

impl Receipt {
    /// What was done and why, in one sentence.
    fn sentence(&self, report: &Report) -> String {
        // No client has met the canary in a shadow step: there, copies are what was looked at.
        let looked_at = if self.policy.shadow.in_step {
            counted(self.shadow.step_pairs(), "copied request")
        } else {
            counted(self.arms.canary.requests, "canary request")
        };
        let Some(breach) = &report.breach else {
            let did = if report.step_up {
                "free to go on"
            } else {
                "stayed"
            };
            return format!("{did} after {looked_at}: {}", report.reason);
        };
        let did = match breach.on_breach {
            OnBreach::Rollback => "rolled back",
            OnBreach::Hold => "held",
            OnBreach::Warn => "warned",
        };
        let chance = |share: f64| {
            let rollouts = (1.0 / share).floor() as u64;
            format!(
                "such a gap would appear by chance in fewer than 1 of {} such rollouts",
                grouped(rollouts)
            )
        };
        let share = self.policy.share_of(breach.metric);
        let why = match (breach.rule, breach.metric) {
            (
                Rule::CanaryDown
                | Rule::SampleRatioMismatch
                | Rule::AbsoluteLimit
                | Rule::ShadowDown,
                _,
            ) => breach.sentence.clone(),
            (Rule::Shadow, _) => {
                let share = self.policy.shadow_share();
                format!("{}; {}", breach.sentence, chance(share))
            }
            (Rule::RecentBreak, _) => format!(
                "{}; {}",
                breach.sentence,
                chance(self.policy.recent_break_share())
            ),
            (_, Metric::ErrorRate) => format!("{}; {}", self.users_hit(), chance(share)),
            (_, _) => format!("{}; {}", breach.sentence, chance(share)),
        };
        format!("{did} after {looked_at}: {why}")
    }

    /// "11 of 131 users hit errors, against 0.9 % on baseline".
    fn users_hit(&self) -> String {
        let [baseline, canary] = self.seen.users();
        let errors = &self.first_errors;
        let (hit, hit_baseline) = (errors.canary_users(), errors.baseline_users());
        if canary < hit || baseline < hit_baseline.max(1) {
            let arms = &self.arms;
            return format!(
                "{} of {} failed, against {} of {} on baseline",
                grouped(arms.canary.errors),
                counted(arms.canary.requests, "request"),
                grouped(arms.baseline.errors),
                grouped(arms.baseline.requests),
            );
        }
        format!(
            "{} of {} hit errors, against {} on baseline",
            grouped(hit),
            counted(canary, "user"),
            percent(hit_baseline as f64 / baseline as f64),
        )
    }

    /// The numbers, step by step.
    fn steps(&self, report: &Report) -> Vec<String> {
        let mut lines = Vec::new();
        let error = RateFigures::of(self, Metric::ErrorRate);
        for guardrail in &report.guardrails {
            lines.push(format!(
                "{}: {}",
                guardrail.metric.name(),
                verdict(guardrail)
            ));
            match guardrail.metric.kind() {
                MetricKind::Rate => self.rate_steps(guardrail, &error, &mut lines),
                MetricKind::Latency { .. } => self.latency_steps(guardrail, &mut lines),
            }
            lines.push(proof(guardrail));
            lines.push(classic(guardrail));
        }
        lines.extend(self.recent_step());
        lines.extend(self.shadow.explained(&self.policy));
        lines.push(self.sample_ratio_step(report));
        lines.push(format!("conclusion: {}", report.reason));
        lines
    }

    fn rate_steps(
        &self,
        guardrail: &GuardrailReport,
        error: &RateFigures,
        lines: &mut Vec<String>,
    ) {
        let metric = guardrail.metric;
        let other = (metric != Metric::ErrorRate).then(|| RateFigures::of(self, metric));
        let figures = other.as_ref().unwrap_or(error);
        for stage in self.stages.iter().filter(|stage| stage.compares()) {
            let facts = match metric {
                Metric::RejectedRate => &stage.rejected,
                Metric::AbortedRate => &stage.aborted,
                _ => &stage.error,
            };
            if let Some(effect) = rate_of(facts) {
                lines.push(format!(
                    "  epoch {}, share {}: baseline {} of {}, canary {} of {}; DEFF {:.3}, \
                     difference {}, information {:.1}",
                    stage.epoch,
                    percent(stage.share),
                    grouped(facts.baseline.x),
                    grouped(facts.baseline.n),
                    grouped(facts.canary.x),
                    grouped(facts.canary.n),
                    effect.deff,
                    points(effect.diff),
                    effect.information,
                ));
            }
        }
        if let Some(ln_e_first) = figures.ln_e_first {
            let strata: Vec<String> = self
                .first_errors
                .strata()
                .map(|(share, canary, all)| format!("{canary} of {all} at {}", percent(share)))
                .collect();
            lines.push(format!(
                "  first errors in the canary: {}; ln E_first {ln_e_first:.6}",
                if strata.is_empty() {
                    "none".to_owned()
                } else {
                    strata.join(", ")
                },
            ));
        }
        lines.push(format!(
            "  all stages: effect {}; ln E of the engine {:.6}; ln E {:.6}, of {:.6} needed at a share \
             of {} of α; margin {}",
            guardrail.effect.map_or("unknown".to_owned(), points),
            figures.ln_e_engine,
            guardrail.ln_e,
            -guardrail.alpha.ln(),
            guardrail.alpha,
            points(guardrail.max_increase),
        ));
    }

    fn latency_steps(&self, guardrail: &GuardrailReport, lines: &mut Vec<String>) {
        let family = LatencyFigures::of(self, guardrail.metric);
        let figures = QuantileFigures::of(self, guardrail.metric);
        for stage in self.stages.iter().filter(|stage| stage.compares()) {
            if let Some(facts) = stage.quantile(guardrail.metric) {
                lines.push(format!(
                    "  epoch {}, share {}: baseline {} of {}, canary {} of {}; DEFF {:.3}",
                    stage.epoch,
                    percent(stage.share),
                    milliseconds(facts.baseline.point),
                    counted(facts.baseline.n, "request"),
                    milliseconds(facts.canary.point),
                    counted(facts.canary.n, "request"),
                    stage.slow_deff(),
                ));
            }
        }
        lines.push(format!(
            "  all stages: effect {}; ln E_ridit {:.6}, ln E_slow {:.6}; ln E {:.6}, of {:.6} needed at \
             a share of {} of α; margin {}",
            figures.effect.map_or("unknown".to_owned(), milliseconds),
            family.ln_e_ridit,
            family.ln_e_slow,
            guardrail.ln_e,
            -guardrail.alpha.ln(),
            guardrail.alpha,
            milliseconds(guardrail.max_increase),
        ));
    }

    fn recent_step(&self) -> Option<String> {
        let policy = &self.policy;
        let nearest = recent::figures(
            &self.recent,
            policy.recent_break_share(),
            (policy.share, self.previous.as_ref()),
            |baseline| policy.error_margin(baseline),
        )?;
        Some(format!(
            "recent break: within {} {} of {} failed, {} hit, against {} on baseline; ln E {:.6}, of \
             {:.6} needed",
            counted(nearest.length_ms / 60_000, "minute"),
            grouped(nearest.canary_errors),
            counted(nearest.canary_requests, "canary request"),
            counted(nearest.users, "user"),
            percent(nearest.baseline_rate),
            nearest.ln_e,
            nearest.ln_threshold,
        ))
    }

    fn sample_ratio_step(&self, report: &Report) -> String {
        let ratio = &report.sample_ratio;
        let mut text = format!(
            "sample ratio: {} and {} first seen; ln E {:.6}, always-valid p {}",
            counted(ratio.baseline, "baseline user"),
            counted(ratio.canary, "canary user"),
            ratio.ln_e,
            p_value(ratio.p_value),
        );
        if let Some(test) = ratio.chi_squared {
            let _ = write!(
                text,
                "; chi-squared {:.3}, p {} (fixed horizon, not used for decisions)",
                test.statistic,
                p_value(test.p_value)
            );
        }
        text
    }
}

fn verdict(guardrail: &GuardrailReport) -> String {
    let dry_run = if guardrail.dry_run { ", a dry run" } else { "" };
    let means = match guardrail.verdict {
        Verdict::Failed => "worse than the margin allows",
        Verdict::Successful => "not worse, by the margin",
        Verdict::Inconclusive => "neither is proven",
        Verdict::Error => "cannot be computed",
    };
    format!("{} ({means}{dry_run})", guardrail.verdict.name())
}

fn proof(guardrail: &GuardrailReport) -> String {
    let proof = &guardrail.proof;
    let shown = if proof.shown { "shown" } else { "not shown" };
    match (proof.ln_e, proof.upper) {
        (Some(ln_e), _) => format!(
            "  proof of not worse by {}: ln E {ln_e:.6}, of {:.6} needed; {shown}",
            points(proof.margin),
            20_f64.ln(),
        ),
        (None, Some(upper)) => format!(
            "  proof of not worse by {}: upper bound {}; {shown}",
            milliseconds(proof.margin),
            milliseconds(upper),
        ),
        (None, None) => "  proof of not worse: too few requests for a bound; not shown".to_owned(),
    }
}

fn classic(guardrail: &GuardrailReport) -> String {
    let label = if guardrail.classic.used_for_decisions {
        "fixed horizon, decided by once"
    } else {
        "fixed horizon, not used for decisions"
    };
    let classic = &guardrail.classic;
    if let Some(test) = &classic.two_proportion_z {
        let [low, high] = test.interval;
        format!(
            "  classic ({label}): z {:.4}, p {}, difference {} [{}, {}]",
            test.z,
            p_value(test.p_value),
            points(test.effect),
            points(low),
            points(high),
        )
    } else if let Some(test) = &classic.mann_whitney {
        format!(
            "  classic ({label}): Mann-Whitney z {:.4}, p {}, AUC {:.4}",
            test.z,
            p_value(test.p_value),
            test.auc,
        )
    } else {
        format!("  classic ({label}): not enough requests")
    }
}
