//! A request's target: which forms are taken, and what of it goes upstream.

use http::uri::PathAndQuery;

use super::field;
use super::head::{HeadError, malformed};

/// Splits a request target into what goes upstream and the authority that it or else `Host` names. The path is empty,
/// and the query alone what is left, in `http://host?query`.
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
    let default_port = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => "80",
        _ if scheme.eq_ignore_ascii_case("https") => "443",
        _ => return malformed("The request target's scheme is not served."),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (named, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let named = field::authority(named.as_bytes()).filter(|named| !named.is_empty());
    let Some(named) = named else {
        return malformed("The request target's authority is malformed.");
    };
    let bare = |authority: &'b str| without_port(authority, default_port);
    if named_host.is_some() && !bare(named).eq_ignore_ascii_case(bare(host)) {
        return malformed("The Host is not the target's authority.");
    }
    Ok(match path {
        "" if method == "OPTIONS" => ("*", named),
        "" => ("/", named),
        path => (path, named),
    })
}

/// A path and query as URIs have it. Some clients send bytes that no URI holds: they are escaped (RFC 9112, section 3.2),
/// so that it is not a matter of an arm's protocol whether a request is served.
pub(crate) fn path_and_query(raw: &[u8]) -> Option<PathAndQuery> {
    PathAndQuery::try_from(raw).ok().or_else(|| {
        let mut escaped = Vec::with_capacity(raw.len() + 8);
        for &byte in raw {
            match byte {
                b'"' | b'<' | b'>' | b'`' => escaped.extend(format!("%{byte:02X}").bytes()),
                byte => escaped.push(byte),
            }
        }
        PathAndQuery::try_from(escaped).ok()
    })
}

/// An authority without the port that it has anyway (RFC 9110, section 4.2.3).
fn without_port<'b>(authority: &'b str, default: &str) -> &'b str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.is_empty() || port == default => host,
        _ => authority,
    }
}
