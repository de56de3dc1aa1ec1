//! The engine: clustered variances, first errors, stages and evidence, decisions, forecasts.

use serin_stats::cluster::{
    Combined, MeanArm, StageEffect, bucket_variance, combine, counts, mean_stage, pooled_rate,
    rate_stage, rate_stage_non_inferior, restricted_rate,
};
use serin_stats::decision::{self, Evidence, GuardEvidence};
use serin_stats::power::{Plan, canary_requests_for, information_for_half_width};
use serin_stats::sequential::{
    always_valid_p, ln_weighted_mean_e, optimal_information, rho_one_sided, tuned_rho,
};
use serin_stats::{first_error as first, srm};

use crate::answers::{Answers, CLOSED, Case, ROOT, SPECIAL, list, number};

pub(crate) fn first_error(case: &Case) -> Option<Answers> {
    let ln_e = first::ln_e(
        case.u64("canary_events"),
        case.u64("total_events"),
        case.f64("canary_share"),
    );
    // The reference subtracts numbers of the order of m.
    let cancelled = 1e-14 * case.f64("total_events").max(1.0);
    Some(Answers::default().within("log_e", ln_e, SPECIAL, cancelled))
}

/// The buckets of a case, and how it is judged.
struct Buckets {
    n_b: Vec<u64>,
    n_c: Vec<u64>,
    x_b: Vec<u64>,
    x_c: Vec<u64>,
    margin: f64,
    alpha: f64,
    v_opt: f64,
    rho: f64,
}

impl Buckets {
    fn of(case: &Case) -> Self {
        let (margin, alpha) = (case.f64("margin"), case.f64("alpha"));
        let v_opt = optimal_information(margin, alpha, case.f64("power"));
        Self {
            n_b: case.u64s("n_baseline"),
            n_c: case.u64s("n_canary"),
            x_b: case.u64s("x_baseline"),
            x_c: case.u64s("x_canary"),
            margin,
            alpha,
            v_opt,
            rho: rho_one_sided(v_opt, alpha),
        }
    }

    /// The decision version for yes/no metrics.
    fn rao_scott(&self) -> Option<Answers> {
        let effect = rate_stage(&self.n_b, &self.x_b, &self.n_c, &self.x_c)?;
        let (n_b, x_b, n_c, x_c) = (&self.n_b, &self.x_b, &self.n_c, &self.x_c);
        let restricted = rate_stage_non_inferior(n_b, x_b, n_c, x_c, self.margin)?;
        let combined = combine(&[effect])?;
        let half_width = combined.half_width(self.rho, self.alpha);
        let pooled = pooled_rate(&[effect]);
        let non_inferior = combine(&[restricted])?.ln_e_non_inferior(self.margin, self.rho);
        Some(
            Answers::default()
                .number("deff", effect.deff)
                .number("p_tilde", pooled)
                .number("information", effect.information)
                .number("z", effect.diff * effect.information.sqrt())
                .within(
                    "log_e_worse",
                    combined.ln_e_worse(0.0, self.rho),
                    SPECIAL,
                    1e-9,
                )
                .within("lower_cs", combined.diff - half_width, ROOT, 1e-9)
                .within("upper_cs", combined.diff + half_width, ROOT, 1e-9)
                .number("p_tilde_null", restricted_rate(pooled, self.margin))
                .number("information_non_inferiority", restricted.information)
                .within("log_e_non_inferior", non_inferior, SPECIAL, 1e-9),
        )
    }
}

