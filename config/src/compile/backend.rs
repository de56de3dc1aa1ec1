//! The two arms and the shadow: what runs there, and where it is reached.

use std::collections::BTreeMap;

use super::{handling, tls};
use crate::model::{Backend, Endpoint, Protocol, Release};
use crate::tls::ClientTls;
use crate::walk::{At, Fields, Keys};

pub(crate) const BACKENDS_KEYS: Keys = Keys {
    known: &["baseline", "canary", "shadow"],
    later: &[],
};
pub(crate) const KEYS: Keys = Keys {
    known: &[
        "release",
        "endpoints",
        "protocol",
        "tls",
        "balance",
        "pool",
        "health_check",
        "ejection",
        "concurrency",
        "resolve",
    ],
    later: &["fallback", "retries", "retry"],
};
pub(crate) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("auto", Protocol::Auto),
];
const ENDPOINT: &str = "an endpoint such as \"http://127.0.0.1:9001\"";
const ENDPOINTS: &str = "at least one endpoint such as \"http://127.0.0.1:9001\"";
/// Most endpoints of one backend.
const MOST_ENDPOINTS: usize = 1000;

/// All backends of a route.
pub(crate) struct Backends {
    pub(crate) baseline: Backend,
    pub(crate) canary: Option<Backend>,
    pub(crate) shadow: Option<Backend>,
}

/// With a rollout both arms need a release, and there must be a canary.
pub(crate) fn backends(at: &At<'_>, rollout: Option<&At<'_>>) -> Option<Backends> {
    let fields = at.fields(BACKENDS_KEYS)?;
    let arm = |at: &At<'_>| backend(at, rollout.is_some());
    let baseline = fields
        .require("baseline", "the release that serves today")
        .and_then(arm);
    let canary = fields.get("canary").map(arm);
    let shadow = fields.get("shadow").map(|at| backend(at, false));
    if let (Some(rollout), None) = (rollout, &canary) {
        let expected = "`backends.canary` beside it: the release that is rolled out";
        rollout.refuse_key("a rollout without a canary", expected, None);
    }
    // What was refused was reported; the route is thrown away then.
    Some(Backends {
        baseline: baseline?,
        canary: canary.flatten(),
        shadow: shadow.flatten(),
    })
}

fn backend(at: &At<'_>, in_rollout: bool) -> Option<Backend> {
    let fields = at.fields(KEYS)?;
    let release = match fields.get("release") {
        Some(at) => release(at),
        None if in_rollout => {
            let meaning = "what runs there, such as {model: digits, version: \"2\"}; a rollout compares releases";
            fields.require("release", meaning);
            None
        }
        None => None,
    };
    let protocol = fields.or("protocol", Protocol::Auto, |at| at.choice(&PROTOCOLS));
    let endpoints = endpoints(fields.require("endpoints", "a list of URLs")?);
    let tls = secured(&fields, &endpoints)?;
    Some(Backend {
        release,
        endpoints,
        protocol,
        tls,
        handling: handling::handling(&fields),
    })
}

/// How `https` endpoints are reached. Who writes `tls` wants nothing to go out in the clear.
fn secured(fields: &Fields<'_>, endpoints: &[Endpoint]) -> Option<Option<ClientTls>> {
    let written = fields.get("tls");
    if let Some(at) = written
        && let Some(plain) = endpoints.iter().find(|endpoint| !endpoint.is_https)
    {
        let found = format!("`tls` beside {plain}");
        let hint = Some(format!("write https://{}", plain.authority()));
        at.refuse_key(&found, "endpoints that are all https", hint);
    }
    if written.is_none() && !endpoints.iter().any(|endpoint| endpoint.is_https) {
        return Some(None);
    }
    tls::client(fields).map(Some)
}

/// Free keys, string values: an unquoted `1.10` would become 1.1 and another release.
fn release(at: &At<'_>) -> Option<Release> {
    let expected = "a mapping such as {model: digits, version: \"2\"}";
    let fields = at.pairs(expected)?;
    if fields.entries.is_empty() {
        at.refuse("an empty mapping", expected);
        return None;
    }
    let mut bundle = BTreeMap::new();
    for (key, at) in &fields.entries {
        if let Some(value) = at.text("text in quotes") {
            bundle.insert((*key).to_owned(), value.to_owned());
        }
    }
    Some(Release::new(bundle))
}

fn endpoints(at: &At<'_>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in at.items(ENDPOINTS, MOST_ENDPOINTS) {
        let Some(endpoint) = endpoint(&item) else {
            continue;
        };
        if endpoints.contains(&endpoint) {
            item.refuse(&format!("{endpoint} a second time"), "each endpoint once");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// `http://host:port` or `https://host:port`, nothing else.
fn endpoint(at: &At<'_>) -> Option<Endpoint> {
    let url = at.text(ENDPOINT)?;
    let Some((scheme, rest)) = url.split_once("://") else {
        let hint = is_authority(url).then(|| format!("write http://{url}"));
        at.refuse_with(&at.described(), ENDPOINT, hint);
        return None;
    };
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => {
            at.unexpected(ENDPOINT);
            return None;
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, more) = rest.split_at_checked(end)?;
    if rest.contains('@') {
        // Not shown: a password may stand there.
        let expected = format!("{ENDPOINT}, without user");
        at.refuse("a URL with user information", &expected);
        return None;
    }
    if !more.is_empty() {
        let hint = is_authority(authority).then(|| format!("write {scheme}://{authority}"));
        at.refuse_with(&at.described(), &format!("{ENDPOINT}, without path"), hint);
        return None;
    }
    let endpoint = parse_authority(authority, is_https);
    if endpoint.is_none() {
        at.unexpected(ENDPOINT);
    }
    endpoint
}

fn is_authority(text: &str) -> bool {
    parse_authority(text, false).is_some()
}

fn parse_authority(text: &str, is_https: bool) -> Option<Endpoint> {
    let (host, port) = authority(text, if is_https { 443 } else { 80 })?;
    Some(Endpoint {
        is_https,
        host,
        port,
    })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`: the host in lower case, and the port or else this one.
pub(crate) fn authority(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, written) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let written = match port {
                "" => None,
                port => Some(port.strip_prefix(':')?),
            };
            (host, written)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    let port = match written {
        Some(port) => {
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            port.parse().ok().filter(|port| *port > 0 && digits)?
        }
        None => port,
    };
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return None;
    }
    Some((host.to_ascii_lowercase(), port))
}
