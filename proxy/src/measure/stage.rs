//! One epoch of one rollout: its split, and the counts of the requests assigned under it.
//!
//! A request holds its stage from its assignment to its end, so it counts for the epoch it was assigned in,
//! whenever it ends. A stage of a plain route counts for the metrics alone.
//!
//! Memory comes with use: a worker's counts for an arm are allocated at its first request there, the sets of
//! who erred at the first error, and that of who was seen at the first request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serin_stats::shadow::{ShadowCounts, Target};
use serin_stats::snapshot::{Arm, Outcome, PerArm, SlotSet, StageSnapshot, USER_SLOTS};
use serin_stats::split::Split;
use tokio::sync::Notify;

use super::cell::Cell;
use super::copies::{CopyCell, CopyRecord, CopyTotals};
use super::record::Record;
use super::totals::Totals;

const WORDS: usize = USER_SLOTS / 64;

/// One epoch of one rollout, or a plain route.
#[derive(Debug)]
pub struct Stage {
    split: Arc<Split>,
    totals: Arc<Totals>,
    judged: Option<Judged>,
}

/// What a rollout's stage has and a plain route's has not.
#[derive(Debug)]
struct Judged {
    /// By worker.
    cells: Box<[PerArm<OnceLock<Box<Cell>>>]>,
    /// By worker, by target.
    copies: Box<[CopyCells]>,
    erred: PerArm<OnceLock<Box<[AtomicU64]>>>,
    /// A word of baseline's users, then one of the canary's: what is asked together lies together.
    seen: OnceLock<Box<[PerArm<AtomicU64>]>>,
    bell: Arc<Notify>,
}

type CopyCells = [OnceLock<Box<CopyCell>>; Target::ALL.len()];

impl Stage {
    /// A stage that the control loop judges.
    #[must_use]
    pub fn judged(
        split: Arc<Split>,
        totals: Arc<Totals>,
        workers: usize,
        bell: Arc<Notify>,
    ) -> Self {
        let judged = Judged {
            cells: (0..workers).map(|_| PerArm::default()).collect(),
            copies: (0..workers).map(|_| CopyCells::default()).collect(),
            erred: PerArm::default(),
            seen: OnceLock::new(),
            bell,
        };
        Self {
            split,
            totals,
            judged: Some(judged),
        }
    }

    /// A stage that only metrics see: a route without a rollout.
    #[must_use]
    pub fn plain(totals: Arc<Totals>) -> Self {
        Self {
            split: Arc::new(Split::baseline_only(0)),
            totals,
            judged: None,
        }
    }

    /// Who gets what in this stage.
    #[must_use]
    pub fn split(&self) -> &Arc<Split> {
        &self.split
    }

