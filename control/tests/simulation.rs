//! Whole rollouts in virtual time: what the guardrails do to identical, broken, slow and good releases.
//!
//! Seeds are fixed, so a failure is the same failure everywhere; the figures are printed (`--nocapture`). The
//! whole table is `serin simulate --suite`.

use std::time::Duration;

use serin_config::model::{
    Analysis, Guardrail, Margin, Method, Metric, OnBreach, Plan, Rollout, Step,
};
use serin_control::analysis::{Evidence, Rule};
use serin_control::rollout::{Command, Event, Phase, RolloutSpec, Verb};
use serin_control::simulation::{Cadence, Effect, Traffic, World};

/// At 100 requests per second.
fn traffic() -> Traffic {
    Traffic {
        requests_per_second: 100.0,
        ..Traffic::default()
    }
}

/// A step of this weight and number of seconds.
fn at(weight: f64, seconds: u64) -> Step {
    Step {
        weight,
        shadow: 0.0,
        min_duration: Duration::from_secs(seconds),
        min_samples: 0,
        max_duration: None,
        requires_approval: false,
        bake: None,
        holdback: 0.0,
    }
}

/// The default guardrails over this plan.
fn rollout(steps: Vec<Step>) -> RolloutSpec {
    let guardrail = |metric, max_increase| Guardrail {
        metric,
        max_increase,
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    };
    let margin = |absolute, relative| Margin {
        absolute: Some(absolute),
        relative,
    };
    RolloutSpec {
        mirror: None,
        name: "digits".to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan: Plan::Steps(steps),
            guardrails: vec![
                guardrail(Metric::ErrorRate, margin(0.005, None)),
                guardrail(Metric::LatencyP95, margin(50.0, Some(0.1))),
            ],
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method: Method::Sequential,
                warmup: Duration::from_secs(10),
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        },
    }
}

/// One step that never ends.
fn steady(share: f64) -> RolloutSpec {
    rollout(vec![at(share, 1_000_000), at(1.0, 1)])
}

fn world(spec: RolloutSpec, traffic: Traffic, effect: Effect, seed: u64) -> World {
    let mut world = World::new(spec, traffic, seed);
    world.set_effect(effect);
    world
}

/// Serves requests until a phase is reached or so many were served; whether it was reached.
fn serve_until(world: &mut World, phase: Phase, limit: u64) -> bool {
    for _ in 0..limit {
        if world.state().phase == phase {
            return true;
        }
        let (epoch, weight) = (world.state().epoch, world.state().weight);
        world.serve();
        let state = world.state();
        assert!(state.epoch >= epoch);
        assert!(!state.phase.is_latched() || state.share() <= 0.0);
        assert!(state.weight >= weight || state.phase == Phase::RolledBack);
    }
    world.state().phase == phase
}

fn rule(world: &World) -> Option<Rule> {
    let latch = world.state().latch()?;
    latch.breach.as_ref().map(|breach| breach.rule)
}

#[test]
fn identical_releases_are_hardly_ever_rolled_back() {
    const RUNS: u64 = 100;
    const REQUESTS: u64 = 20_000;
    let ramp = || rollout(vec![at(0.05, 60), at(0.25, 60), at(0.5, 1_000)]);
    let mut rolled_back = 0;
    for seed in 0..RUNS {
        let spec = if seed % 2 == 0 { ramp() } else { steady(0.05) };
        let mut world = world(spec, traffic(), Effect::NONE, seed);
        if serve_until(&mut world, Phase::RolledBack, REQUESTS) {
            rolled_back += 1;
            println!("seed {seed}: {}", world.state().reason);
        }
    }
    println!(
        "A/A: {rolled_back} of {RUNS} rolled back ({REQUESTS} requests each at {} rps, error rate \
         {} %, ICC {}, half at 5 %, half 5 -> 25 -> 50 %, a look every 5 s and at every error)",
        traffic().requests_per_second,
        traffic().error_rate * 100.0,
        traffic().icc,
    );
    assert!(rolled_back <= 5);
}

#[test]
fn a_canary_that_fails_every_request_is_gone_after_a_handful() {
    let traffic = Traffic {
        error_rate: 0.0,
        most_requests: 1,
        ..traffic()
    };
    for (share, expected) in [(0.05, 5..=5), (0.25, 5..=5), (0.5, 9..=12)] {
        for seed in 0..20 {
            let mut world = world(steady(share), traffic, Effect::errors(1.0), seed);
            assert!(serve_until(&mut world, Phase::RolledBack, 10_000));
            let took = world.canary_requests();
            assert!(expected.contains(&took), "{share}, seed {seed}: {took}");
            assert_eq!(rule(&world), Some(Rule::Catastrophe));
            if seed == 0 {
                println!("{}", world.state().reason);
            }
        }
    }
}

