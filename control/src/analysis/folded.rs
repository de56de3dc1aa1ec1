//! Sums of stages that are no longer kept apart. Inverse-variance combination is addition, so folding changes
//! no test; only the P95 difference, which is no sum, forgets folded stages.

use serde::{Deserialize, Serialize};
use serin_stats::cluster::StageEffect;

use super::stage::Effects;

/// What the folded stages say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Folded {
    /// Epochs up to here are folded.
    through: Option<u64>,
    error: Sum,
    ridit: Sum,
    slow: Sum,
}

/// Stage effects, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    information: f64,
    weighted_diff: f64,
    weighted_deff: f64,
    n_baseline: u64,
    n_canary: u64,
    x_baseline: f64,
    x_canary: f64,
}

impl Folded {
    /// The first epoch that is not folded.
    pub(super) fn next_epoch(&self) -> u64 {
        self.through.map_or(0, |epoch| epoch.saturating_add(1))
    }

    pub(super) fn add(&mut self, epoch: u64, effects: &Effects) {
        self.through = Some(epoch);
        self.error.add(effects.error);
        self.ridit.add(effects.ridit);
        self.slow.add(effects.slow);
    }

    pub(super) fn error(&self) -> Option<StageEffect> {
        self.error.effect()
    }

    pub(super) fn ridit(&self) -> Option<StageEffect> {
        self.ridit.effect()
    }

    pub(super) fn slow(&self) -> Option<StageEffect> {
        self.slow.effect()
    }
}

impl Sum {
    fn add(&mut self, effect: Option<StageEffect>) {
        let Some(effect) = effect else { return };
        self.information += effect.information;
        self.weighted_diff += effect.information * effect.diff;
        self.weighted_deff += effect.information * effect.deff;
        self.n_baseline += effect.n_baseline;
        self.n_canary += effect.n_canary;
        self.x_baseline += effect.x_baseline;
        self.x_canary += effect.x_canary;
    }

    fn effect(&self) -> Option<StageEffect> {
        (self.information > 0.0).then(|| StageEffect {
            p_baseline: self.x_baseline / self.n_baseline.max(1) as f64,
            p_canary: self.x_canary / self.n_canary.max(1) as f64,
            diff: self.weighted_diff / self.information,
            information: self.information,
            deff: self.weighted_deff / self.information,
            n_baseline: self.n_baseline,
            n_canary: self.n_canary,
            x_baseline: self.x_baseline,
            x_canary: self.x_canary,
        })
    }
}