    /// Whether the control loop sees this stage.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        self.judged.is_some()
    }

    /// Notes whose request was assigned to an arm. A slot belongs to the arm of its first request, so the
    /// share of slots is the share of users, however full the set is. Noted at the beginning: at the end, a
    /// slow arm's users would seem to be missing.
    pub fn see(&self, arm: Arm, slot: u16) {
        if let Some(judged) = &self.judged {
            judged.mark_seen(arm, usize::from(slot));
        }
    }

    /// Counts a request that ended. Each worker passes its own number, and no other thread does.
    pub fn record(&self, worker: usize, record: &Record) {
        self.totals.count(worker, record);
        let Some(judged) = &self.judged else {
            return;
        };
        let Some(cells) = judged.cells.get(worker) else {
            debug_assert!(false, "worker {worker} has no cell");
            return;
        };
        let cell = cells.get(record.arm).get_or_init(Box::default);
        cell.count(record, &self.split);
        if record.outcome == Outcome::Error {
            judged.mark_erred(record);
        }
        cell.finish();
        if record.is_alarming() {
            judged.bell.notify_one();
        }
    }

    /// What is counted of the route's copies, whatever their epoch.
    #[must_use]
    pub fn copies(&self) -> &Arc<CopyTotals> {
        &self.totals.copies
    }

    /// Counts a request that was to be copied, when copy and original are over. Each worker passes its own
    /// number, and no other thread does.
    pub fn record_copy(&self, worker: usize, record: &CopyRecord) {
        self.totals.copies.count(worker, record.result);
        let Some(judged) = &self.judged else {
            return;
        };
        let cells = judged.copies.get(worker);
        let Some(cell) = cells.and_then(|cells| cells.get(record.target as usize)) else {
            debug_assert!(false, "worker {worker} has no cell for copies");
            return;
        };
        cell.get_or_init(Box::default).count(record, &self.split);
        if record.is_alarming() {
            judged.bell.notify_one();
        }
    }

    /// Counts an endpoint's answer that ended, well or not, for the metrics. The same rule.
    pub fn record_asked(&self, worker: usize, arm: Arm, took: Duration) {
        self.totals.count_asked(worker, arm, took);
    }

    /// Requests and copies counted so far, by arm and worker. Unchanged since an earlier reading: so is all the
    /// rest.
    #[must_use]
    pub fn records(&self) -> u64 {
        let Some(judged) = &self.judged else {
            return 0;
        };
        let cells = judged.cells.iter();
        let requests: u64 = cells
            .flat_map(|cells| Arm::ALL.map(|arm| cells.get(arm)))
            .filter_map(OnceLock::get)
            .map(|cell| cell.records())
            .sum();
        let copies = judged.copies.iter().flatten().filter_map(OnceLock::get);
        requests + copies.map(|cell| cell.records()).sum::<u64>()
    }

    /// Reads all workers' counts, and takes the slots that erred since the last time. `None` for a plain
    /// route.
    #[must_use]
    pub fn take_snapshot(&self) -> Option<StageSnapshot> {
        let judged = self.judged.as_ref()?;
        let mut snapshot = StageSnapshot {
            epoch: self.split.epoch,
            share: self.split.share,
            // Before the counts: the errors behind these slots are then counted.
            erred: PerArm {
                baseline: drain(&judged.erred.baseline),
                canary: drain(&judged.erred.canary),
            },
            seen: judged.seen(),
            arms: PerArm::default(),
            shadow: judged.shadow(),
        };
        for cells in &judged.cells {
            for arm in Arm::ALL {
                if let Some(cell) = cells.get(arm).get() {
                    cell.read_into(snapshot.arms.get_mut(arm));
                }
            }
        }
        Some(snapshot)
    }
}

impl Judged {
    /// The counts of copies, over all workers; none for a target that got none.
    fn shadow(&self) -> BTreeMap<Target, ShadowCounts> {
        let mut sums = BTreeMap::new();
        for cells in &self.copies {
            for (target, cell) in Target::ALL.into_iter().zip(cells) {
                if let Some(cell) = cell.get() {
                    cell.read_into(sums.entry(target).or_default());
                }
            }
        }
        sums
    }

    /// The sets are shared by all workers: locked instructions, but only on a user's first error.
    fn mark_erred(&self, record: &Record) {
        let slot = usize::from(record.assignment.slot);
        let words = self.erred.get(record.arm).get_or_init(|| {
            std::iter::repeat_with(AtomicU64::default)
                .take(WORDS)
                .collect()
        });
        if let Some(word) = words.get(slot / 64) {
            // Also when the bit is seen set already: it may be about to be drained.
            word.fetch_or(1 << (slot % 64), Ordering::AcqRel);
        }
    }

    /// Reads on every request, and writes on a user's first.
    fn mark_seen(&self, arm: Arm, slot: usize) {
        let words = self.seen.get_or_init(|| {
            std::iter::repeat_with(PerArm::default)
                .take(WORDS)
                .collect()
        });
        let Some(word) = words.get(slot / 64) else {
            return;
        };
        let bit = 1 << (slot % 64);
        let taken = word.baseline.load(Ordering::Relaxed) | word.canary.load(Ordering::Relaxed);
        if taken & bit == 0 {
            // Two workers may claim a slot for both arms at once; then it counts for neither.
            word.get(arm).fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> PerArm<SlotSet> {
        let words = self.seen.get().map_or(&[][..], |words| words);
        let of = |arm| {
            let words = words
                .iter()
                .map(|word| word.get(arm).load(Ordering::Relaxed));
            SlotSet::from_words(words.collect())
        };
        PerArm {
            baseline: of(Arm::Baseline),
            canary: of(Arm::Canary),
        }
    }
}

fn drain(erred: &OnceLock<Box<[AtomicU64]>>) -> SlotSet {
    let words = erred.get().map(|words| {
        let words = words.iter();
        words.map(|word| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::AcqRel),
        })
    });
    SlotSet::from_words(words.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
