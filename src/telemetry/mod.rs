//! Metrics and traces for an OpenTelemetry collector.
//!
//! The data plane counts by itself and makes `tracing` spans of sampled exchanges; it knows nothing of
//! OpenTelemetry. Here the two are put into OTLP: [`spans`] turns `tracing` spans into OpenTelemetry's and
//! queues them, [`payload`] writes the page of metrics and batches of spans as OTLP's messages, [`sender`]
//! sends those over gRPC or HTTP, [`report`] does so in time, on a thread of its own.
//!
//! **A collector costs requests nothing.** Metrics are read from the same page as `/metrics`, every interval,
//! with no call on a request's way. A span that ended goes into a queue with a bound; when that is full, since
//! the collector is slow or away, the span is dropped and counted. Nothing is sent twice: metrics are
//! cumulative, so the next report makes up for a lost one; spans of a failed batch count as dropped.
//!
//! OpenTelemetry's own exporters are not used: they take no histogram that was counted elsewhere, and their
//! batching tells no number of spans dropped. Its SDK makes the spans, its definitions the messages.

mod payload;
mod report;
mod sender;
mod spans;
mod tally;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use serin_config::model;
use serin_control::Meter;
use serin_proxy::SpanLinks;
use serin_stats::metrics::Page;
use serin_stats::names::attribute;
use tokio::sync::{mpsc, watch};

pub(crate) use sender::Unusable;
pub(crate) use spans::LateTracer;

use payload::Payload;
use report::Reporter;
use sender::Sender;
use spans::{Links, Queue};
use tally::Tally;

/// Spans that may wait to be sent.
const QUEUE: usize = 2048;
/// How long the last report may take when the process stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Telemetry that is about to be sent.
pub(crate) struct Telemetry {
    reporter: Reporter,
    tally: Arc<Tally>,
}

/// Telemetry that is being sent.
pub(crate) struct Reporting {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What is told of telemetry itself; can be cloned.
#[derive(Clone, Default)]
pub(crate) struct Figures(Option<Arc<Tally>>);

impl Telemetry {
    /// Takes what `tracing` spans of exchanges tell from now on.
    pub(crate) fn prepare(settings: &model::Telemetry) -> Result<Self, Unusable> {
        let tally = Arc::new(Tally::default());
        let (queue, ended) = mpsc::channel(QUEUE);
        let resource = resource(&settings.service_name);
        let queue = Queue::new(queue, Arc::clone(&tally));
        spans::collect(queue, resource.clone());
        let reporter = Reporter {
            sender: Sender::new(&settings.otlp)?,
            payload: Payload::new(&resource),
            tally: Arc::clone(&tally),
            ended,
            interval: settings.otlp.interval,
        };
        Ok(Self { reporter, tally })
    }

    /// Who ties spans to traces.
    pub(crate) fn links() -> Arc<dyn SpanLinks> {
        Arc::new(Links)
    }

    /// What is told of telemetry itself.
    pub(crate) fn figures(&self) -> Figures {
        Figures(Some(Arc::clone(&self.tally)))
    }

    /// Sends from now on, on a thread of its own.
    pub(crate) fn start(self, meter: Meter) -> std::io::Result<Reporting> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, told) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("serin-telemetry".to_owned())
            .spawn(move || {
                runtime.block_on(self.reporter.run(&meter, told, FAREWELL));
                // A look-up of a name that hangs keeps nobody.
                runtime.shutdown_background();
            })?;
        Ok(Reporting { stop, thread })
    }
}

impl Reporting {
    /// Sends what is left, if that is quick, and ends.
    pub(crate) async fn stop(self) {
        let Self { stop, thread } = self;
        stop.send_replace(true);
        let ended = tokio::task::spawn_blocking(move || thread.join().is_err());
        if ended.await.unwrap_or(true) {
            tracing::error!("the telemetry thread did not end well");
        }
    }
}

impl Figures {
    /// Writes them onto the page, if telemetry is sent at all.
    pub(crate) fn metrics(&self, page: &mut Page) {
        if let Some(tally) = &self.0 {
            tally.metrics(page);
        }
    }
}

/// Who reports. `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(service_name: &str) -> Resource {
    let draw = |salt: u8| {
        use std::hash::BuildHasher as _;
        std::hash::RandomState::new().hash_one(salt)
    };
    let instance = format!("{:016x}{:016x}", draw(0), draw(1));
    Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new(
            attribute::SERVICE_VERSION,
            env!("CARGO_PKG_VERSION"),
        ))
        .with_attribute(KeyValue::new(attribute::INSTANCE, instance))
        .build()
}
