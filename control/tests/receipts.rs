//! Decisions of simulated rollouts, judged again from their written receipts alone.
#![expect(clippy::unwrap_used, reason = "test support: a panic is a failed test")]

use std::time::Duration;

use serde_json::{Value, json};
use serin_config::model::{
    Analysis, Guardrail, Margin, Method, Metric, OnBreach, Plan, Rollout, Step,
};
use serin_control::analysis::{ExplainError, explain};
use serin_control::rollout::{Command, Event, Phase, RolloutSpec, Verb};
use serin_control::simulation::{Effect, Traffic, World};

/// A receipt is at most this long, however long the rollout.
const LONGEST: usize = 64 << 10;

const SOMEWHAT_WORSE: Effect = Effect {
    error_rate: 0.015,
    rejected_rate: 0.01,
    aborted_rate: 0.01,
    latency: 1.2,
    ..Effect::NONE
};

fn traffic() -> Traffic {
    Traffic {
        requests_per_second: 100.0,
        ..Traffic::default()
    }
}

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

/// Guardrails on everything, with margins that some thousand requests can prove, and limits.
fn guarded(steps: Vec<Step>, method: Method) -> RolloutSpec {
    let guardrail = |metric: Metric| {
        let (margin, max) = if metric.is_rate() {
            (0.03, 0.2)
        } else {
            (300.0, 2_000.0)
        };
        Guardrail {
            metric,
            max_increase: Margin {
                absolute: Some(margin),
                relative: None,
            },
            max: Some(max),
            on_breach: OnBreach::Rollback,
            min_samples: 0,
            dry_run: false,
        }
    };
    RolloutSpec {
        mirror: None,
        name: "digits".to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan: Plan::Steps(steps),
            guardrails: Metric::ALL.map(guardrail).to_vec(),
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method,
                warmup: Duration::from_secs(10),
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        },
    }
}

fn world(spec: RolloutSpec, effect: Effect, seed: u64) -> World {
    let mut world = World::new(spec, traffic(), seed);
    world.set_effect(effect);
    world
}

/// A look as it is written down: receipt and report, as text.
fn written(world: &World) -> Option<(String, String)> {
    let receipt = serde_json::to_string(world.receipt()?).unwrap();
    let report = serde_json::to_string(world.report()?).unwrap();
    Some((receipt, report))
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Serves until so many looks, some seconds apart, are written down.
fn decisions(world: &mut World, wanted: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for served in 0..400_000 {
        world.serve();
        if served % 301 == 0 || world.state().phase.is_latched() {
            found.extend(written(world));
        }
        if found.len() >= wanted || world.state().phase.is_latched() {
            break;
        }
    }
    found
}

#[test]
fn a_thousand_decisions_are_told_again_to_the_last_bit() {
    let effects = [
        Effect::NONE,
        SOMEWHAT_WORSE,
        Effect::errors(0.2),
        Effect::NONE,
    ];
    let (mut told, mut longest, mut kinds) = (0, 0, std::collections::BTreeSet::new());
    for seed in 0..24 {
        let plan = vec![at(0.25, 20), at(0.5, 20), at(1.0, 20)];
        let method = match seed % 4 {
            3 => Method::FixedHorizon { at_samples: 300 },
            _ => Method::Sequential,
        };
        let effect = effects[seed as usize % 4];
        let mut world = world(guarded(plan, method), effect, seed);
        for (receipt, report) in decisions(&mut world, 90) {
            longest = longest.max(receipt.len());
            let again = explain(&read(&receipt), &read(&report)).unwrap();
            assert!(again.agrees, "seed {seed}: {:#?}", again.differences);
            kinds.insert(again.recomputed.recommendation as u8);
            assert_eq!(serde_json::to_string(&again.recomputed).unwrap(), report);
            told += 1;
        }
    }
    println!("{told} decisions, the longest receipt has {longest} bytes");
    assert!(told >= 1_000, "{told}");
    assert_eq!(kinds.len(), 3, "rollbacks, step-ups and neither");
    assert!(longest <= LONGEST, "{longest}");
}

#[test]
fn a_receipt_stays_short_however_long_the_rollout() {
    let plan = vec![at(0.05, 1_000_000), at(1.0, 1)];
    let mut world = world(guarded(plan, Method::Sequential), Effect::NONE, 1);
    for stage in 0..120 {
        for _ in 0..300 {
            world.serve();
        }
        let weight = 0.05 + 0.001 * f64::from(stage);
        let command = Command {
            verb: Verb::SetWeight(weight),
            reason: None,
            actor: None,
        };
        world.apply(Event::Operator(command)).unwrap();
    }
    world.look();
    let (receipt, report) = written(&world).unwrap();
    assert!(receipt.len() <= LONGEST, "{}", receipt.len());
    assert!(explain(&read(&receipt), &read(&report)).unwrap().agrees);
}

#[test]
fn a_receipt_that_was_tampered_with_does_not_agree() {
    let plan = vec![at(0.25, 1_000_000), at(1.0, 1)];
    let spec = guarded(plan, Method::Sequential);
    let mut world = world(spec, Effect::errors(0.2), 3);
    for _ in 0..40_000 {
        if world.state().phase == Phase::RolledBack {
            break;
        }
        world.serve();
    }
    let (receipt, report) = written(&world).unwrap();
    let (receipt, report) = (read(&receipt), read(&report));
    assert!(
        explain(&receipt, &report)
            .unwrap()
            .sentence
            .starts_with("rolled back after")
    );
    let mut forged = receipt.clone();
    forged["arms"]["canary"]["errors"] = json!(0);
    let told = explain(&forged, &report).unwrap();
    assert!(!told.agrees && !told.differences.is_empty());
    let mut foreign = receipt;
    foreign["format"] = json!(99);
    assert!(matches!(
        explain(&foreign, &report),
        Err(ExplainError::Unknown(_))
    ));
    assert!(matches!(
        explain(&Value::Null, &report),
        Err(ExplainError::NoReceipt)
    ));
}