#[test]
fn a_canary_that_is_down_in_any_way_is_rolled_back() {
    let not_found = Effect {
        rejected_rate: 1.0,
        ..Effect::NONE
    };
    let hangs = Effect {
        aborted_rate: 1.0,
        latency: 300.0,
        ..Effect::NONE
    };
    let unreachable = Effect {
        unreachable: true,
        ..Effect::errors(1.0)
    };
    let harmless = Traffic {
        error_rate: 0.0,
        ..traffic()
    };
    for (name, effect, limit) in [
        ("404", not_found, 30),
        ("hang", hangs, 30),
        ("unreachable", unreachable, 30),
    ] {
        for seed in 0..20 {
            let mut world = world(steady(0.05), harmless, effect, seed);
            assert!(
                serve_until(&mut world, Phase::RolledBack, 20_000),
                "{name}, seed {seed}: {}",
                world.state().reason
            );
            let took = world.canary_requests();
            assert!(took <= limit, "{name}, seed {seed}: {took} canary requests");
            if seed == 0 {
                println!("{name}: {}", world.state().reason);
            }
        }
    }
}

#[test]
fn requests_that_both_releases_refuse_roll_nothing_back() {
    let often_refused = Traffic {
        error_rate: 0.2,
        rejected_rate: 0.4,
        ..traffic()
    };
    let always_refused = Traffic {
        error_rate: 0.0,
        rejected_rate: 1.0,
        ..traffic()
    };
    let always_failing = Traffic {
        error_rate: 1.0,
        ..traffic()
    };
    for traffic in [often_refused, always_refused, always_failing] {
        for seed in 0..4 {
            let mut world = world(steady(0.25), traffic, Effect::NONE, seed);
            let rolled_back = serve_until(&mut world, Phase::RolledBack, 4_000);
            assert!(!rolled_back, "seed {seed}: {}", world.state().reason);
        }
    }
    // Nor does a release that mostly fails take a step, however bad baseline is.
    for traffic in [always_refused, always_failing] {
        let ramp = rollout(vec![at(0.05, 10), at(1.0, 10)]);
        let mut world = world(ramp, traffic, Effect::NONE, 9);
        serve_until(&mut world, Phase::Healthy, 4_000);
        assert_eq!(world.state().weight, 0.05, "{}", world.state().reason);
    }
}

#[test]
fn a_good_release_reaches_everybody() {
    let bake = Step {
        bake: Some(Duration::from_mins(1)),
        holdback: 0.05,
        ..at(1.0, 0)
    };
    for seed in 0..5 {
        let ramp = rollout(vec![at(0.05, 60), at(0.25, 60), at(0.5, 60), bake.clone()]);
        let mut world = world(ramp, traffic(), Effect::NONE, seed);
        let (mut weight, mut phases) = (0.0, Vec::new());
        for _ in 0..600_000 {
            world.serve();
            let state = world.state();
            assert!(state.weight >= weight, "a good release was lowered");
            weight = state.weight;
            if phases.last() != Some(&state.phase) {
                phases.push(state.phase);
            }
            if state.phase == Phase::Healthy {
                break;
            }
        }
        let expected = [Phase::Progressing, Phase::Baking, Phase::Healthy];
        assert_eq!(phases, expected, "seed {seed}: {}", world.state().reason);
        assert_eq!(world.state().share(), 1.0);
    }
}

#[test]
fn copies_decide_in_a_shadow_step_before_any_client_meets_the_canary() {
    let shadow = Step {
        shadow: 1.0,
        min_samples: 500,
        ..at(0.0, 0)
    };
    let plan = || rollout(vec![shadow.clone(), at(0.25, 10), at(1.0, 10)]);
    for seed in 0..5 {
        let mut good = world(plan(), traffic(), Effect::NONE, seed);
        while good.canary_requests() == 0 {
            good.serve();
            assert!(
                good.copies() < 100_000,
                "seed {seed}: {}",
                good.state().reason
            );
        }
        assert_eq!(good.state().share(), 0.25);
        let copies = good.copies();
        assert!(copies >= 500, "seed {seed}: {copies}");
        // With clients nothing is copied any more.
        for _ in 0..100 {
            good.serve();
        }
        assert_eq!(good.copies(), copies);

        let mut bad = world(plan(), traffic(), Effect::errors(0.3), seed);
        let gone = serve_until(&mut bad, Phase::RolledBack, 20_000);
        assert!(gone, "seed {seed}: {}", bad.state().reason);
        assert_eq!(bad.canary_requests(), 0);
        assert_eq!(rule(&bad), Some(Rule::Shadow), "{}", bad.state().reason);
        if seed == 0 {
            println!("after {} copies: {}", bad.copies(), bad.state().reason);
        }
    }
}

#[test]
fn a_release_with_more_errors_or_more_latency_is_rolled_back() {
    let slower = Effect {
        latency: 1.5,
        ..Effect::NONE
    };
    for (name, effect) in [("+5 pp", Effect::errors(0.05)), ("P95 +50 %", slower)] {
        let mut took = Vec::new();
        for seed in 0..11 {
            let mut world = world(steady(0.05), traffic(), effect, seed);
            let rolled_back = serve_until(&mut world, Phase::RolledBack, 60_000);
            assert!(rolled_back, "{name}, seed {seed}: {}", world.state().reason);
            took.push(world.canary_requests());
            if seed == 0 {
                println!("{name}: {}", world.state().reason);
            }
        }
        took.sort_unstable();
        println!("{name}: canary requests until rollback {took:?}");
    }
}

