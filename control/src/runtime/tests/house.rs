//! The harness: a recorded plane, a configuration, a controller, and an HTTP client that reads whole answers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use serin_config::model::Config;
use serin_stats::metrics::Page;
use serin_stats::names;
use serin_stats::snapshot::{Arm, ArmCounts, Outcome, Snapshot, StageSnapshot};
use serin_stats::split::Split;
use tokio::sync::Notify;

use crate::runtime::{Controller, Options};
use crate::{DataPlane, NowMs};

/// For anything that should happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A data plane whose traffic is written by hand, under whatever split is in force.
#[derive(Default)]
pub(super) struct Plane {
    inner: Mutex<Inner>,
    pub(super) panics: AtomicBool,
    slots: AtomicU64,
}

#[derive(Default)]
struct Inner {
    config: Option<Arc<Config>>,
    splits: BTreeMap<String, Arc<Split>>,
    snapshot: Snapshot,
    /// Every (epoch, share) that `digits` was ever under, and for which version.
    history: Vec<(u64, f64, String)>,
}

impl DataPlane for Plane {
    fn snapshot(&self) -> Snapshot {
        assert!(!self.panics.load(SeqCst), "the test asked for this panic");
        let mut inner = self.inner.lock().unwrap();
        let drained = inner.snapshot.clone();
        for stage in inner.snapshot.rollouts.values_mut().flatten() {
            stage.erred = Default::default();
        }
        drained
    }

    fn install(&self, config: &Arc<Config>, splits: &BTreeMap<String, Arc<Split>>) {
        let mut inner = self.inner.lock().unwrap();
        inner.config = Some(Arc::clone(config));
        inner.splits.clone_from(splits);
        if let Some(split) = splits.get("digits") {
            let canary = config.route("digits").unwrap().canary.clone().unwrap();
            let version = canary.release.unwrap().fields["version"].clone();
            inner.history.push((split.epoch, split.share, version));
        }
    }

    fn metrics(&self, page: &mut Page) {
        page.family(&names::CONNECTIONS).add(&[], 7_u64);
    }

    fn in_flight(&self) -> usize {
        0
    }
}

impl Plane {
    pub(super) fn split(&self, rollout: &str) -> Option<Arc<Split>> {
        self.inner.lock().unwrap().splits.get(rollout).cloned()
    }

    pub(super) fn share(&self) -> Option<f64> {
        self.split("digits").map(|split| split.share)
    }

    pub(super) fn history(&self) -> Vec<(u64, f64, String)> {
        self.inner.lock().unwrap().history.clone()
    }

    /// `requests` of one arm ended like this, each from a user of its own.
    pub(super) fn traffic(&self, arm: Arm, outcome: Outcome, requests: u64) {
        let mut inner = self.inner.lock().unwrap();
        let Some(split) = inner.splits.get("digits").cloned() else {
            panic!("nothing is installed");
        };
        let stages = inner
            .snapshot
            .rollouts
            .entry("digits".to_owned())
            .or_default();
        if stages.last().is_none_or(|stage| stage.epoch != split.epoch) {
            stages.push(StageSnapshot {
                epoch: split.epoch,
                share: split.share,
                ..StageSnapshot::default()
            });
        }
        let stage = stages.last_mut().unwrap();
        for _ in 0..requests {
            let slot = self.slots.fetch_add(1, SeqCst) as usize;
            let counts: &mut ArmCounts = stage.arms.get_mut(arm);
            counts.outcomes[outcome as usize] += 1;
            counts.requests.0[slot % 256] += 1;
            match outcome {
                Outcome::Success => {}
                Outcome::Error => {
                    counts.errors.0[slot % 256] += 1;
                    stage.erred.get_mut(arm).insert(slot);
                }
                Outcome::Rejected => counts.rejected.0[slot % 256] += 1,
                Outcome::Aborted => counts.aborted.0[slot % 256] += 1,
            }
        }
    }
}

impl Plane {
    /// Successes with measured latencies.
    pub(super) fn latencies(&self, arm: Arm, requests: u64) {
        self.traffic(arm, Outcome::Success, requests);
        let mut inner = self.inner.lock().unwrap();
        let stages = inner.snapshot.rollouts.get_mut("digits").unwrap();
        let counts = stages.last_mut().unwrap().arms.get_mut(arm);
        for request in 0..requests {
            counts.latency.total.record(10.0 + (request % 50) as f64);
        }
    }
}

/// What the tests vary in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) version: &'static str,
    pub(super) plan: &'static str,
    pub(super) admin: String,
    pub(super) interval: &'static str,
    pub(super) more: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: "2",
            plan: "steps: [{weight: 5%, min_duration: 1h}, {weight: 50%, min_duration: 1h}, {weight: 100%}]",
            admin: "127.0.0.1:0".to_owned(),
            interval: "1h",
            more: "",
        }
    }
}

