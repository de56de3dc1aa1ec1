//! What copies prove, and what they do not.

use std::time::Duration;

use serin_config::model::{Analysis, Guardrail, Margin, Method, Metric, OnBreach};
use serin_stats::shadow::{CopyResult, ShadowCounts, Target};
use serin_stats::snapshot::StageSnapshot;

use super::super::{Evidence, Policy, Report, Rule, explain};
use super::ShadowPolicy;

/// Copies of one epoch in the making; users are spread over the buckets.
#[derive(Default)]
struct Copied {
    counts: ShadowCounts,
    user: usize,
}

impl Copied {
    /// So many pairs of a copy that ended so and an original that succeeded or not.
    fn add(&mut self, n: usize, result: CopyResult, baseline_ok: bool) -> &mut Self {
        for _ in 0..n {
            let bucket = self.user % 256;
            self.user += 1;
            let counts = &mut self.counts;
            counts.results[result as usize] += 1;
            counts.paired.0[bucket] += 1;
            match (baseline_ok, result == CopyResult::Ok) {
                (true, true) => {}
                (true, false) => counts.only_shadow_failed.0[bucket] += 1,
                (false, true) => counts.only_baseline_failed.0[bucket] += 1,
                (false, false) => counts.both_failed += 1,
            }
            counts.latency.record(10.0);
            counts.baseline_latency.record(10.0);
        }
        self
    }

    fn fine(&mut self, n: usize) -> &mut Self {
        self.add(n, CopyResult::Ok, true)
    }

    fn stage(&self, epoch: u64, target: Target) -> StageSnapshot {
        StageSnapshot {
            epoch,
            shadow: [(target, self.counts.clone())].into(),
            ..StageSnapshot::default()
        }
    }
}

fn guardrail(metric: Metric, absolute: f64) -> Guardrail {
    Guardrail {
        metric,
        max_increase: Margin {
            absolute: Some(absolute),
            relative: None,
        },
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    }
}

fn policy(shadow: ShadowPolicy) -> Policy {
    Policy {
        guardrails: vec![
            guardrail(Metric::ErrorRate, 0.005),
            guardrail(Metric::LatencyP95, 50.0),
        ],
        analysis: Analysis {
            interval: Duration::from_secs(5),
            alpha: 0.05,
            method: Method::Sequential,
            warmup: Duration::ZERO,
        },
        on_breach: OnBreach::Rollback,
        step_epoch: 1,
        share: 0.0,
        step: Some(0),
        steps: 2,
        shadow_steps: 1,
        step_min_samples: 100,
        dwell_left_ms: 0,
        overdue: false,
        on_sample_ratio_mismatch: OnBreach::Hold,
        reference_total: None,
        shadow,
    }
}

fn in_step() -> Policy {
    policy(ShadowPolicy {
        in_step: true,
        ..ShadowPolicy::default()
    })
}

fn look(evidence: &mut Evidence, copied: &Copied) -> Report {
    evidence.absorb(&[copied.stage(1, Target::Canary)], 0);
    evidence.judge(&in_step(), 0)
}

/// What one look at these copies in a shadow step says.
fn judged(copied: &Copied) -> Report {
    look(&mut Evidence::new(0), copied)
}

fn rule(report: &Report) -> Option<Rule> {
    report.breach.as_ref().map(|breach| breach.rule)
}

#[test]
fn good_copies_pass_and_enter_no_arm() {
    let report = judged(Copied::default().fine(500));
    assert_eq!(rule(&report), None);
    assert_eq!(report.shadow_judgement.step_pairs, 500);
    assert_eq!(report.shadow_judgement.gate, None);
    let shadow = report.shadow.unwrap();
    assert_eq!((shadow.target.as_str(), shadow.offered), ("canary", 500));
    assert_eq!(shadow.processed, Some(1.0));
    let agreement = shadow.agreement.unwrap();
    assert!(agreement.rate >= 1.0 && agreement.interval[0] > 0.99);
    let latency = shadow.latency_p95.unwrap();
    assert_eq!(latency.met, Some(true));
    assert!((latency.limit.unwrap() - latency.baseline - 50.0).abs() < 1e-9);
    assert_eq!(
        report.arms.canary.requests + report.arms.baseline.requests,
        0
    );
}

