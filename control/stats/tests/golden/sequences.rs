//! Confidence sequences, quantiles and group-sequential boundaries.

use std::collections::BTreeMap;

use serin_stats::group_sequential::{self, Spending};
use serin_stats::quantile::{LogBins, QuantileLevel, difference};
use serin_stats::quantile_comparison;
use serin_stats::sequential::beta_binomial::{BetaBinomial, confidence_sequence};
use serin_stats::sequential::stitching::{
    double_stitching_bound, empirical_process_bound, poly_stitching_bound,
};
use serin_stats::sequential::{
    always_valid_p, bound_one_sided, bound_two_sided, ln_e_one_sided, ln_e_two_sided,
    rho_one_sided, rho_two_sided,
};

use crate::answers::{Answers, Case, ROOT, SPECIAL};

/// Logarithms of evidence near 0 are differences of terms near 1.
const NEAR_ZERO: f64 = 1e-10;

pub(crate) fn confidence_sequences(case: &Case) -> Option<Answers> {
    if case.has("p0") {
        beta_binomial(case)
    } else if case.has("s") {
        Some(normal_mixture(case))
    } else if case.has("successes") {
        let found = confidence_sequence(
            case.u64("successes"),
            case.u64("trials"),
            case.f64("alpha"),
            case.f64("t_opt"),
            case.f64("alpha_opt"),
        )?;
        let ends = [Some(found.low), Some(found.high)];
        Some(Answers::default().list_within("ci", ends, ROOT, 1e-12))
    } else if case.has("v_min") {
        let bound = poly_stitching_bound(case.f64("v"), case.f64("alpha"), case.f64("v_min"));
        Some(Answers::default().number("bound", bound))
    } else if case.has("t_min") {
        let (t, t_min) = (case.f64("t"), case.f64("t_min"));
        let bound = empirical_process_bound(t, case.f64("alpha"), t_min, case.f64("A"));
        Some(Answers::default().within("bound", bound, 1e-5, 0.0))
    } else if case.has("quantile_p") {
        let (p, t) = (case.f64("quantile_p"), case.f64("t"));
        let bound = double_stitching_bound(p, t, case.f64("alpha"), case.f64("t_opt"));
        Some(Answers::default().number("bound", bound))
    } else {
        let (baseline, canary) = (case.f64s("baseline"), case.f64s("canary"));
        let (quantile, t_opt) = (case.f64("quantile"), case.f64("t_opt"));
        let alpha_opt = case.f64("alpha_opt");
        let ln_e = quantile_comparison::ln_e(&baseline, &canary, quantile, t_opt, alpha_opt)?;
        Some(Answers::default().within("p", always_valid_p(ln_e), SPECIAL, 0.0))
    }
}

fn normal_mixture(case: &Case) -> Answers {
    let (s, v, alpha) = (case.f64("s"), case.f64("v"), case.f64("alpha"));
    let (v_opt, alpha_opt) = (case.f64("v_opt"), case.f64("alpha_opt"));
    let (one, two) = (
        rho_one_sided(v_opt, alpha_opt),
        rho_two_sided(v_opt, alpha_opt),
    );
    Answers::default()
        .number("rho_one_sided", one)
        .number("rho_two_sided", two)
        .within(
            "log_e_one_sided",
            ln_e_one_sided(s, v, one),
            SPECIAL,
            NEAR_ZERO,
        )
        .within(
            "log_e_two_sided",
            ln_e_two_sided(s, v, two),
            SPECIAL,
            NEAR_ZERO,
        )
        .within("bound_one_sided", bound_one_sided(v, one, alpha), ROOT, 0.0)
        .number("bound_two_sided", bound_two_sided(v, two, alpha))
}

fn beta_binomial(case: &Case) -> Option<Answers> {
    let (x, n) = (case.f64("successes"), case.f64("trials"));
    let (p0, v_opt, alpha_opt) = (case.f64("p0"), case.f64("v_opt"), case.f64("alpha_opt"));
    let one = BetaBinomial::one_sided(p0, v_opt, alpha_opt)?.ln_e(x, n);
    let two = BetaBinomial::two_sided(p0, v_opt, alpha_opt)?.ln_e(x, n);
    Some(
        Answers::default()
            .within("log_e_one_sided", one, SPECIAL, NEAR_ZERO)
            .within("log_e_two_sided", two, SPECIAL, NEAR_ZERO),
    )
}

pub(crate) fn quantile_cs(case: &Case) -> Option<Answers> {
    let counts = |key: &str| -> Vec<u64> {
        let sparse: BTreeMap<usize, u64> = serde_json::from_value(case.input(key).clone()).unwrap();
        let bins = case.u64("bins") as usize;
        assert!(sparse.keys().all(|&bin| bin < bins), "a bin outside");
        (0..bins)
            .map(|bin| sparse.get(&bin).copied().unwrap_or(0))
            .collect()
    };
    let (first_edge, gamma) = (case.f64("x0_ms"), case.f64("gamma"));
    let (counts_b, counts_c) = (counts("counts_baseline"), counts("counts_canary"));
    let baseline = LogBins {
        counts: &counts_b,
        first_edge,
        gamma,
    };
    let canary = LogBins {
        counts: &counts_c,
        first_edge,
        gamma,
    };
    let level = QuantileLevel {
        quantile: case.f64("quantile"),
        rho: case.f64("rho"),
        alpha: case.f64("alpha"),
    };
    let deff = case.f64("deff");
    let bounds = |arm: &LogBins<'_>| level.bounds(arm.total(), deff, |q| arm.quantile(q));
    let (b, c) = (bounds(&baseline)?, bounds(&canary)?);
    let found = difference(&b, &c);
    Some(
        Answers::default()
            .number("p95_baseline", b.point)
            .number("p95_canary", c.point)
            .number("diff", found.diff)
            .number("p50_canary", canary.quantile(0.5))
            .number("p99_canary", canary.quantile(0.99))
            .within("w_baseline", b.rank_half_width, ROOT, 0.0)
            .within("w_canary", c.rank_half_width, ROOT, 0.0)
            .list_within("baseline_ci", [b.low, b.high], ROOT, 0.0)
            .list_within("canary_ci", [c.low, c.high], ROOT, 0.0)
            .within("diff_lower", found.lower, ROOT, 0.0)
            .within("diff_upper", found.upper, ROOT, 0.0),
    )
}

pub(crate) fn group_sequential(case: &Case) -> Option<Answers> {
    let spending = match case.input("spending").as_str() {
        Some("obrien_fleming") => Spending::OBrienFleming,
        Some("pocock") => Spending::Pocock,
        other => panic!("unknown spending {other:?}"),
    };
    let shares = case.f64s("information_fractions");
    let looks = group_sequential::boundaries(spending, case.f64("alpha_one_sided"), &shares)?;
    let each =
        |value: fn(&group_sequential::Look) -> f64| looks.iter().map(move |look| Some(value(look)));
    Some(
        Answers::default()
            .list_within("z", each(|look| look.z), 1e-5, 0.0)
            .list_within(
                "cumulative_alpha",
                each(|look| look.cumulative_alpha),
                SPECIAL,
                0.0,
            )
            .list_within("nominal_p", each(|look| look.nominal_p), 1e-5, 0.0),
    )
}
