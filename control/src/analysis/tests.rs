//! Rules, thresholds and reports, on counts made by hand.

use std::time::Duration;

use serin_config::model::{Analysis, Guardrail, Margin, Method, Metric, OnBreach};
use serin_stats::cluster::{combine, rate_stage};
use serin_stats::histogram::Histogram;
use serin_stats::sequential::tuned_rho;
use serin_stats::snapshot::{Arm, Outcome, StageSnapshot};
use serin_stats::split::LatencyReference;

use super::{AlarmKind, Evidence, Policy, Recommendation, Report, Rule, Verdict};

mod properties;
mod rules;

/// Users of each arm are spread over all buckets; slots of the two arms never meet.
struct Stage(StageSnapshot);

impl Stage {
    fn new(epoch: u64, share: f64) -> Self {
        Self(StageSnapshot {
            epoch,
            share,
            ..StageSnapshot::default()
        })
    }

    /// Adds requests of one outcome, each of another user.
    fn add(mut self, arm: Arm, outcome: Outcome, n: u64) -> Self {
        let counts = self.0.arms.get_mut(arm);
        let before = counts.total() as usize;
        counts.outcomes[outcome as usize] += n;
        for i in before..before + n as usize {
            counts.requests.0[i % 256] += 1;
            match outcome {
                Outcome::Success => {}
                Outcome::Error => {
                    counts.errors.0[i % 256] += 1;
                    let slot = i % 30_000 + 30_000 * (arm as usize);
                    self.0.erred.get_mut(arm).insert(slot);
                }
                Outcome::Rejected => counts.rejected.0[i % 256] += 1,
                Outcome::Aborted => counts.aborted.0[i % 256] += 1,
            }
        }
        self
    }

    /// Adds measured latencies, one request each, ranked against the reference.
    fn measure(mut self, arm: Arm, reference: &LatencyReference, latencies: &[f64]) -> Self {
        self = self.add(arm, Outcome::Success, latencies.len() as u64);
        let latency = &mut self.0.arms.get_mut(arm).latency;
        for (i, &ms) in latencies.iter().enumerate() {
            let (half_rank, slow) = reference.rank(ms);
            latency.total.record(ms);
            latency.measured.0[i % 256] += 1;
            latency.slow.0[i % 256] += u64::from(slow);
            latency.half_ranks.0[i % 256] += u64::from(half_rank);
        }
        self
    }
}

fn guardrail(metric: Metric) -> Guardrail {
    Guardrail {
        metric,
        max_increase: match metric {
            Metric::ErrorRate => Margin {
                absolute: Some(0.005),
                relative: None,
            },
            _ if metric.is_rate() => Margin {
                absolute: Some(0.01),
                relative: None,
            },
            _ => Margin {
                absolute: Some(50.0),
                relative: Some(0.1),
            },
        },
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    }
}

fn policy(guardrails: Vec<Guardrail>) -> Policy {
    Policy {
        guardrails,
        analysis: Analysis {
            interval: Duration::from_secs(5),
            alpha: 0.05,
            method: Method::Sequential,
            warmup: Duration::ZERO,
        },
        on_breach: OnBreach::Rollback,
        on_sample_ratio_mismatch: OnBreach::Hold,
        step_epoch: 1,
        step: Some(1),
        steps: 3,
        shadow_steps: 0,
        share: 0.05,
        step_min_samples: 0,
        dwell_left_ms: 0,
        overdue: false,
        reference_total: None,
        shadow: crate::analysis::ShadowPolicy::default(),
    }
}

fn errors_only(change: impl Fn(&mut Guardrail)) -> Policy {
    let mut rule = guardrail(Metric::ErrorRate);
    change(&mut rule);
    policy(vec![rule])
}

fn judge(stages: &[Stage], policy: &Policy) -> Report {
    let mut evidence = Evidence::new(0);
    let stages: Vec<StageSnapshot> = stages.iter().map(|stage| stage.0.clone()).collect();
    evidence.absorb(&stages, 1_000);
    evidence.judge(policy, 1_000)
}

/// A stage with these errors among these requests: (errors, requests) of baseline and of the canary.
fn stage(share: f64, baseline: (u64, u64), canary: (u64, u64)) -> Stage {
    let mut stage = Stage::new(1, share);
    for (arm, (errors, requests)) in [(Arm::Baseline, baseline), (Arm::Canary, canary)] {
        stage =
            stage
                .add(arm, Outcome::Error, errors)
                .add(arm, Outcome::Success, requests - errors);
    }
    stage
}

fn rule(report: &Report) -> Option<Rule> {
    report.breach.as_ref().map(|breach| breach.rule)
}

