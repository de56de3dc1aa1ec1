//! `method: fixed_horizon`: the classic tests decide, **once**, when the canary has answered the number of
//! requests that was declared beforehand. A test that is looked at again and again until it speaks is worth
//! nothing; so what it said at that one look stays, whatever comes later. The rules that are no such tests
//! (canary down, catastrophe, recent break, absolute limits) go on all the time.

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;

use super::classic::{counted, z_test};
use super::receipt::Receipt;
use super::report::{Samples, Verdict};

/// Level of the interval whose upper end is the one-sided 95 % bound of a proof.
const PROOF_LEVEL: f64 = 0.90;

/// What was decided at the declared size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settled {
    pub(super) verdict: Verdict,
    /// Worse beyond chance, though perhaps within the margin.
    pub(super) significant: bool,
    pub(super) effect: Option<f64>,
    /// One-sided.
    pub(super) p_value: f64,
    pub(super) samples: Samples,
}

/// What the guardrail may tolerate, and at which error rate.
pub(super) struct Terms {
    /// More than this is a breach.
    pub(super) margin: f64,
    /// Less than this, surely, is a pass.
    pub(super) proof_margin: f64,
    pub(super) alpha: f64,
}

impl Settled {
    /// A rate, by the z-test and Newcombe's interval; `None` without requests in one of the arms.
    pub(super) fn rate(receipt: &Receipt, metric: Metric, terms: &Terms) -> Option<Self> {
        let test = z_test(&receipt.arms, counted(metric), PROOF_LEVEL)?;
        let samples = Samples {
            baseline: receipt.arms.baseline.requests,
            canary: receipt.arms.canary.requests,
        };
        Some(Self::of(
            terms,
            test.p_canary_greater,
            Some(test.diff),
            test.newcombe.high < terms.proof_margin,
            samples,
        ))
    }

    /// A latency, by the rank test and the quantile's bound, which holds at any size.
    pub(super) fn latency(
        receipt: &Receipt,
        metric: Metric,
        terms: &Terms,
        (effect, upper): (Option<f64>, Option<f64>),
        samples: Samples,
    ) -> Option<Self> {
        let test = receipt.ranks_of(metric)?.test();
        let is_proven = upper.is_some_and(|upper| upper < terms.proof_margin);
        let p = test.corrected.greater;
        Some(Self::of(terms, p, effect, is_proven, samples))
    }

    fn of(
        terms: &Terms,
        p_value: f64,
        effect: Option<f64>,
        is_proven: bool,
        samples: Samples,
    ) -> Self {
        let significant = p_value <= terms.alpha;
        let verdict = if significant && effect.is_some_and(|effect| effect > terms.margin) {
            Verdict::Failed
        } else if is_proven {
            Verdict::Successful
        } else {
            Verdict::Inconclusive
        };
        Self {
            verdict,
            significant,
            effect,
            p_value,
            samples,
        }
    }
}
