//! Laws that hold whatever was measured: merging, symmetry of the arms, monotone evidence, exact error rates
//! of the e-values, and no NaN or panic at the extremes.
#![expect(clippy::indexing_slicing, reason = "a broken law must fail the run")]

use proptest::collection::vec;
use proptest::prelude::*;
use serin_stats::cluster::{MeanArm, combine, mean_stage, rate_stage, rate_stage_non_inferior};
use serin_stats::first_error::{self, StageErrors};
use serin_stats::histogram::Histogram;
use serin_stats::proportion::{TwoCounts, two_proportion_z};
use serin_stats::quantile::{QuantileLevel, histogram_difference};
use serin_stats::sequential::{
    always_valid_p, bound_one_sided, bound_two_sided, ln_e_one_sided, ln_e_two_sided, ln_mean_e,
    tuned_rho,
};
use serin_stats::shadow::Target;
use serin_stats::snapshot::{Arm, Snapshot, StageSnapshot};
use serin_stats::special::{beta, gamma, normal};
use serin_stats::{rank_sum, shift, srm};

/// What one request of a made-up recorder leaves behind.
type Trace = (u8, u64, bool, usize, usize, f64);

fn traces() -> impl Strategy<Value = Vec<Trace>> {
    let trace = (
        0..3_u8,
        1..4_u64,
        any::<bool>(),
        0..4_usize,
        0..65_536_usize,
        0.01..1e6_f64,
    );
    vec(trace, 0..25)
}

/// A snapshot as one recorder would have taken it: counted directly, without any merging.
fn snapshot(traces: &[Trace]) -> Snapshot {
    let mut whole = Snapshot::default();
    for trace in traces {
        let (rollout, epoch, ..) = *trace;
        let stages = whole
            .rollouts
            .entry(format!("rollout-{rollout}"))
            .or_default();
        let at = match stages.binary_search_by_key(&epoch, |stage| stage.epoch) {
            Ok(at) => at,
            Err(at) => {
                let fresh = StageSnapshot {
                    epoch,
                    share: 0.1 * epoch as f64,
                    ..StageSnapshot::default()
                };
                stages.insert(at, fresh);
                at
            }
        };
        record(&mut stages[at], trace);
    }
    whole
}

/// One request, and a copy of it, in every field that there is.
fn record(stage: &mut StageSnapshot, &(_, _, canary, outcome, slot, ms): &Trace) {
    let arm = if canary { Arm::Canary } else { Arm::Baseline };
    let bucket = slot % 256;
    let counts = stage.arms.get_mut(arm);
    counts.outcomes[outcome] += 1;
    counts.unreachable += u64::from(outcome == 1 && slot % 2 == 0);
    counts.requests.0[bucket] += 1;
    counts.errors.0[bucket] += u64::from(outcome == 1);
    counts.rejected.0[bucket] += u64::from(outcome == 2);
    counts.aborted.0[bucket] += u64::from(outcome == 3);
    counts.latency.total.record(ms);
    counts.latency.first_byte.record(0.5 * ms);
    counts.latency.measured.0[bucket] += 1;
    counts.latency.slow.0[bucket] += u64::from(ms > 1e5);
    counts.latency.half_ranks.0[bucket] += slot as u64;
    counts.latency.half_ranks_squared += (slot * slot) as u64;
    stage.seen.get_mut(arm).insert(slot);
    if outcome == 1 {
        stage.erred.get_mut(arm).insert(slot);
    }
    let target = if canary {
        Target::Canary
    } else {
        Target::Shadow
    };
    let copies = stage.shadow.entry(target).or_default();
    copies.results[slot % copies.results.len()] += 1;
    copies.paired.0[bucket] += 1;
    copies.only_shadow_failed.0[bucket] += u64::from(outcome == 1);
    copies.only_baseline_failed.0[bucket] += u64::from(outcome == 2);
    copies.both_failed += u64::from(outcome == 3);
    copies.latency.record(ms);
    copies.baseline_latency.record(2.0 * ms);
}

