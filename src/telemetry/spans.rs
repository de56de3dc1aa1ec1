//! `tracing` spans of exchanges as OpenTelemetry's, and the queue in which they wait to be sent.
//!
//! The subscriber is put together before the configuration is read, since reading it is logged too. So its
//! OpenTelemetry layer has a tracer that begins to work later, if the configuration wants it; until then the
//! data plane makes no spans for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use serin_proxy::{SpanLinks, Traceparent};
use tokio::sync::mpsc;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::tally::Tally;

/// Who makes the spans; empty until telemetry is wanted.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A tracer that begins to work when telemetry does.
pub(crate) struct LateTracer {
    /// Records nothing.
    idle: SdkTracer,
}

/// Where spans go that ended: to the queue, or away when that is full.
#[derive(Debug)]
pub(super) struct Queue {
    ended: mpsc::Sender<SpanData>,
    tally: Arc<Tally>,
}

/// Spans' ties to the traces they belong to.
pub(super) struct Links;

/// Spans end up in this queue from now on. The data plane has decided who is traced: all that come are kept.
pub(super) fn collect(queue: Queue, resource: Resource) {
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(queue)
        .with_resource(resource)
        .build();
    let scope = InstrumentationScope::builder("serin").with_version(env!("CARGO_PKG_VERSION"));
    _ = TRACER.set(provider.tracer_with_scope(scope.build()));
}

impl Default for LateTracer {
    fn default() -> Self {
        Self {
            idle: SdkTracerProvider::builder().build().tracer("serin"),
        }
    }
}

impl Tracer for LateTracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        let tracer = TRACER.get().unwrap_or(&self.idle);
        tracer.build_with_context(builder, parent)
    }
}

impl Queue {
    pub(super) const fn new(ended: mpsc::Sender<SpanData>, tally: Arc<Tally>) -> Self {
        Self { ended, tally }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.ended.try_send(span).is_err() {
            self.tally.dropped(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanLinks for Links {
    fn adopt(&self, span: &tracing::Span, parent: Traceparent) {
        let parent = SpanContext::new(
            TraceId::from(parent.trace),
            SpanId::from(parent.span),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let parent = Context::new().with_remote_span_context(parent);
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "a span has no parent");
        }
    }

    fn context(&self, span: &tracing::Span) -> Option<Traceparent> {
        let context = span.context();
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Traceparent {
            trace: u128::from_be_bytes(span.trace_id().to_bytes()),
            span: u64::from_be_bytes(span.span_id().to_bytes()),
            is_sampled: span.is_sampled(),
        })
    }
}