/// Twelve users whose copies failed alone are proof enough; eight are not.
#[test]
fn copies_that_fail_alone_are_a_breach_once_it_is_proven() {
    let with = |bad| {
        judged(
            Copied::default()
                .fine(100)
                .add(bad, CopyResult::Error, true),
        )
    };
    assert_eq!(rule(&with(8)), None);
    assert!(with(8).shadow_judgement.gate.is_some());
    let report = with(12);
    assert_eq!(rule(&report), Some(Rule::Shadow));
    let breach = report.breach.unwrap();
    assert!(breach.p_value.unwrap() < 0.005 && breach.classic_p.unwrap() < 0.001);
    assert!(
        breach.sentence.starts_with(
            "shadow: 12 copied requests failed alone, their originals did in 0, of 112 compared"
        ),
        "{}",
        breach.sentence
    );
}

/// No client has met the canary, so the decision is not told in its requests.
#[test]
fn a_breach_of_copies_is_told_in_copies() {
    let mut copied = Copied::default();
    copied.fine(100).add(12, CopyResult::Error, true);
    let mut evidence = Evidence::new(0);
    evidence.absorb(&[copied.stage(1, Target::Canary)], 0);
    let (report, receipt) = evidence.judge_with_receipt(&in_step(), 0);
    let report = serde_json::to_value(report).unwrap();
    let told = explain(&serde_json::to_value(receipt).unwrap(), &report).unwrap();
    assert!(told.agrees, "{:?}", told.differences);
    let (begins, ends) = (
        "rolled back after 112 copied requests: shadow: 12 copied requests failed alone",
        "by chance in fewer than 1 of 200 such rollouts",
    );
    let sentence = &told.sentence;
    assert!(
        sentence.starts_with(begins) && sentence.ends_with(ends),
        "{sentence}"
    );
    let step = "copies to the canary: of 112 compared 12 failed alone";
    assert!(
        told.steps.iter().any(|told| told.starts_with(step)),
        "{:?}",
        told.steps
    );
}

/// Bad requests fail on both sides, and a user that repeats one counts once.
#[test]
fn bad_requests_and_single_users_prove_nothing() {
    let both = judged(
        Copied::default()
            .fine(100)
            .add(80, CopyResult::Rejected, false),
    );
    assert_eq!(rule(&both), None);
    let mut copied = Copied::default();
    copied.fine(2_000);
    for _ in 0..50 {
        copied.user = 7;
        copied.add(1, CopyResult::Error, true).fine(1);
    }
    let report = judged(&copied);
    assert_eq!(rule(&report), None);
    assert!(report.shadow_judgement.gate.is_some());
}

/// As many lone failures on either side: no breach, in whatever order they come.
#[test]
fn equally_bad_is_no_breach() {
    let (mut evidence, mut copied) = (Evidence::new(0), Copied::default());
    for _ in 0..100 {
        copied.fine(3).add(1, CopyResult::Error, true);
        copied.fine(2).add(1, CopyResult::Ok, false);
        assert_eq!(rule(&look(&mut evidence, &copied)), None);
    }
}

#[test]
fn a_target_without_a_success_is_down() {
    for result in [
        CopyResult::Error,
        CopyResult::Unreachable,
        CopyResult::Rejected,
    ] {
        let dead = |n| judged(Copied::default().add(n, result, true));
        assert!(rule(&dead(9)).is_none());
        assert_eq!(rule(&dead(20)), Some(Rule::ShadowDown), "{result:?}");
    }
    // When originals fail too, it is not the target's fault.
    let both = judged(Copied::default().add(30, CopyResult::Error, false));
    assert_eq!(rule(&both), None);
}

/// A target that dies after many successes is down after twenty copies.
#[test]
fn a_target_that_dies_is_down_soon() {
    let (mut evidence, mut copied) = (Evidence::new(0), Copied::default());
    assert_eq!(rule(&look(&mut evidence, copied.fine(10_000))), None);
    copied.add(20, CopyResult::Unreachable, true);
    assert_eq!(rule(&look(&mut evidence, &copied)), Some(Rule::ShadowDown));
}