fn merged(left: &Snapshot, right: &Snapshot) -> Snapshot {
    let mut all = left.clone();
    all.merge(right);
    all
}

fn histogram(values: &[f64]) -> Histogram {
    let mut histogram = Histogram::default();
    values.iter().for_each(|&ms| histogram.record(ms));
    histogram
}

/// Requests and counted requests per bucket.
fn buckets() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    vec((0..2000_u64, 0.0..=1.0_f64), 1..20).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(n, share)| (n, (n as f64 * share * share) as u64))
            .unzip()
    })
}

/// Counts up to the largest ones, the small ones often.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..5_u64,
        0..1000_u64,
        Just(1_000_000_000),
        0..2_000_000_000_u64,
        any::<u64>()
    ]
}

/// Numbers of every size, with NaN and the infinities.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -10.0..10.0_f64,
        Just(0.0),
        Just(1.0),
        Just(0.05),
        Just(1e-300)
    ]
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn snapshots_merge_in_any_order(a in traces(), b in traces(), c in traces()) {
        let (whole_a, whole_b, whole_c) = (snapshot(&a), snapshot(&b), snapshot(&c));
        prop_assert_eq!(merged(&whole_a, &whole_b), merged(&whole_b, &whole_a));
        let left = merged(&merged(&whole_a, &whole_b), &whole_c);
        let right = merged(&whole_a, &merged(&whole_b, &whole_c));
        prop_assert_eq!(&left, &right);
        // One recorder that saw everything has the same bits.
        prop_assert_eq!(left, snapshot(&[a, b, c].concat()));
    }

    #[test]
    fn merged_histograms_are_those_of_all_values(
        a in vec(0.0..1e6_f64, 0..50),
        b in vec(0.0..1e6_f64, 0..50),
    ) {
        let mut both = histogram(&a);
        both.merge(&histogram(&b));
        prop_assert_eq!(both, histogram(&[a, b].concat()));
    }

    #[test]
    fn swapping_the_arms_of_two_proportions_flips_the_sign(
        x1 in 0..500_u64, more1 in 0..5000_u64, x2 in 0..500_u64, more2 in 0..5000_u64,
    ) {
        let (n1, n2) = (x1 + more1 + 1, x2 + more2 + 1);
        let of = |x_baseline, n_baseline, x_canary, n_canary| {
            let counts = TwoCounts { x_baseline, n_baseline, x_canary, n_canary };
            two_proportion_z(counts, 0.95).unwrap()
        };
        let (there, back) = (of(x1, n1, x2, n2), of(x2, n2, x1, n1));
        prop_assert_eq!(there.diff, -back.diff);
        prop_assert!(close(there.z, -back.z, 1e-12));
        prop_assert!(close(there.p_canary_greater, back.p_canary_less, 1e-12));
        prop_assert!(close(there.newcombe.low, -back.newcombe.high, 1e-12));
        prop_assert!(there.newcombe.low <= there.diff && there.diff <= there.newcombe.high);
    }

    #[test]
    fn swapping_the_arms_of_ranks_flips_the_sign(
        a in vec(0..40_i32, 1..40), b in vec(0..40_i32, 1..40),
    ) {
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        let b: Vec<f64> = b.into_iter().map(f64::from).collect();
        let there = rank_sum::from_samples(&a, &b).unwrap();
        let back = rank_sum::from_samples(&b, &a).unwrap();
        prop_assert_eq!(there.u_canary, back.u_baseline);
        prop_assert_eq!(there.z, -back.z);
        prop_assert!(close(there.auc, 1.0 - back.auc, 1e-14));
        prop_assert_eq!(there.corrected.greater, back.corrected.less);
        let (right, left) = (
            shift::from_samples(&a, &b, 0.9).unwrap(),
            shift::from_samples(&b, &a, 0.9).unwrap(),
        );
        prop_assert_eq!(right.estimate, -left.estimate);
        prop_assert_eq!(right.interval.low, -left.interval.high);
    }

    #[test]
    fn the_shift_is_the_median_of_all_differences(
        a in vec(-50.0..50.0_f64, 1..25), b in vec(-50.0..50.0_f64, 1..25),
    ) {
        let mut all: Vec<f64> = a.iter().flat_map(|x| b.iter().map(move |y| x - y)).collect();
        all.sort_by(f64::total_cmp);
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        let found = shift::from_samples(&a, &b, 0.95).unwrap().estimate;
        prop_assert_eq!(found, 0.5 * low + 0.5 * high);
    }

    #[test]
    fn swapping_the_arms_of_the_engine_flips_the_sign(
        (n1, x1) in buckets(), (n2, x2) in buckets(), values in vec(-5.0..5.0_f64, 20),
    ) {
        let (there, back) = (rate_stage(&n1, &x1, &n2, &x2), rate_stage(&n2, &x2, &n1, &x1));
        prop_assert_eq!(there.is_some(), back.is_some());
        if let (Some(there), Some(back)) = (there, back) {
            prop_assert_eq!(there.diff, -back.diff);
            // But for the design effect, which is the baseline's.
            let (a, b) = (there.information * there.deff, back.information * back.deff);
            prop_assert!(close(a / b, 1.0, 1e-12));
        }
        let sums = |x: &[u64]| -> Vec<f64> {
            x.iter().zip(&values).map(|(&x, value)| x as f64 * value).collect()
        };
        let (sum1, sum2) = (sums(&x1), sums(&x2));
        let arm1 = MeanArm { n: &n1, sum: &sum1, variance_floor: 0.5 };
        let arm2 = MeanArm { n: &n2, sum: &sum2, variance_floor: 0.5 };
        if let (Some(there), Some(back)) = (mean_stage(arm1, arm2), mean_stage(arm2, arm1)) {
            prop_assert_eq!(there.diff, -back.diff);
            prop_assert!(close(there.information / back.information, 1.0, 1e-12));
        }
    }

    #[test]
    fn swapping_the_arms_of_a_quantile_flips_the_sign(
        a in vec(0.1..1e5_f64, 1..400), b in vec(0.1..1e5_f64, 1..400), deff in 1.0..5.0_f64,
    ) {
        let (a, b) = (histogram(&a), histogram(&b));
        let level = QuantileLevel::engine(0.5);
        let there = histogram_difference(level, (&a, deff), (&b, 1.0)).unwrap();
        let back = histogram_difference(level, (&b, 1.0), (&a, deff)).unwrap();
        prop_assert_eq!(there.diff, -back.diff);
        prop_assert_eq!(there.lower, back.upper.map(|upper| -upper));
        prop_assert!(there.upper.is_none_or(|upper| upper >= there.diff));
    }

    #[test]
    fn combining_stages_lies_between_them(
        stages in vec((buckets(), buckets()), 1..4),
    ) {
        let effects: Vec<_> = stages
            .iter()
            .filter_map(|((n1, x1), (n2, x2))| rate_stage(n1, x1, n2, x2))
            .collect();
        if let Some(all) = combine(&effects) {
            let diffs = effects.iter().map(|effect| effect.diff);
            let low = diffs.clone().fold(f64::INFINITY, f64::min);
            let high = diffs.fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(all.diff >= low - 1e-12 && all.diff <= high + 1e-12);
        }
    }

    #[test]
    fn evidence_rises_with_the_sum_and_the_bound_with_the_level(
        s in -1e4..1e4_f64, more in 1e-3..1e3_f64, v in 0.0..1e6_f64, rho in 1.0..1e5_f64,
        alpha in 1e-12..0.4_f64,
    ) {
        prop_assert!(ln_e_one_sided(s + more, v, rho) > ln_e_one_sided(s, v, rho));
        prop_assert!(ln_e_two_sided(s, v, rho) == ln_e_two_sided(-s, v, rho));
        let bound = bound_one_sided(v, rho, alpha);
        prop_assert!(bound_one_sided(v, rho, alpha * 0.9) > bound);
        prop_assert!(bound_one_sided(v + 1.0, rho, alpha) > bound);
        prop_assert!(bound <= bound_two_sided(v, rho, alpha * 0.99));
        prop_assert!(close(ln_e_one_sided(bound, v, rho), -alpha.ln(), 1e-9));
    }

    #[test]
    fn an_error_of_the_canary_speaks_against_it_and_one_of_baseline_for_it(
        k in 0..3000_u64, rest in 0..30_000_u64, share in 0.001..0.999_f64,
    ) {
        let ln_e = first_error::ln_e(k, k + rest, share);
        prop_assert!(first_error::ln_e(k + 1, k + 1 + rest, share) > ln_e);
        prop_assert!(first_error::ln_e(k, k + rest + 1, share) < ln_e);
        let doubled = [StageErrors { canary: k, total: k + rest, share }; 2];
        let both = first_error::ln_e_stages(&doubled);
        prop_assert!(2 * k < 5 && both <= 0.0 || close(both, 2.0 * ln_e, 1e-12));
    }

    #[test]
    fn the_mean_of_evidence_lies_within_it(ln_e in vec(-800.0..800.0_f64, 1..6)) {
        let mean = ln_mean_e(&ln_e);
        let high = ln_e.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(mean <= high + 1e-9 && mean >= high - (ln_e.len() as f64).ln() - 1e-9);
    }

    #[test]
    fn counts_of_any_size_give_numbers(x1 in count(), n1 in count(), x2 in count(), n2 in count()) {
        let counts = TwoCounts { x_baseline: x1, n_baseline: n1, x_canary: x2, n_canary: n2 };
        prop_assert_eq!(two_proportion_z(counts, 0.95).is_some(), n1 > 0 && n2 > 0);
        if let Some(test) = two_proportion_z(counts, 0.95) {
            let all = [test.diff, test.z, test.p_two_sided, test.newcombe.low, test.newcombe.high];
            prop_assert!(all.iter().all(|value| value.is_finite()), "{test:?}");
            prop_assert!(!test.ln_p_two_sided.is_nan() && !test.ln_p_canary_greater.is_nan());
        }
        let (n_b, x_b, n_c, x_c) = (&[n1, x2], &[x1, 0], &[n2, 0], &[x2, 0]);
        let stages = [rate_stage(n_b, x_b, n_c, x_c), rate_stage_non_inferior(n_b, x_b, n_c, x_c, 0.01)];
        for stage in stages.into_iter().flatten() {
            prop_assert!(stage.diff.is_finite() && stage.information > 0.0, "{stage:?}");
            prop_assert!((1.0..=100.0).contains(&stage.deff));
        }
        if let Some(test) = rank_sum::from_counts(&[x1, x2, 0], &[n1, 0, n2]) {
            prop_assert!(test.z.is_finite() && (0.0..=1.0).contains(&test.auc), "{test:?}");
            prop_assert!(test.corrected.two_sided <= 1.0 && !test.ln_p_greater.is_nan());
        }
        let ln_e = srm::ln_e(&[n1, n2], &[0.95, 0.05], srm::CONCENTRATION);
        prop_assert!(ln_e.is_finite(), "{ln_e}");
    }

    #[test]
    fn numbers_of_any_size_give_numbers(s in number(), v in number(), rho in number(), alpha in number()) {
        prop_assert!(!ln_e_one_sided(s, v, rho).is_nan());
        prop_assert!(!ln_e_two_sided(s, v, rho).is_nan());
        prop_assert!(bound_one_sided(v, rho, alpha) >= 0.0);
        prop_assert!(bound_two_sided(v, rho, alpha) >= 0.0);
        prop_assert!((0.0..=1.0).contains(&always_valid_p(s)));
        prop_assert!(!ln_mean_e(&[s, v, rho]).is_nan());
        let tuned = tuned_rho(s, alpha);
        prop_assert!(!ln_e_one_sided(1.0, 1.0, tuned).is_nan());
        let level = QuantileLevel { quantile: s, rho, alpha };
        prop_assert!(!level.rank_half_width(v, s).is_nan());
        prop_assert!(!first_error::ln_e(7, 9, s).is_nan());
        prop_assert!(!srm::ln_e(&[3, 4], &[s, v], rho).is_nan());
        let counts = TwoCounts { x_baseline: 1, n_baseline: 10, x_canary: 2, n_canary: 10 };
        let low = two_proportion_z(counts, s).unwrap().newcombe.low;
        prop_assert!(low.is_finite());
    }

    #[test]
    fn distributions_stay_within_their_range(a in 1e-6..1e7_f64, b in 1e-6..1e7_f64, x in 0.0..=1.0_f64, z in number()) {
        let (lower, upper) = (beta::ln_lower(a, b, x), beta::ln_upper(a, b, x));
        prop_assert!(lower <= 0.0 && upper <= 0.0, "{lower} {upper}");
        prop_assert!((lower.exp() + upper.exp() - 1.0).abs() < 1e-9);
        prop_assert!(gamma::ln_upper(a, a * x * 3.0) <= 0.0);
        prop_assert!(gamma::ln_upper(a, b) <= 0.0);
        prop_assert!(z.is_nan() || (0.0..=1.0).contains(&normal::cdf(z)));
        prop_assert!(z.is_nan() || normal::ln_cdf(z) <= 0.0);
        prop_assert!(z.is_nan() || beta::ln_student_sf(z, a) <= 0.0);
    }
}

