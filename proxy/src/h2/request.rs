//! What a block of fields must be to be a request, or a request's trailers (RFC 9113, sections 8.1 to 8.3).
//!
//! What would mean something else in HTTP/1.1 is refused here already: fields of one connection, line ends, names in
//! uppercase, targets and authorities that are none. What HTTP itself allows and we don't serve is
//! [`admit`](crate::exchange)'s to say, for both protocols alike.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request};

use super::hpack::{Field, Name, Value};
use crate::h1::field::content_length;
use crate::h1::target;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that most requests have at most, with those that a proxy adds: the map doesn't grow then.
const USUAL_FIELDS: usize = 24;

/// How large a request's head may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Octets of all fields, 32 for each more (RFC 9113, section 10.5.1).
    pub(crate) fields: usize,
    /// Octets of the target.
    pub(crate) target: usize,
}

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// As the rest of the house knows it.
    pub(crate) parts: request::Parts,
    /// The body's length, if it was said in a way that means anything.
    pub(crate) length: Option<u64>,
}

/// Why a block of fields is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Malformed: a stream error (RFC 9113, section 8.1.1).
    Malformed(&'static str),
    /// It means what we don't serve: 400.
    Unserved(&'static str),
    /// The target is too long: 414.
    TargetTooLong,
    /// There is too much of it: 431.
    TooLarge,
}

/// Fields as they come.
pub(crate) struct Assembly {
    bounds: Bounds,
    size: usize,
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    headers: HeaderMap,
    /// Pseudo fields come first.
    in_fields: bool,
    refusal: Option<Refusal>,
}

impl Assembly {
    /// Of a block of which nothing was read.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            size: 0,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            headers: HeaderMap::with_capacity(USUAL_FIELDS),
            in_fields: false,
            refusal: None,
        }
    }

    /// The next field.
    pub(crate) fn add(&mut self, field: Field) {
        self.size = self.size.saturating_add(field.size);
        let taken = match field.value {
            Value::Pseudo(value) => self.add_pseudo(&field.name, value),
            Value::Field(value) => self.add_field(field.name, value),
            Value::Bad => Err(Refusal::Malformed("a field is none of HTTP")),
        };
        if let Err(refusal) = taken {
            self.refuse(refusal);
        }
    }

    /// What is malformed is so whatever else it is.
    fn refuse(&mut self, refusal: Refusal) {
        if matches!(refusal, Refusal::Malformed(_)) || self.refusal.is_none() {
            self.refusal = Some(refusal);
        }
    }

    fn add_pseudo(&mut self, name: &Name, value: Bytes) -> Result<(), Refusal> {
        if self.in_fields {
            return Err(Refusal::Malformed("a pseudo field comes late"));
        }
        let place = match name {
            Name::Method => &mut self.method,
            Name::Scheme => &mut self.scheme,
            Name::Authority => &mut self.authority,
            Name::Path => {
                if value.len() > self.bounds.target {
                    self.refuse(Refusal::TargetTooLong);
                }
                &mut self.path
            }
            _ => return Err(Refusal::Malformed("an unknown pseudo field")),
        };
        if place.replace(value).is_some() {
            return Err(Refusal::Malformed("a pseudo field comes twice"));
        }
        Ok(())
    }

    fn add_field(&mut self, name: Name, value: HeaderValue) -> Result<(), Refusal> {
        self.in_fields = true;
        let Name::Field(name) = name else {
            return Err(Refusal::Malformed("a field is none of HTTP"));
        };
        if name == CONNECTION
            || name == TRANSFER_ENCODING
            || name == UPGRADE
            || name == KEEP_ALIVE
            || name == PROXY_CONNECTION
            || name == TE && value != "trailers"
        {
            return Err(Refusal::Malformed("a field of one connection"));
        }
        if self.size > self.bounds.fields {
            return Err(Refusal::TooLarge);
        }
        let added = self.headers.try_append(name, value);
        added.map(|_| ()).map_err(|_| Refusal::TooLarge)
    }

    /// Whether the answer is to have no body, as far as is known.
    pub(crate) fn is_head(&self) -> bool {
        self.method.as_deref() == Some(b"HEAD")
    }

    /// The request that it was.
    ///
    /// # Errors
    /// When it was none, or none that is served.
    pub(crate) fn request(self) -> Result<RequestHead, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let method = self
            .method
            .as_deref()
            .and_then(|method| Method::from_bytes(method).ok())
            .ok_or(Refusal::Malformed("no method"))?;
        let is_connect = method == Method::CONNECT;
        let uri = match (is_connect, self.scheme, self.path, self.authority) {
            (true, None, None, Some(authority)) => of_connect(authority)?,
            (false, Some(scheme), Some(path), authority) => target(&scheme, path, authority)?,
            _ => return Err(Refusal::Malformed("pseudo fields are missing")),
        };
        let mut parts = Request::new(()).into_parts().0;
        parts.method = method;
        parts.uri = uri;
        parts.version = Version::HTTP_2;
        parts.headers = self.headers;
        let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
        let length = match (lengths.next(), lengths.next()) {
            (Some(only), None) => content_length(only.as_bytes()),
            // None, or more than one, which is answered.
            _ => None,
        };
        Ok(RequestHead { parts, length })
    }

    /// The trailers that it was.
    ///
    /// # Errors
    /// When it was none.
    pub(crate) fn trailers(self) -> Result<HeaderMap, Refusal> {
        let pseudo = [&self.method, &self.scheme, &self.authority, &self.path];
        match self.refusal {
            Some(refusal) => Err(refusal),
            None if pseudo.iter().any(|one| one.is_some()) => {
                Err(Refusal::Malformed("a pseudo field in trailers"))
            }
            None => Ok(self.headers),
        }
    }
}

