//! One stage's counts, and the facts that follow from them, read off once per change.

use serde::{Deserialize, Serialize};
use serin_stats::snapshot::{ArmCounts, PerArm, StageSnapshot};
use serin_stats::split::LatencyReference;

use super::facts::{Scale, StageFacts};
use super::stored;

/// One epoch's counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) epoch: u64,
    pub(super) share: f64,
    #[serde(with = "stored::arms")]
    pub(super) arms: PerArm<ArmCounts>,
    /// Of these counts; absent after a change.
    #[serde(skip)]
    facts: Option<(Scale, StageFacts)>,
}

impl Stage {
    pub(super) fn new(epoch: u64, share: f64) -> Self {
        Self {
            epoch,
            share,
            arms: PerArm::default(),
            facts: None,
        }
    }

    /// Takes over newer counts; the former ones, if anything changed. Counts never shrink: a recorder that
    /// started over has an epoch of its own.
    pub(super) fn update(&mut self, snapshot: &StageSnapshot) -> Option<PerArm<ArmCounts>> {
        if snapshot.arms == self.arms || size(&snapshot.arms) < size(&self.arms) {
            return None;
        }
        self.facts = None;
        Some(std::mem::replace(&mut self.arms, snapshot.arms.clone()))
    }

    /// What this stage says; `first_byte` is what times to the first byte are ranked against.
    pub(super) fn facts(
        &mut self,
        first_byte: Option<&LatencyReference>,
        scale: &Scale,
    ) -> StageFacts {
        if let Some((of, facts)) = &self.facts
            && of == scale
        {
            return facts.clone();
        }
        let facts = StageFacts::of((self.epoch, self.share), &self.arms, first_byte, scale);
        self.facts = Some((scale.clone(), facts.clone()));
        facts
    }

    /// Forgets what was read off: something else than the counts changed.
    pub(super) fn forget_facts(&mut self) {
        self.facts = None;
    }
}

fn size(arms: &PerArm<ArmCounts>) -> u64 {
    arms.baseline.total() + arms.canary.total()
}
