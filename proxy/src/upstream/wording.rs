//! What is written and read of messages to and from an HTTP/1.1 upstream whose other side is a codec's: heads
//! between the wire and [`http`]'s types, and a request's body on the wire.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use crate::error::BoxError;
use crate::h1::field::{self, InTrailer, Known};
use crate::h1::head::ResponseHead;
use crate::h1::write;

/// Fields that most responses have at most, with those that a proxy adds: the map doesn't grow then.
const USUAL_FIELDS: usize = 24;

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

impl Coding {
    /// By its length, if that is known and no trailers were announced.
    pub(super) fn of(parts: &Parts, length: Option<u64>) -> Self {
        match length {
            Some(0) => Self::Length(0),
            Some(length) if !parts.headers.contains_key(TRAILER) => Self::Length(length),
            _ => Self::Chunked,
        }
    }

    /// Appends a piece.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, data: &Bytes) -> Result<(), BoxError> {
        match self {
            Self::Chunked => write::chunk(out, data),
            Self::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or("the body is longer than was said")?;
                out.extend_from_slice(data);
            }
        }
        Ok(())
    }

    /// Appends what stands behind the last piece.
    pub(super) fn end(
        self,
        out: &mut Vec<u8>,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), BoxError> {
        match self {
            Self::Length(0) => {}
            Self::Length(_) => return Err("the body is shorter than was said".into()),
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if field::in_trailer(name.as_str()) == InTrailer::Passes {
                        write::field(out, name.as_str().as_bytes(), value.as_bytes());
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

/// Appends a request's head, which was made ready for HTTP/1.1.
pub(super) fn request(out: &mut Vec<u8>, parts: &Parts, coding: Coding) {
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    write::request_line(out, parts.method.as_str(), target);
    if let Some(host) = parts.headers.get(HOST) {
        write::field(out, b"host", host.as_bytes());
    }
    for (name, value) in &parts.headers {
        if name != CONTENT_LENGTH && name != HOST {
            write::field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // A body is what the method expects: its absence is said.
    let expects_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    match coding {
        Coding::Length(0) if !expects_body => {}
        Coding::Length(length) => write::content_length(out, length),
        Coding::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// A response's head as the rest of the house knows it.
pub(super) fn response(head: &ResponseHead<'_>) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.headers_mut() = HeaderMap::with_capacity(USUAL_FIELDS);
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    *response.version_mut() = if head.version_11 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    for (kind, field) in head.fields.iter() {
        if kind != Known::ContentLength || head.status != 204 {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_bytes(field.value).ok()?;
            response.headers_mut().append(name, value);
        }
    }
    Some(response)
}

/// The fields of an interim response that go on.
pub(super) fn interim(head: &ResponseHead<'_>) -> HeaderMap {
    let fields = head.fields.iter().filter(|(kind, field)| match kind {
        Known::Other => !head.fields.is_named(*kind, field),
        Known::Date | Known::ContentType => true,
        _ => false,
    });
    let fields = fields.filter_map(|(_, field)| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(field.value).ok()?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: Method, fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for &(name, value) in fields {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(name, value);
        }
        request.into_parts().0
    }

    fn written(parts: &Parts, length: Option<u64>) -> String {
        let mut out = Vec::new();
        request(&mut out, parts, Coding::of(parts, length));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn framing_is_ours_to_say() {
        let lies = parts(Method::GET, &[("content-length", "7"), ("host", "a")]);
        assert_eq!(written(&lies, Some(0)), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(written(&lies, Some(3)).contains("\r\ncontent-length: 3\r\n"));
        assert!(written(&lies, None).ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"));
        let empty = parts(Method::POST, &[]);
        assert!(written(&empty, Some(0)).contains("\r\ncontent-length: 0\r\n"));
        let trailing = parts(Method::POST, &[("trailer", "x-t")]);
        assert!(written(&trailing, Some(3)).contains("\r\ntransfer-encoding: chunked\r\n"));
    }

    #[test]
    fn bodies_are_as_long_as_was_said_and_trailers_frame_nothing() {
        let mut out = Vec::new();
        let mut coding = Coding::Length(3);
        coding.put(&mut out, &Bytes::from_static(b"ab")).unwrap();
        assert!(coding.end(&mut out, None).is_err());
        let too_much = coding.put(&mut out, &Bytes::from_static(b"cd"));
        assert!(too_much.is_err());
        out.clear();
        let mut coding = Coding::Chunked;
        coding.put(&mut out, &Bytes::from_static(b"abc")).unwrap();
        let trailers = parts(Method::GET, &[("content-length", "7"), ("x-t", "v")]).headers;
        coding.end(&mut out, Some(&trailers)).unwrap();
        assert_eq!(out, b"3\r\nabc\r\n0\r\nx-t: v\r\n\r\n");
    }
}
