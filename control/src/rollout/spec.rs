//! What the config asks of one rollout, in the form that the state machine keeps.

use serde::{Deserialize, Serialize};
use serin_config::model::{Plan, Rollout, Route, Step};

/// One rollout as the config has it now. Endpoints are no part of it: a moved server is the same release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// The route's name, also the rollout's.
    pub name: String,
    /// Identity of the release that serves today.
    pub baseline_digest: String,
    /// Identity of the release that has to earn its traffic; rollbacks are remembered by it.
    pub canary_digest: String,
    /// Plan, guardrails, analysis.
    pub rollout: Rollout,
    /// The standing mirror.
    #[serde(default)]
    pub mirror: Option<MirrorSpec>,
}

/// A standing mirror as the config has it now: another one is judged anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirrorSpec {
    /// Share of baseline's requests that are copied.
    pub share: f64,
    /// The copies go to a backend of their own, not to the canary.
    pub has_backend: bool,
    /// Identity of the release there, if it was given one.
    pub digest: Option<String>,
}

impl RolloutSpec {
    /// The rollout of a route; `None` for a plain route.
    #[must_use]
    pub fn of(route: &Route) -> Option<Self> {
        let digest = |backend: &serin_config::model::Backend| {
            backend
                .release
                .as_ref()
                .map(|release| release.digest.to_string())
        };
        Some(Self {
            name: route.name.to_string(),
            baseline_digest: digest(&route.baseline)?,
            canary_digest: digest(route.canary.as_ref()?)?,
            rollout: route.rollout.clone()?,
            mirror: route.mirror.map(|mirror| MirrorSpec {
                share: mirror.share,
                has_backend: route.shadow.is_some(),
                digest: route.shadow.as_ref().and_then(digest),
            }),
        })
    }

    /// The steps of an automatic ramp; none when the weight is set by hand.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        match &self.rollout.plan {
            Plan::Steps(steps) => steps,
            Plan::Manual(_) => &[],
        }
    }

    /// The weight that is set by hand in the config, if it is.
    #[must_use]
    pub const fn manual_weight(&self) -> Option<f64> {
        match &self.rollout.plan {
            Plan::Steps(_) => None,
            Plan::Manual(weight) => Some(*weight),
        }
    }

    /// Warm-up after a step-up, in milliseconds.
    #[must_use]
    pub fn warmup_ms(&self) -> u64 {
        millis(self.rollout.analysis.warmup)
    }
}

/// A duration in whole milliseconds; endless when it does not fit.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
