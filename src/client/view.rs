//! What the tables show of a rollout's status: a lenient reading of the admin API's JSON.
//!
//! A newer proxy may say more and leave out what does not apply, so unknown members are ignored and missing
//! ones are empty; `--output json` prints the answer itself and does not come through here.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One rollout, as `GET /api/v1/rollouts/{name}` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) phase: String,
    pub(crate) reason: String,
    pub(crate) recommendation: Option<String>,
    pub(crate) step: Option<Step>,
    pub(crate) weight: Weight,
    pub(crate) epoch: u64,
    pub(crate) arms: Arms,
    pub(crate) guardrails: Vec<Guardrail>,
    pub(crate) breach: Option<Breach>,
    pub(crate) config: ConfigState,
    pub(crate) alarms: Vec<Alarm>,
}

impl Status {
    /// The only phase with which `serin status` exits 0.
    pub(crate) fn is_healthy(&self) -> bool {
        self.phase == "Healthy"
    }

    /// Nothing more happens by itself.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Healthy" | "RolledBack" | "Aborted")
    }
}

/// Where the ramp stands; `index` counts from 0.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) index: u64,
    pub(crate) of: u64,
    pub(crate) weight: f64,
    pub(crate) shadow: f64,
    pub(crate) elapsed_s: f64,
}

/// Fractions of 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Weight {
    pub(crate) desired: f64,
    pub(crate) actual: f64,
}

/// Counts since the rollout began.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Arms {
    pub(crate) baseline: Arm,
    pub(crate) canary: Arm,
    pub(crate) shadow: Shadow,
}

/// What copies of requests say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shadow {
    #[serde(flatten)]
    pub(crate) arm: Arm,
    pub(crate) target: Option<String>,
    pub(crate) share: f64,
    pub(crate) offered: u64,
    pub(crate) processed: Option<f64>,
    pub(crate) pairs: Pairs,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) latency_p95: Option<ShadowLatency>,
    pub(crate) stopped: Option<String>,
}

/// Copies beside their originals.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pairs {
    pub(crate) both_ok: u64,
    pub(crate) only_baseline_ok: u64,
    pub(crate) only_shadow_ok: u64,
    pub(crate) neither: u64,
}

/// How far copies and originals agree.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Agreement {
    pub(crate) rate: f64,
    pub(crate) interval: [f64; 2],
    pub(crate) mcnemar_p: Option<f64>,
    pub(crate) kappa: Option<f64>,
}

/// P95 of both sides, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ShadowLatency {
    pub(crate) baseline: Option<f64>,
    pub(crate) shadow: Option<f64>,
    pub(crate) limit: Option<f64>,
    pub(crate) met: Option<bool>,
}

/// One arm's release and what it answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Arm {
    pub(crate) release: BTreeMap<String, String>,
    pub(crate) digest: Option<String>,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) rejected: u64,
    pub(crate) aborted: u64,
    pub(crate) latency_ms: Latency,
}

impl Arm {
    /// The bundle in one line: `model=digits version=2`.
    pub(crate) fn label(&self) -> String {
        let fields: Vec<_> = self
            .release
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        fields.join(" ")
    }
}

/// Quantiles in milliseconds; none before the first sample.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// One guardrail's verdict with the numbers behind it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Guardrail {
    pub(crate) metric: String,
    pub(crate) verdict: String,
    pub(crate) baseline: Option<f64>,
    pub(crate) canary: Option<f64>,
    pub(crate) effect: Option<f64>,
    pub(crate) interval: Option<[Option<f64>; 2]>,
    pub(crate) max_increase: Option<f64>,
    pub(crate) p_value: Option<f64>,
    pub(crate) dry_run: bool,
    pub(crate) classic: Classic,
}

/// The fixed-horizon tests, for reading only unless they were asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Classic {
    pub(crate) used_for_decisions: bool,
    pub(crate) two_proportion_z: Option<ClassicTest>,
    pub(crate) mann_whitney: Option<ClassicTest>,
}

/// What of a classic test is shown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClassicTest {
    pub(crate) p_value: Option<f64>,
    /// Of rates: the plain difference.
    pub(crate) effect: Option<f64>,
    /// Of latencies: the chance that a canary request is slower.
    pub(crate) auc: Option<f64>,
    /// Of latencies: the median shift in milliseconds.
    pub(crate) hodges_lehmann: Option<f64>,
}

/// The broken rule behind a rollback, with the numbers at that moment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Breach {
    pub(crate) rule: String,
    pub(crate) metric: String,
    pub(crate) canary_requests: u64,
    pub(crate) canary_errors: u64,
    pub(crate) p_value: Option<f64>,
    pub(crate) classic_p: Option<f64>,
}

/// The configuration in force, and the one that was refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigState {
    pub(crate) refused: Option<String>,
}

/// Something a person should look at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Alarm {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) since: Option<String>,
}