#[test]
fn slow_copies_keep_the_step_and_break_no_rule() {
    let mut slow = Copied::default();
    slow.fine(500);
    for _ in 0..100 {
        slow.counts.latency.record(300.0);
        slow.counts.baseline_latency.record(10.0);
    }
    let report = judged(&slow);
    assert_eq!(rule(&report), None);
    let gate = report.shadow_judgement.gate.unwrap();
    assert!(gate.starts_with("the P95 of copies is "), "{gate}");
    assert_eq!(report.shadow.unwrap().latency_p95.unwrap().met, Some(false));
    // Nothing measured is no proof.
    let mut cold = Copied::default();
    cold.fine(500);
    cold.counts.latency = Default::default();
    let gate = judged(&cold).shadow_judgement.gate.unwrap();
    assert!(gate.starts_with("the latency of 0 of 100 copies"), "{gate}");
}

#[test]
fn a_standing_mirror_raises_an_alarm_and_touches_no_rollout() {
    for has_backend in [true, false] {
        let target = if has_backend {
            Target::Shadow
        } else {
            Target::Canary
        };
        let policy = policy(ShadowPolicy {
            is_mirrored: true,
            has_backend,
            ..ShadowPolicy::default()
        });
        let mut evidence = Evidence::new(0);
        let mut copied = Copied::default();
        copied.add(30, CopyResult::Error, true);
        evidence.absorb(&[copied.stage(1, target)], 0);
        let report = evidence.judge(&policy, 0);
        assert_eq!(rule(&report), None);
        let breach = report.shadow_judgement.mirror_breach.unwrap();
        assert_eq!(breach.rule, Rule::ShadowDown);
        let kinds: Vec<&str> = report
            .alarms
            .iter()
            .map(|alarm| alarm.kind.name())
            .collect();
        assert_eq!(kinds, ["shadow_breach"]);
        assert!(!report.alarms[0].holds);
    }
}

/// What an earlier mirror did is forgotten when another one begins.
#[test]
fn another_mirror_is_judged_anew() {
    let mut evidence = Evidence::new(0);
    let mut copied = Copied::default();
    copied.add(30, CopyResult::Error, true);
    evidence.absorb(&[copied.stage(1, Target::Shadow)], 0);
    let judge = |evidence: &mut Evidence, mirror_epoch| {
        let policy = policy(ShadowPolicy {
            is_mirrored: true,
            has_backend: true,
            mirror_epoch,
            ..ShadowPolicy::default()
        });
        let report = evidence.judge(&policy, 0);
        report.shadow_judgement.mirror_breach.is_some()
    };
    assert!(judge(&mut evidence, 1));
    assert!(!judge(&mut evidence, 2));
    evidence.absorb(&[copied.stage(1, Target::Shadow)], 0);
    assert!(!judge(&mut evidence, 2));
}

/// Restarts in mid-evidence change nothing, and snapshots absorbed twice neither.
#[test]
fn checkpoints_keep_every_bit() {
    let mut copied = Copied::default();
    copied
        .fine(50)
        .add(9, CopyResult::Error, true)
        .add(3, CopyResult::Ok, false);
    let mut evidence = Evidence::new(0);
    look(&mut evidence, &copied);
    let mut restored = Evidence::from_bytes(&evidence.to_bytes()).unwrap();
    copied.add(1, CopyResult::Timeout, true);
    let (one, other) = (look(&mut evidence, &copied), look(&mut restored, &copied));
    assert_eq!(one, other);
    assert_eq!(one, look(&mut evidence, &copied));
    assert_eq!(evidence.to_bytes(), restored.to_bytes());
}

/// More epochs than are kept apart are summed, and nothing is lost or counted twice.
#[test]
fn old_epochs_are_folded() {
    let mut evidence = Evidence::new(0);
    let mut copied = Copied::default();
    copied.fine(10);
    for epoch in 1..=40 {
        evidence.absorb(&[copied.stage(epoch, Target::Canary)], 0);
    }
    evidence.absorb(&[copied.stage(1, Target::Canary)], 0);
    let report = evidence.judge(&in_step(), 0);
    assert_eq!(report.shadow.unwrap().pairs.both_ok, 400);
}
