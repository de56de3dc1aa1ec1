//! Proves the tree: from what was written to types that cannot be wrong.
//!
//! One file for each part of the configuration. Each reader takes what it can, reports what it can't, and
//! carries on with a default, so that one run reports everything. Defaults live here, beside the readers; the
//! JSON Schema repeats them and a test holds the two together.

pub(crate) mod address;
mod advice;
pub(crate) mod backend;
pub(crate) mod guardrail;
pub(crate) mod handling;
pub(crate) mod limits;
pub(crate) mod matcher;
pub(crate) mod mirror;
pub(crate) mod retries;
pub(crate) mod rollout;
pub(crate) mod route;
pub(crate) mod routing_key;
mod secret;
pub(crate) mod telemetry;
pub(crate) mod tls;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Config, Route};
use crate::walk::{At, Keys};

/// Most routes of one configuration.
const MOST_ROUTES: usize = 10_000;
/// Most data-plane threads.
const MOST_WORKERS: u64 = 1024;

pub(crate) const KEYS: Keys = Keys {
    known: &[
        "listen",
        "admin",
        "probe",
        "state",
        "workers",
        "limits",
        "telemetry",
        "routes",
    ],
    later: &["alerts", "feedback", "fleet"],
};

/// The whole file. What comes out is to be thrown away when anything was reported.
pub(crate) fn config(root: &At<'_>) -> Option<Config> {
    let fields = root.fields(KEYS)?;
    let (listeners, admin, probe) = address::sockets(&fields);
    let state = fields.or("state", "./serin-state", |at| at.text("a folder's path"));
    let routes = fields.require("routes", "a list of routes").map(routes);
    let config = Config {
        listeners,
        admin,
        probe,
        state: PathBuf::from(state),
        workers: fields.get("workers").and_then(workers),
        limits: limits::limits(fields.get("limits")),
        telemetry: fields.get("telemetry").and_then(telemetry::telemetry),
        routes: routes.unwrap_or_default(),
    };
    advice::advise(&fields, &config);
    Some(config)
}

/// `auto`, or how many.
fn workers(at: &At<'_>) -> Option<NonZeroUsize> {
    if at.as_text() == Some("auto") {
        return None;
    }
    if at.as_number().is_none() {
        at.unexpected("`auto` or a whole number such as 4");
        return None;
    }
    NonZeroUsize::new(usize::try_from(at.whole(1..=MOST_WORKERS)?).ok()?)
}

fn routes(at: &At<'_>) -> Vec<Arc<Route>> {
    let items = at.items("at least one route", MOST_ROUTES);
    let mut names = BTreeSet::new();
    items
        .iter()
        .filter_map(|item| {
            let before = item.report().errors.borrow().len();
            let route = route::route(item, &mut names);
            // A route that is left out is traffic that goes elsewhere.
            if route.is_none() && item.report().errors.borrow().len() == before {
                item.refuse("a route that cannot be used", "a route");
            }
            route
        })
        .map(Arc::new)
        .collect()
}
