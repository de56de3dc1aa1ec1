//! Why an exchange failed before the client got a response head: whose fault it is, and what the client is told.
//!
//! The client's message names the kind of failure and nothing else: addresses, endpoints and operating system
//! errors go to the log. Errors are problem documents (RFC 9457); a gRPC client gets its own form, a status in
//! the head of an otherwise successful response.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::h1::body::BodyError;
use crate::h1::head::HeadError;

/// Anything that may end a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The client sent what we refuse, or too slowly.
    Client,
    /// The arm's servers: it counts against the arm.
    Upstream,
    /// We have no route, no capacity, no configuration.
    Ours,
}

/// Why there is no response to relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request breaks a rule of HTTP that we enforce.
    #[error("{0}")]
    Malformed(&'static str),
    /// A transfer coding that we don't speak.
    #[error("unsupported transfer coding")]
    UnsupportedCoding,
    /// Neither HTTP/1.0 nor HTTP/1.1 nor HTTP/2.
    #[error("unsupported HTTP version")]
    UnsupportedVersion,
    /// The client expects what we don't do.
    #[error("unknown expectation")]
    UnknownExpectation,
    /// The client began a head and didn't end it.
    #[error("the request head did not arrive in time")]
    HeadLate,
    /// CONNECT or TRACE.
    #[error("this method is not served here")]
    MethodRefused,
    /// The request's target is longer than allowed.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The request's head is larger than allowed.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The request's body is larger than allowed.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The client stopped sending its body.
    #[error("the request body did not arrive in time")]
    BodyLate,
    /// The client's body broke off.
    #[error("the request body broke off")]
    BodyBroken,
    /// The route wants a routing key and the request bears none.
    #[error("the request bears no routing key")]
    KeyMissing,
    /// No route takes the request.
    #[error("no route takes this request")]
    NoRoute,
    /// No configuration was installed yet.
    #[error("not ready yet")]
    NotReady,
    /// We have no means to ask an upstream now.
    #[error("no capacity to ask an upstream: {0}")]
    Exhausted(std::io::Error),
    /// The backend has its limit in flight, and its queue is full or too slow.
    #[error("the backend is overloaded")]
    Overloaded,
    /// The upstream could not be connected.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The upstream did not accept the connection in time.
    #[error("connecting took too long")]
    ConnectLate,
    /// The upstream did not begin its response in time.
    #[error("the response took too long")]
    ResponseLate,
    /// The connection broke, or what came was no response.
    #[error("bad response: {0}")]
    BadResponse(BoxError),
}

/// What clients are told of a failure.
struct Told {
    status: StatusCode,
    detail: &'static str,
    /// See the status codes of gRPC.
    grpc: u8,
}

impl Failure {
    /// The configuration names nobody to ask.
    pub(crate) fn no_endpoint() -> Self {
        Self::Exhausted(std::io::ErrorKind::NotFound.into())
    }

