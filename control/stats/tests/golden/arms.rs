//! Comparisons of the two arms: proportions, ranks, ridits, paired shadow outcomes.

use serin_stats::agreement::Pairs;
use serin_stats::proportion::{
    self, TwoCounts, agresti_caffo_interval, clopper_pearson, newcombe_interval, wald_interval,
    wilson,
};
use serin_stats::rank_sum::{self, RankSum};
use serin_stats::{ridit as ridits, shift};

use crate::answers::{Answers, Case};

pub(crate) fn two_proportion_z(case: &Case) -> Option<Answers> {
    let counts = TwoCounts {
        x_baseline: case.u64("x_baseline"),
        n_baseline: case.u64("n_baseline"),
        x_canary: case.u64("x_canary"),
        n_canary: case.u64("n_canary"),
    };
    let test = proportion::two_proportion_z(counts, 0.95)?;
    Some(
        Answers::default()
            .number("p_baseline", test.p_baseline)
            .number("p_canary", test.p_canary)
            .within("diff", test.diff, 1e-10, 1e-16)
            .number("pooled", test.pooled)
            .within("z", test.z, 1e-10, 1e-15)
            .tail("p_two_sided", test.p_two_sided)
            .tail("p_canary_greater", test.p_canary_greater)
            .tail("p_canary_less", test.p_canary_less)
            .tail("ln_p_two_sided", test.ln_p_two_sided)
            .tail("ln_p_canary_greater", test.ln_p_canary_greater)
            .interval("ci95_wald", wald_interval(counts, 0.95)?)
            .interval("ci95_newcombe", newcombe_interval(counts, 0.95)?)
            .interval("ci95_agresti_caffo", agresti_caffo_interval(counts, 0.95)?)
            .number("cohens_h", test.cohens_h)
            .flag("degenerate", test.degenerate),
    )
}

fn rank_answers(test: &RankSum) -> Answers {
    Answers::default()
        .number("u_canary", test.u_canary)
        .number("u_baseline", test.u_baseline)
        .number("auc", test.auc)
        .number("cliffs_delta", test.cliffs_delta)
        .number("sigma_u", test.sigma_u)
        .number("z_nocc", test.z)
        .number("tie_sum_t3_minus_t", test.tie_sum)
        .tail("p_two_sided_cc", test.corrected.two_sided)
        .tail("p_greater_cc", test.corrected.greater)
        .tail("p_less_cc", test.corrected.less)
        .tail("p_two_sided_nocc", test.uncorrected.two_sided)
        .tail("p_greater_nocc", test.uncorrected.greater)
        .tail("p_less_nocc", test.uncorrected.less)
        .tail("ln_p_greater_nocc", test.ln_p_greater)
        .tail("ln_p_two_sided_nocc", test.ln_p_two_sided)
        .flag("degenerate", test.degenerate)
}

pub(crate) fn mann_whitney(case: &Case) -> Option<Answers> {
    let (canary, baseline) = (case.f64s("canary"), case.f64s("baseline"));
    let test = rank_sum::from_samples(&canary, &baseline)?;
    let shift = shift::from_samples(&canary, &baseline, 0.95)?;
    let mut answers = rank_answers(&test).number("hodges_lehmann_shift", shift.estimate);
    if let Some(exact) = rank_sum::exact_p(test.u_canary, canary.len(), baseline.len()) {
        answers = answers
            .tail("p_two_sided_exact", exact.two_sided)
            .tail("p_greater_exact", exact.greater)
            .tail("p_less_exact", exact.less);
    }
    Some(answers)
}

pub(crate) fn mann_whitney_binned(case: &Case) -> Option<Answers> {
    let test = rank_sum::from_counts(&case.u64s("counts_canary"), &case.u64s("counts_baseline"))?;
    Some(rank_answers(&test))
}

pub(crate) fn ridit(case: &Case) -> Option<Answers> {
    let scores = ridits::scores(&case.u64s("reference_counts"))?;
    let (counts_c, counts_b) = (case.u64s("counts_canary"), case.u64s("counts_baseline"));
    let canary = ridits::summary(&scores, &counts_c)?;
    let baseline = ridits::summary(&scores, &counts_b)?;
    // Only where the reference is the baseline is this the mean ridit too.
    let auc = rank_sum::from_counts(&counts_c, &counts_b)?.auc;
    if case.expects("auc_mann_whitney") {
        assert!((auc - canary.mean).abs() < 1e-12, "mean ridit is the AUC");
    }
    Some(
        Answers::default()
            .numbers("scores", &scores)
            .number("mean_canary", canary.mean)
            .number("mean_baseline", baseline.mean)
            .number("diff", canary.mean - baseline.mean)
            .number("var_canary", canary.variance)
            .number("var_baseline", baseline.variance)
            .number("auc_mann_whitney", auc),
    )
}

pub(crate) fn shadow_agreement(case: &Case) -> Option<Answers> {
    if case.has("agreed") {
        let (agreed, compared) = (case.u64("agreed"), case.u64("compared"));
        let wilson = wilson(agreed, compared, 0.95)?;
        let exact = clopper_pearson(agreed, compared, 0.95)?;
        return Some(
            Answers::default()
                .number("rate", agreed as f64 / compared as f64)
                .interval("ci95_wilson", wilson)
                .list_within(
                    "ci95_clopper_pearson",
                    [Some(exact.low), Some(exact.high)],
                    1e-9,
                    1e-15,
                ),
        );
    }
    let table = case.table("table");
    let pairs = Pairs {
        both_ok: table[0][0],
        only_shadow_failed: table[0][1],
        only_baseline_failed: table[1][0],
        both_failed: table[1][1],
    };
    let test = pairs.mcnemar();
    Some(
        Answers::default()
            .tail("mcnemar_exact_p", test.p_exact)
            .number("mcnemar_chi2_cc", test.statistic)
            .tail("mcnemar_p_cc", test.p)
            .number("cohens_kappa", pairs.cohens_kappa())
            .number("agreement", pairs.agreement()),
    )
}
