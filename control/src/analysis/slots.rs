//! Whose slot is it? Each of 65,536 user slots is claimed once in a rollout, by the arm in which its user was
//! first seen to do something (err, or come at all), and stays claimed.
//!
//! Stages are taken in the order of their epochs, also when a look meets several of them: a user whom a new split
//! moved has done it in both arms, and counts for the arm of the earlier stage. Which stage that is does not depend
//! on the arms, so that each stage's users are dealt as its split deals them; to leave out whoever moved would take
//! from one arm alone. Within one stage nobody moves: a slot that both arms claim there has users of both, which came
//! first is unknown, and it is credited to nobody, but is taken.

use serde::{Deserialize, Serialize};
use serin_stats::snapshot::{PerArm, SlotSet, StageSnapshot, USER_SLOTS};

use super::stored;

const WORDS: usize = USER_SLOTS / 64;

/// Slots that can't be claimed any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// As a bitmap; empty while there are none.
    #[serde(with = "stored::words")]
    taken: Vec<u64>,
}

/// Slots that were claimed in one stage just now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Credit {
    pub(super) epoch: u64,
    pub(super) share: f64,
    pub(super) baseline: u64,
    pub(super) canary: u64,
}

impl Claims {
    /// Takes in the sets of these stages, in ascending order of epoch, and says who claimed what.
    pub(super) fn absorb<'a>(
        &mut self,
        stages: impl Iterator<Item = &'a StageSnapshot>,
        sets: fn(&StageSnapshot) -> &PerArm<SlotSet>,
    ) -> Vec<Credit> {
        stages
            .filter_map(|stage| {
                let [baseline, canary] = self.claim(sets(stage));
                (baseline + canary > 0).then_some(Credit {
                    epoch: stage.epoch,
                    share: stage.share,
                    baseline,
                    canary,
                })
            })
            .collect()
    }

    /// Takes the free ones of one stage's slots, and says how many each arm has claimed.
    fn claim(&mut self, sets: &PerArm<SlotSet>) -> [u64; 2] {
        if sets.baseline.is_empty() && sets.canary.is_empty() {
            return [0; 2];
        }
        self.taken.resize(WORDS, 0);
        let mut claimed = [0; 2];
        let both = words(&sets.baseline).zip(words(&sets.canary));
        for (taken, (baseline, canary)) in self.taken.iter_mut().zip(both) {
            let alone = (baseline ^ canary) & !*taken;
            let [by_baseline, by_canary] = &mut claimed;
            *by_baseline += u64::from((alone & baseline).count_ones());
            *by_canary += u64::from((alone & canary).count_ones());
            *taken |= baseline | canary;
        }
        claimed
    }
}

/// Of an empty set, too.
fn words(set: &SlotSet) -> impl Iterator<Item = u64> {
    set.words().iter().copied().chain(std::iter::repeat(0))
}
