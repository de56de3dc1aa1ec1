//! Whole rollouts in virtual time: what the guardrails do to identical, broken, slow and good releases.
//!
//! Seeds are fixed, so a failure is the same failure everywhere; the figures are printed (`--nocapture`).

mod harness;

use harness::random::Random;
use harness::traffic::{Answer, Traffic};
use harness::{World, at, rollout};
use serin_config::model::Step;
use serin_control::analysis::Rule;
use serin_control::rollout::{Phase, RolloutSpec};
use serin_stats::snapshot::{Arm, Outcome};

/// Both releases are the same.
fn identical(_: &mut Random, _: Arm, healthy: Answer) -> Answer {
    healthy
}

fn canary_fails(_: &mut Random, arm: Arm, healthy: Answer) -> Answer {
    match arm {
        Arm::Baseline => healthy,
        Arm::Canary => Answer::of(Outcome::Error, healthy.latency_ms),
    }
}

/// One step that never ends.
fn steady(share: f64) -> RolloutSpec {
    rollout(vec![at(share, 1_000_000), at(1.0, 1)])
}

fn rule(world: &World) -> Option<Rule> {
    let latch = world.state.latch()?;
    latch.breach.as_ref().map(|breach| breach.rule)
}

#[test]
fn identical_releases_are_hardly_ever_rolled_back() {
    const RUNS: u64 = 100;
    const REQUESTS: u64 = 20_000;
    let traffic = Traffic::default();
    let ramp = || rollout(vec![at(0.05, 60), at(0.25, 60), at(0.5, 1_000)]);
    let mut rolled_back = 0;
    for seed in 0..RUNS {
        let spec = if seed % 2 == 0 { ramp() } else { steady(0.05) };
        let mut world = World::new(spec, traffic, identical, seed);
        if world.serve_until(Phase::RolledBack, REQUESTS) {
            rolled_back += 1;
            println!("seed {seed}: {}", world.state.reason);
        }
    }
    println!(
        "A/A: {rolled_back} of {RUNS} rolled back ({REQUESTS} requests each at {} rps, error rate \
         {} %, ICC {}, half at 5 %, half 5 -> 25 -> 50 %, a look every 5 s and at every error)",
        traffic.requests_per_second,
        traffic.error_rate * 100.0,
        traffic.icc,
    );
    assert!(rolled_back <= 5);
}

#[test]
fn a_canary_that_fails_every_request_is_gone_after_a_handful() {
    let traffic = Traffic {
        error_rate: 0.0,
        one_request_each: true,
        ..Traffic::default()
    };
    for (share, expected) in [(0.05, 5..=5), (0.25, 5..=5), (0.5, 9..=12)] {
        for seed in 0..20 {
            let mut world = World::new(steady(share), traffic, canary_fails, seed);
            assert!(world.serve_until(Phase::RolledBack, 10_000));
            let took = world.canary_requests;
            assert!(expected.contains(&took), "{share}, seed {seed}: {took}");
            assert_eq!(rule(&world), Some(Rule::Catastrophe));
            if seed == 0 {
                println!("{}", world.state.reason);
            }
        }
    }
}

#[test]
fn a_canary_that_is_down_in_any_way_is_rolled_back() {
    fn not_found(_: &mut Random, arm: Arm, healthy: Answer) -> Answer {
        match arm {
            Arm::Baseline => healthy,
            Arm::Canary => Answer::of(Outcome::Rejected, 1.0),
        }
    }
    fn hangs(_: &mut Random, arm: Arm, healthy: Answer) -> Answer {
        match arm {
            Arm::Baseline => healthy,
            Arm::Canary => Answer::of(Outcome::Aborted, 30_000.0),
        }
    }
    fn unreachable(_: &mut Random, arm: Arm, healthy: Answer) -> Answer {
        let refused = Answer {
            unreachable: true,
            ..Answer::of(Outcome::Error, 1.0)
        };
        match arm {
            Arm::Baseline => healthy,
            Arm::Canary => refused,
        }
    }
    for (name, behaviour, limit) in [
        ("404", not_found as harness::traffic::Behaviour, 30),
        ("hang", hangs, 30),
        ("unreachable", unreachable, 30),
    ] {
        for seed in 0..20 {
            let mut world = World::new(steady(0.05), Traffic::default(), behaviour, seed);
            assert!(
                world.serve_until(Phase::RolledBack, 20_000),
                "{name}, seed {seed}: {}",
                world.state.reason
            );
            let took = world.canary_requests;
            assert!(took <= limit, "{name}, seed {seed}: {took} canary requests");
            if seed == 0 {
                println!("{name}: {}", world.state.reason);
            }
        }
    }
}