#[test]
fn no_data_and_thin_data_are_inconclusive() {
    let policy = policy(vec![
        guardrail(Metric::ErrorRate),
        guardrail(Metric::LatencyP95),
    ]);
    for stages in [
        vec![],
        vec![stage(0.05, (0, 0), (1, 1))],
        vec![stage(0.05, (0, 9), (0, 0))],
    ] {
        let report = judge(&stages, &policy);
        assert_eq!(report.recommendation, Recommendation::MonitorClosely);
        assert_eq!(rule(&report), None);
        for guardrail in &report.guardrails {
            assert_eq!(guardrail.verdict, Verdict::Inconclusive);
            assert_eq!((guardrail.effect, guardrail.p_value), (None, 1.0));
        }
    }
    let report = judge(&[stage(0.05, (0, 190), (0, 10))], &policy);
    assert_eq!(
        report.reason,
        "error_rate inconclusive: 10 of ~1,500 samples"
    );
}

#[test]
fn a_release_that_is_proven_not_worse_is_successful() {
    let report = judge(
        &[stage(0.5, (100, 20_000), (95, 20_000))],
        &errors_only(|_| {}),
    );
    assert_eq!(report.guardrails[0].verdict, Verdict::Successful);
    assert_eq!(report.recommendation, Recommendation::ProceedToFullRollout);
    // Not before the step has lasted long enough.
    let mut young = errors_only(|_| {});
    young.dwell_left_ms = 1;
    let report = judge(&[stage(0.5, (100, 20_000), (95, 20_000))], &young);
    assert_eq!(report.recommendation, Recommendation::MonitorClosely);
}

#[test]
fn worse_beyond_chance_but_within_the_margin_is_watched() {
    let report = judge(
        &[stage(0.5, (100, 50_000), (300, 50_000))],
        &errors_only(|_| {}),
    );
    assert_eq!(rule(&report), None);
    assert!(!report.step_up);
    assert!(report.guardrails[0].p_value < 0.025);
    assert_eq!(report.recommendation, Recommendation::MonitorClosely);
    assert!(
        report.reason.contains("within its margin"),
        "{}",
        report.reason
    );
}

#[test]
fn a_breach_names_its_rule_its_counts_and_its_p_values() {
    let report = judge(&[stage(0.05, (4, 1_900), (5, 20))], &errors_only(|_| {}));
    let breach = report.breach.unwrap();
    assert_eq!(report.recommendation, Recommendation::RollbackImmediately);
    assert_eq!(
        (
            breach.canary_requests,
            breach.canary_errors,
            breach.canary_users
        ),
        (20, 5, 5)
    );
    assert_eq!(breach.rule, Rule::Catastrophe);
    assert!(breach.p_value.unwrap() < 1.0 / 80.0);
    assert!(breach.classic_p.unwrap() < 1e-6);
    for part in [
        "catastrophe",
        "5 of 20 canary requests",
        "5 users",
        "always-valid p",
    ] {
        assert!(breach.sentence.contains(part), "{}", breach.sentence);
    }
}

#[test]
fn what_a_breach_does_is_the_guardrails_choice_and_a_dry_run_only_shows() {
    let broken = || [stage(0.05, (19, 1_900), (50, 100))];
    for (on_breach, holds) in [(OnBreach::Hold, true), (OnBreach::Warn, false)] {
        let report = judge(&broken(), &errors_only(|rule| rule.on_breach = on_breach));
        assert_eq!(report.recommendation, Recommendation::MonitorClosely);
        assert_eq!(report.breach.as_ref().unwrap().on_breach, on_breach);
        assert_eq!(report.alarms[0].kind, AlarmKind::Breach);
        assert_eq!(report.judgement().hold.is_some(), holds);
    }
    let report = judge(&broken(), &errors_only(|rule| rule.dry_run = true));
    assert_eq!((rule(&report), report.alarms.len()), (None, 0));
    assert_eq!(report.guardrails[0].verdict, Verdict::Failed);
}

#[test]
fn a_guardrail_that_warns_does_not_hide_one_that_rolls_back() {
    let (slow, mut limits) = latency_stage(1_000, 1.5);
    let mut errors = guardrail(Metric::ErrorRate);
    errors.on_breach = OnBreach::Warn;
    limits.guardrails.insert(0, errors);
    let slow_and_failing = slow.add(Arm::Canary, Outcome::Error, 50);
    let report = judge(&[slow_and_failing], &limits);
    assert_eq!(report.recommendation, Recommendation::RollbackImmediately);
    assert_eq!(report.breach.unwrap().metric, Metric::LatencyP95);
    assert_eq!(report.alarms[0].kind, AlarmKind::Breach);
}

