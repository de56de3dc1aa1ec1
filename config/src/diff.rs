//! What an edit of the file changed, and what of that waits for a restart.
//!
//! Sockets, the journal's folder and the threads are made once, when the process starts; everything else is
//! taken over while requests flow. Routes are told apart by name, which is also their rollout's name.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{Backend, Config, Otlp, Route};
use crate::tls::ServerTls;

/// The difference between the configuration in force and a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Settings that differ and that this process keeps as they were, by their name in the file.
    pub needs_restart: Vec<&'static str>,
    /// Other settings outside of routes that differ.
    pub global: Vec<&'static str>,
    /// Routes that are new.
    pub added: Vec<Arc<str>>,
    /// Routes that are gone.
    pub removed: Vec<Arc<str>>,
    /// Routes that differ.
    pub changed: Vec<RouteChange>,
    /// The routes that were there before stand in another order: another one may match first.
    pub reordered: bool,
}

/// What differs in one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The route.
    pub name: Arc<str>,
    /// At least one.
    pub parts: Vec<Part>,
}

/// A part of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Which requests it takes.
    Match,
    /// Where the routing key is, what happens without one, and the salt: who sees which arm.
    Assignment,
    /// `expose_headers`, `timeouts`, `retries`, `fallback` or `upgrade`.
    Exchange,
    /// Another baseline release.
    BaselineRelease,
    /// Where or how the baseline is reached.
    BaselineEndpoints,
    /// Another canary release, or the first, or none any more.
    CanaryRelease,
    /// Where or how the canary is reached.
    CanaryEndpoints,
    /// What is copied, within which bounds, and to which backend.
    Mirror,
    /// `steps` or `weight`; also a rollout that came or went.
    Plan,
    /// `guardrails`, `analysis` or `on_breach`.
    Judgement,
}

impl Part {
    /// As the reload's log line names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Assignment => "assignment",
            Self::Exchange => "timeouts, retries or headers",
            Self::BaselineRelease => "baseline release",
            Self::BaselineEndpoints => "baseline endpoints",
            Self::CanaryRelease => "canary release",
            Self::CanaryEndpoints => "canary endpoints",
            Self::Mirror => "mirror or shadow backend",
            Self::Plan => "steps or weight",
            Self::Judgement => "guardrails or analysis",
        }
    }
}

impl Diff {
    /// From the configuration in force to a new one.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let missing = |config: &Config, from: &Config| -> Vec<Arc<str>> {
            let absent = |route: &&Arc<Route>| from.route(&route.name).is_none();
            let names = config.routes.iter().filter(absent);
            names.map(|route| Arc::clone(&route.name)).collect()
        };
        let order = |config: &Config, other: &Config| -> Vec<Arc<str>> {
            let kept = |route: &&Arc<Route>| other.route(&route.name).is_some();
            let names = config.routes.iter().filter(kept);
            names.map(|route| Arc::clone(&route.name)).collect()
        };
        let changed = new.routes.iter().filter_map(|route| {
            let parts = parts(old.route(&route.name)?, route);
            let name = Arc::clone(&route.name);
            (!parts.is_empty()).then_some(RouteChange { name, parts })
        });
        Self {
            needs_restart: named(&[
                ("listen", addresses(old) != addresses(new)),
                ("admin", old.admin.address != new.admin.address),
                ("probe", old.probe != new.probe),
                ("state", old.state != new.state),
                ("workers", old.workers != new.workers),
                ("telemetry", reporting(old) != reporting(new)),
            ]),
            global: named(&[
                ("admin token", old.admin.token != new.admin.token),
                ("admin tls", old.admin.tls != new.admin.tls),
                (
                    "listen tls",
                    addresses(old) == addresses(new) && listen_tls(old) != listen_tls(new),
                ),
                ("limits", old.limits != new.limits),
                ("trace_sample", sample(old) != sample(new)),
            ]),
            added: missing(new, old),
            removed: missing(old, new),
            changed: changed.collect(),
            reordered: order(old, new) != order(new, old),
        }
    }

    /// Whether the two behave the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    let listeners = config.listeners.iter();
    listeners.map(|listener| listener.address).collect()
}

fn listen_tls(config: &Config) -> Vec<Option<&ServerTls>> {
    let listeners = config.listeners.iter();
    listeners.map(|listener| listener.tls.as_ref()).collect()
}

/// Where telemetry goes and in whose name.
fn reporting(config: &Config) -> Option<(&Otlp, &str)> {
    let telemetry = config.telemetry.as_ref()?;
    Some((&telemetry.otlp, &telemetry.service_name))
}

/// How many requests are traced, where telemetry goes anywhere.
fn sample(config: &Config) -> Option<f64> {
    Some(config.telemetry.as_ref()?.trace_sample)
}

/// The names of what differs.
fn named<T: Copy>(differences: &[(T, bool)]) -> Vec<T> {
    let differing = differences.iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| *name).collect()
}

