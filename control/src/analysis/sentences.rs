//! What one look found, in sentences: why a rule was broken, and why nothing is proven yet.

use serin_config::model::Metric;

use super::judge::Look;
use super::report::{ArmReport, Breach, GuardrailReport, Rule, Verdict};
use super::run::Standing;
use super::words::{about, counted, grouped, milliseconds, p_value, percent, points};

impl Look<'_> {
    pub(super) fn worded(&self, mut breach: Breach) -> Breach {
        let facts = match (breach.rule, breach.metric) {
            (Rule::CanaryDown, _) => self.words_of_a_run(),
            (Rule::RecentBreak, _) => self.words_of_a_recent_break(),
            (Rule::SampleRatioMismatch, _) => self.words_of_sample_ratio(),
            (_, Metric::ErrorRate) => self.words_of_errors(),
            (_, Metric::RejectedRate) => self.words_of_a_rate("were rejected", |arm| arm.rejected),
            (_, Metric::AbortedRate) => self.words_of_a_rate("were aborted", |arm| arm.aborted),
            (_, metric) => self.words_of_latency(metric),
        };
        let name = match breach.rule {
            Rule::Guardrail | Rule::Shadow | Rule::ShadowDown => breach.metric.name().to_owned(),
            Rule::AbsoluteLimit => format!("{} over its max", breach.metric.name()),
            rule @ (Rule::CanaryDown
            | Rule::Catastrophe
            | Rule::RecentBreak
            | Rule::SampleRatioMismatch) => rule.name().to_owned(),
        };
        let mut proof = Vec::new();
        if let Some(effect) = breach.effect {
            let shown = if breach.metric.is_rate() {
                points
            } else {
                milliseconds
            };
            proof.push(format!(
                "effect {}, margin {}",
                shown(effect),
                shown(breach.margin)
            ));
        }
        if let Some(p) = breach.p_value {
            let kind = match (self.policy.decided_at(), breach.rule) {
                (Some(_), Rule::Guardrail) => "p, at the declared size and once,",
                _ => "always-valid p",
            };
            proof.push(format!("{kind} {}", p_value(p)));
        }
        if let Some(p) = breach.classic_p {
            proof.push(format!("classic p {}", p_value(p)));
        }
        breach.sentence = format!("{name}: {facts} ({})", proof.join("; "));
        breach
    }

    fn words_of_errors(&self) -> String {
        let (baseline, canary) = self.arms();
        format!(
            "{} of {} failed, {} hit, against {} of {} on baseline",
            grouped(canary.errors),
            counted(canary.requests, "canary request"),
            counted(self.error.canary_users, "user"),
            grouped(baseline.errors),
            grouped(baseline.requests),
        )
    }

    fn words_of_a_rate(&self, what: &str, count: fn(&ArmReport) -> u64) -> String {
        let (baseline, canary) = self.arms();
        format!(
            "{} of {} {what}, against {} of {} on baseline",
            grouped(count(canary)),
            counted(canary.requests, "canary request"),
            grouped(count(baseline)),
            grouped(baseline.requests),
        )
    }

    pub(super) fn words_of_sample_ratio(&self) -> String {
        let ratio = &self.sample_ratio;
        format!(
            "users do not arrive in the declared proportion: {} of those seen first under the \
             present split came to the canary, {} were declared (always-valid p {}); assignment or \
             measurement is broken, and no comparison can be trusted",
            ratio.observed.map_or("nobody".to_owned(), percent),
            ratio.expected.map_or("nobody".to_owned(), percent),
            p_value(ratio.p_value),
        )
    }

    pub(super) fn words_of_a_stuck_step(&self) -> String {
        format!(
            "step {} of {} is stuck: it did not pass within its max_duration; promote, set-weight or \
             abort",
            self.policy.step.map_or(0, |index| index + 1),
            self.policy.steps,
        )
    }

    fn words_of_a_run(&self) -> String {
        let (baseline, canary) = self.arms();
        let run = match self.standing {
            Standing::Down(run) | Standing::OneUserFailing(run) => run,
            Standing::Up => 0,
        };
        format!(
            "{} in a row without a success, of {} in all, while {} of {} succeeded on baseline",
            counted(run, "canary request"),
            grouped(canary.requests),
            grouped(baseline.successes()),
            grouped(baseline.requests),
        )
    }

    fn words_of_a_recent_break(&self) -> String {
        let Some(recent) = self.recent else {
            return self.words_of_errors();
        };
        format!(
            "within {} {} of {} failed, {} hit, against {} on baseline; {} in all",
            counted(recent.length_ms / 60_000, "minute"),
            grouped(recent.canary_errors),
            counted(recent.canary_requests, "canary request"),
            counted(recent.users, "user"),
            percent(recent.baseline_rate),
            counted(self.receipt.arms.canary.requests, "canary request"),
        )
    }

    fn words_of_latency(&self, metric: Metric) -> String {
        let report = self
            .guardrails
            .iter()
            .find(|judged| judged.report.metric == metric)
            .map(|judged| &judged.report);
        let shown = |value: Option<f64>| value.map_or("nothing".to_owned(), milliseconds);
        format!(
            "{} {} after {}, against {} on baseline",
            quantile_name(metric),
            shown(report.and_then(|report| report.canary)),
            counted(self.receipt.arms.canary.requests, "canary request"),
            shown(report.and_then(|report| report.baseline)),
        )
    }

    /// "latency_p95 is worse beyond chance, but within its margin".
    pub(super) fn words_of_significance(&self, step_up: bool) -> String {
        let name = self
            .guardrails
            .iter()
            .find(|judged| judged.evidence.significant())
            .map_or("a guardrail", |judged| judged.report.metric.name());
        let surely = if step_up { "proven to be " } else { "" };
        format!("{name} is worse beyond chance, but {surely}within its margin")
    }

    /// "error_rate inconclusive: 412 of ~1,900 samples".
    pub(super) fn words_of_doubt(&self) -> String {
        let acting = || {
            let reports = self.guardrails.iter().map(|judged| &judged.report);
            reports.filter(|report| !report.dry_run)
        };
        if acting().next().is_none() {
            return "every guardrail is a dry run: nothing can be proven".to_owned();
        }
        let open = acting().find(|report| report.verdict != Verdict::Successful);
        match open {
            // What takes longest to prove is said; but where all is proven, what else is missing.
            Some(report) if !self.policy.is_unopposed() => self.words_of_an_open(report),
            _ => self.words_of_what_is_missing(),
        }
    }

    fn words_of_an_open(&self, report: &GuardrailReport) -> String {
        let (name, samples) = (report.metric.name(), report.samples.canary);
        let fixed = self.policy.decided_at();
        match (report.verdict, report.samples_needed) {
            (Verdict::Error, _) => format!("{name} cannot be computed"),
            (_, Some(needed)) if needed > samples => {
                let needed = fixed.map_or_else(|| about(needed), grouped);
                format!(
                    "{name} inconclusive: {} of {needed} samples",
                    grouped(samples)
                )
            }
            (_, _) if fixed.is_some() => {
                format!("{name} was inconclusive at the declared size: promote, or abort")
            }
            (_, _) => format!("{name} inconclusive: {}", counted(samples, "sample")),
        }
    }

    fn words_of_what_is_missing(&self) -> String {
        let requests = self.receipt.step.canary.requests;
        if requests < self.wanted_requests() {
            return format!(
                "{} of {} canary requests in this step",
                grouped(requests),
                grouped(self.wanted_requests())
            );
        }
        match self.policy.dwell_left_ms.div_ceil(1_000) {
            0 => "no guardrail is broken".to_owned(),
            left => format!("no guardrail is broken; this step lasts {left} s more"),
        }
    }

    fn arms(&self) -> (&ArmReport, &ArmReport) {
        (&self.receipt.arms.baseline, &self.receipt.arms.canary)
    }
}

fn quantile_name(metric: Metric) -> &'static str {
    match metric {
        Metric::LatencyP50 => "P50",
        Metric::LatencyP90 => "P90",
        Metric::LatencyP99 => "P99",
        Metric::TtftP95 => "P95 to the first byte",
        _ => "P95",
    }
}
