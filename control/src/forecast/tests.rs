//! Forecasts beside the specification's examples, and what a ramp waits for in each method.

use std::time::Duration;

use serin_config::model::{OnBreach, Plan};
use serin_stats::power::canary_requests_for;

use super::*;
use crate::rollout::fixtures;

fn assumed(design_effect: f64) -> Assumptions {
    Assumptions {
        requests_per_second: 100.0,
        error_rate: 0.01,
        clustering: Clustering::Constant(design_effect),
        median_ms: 100.0,
    }
}

fn ramp() -> RolloutSpec {
    fixtures::steps(&[0.05, 0.25, 1.0].map(fixtures::at))
}

fn foreseen(design_effect: f64) -> Vec<StepForecast> {
    forecast(&ramp(), &assumed(design_effect))
}

#[test]
fn the_examples_of_the_specification() {
    // The first step proves twice half a point.
    let steps = foreseen(1.0);
    let errors = steps[0].guardrails[0];
    assert_eq!(errors.metric, Metric::ErrorRate);
    assert!(
        (errors.prove.canary_requests - 1_699.0).abs() <= 2.0,
        "{errors:?}"
    );
    assert!((errors.prove.seconds - 339.8).abs() < 1.0);
    let steps = foreseen(2.8);
    let assumed = |share: f64| canary_requests_for(306_407.0, 0.01, 0.005, 2.8, share);
    assert!((assumed(0.05) - 13_123.0).abs() <= 2.0);
    // What the first step showed need not be shown again.
    assert!(steps[1].guardrails[0].prove.canary_requests < assumed(0.25));
    assert!(steps[2].guardrails.is_empty());
}

#[test]
fn what_is_found_by_the_end_is_what_it_takes_to_find() {
    for step in &foreseen(2.8)[..2] {
        for guardrail in &step.guardrails {
            let found = guardrail.detectable.unwrap();
            let within = guardrail.detect.canary_requests <= step.canary_requests;
            assert_eq!(
                found <= guardrail.margin,
                within,
                "{guardrail:?} of {step:?}"
            );
        }
    }
}

#[test]
fn a_clean_canary_on_a_clean_baseline_needs_what_the_readme_says() {
    let clean = Assumptions {
        error_rate: 0.0,
        ..assumed(1.0)
    };
    let requests = forecast(&ramp(), &clean)[0].guardrails[0]
        .prove
        .canary_requests;
    assert!((requests - 836.0).abs() < 10.0, "{requests}");
}

/// The catastrophe of the specification: five requests of distinct users at 5 % and 25 %.
#[test]
fn total_failure_is_found_after_a_handful() {
    let mut spec = ramp();
    spec.rollout.guardrails[0].max_increase.absolute = Some(1.0);
    let clean = Assumptions {
        error_rate: 0.0,
        ..assumed(1.0)
    };
    for step in &forecast(&spec, &clean)[..2] {
        let found = step.guardrails[0].detect.canary_requests;
        assert!((4.0..=6.0).contains(&found), "{step:?}");
    }
}

#[test]
fn at_100_percent_requests_are_waited_for_too() {
    let step = &foreseen(1.0)[2];
    assert_eq!(step.seconds, 60.0);
    let mut spec = fixtures::steps(&[0.05, 1.0].map(fixtures::at));
    if let Plan::Steps(steps) = &mut spec.rollout.plan {
        steps[1].min_duration = Duration::ZERO;
    }
    let step = &forecast(&spec, &assumed(1.0))[1];
    assert_eq!((step.canary_requests, step.seconds), (200.0, 2.0));
}

/// Users who come back make requests say less, but not all of them come back within the time of a step.
#[test]
fn clustering_counts_as_far_as_it_shows_in_the_time() {
    let need = |clustering: Clustering| {
        let assumptions = Assumptions {
            clustering,
            ..assumed(1.0)
        };
        let step = &forecast(&ramp(), &assumptions)[0];
        step.guardrails[0].prove
    };
    let traffic = Traffic {
        requests_per_second: 100.0,
        ..Traffic::default()
    };
    let independent = need(Clustering::Constant(1.0)).canary_requests;
    let lasting = need(Clustering::Constant(traffic.design_effect())).canary_requests;
    let users = need(Clustering::Users(traffic));
    assert!(users.canary_requests > 1.3 * independent);
    assert!(users.canary_requests < 0.7 * lasting);
    // Requests and time agree.
    let deff = traffic.design_effect_within(users.seconds);
    assert!((users.canary_requests / independent - deff).abs() < 0.02);
}

#[test]
fn a_step_that_nothing_lets_go_is_never_left() {
    let mut dry = ramp();
    for guardrail in &mut dry.rollout.guardrails {
        guardrail.dry_run = true;
        guardrail.on_breach = OnBreach::Rollback;
    }
    let steps = forecast(&dry, &assumed(1.0));
    assert_eq!(steps[0].ends, Ends::Never(Never::NothingActs));
    assert!(steps[0].seconds.is_infinite());
    assert_eq!(steps[2].ends, Ends::InTime, "nothing to compare with");

    let failing = Assumptions {
        error_rate: 0.9,
        ..assumed(1.0)
    };
    for step in forecast(&ramp(), &failing) {
        assert_eq!(step.ends, Ends::Never(Never::MostlyFailing));
    }
}

#[test]
fn a_fixed_horizon_is_waited_for_once() {
    let mut spec = ramp();
    let mut slower = spec.rollout.guardrails[0].clone();
    slower.metric = Metric::LatencyP95;
    slower.max_increase.absolute = Some(50.0);
    spec.rollout.guardrails.push(slower);
    spec.rollout.analysis.method = Method::FixedHorizon { at_samples: 20_000 };
    let steps = forecast(&spec, &assumed(2.8));
    let needs = |step: usize, guardrail: usize| {
        let guardrail = &steps[step].guardrails[guardrail];
        (
            guardrail.prove.canary_requests,
            guardrail.detect.canary_requests,
        )
    };
    // All of it in the first step, as it is the first step that waits for the proof.
    assert_eq!(needs(0, 0), (20_000.0, 20_000.0));
    assert_eq!(needs(0, 1), (20_000.0, 20_000.0));
    assert_eq!(needs(1, 0).0, 0.0);
    assert_eq!(steps[0].likely_seconds, steps[0].seconds);
    // So few can't show it.
    spec.rollout.analysis.method = Method::FixedHorizon { at_samples: 100 };
    let steps = forecast(&spec, &assumed(2.8));
    let out_of_reach = Ends::Never(Never::OutOfReach(Metric::ErrorRate));
    assert_eq!(steps[0].ends, out_of_reach);
    assert!(steps[0].guardrails[0].detect.canary_requests.is_infinite());
}

#[test]
fn a_guardrails_own_min_samples_count_over_the_whole_rollout() {
    let mut spec = ramp();
    spec.rollout.guardrails[0].min_samples = 50_000;
    let steps = forecast(&spec, &assumed(1.0));
    assert_eq!(steps[0].guardrails[0].prove.canary_requests, 50_000.0);
    assert_eq!(steps[1].guardrails[0].prove.canary_requests, 0.0);
}
