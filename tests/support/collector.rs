//! A collector of telemetry: OTLP over gRPC (served by tonic, not by our own framing) and over HTTP, on one port
//! and a thread of its own. It remembers everything it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tower::Service as _;

use super::{SOON, eventually};

/// What a collector does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes it.
    Takes,
    /// Reads it and never answers.
    Hangs,
    /// Refuses it.
    Refuses,
}

/// A running collector; stops when dropped.
pub(crate) struct Collector {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Everything that came.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Spans, in the order in which they came.
    pub(crate) spans: Vec<Span>,
    /// The newest report of the metrics.
    pub(crate) metrics: Vec<Metric>,
    /// Of whoever reported last: attributes of the process.
    pub(crate) process: Vec<KeyValue>,
    /// The newest request's headers.
    pub(crate) headers: HeaderMap,
    /// Requests whose head has arrived.
    pub(crate) requests: u64,
}

impl Collector {
    /// Starts one on a port of its own.
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (manner, told) = watch::channel(manner);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let desk = Desk {
            seen: Arc::clone(&seen),
            told,
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(&listener, &desk) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            manner,
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves differently from now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Everything that came so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until what came is enough.
    pub(crate) async fn when(&self, what: &str, enough: impl Fn(&Seen) -> bool) -> Seen {
        eventually(what, SOON, async || {
            let seen = self.seen();
            enough(&seen).then_some(seen)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Seen {
    /// Spans of this kind.
    pub(crate) fn of_kind(&self, kind: span::SpanKind) -> Vec<&Span> {
        let spans = self.spans.iter();
        spans.filter(|span| span.kind == i32::from(kind)).collect()
    }

    /// The sum of a counter's or gauge's points that have these attributes.
    pub(crate) fn number(&self, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        let points = match metric.data.as_ref()? {
            metric::Data::Sum(sum) => &sum.data_points,
            metric::Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{name} is no number: {other:?}"),
        };
        let points = points.iter().filter(|point| {
            let mut wanted = attributes.iter();
            wanted.all(|(key, value)| text(&point.attributes, key).as_deref() == Some(*value))
        });
        let values = points.map(|point| match point.value {
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => panic!("{name} has no value"),
        });
        Some(values.sum())
    }

    /// How many values a histogram has.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        let Some(metric::Data::Histogram(histogram)) = &metric.data else {
            panic!("{name} is no histogram: {metric:?}")
        };
        let points = histogram.data_points.iter();
        Some(
            points
                .inspect(|point| {
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                })
                .map(|point| point.count)
                .sum(),
        )
    }
}

/// An attribute as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut attributes = attributes.iter();
    let attribute = attributes.find(|attribute| attribute.key == key)?;
    Some(match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        any_value::Value::BoolValue(value) => value.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

#[derive(Clone)]
struct Desk {
    seen: Arc<Mutex<Seen>>,
    told: watch::Receiver<Manner>,
}

impl Desk {
    fn take_traces(&self, message: ExportTraceServiceRequest) {
        let mut seen = self.seen.lock().unwrap();
        for of_resource in message.resource_spans {
            seen.process = of_resource.resource.unwrap().attributes;
            let scopes = of_resource.scope_spans.into_iter();
            seen.spans.extend(scopes.flat_map(|scope| scope.spans));
        }
    }

    fn take_metrics(&self, message: ExportMetricsServiceRequest) {
        let mut seen = self.seen.lock().unwrap();
        for of_resource in message.resource_metrics {
            seen.process = of_resource.resource.unwrap().attributes;
            let scopes = of_resource.scope_metrics.into_iter();
            seen.metrics = scopes.flat_map(|scope| scope.metrics).collect();
        }
    }
}

#[tonic::async_trait]
impl TraceService for Desk {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.take_traces(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Desk {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.take_metrics(request.into_inner());
        let response = ExportMetricsServiceResponse::default();
        Ok(tonic::Response::new(response))
    }
}

async fn accept(listener: &TcpListener, desk: &Desk) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(desk.clone(), request));
            // A process that hangs up is its own business.
            drop(
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

async fn answer(desk: Desk, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    {
        let mut seen = desk.seen.lock().unwrap();
        seen.headers = request.headers().clone();
        seen.requests += 1;
    }
    let mut told = desk.told.clone();
    let told = told.wait_for(|manner| *manner != Manner::Hangs).await;
    let Ok(manner) = told.map(|manner| *manner) else {
        return std::future::pending().await;
    };
    if manner == Manner::Refuses {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, Vec::new()));
    }
    let path = request.uri().path().to_owned();
    if path.starts_with("/opentelemetry.proto.collector.trace.") {
        let Ok(response) = TraceServiceServer::new(desk).call(request).await;
        return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    if path.starts_with("/opentelemetry.proto.collector.metrics.") {
        let Ok(response) = MetricsServiceServer::new(desk).call(request).await;
        return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = match path.as_str() {
        "/otlp/v1/traces" => {
            desk.take_traces(ExportTraceServiceRequest::decode(body).unwrap());
            ExportTraceServiceResponse::default().encode_to_vec()
        }
        "/otlp/v1/metrics" => {
            desk.take_metrics(ExportMetricsServiceRequest::decode(body).unwrap());
            ExportMetricsServiceResponse::default().encode_to_vec()
        }
        _ => return Ok(plain(StatusCode::NOT_FOUND, Vec::new())),
    };
    Ok(plain(StatusCode::OK, answer))
}

fn plain(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(body));
    Response::builder()
        .status(status)
        .body(body.map_err(|never| match never {}).boxed_unsync())
        .unwrap()
}