    /// Whose fault it is.
    pub(crate) const fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_)
            | Self::UnsupportedCoding
            | Self::UnsupportedVersion
            | Self::UnknownExpectation
            | Self::HeadLate
            | Self::MethodRefused
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::BodyLate
            | Self::BodyBroken
            | Self::KeyMissing => Blame::Client,
            Self::NoRoute | Self::NotReady | Self::Exhausted(_) => Blame::Ours,
            Self::Overloaded
            | Self::Connect(_)
            | Self::ConnectLate
            | Self::ResponseLate
            | Self::BadResponse(_) => Blame::Upstream,
        }
    }

    /// No connection, or no response in time: the endpoint cannot be reached.
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectLate | Self::ResponseLate
        )
    }

    /// The status that tells the client (a gRPC client is told in another way).
    pub(crate) const fn status(&self) -> StatusCode {
        self.told().status
    }

    /// The response that tells the client.
    pub(crate) fn to_response(&self, is_grpc: bool) -> Response<Bytes> {
        let told = self.told();
        let mut response = if is_grpc {
            grpc_response(&told)
        } else {
            problem_response(&told)
        };
        if matches!(self, Self::MethodRefused) {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            response.headers_mut().insert(ALLOW, methods);
        }
        if matches!(self, Self::Overloaded) {
            let seconds = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }

    const fn told(&self) -> Told {
        let (status, grpc, detail) = match self {
            Self::Malformed(detail) => (StatusCode::BAD_REQUEST, 3, *detail),
            Self::UnsupportedCoding => (
                StatusCode::NOT_IMPLEMENTED,
                12,
                "The only transfer coding that is served here is \"chunked\".",
            ),
            Self::UnsupportedVersion => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                12,
                "This HTTP version is not served here.",
            ),
            Self::UnknownExpectation => (
                StatusCode::EXPECTATION_FAILED,
                3,
                "The expectation cannot be met here.",
            ),
            Self::HeadLate => (
                StatusCode::REQUEST_TIMEOUT,
                4,
                "The request head did not arrive in time.",
            ),
            Self::MethodRefused => (
                StatusCode::METHOD_NOT_ALLOWED,
                12,
                "This method is not served here.",
            ),
            Self::TargetTooLong => (
                StatusCode::URI_TOO_LONG,
                3,
                "The request target is longer than this server accepts.",
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                8,
                "The request head is larger than this server accepts.",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                8,
                "The request body is larger than this server accepts.",
            ),
            Self::BodyLate => (
                StatusCode::REQUEST_TIMEOUT,
                4,
                "The request body did not arrive in time.",
            ),
            Self::BodyBroken => (
                StatusCode::BAD_REQUEST,
                1,
                "The request body broke off before its end.",
            ),
            Self::KeyMissing => (
                StatusCode::BAD_REQUEST,
                3,
                "The request bears no routing key, and this route requires one.",
            ),
            Self::NoRoute => (StatusCode::NOT_FOUND, 12, "No route takes this request."),
            Self::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "The proxy is not ready yet.",
            ),
            Self::Exhausted(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "The proxy has no capacity for this request now.",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "The upstream has as many requests as it may; try again in a moment.",
            ),
            Self::Connect(_) => (
                StatusCode::BAD_GATEWAY,
                14,
                "The upstream could not be connected.",
            ),
            Self::ConnectLate => (
                StatusCode::GATEWAY_TIMEOUT,
                14,
                "The upstream did not accept a connection in time.",
            ),
            Self::ResponseLate => (
                StatusCode::GATEWAY_TIMEOUT,
                4,
                "The upstream did not answer in time.",
            ),
            Self::BadResponse(_) => (
                StatusCode::BAD_GATEWAY,
                14,
                "The upstream's connection broke before it answered.",
            ),
        };
        Told {
            status,
            detail,
            grpc,
        }
    }
}

impl From<HeadError> for Failure {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(what) => Self::Malformed(what),
            HeadError::UnsupportedCoding => Self::UnsupportedCoding,
            HeadError::UnsupportedVersion => Self::UnsupportedVersion,
            HeadError::MethodRefused => Self::MethodRefused,
            HeadError::UnknownExpectation => Self::UnknownExpectation,
            HeadError::TooManyFields => Self::HeadTooLarge,
        }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(_) => Self::Malformed("The request body is malformed."),
            BodyError::TooLarge => Self::BodyTooLarge,
        }
    }
}

/// `application/problem+json`. The type is the status itself (`about:blank`), so the title is its phrase.
fn problem_response(told: &Told) -> Response<Bytes> {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": told.status.canonical_reason().unwrap_or("Error"),
        "status": told.status.as_u16(),
        "detail": told.detail,
    });
    let mut response = Response::new(Bytes::from(problem.to_string()));
    *response.status_mut() = told.status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// "Trailers-only": the status stands in the head, and there is no body.
fn grpc_response(told: &Told) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(told.grpc)));
    // Our details are plain ASCII without `%`: nothing to escape.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(told.detail));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_tell_kind_and_status_and_nothing_internal() {
        let failure = Failure::Connect("10.1.2.3:9001 refused".to_owned());
        let response = failure.to_response(false);
        assert_eq!(response.status(), 502);
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["title"], "Bad Gateway");
        assert!(!problem.to_string().contains("10.1.2.3"));
    }

    #[test]
    fn grpc_clients_get_a_status_in_a_successful_head() {
        let response = Failure::ResponseLate.to_response(true);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "4");
        assert!(response.body().is_empty());
    }
}
