//! Which requests a route takes.

use std::collections::BTreeMap;

use crate::diagnostic::quoted;
use crate::model::Match;
use crate::walk::{At, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &["host", "path", "path_prefix", "headers", "model"],
    later: &[],
};

pub(crate) fn matcher(at: &At<'_>) -> Match {
    let Some(fields) = at.fields(KEYS) else {
        return Match::default();
    };
    if let (Some(_), Some(prefix)) = (fields.get("path"), fields.get("path_prefix")) {
        prefix.refuse_key("`path_prefix` beside `path`", "one of the two", None);
    }
    let text = |name: &str, expected: &str| {
        let at = fields.get(name)?;
        at.text(expected).map(str::to_owned)
    };
    Match {
        host: fields.get("host").and_then(host),
        path: fields.get("path").and_then(path),
        path_prefix: fields.get("path_prefix").and_then(path),
        headers: fields.get("headers").map(headers).unwrap_or_default(),
        model: text("model", "a model's name in quotes"),
    }
}

/// A host name or IP address, lower-cased.
fn host(at: &At<'_>) -> Option<String> {
    let expected = "a host name such as \"models.example.com\"";
    let text = at.text(expected)?;
    let address = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::Ipv6Addr>();
    if address.is_err()
        && let Some((host, port)) = text.split_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        at.refuse_with(
            &at.described(),
            "a host without its port",
            Some(format!("write {host}")),
        );
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if address.is_err() && !text.chars().all(plain) {
        at.unexpected(expected);
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// An absolute path as it stands in a request, without query.
fn path(at: &At<'_>) -> Option<String> {
    let expected = "an absolute path such as \"/v2/models\", without query";
    let text = at.text(expected)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#".contains(&b);
    if !text.starts_with('/') || !text.bytes().all(plain) {
        at.unexpected(expected);
        return None;
    }
    Some(text.to_owned())
}

fn headers(at: &At<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let Some(fields) = at.pairs("a mapping of header names to values") else {
        return headers;
    };
    for (name, at) in &fields.entries {
        let Some(name) = header_name(name) else {
            at.refuse_key(&quoted(name), HEADER_NAME, None);
            continue;
        };
        let Some(value) = at.text("the header's value in quotes") else {
            continue;
        };
        if value.bytes().any(|b| b.is_ascii_control()) {
            at.unexpected("a header's value without control characters");
        }
        if headers.insert(name, value.to_owned()).is_some() {
            at.refuse_key(
                "this header a second time",
                "each header once (case does not matter)",
                None,
            );
        }
    }
    headers
}

/// What a header's name looks like.
pub(crate) const HEADER_NAME: &str = "a header name such as \"x-user-id\"";

/// A header's name in lower case, if it is one.
pub(crate) fn header_name(name: &str) -> Option<String> {
    const LONGEST: usize = 256;
    (is_token(name) && name.len() <= LONGEST).then(|| name.to_ascii_lowercase())
}

/// A token of RFC 9110: header names, cookie names.
pub(crate) fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}
