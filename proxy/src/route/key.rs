//! Finds the routing key: whose request this is.
//!
//! Sources are tried in the order of the configuration; an empty value counts as absent. Keys are bytes: two
//! sources that hold the same bytes name the same user. Nothing is allocated unless an escape must be decoded.
//! A body is asked for only when no source before it held a key.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderName;
use http::header::COOKIE;
use serin_config::model::{KeyFallback, KeySource, Route};

use super::assign::{Assignment, Salt};
use super::facts::{Body, RequestFacts};
use super::pointer::Pointer;

/// Where one route looks for its key, ready for use.
#[derive(Clone, Debug)]
pub struct KeyRule {
    sources: Box<[Source]>,
    fallback: KeyFallback,
}

/// A routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// Found in the request.
    Found(Cow<'a, [u8]>),
    /// None found: the socket peer's address, without port.
    Address(IpAddr),
    /// None found: this request alone, by its id.
    Request(&'a [u8]),
}

/// Why a request has no key (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unassigned {
    /// The body has to be read first.
    #[error("the routing key may be in the body, which was not read yet")]
    BodyNeeded,
    /// There is none, and the route wants one: 400.
    #[error("the request bears no routing key")]
    KeyMissing,
}

impl KeyRule {
    /// The rule of a route.
    #[must_use]
    pub fn new(route: &Route) -> Self {
        Self {
            sources: route.routing_key.iter().filter_map(Source::new).collect(),
            fallback: route.key_fallback,
        }
    }

    /// The request's key.
    pub fn find<'a>(&self, facts: &RequestFacts<'a>) -> Result<Key<'a>, Unassigned> {
        for source in &self.sources {
            if let Some(key) = source.find(facts)? {
                return Ok(Key::Found(key));
            }
        }
        match self.fallback {
            KeyFallback::Random => Ok(Key::Request(facts.request_id)),
            KeyFallback::ClientIp => Ok(Key::Address(facts.peer.to_canonical())),
            KeyFallback::Reject => Err(Unassigned::KeyMissing),
        }
    }
}

impl Key<'_> {
    /// Where this key falls under a salt.
    #[must_use]
    pub fn assign(&self, salt: Salt) -> Assignment {
        match self {
            Self::Found(key) => salt.assign(key),
            Self::Address(IpAddr::V4(address)) => salt.assign(&address.octets()),
            Self::Address(IpAddr::V6(address)) => salt.assign(&address.octets()),
            Self::Request(id) => salt.assign(id),
        }
    }
}

#[derive(Clone, Debug)]
enum Source {
    Header(HeaderName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
    Json(Pointer),
}

impl Source {
    /// `None` for a name that no request can bear (the configuration refuses those).
    fn new(source: &KeySource) -> Option<Self> {
        Some(match source {
            KeySource::Header(name) => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            KeySource::Cookie(name) => Self::Cookie(name.as_bytes().into()),
            KeySource::Query(name) => Self::Query(name.as_bytes().into()),
            KeySource::JsonPointer(text) => Self::Json(Pointer::parse(text)?),
        })
    }

    fn find<'a>(&self, facts: &RequestFacts<'a>) -> Result<Option<Cow<'a, [u8]>>, Unassigned> {
        Ok(match self {
            Self::Header(name) => facts
                .find_in(name, |value| present(value.trim_ascii()))
                .map(Cow::Borrowed),
            Self::Cookie(name) => facts
                .find_in(&COOKIE, |header| cookie(header, name))
                .map(Cow::Borrowed),
            Self::Query(name) => facts.query.and_then(|query| parameter(query, name)),
            Self::Json(pointer) => match facts.body {
                Body::Unread => return Err(Unassigned::BodyNeeded),
                Body::TooLarge => None,
                Body::Whole(body) => pointer
                    .scalar(body)
                    .filter(|value| !value.is_empty())
                    .map(|value| Cow::Owned(value.into_bytes())),
            },
        })
    }
}

/// The first non-empty value of a cookie in one `Cookie` header (RFC 6265, section 4.2.1: names are
/// case-sensitive, a value may stand in double quotes, which are no part of it).
fn cookie<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|&byte| byte == b';').find_map(|pair| {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let named = halves.next()?.trim_ascii() == name;
        let value = halves.next()?.trim_ascii();
        present(unquoted(value)).filter(|_| named)
    })
}

/// An empty value counts as absent.
fn present(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// The first non-empty value of a query parameter, decoded as a form: `%41` is `A`, `+` is a space.
fn parameter<'a>(query: &'a str, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, value)| !value.is_empty() && decoded(key).as_ref() == name)
        .map(|(_, value)| decoded(value))
}

/// Form decoding; what is no valid escape stays as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|&byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|pair| (pair, after)),
            _ => None,
        };
        rest = match escape {
            Some(((high, low), after)) => {
                plain.push(high << 4 | low);
                after
            }
            None => {
                plain.push(if first == b'+' { b' ' } else { first });
                after
            }
        };
    }
    Cow::Owned(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests;
