//! Where the log goes: standard error, for people on a terminal and as JSON lines otherwise.
//!
//! Spans of exchanges are not logged: they are for the collector of traces alone, whatever `RUST_LOG` says.

use std::io::IsTerminal as _;

use serin_proxy::SPANS;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::telemetry::LateTracer;

/// Starts logging; `RUST_LOG` overrides the level given here. A second call changes nothing.
pub(crate) fn start(level: &str) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    // rustls warns of what anybody may send it, in their words and as often as they like.
    let by_default = || EnvFilter::new(format!("{level},rustls=error"));
    let (filter, mistake) = match wanted.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (by_default(), Some(error)),
        None => (by_default(), None),
    };
    let filter = match format!("{SPANS}=off").parse() {
        Ok(silence) => filter.add_directive(silence),
        Err(_) => filter,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_target(false).with_ansi(colours).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let exchanges = Targets::new().with_target(SPANS, LevelFilter::INFO);
    let started = Registry::default()
        .with(lines.with_filter(filter))
        .with(spans().with_filter(exchanges))
        .try_init();
    // The only error is that somebody logs already.
    drop(started);
    if let Some(error) = mistake {
        tracing::warn!(%error, "RUST_LOG is not understood, and ignored");
    }
}

/// For traces: what a span says of itself and nothing more.
fn spans<S>() -> tracing_opentelemetry::OpenTelemetryLayer<S, LateTracer>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(LateTracer::default())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
}
