//! Sample ratio, client-side failures, first bytes, the fixed horizon, proofs, and the canary's own past.

use serin_config::model::{Method, Metric, OnBreach};
use serin_stats::snapshot::{Arm, Outcome, StageSnapshot};

use super::super::{AlarmKind, Evidence, Policy, Recommendation, Report, Rule, Verdict};
use super::{Stage, errors_only, guardrail, judge, latency_stage, policy, rule, stage};

/// Users seen first: so many on baseline, so many on the canary.
fn seen(mut stage: Stage, baseline: usize, canary: usize) -> Stage {
    for slot in 0..baseline {
        stage.0.seen.baseline.insert(slot);
    }
    for slot in baseline..baseline + canary {
        stage.0.seen.canary.insert(slot);
    }
    stage
}

fn alarms(report: &Report) -> Vec<AlarmKind> {
    report.alarms.iter().map(|alarm| alarm.kind).collect()
}

#[test]
fn users_in_another_proportion_than_declared_hold_the_rollout() {
    let good = || stage(0.05, (0, 19_000), (0, 1_000));
    let right = judge(&[seen(good(), 9_500, 500)], &errors_only(|_| {}));
    assert!(alarms(&right).is_empty());
    assert_eq!(
        (right.sample_ratio.baseline, right.sample_ratio.canary),
        (9_500, 500)
    );
    let wrong = [seen(good(), 9_500, 1_000)];
    let report = judge(&wrong, &errors_only(|_| {}));
    assert_eq!(alarms(&report), [AlarmKind::SampleRatioMismatch]);
    assert!(report.judgement().hold.is_some());
    assert_eq!(report.recommendation, Recommendation::MonitorClosely);
    assert!(report.sample_ratio.p_value < 0.001);
    assert!(report.sample_ratio.chi_squared.unwrap().p_value < 1e-6);
    let mut warns = errors_only(|_| {});
    warns.on_sample_ratio_mismatch = OnBreach::Warn;
    let report = judge(&wrong, &warns);
    assert!(!report.alarms.is_empty() && report.judgement().hold.is_none());
    warns.on_sample_ratio_mismatch = OnBreach::Rollback;
    assert_eq!(
        rule(&judge(&wrong, &warns)),
        Some(Rule::SampleRatioMismatch)
    );
}

#[test]
fn a_user_is_seen_once_and_by_the_first_arm() {
    let mut first = seen(stage(0.25, (0, 100), (0, 100)), 300, 100).0;
    let mut evidence = Evidence::new(0);
    evidence.absorb(std::slice::from_ref(&first), 1_000);
    evidence.absorb(std::slice::from_ref(&first), 2_000);
    // They move to the canary when its share rises; nobody new came.
    std::mem::swap(&mut first.seen.baseline, &mut first.seen.canary);
    first.epoch = 2;
    evidence.absorb(std::slice::from_ref(&first), 3_000);
    let ratio = evidence.judge(&errors_only(|_| {}), 3_000).sample_ratio;
    assert_eq!((ratio.baseline, ratio.canary), (300, 100));
}

#[test]
fn users_whom_a_new_split_moves_between_two_looks_are_missing_nowhere() {
    // Users all along the key space, each of whom comes again after every change.
    let under = |epoch: u64, share: f64| {
        let mut stage = stage(share, (0, 0), (0, 0)).0;
        (stage.epoch, stage.share) = (epoch, share);
        for slot in 0..4_000 {
            let is_canary = (slot as f64 + 0.5) / 4_000.0 < share;
            let arm = [Arm::Baseline, Arm::Canary][usize::from(is_canary)];
            stage.seen.get_mut(arm).insert(slot);
        }
        stage
    };
    for [before, after] in [[0.05, 0.9], [0.9, 0.05], [0.1, 0.95], [0.5, 0.2]] {
        let mut evidence = Evidence::new(0);
        evidence.absorb(&[under(1, before), under(2, after)], 1_000);
        let ratio = evidence.judge(&errors_only(|_| {}), 1_000).sample_ratio;
        let canary = (4_000.0 * before) as u64;
        assert_eq!((ratio.baseline, ratio.canary), (4_000 - canary, canary));
        assert_eq!(ratio.p_value, 1.0, "{before} -> {after}");
    }
}

fn with(stage: Stage, outcome: Outcome, baseline: u64, canary: u64) -> Stage {
    stage
        .add(Arm::Baseline, outcome, baseline)
        .add(Arm::Canary, outcome, canary)
}

