//! The fixed-horizon tests, from the counts since the rollout began: what everybody knows and can check by
//! hand from the numbers shown. They are for reading; watched continuously they would take back most good
//! releases.

use serin_config::model::Metric;
use serin_stats::proportion::{TwoCounts, two_proportion_z};
use serin_stats::rank_sum;

use super::counts::{BothTotals, Totals};
use super::report::{Classic, ClassicRanks, ClassicZ};

/// Level of the displayed interval.
const LEVEL: f64 = 0.95;

pub(super) fn classic(metric: Metric, totals: &BothTotals) -> Classic {
    match metric {
        Metric::ErrorRate => Classic {
            two_proportion_z: z_test(totals, Totals::errors),
            mann_whitney: None,
        },
        Metric::LatencyP95 => Classic {
            two_proportion_z: None,
            mann_whitney: ranks(totals),
        },
    }
}

/// The z-test on one of the arms' counts.
pub(super) fn z_test(totals: &BothTotals, count: fn(&Totals) -> u64) -> Option<ClassicZ> {
    let counts = TwoCounts {
        x_baseline: count(&totals.baseline),
        n_baseline: totals.baseline.requests(),
        x_canary: count(&totals.canary),
        n_canary: totals.canary.requests(),
    };
    let test = two_proportion_z(counts, LEVEL)?;
    Some(ClassicZ {
        z: test.z,
        p_value: test.p_two_sided,
        effect: test.diff,
        interval: [test.newcombe.low, test.newcombe.high],
    })
}

fn ranks(totals: &BothTotals) -> Option<ClassicRanks> {
    let (baseline, canary) = (totals.baseline.histogram(), totals.canary.histogram());
    let test = rank_sum::from_counts(canary.counts(), baseline.counts())?;
    Some(ClassicRanks {
        z: test.z,
        p_value: test.corrected.two_sided,
        auc: test.auc,
        hodges_lehmann: None,
    })
}