fn parts(old: &Route, new: &Route) -> Vec<Part> {
    let release = |route: &Route| route.baseline.release.clone();
    let canary_release = |route: &Route| {
        let canary = route.canary.as_ref();
        canary.map(|canary| canary.release.clone())
    };
    // All of a backend but its release.
    let reached = |backend: &Backend| Backend {
        release: None,
        ..backend.clone()
    };
    let endpoints = |route: &Route| reached(&route.baseline);
    let canary_endpoints = |route: &Route| route.canary.as_ref().map(reached);
    let plan = |route: &Route| route.rollout.as_ref().map(|rollout| rollout.plan.clone());
    let judgement = |route: &Route| {
        let rollout = route.rollout.clone();
        rollout.map(|rollout| (rollout.guardrails, rollout.analysis, rollout.on_breach))
    };
    let assignment = |route: &Route| {
        (
            route.routing_key.clone(),
            route.key_fallback,
            route.salt.clone(),
        )
    };
    let exchange = |route: &Route| {
        (
            route.expose,
            route.timeouts,
            route.retries.clone(),
            route.fallback,
            route.upgrade.clone(),
        )
    };
    let mirror = |route: &Route| (route.shadow.clone(), route.mirror, route.copying.clone());
    named(&[
        (Part::Match, old.matcher != new.matcher),
        (Part::Assignment, assignment(old) != assignment(new)),
        (Part::Exchange, exchange(old) != exchange(new)),
        (Part::BaselineRelease, release(old) != release(new)),
        (Part::BaselineEndpoints, endpoints(old) != endpoints(new)),
        (
            Part::CanaryRelease,
            canary_release(old) != canary_release(new),
        ),
        (
            Part::CanaryEndpoints,
            canary_endpoints(old) != canary_endpoints(new),
        ),
        (Part::Mirror, mirror(old) != mirror(new)),
        (Part::Plan, plan(old) != plan(new)),
        (Part::Judgement, judgement(old) != judgement(new)),
    ])
}

/// One line for the log.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Vec<String> = Vec::new();
        for change in &self.changed {
            let parts: Vec<&str> = change.parts.iter().map(|part| part.name()).collect();
            said.push(format!(
                "route {} changed ({})",
                change.name,
                parts.join(", ")
            ));
        }
        for (names, what) in [(&self.added, "added"), (&self.removed, "removed")] {
            said.extend(names.iter().map(|name| format!("route {name} {what}")));
        }
        if self.reordered {
            said.push("routes reordered".to_owned());
        }
        if !self.global.is_empty() {
            said.push(format!("{} changed", self.global.join(", ")));
        }
        if !self.needs_restart.is_empty() {
            let names = self.needs_restart.join(", ");
            said.push(format!("needs a restart to take effect: {names}"));
        }
        match said.as_slice() {
            [] => f.write_str("nothing changed"),
            said => f.write_str(&said.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
listen: 127.0.0.1:8080
routes:
  - name: digits
    match: {path_prefix: /digits}
    backends:
      baseline: {release: {v: a}, endpoints: [\"http://127.0.0.1:9001\"]}
      canary: {release: {v: b}, endpoints: [\"http://127.0.0.1:9002\"]}
    rollout: {weight: 10%}
  - name: rest
    match: {path_prefix: /}
    backends: {baseline: {endpoints: [\"http://127.0.0.1:9001\"]}}
";

    /// The log line for a text replaced in the file.
    fn said(edits: &[(&str, &str)]) -> String {
        let after = edits.iter().fold(BEFORE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let config =
            |text: &str| crate::parse(text, "serin.yaml").unwrap_or_else(|e| panic!("{e}"));
        Diff::between(&config(BEFORE), &config(&after)).to_string()
    }

    #[test]
    fn says_what_changed_in_one_line() {
        for (edits, expected) in [
            (&[("{v: b}", "{\"v\": 'b'}")][..], "nothing changed"),
            (&[("10%", "20%")], "route digits changed (steps or weight)"),
            (
                &[("v: b", "v: c"), ("9002", "9003")],
                "route digits changed (canary release, canary endpoints)",
            ),
            (
                &[("weight: 10%", "weight: 10%, on_breach: warn")],
                "route digits changed (guardrails or analysis)",
            ),
            (
                &[(
                    "    rollout: {",
                    "    mirror: {percent: 5%}\n    rollout: {",
                )],
                "route digits changed (mirror or shadow backend)",
            ),
            (
                &[("name: rest", "name: others")],
                "route others added; route rest removed",
            ),
            (
                &[(
                    "listen: 127.0.0.1:8080",
                    "listen: 127.0.0.1:8081\nworkers: 2",
                )],
                "needs a restart to take effect: listen, workers",
            ),
            (
                &[("listen", "limits: {drain: 1s}\nlisten")],
                "limits changed",
            ),
            (
                &[(
                    "listen",
                    "telemetry: {otlp: {endpoint: \"http://c\"}}\nlisten",
                )],
                "trace_sample changed; needs a restart to take effect: telemetry",
            ),
            (
                &[
                    ("digits\n", "x\n"),
                    ("rest", "digits"),
                    ("name: x", "name: rest"),
                ],
                "route rest changed (match, baseline release, canary release, canary endpoints, steps or weight, guardrails or analysis)",
            ),
        ] {
            let said = said(edits);
            assert!(said.contains(expected), "{edits:?}: {said}");
        }
    }

    #[test]
    fn order_matters_only_among_those_that_stay() {
        let config = |names: [&str; 3]| {
            let route = |name: &str| {
                format!(
                    "  - {{name: {name}, match: {{path: /{name}}}, backends: {{baseline: {{endpoints: [\"http://h:1\"]}}}}}}\n"
                )
            };
            let text = format!(
                "listen: 127.0.0.1:0\nroutes:\n{}",
                names.map(route).concat()
            );
            crate::parse(&text, "serin.yaml").unwrap_or_else(|e| panic!("{e}"))
        };
        let between = |old, new| Diff::between(&config(old), &config(new));
        assert!(between(["a", "b", "c"], ["a", "b", "c"]).is_empty());
        assert!(between(["a", "b", "c"], ["b", "a", "c"]).reordered);
        let shifted = between(["a", "b", "c"], ["x", "b", "c"]);
        assert!(!shifted.reordered);
        assert_eq!((&*shifted.added[0], &*shifted.removed[0]), ("x", "a"));
    }
}
