//! What a judgement says: the status page's numbers and what the state machine has to act on.
//!
//! Field names are the contract's JSON. A number that cannot be computed is absent, never NaN: JSON has no
//! NaN, and whoever reads "0" would believe it.

use serde::{Deserialize, Serialize};
use serin_config::model::{Metric, OnBreach};

use super::shadow::{ShadowJudgement, ShadowReport};

/// Everything one look at the evidence found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What should be done.
    pub recommendation: Recommendation,
    /// Why, in one sentence.
    pub reason: String,
    /// The first rule that was broken, if one was; also those that only hold or warn.
    pub breach: Option<Breach>,
    /// What a person should look at; each holds step-ups if it says so.
    pub alarms: Vec<Alarm>,
    /// Counts since the rollout began.
    pub arms: Arms,
    /// Counts of this step.
    pub stage: Arms,
    /// One for each guardrail, in the order of the config.
    pub guardrails: Vec<GuardrailReport>,
    /// Whether users arrive in the declared proportion.
    pub sample_ratio: SampleRatio,
    /// Whether the step may be left: nothing is broken, every guardrail is proven not worse by its margin, and
    /// the step has lasted and seen enough. A canary that is worse beyond chance, but surely by less than the
    /// margin, may go on as well, though it is recommended to look at it.
    pub step_up: bool,
    /// More than half of the canary's requests in this step failed: no step-up, however bad baseline is.
    pub mostly_failing: bool,
    /// What copies say; none where nothing is copied.
    #[serde(default)]
    pub shadow: Option<ShadowReport>,
    /// What the state machine needs of them.
    #[serde(default)]
    pub shadow_judgement: ShadowJudgement,
}

impl Report {
    /// The part that the state machine acts on.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        Judgement {
            recommendation: self.recommendation,
            reason: self.reason.clone(),
            breach: self.breach.clone(),
            hold: self
                .alarms
                .iter()
                .find(|alarm| alarm.holds)
                .map(|alarm| alarm.message.clone()),
            step_up: self.step_up,
            step_canary_requests: self.stage.canary.requests,
            overdue: self
                .alarms
                .iter()
                .any(|alarm| alarm.kind == AlarmKind::StepStuck),
            mostly_failing: self.mostly_failing,
            shadow: self.shadow_judgement.clone(),
        }
    }
}

/// What the state machine needs of a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What should be done.
    pub recommendation: Recommendation,
    /// Why, in one sentence.
    pub reason: String,
    /// The first rule that was broken.
    pub breach: Option<Breach>,
    /// Why no step may be taken now.
    pub hold: Option<String>,
    /// Whether the step may be left.
    #[serde(default)]
    pub step_up: bool,
    /// The canary's requests since this step began.
    pub step_canary_requests: u64,
    /// The step did not pass within its `max_duration`.
    #[serde(default)]
    pub overdue: bool,
    /// More than half of them failed.
    pub mostly_failing: bool,
    /// What copies say.
    #[serde(default)]
    pub shadow: ShadowJudgement,
}

/// What should be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Recommendation {
    /// Take the canary's traffic away now.
    RollbackImmediately,
    /// Nothing is proven yet, or something is proven that lies within the margin.
    MonitorClosely,
    /// The canary is not worse on every guardrail.
    ProceedToFullRollout,
}

/// Which rule was broken, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// No canary success in a row of requests while baseline succeeds.
    CanaryDown,
    /// The exact first-error process since the rollout began, looked at at every error.
    Catastrophe,
    /// The same process over the last minutes only.
    RecentBreak,
    /// The canary's confidence bound is beyond a guardrail's `max`.
    AbsoluteLimit,
    /// Worse than baseline by more than a guardrail's margin.
    Guardrail,
    /// Users do not arrive in the declared proportion.
    SampleRatioMismatch,
    /// No success in a row of copies whose originals succeeded.
    ShadowDown,
    /// Copies fail more often than their originals.
    Shadow,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CanaryDown,
        Self::Catastrophe,
        Self::RecentBreak,
        Self::AbsoluteLimit,
        Self::Guardrail,
        Self::SampleRatioMismatch,
        Self::ShadowDown,
        Self::Shadow,
    ];

    /// Its name in JSON and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CanaryDown => "canary_down",
            Self::Catastrophe => "catastrophe",
            Self::RecentBreak => "recent_break",
            Self::AbsoluteLimit => "absolute_limit",
            Self::Guardrail => "guardrail",
            Self::SampleRatioMismatch => "sample_ratio_mismatch",
            Self::ShadowDown => "shadow_down",
            Self::Shadow => "shadow",
        }
    }
}