fn of_connect(authority: Bytes) -> Result<Uri, Refusal> {
    Uri::from_maybe_shared(authority).map_err(|_| Refusal::Malformed("the authority is none"))
}

fn target(scheme: &[u8], path: Bytes, authority: Option<Bytes>) -> Result<Uri, Refusal> {
    if memchr::memchr(b'#', &path).is_some() {
        return Err(Refusal::Unserved("The request target has a fragment."));
    }
    const BAD_TARGET: Refusal = Refusal::Unserved("The request target is malformed.");
    let begins_well = matches!(path.first(), None | Some(b'/' | b'*'));
    if !begins_well || !path.is_ascii() {
        return Err(BAD_TARGET);
    }
    let scheme = if scheme.eq_ignore_ascii_case(b"http") {
        Scheme::HTTP
    } else if scheme.eq_ignore_ascii_case(b"https") {
        Scheme::HTTPS
    } else {
        return Err(Refusal::Unserved(
            "The request target's scheme is not served.",
        ));
    };
    let mut parts = http::uri::Parts::default();
    let shared = PathAndQuery::from_maybe_shared(path.clone()).ok();
    let path = shared.or_else(|| target::path_and_query(&path));
    parts.path_and_query = Some(path.ok_or(Refusal::Malformed("the path is none"))?);
    if let Some(authority) = authority {
        let authority = Authority::from_maybe_shared(authority);
        parts.authority = Some(authority.map_err(|_| Refusal::Malformed("the authority is none"))?);
        parts.scheme = Some(scheme);
    }
    Uri::from_parts(parts).map_err(|_| Refusal::Malformed("the target is none"))
}

#[cfg(test)]
mod tests {
    use super::super::hpack::{self, Decoder};
    use super::*;

    const BOUNDS: Bounds = Bounds {
        fields: 600,
        target: 60,
    };

    fn assembled(fields: &[(&str, &str)]) -> Assembly {
        let mut block = Vec::new();
        for (name, value) in fields {
            hpack::field(&mut block, name, value.as_bytes(), false);
        }
        let mut assembly = Assembly::new(BOUNDS);
        let read = Decoder::new().read(&block, |field| assembly.add(field));
        assert!(read.is_ok());
        assembly
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/a?b"),
        (":authority", "x.example:8080"),
    ];

    fn with(fields: &[(&str, &str)]) -> Result<RequestHead, Refusal> {
        assembled(&[&GET[..], fields].concat()).request()
    }

    fn is_malformed(result: &Result<RequestHead, Refusal>) -> bool {
        matches!(result, Err(Refusal::Malformed(_)))
    }

    #[test]
    fn a_request_is_put_together() {
        let head = with(&[
            ("x", "1"),
            ("x", "2"),
            ("te", "trailers"),
            ("content-length", "7"),
        ]);
        let RequestHead { parts, length } = head.unwrap();
        assert_eq!(parts.uri, "https://x.example:8080/a?b");
        assert_eq!(
            (parts.method, parts.version),
            (Method::GET, Version::HTTP_2)
        );
        assert_eq!(parts.headers.get_all("x").iter().count(), 2);
        assert_eq!(length, Some(7));
        let no_authority = assembled(&[&GET[..3], &[("host", "y")]].concat()).request();
        assert_eq!(no_authority.unwrap().parts.uri, "/a?b");
        let connect = assembled(&[(":method", "CONNECT"), (":authority", "a:1")]).request();
        assert_eq!(connect.unwrap().parts.method, Method::CONNECT);
    }

    #[test]
    fn what_http_1_would_read_differently_is_malformed() {
        for field in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("te", "gzip"),
            ("x", "a\r\nb"),
            ("x", " a"),
            ("X", "a"),
            (":path", "/b"),
            (":status", "200"),
        ] {
            assert!(is_malformed(&with(&[field])), "{field:?}");
        }
        for missing in 0..3 {
            let mut fields = GET.to_vec();
            fields.remove(missing);
            assert!(is_malformed(&assembled(&fields).request()), "{missing}");
        }
        for (at, value) in [(0, "G T"), (0, ""), (2, "/a b"), (3, "a b"), (3, "a/b")] {
            let mut fields = GET;
            fields[at].1 = value;
            assert!(is_malformed(&assembled(&fields).request()), "{value}");
        }
    }

    #[test]
    fn what_is_well_formed_and_not_served_is_answered() {
        let long = "x".repeat(700);
        assert_eq!(with(&[("x", &long)]).unwrap_err(), Refusal::TooLarge);
        let path = format!("/{}", "x".repeat(60));
        for (at, value) in [(1, "ftp"), (2, "/a#b"), (2, &path)] {
            let mut fields = GET;
            fields[at].1 = value;
            let refusal = assembled(&fields).request().unwrap_err();
            match at {
                2 if value == path => assert_eq!(refusal, Refusal::TargetTooLong),
                _ => assert!(matches!(refusal, Refusal::Unserved(_)), "{value}"),
            }
        }
        // Malformed is worse than large.
        assert!(is_malformed(&with(&[("x", &long), ("te", "gzip")])));
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let trailers = assembled(&[("grpc-status", "0")]).trailers();
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        assert!(assembled(&[(":path", "/")]).trailers().is_err());
        assert!(assembled(&[("connection", "x")]).trailers().is_err());
    }
}
