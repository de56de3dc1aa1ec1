//! Bodies and headers of good answers.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

/// The body of an answer: whole, or a stream of events.
pub(super) type AdminBody = BoxBody<Bytes, Infallible>;

/// A JSON document.
pub(super) fn json(document: &Value) -> Response<AdminBody> {
    text("application/json", document.to_string())
}

/// A whole body of some type.
pub(super) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response<AdminBody> {
    let mut response = with_defaults(Response::new(Full::new(body.into()).boxed()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What every answer bears: it is about this moment, and its type is to be believed.
pub(super) fn with_defaults(mut response: Response<AdminBody>) -> Response<AdminBody> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
