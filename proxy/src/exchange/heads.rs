//! The two heads as they go on: the request's to the upstream, the response's to the client.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, COOKIE, HOST, HeaderName, TE, VIA};
use http::request;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use serin_config::model::{Backend, Expose};
use serin_stats::snapshot::Arm;

use super::fields::{strip_hop_by_hop, strip_ours, strip_underscored, takes_trailers};
use crate::connection::Peer;
use crate::error::Failure;
use crate::h1::field::options;
use crate::identity::{Identity, RequestId, is_traceparent};
use crate::observe::TracedHead;
use crate::upstream::Wire;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const ARM: HeaderName = HeaderName::from_static("x-serin-arm");
const RELEASE: HeaderName = HeaderName::from_static("x-serin-release");
const FALLBACK: HeaderName = HeaderName::from_static("x-serin-fallback");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-serin-request-id");

/// What a request's head needs on its way to the upstream.
pub(crate) struct Outbound<'a> {
    /// The client.
    pub(crate) peer: Peer,
    /// Its address as text, if it was written before.
    pub(crate) address: Option<HeaderValue>,
    /// Whom the client asked for; the endpoint itself when it didn't say.
    pub(crate) host: HeaderValue,
    /// Our id for the request.
    pub(crate) request_id: RequestId,
    /// Makes trace ids.
    pub(crate) identity: &'a Identity,
    /// Ours, when the request is traced.
    pub(crate) traceparent: Option<HeaderValue>,
}

impl Outbound<'_> {
    /// Makes a client's head the upstream's; how it is [addressed](address) is left to who knows the protocol.
    pub(crate) fn apply(self, head: &mut request::Parts) {
        let wants_trailers = takes_trailers(&head.headers);
        let via = via(head.version);
        let headers = &mut head.headers;
        strip_hop_by_hop(headers);
        strip_underscored(headers);
        append(headers, VIA, via);
        let address = self.address.clone().or_else(|| written(self.peer.ip));
        if let Some(address) = address {
            append(headers, FORWARDED_FOR, address);
        }
        let scheme = if self.peer.is_secure { "https" } else { "http" };
        if !headers.contains_key(FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        if !headers.contains_key(FORWARDED_HOST) {
            headers.insert(FORWARDED_HOST, self.host.clone());
        }
        if let Some(id) = self.request_id.value() {
            headers.insert(REQUEST_ID, id);
        }
        match self.traceparent.clone() {
            Some(ours) => take_over(headers, ours),
            None => trace(headers, self.identity, self.request_id),
        }
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        headers.insert(HOST, self.host);
        let path = head.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
}

/// Addresses a request as this protocol has it: where the authority stands depends on it. The request may have been
/// addressed before, for the other one.
pub(crate) fn address<B>(
    request: &mut Request<B>,
    wire: Wire,
    scheme: Scheme,
) -> Result<(), Failure> {
    const HOST_MALFORMED: Failure = Failure::Malformed("The Host is malformed.");
    let is_http2 = request.version() == Version::HTTP_2;
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    let headers = request.headers_mut();
    match wire {
        Wire::Http1 => {
            if let Some(authority) = uri.authority.take() {
                let host = HeaderValue::from_str(authority.as_str());
                headers.insert(HOST, host.map_err(|_| HOST_MALFORMED)?);
            }
            uri.scheme = None;
            if is_http2 {
                join_cookies(headers);
            }
            if headers.contains_key(TE) {
                headers.insert(CONNECTION, HeaderValue::from_static("te"));
            }
            *request.version_mut() = Version::HTTP_11;
        }
        Wire::Http2 => {
            headers.remove(CONNECTION);
            if let Some(host) = headers.remove(HOST) {
                let authority = Authority::try_from(host.as_bytes());
                uri.authority = Some(authority.map_err(|_| HOST_MALFORMED)?);
            }
            uri.scheme = Some(scheme);
            *request.version_mut() = Version::HTTP_2;
        }
    }
    *request.uri_mut() =
        Uri::from_parts(uri).map_err(|_| Failure::Malformed("The request target is malformed."))?;
    Ok(())
}

/// Makes an upstream's head the client's: what concerns one connection or is ours to say goes.
pub(crate) fn clean_response(headers: &mut HeaderMap, version: Version) {
    strip_hop_by_hop(headers);
    strip_ours(headers);
    append(headers, VIA, via(version));
}

/// Says who answered, as far as clients may know.
pub(crate) fn expose(
    headers: &mut HeaderMap,
    expose: Expose,
    arm: Arm,
    backend: Option<&Backend>,
    request_id: RequestId,
) {
    if expose.arm {
        headers.insert(ARM, HeaderValue::from_static(arm.name()));
    }
    let release = backend.and_then(|backend| backend.release.as_ref());
    if let Some(release) = release.filter(|_| expose.release)
        && let Ok(digest) = HeaderValue::from_str(&release.digest.0)
    {
        headers.insert(RELEASE, digest);
    }
    if expose.request_id
        && let Some(id) = request_id.value()
    {
        headers.insert(REQUEST_ID, id);
    }
}

/// Says that baseline answered in place of an arm that failed.
pub(crate) fn say_covered(headers: &mut HeaderMap, failed: Arm) {
    headers.insert(FALLBACK, HeaderValue::from_static(failed.name()));
}

/// By the version of the message that was received (RFC 9110, section 7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 serin",
        Version::HTTP_10 => "1.0 serin",
        _ => "1.1 serin",
    })
}

/// HTTP/2 may split cookies into several fields, HTTP/1.1 has one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(_), Some(_)) = (cookies.next(), cookies.next()) {
        let cookies: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        // Both parts were valid values.
        if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice())) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Adds to the list that a field holds, in one line and without empty members.
fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, value);
        return;
    }
    let mut list = BytesMut::new();
    let known = headers.get_all(&name).iter();
    for member in known.flat_map(|value| options(value.as_bytes())) {
        list.put_slice(member);
        list.put_slice(b", ");
    }
    list.put_slice(value.as_bytes());
    // Both parts were valid values.
    if let Ok(list) = HeaderValue::from_maybe_shared(list.freeze()) {
        headers.insert(name, list);
    }
}

/// An address as a field has it.
pub(crate) fn written(address: IpAddr) -> Option<HeaderValue> {
    let text = Bytes::from(address.to_canonical().to_string());
    HeaderValue::from_maybe_shared(text).ok()
}

/// What a trace tells of a request's head.
pub(super) fn traced(head: &request::Parts, is_secure: bool) -> TracedHead<'_> {
    TracedHead {
        method: head.method.as_str(),
        path: head.uri.path(),
        version: match head.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        },
        is_secure,
        traceparent: traceparent(&head.headers),
    }
}

/// The only one.
fn traceparent(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(parent), None) => Some(parent.as_bytes()),
        _ => None,
    }
}

/// Makes the upstream a part of the trace that we record. A state that came with no valid parent goes.
fn take_over(headers: &mut HeaderMap, ours: HeaderValue) {
    if !traceparent(headers).is_some_and(is_traceparent) {
        headers.remove(TRACESTATE);
    }
    headers.insert(TRACEPARENT, ours);
}

/// Passes a valid trace on; begins one otherwise.
fn trace(headers: &mut HeaderMap, identity: &Identity, request: RequestId) {
    if traceparent(headers).is_some_and(is_traceparent) {
        return;
    }
    headers.remove(TRACESTATE);
    match identity.traceparent(request) {
        Some(parent) => headers.insert(TRACEPARENT, parent),
        None => headers.remove(TRACEPARENT),
    };
}
