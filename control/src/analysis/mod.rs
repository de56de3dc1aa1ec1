//! What the numbers mean: [`Snapshot`](serin_stats::snapshot::Snapshot) and guardrails in, [`Report`] out.
//!
//! [`Evidence`] is the memory of one rollout's analysis. It absorbs snapshots (cumulative counts, and who
//! erred since the last one) and [judges](Evidence::judge) them under a [`Policy`], rule by rule in a fixed
//! order. Pure: no clock, no I/O, no randomness; the same snapshots at the same moments give the same report
//! bit for bit, also after the evidence went through a checkpoint. It decides nothing about the split: that
//! is [`rollout`](crate::rollout)'s work.

mod classic;
mod counts;
mod evidence;
mod explain;
mod facts;
mod figures;
mod first_errors;
mod fixed;
mod folded;
mod forecast;
mod guardrail;
mod judge;
mod limits;
mod policy;
mod receipt;
mod recent;
mod report;
mod run;
mod seen;
mod sentences;
mod shadow;
mod slots;
mod stage;
pub(crate) mod stored;
mod words;

pub use evidence::Evidence;
pub use explain::{ExplainError, Explanation, explain};
pub use policy::Policy;
pub use receipt::{FORMULAS, Receipt};
pub use report::{
    Alarm, AlarmKind, ArmReport, Arms, Breach, ChiSquared, Classic, ClassicRanks, ClassicZ,
    GuardrailReport, Judgement, LatencyReport, Proof, Recommendation, Report, Rule, SampleRatio,
    Samples, Verdict,
};
pub use shadow::{
    Agreement, PairCounts, ShadowJudgement, ShadowLatency, ShadowPolicy, ShadowRates, ShadowReport,
};

#[cfg(test)]
mod tests;
