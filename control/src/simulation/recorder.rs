//! Counting what happened, into the values that the data plane sends up.
//!
//! The same fields by the same rules as the proxy's recorder: latency from the end of the warm-up on, ranks
//! once there is a reference, user slots on errors and on a user's first sight.

use serin_stats::shadow::{CopyResult, Target};
use serin_stats::snapshot::{Arm, ArmCounts, Outcome, StageSnapshot};
use serin_stats::split::Split;

use super::traffic::Answer;

/// Counts one request of the stage's epoch.
pub(super) fn record(stage: &mut StageSnapshot, split: &Split, at_ms: u64, answer: &Answer) {
    see(stage, answer);
    let counts = stage.arms.get_mut(answer.arm);
    let bucket = usize::from(answer.user.bucket);
    bump(&mut counts.outcomes, answer.outcome as usize, 1);
    bump(&mut counts.requests.0, bucket, 1);
    match answer.outcome {
        Outcome::Success => {}
        Outcome::Error => {
            bump(&mut counts.errors.0, bucket, 1);
            counts.unreachable += u64::from(answer.unreachable);
            let erred = stage.erred.get_mut(answer.arm);
            erred.insert(answer.user.slot.into());
        }
        Outcome::Rejected => bump(&mut counts.rejected.0, bucket, 1),
        Outcome::Aborted => bump(&mut counts.aborted.0, bucket, 1),
    }
    if at_ms >= split.latency_from_ms {
        measure(stage.arms.get_mut(answer.arm), split, answer);
    }
}

/// Counts a copied request of the stage's epoch: the canary's answer beside the original's.
pub(super) fn record_copy(
    stage: &mut StageSnapshot,
    split: &Split,
    at_ms: u64,
    (original, copy): (&Answer, &Answer),
) {
    let counts = stage.shadow.entry(Target::Canary).or_default();
    let result = match copy.outcome {
        Outcome::Success => CopyResult::Ok,
        Outcome::Error if copy.unreachable => CopyResult::Unreachable,
        Outcome::Error => CopyResult::Error,
        Outcome::Rejected => CopyResult::Rejected,
        // Nobody gives a copy up but the deadline.
        Outcome::Aborted => CopyResult::Timeout,
    };
    bump(&mut counts.results, result as usize, 1);
    // A client that left says nothing about the answer.
    if original.outcome == Outcome::Aborted {
        return;
    }
    let bucket = usize::from(original.user.bucket);
    bump(&mut counts.paired.0, bucket, 1);
    match (
        original.outcome == Outcome::Success,
        result == CopyResult::Ok,
    ) {
        (true, true) => {}
        (true, false) => bump(&mut counts.only_shadow_failed.0, bucket, 1),
        (false, true) => bump(&mut counts.only_baseline_failed.0, bucket, 1),
        (false, false) => counts.both_failed += 1,
    }
    if at_ms >= split.latency_from_ms {
        counts.latency.record_bin(copy.total);
        counts.baseline_latency.record_bin(original.total);
    }
}

/// A slot belongs to the arm of its first request.
fn see(stage: &mut StageSnapshot, answer: &Answer) {
    let slot = answer.user.slot.into();
    let is_taken = Arm::ALL
        .iter()
        .any(|&arm| stage.seen.get(arm).contains(slot));
    if !is_taken {
        stage.seen.get_mut(answer.arm).insert(slot);
    }
}

fn measure(counts: &mut ArmCounts, split: &Split, answer: &Answer) {
    let bucket = usize::from(answer.user.bucket);
    let latency = &mut counts.latency;
    latency.total.record_bin(answer.total);
    latency.first_byte.record_bin(answer.first_byte);
    if let Some(reference) = &split.reference {
        let (half_rank, slow) = reference.rank_bin(answer.total);
        bump(&mut latency.measured.0, bucket, 1);
        bump(&mut latency.slow.0, bucket, u64::from(slow));
        bump(&mut latency.half_ranks.0, bucket, half_rank.into());
        latency.half_ranks_squared += u64::from(half_rank).pow(2);
    }
}

fn bump(counts: &mut [u64], at: usize, by: u64) {
    if let Some(count) = counts.get_mut(at) {
        *count += by;
    }
}
