//! What theory promises of every judgement, on counts made by chance.

use proptest::prelude::*;
use serin_config::model::Metric;
use serin_stats::snapshot::{Arm, Outcome, PerArm, StageSnapshot};

use super::super::{Recommendation, Report, Verdict};
use super::{
    Stage, errors_only, guardrail, judge, latencies, latency_stage, policy, ranked, stage,
};

/// Baseline's counts in the canary's place and the reverse.
fn swapped(stage: &Stage) -> Stage {
    fn turn<T: Clone>(arms: &PerArm<T>) -> PerArm<T> {
        PerArm {
            baseline: arms.canary.clone(),
            canary: arms.baseline.clone(),
        }
    }
    Stage(StageSnapshot {
        share: 1.0 - stage.0.share,
        arms: turn(&stage.0.arms),
        erred: turn(&stage.0.erred),
        seen: turn(&stage.0.seen),
        ..stage.0.clone()
    })
}

fn rolls_back(report: &Report) -> bool {
    report.recommendation == Recommendation::RollbackImmediately
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Successful => 0,
        Verdict::Inconclusive | Verdict::Error => 1,
        Verdict::Failed => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// More canary errors never help the canary, more baseline errors never hurt it.
    #[test]
    fn evidence_is_monotone_in_harm(
        share in 0.02..0.6_f64,
        n in 200..3_000_u64,
        rate in 0.0..0.2_f64,
        extra in 1..50_u64,
    ) {
        let canary = ((n as f64 * share) as u64).max(60);
        let (x_b, x_c) = ((n as f64 * rate) as u64, (canary as f64 * rate) as u64);
        let ln_e = |x_b: u64, x_c: u64| {
            let stages = [stage(share, (x_b.min(n), n), (x_c.min(canary), canary))];
            judge(&stages, &errors_only(|_| {})).guardrails[0].ln_e
        };
        // The engine joins in at 20 and 10 erring users, so compare on one side of that.
        prop_assume!(x_b >= 20 && x_c >= 10);
        prop_assert!(ln_e(x_b, x_c + extra) >= ln_e(x_b, x_c) - 1e-9);
    }

    /// Whatever is counted, no number is NaN and the report survives JSON.
    #[test]
    fn every_report_survives_json(
        share in 0.0..=1.0_f64,
        counts in proptest::array::uniform8(0..3_000_u64),
    ) {
        let mut one = Stage::new(1, share);
        for (arm, counts) in [(Arm::Baseline, &counts[..4]), (Arm::Canary, &counts[4..])] {
            for (&outcome, &n) in Outcome::ALL.iter().zip(counts) {
                one = one.add(arm, outcome, n);
            }
        }
        let mut limits = policy(vec![guardrail(Metric::ErrorRate), guardrail(Metric::LatencyP95)]);
        limits.guardrails[0].max = Some(0.05);
        limits.guardrails[1].max = Some(500.0);
        let report = judge(&[one], &limits);
        let text = serde_json::to_string(&report).unwrap();
        prop_assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    /// Calling the canary baseline and the reverse turns every sign.
    #[test]
    fn swapping_the_arms_flips_the_signs(
        counts in proptest::array::uniform4(0..400_u64),
        share in 0.02..0.98_f64,
        slower in 0.7..1.5_f64,
    ) {
        let [x_b, more_b, x_c, more_c] = counts;
        let both = stage(share, (x_b, x_b + more_b + 1), (x_c, x_c + more_c + 1));
        let (here, there) = (
            judge(&[Stage(both.0.clone())], &errors_only(|_| {})),
            judge(&[swapped(&both)], &errors_only(|_| {})),
        );
        let (one, other) = (&here.guardrails[0], &there.guardrails[0]);
        prop_assert!((one.effect.unwrap() + other.effect.unwrap()).abs() < 1e-12);
        let z = |shown: &super::super::GuardrailReport| shown.classic.two_proportion_z.unwrap().z;
        prop_assert!((z(one) + z(other)).abs() < 1e-9);

        let (slow, limits) = latency_stage(300, slower);
        let (here, there) = (
            judge(&[Stage(slow.0.clone())], &limits),
            judge(&[swapped(&slow)], &limits),
        );
        let effect = |report: &Report| report.guardrails[0].effect.unwrap();
        prop_assert!((effect(&here) + effect(&there)).abs() < 1e-9);
        let auc = |report: &Report| report.guardrails[0].classic.mann_whitney.unwrap().auc;
        prop_assert!((auc(&here) + auc(&there) - 1.0).abs() < 1e-12);
    }

    /// What goes wrong on baseline is never held against the canary.
    #[test]
    fn baseline_noise_alone_takes_nothing_back(
        share in 0.02..0.9_f64,
        n in 400..4_000_u64,
        rates in proptest::array::uniform2(0.0..0.1_f64),
        noise in 0..300_u64,
        outcome in 1..4_usize,
    ) {
        let canary = ((n as f64 * share) as u64).max(20);
        let (x_b, x_c) = ((n as f64 * rates[0]) as u64, (canary as f64 * rates[1]) as u64);
        // Below 20 erring users of baseline the engine on error rates is silent: noise may wake it, so it is
        // awake from the start.
        let errors = x_b.max(20);
        let noise = noise.min(n - errors);
        // Requests that would have succeeded end otherwise; more requests would be news of another kind.
        let baseline = |ended: Outcome| {
            stage(share, (0, 0), (x_c.min(canary), canary))
                .add(Arm::Baseline, Outcome::Error, errors)
                .add(Arm::Baseline, ended, noise)
                .add(Arm::Baseline, Outcome::Success, n - errors - noise)
        };
        let guardrails = [
            Metric::ErrorRate,
            Metric::RejectedRate,
            Metric::AbortedRate,
        ];
        let limits = policy(guardrails.map(guardrail).to_vec());
        prop_assume!(!rolls_back(&judge(&[baseline(Outcome::Success)], &limits)));
        prop_assert!(!rolls_back(&judge(&[baseline(Outcome::ALL[outcome])], &limits)));
    }

    /// Nor is a baseline that slows down held against a canary that is as fast as it was.
    #[test]
    fn a_slower_baseline_alone_takes_nothing_back(
        n in 100..600_usize,
        canary in 0.7..=1.0_f64,
        noise in 1.0..5.0_f64,
        spared in 1..20_usize,
    ) {
        let mut baseline = latencies(4 * n, 1.0);
        for (_, ms) in baseline.iter_mut().enumerate().filter(|(i, _)| i % spared == 0) {
            *ms *= noise;
        }
        let (stage, limits) = ranked(&baseline, &latencies(n, canary));
        prop_assert!(!rolls_back(&judge(&[stage], &limits)));
    }

    /// A canary that fails more is judged no better, whatever it fails by.
    #[test]
    fn verdicts_are_monotone_in_harm(
        share in 0.02..0.6_f64,
        n in 400..20_000_u64,
        rate in 0.0..0.05_f64,
        excess in 0.0..0.05_f64,
        extra in 1..100_u64,
        kind in 0..3_usize,
    ) {
        let canary = ((n as f64 * share) as u64).max(200);
        let x_b = ((n as f64 * rate) as u64).max(20);
        let x_c = ((canary as f64 * (rate + excess)) as u64).max(10);
        prop_assume!(x_c + extra < canary / 2);
        let (metric, ended) = [
            (Metric::ErrorRate, Outcome::Error),
            (Metric::RejectedRate, Outcome::Rejected),
            (Metric::AbortedRate, Outcome::Aborted),
        ][kind];
        let verdict = |x_c: u64| {
            let stage = Stage::new(1, share)
                .add(Arm::Baseline, ended, x_b)
                .add(Arm::Baseline, Outcome::Success, n - x_b)
                .add(Arm::Canary, ended, x_c)
                .add(Arm::Canary, Outcome::Success, canary - x_c);
            judge(&[stage], &policy(vec![guardrail(metric)])).guardrails[0].verdict
        };
        prop_assert!(badness(verdict(x_c + extra)) >= badness(verdict(x_c)));
    }

    /// Slower is never more innocent.
    #[test]
    fn latency_evidence_is_monotone_in_slowness(n in 100..600_usize, slower in 1.0..2.0_f64, more in 1.0..1.5_f64) {
        let judged = |slower: f64| {
            let (stage, limits) = latency_stage(n, slower);
            let shown = judge(&[stage], &limits).guardrails[0].clone();
            (shown.ln_e, badness(shown.verdict))
        };
        let (here, there) = (judged(slower), judged(slower * more));
        prop_assert!(there.0 >= here.0 - 1e-9);
        prop_assert!(there.1 >= here.1, "{} and {}", slower, slower * more);
    }
}
