//! Measures of drift, and adjustments of many p-values.

use serin_stats::divergence::{
    self, JENSEN_SHANNON_ALARM, Outside, Stability, equal_share, equal_width, jensen_shannon,
};
use serin_stats::kolmogorov_smirnov::{self as ks, KolmogorovSmirnov};
use serin_stats::multiplicity::{benjamini_hochberg, bonferroni, holm, rejected};
use serin_stats::{chi_squared as chi, trend};

use crate::answers::{Answers, Case, SPECIAL};

pub(crate) fn chi_squared(case: &Case) -> Option<Answers> {
    let test = if case.has("table") {
        chi::homogeneity(&case.table("table"))?
    } else {
        chi::goodness_of_fit(&case.u64s("observed"), &case.f64s("weights"))?
    };
    let expected: Vec<f64> = test.expected.iter().flatten().copied().collect();
    let answers = Answers::default()
        .number("chi2", test.statistic)
        .number("dof", test.dof as f64)
        .tail("p", test.p)
        .tail("ln_p", test.ln_p)
        .numbers("expected_counts", &expected)
        .number("cramers_v", test.cramers_v)
        .number("min_expected", test.min_expected);
    Some(match test.yates {
        Some((statistic, p)) => answers.number("chi2_yates", statistic).tail("p_yates", p),
        None => answers,
    })
}

fn ks_answers(test: &KolmogorovSmirnov) -> Answers {
    Answers::default()
        .number("d", test.distance)
        .tail("p_kolmogorov_limit", test.p_limit)
        .tail("p_kolmogorov_stephens", test.p_stephens)
        .tail("p_scipy_asymp", test.p_finite())
}

pub(crate) fn ks_2sample(case: &Case) -> Option<Answers> {
    if case.has("counts_reference") {
        let reference = case.u64s("counts_reference");
        return Some(ks_answers(&ks::from_counts(
            &reference,
            &case.u64s("counts_current"),
        )?));
    }
    let (reference, current) = (case.f64s("reference"), case.f64s("current"));
    let (test, location) = ks::from_samples(&reference, &current)?;
    let exact = ks::exact_p(test.distance, reference.len(), current.len())?;
    Some(
        ks_answers(&test)
            .number("location", location.value)
            .number("sign", if location.reference_above { 1.0 } else { -1.0 })
            .tail("p_exact", exact),
    )
}

pub(crate) fn psi(case: &Case) -> Option<Answers> {
    let floor = case.f64("floor");
    if case.has("reference_proportions") {
        let reference = case.f64s("reference_proportions");
        let index =
            divergence::stability_index(&reference, &case.f64s("current_proportions"), floor);
        return Some(
            Answers::default()
                .number("psi", index)
                .text("band", Stability::of(index).name()),
        );
    }
    let (reference, current) = (case.f64s("reference"), case.f64s("current"));
    let buckets = case.u64("buckets") as usize;
    let dropped = equal_width(&reference, &current, buckets, Outside::Drop)?;
    let clamped = equal_width(&reference, &current, buckets, Outside::Clamp)?;
    let shared = equal_share(&reference, &current, buckets)?;
    let whole = |counts: &[u64]| -> Vec<f64> { counts.iter().map(|&count| count as f64).collect() };
    let index = clamped.stability_index(floor);
    Some(
        Answers::default()
            .numbers("edges_equal_width", &dropped.edges)
            .numbers("counts_reference", &whole(&dropped.reference))
            .numbers("counts_current_drop", &whole(&dropped.current))
            .numbers("counts_current_clamp", &whole(&clamped.current))
            .number("psi_equal_width_drop", dropped.stability_index(floor))
            .number("psi_equal_width_clamp", index)
            .text("band_clamp", Stability::of(index).name())
            .numbers("edges_quantile", &shared.edges)
            .numbers("counts_reference_quantile", &whole(&shared.reference))
            .numbers("counts_current_quantile", &whole(&shared.current))
            .number("psi_quantile", shared.stability_index(floor)),
    )
}

pub(crate) fn js_divergence(case: &Case) -> Option<Answers> {
    let nats = jensen_shannon(&case.f64s("p"), &case.f64s("q"))?;
    Some(
        Answers::default()
            .number("js_divergence_nats", nats)
            .within("js_distance_nats", nats.sqrt(), SPECIAL, 1e-8)
            .number("js_divergence_bits", nats / std::f64::consts::LN_2)
            .flag("exceeds_0_1", nats > JENSEN_SHANNON_ALARM),
    )
}

pub(crate) fn linear_trend(case: &Case) -> Option<Answers> {
    let line = trend::linear(&case.f64s("x"), &case.f64s("y"))?;
    let test = line.test;
    Some(
        Answers::default()
            .within("slope", line.slope, SPECIAL, 1e-15)
            .within("intercept", line.intercept, SPECIAL, 1e-13)
            .within("r", line.r, SPECIAL, 1e-15)
            .within("r_squared", line.r * line.r, SPECIAL, 1e-15)
            .tail("p", test.map(|test| test.p))
            .tail("stderr", test.map(|test| test.stderr))
            .tail("intercept_stderr", test.map(|test| test.intercept_stderr))
            .tail("t", test.map(|test| test.t))
            .number("dof", test.map(|test| test.dof as f64)),
    )
}

pub(crate) fn multiple_testing(case: &Case) -> Option<Answers> {
    let p = case.f64s("p");
    let (bh, holm, bonferroni) = (benjamini_hochberg(&p), holm(&p), bonferroni(&p));
    Some(
        Answers::default()
            .flags("bh_reject_0_05", rejected(&bh, 0.05))
            .flags("holm_reject_0_05", rejected(&holm, 0.05))
            .flags("bonferroni_reject_0_05", rejected(&bonferroni, 0.05))
            .numbers("bh_adjusted", &bh)
            .numbers("holm_adjusted", &holm)
            .numbers("bonferroni_adjusted", &bonferroni),
    )
}