#[test]
fn a_canary_that_breaks_after_an_hour_of_health_is_caught_by_the_recent_break() {
    let traffic = Traffic {
        requests_per_second: 20.0,
        ..Traffic::default()
    };
    let mut world = world(steady(0.05), traffic, Effect::NONE, 3);
    assert!(!serve_until(&mut world, Phase::RolledBack, 72_000));
    world.set_effect(Effect::errors(1.0));
    let before = world.canary_requests();
    assert!(serve_until(&mut world, Phase::RolledBack, 20_000));
    let took = world.canary_requests() - before;
    println!(
        "after an hour: {took} failing canary requests; {}",
        world.state().reason
    );
    assert!(took <= 40, "{took}");
}

#[test]
fn evidence_judges_the_same_after_a_checkpoint() {
    let ramp = rollout(vec![at(0.05, 30), at(0.25, 30), at(0.5, 1_000)]);
    let mut world = world(ramp, traffic(), Effect::NONE, 5);
    serve_until(&mut world, Phase::RolledBack, 12_000);
    let bytes = world.evidence().to_bytes();
    let mut restored = Evidence::from_bytes(&bytes).unwrap();
    assert_eq!(restored.to_bytes(), bytes);
    let policy = world.state().policy(world.now_ms());
    assert_eq!(
        restored.judge(&policy, world.now_ms()),
        world.evidence().clone().judge(&policy, world.now_ms())
    );
    println!("a checkpoint takes {} bytes", bytes.len());
    assert!(Evidence::from_bytes(&bytes[..bytes.len() / 2]).is_err());
}

#[test]
fn the_same_seed_is_the_same_rollout() {
    let run = |seed| {
        let mut world = world(steady(0.05), traffic(), Effect::errors(0.02), seed);
        serve_until(&mut world, Phase::RolledBack, 20_000);
        (world.state().clone(), world.evidence().to_bytes())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn a_clean_release_takes_a_short_ramp_in_minutes() {
    // No error on either arm: nothing may be stuck for want of variance.
    let traffic = Traffic {
        error_rate: 0.0,
        requests_per_second: 300.0,
        most_requests: 1,
        ..traffic()
    };
    for seed in 0..3 {
        let steps = [0.05, 0.25, 0.5, 1.0].map(|weight| at(weight, 1));
        let mut spec = rollout(steps.to_vec());
        spec.rollout.analysis.warmup = Duration::from_mins(1);
        let mut world = world(spec, traffic, Effect::NONE, seed);
        let arrived = serve_until(&mut world, Phase::Healthy, 120_000);
        let minutes = world.now_ms() as f64 / 60_000.0;
        println!("seed {seed}: at 100 % after {minutes:.1} minutes, the first of them to warm up");
        assert!(arrived, "seed {seed}: {}", world.state().reason);
    }
}

/// Weights set by hand between two looks, up and down: users come again under the new split before anybody has
/// counted them under the former one.
#[test]
fn identical_releases_pass_for_identical_while_weights_are_set_by_hand() {
    const RUNS: u64 = 40;
    // Users who come often, and fail often: the first look meets most of them under both splits.
    let traffic = Traffic {
        requests_per_second: 1_000.0,
        error_rate: 0.3,
        active_users: Some(2_000),
        ..Traffic::default()
    };
    for path in [
        [0.05, 0.9, 0.05, 0.9],
        [0.9, 0.1, 0.95, 0.2],
        [0.2, 0.6, 0.9, 0.95],
        [0.95, 0.5, 0.1, 0.05],
    ] {
        for seed in 0..RUNS {
            let mut spec = steady(0.5);
            spec.rollout.on_sample_ratio_mismatch = OnBreach::Rollback;
            let mut world = world(spec, traffic, Effect::NONE, seed);
            world.set_cadence(Cadence::Every(5_000));
            for weight in path {
                set_weight(&mut world, weight);
                // For 3.5 seconds, with a look every 5.
                (0..3_500).for_each(|_| world.serve());
            }
            world.look();
            let report = world.report().expect("it was looked at");
            let p = report.sample_ratio.p_value;
            assert!(p > 0.001, "{path:?}, seed {seed}: p {p}");
            assert_eq!(world.state().phase, Phase::Paused, "{path:?}, seed {seed}");
        }
    }
}

fn set_weight(world: &mut World, weight: f64) {
    let command = Command {
        verb: Verb::SetWeight(weight),
        reason: None,
        actor: None,
    };
    let done = world.apply(Event::Operator(command));
    assert!(done.is_ok(), "{done:?}: {}", world.state().reason);
}
