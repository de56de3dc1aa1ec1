//! The same requests counted by one sidecar and by several: the merged counts, and what they are judged to
//! mean, must be the same to the bit.
//!
//! One thing a fleet cannot know: in which arm the first of two users was seen who share a slot, when different
//! sidecars saw them. Of who was seen, only the union is compared, and the judgement leaves it out.

use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use serin_stats::snapshot::{SlotSet, Snapshot, StageSnapshot};
use serin_stats::split::Split;

use crate::analysis::Evidence;
use crate::rollout::State;
use crate::simulation::recorder::record;
use crate::simulation::run::Scenario;
use crate::simulation::traffic::Requests;
use crate::simulation::world::World;

const FLEETS: [usize; 3] = [2, 3, 8];
/// Attempts at a rollout that is not rolled back at once.
const HISTORIES: u64 = 8;

/// Whether it holds for every fleet.
pub(super) fn merges_to_the_bit(scenario: &Scenario, seed: u64) -> bool {
    let world = far_enough(scenario, seed);
    FLEETS
        .iter()
        .all(|&sidecars| same(scenario, seed, world.state(), sidecars))
}

/// A rollout in which latencies are ranked too. One that is rolled back before, as a few healthy ones are, is begun
/// anew.
fn far_enough(scenario: &Scenario, seed: u64) -> World {
    let begun = |attempt: u64| {
        let mut world = World::new(
            scenario.spec.clone(),
            scenario.traffic,
            seed ^ attempt << 48,
        );
        while !world.measures() && !world.state().phase.is_latched() {
            world.serve();
        }
        world
    };
    let mut worlds = (1..HISTORIES).map(begun);
    let whole = worlds.find(World::measures);
    whole.unwrap_or_else(|| begun(0))
}

fn same(scenario: &Scenario, seed: u64, state: &State, sidecars: usize) -> bool {
    let split = state.split();
    let mut requests = Requests::new(scenario.traffic, seed);
    requests.set_effect(scenario.effect);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(!seed);
    let empty = StageSnapshot {
        epoch: split.epoch,
        share: split.share,
        ..StageSnapshot::default()
    };
    let mut one = empty.clone();
    let mut many = vec![empty; sidecars];
    let (mut at_ms, ends) = (0.0, scenario.horizon.as_secs_f64() * 1e3);
    while at_ms < ends {
        at_ms += requests.gap_ms();
        let answer = requests.next(split.share);
        let at = split.latency_from_ms + at_ms as u64;
        record(&mut one, &split, at, &answer);
        if let Some(stage) = many.get_mut(random.random_range(0..sidecars)) {
            record(stage, &split, at, &answer);
        }
    }
    let (mut one, mut many) = (snapshot(one), merged(many, &mut random));
    let seen = (take_seen(&mut one), take_seen(&mut many));
    let judged = |snapshot| judged(snapshot, state, &split);
    one == many && seen.0 == seen.1 && judged(&one) == judged(&many)
}

/// Takes out who was seen, in either arm.
fn take_seen(snapshot: &mut Snapshot) -> SlotSet {
    let mut all = SlotSet::default();
    for stage in snapshot.rollouts.values_mut().flatten() {
        let seen = std::mem::take(&mut stage.seen);
        all.merge(&seen.baseline);
        all.merge(&seen.canary);
    }
    all
}

/// All sidecars' counts, in some order.
fn merged(mut stages: Vec<StageSnapshot>, random: &mut Xoshiro256PlusPlus) -> Snapshot {
    let mut merged = Snapshot::default();
    while !stages.is_empty() {
        let next = stages.swap_remove(random.random_range(0..stages.len()));
        merged.merge(&snapshot(next));
    }
    merged
}

fn snapshot(stage: StageSnapshot) -> Snapshot {
    Snapshot {
        rollouts: [("suite".to_owned(), vec![stage])].into(),
    }
}

fn judged(snapshot: &Snapshot, state: &State, split: &Split) -> Option<(Vec<u8>, String)> {
    let now_ms = split.latency_from_ms + 600_000;
    let mut evidence = Evidence::new(0);
    evidence.absorb(snapshot.rollouts.get("suite")?, now_ms);
    let report = evidence.judge(&state.policy(now_ms), now_ms);
    Some((evidence.to_bytes(), serde_json::to_string(&report).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::suite::cells;

    #[test]
    fn a_rollout_that_never_gets_far_is_no_endless_one() {
        let cells = cells(1);
        let mut scenario = cells.last().unwrap().scenario.clone();
        assert!(merges_to_the_bit(&scenario, 5));
        for guardrail in &mut scenario.spec.rollout.guardrails {
            guardrail.max = Some(0.0);
        }
        scenario.traffic.error_rate = 0.9;
        assert!(merges_to_the_bit(&scenario, 5));
    }
}