/// A broken rule, with the numbers that broke it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Which rule.
    pub rule: Rule,
    /// On which metric.
    pub metric: Metric,
    /// What it does.
    pub on_breach: OnBreach,
    /// When it was found, in Unix milliseconds.
    pub at_ms: u64,
    /// Canary requests since the rollout began.
    pub canary_requests: u64,
    /// Of those, errors.
    pub canary_errors: u64,
    /// Of those, anything but successes.
    pub canary_failures: u64,
    /// Distinct canary users (to the resolution of their slots) who erred before anybody else claimed theirs.
    pub canary_users: u64,
    /// Baseline requests since the rollout began.
    pub baseline_requests: u64,
    /// Of those, errors.
    pub baseline_errors: u64,
    /// Canary minus baseline, in the metric's unit.
    pub effect: Option<f64>,
    /// The increase that was tolerated, in the metric's unit.
    pub margin: f64,
    /// Always-valid p-value of the process that fired; none for rules that are no tests.
    pub p_value: Option<f64>,
    /// Fixed-horizon p-value, two-sided, for reading only.
    pub classic_p: Option<f64>,
    /// All this in one sentence.
    pub sentence: String,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What kind of thing.
    pub kind: AlarmKind,
    /// In one sentence.
    pub message: String,
    /// Whether step-ups wait until it is gone.
    pub holds: bool,
}

/// Kinds of alarms that the analysis raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// One user sees nothing but failures from the canary.
    OneUserFailing,
    /// Both arms are beyond a guardrail's `max`.
    BothBeyondLimit,
    /// A guardrail whose `on_breach` is hold or warn was broken.
    Breach,
    /// More than half of the canary's requests fail.
    MostlyFailing,
    /// Users do not arrive in the declared proportion.
    SampleRatioMismatch,
    /// The step did not pass within its `max_duration`.
    StepStuck,
    /// A standing mirror's copies broke a rule.
    ShadowBreach,
}

impl AlarmKind {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneUserFailing => "one_user_failing",
            Self::BothBeyondLimit => "both_beyond_limit",
            Self::Breach => "breach",
            Self::MostlyFailing => "mostly_failing",
            Self::SampleRatioMismatch => "sample_ratio_mismatch",
            Self::StepStuck => "step_stuck",
            Self::ShadowBreach => "shadow_breach",
        }
    }
}

/// Both arms side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arms {
    /// The release that serves today.
    pub baseline: ArmReport,
    /// The release that has to earn its traffic.
    pub canary: ArmReport,
}

/// Counts of one arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// All of them.
    pub requests: u64,
    /// 5xx, no connection, timeout, truncated, the upstream's 429.
    pub errors: u64,
    /// Any other 4xx that the upstream answered.
    pub rejected: u64,
    /// The client left first.
    pub aborted: u64,
    /// Of the errors: no connection, or no response in time.
    pub unreachable: u64,
    /// Of the whole response, warm-ups left out.
    pub latency_ms: LatencyReport,
}

impl ArmReport {
    /// Anything but successes.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.errors + self.rejected + self.aborted
    }

    /// Answered below 400, to the end.
    #[must_use]
    pub const fn successes(&self) -> u64 {
        self.requests - self.failures()
    }
}

