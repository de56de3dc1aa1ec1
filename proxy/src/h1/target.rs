//! A request's target: which forms are taken, and what of it goes upstream.

use super::field;
use super::head::{HeadError, malformed};

/// Splits a request target into what goes upstream and the authority that it or else `Host` names.
pub(super) fn split<'b>(
    method: &str,
    raw: &'b str,
    named_host: Option<&'b str>,
) -> Result<(&'b str, &'b str), HeadError> {
    let host = named_host.unwrap_or_default();
    if !raw
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return malformed("The request target is malformed.");
    }
    if raw.starts_with('/') {
        return Ok((raw, host));
    }
    if raw == "*" && method == "OPTIONS" {
        return Ok((raw, host));
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return malformed("The request target is malformed.");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return malformed("The request target's scheme is not served.");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (named, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let named = field::authority(named.as_bytes()).filter(|named| !named.is_empty());
    let Some(named) = named else {
        return malformed("The request target's authority is malformed.");
    };
    if named_host.is_some() && !named.eq_ignore_ascii_case(host) {
        return malformed("The Host is not the target's authority.");
    }
    match path.as_bytes().first() {
        Some(b'/') => Ok((path, named)),
        None if method == "OPTIONS" => Ok(("*", named)),
        None => Ok(("/", named)),
        // `http://host?query` has no path to send on.
        Some(_) => malformed("The request target is malformed."),
    }
}
