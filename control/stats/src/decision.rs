//! Evidence to recommendation: the order of the rules, first match wins.
//!
//! Pure comparison of numbers that others computed; which arm is penalised, how evidence accumulates and what
//! a recommendation does is decided elsewhere. Effects are canary minus baseline, positive = worse, in the
//! unit of their margin.

use crate::first_error::MIN_CANARY_USERS;

/// E at which a non-inferiority test lets a step be left: 1/.05.
pub const NON_INFERIOR_ALPHA: f64 = 0.05;
/// Always-valid p below which the sample ratio raises its alarm.
pub const SAMPLE_RATIO_ALARM: f64 = 0.001;

/// What is known about one guardrail.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardEvidence {
    /// Name, as in the configuration.
    pub name: String,
    /// Its share of the rollout's error rate, in (0, 1).
    pub alpha: f64,
    /// Canary requests below which it does not fire.
    pub min_canary_requests: u64,
    /// The canary's confidence bound exceeds the absolute limit while the baseline is within it.
    pub absolute_limit_exceeded: bool,
    /// ln E against "not worse".
    pub ln_e: f64,
    /// Observed effect.
    pub effect: f64,
    /// Effect that matters.
    pub margin: f64,
    /// ln E against "worse by the margin or more".
    pub ln_e_non_inferior: f64,
}

impl GuardEvidence {
    /// Evidence beyond chance that the canary is worse: E ≥ 1/α.
    #[must_use]
    pub fn significant(&self) -> bool {
        self.ln_e >= (1.0 / self.alpha).ln()
    }

    /// Significant, and worse by more than the margin.
    #[must_use]
    pub fn breached(&self, canary_requests: u64) -> bool {
        self.significant()
            && self.effect > self.margin
            && canary_requests >= self.min_canary_requests
    }

    /// Evidence beyond chance that the canary is not worse by the margin: E ≥ 20.
    #[must_use]
    pub fn non_inferior(&self) -> bool {
        self.ln_e_non_inferior >= (1.0 / NON_INFERIOR_ALPHA).ln()
    }
}

/// Everything the rules look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The rule "no success while baseline succeeds" holds.
    pub canary_down: bool,
    /// Share of the error rate guardrail; a catastrophe needs E ≥ 2/α.
    pub alpha_error: f64,
    /// Margin of the error rate.
    pub error_margin: f64,
    /// Observed difference of the error rates.
    pub error_diff: f64,
    /// ln E of the first-error process.
    pub catastrophe_ln_e: f64,
    /// Canary users who erred, over the rollout.
    pub canary_erring_users: u64,
    /// ln E of the recent generation that comes closest to its threshold.
    pub recent_ln_e: f64,
    /// That generation's threshold, ln(600·j(j+1)).
    pub recent_ln_threshold: f64,
    /// Canary users who erred in that generation.
    pub recent_erring_users: u64,
    /// Difference of the error rates in that generation.
    pub recent_diff: f64,
    /// Always-valid p of the sample-ratio process.
    pub sample_ratio_p: f64,
    /// Canary requests.
    pub canary_requests: u64,
    /// Canary requests that a promotion needs.
    pub min_requests_to_promote: u64,
    /// Time spent in the step, in seconds.
    pub dwell_seconds: f64,
    /// Time that a promotion needs, in seconds.
    pub min_dwell_seconds: f64,
    /// The guardrails, in order of precedence.
    pub guards: Vec<GuardEvidence>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommendation {
    /// Take the canary's traffic away now.
    RollbackImmediately,
    /// Neither: stay and look again.
    MonitorClosely,
    /// The step has shown what it had to show.
    ProceedToFullRollout,
}

impl Recommendation {
    /// Upper-case name, as in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RollbackImmediately => "ROLLBACK_IMMEDIATELY",
            Self::MonitorClosely => "MONITOR_CLOSELY",
            Self::ProceedToFullRollout => "PROCEED_TO_FULL_ROLLOUT",
        }
    }
}

/// Which rule matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The canary answers nobody.
    CanaryDown,
    /// The first-error process, looked at with every error.
    Catastrophe,
    /// The first-error process of a recent generation.
    RecentBreak,
    /// A guardrail's absolute limit; its name.
    AbsoluteLimit(String),
    /// A guardrail; its name.
    Guardrail(String),
    /// Users do not arrive in the declared proportion.
    SampleRatioMismatch,
    /// Worse beyond chance, but by less than matters.
    SignificantBelowMargin,
    /// Not worse by the margin, on any guardrail.
    NonInferior,
    /// Not enough is known.
    Inconclusive,
}

impl Reason {
    /// Lower-case name, as in reports; a guardrail's is its own.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::CanaryDown => "canary_down".to_owned(),
            Self::Catastrophe => "catastrophe".to_owned(),
            Self::RecentBreak => "recent_break".to_owned(),
            Self::AbsoluteLimit(guard) => format!("{guard}_absolute"),
            Self::Guardrail(guard) => guard.clone(),
            Self::SampleRatioMismatch => "sample_ratio_mismatch".to_owned(),
            Self::SignificantBelowMargin => "significant_below_margin".to_owned(),
            Self::NonInferior => "non_inferior_on_all_guards".to_owned(),
            Self::Inconclusive => "inconclusive".to_owned(),
        }
    }
}

/// The first rule that matches.
///
/// Without guardrails nothing is ever shown, so nothing is ever promoted.
#[must_use]
pub fn decide(evidence: &Evidence) -> (Recommendation, Reason) {
    if let Some(reason) = rollback(evidence) {
        return (Recommendation::RollbackImmediately, reason);
    }
    if evidence.sample_ratio_p < SAMPLE_RATIO_ALARM {
        return (Recommendation::MonitorClosely, Reason::SampleRatioMismatch);
    }
    if evidence.guards.iter().any(GuardEvidence::significant) {
        return (
            Recommendation::MonitorClosely,
            Reason::SignificantBelowMargin,
        );
    }
    let shown = evidence.dwell_seconds >= evidence.min_dwell_seconds
        && evidence.canary_requests >= evidence.min_requests_to_promote
        && !evidence.guards.is_empty()
        && evidence.guards.iter().all(GuardEvidence::non_inferior);
    if shown {
        (Recommendation::ProceedToFullRollout, Reason::NonInferior)
    } else {
        (Recommendation::MonitorClosely, Reason::Inconclusive)
    }
}

fn rollback(evidence: &Evidence) -> Option<Reason> {
    if evidence.canary_down {
        return Some(Reason::CanaryDown);
    }
    if evidence.catastrophe_ln_e >= (2.0 / evidence.alpha_error).ln()
        && evidence.canary_erring_users >= MIN_CANARY_USERS
        && evidence.error_diff > evidence.error_margin
    {
        return Some(Reason::Catastrophe);
    }
    if evidence.recent_ln_e >= evidence.recent_ln_threshold
        && evidence.recent_erring_users >= MIN_CANARY_USERS
        && evidence.recent_diff > evidence.error_margin
    {
        return Some(Reason::RecentBreak);
    }
    let guards = &evidence.guards;
    if let Some(guard) = guards.iter().find(|guard| guard.absolute_limit_exceeded) {
        return Some(Reason::AbsoluteLimit(guard.name.clone()));
    }
    guards
        .iter()
        .find(|guard| guard.breached(evidence.canary_requests))
        .map(|guard| Reason::Guardrail(guard.name.clone()))
}