/// Latency quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// What one guardrail says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardrailReport {
    /// What is compared.
    pub metric: Metric,
    /// What follows.
    pub verdict: Verdict,
    /// Baseline's value: a rate, or milliseconds.
    pub baseline: Option<f64>,
    /// The canary's value.
    pub canary: Option<f64>,
    /// Canary minus baseline, stages combined.
    pub effect: Option<f64>,
    /// Confidence sequence of the effect at this guardrail's share of α on either side.
    pub interval: Option<[f64; 2]>,
    /// The increase tolerated over the present baseline, in the metric's unit.
    pub max_increase: f64,
    /// The absolute limit, if there is one.
    pub max: Option<f64>,
    /// Always-valid: 1 over the largest evidence so far.
    pub p_value: f64,
    /// ln of the evidence now.
    pub ln_e: f64,
    /// This guardrail's share of α: its evidence has to reach 1/α.
    pub alpha: f64,
    /// How many times the requests of one user resembling each other inflates the variance.
    pub design_effect: f64,
    /// The proof that the canary is not worse.
    pub proof: Proof,
    /// Requests that were compared.
    pub samples: Samples,
    /// Canary requests after which a harmless canary is usually proven harmless, if that can be foretold.
    pub samples_needed: Option<u64>,
    /// What a breach does.
    pub on_breach: OnBreach,
    /// Shown, never acted on.
    pub dry_run: bool,
    /// Fixed-horizon tests, for reading only.
    pub classic: Classic,
}

/// The proof that the canary is not worse by `margin` or more: what a step-up needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// δ: the tolerated increase, twice that to leave the first step.
    pub margin: f64,
    /// For rates: ln of the evidence against "worse by δ or more"; ln 20 is needed.
    pub ln_e: Option<f64>,
    /// For latencies: upper bound of the effect; it has to lie below δ.
    pub upper: Option<f64>,
    /// Whether it is shown now.
    pub shown: bool,
}

/// Whether users arrive in the declared proportion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Distinct users (to the resolution of their slots) whose first request went to baseline.
    pub baseline: u64,
    /// Those whose first request went to the canary.
    pub canary: u64,
    /// The canary's declared share in the newest split.
    pub expected: Option<f64>,
    /// Its share of the users first seen under that split.
    pub observed: Option<f64>,
    /// ln of the evidence against the declared shares, over all splits.
    pub ln_e: f64,
    /// Always-valid; below .001 is an alarm.
    pub p_value: f64,
    /// Of the newest split; fixed horizon, not used for decisions.
    pub chi_squared: Option<ChiSquared>,
}

/// A chi-squared test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChiSquared {
    /// Σ (observed − expected)²/expected.
    pub statistic: f64,
    /// Fixed horizon.
    pub p_value: f64,
}

/// Requests compared, per arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Baseline's.
    pub baseline: u64,
    /// The canary's.
    pub canary: u64,
}

/// What follows from a guardrail's evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Worse than the margin allows.
    Failed,
    /// Not worse, by more than the margin.
    Successful,
    /// Neither is proven.
    Inconclusive,
    /// It cannot be computed.
    Error,
}

impl Verdict {
    /// Its name in JSON and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Successful => "Successful",
            Self::Inconclusive => "Inconclusive",
            Self::Error => "Error",
        }
    }
}

/// Fixed-horizon tests: always shown, not used for decisions unless `method: fixed_horizon` asks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Classic {
    /// False: for reading only. True: they decide, once, at the declared sample size.
    pub used_for_decisions: bool,
    /// For rates.
    pub two_proportion_z: Option<ClassicZ>,
    /// For latencies.
    pub mann_whitney: Option<ClassicRanks>,
}

impl Classic {
    /// The two-sided p-value of whichever test was computed.
    #[must_use]
    pub fn p_value(&self) -> Option<f64> {
        self.two_proportion_z
            .map(|test| test.p_value)
            .or(self.mann_whitney.map(|test| test.p_value))
    }
}

/// Pooled two-proportion z-test with Newcombe's interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassicZ {
    /// Positive: the canary's rate is larger.
    pub z: f64,
    /// Two-sided.
    pub p_value: f64,
    /// Canary minus baseline.
    pub effect: f64,
    /// 95 % interval of the effect.
    pub interval: [f64; 2],
}

/// Mann-Whitney U from histograms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassicRanks {
    /// Positive: the canary is slower.
    pub z: f64,
    /// Two-sided.
    pub p_value: f64,
    /// Chance that a canary request is slower than a baseline request.
    pub auc: f64,
    /// Median of the pairwise differences in milliseconds; worked out when somebody looks.
    pub hodges_lehmann: Option<f64>,
}