pub(crate) fn bucketed_cs(case: &Case) -> Option<Answers> {
    let buckets = Buckets::of(case);
    let (rho, margin) = (buckets.rho, buckets.margin);
    let variance_b = bucket_variance(counts(&buckets.n_b, &buckets.x_b))?;
    let variance_c = bucket_variance(counts(&buckets.n_c, &buckets.x_c))?;
    let rate = rate_stage(&buckets.n_b, &buckets.x_b, &buckets.n_c, &buckets.x_c)?;
    let (n_b, n_c) = (rate.n_baseline as f64, rate.n_canary as f64);
    let pooled = pooled_rate(&[rate]);
    let floor = pooled * (1.0 - pooled);
    let sums = |x: &[u64]| -> Vec<f64> { x.iter().map(|&x| x as f64).collect() };
    let (sum_b, sum_c) = (sums(&buckets.x_b), sums(&buckets.x_c));
    let arm = |n, sum| MeanArm {
        n,
        sum,
        variance_floor: floor,
    };
    let mean = mean_stage(arm(&buckets.n_b, &sum_b), arm(&buckets.n_c, &sum_c))?;
    let combined = combine(&[mean])?;
    let half_width = combined.half_width(rho, buckets.alpha);
    let worse = combined.ln_e_worse(0.0, rho);
    let independent = |p: f64, n: f64| (p > 0.0 && p < 1.0).then_some(p * (1.0 - p) / n);
    let deff = |corrected: f64, p: f64, n: f64| independent(p, n).map(|base| corrected / base);
    let answers = Answers::default()
        .number("p_baseline", mean.p_baseline)
        .number("p_canary", mean.p_canary)
        .number("diff", mean.diff)
        .number(
            "se_cluster_uncorrected_statsmodels",
            (variance_b.uncorrected + variance_c.uncorrected).sqrt(),
        )
        .within("var_baseline_bucket", variance_b.corrected, CLOSED, 0.0)
        .within("var_canary_bucket", variance_c.corrected, CLOSED, 0.0)
        .within("floor_baseline", floor / n_b, CLOSED, 0.0)
        .within("floor_canary", floor / n_c, CLOSED, 0.0)
        .within(
            "var_baseline",
            variance_b.corrected.max(floor / n_b),
            CLOSED,
            0.0,
        )
        .within(
            "var_canary",
            variance_c.corrected.max(floor / n_c),
            CLOSED,
            0.0,
        )
        .number("se", mean.information.powf(-0.5))
        .number("information", mean.information)
        .number("v_opt", buckets.v_opt)
        .number("rho", rho)
        .within("log_e_worse_than_0", worse, SPECIAL, 1e-9)
        .within(
            "log_e_worse_than_margin",
            combined.ln_e_worse(margin, rho),
            SPECIAL,
            1e-9,
        )
        .within(
            "log_e_non_inferior",
            combined.ln_e_non_inferior(margin, rho),
            SPECIAL,
            1e-9,
        )
        .within("lower_cs", mean.diff - half_width, ROOT, 1e-9)
        .within("upper_cs", mean.diff + half_width, ROOT, 1e-9)
        .within(
            "p_always_valid_single_look",
            always_valid_p(worse),
            SPECIAL,
            1e-9,
        )
        .number(
            "deff_baseline",
            deff(variance_b.corrected, mean.p_baseline, n_b),
        )
        .number(
            "deff_canary",
            deff(variance_c.corrected, mean.p_canary, n_c),
        )
        .nested("rao_scott", buckets.rao_scott()?);
    Some(answers)
}

pub(crate) fn evidence(case: &Case) -> Option<Answers> {
    if case.has("log_e_path") {
        let mut largest = f64::NEG_INFINITY;
        let path = case.f64s("log_e_path");
        let p = path.iter().map(|&ln_e| {
            largest = largest.max(ln_e);
            Some(always_valid_p(largest))
        });
        return Some(Answers::default().list_within("p_always_valid", p, SPECIAL, 0.0));
    }
    if case.has("weights") {
        let mean = ln_weighted_mean_e(&case.f64s("log_e"), &case.f64s("weights"));
        return Some(
            Answers::default()
                .number("log_e_mean", mean)
                .flag("rejects_at_0_025", mean >= 40_f64.ln()),
        );
    }
    let (margin, alpha) = (case.f64("margin"), case.f64("alpha"));
    let rho = rho_one_sided(optimal_information(margin, alpha, case.f64("power")), alpha);
    let stages: Vec<StageEffect> = case
        .f64s("diff_per_stage")
        .into_iter()
        .zip(case.f64s("information_per_stage"))
        .map(|(diff, information)| StageEffect {
            p_baseline: 0.0,
            p_canary: diff,
            diff,
            information,
            deff: 1.0,
            n_baseline: 1,
            n_canary: 1,
            x_baseline: 0.0,
            x_canary: diff,
        })
        .collect();
    let combined: Combined = combine(&stages)?;
    Some(
        Answers::default()
            .number("diff", combined.diff)
            .number("information", combined.information)
            .within("log_e_worse", combined.ln_e_worse(0.0, rho), SPECIAL, 1e-9)
            .within(
                "log_e_non_inferior",
                combined.ln_e_non_inferior(margin, rho),
                SPECIAL,
                1e-9,
            ),
    )
}

