//! One route: which requests, by which key, to which releases.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{backend, matcher, mirror, retries, rollout, routing_key, secret};
use crate::model::{Expose, KeyFallback, Protocol, Route, Timeouts};
use crate::walk::{At, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &[
        "name",
        "match",
        "routing_key",
        "key_fallback",
        "salt_file",
        "expose_headers",
        "timeouts",
        "retries",
        "fallback",
        "upgrade",
        "backends",
        "mirror",
        "rollout",
    ],
    later: &["retry", "segments", "tls"],
};
pub(crate) const TIMEOUT_KEYS: Keys = Keys {
    known: &["connect", "response", "idle", "total"],
    later: &[],
};
pub(crate) const FALLBACKS: [(&str, KeyFallback); 3] = [
    ("random", KeyFallback::Random),
    ("client_ip", KeyFallback::ClientIp),
    ("reject", KeyFallback::Reject),
];

/// What holds where nothing is written.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    response: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    total: None,
};

/// The longest name of a route.
const LONGEST_NAME: usize = 100;

pub(crate) fn route(at: &At<'_>, names: &mut BTreeSet<Arc<str>>) -> Option<Route> {
    let fields = at.fields(KEYS)?;
    let name = fields
        .require("name", "the route's name")
        .and_then(|at| name(at, names));
    let matcher = fields
        .get("match")
        .map(matcher::matcher)
        .unwrap_or_default();
    let keys = fields.get("routing_key").map(routing_key::sources);
    let salt = fields.get("salt_file").and_then(secret::secret);
    let expose = fields.or(
        "expose_headers",
        Expose {
            arm: true,
            release: true,
            request_id: true,
        },
        expose,
    );
    let key_fallback = fields.or("key_fallback", KeyFallback::Random, |at| {
        at.choice(&FALLBACKS)
    });
    let timeouts = fields.get("timeouts").map_or(TIMEOUTS, timeouts);
    let retries = fields.get("retries").and_then(retries::retries);
    let fallback = fields.or("fallback", false, |at| at.choice(&retries::FALLBACK));
    let upgrade = fields.or("upgrade", Vec::new(), retries::upgrade);
    let rollout_at = fields.get("rollout");
    let backends_at = fields.get("backends").cloned();
    let backends = fields.require("backends", "a `baseline`, and perhaps a `canary`");
    let backends = backends.and_then(|at| backend::backends(at, rollout_at));
    let rollout = rollout_at.and_then(rollout::rollout);
    // By key: a backend that was refused is there all the same.
    let has_target = backends_at.is_none_or(|at| at.has_key("shadow") || at.has_key("canary"));
    let (mirror, copying) = match fields.get("mirror") {
        Some(at) => mirror::mirror(at, has_target),
        None => (None, mirror::default()),
    };
    let backend::Backends {
        baseline,
        canary,
        shadow,
    } = backends?;
    let speak_http2 = [Some(&baseline), canary.as_ref()]
        .into_iter()
        .flatten()
        .any(|backend| backend.protocol == Protocol::Http2);
    if let Some(at) = fields.get("upgrade").filter(|_| speak_http2) {
        at.warn(
            "`upgrade`, and a backend with `protocol: http2`, which switches to nothing",
            "`protocol: auto` or `http1` on both arms",
        );
    }
    Some(Route {
        name: name?,
        matcher,
        routing_key: keys.unwrap_or_else(routing_key::default),
        key_fallback,
        salt,
        expose,
        timeouts,
        retries: retries.unwrap_or(retries::DEFAULT),
        fallback,
        upgrade,
        baseline,
        canary,
        shadow,
        mirror,
        copying,
        rollout,
    })
}

/// Names appear in URLs, labels and the journal.
fn name(at: &At<'_>, names: &mut BTreeSet<Arc<str>>) -> Option<Arc<str>> {
    let text = at.text("a name such as \"digits\"")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.chars().all(plain) || text.len() > LONGEST_NAME || text.starts_with('.') {
        at.unexpected(
            "a name of at most 100 letters, digits, `-`, `_` and `.`, not starting with `.`",
        );
        return None;
    }
    let name: Arc<str> = text.into();
    if !names.insert(Arc::clone(&name)) {
        at.refuse(
            &format!("a second route {name:?}"),
            "a name of its own for each route",
        );
        return None;
    }
    Some(name)
}

fn expose(at: &At<'_>) -> Option<Expose> {
    let names = [("arm", 0), ("release", 1), ("request_id", 2)];
    let mut shown = [false; 3];
    for item in at.entries("a list of `arm`, `release` and `request_id`", 3) {
        if let Some(shown) = item
            .choice(&names)
            .and_then(|index: usize| shown.get_mut(index))
        {
            *shown = true;
        }
    }
    let [arm, release, request_id] = shown;
    Some(Expose {
        arm,
        release,
        request_id,
    })
}

fn timeouts(at: &At<'_>) -> Timeouts {
    let Some(fields) = at.fields(TIMEOUT_KEYS) else {
        return TIMEOUTS;
    };
    Timeouts {
        connect: fields.or("connect", TIMEOUTS.connect, At::duration),
        response: fields.or("response", TIMEOUTS.response, At::duration),
        idle: fields.or("idle", TIMEOUTS.idle, At::duration),
        total: fields.get("total").and_then(At::duration),
    }
}