#[test]
fn min_samples_keeps_a_guardrail_silent_but_not_the_catastrophe() {
    let slow_evidence = || [stage(0.05, (190, 19_000), (24, 1_000))];
    let early = errors_only(|_| {});
    let late = errors_only(|rule| rule.min_samples = 1_001);
    assert_eq!(
        rule(&judge(&slow_evidence(), &early)),
        Some(Rule::Guardrail)
    );
    assert_eq!(rule(&judge(&slow_evidence(), &late)), None);
    let broken = [stage(0.05, (0, 95), (5, 5))];
    assert_eq!(rule(&judge(&broken, &late)), Some(Rule::Catastrophe));
}

#[test]
fn an_absolute_limit_takes_back_a_canary_beyond_it_unless_baseline_is_too() {
    // Equally bad in relation: only the limit can tell.
    let limit = |max| {
        errors_only(|rule| {
            rule.max = Some(max);
            rule.max_increase.absolute = Some(0.9);
        })
    };
    let both = || [stage(0.5, (1_200, 10_000), (1_400, 10_000))];
    let report = judge(&both(), &limit(0.05));
    assert_eq!(rule(&report), None);
    assert_eq!(report.alarms[0].kind, AlarmKind::BothBeyondLimit);
    assert!(report.judgement().hold.is_some());
    let report = judge(&both(), &limit(0.125));
    assert_eq!(rule(&report), Some(Rule::AbsoluteLimit));
    let report = judge(&both(), &limit(0.2));
    assert_eq!((rule(&report), report.alarms.len()), (None, 0));
    // One noisy minute proves nothing.
    let report = judge(&[stage(0.05, (0, 400), (3, 20))], &limit(0.05));
    assert_eq!(rule(&report), None);
}

#[test]
fn alpha_scales_every_threshold() {
    let stages = || [stage(0.05, (4, 1_900), (5, 20))];
    assert!(rule(&judge(&stages(), &errors_only(|_| {}))).is_some());
    let mut strict = errors_only(|_| {});
    strict.analysis.alpha = 0.0005;
    assert_eq!(rule(&judge(&stages(), &strict)), None);
}

fn latencies(n: usize, slower: f64) -> Vec<f64> {
    // A log-normal shape by its quantiles.
    (0..n)
        .map(|i| {
            let u = (i as f64 + 0.5) / n as f64;
            100.0 * slower * ((u / (1.0 - u)).ln() * 0.3).exp()
        })
        .collect()
}

fn latency_stage(canary: usize, slower: f64) -> (Stage, Policy) {
    ranked(&latencies(4 * canary, 1.0), &latencies(canary, slower))
}

/// These latencies of baseline and of the canary, ranked against baseline as it was.
fn ranked(baseline: &[f64], canary: &[f64]) -> (Stage, Policy) {
    let mut histogram = Histogram::default();
    latencies(1_000, 1.0)
        .iter()
        .for_each(|&ms| histogram.record(ms));
    let reference = LatencyReference::freeze(histogram).unwrap();
    let stage = Stage::new(1, 0.2)
        .measure(Arm::Baseline, &reference, baseline)
        .measure(Arm::Canary, &reference, canary);
    let mut policy = policy(vec![guardrail(Metric::LatencyP95)]);
    policy.reference_total = Some(reference.total());
    (stage, policy)
}

#[test]
fn a_slow_canary_breaks_the_latency_guardrail_and_an_equal_one_passes_it() {
    let check = |canary, slower, verdict| {
        let (stage, policy) = latency_stage(canary, slower);
        let report = judge(&[stage], &policy);
        let shown = &report.guardrails[0];
        assert_eq!(shown.verdict, verdict, "{canary} {slower}: {shown:?}");
        shown.clone()
    };
    let slow = check(1_000, 1.5, Verdict::Failed);
    assert!(slow.effect.unwrap() > 50.0 && slow.p_value < 0.01);
    assert!(slow.classic.mann_whitney.unwrap().auc > 0.6);
    check(99, 3.0, Verdict::Inconclusive);
    check(100, 3.0, Verdict::Failed);
    // Slower beyond chance, but within 50 ms.
    check(2_000, 1.1, Verdict::Inconclusive);
    let equal = check(20_000, 1.0, Verdict::Successful);
    let [low, high] = equal.interval.unwrap();
    assert!(low < 0.0 && high > 0.0 && high < 50.0);
    assert!(equal.effect.unwrap().abs() < 1.0);
}

