//! One control tick: 20 rollouts with all eight guardrails, absorbed and judged anew.
//!
//! A tick works on sums, so it must cost the same after ten thousand requests as after a hundred million: both
//! are measured. Between two ticks every rollout has seen one more request on each arm, so that nothing can be
//! answered from what was known before.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serin_config::model::{
    Analysis, Guardrail, Margin, Method, Metric, OnBreach, Plan, Rollout, Step,
};
use serin_control::analysis::Evidence;
use serin_control::rollout::{Event, RolloutSpec, State, begin, step};
use serin_stats::histogram::{Histogram, bin_at, log_position};
use serin_stats::snapshot::{ArmCounts, StageSnapshot, USER_BUCKETS};
use serin_stats::split::LatencyReference;

const ROLLOUTS: usize = 20;

fn spec() -> RolloutSpec {
    let guardrails = Metric::ALL.map(|metric| Guardrail {
        metric,
        max_increase: Margin {
            absolute: Some(if metric.is_rate() { 0.005 } else { 50.0 }),
            relative: None,
        },
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    });
    let at = |weight| Step {
        weight,
        shadow: 0.0,
        min_duration: Duration::from_hours(1_000),
        min_samples: 0,
        max_duration: None,
        requires_approval: false,
        bake: None,
        holdback: 0.0,
    };
    RolloutSpec {
        mirror: None,
        name: "bench".to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan: Plan::Steps(vec![at(0.05), at(1.0)]),
            guardrails: guardrails.into(),
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method: Method::Sequential,
                warmup: Duration::ZERO,
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        },
    }
}

/// One rollout as a tick finds it.
struct Watched {
    state: State,
    evidence: Evidence,
    stage: StageSnapshot,
    ticks: u64,
}

impl Watched {
    fn new(requests: u64) -> Self {
        let mut state = begin(spec(), 0, Default::default(), 0).state;
        let happen = |state: &mut State, event: Event| {
            if let Ok(transition) = step(state, &event, 1) {
                *state = transition.state;
            }
        };
        happen(&mut state, Event::Tick);
        if let Some(reference) = LatencyReference::freeze(latencies(10_000)) {
            happen(&mut state, Event::ReferenceFrozen(Arc::new(reference)));
        }
        let mut stage = StageSnapshot {
            epoch: state.epoch,
            share: 0.05,
            ..StageSnapshot::default()
        };
        stage.arms.baseline = counts(requests - requests / 20);
        stage.arms.canary = counts(requests / 20);
        Self {
            evidence: Evidence::new(0),
            state,
            stage,
            ticks: 0,
        }
    }

    fn tick(&mut self) -> bool {
        self.ticks += 1;
        let bucket = self.ticks as usize % USER_BUCKETS;
        for arm in [&mut self.stage.arms.baseline, &mut self.stage.arms.canary] {
            arm.outcomes[0] += 1;
            bump(&mut arm.requests.0, bucket, 1);
            bump(&mut arm.latency.measured.0, bucket, 1);
            bump(&mut arm.latency.half_ranks.0, bucket, 10_000);
            arm.latency.half_ranks_squared += 10_000 * 10_000;
            arm.latency.total.record_bin(380);
            arm.latency.first_byte.record_bin(380);
        }
        let now_ms = 1_000_000 + self.ticks;
        self.evidence
            .absorb(std::slice::from_ref(&self.stage), now_ms);
        let policy = self.state.policy(now_ms);
        let judgement = self.evidence.judge(&policy, now_ms).judgement();
        let judged = Event::Judged(Box::new(judgement));
        step(&self.state, &judged, now_ms).is_ok()
    }
}

/// So many requests, spread like those of many users.
fn counts(requests: u64) -> ArmCounts {
    let mut counts = ArmCounts::default();
    let errors = requests / 100;
    counts.outcomes = [requests - errors, errors, 0, 0];
    for bucket in 0..USER_BUCKETS {
        // Uneven, so that there is a design effect.
        let part = |n: u64| n / 256 + (n / 256) * (bucket as u64 % 7) / 10;
        bump(&mut counts.requests.0, bucket, part(requests));
        bump(
            &mut counts.errors.0,
            bucket,
            part(errors) * (bucket as u64 % 3),
        );
        bump(&mut counts.latency.measured.0, bucket, part(requests));
        bump(&mut counts.latency.slow.0, bucket, part(requests) / 20);
        bump(
            &mut counts.latency.half_ranks.0,
            bucket,
            part(requests) * 10_000,
        );
    }
    counts.latency.half_ranks_squared = (requests / 1_000).saturating_mul(133_000_000_000);
    counts.latency.total = latencies(requests);
    counts.latency.first_byte = latencies(requests);
    counts
}

/// A bell over the bins around 100 ms.
fn latencies(requests: u64) -> Histogram {
    let middle = bin_at(log_position(100.0));
    let bell = |bin: usize| {
        let z = (bin as f64 - middle as f64) / 25.0;
        (-0.5 * z * z).exp() / 62.7
    };
    let counts = (0..serin_stats::histogram::BINS)
        .map(|bin| (bell(bin) * requests as f64).round() as u64)
        .collect();
    Histogram::from_counts(counts)
}

fn bump(counts: &mut [u64], at: usize, by: u64) {
    if let Some(count) = counts.get_mut(at) {
        *count += by;
    }
}

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("control_tick");
    for requests in [10_000_u64, 100_000_000] {
        let mut rollouts: Vec<Watched> = (0..ROLLOUTS).map(|_| Watched::new(requests)).collect();
        let name = format!("{ROLLOUTS} rollouts");
        group.bench_function(BenchmarkId::new(name, requests), |bencher| {
            bencher.iter(|| {
                for rollout in &mut rollouts {
                    black_box(rollout.tick());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tick);
criterion_main!(benches);
