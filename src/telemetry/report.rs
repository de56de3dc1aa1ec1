//! When what is sent: spans when enough have gathered or a second has passed, metrics every interval.
//!
//! The two don't wait for each other. Trouble is logged when it begins and when it is over, not at every try.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::trace::SpanData;
use serin_control::Meter;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::payload::Payload;
use super::sender::{Sender, Unsent};
use super::tally::{Signal, Tally};

/// Spans of one message.
const BATCH: usize = 512;
/// How long a span waits for others to come.
const GATHER: Duration = Duration::from_secs(1);

/// Sends everything there is to send.
pub(super) struct Reporter {
    pub(super) sender: Sender,
    pub(super) payload: Payload,
    pub(super) tally: Arc<Tally>,
    pub(super) ended: mpsc::Receiver<SpanData>,
    pub(super) interval: Duration,
}

/// Reports one signal.
struct Line<'r> {
    signal: Signal,
    sender: &'r Sender,
    payload: &'r Payload,
    tally: &'r Tally,
    stop: watch::Receiver<bool>,
    is_failing: bool,
}

impl Reporter {
    /// Reports until told to stop (or forgotten), and then once more, if that is quick.
    pub(super) async fn run(self, meter: &Meter, stop: watch::Receiver<bool>, farewell: Duration) {
        let Self {
            sender,
            payload,
            tally,
            mut ended,
            interval,
        } = self;
        let line = |signal| Line {
            signal,
            sender: &sender,
            payload: &payload,
            tally: &tally,
            stop: stop.clone(),
            is_failing: false,
        };
        let (mut traces, mut metrics) = (line(Signal::Traces), line(Signal::Metrics));
        let mut told = stop.clone();
        let late = async {
            _ = told.wait_for(|stop| *stop).await;
            tokio::time::sleep(farewell).await;
        };
        tokio::select! {
            _ = async { tokio::join!(traces.spans(&mut ended), metrics.pages(meter, interval)) } => {}
            () = late => tracing::warn!("the OTLP collector did not take the last report in time"),
        }
    }
}

impl Line<'_> {
    async fn spans(&mut self, ended: &mut mpsc::Receiver<SpanData>) {
        let mut batch = Vec::new();
        loop {
            let is_over = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => true,
                () = gather(ended, &mut batch) => false,
            };
            self.batch(std::mem::take(&mut batch)).await;
            if is_over {
                return self.rest(ended).await;
            }
        }
    }

    /// What is in the queue now.
    async fn rest(&mut self, ended: &mut mpsc::Receiver<SpanData>) {
        loop {
            let waiting = std::iter::from_fn(|| ended.try_recv().ok());
            let batch: Vec<SpanData> = waiting.take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            self.batch(batch).await;
        }
    }

    async fn batch(&mut self, spans: Vec<SpanData>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let message = self.payload.traces(spans);
        let sent: Result<ExportTraceServiceResponse, _> =
            self.sender.send(self.signal, &message).await;
        let dropped = match &sent {
            Ok(answer) => answer.partial_success.as_ref().map_or(0, |partial| {
                u64::try_from(partial.rejected_spans).unwrap_or_default()
            }),
            Err(_) => count,
        };
        self.tally.dropped(dropped);
        self.note(sent.map(drop));
    }

    async fn pages(&mut self, meter: &Meter, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => true,
                _ = ticks.tick() => false,
            };
            self.page(meter).await;
            if is_over {
                return;
            }
        }
    }

    async fn page(&mut self, meter: &Meter) {
        let page = meter.page().await;
        let message = self.payload.metrics(&page, SystemTime::now());
        let sent: Result<ExportMetricsServiceResponse, _> =
            self.sender.send(self.signal, &message).await;
        self.note(sent.map(drop));
    }

    fn note(&mut self, sent: Result<(), Unsent>) {
        self.tally.sent(self.signal, sent.is_ok());
        let signal = self.signal.name();
        match &sent {
            Err(error) if !self.is_failing => {
                tracing::warn!(signal, %error, "the OTLP collector gets no telemetry");
            }
            Ok(()) if self.is_failing => {
                tracing::info!(signal, "the OTLP collector gets telemetry again");
            }
            Ok(()) | Err(_) => {}
        }
        self.is_failing = sent.is_err();
    }
}

/// Waits for a batch: until it is full, or a while after its first span. What was gathered stays when this is
/// given up.
async fn gather(ended: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    if batch.is_empty() && ended.recv_many(batch, BATCH).await == 0 {
        // Nobody makes spans any more.
        return std::future::pending().await;
    }
    let more = async {
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            if ended.recv_many(batch, room).await == 0 {
                return;
            }
        }
    };
    _ = tokio::time::timeout(GATHER, more).await;
}
