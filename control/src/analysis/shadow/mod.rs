//! What copies say about a release: evidence that is paired, and so kept apart from the arms'.
//!
//! A copy and its original are two answers to one request: they differ only when one of them failed alone, and
//! those pairs are all that tells a bad release from bad requests. No client saw a copy's answer, so nothing
//! here enters the rollout's strata. In a shadow step the copies go to the canary, gate the leaving of the step,
//! and a breach takes the canary back before any client has met it. A standing mirror is stopped by a breach.
//!
//! [`evidence`] is the memory of one target's copies, [`facts`] what a judgement is made of, [`judge`] the rules,
//! [`report`] what people are shown.

use serde::{Deserialize, Serialize};
use serin_stats::shadow::Target;
use serin_stats::snapshot::StageSnapshot;

mod evidence;
mod facts;
mod judge;
mod report;

pub(super) use facts::ShadowFacts;
pub(super) use judge::ShadowFindings;
pub use report::{
    Agreement, PairCounts, ShadowJudgement, ShadowLatency, ShadowRates, ShadowReport,
};

use evidence::Copies;

/// Where copies go now, and what is asked of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowPolicy {
    /// The present step copies to the canary.
    pub in_step: bool,
    /// There is a standing mirror.
    pub is_mirrored: bool,
    /// … and it has a backend of its own.
    pub has_backend: bool,
    /// The first epoch of the present mirror.
    pub mirror_epoch: u64,
}

impl ShadowPolicy {
    /// Who gets the standing mirror's copies.
    const fn mirror_target(self) -> Target {
        if self.has_backend {
            Target::Shadow
        } else {
            Target::Canary
        }
    }

    /// Whose copies are shown.
    const fn shown_target(self) -> Target {
        if self.in_step {
            Target::Canary
        } else {
            self.mirror_target()
        }
    }
}

/// The memory of all copies of one rollout.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Shadows {
    canary: Copies,
    shadow: Copies,
}

impl Shadows {
    /// Takes in what happened.
    pub(super) fn absorb<'s>(&mut self, stages: impl Iterator<Item = &'s StageSnapshot>) {
        for stage in stages {
            for (target, counts) in &stage.shadow {
                self.of_mut(*target).update(stage.epoch, counts);
            }
        }
        self.canary.claim();
        self.shadow.claim();
    }

    const fn of(&self, target: Target) -> &Copies {
        match target {
            Target::Canary => &self.canary,
            Target::Shadow => &self.shadow,
        }
    }

    const fn of_mut(&mut self, target: Target) -> &mut Copies {
        match target {
            Target::Canary => &mut self.canary,
            Target::Shadow => &mut self.shadow,
        }
    }
}

#[cfg(test)]
mod tests;
