//! What is counted, that splitting the work over recorders changes no bit of it, and that a reader never sees
//! more failures than requests.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use proptest::prelude::*;
use serin_stats::histogram::Histogram;
use serin_stats::snapshot::ArmCounts;
use serin_stats::split::LatencyReference;

use super::*;
use crate::route::Salt;

fn stage(split: &Arc<Split>, workers: usize) -> Stage {
    let totals = Arc::new(Totals::new(workers));
    Stage::judged(Arc::clone(split), totals, workers, Arc::new(Notify::new()))
}

/// A split whose warm-up ends at 100 ms, with the latencies 1 to 100 ms as its reference.
fn split() -> Arc<Split> {
    let mut histogram = Histogram::default();
    for ms in 1..=100 {
        histogram.record(f64::from(ms));
    }
    Arc::new(Split {
        epoch: 3,
        share: 0.25,
        latency_from_ms: 100,
        reference: LatencyReference::freeze(histogram).map(Arc::new),
        ..Split::baseline_only(3)
    })
}

fn record(arm: Arm, outcome: Outcome) -> Record {
    Record {
        arm,
        assignment: Salt::new(None, "digits", None).assign(b"ada"),
        outcome,
        unreachable: false,
        arrived_ms: 100,
        total_ms: 50.0,
        first_byte_ms: Some(20.0),
    }
}

