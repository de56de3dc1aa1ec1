//! The fixed-horizon tests, from the counts since the rollout began: what everybody knows and can check by
//! hand from the numbers shown. They are for reading; watched continuously they would take back most good
//! releases. With `method: fixed_horizon` they decide, once.

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;
use serin_stats::proportion::{ProportionTest, TwoCounts, two_proportion_z};
use serin_stats::rank_sum::{RankSum, RankTotals};

use super::counts::BothTotals;
use super::report::{ArmReport, Arms, Classic, ClassicRanks, ClassicZ};

/// Level of the displayed interval.
const LEVEL: f64 = 0.95;

/// What the rank test on one kind of time is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RankSumFacts {
    n_canary: f64,
    n_baseline: f64,
    excess: f64,
    tie_sum: f64,
    untied: f64,
}

impl RankSumFacts {
    pub(super) fn of(totals: &BothTotals, metric: Metric) -> Option<Self> {
        let (baseline, canary) = (totals.baseline.times(metric), totals.canary.times(metric));
        let RankTotals {
            n_canary,
            n_baseline,
            excess,
            tie_sum,
            untied,
        } = RankTotals::of(canary, baseline)?;
        Some(Self {
            n_canary,
            n_baseline,
            excess,
            tie_sum,
            untied,
        })
    }

    pub(super) fn test(&self) -> RankSum {
        RankTotals {
            n_canary: self.n_canary,
            n_baseline: self.n_baseline,
            excess: self.excess,
            tie_sum: self.tie_sum,
            untied: self.untied,
        }
        .test()
    }
}

/// The z-test on one of the arms' counts, with an interval of this level.
pub(super) fn z_test(
    arms: &Arms,
    count: fn(&ArmReport) -> u64,
    level: f64,
) -> Option<ProportionTest> {
    let counts = TwoCounts {
        x_baseline: count(&arms.baseline),
        n_baseline: arms.baseline.requests,
        x_canary: count(&arms.canary),
        n_canary: arms.canary.requests,
    };
    two_proportion_z(counts, level)
}

/// As it is shown, for a rate.
pub(super) fn shown_z(arms: &Arms, count: fn(&ArmReport) -> u64) -> Option<ClassicZ> {
    let test = z_test(arms, count, LEVEL)?;
    Some(ClassicZ {
        z: test.z,
        p_value: test.p_two_sided,
        effect: test.diff,
        interval: [test.newcombe.low, test.newcombe.high],
    })
}

/// As they are shown, for one kind of time.
pub(super) fn shown_ranks(facts: Option<&RankSumFacts>, used: bool) -> Classic {
    let ranks = facts.map(|facts| {
        let test = facts.test();
        ClassicRanks {
            z: test.z,
            p_value: test.corrected.two_sided,
            auc: test.auc,
            hodges_lehmann: None,
        }
    });
    Classic {
        used_for_decisions: used,
        two_proportion_z: None,
        mann_whitney: ranks,
    }
}

/// What a rate counts.
pub(super) fn counted(metric: Metric) -> fn(&ArmReport) -> u64 {
    match metric {
        Metric::RejectedRate => |arm| arm.rejected,
        Metric::AbortedRate => |arm| arm.aborted,
        _ => |arm| arm.errors,
    }
}
