//! A copy's head: the original's as it goes to its upstream, addressed to the target, with the mark that it is
//! a copy.

use http::header::{CONNECTION, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use crate::exchange::address;
use crate::h1::target;
use crate::upstream::Wire;

/// A client's head has at most 100, and gets a few of ours.
const MOST_FIELDS: usize = 128;
const SHADOW: HeaderName = HeaderName::from_static("x-serin-shadow");

/// A head, whatever protocol it is for.
#[derive(Clone, Debug)]
pub(crate) struct CopyHead {
    method: Method,
    path: PathAndQuery,
    /// Whom the client asked for.
    host: HeaderValue,
    /// Without `Host` and `Connection`.
    headers: HeaderMap,
}

impl CopyHead {
    /// From a head that is ready for its upstream, over either protocol.
    pub(crate) fn new(head: &Parts) -> Option<Self> {
        let mut headers = head.headers.clone();
        let host = headers.remove(HOST);
        let authority = head.uri.authority();
        let host = match authority {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => host,
        };
        Some(Self::marked(
            head.method.clone(),
            head.uri.path_and_query()?.clone(),
            host?,
            headers,
        ))
    }

    /// From the text of a head that is ready for its upstream.
    pub(crate) fn of_http1(head: &[u8]) -> Option<Self> {
        let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut room);
        parsed
            .parse(head)
            .ok()
            .filter(httparse::Status::is_complete)?;
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        let host = headers.remove(HOST)?;
        Some(Self::marked(
            Method::from_bytes(parsed.method?.as_bytes()).ok()?,
            target::path_and_query(parsed.path?.as_bytes())?,
            host,
            headers,
        ))
    }

    /// What concerns the original's connection and framing goes; the copy's body is sent when it is whole.
    fn marked(
        method: Method,
        path: PathAndQuery,
        host: HeaderValue,
        mut headers: HeaderMap,
    ) -> Self {
        headers.remove(CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        headers.insert(SHADOW, HeaderValue::from_static("1"));
        Self {
            method,
            path,
            host,
            headers,
        }
    }

    /// Roughly what it takes in memory.
    pub(super) fn size(&self) -> usize {
        let fields = self.headers.iter();
        let fields: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum();
        fields + self.path.as_str().len() + self.host.len()
    }

    /// The fields.
    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request, for this protocol; `None` when its host is no authority.
    pub(super) fn request<B>(self, wire: Wire, scheme: Scheme, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.path);
        // As it was received, perhaps: cookies are joined for HTTP/1.1.
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(HOST, self.host);
        address(&mut request, wire, scheme).ok()?;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_goes_from_either_protocol_to_either() {
        let request = Request::post("/v2/x?y=1")
            .header("x-a", "b")
            .header("te", "trailers");
        let http1 = request
            .header("host", "models.example")
            .header("connection", "te")
            .body(())
            .unwrap();
        let http2 = Request::post("http://models.example/v2/x?y=1")
            .header("x-a", "b")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let text = b"POST /v2/x?y=1 HTTP/1.1\r\nhost: models.example\r\nx-a: b\r\nte: trailers\r\n\
            connection: te\r\ntransfer-encoding: chunked\r\n\r\n";
        for original in [
            CopyHead::new(&http1.into_parts().0),
            CopyHead::new(&http2.into_parts().0),
            CopyHead::of_http1(text),
        ] {
            let original = original.unwrap();
            let copy = original
                .clone()
                .request(Wire::Http1, Scheme::HTTP, ())
                .unwrap();
            assert_eq!(copy.method(), Method::POST);
            assert_eq!(copy.uri(), "/v2/x?y=1");
            assert_eq!(copy.headers()["host"], "models.example");
            assert_eq!(copy.headers()["connection"], "te");
            assert_eq!(copy.headers()["x-serin-shadow"], "1");
            let copy = original.request(Wire::Http2, Scheme::HTTPS, ()).unwrap();
            assert_eq!(copy.uri(), "https://models.example/v2/x?y=1");
            assert_eq!(copy.headers()["x-a"], "b");
            for gone in ["host", "connection", "transfer-encoding"] {
                assert!(!copy.headers().contains_key(gone));
            }
        }
    }
}