impl Setup {
    pub(super) fn config(&self, state: &Path) -> Arc<Config> {
        let Self {
            version,
            plan,
            admin,
            interval,
            more,
        } = self;
        let state = state.display();
        let yaml = format!(
            r#"
listen: 127.0.0.1:0
admin: {admin}
probe: 127.0.0.1:0
state: {state}
routes:
  - name: digits
    match: {{path_prefix: /}}
    backends:
      baseline: {{release: {{model: digits, version: "1"}}, endpoints: ["http://127.0.0.1:9001"]}}
      canary: {{release: {{model: digits, version: "{version}"}}, endpoints: ["http://127.0.0.1:9002"]}}
    rollout:
      {plan}
      guardrails: [{{error_rate: {{max_increase: 0.5pp}}}}]
      analysis: {{interval: {interval}, warmup: 1s}}
{more}
"#
        );
        Arc::new(serin_config::parse(&yaml, "test.yaml").unwrap_or_else(|e| panic!("{e}")))
    }
}

/// A running control loop and what it talks to.
pub(super) struct House {
    pub(super) plane: Arc<Plane>,
    pub(super) controller: Controller,
    /// How far its clock is ahead.
    pub(super) ahead_ms: Arc<AtomicU64>,
    bell: Arc<Notify>,
}

impl House {
    pub(super) fn start(state: &Path, setup: &Setup) -> Self {
        let plane = Arc::new(Plane::default());
        let bell = Arc::new(Notify::new());
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let options = Options {
            checkpoint: Duration::from_secs(3_600),
            standby_poll: Duration::from_millis(20),
            mend: Duration::from_millis(200),
        };
        let seam: Arc<dyn DataPlane> = Arc::clone(&plane) as Arc<dyn DataPlane>;
        let controller = Controller::start(
            setup.config(state),
            seam,
            Arc::clone(&bell),
            clock(&ahead_ms),
            options,
        )
        .unwrap();
        Self {
            plane,
            controller,
            ahead_ms,
            bell,
        }
    }

    /// Requests ended; the data plane rings when one was not a success.
    pub(super) fn traffic(&self, arm: Arm, outcome: Outcome, requests: u64) {
        self.plane.traffic(arm, outcome, requests);
        let rings = match arm {
            Arm::Baseline => outcome == Outcome::Error,
            Arm::Canary => outcome != Outcome::Success,
        };
        if rings {
            self.bell.notify_one();
        }
    }

    /// A clean baseline, and a canary that fails every request, until it is gone. Returns how many it took.
    pub(super) fn break_canary(&self) -> u64 {
        self.traffic(Arm::Baseline, Outcome::Success, 200);
        for failed in 1..=100 {
            self.traffic(Arm::Canary, Outcome::Error, 1);
            let deadline = Instant::now() + Duration::from_millis(150);
            while Instant::now() < deadline {
                if self.plane.share() == Some(0.0) {
                    return failed;
                }
                std::thread::yield_now();
            }
        }
        panic!("the canary still has traffic: {}", self.status());
    }

    pub(super) fn address(&self) -> SocketAddr {
        eventually("the admin port", || self.controller.admin_address())
    }

    pub(super) fn status(&self) -> Value {
        let answer = ask(self.address(), "GET", "/api/v1/rollouts/digits", &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// An operator's verb on `digits`.
    pub(super) fn operate(&self, verb: &str, body: &str) -> Answer {
        let path = format!("/api/v1/rollouts/digits/{verb}");
        let headers = [("content-type", "application/json")];
        ask(self.address(), "POST", &path, &headers, body)
    }

    pub(super) fn wait_for(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || Some(self.status()).filter(|status| good(status)))
    }

    pub(super) fn wait_for_phase(&self, phase: &str) -> Value {
        self.wait_for(phase, |status| status["phase"] == phase)
    }

    /// Ends it as SIGTERM does.
    pub(super) fn stop(self) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(self.controller.stop());
    }
}

fn clock(ahead_ms: &Arc<AtomicU64>) -> NowMs {
    let ahead_ms = Arc::clone(ahead_ms);
    let anchor = Instant::now();
    let unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    Arc::new(move || unix_ms + anchor.elapsed().as_millis() as u64 + ahead_ms.load(SeqCst))
}

/// Polls until there is something, or panics.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nobody holds a folder's lock any more.
pub(super) fn wait_until_free(state: &Path) {
    eventually("the lock is free", || {
        crate::journal::StateLock::take(state).unwrap().map(drop)
    });
}

/// A whole HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Asks over a connection of its own. A `host` header among the given ones replaces the right one.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    // An answer may come before a body that nobody wants was sent in full.
    _ = stream.write_all(body.as_bytes());
    let mut bytes = Vec::new();
    _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