#[test]
fn what_clients_have_a_part_in_is_compared() {
    for (metric, outcome) in [
        (Metric::RejectedRate, Outcome::Rejected),
        (Metric::AbortedRate, Outcome::Aborted),
    ] {
        let limits = policy(vec![guardrail(metric)]);
        let mostly_good = || stage(0.2, (0, 4_000), (0, 1_000));
        // Bad requests of clients fall on both arms alike.
        let alike = with(mostly_good(), outcome, 400, 100);
        assert_eq!(rule(&judge(&[alike], &limits)), None);
        // Baseline need not have any.
        let report = judge(&[with(mostly_good(), outcome, 0, 300)], &limits);
        let breach = report.breach.unwrap();
        assert_eq!((breach.rule, breach.metric), (Rule::Guardrail, metric));
        assert!(
            breach.sentence.starts_with(metric.name()),
            "{}",
            breach.sentence
        );
        // One user's own trouble is his own.
        let mut lonely = with(mostly_good(), outcome, 0, 300);
        let counts = &mut lonely.0.arms.canary;
        let buckets = match outcome {
            Outcome::Rejected => &mut counts.rejected,
            _ => &mut counts.aborted,
        };
        let all: u64 = buckets.0.iter().sum();
        buckets.0.fill(0);
        buckets.0[7] = all;
        counts.requests.0[7] += all;
        assert_eq!(rule(&judge(&[lonely], &limits)), None);
    }
}

#[test]
fn first_bytes_are_compared_like_whole_responses() {
    let (slow, mut limits) = latency_stage(1_000, 1.5);
    limits.guardrails = vec![guardrail(Metric::TtftP95)];
    let reference = {
        let mut before = slow.0.clone();
        before.epoch = 0;
        before.arms.canary = Default::default();
        before.arms.baseline.latency.first_byte = before.arms.baseline.latency.total.clone();
        before.arms.baseline.latency.measured = Default::default();
        before
    };
    let mut now = slow.0.clone();
    for arm in Arm::ALL {
        let latency = &mut now.arms.get_mut(arm).latency;
        latency.first_byte = latency.total.clone();
    }
    let mut evidence = Evidence::new(0);
    evidence.absorb(std::slice::from_ref(&reference), 1_000);
    evidence.judge(&limits, 1_000);
    evidence.absorb(&[reference, now], 2_000);
    let report = evidence.judge(&limits, 2_000);
    let breach = report.breach.unwrap();
    assert_eq!(
        (breach.rule, breach.metric),
        (Rule::Guardrail, Metric::TtftP95)
    );
    assert!(report.guardrails[0].classic.mann_whitney.unwrap().auc > 0.6);
}

#[test]
fn every_latency_guardrail_has_its_part_of_the_latencies_share() {
    let one = policy(vec![guardrail(Metric::LatencyP95)]);
    let metrics = [Metric::LatencyP50, Metric::LatencyP99, Metric::TtftP95];
    let several = policy(metrics.map(guardrail).to_vec());
    assert_eq!(one.share_of(Metric::LatencyP95), 0.010);
    assert!((several.share_of(Metric::TtftP95) - 0.010 / 3.0).abs() < 1e-15);
    let rates = [Metric::ErrorRate, Metric::RejectedRate, Metric::AbortedRate];
    let shares = rates.iter().chain(&metrics);
    let all: f64 = shares.map(|&metric| several.share_of(metric)).sum();
    assert!(all + several.recent_break_share() < 0.05 + 1e-12);
}

#[test]
fn leaving_the_first_step_asks_for_twice_the_margin() {
    let report = |step| {
        let mut limits = errors_only(|_| {});
        limits.step = step;
        judge(&[stage(0.05, (0, 19_000), (0, 1_000))], &limits)
    };
    let first = report(Some(0));
    assert_eq!(first.recommendation, Recommendation::ProceedToFullRollout);
    assert_eq!(first.guardrails[0].proof.margin, 0.01);
    assert_eq!(
        report(Some(1)).recommendation,
        Recommendation::MonitorClosely
    );
    assert_eq!(report(None).guardrails[0].proof.margin, 0.005);
}

#[test]
fn a_clean_canary_is_proven_clean_by_a_clean_baseline() {
    // No error anywhere: no variance to be seen, and still a proof, with the forecast number of requests.
    let report = |canary: u64| {
        let mut limits = errors_only(|_| {});
        limits.step = Some(0);
        judge(&[stage(0.05, (0, 19 * canary), (0, canary))], &limits)
    };
    assert_eq!(
        report(900).recommendation,
        Recommendation::ProceedToFullRollout
    );
    let young = report(500);
    assert_eq!(young.recommendation, Recommendation::MonitorClosely);
    assert_eq!(young.reason, "error_rate inconclusive: 500 of ~840 samples");
}

#[test]
fn a_step_needs_two_hundred_requests_of_its_own() {
    let mut limits = errors_only(|_| {});
    let before = stage(0.25, (0, 30_000), (0, 10_000)).0;
    let now = |canary: u64| StageSnapshot {
        epoch: 2,
        ..stage(0.5, (0, canary), (0, canary)).0
    };
    limits.step_epoch = 2;
    let report = |canary: u64| {
        let stages = [Stage(before.clone()), Stage(now(canary))];
        judge(&stages, &limits)
    };
    assert_eq!(
        report(199).reason,
        "199 of 200 canary requests in this step"
    );
    assert_eq!(
        report(200).recommendation,
        Recommendation::ProceedToFullRollout
    );
}