#[test]
fn requests_that_both_releases_refuse_roll_nothing_back() {
    fn often_refused(random: &mut Random, _: Arm, healthy: Answer) -> Answer {
        match random.below(10) {
            0..=3 => Answer::of(Outcome::Rejected, 1.0),
            4..=5 => Answer::of(Outcome::Error, 1.0),
            _ => healthy,
        }
    }
    fn always_refused(_: &mut Random, _: Arm, _: Answer) -> Answer {
        Answer::of(Outcome::Rejected, 1.0)
    }
    fn always_failing(_: &mut Random, _: Arm, _: Answer) -> Answer {
        Answer::of(Outcome::Error, 1.0)
    }
    for behaviour in [
        often_refused as harness::traffic::Behaviour,
        always_refused,
        always_failing,
    ] {
        for seed in 0..4 {
            let mut world = World::new(steady(0.25), Traffic::default(), behaviour, seed);
            let rolled_back = world.serve_until(Phase::RolledBack, 4_000);
            assert!(!rolled_back, "seed {seed}: {}", world.state.reason);
        }
    }
    // Nor does a release that mostly fails take a step, however bad baseline is.
    for behaviour in [
        always_refused as harness::traffic::Behaviour,
        always_failing,
    ] {
        let ramp = rollout(vec![at(0.05, 10), at(1.0, 10)]);
        let mut world = World::new(ramp, Traffic::default(), behaviour, 9);
        world.serve_until(Phase::Healthy, 4_000);
        assert_eq!(world.state.weight, 0.05, "{}", world.state.reason);
    }
}

#[test]
fn a_good_release_reaches_everybody() {
    let bake = Step {
        bake: Some(std::time::Duration::from_mins(1)),
        holdback: 0.05,
        ..at(1.0, 0)
    };
    for seed in 0..5 {
        let ramp = rollout(vec![at(0.05, 60), at(0.25, 60), at(0.5, 60), bake.clone()]);
        let mut world = World::new(ramp, Traffic::default(), identical, seed);
        let (mut weight, mut phases) = (0.0, Vec::new());
        for _ in 0..30_000 {
            world.serve();
            assert!(world.state.weight >= weight, "a good release was lowered");
            weight = world.state.weight;
            if phases.last() != Some(&world.state.phase) {
                phases.push(world.state.phase);
            }
        }
        let expected = [Phase::Progressing, Phase::Baking, Phase::Healthy];
        assert_eq!(phases, expected, "seed {seed}: {}", world.state.reason);
        assert_eq!(world.state.share(), 1.0);
    }
}

#[test]
fn a_release_with_more_errors_or_more_latency_is_rolled_back() {
    fn five_points_more(random: &mut Random, arm: Arm, healthy: Answer) -> Answer {
        if arm == Arm::Canary && random.chance(0.05) {
            Answer::of(Outcome::Error, healthy.latency_ms)
        } else {
            healthy
        }
    }
    fn half_as_slow_again(_: &mut Random, arm: Arm, mut healthy: Answer) -> Answer {
        if arm == Arm::Canary {
            healthy.latency_ms *= 1.5;
        }
        healthy
    }
    for (name, behaviour) in [
        ("+5 pp", five_points_more as harness::traffic::Behaviour),
        ("P95 +50 %", half_as_slow_again),
    ] {
        let mut took = Vec::new();
        for seed in 0..11 {
            let mut world = World::new(steady(0.05), Traffic::default(), behaviour, seed);
            let rolled_back = world.serve_until(Phase::RolledBack, 60_000);
            assert!(rolled_back, "{name}, seed {seed}: {}", world.state.reason);
            took.push(world.canary_requests);
            if seed == 0 {
                println!("{name}: {}", world.state.reason);
            }
        }
        took.sort_unstable();
        println!("{name}: canary requests until rollback {took:?}");
    }
}

#[test]
fn a_canary_that_breaks_after_an_hour_of_health_is_caught_by_the_recent_break() {
    thread_local! {
        static BROKEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    fn breaks_later(random: &mut Random, arm: Arm, healthy: Answer) -> Answer {
        if BROKEN.get() {
            canary_fails(random, arm, healthy)
        } else {
            healthy
        }
    }
    let traffic = Traffic {
        requests_per_second: 20.0,
        ..Traffic::default()
    };
    let mut world = World::new(steady(0.05), traffic, breaks_later, 3);
    assert!(!world.serve_until(Phase::RolledBack, 72_000));
    BROKEN.set(true);
    let before = world.canary_requests;
    assert!(world.serve_until(Phase::RolledBack, 20_000));
    let took = world.canary_requests - before;
    println!(
        "after an hour: {took} failing canary requests; {}",
        world.state.reason
    );
    assert!(took <= 40, "{took}");
}

#[test]
fn evidence_judges_the_same_after_a_checkpoint() {
    let ramp = rollout(vec![at(0.05, 30), at(0.25, 30), at(0.5, 1_000)]);
    let mut world = World::new(ramp, Traffic::default(), identical, 5);
    world.serve_until(Phase::RolledBack, 12_000);
    let bytes = world.evidence.to_bytes();
    let mut restored = serin_control::analysis::Evidence::from_bytes(&bytes).unwrap();
    assert_eq!(restored.to_bytes(), bytes);
    let policy = world.state.policy(world.now_ms);
    assert_eq!(
        restored.judge(&policy, world.now_ms),
        world.evidence.judge(&policy, world.now_ms)
    );
    println!("a checkpoint takes {} bytes", bytes.len());
    assert!(serin_control::analysis::Evidence::from_bytes(&bytes[..bytes.len() / 2]).is_err());
}
