//! Sends OTLP messages to the collector: unary gRPC calls, or protobuf over HTTP/1.1.
//!
//! A gRPC call of this kind is one HTTP/2 request with a five-byte prefix and a status in the trailers, so the
//! HTTP client that we have serves for both. Connections are kept, and opened anew when they broke. No TLS:
//! the collector is meant to be an agent nearby.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use serin_config::model::{Otlp, OtlpProtocol};

use super::tally::Signal;

/// For one whole message (OTLP's default).
const PATIENCE: Duration = Duration::from_secs(10);
/// Most of an answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// The way to the collector.
pub(super) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    protocol: OtlpProtocol,
    traces: Uri,
    metrics: Uri,
    headers: HeaderMap,
}

/// Why the collector has not got a message. None of these holds a header that we sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// It was too slow.
    #[error("no answer within {PATIENCE:?}")]
    Late,
    /// It does not want it.
    #[error("the collector answered {0}")]
    Refused(String),
}

/// The collector's address or headers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the collector's {0} cannot be used")]
pub(crate) struct Unusable(&'static str);

impl Sender {
    /// Connects when there is something to send.
    pub(super) fn new(otlp: &Otlp) -> Result<Self, Unusable> {
        let (traces, metrics, kind) = match otlp.protocol {
            OtlpProtocol::Grpc => (
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                "application/grpc",
            ),
            OtlpProtocol::Http => ("/v1/traces", "/v1/metrics", "application/x-protobuf"),
        };
        let uri = |path| {
            let uri = format!("{}{path}", otlp.endpoint);
            uri.parse::<Uri>().map_err(|_| Unusable("endpoint"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &otlp.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_bytes(&value.0);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(Unusable("headers_file"));
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("serin/", env!("CARGO_PKG_VERSION"))),
        );
        if otlp.protocol == OtlpProtocol::Grpc {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(2)
            .http2_only(otlp.protocol == OtlpProtocol::Grpc)
            .build_http();
        Ok(Self {
            client,
            protocol: otlp.protocol,
            traces: uri(traces)?,
            metrics: uri(metrics)?,
            headers,
        })
    }

    /// Sends a message; the collector's answer to it.
    pub(super) async fn send<A: Message + Default>(
        &self,
        signal: Signal,
        message: &impl Message,
    ) -> Result<A, Unsent> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(signal, message))
            .await
            .map_err(|_| Unsent::Late)??;
        A::decode(answer).map_err(|error| Unsent::Refused(error.to_string()))
    }

    async fn ask(&self, signal: Signal, message: &impl Message) -> Result<Bytes, Unsent> {
        let mut request = Request::post(match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        })
        .body(Full::new(self.body(message)))
        .map_err(|error| Unsent::Connection(error.to_string()))?;
        request.headers_mut().clone_from(&self.headers);
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| Unsent::Connection(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        if !head.status.is_success() {
            return Err(Unsent::Refused(head.status.to_string()));
        }
        let body = body.map_err(|error| Unsent::Connection(error.to_string()))?;
        if self.protocol == OtlpProtocol::Http {
            return Ok(body.to_bytes());
        }
        let status = |fields: &HeaderMap| fields.get("grpc-status").cloned();
        let status = body.trailers().and_then(status);
        let status = status.or_else(|| head.headers.get("grpc-status").cloned());
        match status.as_ref().map(HeaderValue::as_bytes) {
            Some(b"0") => {
                let mut message = body.to_bytes();
                // A flag and a length; an answer without them is an empty one.
                Ok(message.split_off(message.len().min(5)))
            }
            status => Err(Unsent::Refused(format!(
                "grpc-status {}",
                status.unwrap_or(b"missing").escape_ascii()
            ))),
        }
    }

    fn body(&self, message: &impl Message) -> Bytes {
        let length = message.encoded_len();
        let mut body = BytesMut::with_capacity(length + 5);
        if self.protocol == OtlpProtocol::Grpc {
            body.put_u8(0);
            body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        }
        body.extend_from_slice(&message.encode_to_vec());
        body.freeze()
    }
}

/// An error with its causes: hyper's own texts say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
