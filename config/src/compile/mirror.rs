//! Copies of requests: which, how many at once, and how large.
//!
//! The bounds also hold for a rollout's shadow steps. Inference is asked by POST, and a POST to a model changes
//! nothing: so that is what is copied unless the file says otherwise.

use super::limits::size;
use crate::model::{Copying, Mirror};
use crate::units;
use crate::walk::{At, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &["percent", "methods", "max_in_flight", "max_body"],
    later: &["diff"],
};

/// What holds where nothing is written.
pub(crate) const MAX_IN_FLIGHT: usize = 64;
pub(crate) const MAX_BODY: usize = 1024 * 1024;
pub(crate) const METHOD: &str = "POST";
/// More copies at once would cost more than they tell.
pub(crate) const MOST_IN_FLIGHT: u64 = 1024;
/// What all copies together may hold of bodies, and so the largest single one.
pub(crate) const LARGEST_BODY: u64 = 16 * 1024 * 1024;
/// A body that is echoed back, or a tunnel, is nothing to copy.
pub(crate) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The bounds where no `mirror` is written.
pub(crate) fn default() -> Copying {
    Copying {
        methods: vec![METHOD.to_owned()],
        max_in_flight: MAX_IN_FLIGHT,
        max_body: MAX_BODY,
    }
}

/// The standing mirror, if its percentage is above 0, and the bounds of all copies.
pub(crate) fn mirror(at: &At<'_>, has_target: bool) -> (Option<Mirror>, Copying) {
    let Some(fields) = at.fields(KEYS) else {
        return (None, default());
    };
    let meaning = "the share of requests that are copied, such as \"10%\"";
    let share = fields
        .require("percent", meaning)
        .and_then(|at| at.measured(units::parse_fraction))
        .filter(|share| *share > 0.0);
    if share.is_some() && !has_target {
        at.refuse_key(
            "a mirror with nobody to copy to",
            "`backends.shadow` (or `backends.canary`) beside it",
            None,
        );
    }
    let copying = Copying {
        methods: fields
            .get("methods")
            .map_or_else(|| default().methods, methods),
        max_in_flight: fields.or("max_in_flight", MAX_IN_FLIGHT, |at| {
            usize::try_from(at.whole(1..=MOST_IN_FLIGHT)?).ok()
        }),
        max_body: fields.or("max_body", MAX_BODY, |at| {
            usize::try_from(size(at, 0, LARGEST_BODY)?).ok()
        }),
    };
    (share.map(|share| Mirror { share }), copying)
}

fn methods(at: &At<'_>) -> Vec<String> {
    let mut methods: Vec<String> = Vec::new();
    let known = METHODS.map(|method| (method, method));
    for item in at.items("a list of methods such as [POST]", METHODS.len()) {
        if let Some(method) = item.choice(&known) {
            methods.push(method.to_owned());
        }
    }
    methods
}
