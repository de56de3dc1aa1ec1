//! The status of a rollout as JSON: the contract's document.

use serde_json::{Map, Value, json};
use serin_config::model::{Backend, Route};
use serin_stats::shadow::Target;

use super::control::Control;
use super::stamp::rfc3339;
use super::track::{PROMOTED_FAILING, Track};
use crate::analysis::{
    ArmReport, Arms, Classic, GuardrailReport, Proof, Recommendation, Samples, Verdict,
};
use crate::rollout::Phase;

impl Control {
    /// One rollout's status.
    pub(super) fn status(&self, name: &str) -> Option<Value> {
        let track = self.tracks.get(name)?;
        let route = self.config.route(name)?;
        let state = &track.state;
        let report = track.report.as_ref();
        let nothing = Arms::default();
        let (arms, stage) =
            report.map_or((&nothing, &nothing), |report| (&report.arms, &report.stage));
        let breach = state
            .latch()
            .and_then(|latch| latch.breach.as_ref())
            .or_else(|| report.and_then(|report| report.breach.as_ref()));
        let mut alarms = self.alarms();
        alarms.extend(own_alarms(track));
        Some(json!({
            "name": name,
            "phase": state.visible_phase().name(),
            "reason": self.reason(track),
            "since": rfc3339(state.phase_since_ms),
            "began_at": rfc3339(state.began_ms),
            "recommendation": recommendation(track),
            "step": self.step(track),
            "weight": {"desired": state.desired_weight(), "actual": track.split.share},
            "holdback": state.holdback,
            "epoch": track.split.epoch,
            "arms": {
                "baseline": arm(Some(&route.baseline), &arms.baseline),
                "canary": arm(route.canary.as_ref(), &arms.canary),
                "shadow": shadow(track, route),
            },
            "stage": {"baseline": stage.baseline, "canary": stage.canary},
            "guardrails": guardrails(track, route),
            "sample_ratio": report.map(|report| report.sample_ratio),
            "breach": breach,
            "config": {
                "loaded_at": rfc3339(self.loaded_at_ms),
                "refused": self.refused,
            },
            "alarms": alarms,
        }))
    }

    /// Every rollout's status, in the order of the configuration.
    pub(super) fn statuses(&self) -> Value {
        let routes = self.config.routes.iter();
        routes
            .filter_map(|route| self.status(&route.name))
            .collect()
    }

    fn reason(&self, track: &Track) -> String {
        let state = &track.state;
        if state.visible_phase() == state.phase {
            return state.reason.clone();
        }
        // Taken back already, and said so only when it cannot be forgotten any more.
        let failing = self.failing.as_ref().map_or("", |failing| &failing.message);
        format!(
            "{} ({} at weight 0; not on disk yet: {failing})",
            state.reason,
            state.phase.name()
        )
    }

    fn step(&self, track: &Track) -> Value {
        let state = &track.state;
        let Some(step) = state.spec.steps().get(state.step) else {
            return Value::Null;
        };
        let ended = state.phase.is_latched() || state.phase == Phase::Healthy;
        let until_ms = if ended {
            state.phase_since_ms
        } else {
            self.now_ms()
        };
        let elapsed_ms = until_ms.saturating_sub(state.step_began_ms);
        json!({
            "index": state.step,
            "of": state.spec.steps().len(),
            "weight": step.weight,
            "shadow": step.shadow,
            "elapsed_s": elapsed_ms as f64 / 1_000.0,
        })
    }
}

fn recommendation(track: &Track) -> Recommendation {
    if track.state.phase == Phase::RolledBack {
        return Recommendation::RollbackImmediately;
    }
    track
        .report
        .as_ref()
        .map_or(Recommendation::MonitorClosely, |report| {
            report.recommendation
        })
}

fn arm(backend: Option<&Backend>, counts: &ArmReport) -> Value {
    let mut arm = object(counts);
    name_release(&mut arm, backend);
    Value::Object(arm)
}

fn name_release(arm: &mut Map<String, Value>, backend: Option<&Backend>) {
    if let Some(release) = backend.and_then(|backend| backend.release.as_ref()) {
        arm.insert("release".to_owned(), json!(release.fields));
        arm.insert("digest".to_owned(), json!(release.digest.to_string()));
    }
}

/// What copies say, and who gets them; empty where nothing is copied.
fn shadow(track: &Track, route: &Route) -> Value {
    let state = &track.state;
    let report = track
        .report
        .as_ref()
        .and_then(|report| report.shadow.as_ref());
    let Some(report) = report else {
        return Value::Object(Map::new());
    };
    let is_canary = report.target == Target::Canary.name();
    let backend = if is_canary {
        route.canary.as_ref()
    } else {
        route.shadow.as_ref()
    };
    let mirror = state.spec.mirror.as_ref();
    let mirror = mirror.filter(|mirror| state.mirrors() && mirror.has_backend != is_canary);
    let mirror = mirror.map_or(0.0, |mirror| mirror.share);
    let step = if is_canary { state.shadow } else { 0.0 };
    let mut shadow = object(report);
    name_release(&mut shadow, backend);
    shadow.insert("share".to_owned(), json!(mirror.max(step)));
    shadow.insert("stopped".to_owned(), json!(state.mirror_stopped));
    Value::Object(shadow)
}

/// Before the first look every guardrail is inconclusive: nothing was seen.
fn guardrails(track: &Track, route: &Route) -> Value {
    if let Some(report) = &track.report {
        let mut report = report.clone();
        track.evidence.complete(&mut report);
        return json!(report.guardrails);
    }
    let guardrails = route.rollout.iter().flat_map(|rollout| &rollout.guardrails);
    guardrails
        .map(|guardrail| {
            json!(GuardrailReport {
                metric: guardrail.metric,
                verdict: Verdict::Inconclusive,
                baseline: None,
                canary: None,
                effect: None,
                interval: None,
                max_increase: guardrail.max_increase.over(0.0),
                max: guardrail.max,
                p_value: 1.0,
                ln_e: 0.0,
                alpha: track.state.policy(0).share_of(guardrail.metric),
                design_effect: 1.0,
                proof: Proof::default(),
                samples: Samples::default(),
                samples_needed: None,
                on_breach: guardrail.on_breach,
                dry_run: guardrail.dry_run,
                classic: Classic::default(),
            })
        })
        .collect()
}

fn own_alarms(track: &Track) -> Vec<Value> {
    let alarms = track.report.iter().flat_map(|report| &report.alarms);
    let after = track.warning().map(|alarm| {
        json!({"kind": PROMOTED_FAILING, "message": alarm.message, "since": rfc3339(alarm.since_ms)})
    });
    alarms
        .map(|alarm| {
            let kind = alarm.kind.name();
            let since_ms = track.alarms.get(kind).copied().unwrap_or_default();
            json!({"kind": kind, "message": alarm.message, "since": rfc3339(since_ms)})
        })
        .chain(after)
        .collect()
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}
