//! What a request's head must be before anything is done with it.

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use serin_config::model::Limits;

use crate::error::Failure;
use crate::h1::field;
use crate::h1::head::MAX_FIELDS;

/// Refuses what we don't serve; the authority that the request names, if any.
pub(crate) fn admit(head: &Parts, limits: &Limits) -> Result<Option<HeaderValue>, Failure> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodRefused);
    }
    well_formed(head)?;
    let target = target_bytes(head);
    if target > limits.max_uri_bytes {
        return Err(Failure::TargetTooLong);
    }
    let fields = head.headers.iter();
    let size: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + size > limits.max_header_bytes || head.headers.len() > MAX_FIELDS {
        return Err(Failure::HeadTooLarge);
    }
    if declared_length(head)?.is_some_and(|length| length > limits.max_body) {
        return Err(Failure::BodyTooLarge);
    }
    if let Some(expected) = head.headers.get(EXPECT)
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Failure::UnknownExpectation);
    }
    authority(head)
}

/// Whether HTTP/2's pseudo fields would make a request line of HTTP/1.1: our own codec looks at its own.
fn well_formed(head: &Parts) -> Result<(), Failure> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let is_path = path.starts_with('/') || path == "*" && head.method == Method::OPTIONS;
    if !is_path {
        return Err(Failure::Malformed("The request target is malformed."));
    }
    let is_ours = |scheme: &str| {
        ["http", "https"]
            .iter()
            .any(|one| scheme.eq_ignore_ascii_case(one))
    };
    if head.uri.scheme_str().is_some_and(|scheme| !is_ours(scheme)) {
        return Err(Failure::Malformed(
            "The request target's scheme is not served.",
        ));
    }
    Ok(())
}

/// What the body's length is said to be: one number, said once, as HTTP/1.1 has it.
pub(super) fn declared_length(head: &Parts) -> Result<Option<u64>, Failure> {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => match field::content_length(length.as_bytes()) {
            Some(length) => Ok(Some(length)),
            None => Err(Failure::Malformed("The Content-Length is not one number.")),
        },
        (Some(_), Some(_)) => Err(Failure::Malformed("There is more than one Content-Length.")),
    }
}

fn target_bytes(head: &Parts) -> usize {
    let path = head
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let authority = head.uri.authority().map_or(0, |name| name.as_str().len());
    path + authority
}

/// One authority: `:authority`, the absolute form's, or else the only `Host`.
fn authority(head: &Parts) -> Result<Option<HeaderValue>, Failure> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::Malformed("The request has more than one Host."));
    }
    if let Some(authority) = head.uri.authority() {
        let authority = authority.as_str();
        let differs =
            |host: &&HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if head.version == Version::HTTP_2 && host.as_ref().is_some_and(differs) {
            return Err(Failure::Malformed("Host and :authority differ."));
        }
        let malformed = Failure::Malformed("The authority is malformed.");
        return match HeaderValue::from_str(authority) {
            Ok(value) if is_host(authority.as_bytes()) => Ok(Some(value)),
            _ => Err(malformed),
        };
    }
    match host {
        None if head.version != Version::HTTP_10 => {
            Err(Failure::Malformed("The request has no Host."))
        }
        Some(host) if !is_host(host.as_bytes()) => {
            Err(Failure::Malformed("The Host is malformed."))
        }
        host => Ok(host.cloned()),
    }
}

/// Whether this is `host [":" port]`; empty is allowed (RFC 9112, section 3.2).
fn is_host(host: &[u8]) -> bool {
    field::authority(host).is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    fn limits() -> Limits {
        Limits {
            header_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            max_connections: 1,
            max_header_bytes: 600,
            max_uri_bytes: 100,
            max_body: 10,
            max_buffered_body: 10,
            drain: Duration::from_secs(1),
        }
    }

    fn check(request: http::request::Builder) -> Result<Option<String>, u16> {
        let head = request.body(()).unwrap().into_parts().0;
        match admit(&head, &limits()) {
            Ok(host) => Ok(host.map(|host| host.to_str().unwrap().to_owned())),
            Err(failure) => Err(failure.to_response(false).status().as_u16()),
        }
    }

    #[test]
    fn heads_are_admitted_or_refused() {
        let get = |uri: &str| Request::get(uri);
        let long = "x".repeat(300);
        let path = format!("/{long}");
        assert_eq!(
            check(get("/").header("host", "a.example")),
            Ok(Some("a.example".into()))
        );
        assert_eq!(
            check(get("http://b:81/x").header("host", "a")),
            Ok(Some("b:81".into()))
        );
        assert_eq!(check(get("http://me@b/x").header("host", "a")), Err(400));
        assert_eq!(check(get("/")), Err(400));
        assert_eq!(check(get("/").version(Version::HTTP_10)), Ok(None));
        assert_eq!(
            check(get("/").header("host", "a").header("host", "a")),
            Err(400)
        );
        assert_eq!(check(get("/").header("host", "a b")), Err(400));
        assert_eq!(check(get("/").header("host", "a/b")), Err(400));
        let h2 = |host| {
            get("http://a/")
                .version(Version::HTTP_2)
                .header("host", host)
        };
        assert_eq!(check(h2("b")), Err(400));
        assert_eq!(check(h2("A")), Ok(Some("a".into())));
        assert_eq!(check(get(&path).header("host", "a")), Err(414));
        let two = get("/")
            .header("host", "a")
            .header("x", &long)
            .header("y", &long);
        assert_eq!(check(two), Err(431));
        let many = |count| {
            let first = get("/").header("host", "a");
            (1..count).fold(first, |request, _| request.header("x", ""))
        };
        assert_eq!(check(many(MAX_FIELDS)), Ok(Some("a".into())));
        assert_eq!(check(many(MAX_FIELDS + 1)), Err(431));
        let post = |length| {
            Request::post("/")
                .header("host", "a")
                .header("content-length", length)
        };
        assert_eq!(check(post("10")), Ok(Some("a".into())));
        assert_eq!(check(post("11")), Err(413));
        assert_eq!(check(Request::builder().method("TRACE").uri("/")), Err(405));
        assert_eq!(check(Request::connect("a:1")), Err(405));
    }
}