/// ln P(Bin = k) for k = 0..=m, from sums of logarithms.
fn ln_binomial(m: u64, p: f64) -> Vec<f64> {
    let mut ln_ways = 0.0;
    (0..=m)
        .map(|k| {
            if k > 0 {
                ln_ways += ((m - k + 1) as f64).ln() - (k as f64).ln();
            }
            ln_ways + k as f64 * p.ln() + (m - k) as f64 * (1.0 - p).ln()
        })
        .collect()
}

#[test]
fn the_first_error_process_is_worth_one_on_average_under_the_null() {
    for (m, share) in [(1, 0.05), (7, 0.5), (40, 0.25), (300, 0.05), (300, 0.8)] {
        let mean = |p: f64| -> f64 {
            let weights = ln_binomial(m, p);
            (0..=m)
                .map(|k| (weights[k as usize] + first_error::ln_e(k, m, share)).exp())
                .sum()
        };
        assert!(
            (mean(share) - 1.0).abs() < 1e-9,
            "{m} {share}: {}",
            mean(share)
        );
        // A better canary: less.
        assert!(mean(0.9 * share) < 1.0);
    }
}

#[test]
fn watching_the_first_error_process_all_the_time_crosses_within_its_rate() {
    // The exact probability that E ever reaches 1/α within 1,500 erring users, if the canary is no worse.
    for (share, alpha) in [(0.05, 0.05), (0.25, 0.0125), (0.5, 0.05)] {
        let threshold = -f64::ln(alpha);
        let (mut alive, mut crossed) = (vec![1.0], 0.0);
        for m in 1..=1500_u64 {
            let mut next = vec![0.0; alive.len() + 1];
            for (k, &weight) in alive.iter().enumerate() {
                next[k] += weight * (1.0 - share);
                next[k + 1] += weight * share;
            }
            for (k, weight) in next.iter_mut().enumerate() {
                if *weight > 0.0 && first_error::ln_e(k as u64, m, share) >= threshold {
                    crossed += *weight;
                    *weight = 0.0;
                }
            }
            alive = next;
        }
        assert!(crossed <= alpha, "{share} {alpha}: {crossed}");
        assert!(
            crossed > 0.1 * alpha,
            "so conservative that it is suspicious: {crossed}"
        );
    }
}

#[test]
fn the_sample_ratio_process_is_worth_one_on_average() {
    for (n, share) in [(1_u64, 0.05), (20, 0.5), (200, 0.05)] {
        let weights = ln_binomial(n, share);
        let mean: f64 = (0..=n)
            .map(|x| {
                let ln_e = srm::ln_e(&[n - x, x], &[1.0 - share, share], srm::CONCENTRATION);
                (weights[x as usize] + ln_e).exp()
            })
            .sum();
        assert!((mean - 1.0).abs() < 1e-9, "{n} {share}: {mean}");
    }
}
