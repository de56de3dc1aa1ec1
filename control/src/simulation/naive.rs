//! The usual rule, for comparison: fixed-horizon tests, asked again and again.
//!
//! A look every ten seconds from the hundredth canary request on. The canary is taken back when a pooled z-test
//! finds more errors (p < .05, and at least half a point more), when a Mann-Whitney test finds another latency
//! (p < .05, two-sided), or when P95 is more than 50 ms higher; counts since the step began. Otherwise the
//! step is left when its time is over.

use serin_stats::proportion::{TwoCounts, two_proportion_z};
use serin_stats::rank_sum;
use serin_stats::snapshot::{Arm, StageSnapshot};
use serin_stats::split::Split;

use super::recorder::record;
use super::run::{End, Onset, Run, Scenario};
use super::traffic::{Effect, Requests};

const LOOK_MS: f64 = 10_000.0;
const P: f64 = 0.05;
const MORE_ERRORS: f64 = 0.005;
const SLOWER_MS: f64 = 50.0;
/// Canary requests before anything is asked.
const FEWEST: u64 = 100;

/// The same requests under the usual rule.
pub(super) fn run(scenario: &Scenario, seed: u64) -> Run {
    let mut requests = Requests::new(scenario.traffic, seed);
    let steps = scenario.spec.steps();
    let weight = |step: usize| steps.get(step).map_or(1.0, |step| step.weight);
    let mut run = Run::default();
    let mut stage = StageSnapshot::default();
    let (mut step, mut step_began, mut next_look) = (0, 0.0, LOOK_MS);
    let mut split = Split {
        share: weight(0),
        ..Split::baseline_only(1)
    };
    let onset_ms = match scenario.onset {
        Onset::Start | Onset::Measured => 0.0,
        Onset::After { healthy, .. } => healthy.as_secs_f64() * 1e3,
    };
    let ends = onset_ms + scenario.horizon.as_secs_f64() * 1e3;
    let mut broken = false;
    let mut clock = requests.gap_ms();
    while clock <= ends {
        if !broken && clock >= onset_ms {
            broken = true;
            if scenario.effect != Effect::NONE {
                requests.set_effect(scenario.effect);
            }
            run.onset_ms = onset_ms as u64;
            run.canary_requests = 0;
        }
        while next_look <= clock {
            if is_worse(&stage) {
                run.end = End::RolledBack(None);
                run.ended_ms = next_look as u64;
                return run;
            }
            let dwell = steps
                .get(step)
                .map_or(0.0, |step| step.min_duration.as_secs_f64() * 1e3);
            if next_look - step_began >= dwell {
                step += 1;
                step_began = next_look;
                split.share = weight(step);
                stage = StageSnapshot::default();
                run.highest_weight = run.highest_weight.max(split.share);
                if split.share >= 1.0 {
                    run.end = End::Promoted;
                    run.ended_ms = next_look as u64;
                    run.full_ms = Some(run.ended_ms);
                    return run;
                }
            }
            next_look += LOOK_MS;
        }
        let answer = requests.next(split.share);
        record(&mut stage, &split, clock as u64, &answer);
        run.canary_requests += u64::from(answer.arm == Arm::Canary);
        clock += requests.gap_ms();
    }
    run.ended_ms = ends as u64;
    run
}

fn is_worse(stage: &StageSnapshot) -> bool {
    let (baseline, canary) = (&stage.arms.baseline, &stage.arms.canary);
    if canary.total() < FEWEST {
        return false;
    }
    let counts = TwoCounts {
        x_baseline: baseline.errors.total(),
        n_baseline: baseline.total(),
        x_canary: canary.errors.total(),
        n_canary: canary.total(),
    };
    let more_errors = two_proportion_z(counts, 0.95)
        .is_some_and(|test| test.p_two_sided < P && test.diff >= MORE_ERRORS);
    let (b, c) = (&baseline.latency.total, &canary.latency.total);
    let other_latency = || {
        rank_sum::from_counts(c.counts(), b.counts())
            .is_some_and(|test| test.corrected.two_sided < P)
    };
    let slower = || {
        let difference = c.quantile_ms(0.95).zip(b.quantile_ms(0.95));
        difference.is_some_and(|(canary, baseline)| canary - baseline > SLOWER_MS)
    };
    more_errors || slower() || other_latency()
}
