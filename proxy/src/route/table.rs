//! Which route takes a request: the first whose conditions all hold.
//!
//! A table is built whole from the configuration and the splits in force, and never changes: the data plane
//! swaps it as one value, so that no request sees half a reload. Looking a request up allocates nothing,
//! unless a route's `model` condition has to read the body.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use serin_config::model::{Balance, Config, Match, Route};
use serin_stats::split::Split;

use super::assign::{Assignment, Salt};
use super::facts::{Body, RequestFacts};
use super::key::{Key, KeyRule, Unassigned};
use super::pointer::Pointer;
use crate::measure::{Measurements, Stage};
use crate::shadow::Choice;

/// All routes with their splits.
#[derive(Debug)]
pub struct Table {
    entries: Box<[Arc<RouteEntry>]>,
    model: Pointer,
}

/// A route, ready to serve.
#[derive(Debug)]
pub struct RouteEntry {
    /// What the operator said.
    pub route: Arc<Route>,
    /// Its place in the configuration, from 0.
    pub index: usize,
    /// What its keys are hashed with.
    pub salt: Salt,
    /// The split in force, and where its requests are counted.
    pub stage: Arc<Stage>,
    /// Which of its requests are copied.
    pub(crate) choice: Choice,
    conditions: Conditions,
    key: KeyRule,
    needs_key: bool,
}

/// The answer to "which route?".
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    /// This one.
    Route(&'t Arc<RouteEntry>),
    /// It depends on the body: read it (or find it too large) and ask again.
    BodyNeeded,
    /// None: 404.
    Nothing,
}

impl Table {
    /// Builds the table of a configuration, with the splits in force.
    #[must_use]
    pub fn new(
        config: &Config,
        splits: &BTreeMap<String, Arc<Split>>,
        measurements: &Measurements,
    ) -> Self {
        let stages = measurements.install(config, splits);
        let entries = config.routes.iter().zip(stages).enumerate();
        Self {
            entries: entries
                .map(|(index, (route, stage))| Arc::new(RouteEntry::new(index, route, stage)))
                .collect(),
            model: Pointer::member("model"),
        }
    }

    /// The route that takes this request.
    #[must_use]
    pub fn find(&self, facts: &RequestFacts<'_>) -> Found<'_> {
        let mut model: Option<Option<String>> = None;
        for entry in &self.entries {
            if !entry.conditions.hold(facts) {
                continue;
            }
            let Some(wanted) = &entry.route.matcher.model else {
                return Found::Route(entry);
            };
            if model.is_none() {
                model = Some(match facts.body {
                    Body::Unread => return Found::BodyNeeded,
                    Body::TooLarge => None,
                    Body::Whole(body) => self.model.scalar(body),
                });
            }
            if model.as_ref().and_then(Option::as_ref) == Some(wanted) {
                return Found::Route(entry);
            }
        }
        Found::Nothing
    }

    /// All routes, in the order of the configuration.
    #[must_use]
    pub fn entries(&self) -> &[Arc<RouteEntry>] {
        &self.entries
    }
}

impl RouteEntry {
    fn new(index: usize, route: &Arc<Route>, stage: Arc<Stage>) -> Self {
        let secret = route.salt.as_ref().map(|secret| secret.0.as_slice());
        let digest = route.canary_digest().map(|digest| &*digest.0);
        Self {
            salt: Salt::new(secret, &route.name, digest),
            conditions: Conditions::new(&route.matcher),
            needs_key: route.canary.is_some()
                || route.baseline.handling.balance == Balance::RoutingKey,
            key: KeyRule::new(route),
            choice: Choice::new(route, stage.split()),
            route: Arc::clone(route),
            index,
            stage,
        }
    }

    /// Where this request falls. A route with one arm asks for no key, unless keys are tied to endpoints.
    pub fn assign(&self, facts: &RequestFacts<'_>) -> Result<Assignment, Unassigned> {
        let key = if self.needs_key {
            self.key.find(facts)?
        } else {
            Key::Request(facts.request_id)
        };
        Ok(key.assign(self.salt))
    }
}

/// A route's conditions on a request's head.
#[derive(Debug)]
struct Conditions {
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    path_prefix: Option<Box<str>>,
    headers: Box<[(HeaderName, Box<[u8]>)]>,
    /// A header that no request can bear (the configuration refuses those): the route takes nothing.
    never: bool,
}

impl Conditions {
    fn new(matcher: &Match) -> Self {
        let mut never = false;
        let headers = matcher.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes());
            never |= name.is_err();
            Some((name.ok()?, value.as_bytes().into()))
        });
        Self {
            headers: headers.collect(),
            host: matcher.host.as_deref().map(|host| bare_host(host).into()),
            path: matcher.path.as_deref().map(Into::into),
            path_prefix: matcher.path_prefix.as_deref().map(Into::into),
            never,
        }
    }

    fn hold(&self, facts: &RequestFacts<'_>) -> bool {
        let host = |wanted: &str| {
            facts
                .host
                .is_some_and(|host| bare_host(host).eq_ignore_ascii_case(wanted))
        };
        !self.never
            && self
                .path_prefix
                .as_deref()
                .is_none_or(|prefix| has_prefix(facts.path, prefix))
            && self.path.as_deref().is_none_or(|path| path == facts.path)
            && self.host.as_deref().is_none_or(host)
            && self.headers.iter().all(|(name, wanted)| {
                let is_wanted = |value: &[u8]| (*value == **wanted).then_some(());
                facts.find_in(name, is_wanted).is_some()
            })
    }
}

/// On segment boundaries; a prefix that ends in `/` is taken literally.
fn has_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// A host without its port and without the brackets of an IPv6 address.
fn bare_host(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