/// The same counts, made the plain way.
fn expected(split: &Split, records: &[Record]) -> StageSnapshot {
    let mut snapshot = StageSnapshot {
        epoch: split.epoch,
        share: split.share,
        ..StageSnapshot::default()
    };
    for record in records {
        let bucket = usize::from(record.assignment.bucket);
        let counts: &mut ArmCounts = snapshot.arms.get_mut(record.arm);
        counts.outcomes[record.outcome as usize] += 1;
        counts.unreachable += u64::from(record.unreachable);
        counts.requests.0[bucket] += 1;
        match record.outcome {
            Outcome::Success => {}
            Outcome::Error => counts.errors.0[bucket] += 1,
            Outcome::Rejected => counts.rejected.0[bucket] += 1,
            Outcome::Aborted => counts.aborted.0[bucket] += 1,
        }
        if record.outcome == Outcome::Error {
            let erred = snapshot.erred.get_mut(record.arm);
            erred.insert(usize::from(record.assignment.slot));
        }
        if record.arrived_ms < split.latency_from_ms {
            continue;
        }
        let latency = &mut snapshot.arms.get_mut(record.arm).latency;
        latency.total.record(record.total_ms);
        if let Some(ms) = record.first_byte_ms {
            latency.first_byte.record(ms);
        }
        if let Some(reference) = &split.reference {
            let (half_rank, slow) = reference.rank(record.total_ms);
            latency.measured.0[bucket] += 1;
            latency.slow.0[bucket] += u64::from(slow);
            latency.half_ranks.0[bucket] += u64::from(half_rank);
            latency.half_ranks_squared += u64::from(half_rank).pow(2);
        }
    }
    snapshot
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (
        prop::sample::select(&Arm::ALL[..]),
        prop::sample::select(&Outcome::ALL[..]),
        0..60_u32,
        any::<bool>(),
        50..200_u64,
        0.01..1e6_f64,
        prop::option::of(0.01..1e6_f64),
    )
        .prop_map(
            |(arm, outcome, user, cut_off, arrived_ms, total_ms, first_byte_ms)| Record {
                arm,
                assignment: Salt::new(None, "digits", None).assign(&user.to_le_bytes()),
                outcome,
                unreachable: cut_off && outcome == Outcome::Error,
                arrived_ms,
                total_ms,
                first_byte_ms,
            },
        );
    prop::collection::vec(one, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn many_recorders_merge_to_what_one_counts(
        records in records(),
        places in prop::collection::vec((0..3_usize, 0..4_usize), 300),
        with_reference in any::<bool>(),
    ) {
        let mut split = (*split()).clone();
        split.reference = split.reference.filter(|_| with_reference);
        let split = Arc::new(split);
        let expected = expected(&split, &records);

        let alone = stage(&split, 1);
        let fleet: Vec<Stage> = (0..3).map(|_| stage(&split, 4)).collect();
        for (record, (sidecar, worker)) in records.iter().zip(places) {
            alone.record(0, record);
            fleet[sidecar].record(worker, record);
        }
        prop_assert_eq!(alone.take_snapshot().unwrap(), expected.clone());

        let parts: Vec<StageSnapshot> =
            fleet.iter().map(|stage| stage.take_snapshot().unwrap()).collect();
        let mut forwards = parts[0].clone();
        forwards.merge(&parts[1]);
        forwards.merge(&parts[2]);
        let mut backwards = parts[2].clone();
        backwards.merge(&parts[1]);
        backwards.merge(&parts[0]);
        prop_assert_eq!(&forwards, &expected);
        prop_assert_eq!(&backwards, &expected);
    }
}

#[test]
fn warm_up_leaves_latency_out_and_counts_errors() {
    let stage = stage(&split(), 1);
    let early = Record {
        arrived_ms: 99,
        ..record(Arm::Canary, Outcome::Error)
    };
    stage.record(0, &early);
    let counts = stage.take_snapshot().unwrap().arms.canary;
    assert_eq!(counts.outcome(Outcome::Error), 1);
    assert_eq!(counts.latency, ArmCounts::default().latency);

    stage.record(0, &record(Arm::Canary, Outcome::Aborted));
    let latency = stage.take_snapshot().unwrap().arms.canary.latency;
    assert_eq!(
        (latency.total.total(), latency.first_byte.total()),
        (1, 1),
        "an aborted request counts with its elapsed time"
    );
    assert_eq!(latency.measured.total(), 1);
}

#[test]
fn who_erred_is_told_once_and_again_after_a_new_error() {
    let stage = stage(&split(), 1);
    let erring = record(Arm::Canary, Outcome::Error);
    let slot = usize::from(erring.assignment.slot);
    let erred = || stage.take_snapshot().unwrap().erred;
    stage.record(0, &record(Arm::Canary, Outcome::Rejected));
    assert!(erred().canary.is_empty());
    for _ in 0..2 {
        stage.record(0, &erring);
        stage.record(0, &erring);
        let taken = erred();
        assert!(taken.canary.contains(slot) && taken.baseline.is_empty());
        assert_eq!(taken.canary.len(), 1);
        assert!(erred().canary.is_empty());
    }
}

#[test]
fn the_bell_rings_for_errors_and_for_a_canary_that_fails_its_client() {
    for arm in Arm::ALL {
        for outcome in Outcome::ALL {
            let bell = Arc::new(Notify::new());
            let totals = Arc::new(Totals::new(1));
            let judged = Stage::judged(split(), Arc::clone(&totals), 1, Arc::clone(&bell));
            judged.record(0, &record(arm, outcome));
            let rang = bell.notified().now_or_never().is_some();
            let expected = match (arm, outcome) {
                (_, Outcome::Success) => false,
                (Arm::Baseline, outcome) => outcome == Outcome::Error,
                (Arm::Canary, _) => true,
            };
            assert_eq!(rang, expected, "{arm:?} {outcome:?}");
        }
    }
}

#[test]
fn a_plain_stage_counts_for_the_metrics_alone() {
    let totals = Arc::new(Totals::new(1));
    let stage = Stage::plain(Arc::clone(&totals));
    stage.record(0, &record(Arm::Baseline, Outcome::Error));
    assert_eq!(stage.take_snapshot(), None);
    assert!(!stage.is_judged());
    assert_eq!(totals.read(Arm::Baseline).outcome(Outcome::Error), 1);
}

#[test]
fn an_idle_stage_owns_no_counts() {
    let stage = stage(&split(), 2);
    stage.record(1, &record(Arm::Baseline, Outcome::Success));
    let judged = stage.judged.as_ref().unwrap();
    assert!(judged.cells[0].baseline.get().is_none());
    assert!(judged.cells[1].baseline.get().is_some());
    assert!(judged.cells[1].canary.get().is_none());
    assert!(judged.erred.baseline.get().is_none());
}

/// Checks what must hold of a snapshot taken at any moment.
fn check_between_stores(snapshot: &StageSnapshot, before: &StageSnapshot) {
    for arm in Arm::ALL {
        let counts = snapshot.arms.get(arm);
        let latency = &counts.latency;
        for bucket in 0..counts.requests.0.len() {
            let at = |buckets: &serin_stats::snapshot::Buckets| buckets.0[bucket];
            let failed = at(&counts.errors) + at(&counts.rejected) + at(&counts.aborted);
            assert!(failed <= at(&counts.requests), "{arm:?} {bucket}");
            assert!(at(&latency.slow) <= at(&latency.measured));
            assert!(at(&latency.half_ranks) <= 200 * at(&latency.measured));
            assert!(at(&latency.measured) <= at(&counts.requests));
        }
        assert_eq!(counts.total(), counts.requests.total());
        assert_eq!(counts.outcome(Outcome::Error), counts.errors.total());
        assert!(counts.unreachable <= counts.errors.total());
        assert!(latency.total.total() <= latency.measured.total());
        let earlier = before.arms.get(arm);
        assert!(earlier.total() <= counts.total(), "counts only rise");
    }
}

/// Keeps recording until told to stop; returns how often. Every request of the canary fails, in one bucket,
/// and is slow: a reader that takes a failure before its request is found out at once.
fn fail(stage: &Stage, worker: usize, stop: &AtomicBool) -> u64 {
    let failure = Record {
        unreachable: true,
        total_ms: 500.0,
        ..record(Arm::Canary, Outcome::Error)
    };
    let mut failures = 0;
    while !stop.load(Ordering::Acquire) {
        stage.record(worker, &failure);
        failures += 1;
    }
    failures
}

#[test]
fn a_reader_never_sees_more_failures_than_requests() {
    /// Readings that fell into the writing.
    const READINGS: usize = 500;
    let stage = stage(&split(), 2);
    let stop = AtomicBool::new(false);
    let mut before = StageSnapshot::default();
    let mut read = || {
        let snapshot = stage.take_snapshot().unwrap();
        check_between_stores(&snapshot, &before);
        let moved = snapshot.arms != before.arms;
        before = snapshot;
        moved
    };
    let failures: u64 = std::thread::scope(|scope| {
        let writers = [0, 1].map(|worker| {
            let (stage, stop) = (&stage, &stop);
            scope.spawn(move || fail(stage, worker, stop))
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut moved = 0;
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            while moved < READINGS && Instant::now() < deadline {
                moved += usize::from(read());
            }
        }));
        stop.store(true, Ordering::Release);
        let failures = writers.map(|writer| writer.join().unwrap());
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
        assert_eq!(moved, READINGS);
        failures.iter().sum()
    });
    read();
    assert_eq!(before.arms.canary.outcomes, [0, failures, 0, 0]);
}