fn fixed(at_samples: u64) -> Policy {
    let mut limits = errors_only(|_| {});
    limits.analysis.method = Method::FixedHorizon { at_samples };
    limits
}

#[test]
fn the_fixed_horizon_decides_once() {
    let limits = fixed(2_000);
    let mut evidence = Evidence::new(0);
    let mut look = |snapshot: Stage, now_ms| {
        let mut snapshot = snapshot.0;
        snapshot.erred = Default::default();
        evidence.absorb(&[snapshot], now_ms);
        evidence.judge(&limits, now_ms)
    };
    // Bad as it looks, it is not looked at yet.
    let early = look(stage(0.5, (20, 1_900), (60, 1_900)), 1_000);
    assert_eq!(rule(&early), None);
    assert_eq!(
        early.reason,
        "error_rate inconclusive: 1,900 of 2,000 samples"
    );
    assert_eq!(early.guardrails[0].p_value, 1.0);
    assert!(early.guardrails[0].classic.used_for_decisions);
    // Now; and what it says stays, however the numbers go on.
    let settled = look(stage(0.5, (60, 2_100), (60, 2_100)), 2_000);
    assert_eq!(
        (rule(&settled), settled.guardrails[0].verdict),
        (None, Verdict::Inconclusive)
    );
    let p = settled.guardrails[0].p_value;
    let later = look(stage(0.5, (60, 20_000), (400, 20_000)), 3_000);
    assert_eq!((rule(&later), later.guardrails[0].p_value), (None, p));
    assert!(
        later.reason.contains("at the declared size"),
        "{}",
        later.reason
    );

    let mut worse = stage(0.5, (20, 2_000), (60, 2_000));
    worse.0.erred = Default::default();
    let report = judge(&[worse], &fixed(2_000));
    assert_eq!(rule(&report), Some(Rule::Guardrail));
    assert!(report.breach.unwrap().sentence.contains("once"));
    let report = judge(&[stage(0.5, (20, 20_000), (20, 20_000))], &fixed(2_000));
    assert_eq!(report.recommendation, Recommendation::ProceedToFullRollout);
}

#[test]
fn a_fixed_horizon_is_no_licence_to_fail() {
    let report = judge(&[stage(0.05, (0, 95), (5, 5))], &fixed(10_000));
    assert_eq!(rule(&report), Some(Rule::Catastrophe));
}

#[test]
fn with_a_small_holdback_the_canary_is_compared_with_its_own_past() {
    let before = stage(0.5, (100, 10_000), (100, 10_000)).0;
    let failing = |requests: u64| {
        let mut now = stage(0.95, (0, 10), (requests, requests)).0;
        now.epoch = 2;
        now
    };
    let mut limits = errors_only(|_| {});
    limits.step_epoch = 2;
    limits.share = 0.95;
    let took = (1..400).find(|&requests| {
        let mut evidence = Evidence::new(0);
        evidence.absorb(std::slice::from_ref(&before), 1_000);
        // Half an hour of health later.
        evidence.absorb(&[], 1_800_000);
        evidence.absorb(&[before.clone(), failing(requests)], 1_801_000);
        let report = evidence.judge(&limits, 1_801_000);
        rule(&report) == Some(Rule::RecentBreak)
    });
    // First errors alone would need about 120 users.
    assert!(took.is_some_and(|took| took <= 80), "{took:?}");
}

#[test]
fn at_a_hundred_percent_there_is_no_proof_to_wait_for() {
    let mut limits = errors_only(|_| {});
    limits.share = 1.0;
    let everybody = |requests| stage(1.0, (0, 0), (0, requests));
    let report = judge(&[everybody(300)], &limits);
    assert_eq!(report.recommendation, Recommendation::ProceedToFullRollout);
    let report = judge(&[everybody(10)], &limits);
    assert_eq!(report.recommendation, Recommendation::MonitorClosely);
    assert_eq!(report.reason, "10 of 200 canary requests in this step");
}

#[test]
fn a_step_that_lasts_too_long_holds_and_says_so() {
    let mut limits = errors_only(|_| {});
    limits.overdue = true;
    let report = judge(&[stage(0.5, (95, 20_000), (95, 20_000))], &limits);
    assert_eq!(alarms(&report), [AlarmKind::StepStuck]);
    assert!(report.judgement().overdue && report.judgement().hold.is_some());
    assert!(
        report.reason.starts_with("step 2 of 3 is stuck"),
        "{}",
        report.reason
    );
}

#[test]
fn what_is_surely_within_the_margin_may_go_on_however_significant() {
    // A tenth of a point worse, known to a hair, where half a point is tolerated.
    let report = judge(
        &[stage(0.5, (1_000, 1_000_000), (2_000, 1_000_000))],
        &errors_only(|_| {}),
    );
    assert_eq!(report.guardrails[0].verdict, Verdict::Successful);
    assert!(report.guardrails[0].p_value < 1e-9 && report.step_up);
    assert_eq!(report.recommendation, Recommendation::MonitorClosely);
    assert!(
        report.reason.contains("proven to be within"),
        "{}",
        report.reason
    );
}
