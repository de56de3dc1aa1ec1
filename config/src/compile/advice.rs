//! What is allowed and probably not meant.
//!
//! Warnings never change what runs. They are for the reader of `check` and of the log.

use crate::model::{Config, Listener, Match, Plan, Route};
use crate::walk::{At, Fields};

/// Notes a warning wherever one is due.
pub(crate) fn advise(fields: &Fields<'_>, config: &Config) {
    let rolled = config.routes.iter().any(|route| route.rollout.is_some());
    if rolled && fields.get("state").is_none() {
        fields.at.warn(
            "rollouts and no `state`",
            "`state`: a folder that outlives the process; each sidecar decides for its own traffic, and a pod \
             without a volume forgets its rollbacks",
        );
    }
    let Some(items) = fields
        .get("routes")
        .filter(|at| at.is_list())
        .map(|at| at.entries("a list of routes", usize::MAX))
    else {
        return;
    };
    let mut swallowed: Option<&Route> = None;
    for (item, route) in items.iter().zip(&config.routes) {
        if let Some(earlier) = swallowed {
            let found = format!(
                "a route that no request reaches: \"{}\" before it takes all",
                earlier.name
            );
            item.warn(&found, "the most general route last");
        } else if takes_all(&route.matcher) {
            swallowed = Some(route);
        }
        arms(item, route);
        copies(item, route);
        endpoints(item, route, config);
    }
}

fn takes_all(matcher: &Match) -> bool {
    let everything = Match::default();
    let root = Match {
        path_prefix: Some("/".to_owned()),
        ..Match::default()
    };
    *matcher == everything || *matcher == root
}

/// The two arms and the plan between them.
fn arms(item: &At<'_>, route: &Route) {
    let Some(canary) = &route.canary else {
        return;
    };
    let Some(rollout) = &route.rollout else {
        item.warn(
            "a canary without a rollout, which gets no traffic",
            "a `rollout` beside it",
        );
        return;
    };
    let digest =
        |backend: &crate::model::Backend| backend.release.as_ref().map(|r| r.digest.clone());
    if digest(canary) == digest(&route.baseline) {
        item.warn(
            "the same release on both arms",
            "a canary that differs, unless this is an A/A test",
        );
    }
    if canary
        .endpoints
        .iter()
        .any(|endpoint| route.baseline.endpoints.contains(endpoint))
    {
        item.warn(
            "an endpoint that serves both arms",
            "endpoints of its own for each release",
        );
    }
    if let Plan::Steps(steps) = &rollout.plan
        && let Some(last) = steps.last()
        && last.weight < 1.0
    {
        item.warn(
            &format!(
                "a ramp that ends at {}",
                crate::units::format_percent(last.weight)
            ),
            "a last step with weight 100%, without which the rollout never finishes",
        );
    }
    let is_ramp = matches!(rollout.plan, Plan::Steps(_));
    if is_ramp && rollout.guardrails.iter().all(|each| each.dry_run) {
        item.warn(
            "guardrails that are all `dry_run`, which prove nothing",
            "one that acts: without it no step is left but by `promote`",
        );
    }
}

/// Who gets copies.
fn copies(item: &At<'_>, route: &Route) {
    let Some(shadow) = &route.shadow else {
        return;
    };
    if route.mirror.is_none() {
        item.warn(
            "a shadow backend without a mirror, which gets no copies",
            "`mirror: {percent: 10%}` beside it",
        );
    }
    let serves = |endpoint| {
        std::iter::once(&route.baseline)
            .chain(&route.canary)
            .any(|backend| backend.endpoints.contains(endpoint))
    };
    if shadow.endpoints.iter().any(serves) {
        item.warn(
            "an endpoint that serves clients and gets copies too",
            "endpoints of its own for the shadow backend",
        );
    }
}

/// A backend that is this proxy itself.
fn endpoints(item: &At<'_>, route: &Route, config: &Config) {
    let backends = std::iter::once(&route.baseline)
        .chain(&route.canary)
        .chain(&route.shadow);
    for endpoint in backends.flat_map(|backend| &backend.endpoints) {
        let own = |listener: &Listener| {
            let address = listener.address;
            address.port() == endpoint.port && endpoint.host.parse() == Ok(address.ip())
        };
        if config.listeners.iter().any(own) {
            item.warn(
                &format!("the endpoint {endpoint}, which is this proxy itself"),
                "another address",
            );
        }
    }
}
