//! Sums of stages that are no longer kept apart. Inverse-variance combination is addition, so folding changes
//! no test; only quantiles' differences, which are no sums, forget folded stages.

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;
use serin_stats::cluster::StageEffect;

use super::facts::StageFacts;
use super::figures::{Ranked, first_byte_effects, rate_of, whole_effects};

/// What the folded stages say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Folded {
    /// Epochs up to here are folded.
    through: Option<u64>,
    error: Sum,
    rejected: Sum,
    aborted: Sum,
    whole: [Sum; 2],
    first_byte: [Sum; 2],
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

    pub(super) fn add(&mut self, stage: &StageFacts, reference_total: u64) {
        self.through = Some(stage.epoch);
        if !stage.compares() {
            return;
        }
        self.error.add(rate_of(&stage.error));
        self.rejected.add(rate_of(&stage.rejected));
        self.aborted.add(rate_of(&stage.aborted));
        let pairs = [
            (&mut self.whole, whole_effects(stage, reference_total)),
            (&mut self.first_byte, first_byte_effects(stage, 0)),
        ];
        for (sums, effects) in pairs {
            for (sum, effect) in sums.iter_mut().zip(effects) {
                sum.add(effect);
            }
        }
    }

    /// A share of requests.
    pub(super) fn rate(&self, metric: Metric) -> Option<StageEffect> {
        match metric {
            Metric::RejectedRate => self.rejected.effect(),
            Metric::AbortedRate => self.aborted.effect(),
            _ => self.error.effect(),
        }
    }

    pub(super) fn whole(&self) -> Ranked {
        self.whole.map(|sum| sum.effect())
    }

    pub(super) fn first_byte(&self) -> Ranked {
        self.first_byte.map(|sum| sum.effect())
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
