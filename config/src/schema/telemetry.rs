//! `telemetry` in the JSON Schema.

use serde_json::Value;

use super::{choice, duration, object, pattern, percent, text, with_default};
use crate::compile::telemetry::{INTERVAL, KEYS, OTLP_KEYS, PROTOCOLS, SERVICE_NAME, TRACE_SAMPLE};
use crate::units::{format_duration, format_percent};

pub(super) fn telemetry() -> Value {
    object(
        "Metrics and traces for an OpenTelemetry collector. All but trace_sample needs a restart.",
        KEYS,
        &["otlp"],
        [
            ("otlp", otlp()),
            (
                "trace_sample",
                with_default(
                    percent(
                        "Share of requests that are traced, of those that no caller's traceparent decides on.",
                    ),
                    format_percent(TRACE_SAMPLE),
                ),
            ),
            (
                "service_name",
                with_default(text("Who reports: service.name."), SERVICE_NAME),
            ),
        ],
    )
}

fn otlp() -> Value {
    object(
        "The collector.",
        OTLP_KEYS,
        &["endpoint"],
        [
            (
                "endpoint",
                pattern(
                    "Where it listens; port 4317 (grpc) or 4318 (http) unless written. With protocol http a path may follow, before /v1/traces and /v1/metrics.",
                    r"^[hH][tT][tT][pP]://[^@?#]+$",
                ),
            ),
            (
                "protocol",
                with_default(
                    choice("What it speaks.", PROTOCOLS.map(|(name, _)| name)),
                    "grpc",
                ),
            ),
            (
                "headers_file",
                text(
                    "Secret file with headers that are sent along, one `Name: value` per line; from this file's folder.",
                ),
            ),
            (
                "interval",
                with_default(
                    duration("Between two reports of the metrics, from 100ms to 1h."),
                    format_duration(INTERVAL),
                ),
            ),
        ],
    )
}