/// Waits until both workers got this far.
fn meet(arrived: &AtomicU64, round: u64) {
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut spins = 0_u32;
    while arrived.load(Ordering::Acquire) < 2 * (round + 1) {
        spins += 1;
        if spins.is_multiple_of(1_000) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn no_error_goes_unheard_where_workers_and_reader_meet() {
    let stage = stage(&split(), 2);
    let arrived = AtomicU64::new(0);
    // Both workers fill each word together, every other bit each.
    let fill = |worker: usize| {
        for word in 0..WORDS {
            meet(&arrived, word as u64);
            for bit in (worker..64).step_by(2) {
                let mut failure = record(Arm::Canary, Outcome::Error);
                failure.assignment.slot = (64 * word + bit) as u16;
                stage.record(worker, &failure);
            }
        }
    };
    let mut heard = SlotSet::default();
    let mut take = || heard.merge(&stage.take_snapshot().unwrap().erred.canary);
    std::thread::scope(|scope| {
        let writers = [0, 1].map(|worker| scope.spawn(move || fill(worker)));
        while writers.iter().any(|writer| !writer.is_finished()) {
            take();
        }
    });
    take();
    assert_eq!(heard.len(), USER_SLOTS as u64);
}

#[test]
fn a_slot_belongs_to_the_arm_of_its_first_request() {
    let stage = stage(&split(), 2);
    assert!(stage.take_snapshot().unwrap().seen.baseline.is_empty());
    for (arm, slot) in [
        (Arm::Canary, 7),
        (Arm::Baseline, 7),
        (Arm::Baseline, 8),
        (Arm::Baseline, 8),
        (Arm::Canary, 8),
        (Arm::Canary, u16::MAX),
    ] {
        stage.see(arm, slot);
    }
    for _ in 0..2 {
        let seen = stage.take_snapshot().unwrap().seen;
        let of = |arm| [7, 8, 65_535].map(|slot| seen.get(arm).contains(slot));
        assert_eq!(of(Arm::Baseline), [false, true, false]);
        assert_eq!(of(Arm::Canary), [true, false, true]);
        assert_eq!((seen.baseline.len(), seen.canary.len()), (1, 2));
    }
    Stage::plain(Arc::new(Totals::new(1))).see(Arm::Baseline, 1);
}

#[test]
fn the_share_of_slots_is_the_share_of_users_however_full_the_set_is() {
    let salt = Salt::new(None, "digits", None);
    let stage = stage(&split(), 1);
    for user in 0..300_000_u32 {
        let assignment = salt.assign(&user.to_le_bytes());
        stage.see(assignment.arm(0.25), assignment.slot);
    }
    let seen = stage.take_snapshot().unwrap().seen;
    let (baseline, canary) = (seen.baseline.len() as f64, seen.canary.len() as f64);
    assert!(baseline + canary > 64_000.0);
    let share = canary / (baseline + canary);
    assert!((share - 0.25).abs() < 0.006, "{share}");
}