pub(crate) fn srm_sequential(case: &Case) -> Option<Answers> {
    let (weights, concentration) = (case.f64s("weights"), case.f64("concentration"));
    let path = case.table("cumulative_users");
    let ln_e: Vec<f64> = path
        .iter()
        .map(|users| srm::ln_e(users, &weights, concentration))
        .collect();
    let mut largest = f64::NEG_INFINITY;
    let p: Vec<f64> = ln_e
        .iter()
        .map(|&ln_e| {
            largest = largest.max(ln_e);
            always_valid_p(largest)
        })
        .collect();
    // The reference subtracts values of ln Γ as large as n ln n: 1e-5 is stated for 10⁹ users.
    let users = path.last()?.iter().sum::<u64>() as f64;
    let cancelled = (1e-14 * users).clamp(1e-10, 1e-5);
    let p_tolerance = SPECIAL.max(cancelled);
    Some(
        Answers::default()
            .list_within("log_e", ln_e.into_iter().map(Some), SPECIAL, cancelled)
            .list_within("p_always_valid", p.into_iter().map(Some), p_tolerance, 0.0),
    )
}

pub(crate) fn power(case: &Case) -> Option<Answers> {
    if case.has("margin") {
        let (p, margin) = (case.f64("p_baseline"), case.f64("margin"));
        let (alpha, share) = (case.f64("alpha"), case.f64("canary_share"));
        // Tuned at .005, whatever the margin.
        let v_opt = optimal_information(0.005, 0.05, 0.8);
        let rho = tuned_rho(0.005, 0.05);
        let v = information_for_half_width(margin, rho, alpha);
        let n_canary = canary_requests_for(v, p, margin, case.f64("deff"), share);
        let seconds = n_canary / (case.f64("requests_per_second") * share);
        return Some(
            Answers::default()
                .number("v_opt", v_opt)
                .number("rho", rho)
                .within("information_for_halfwidth_equal_margin", v, ROOT, 0.0)
                .within("n_canary", n_canary, ROOT, 0.0)
                .within("seconds", seconds, ROOT, 0.0),
        );
    }
    let ratio = case.f64("ratio_baseline_to_canary");
    let (p, diff) = (case.f64("p_baseline"), case.f64("diff"));
    let plan = Plan::new(
        p,
        diff,
        case.f64("alpha_one_sided"),
        case.f64("power"),
        ratio,
    )?;
    let information = plan.canary_requests_information();
    Some(
        Answers::default()
            .number("cohens_h", plan.cohens_h())
            .within(
                "n_canary_arcsine_statsmodels",
                plan.canary_requests_arcsine(),
                ROOT,
                0.0,
            )
            .within(
                "n_canary_statsmodels_2indep_onetail",
                plan.canary_requests_normal(),
                ROOT,
                0.0,
            )
            .number("n_canary_information", information)
            .number("n_baseline_information", information * ratio)
            .tail("power_at_n_1000_arcsine", plan.power_at(1000.0)),
    )
}

pub(crate) fn decision_rules(case: &Case) -> Option<Answers> {
    let flag = |key: &str| case.input(key).as_bool().unwrap();
    let guards = list(case.input("guards"))
        .iter()
        .map(|guard| GuardEvidence {
            name: guard["name"].as_str().unwrap().to_owned(),
            alpha: number(&guard["alpha"]),
            min_canary_requests: guard["min_canary_requests"].as_u64().unwrap(),
            absolute_limit_exceeded: guard["absolute_limit_exceeded"].as_bool().unwrap(),
            ln_e: number(&guard["log_e"]),
            effect: number(&guard["effect"]),
            margin: number(&guard["margin"]),
            ln_e_non_inferior: number(&guard["log_e_non_inferior"]),
        })
        .collect();
    let (recommendation, reason) = decision::decide(&Evidence {
        canary_down: flag("canary_down"),
        alpha_error: case.f64("alpha_error"),
        error_margin: case.f64("error_margin"),
        error_diff: case.f64("error_diff"),
        catastrophe_ln_e: case.f64("catastrophe_log_e"),
        canary_erring_users: case.u64("canary_erring_users"),
        recent_ln_e: case.f64("recent_log_e"),
        recent_ln_threshold: case.f64("recent_log_threshold"),
        recent_erring_users: case.u64("recent_erring_users"),
        recent_diff: case.f64("recent_diff"),
        sample_ratio_p: case.f64("srm_p_always_valid"),
        canary_requests: case.u64("n_canary"),
        min_requests_to_promote: case.u64("min_canary_requests_promote"),
        dwell_seconds: case.f64("dwell_s"),
        min_dwell_seconds: case.f64("min_dwell_s"),
        guards,
    });
    Some(
        Answers::default()
            .text("state", recommendation.name())
            .text("reason", reason.name()),
    )
}