#[test]
fn stages_are_combined_and_never_pooled() {
    // Simpson: in each stage the arms are equal, but the busy canary stage has the higher rate.
    let mut second = stage(0.5, (300, 3_000), (300, 3_000));
    second.0.epoch = 2;
    second.0.erred = Default::default();
    let first = stage(0.05, (190, 19_000), (10, 1_000));
    let report = judge(&[first, second], &errors_only(|_| {}));
    let shown = &report.guardrails[0];
    assert!(shown.canary.unwrap() > 2.0 * shown.baseline.unwrap());
    assert!(shown.effect.unwrap().abs() < 1e-12);
    assert_eq!(rule(&report), None);
    // The fixed-horizon test falls for it.
    assert!(shown.classic.two_proportion_z.unwrap().p_value < 1e-9);
}

#[test]
fn absorbing_a_snapshot_twice_changes_nothing() {
    let snapshot = [stage(0.05, (19, 1_900), (3, 100)).0];
    let mut evidence = Evidence::new(0);
    evidence.absorb(&snapshot, 1_000);
    let once = evidence.clone().judge(&errors_only(|_| {}), 2_000);
    evidence.absorb(&snapshot, 1_500);
    assert_eq!(evidence.judge(&errors_only(|_| {}), 2_000), once);
    // A recorder that started over must not take anything away.
    evidence.absorb(&[stage(0.05, (0, 1), (0, 1)).0], 1_600);
    assert_eq!(evidence.judge(&errors_only(|_| {}), 2_000), once);
}

#[test]
fn many_stages_are_folded_without_changing_the_error_tests() {
    let policy = errors_only(|_| {});
    let snapshots: Vec<StageSnapshot> = (1..=60)
        .map(|epoch| {
            let mut one = stage(0.1, (9, 900), (1, 100)).0;
            one.epoch = epoch;
            one.erred = Default::default();
            one
        })
        .collect();
    let mut evidence = Evidence::new(0);
    for snapshot in &snapshots {
        evidence.absorb(std::slice::from_ref(snapshot), 1_000 * snapshot.epoch);
        evidence.judge(&policy, 1_000 * snapshot.epoch);
    }
    let folded = evidence.judge(&policy, 60_000);
    assert!(evidence.stages.len() < 30);
    assert_eq!(folded.arms.canary.requests, 6_000);
    let stages: Vec<_> = snapshots
        .iter()
        .map(|snapshot| {
            let counts = |arm: Arm| {
                let counts = snapshot.arms.get(arm);
                (&counts.requests.0[..], &counts.errors.0[..])
            };
            let ((n_b, x_b), (n_c, x_c)) = (counts(Arm::Baseline), counts(Arm::Canary));
            rate_stage(n_b, x_b, n_c, x_c).unwrap()
        })
        .collect();
    let apart = combine(&stages).unwrap();
    let reach = apart.half_width(tuned_rho(0.005, 0.05), 0.025);
    let [low, high] = folded.guardrails[0].interval.unwrap();
    let (low_apart, high_apart) = (apart.diff - reach, apart.diff + reach);
    assert!((low - low_apart).abs() < 1e-12 && (high - high_apart).abs() < 1e-12);
    // What comes late for a folded stage is not counted twice.
    evidence.absorb(&snapshots, 61_000);
    assert_eq!(evidence.judge(&policy, 61_000).arms.canary.requests, 6_000);
}

#[test]
fn the_reference_is_due_at_a_thousand_and_keeps_its_shape_when_thinned() {
    let mut histogram = Histogram::default();
    latencies(1_000, 1.0)
        .iter()
        .for_each(|&ms| histogram.record(ms));
    let reference = LatencyReference::freeze(histogram).unwrap();
    let after = |n: usize| {
        let mut evidence = Evidence::new(0);
        let stage = Stage::new(1, 0.2).measure(Arm::Baseline, &reference, &latencies(n, 1.0));
        evidence.absorb(&[stage.0], 1_000);
        evidence.due_reference()
    };
    assert_eq!(after(999), None);
    assert_eq!(after(1_000).unwrap().total(), 1_000);
    let thinned = after(40_000).unwrap();
    assert_eq!(thinned.total(), 10_000);
    let (small, large) = (after(10_000).unwrap(), thinned);
    for q in [0.05, 0.5, 0.95, 0.99] {
        let quantile = |reference: &LatencyReference| reference.histogram().quantile_ms(q).unwrap();
        assert!(
            (quantile(&small) / quantile(&large) - 1.0).abs() < 0.02,
            "{q}"
        );
    }
}
