//! The configuration in force, defaults filled in, in the words of the file; secrets masked.
//!
//! What comes out is itself a valid configuration (JSON is YAML), save that a secret salt is shown as a mask
//! where its file's path stood.

use rustls::pki_types::ServerName;
use serde_json::{Map, Value, json};

use crate::compile::mirror;
use crate::model::{
    Backend, Balance, Config, Ejection, Expose, Guardrail, HealthCheck, HealthProbe, KeyFallback,
    KeySource, Listener, Match, Method, MetricKind, OnBreach, OtlpProtocol, Plan, Protocol,
    Retries, Rollout, Route, Step, Telemetry,
};
use crate::tls::{ClientTls, ServerTls};
use crate::units::{format_duration, format_percent, format_points, format_size};

/// What stands in place of a secret.
const MASK: &str = "(secret)";

/// The whole configuration as JSON.
#[must_use]
pub fn effective(config: &Config) -> Value {
    let limits = &config.limits;
    let admin = &config.admin;
    without_nulls(json!({
        "listen": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "admin": {
            "address": admin.address.to_string(),
            "token_file": admin.token_file,
            "tls": admin.tls.as_ref().map(server_tls),
        },
        "probe": config.probe.map(|address| address.to_string()),
        "state": config.state,
        "workers": config.workers.map_or(json!("auto"), |workers| json!(workers)),
        "limits": {
            "header_timeout": format_duration(limits.header_timeout),
            "body_timeout": format_duration(limits.body_timeout),
            "idle_timeout": format_duration(limits.idle_timeout),
            "max_connections": limits.max_connections,
            "max_header_bytes": format_size(limits.max_header_bytes as u64),
            "max_uri_bytes": format_size(limits.max_uri_bytes as u64),
            "max_body": format_size(limits.max_body),
            "max_buffered_body": format_size(limits.max_buffered_body as u64),
            "drain": format_duration(limits.drain),
        },
        "telemetry": config.telemetry.as_ref().map(telemetry),
        "routes": config.routes.iter().map(|each| route(each)).collect::<Vec<_>>(),
    }))
}

fn listener(listener: &Listener) -> Value {
    let address = listener.address.to_string();
    match &listener.tls {
        None => json!(address),
        Some(tls) => json!({"address": address, "tls": server_tls(tls)}),
    }
}

/// Paths are no secrets; what the files hold is not here.
fn server_tls(tls: &ServerTls) -> Value {
    json!({"cert": tls.cert, "key": tls.key, "client_ca": tls.client_ca})
}

fn client_tls(tls: &ClientTls) -> Value {
    let name = tls.server_name.as_ref().map(ServerName::to_str);
    json!({"ca": tls.ca, "cert": tls.cert, "key": tls.key, "server_name": name})
}

fn telemetry(telemetry: &Telemetry) -> Value {
    let otlp = &telemetry.otlp;
    json!({
        "otlp": {
            "endpoint": otlp.endpoint.to_string(),
            "protocol": match otlp.protocol {
                OtlpProtocol::Grpc => "grpc",
                OtlpProtocol::Http => "http",
            },
            "headers_file": otlp.headers_file,
            "interval": format_duration(otlp.interval),
        },
        "trace_sample": format_percent(telemetry.trace_sample),
        "service_name": telemetry.service_name,
    })
}

fn route(route: &Route) -> Value {
    let timeouts = route.timeouts;
    json!({
        "name": route.name,
        "match": matcher(&route.matcher),
        "routing_key": route.routing_key.iter().map(key_source).collect::<Vec<_>>(),
        "key_fallback": match route.key_fallback {
            KeyFallback::Random => "random",
            KeyFallback::ClientIp => "client_ip",
            KeyFallback::Reject => "reject",
        },
        "salt_file": route.salt.as_ref().map(|_| MASK),
        "expose_headers": exposed(route.expose),
        "timeouts": {
            "connect": format_duration(timeouts.connect),
            "response": format_duration(timeouts.response),
            "idle": format_duration(timeouts.idle),
            "total": timeouts.total.map(format_duration),
        },
        "retries": {
            "attempts": route.retries.attempts,
            "on": retried_on(&route.retries),
            "budget": format_percent(route.retries.budget),
        },
        "fallback": route.fallback.then_some("baseline"),
        "upgrade": Some(&route.upgrade).filter(|protocols| !protocols.is_empty()),
        "backends": {
            "baseline": backend(&route.baseline),
            "canary": route.canary.as_ref().map(backend),
            "shadow": route.shadow.as_ref().map(backend),
        },
        "mirror": mirror(route),
        "rollout": route.rollout.as_ref().map(rollout),
    })
}

fn matcher(matcher: &Match) -> Value {
    let headers = Some(&matcher.headers).filter(|headers| !headers.is_empty());
    json!({
        "host": matcher.host,
        "path": matcher.path,
        "path_prefix": matcher.path_prefix,
        "headers": headers,
        "model": matcher.model,
    })
}

fn key_source(source: &KeySource) -> Value {
    match source {
        KeySource::Header(name) => json!({"header": name}),
        KeySource::Cookie(name) => json!({"cookie": name}),
        KeySource::Query(name) => json!({"query": name}),
        KeySource::JsonPointer(pointer) => json!({"json_pointer": pointer}),
    }
}

fn retried_on(retries: &Retries) -> Vec<Value> {
    let reasons = [("connect", retries.connect), ("reset", retries.reset)];
    let reasons = reasons.into_iter().filter(|(_, retried)| *retried);
    let reasons = reasons.map(|(name, _)| json!(name));
    let statuses = retries.statuses.iter().map(|status| json!(status));
    reasons.chain(statuses).collect()
}

fn exposed(expose: Expose) -> Vec<&'static str> {
    let names = [
        ("arm", expose.arm),
        ("release", expose.release),
        ("request_id", expose.request_id),
    ];
    let shown = names.into_iter().filter(|(_, shown)| *shown);
    shown.map(|(name, _)| name).collect()
}

fn backend(backend: &Backend) -> Value {
    let handling = &backend.handling;
    json!({
        "release": backend.release.as_ref().map(|release| &release.fields),
        "endpoints": backend.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "protocol": match backend.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
            Protocol::Auto => "auto",
        },
        "tls": backend.tls.as_ref().map(client_tls).filter(|_| is_secured(backend)),
        "balance": match handling.balance {
            Balance::LeastLoaded => json!("least_loaded"),
            Balance::RoutingKey => json!({"hash": "routing_key"}),
        },
        "pool": {
            "max_idle": handling.pool.max_idle,
            "idle_timeout": format_duration(handling.pool.idle_timeout),
            "max_connections": handling.pool.max_connections,
        },
        "health_check": handling.health_check.as_ref().map(health_check),
        "ejection": handling.ejection.map_or(json!("never"), ejection),
        "concurrency": handling.concurrency.map(|concurrency| json!({
            "max_in_flight": concurrency.max_in_flight,
            "queue": concurrency.queue,
            "queue_timeout": format_duration(concurrency.queue_timeout),
        })),
        "resolve": format_duration(handling.resolve),
    })
}

fn health_check(check: &HealthCheck) -> Value {
    let (path, grpc) = match &check.probe {
        HealthProbe::Http(path) => (Some(path), None),
        HealthProbe::Grpc(service) => (None, Some(service)),
    };
    json!({
        "path": path,
        "grpc": grpc,
        "interval": format_duration(check.interval),
        "timeout": format_duration(check.timeout),
        "unhealthy": check.unhealthy,
        "healthy": check.healthy,
    })
}

fn ejection(ejection: Ejection) -> Value {
    json!({
        "failures": ejection.failures,
        "time": format_duration(ejection.time),
        "max": format_percent(ejection.max_share),
    })
}

/// `tls` stands beside endpoints that are all https.
fn is_secured(backend: &Backend) -> bool {
    backend.endpoints.iter().all(|endpoint| endpoint.is_https)
}

/// Its bounds hold for shadow steps too, and may so be set without a standing mirror.
fn mirror(route: &Route) -> Option<Value> {
    let copying = &route.copying;
    if route.mirror.is_none() && *copying == mirror::default() {
        return None;
    }
    Some(json!({
        "percent": format_percent(route.mirror.map_or(0.0, |mirror| mirror.share)),
        "methods": copying.methods,
        "max_in_flight": copying.max_in_flight,
        "max_body": format_size(copying.max_body as u64),
    }))
}

fn rollout(rollout: &Rollout) -> Value {
    let (steps, weight) = match &rollout.plan {
        Plan::Steps(steps) => (Some(steps.iter().map(step).collect::<Vec<_>>()), None),
        Plan::Manual(weight) => (None, Some(format_percent(*weight))),
    };
    let analysis = &rollout.analysis;
    let (method, at_samples) = match analysis.method {
        Method::Sequential => ("sequential", None),
        Method::FixedHorizon { at_samples } => ("fixed_horizon", Some(at_samples)),
    };
    json!({
        "steps": steps,
        "weight": weight,
        "guardrails": rollout.guardrails.iter().map(guardrail).collect::<Vec<_>>(),
        "analysis": {
            "interval": format_duration(analysis.interval),
            "alpha": analysis.alpha,
            "method": method,
            "at_samples": at_samples,
            "warmup": format_duration(analysis.warmup),
        },
        "on_breach": on_breach(rollout.on_breach),
        "on_no_data": "hold",
        "on_sample_ratio_mismatch": on_breach(rollout.on_sample_ratio_mismatch),
    })
}

fn step(step: &Step) -> Value {
    json!({
        "weight": (!step.is_shadow()).then(|| format_percent(step.weight)),
        "shadow": step.is_shadow().then(|| format_percent(step.shadow)),
        "min_duration": format_duration(step.min_duration),
        "min_samples": step.min_samples,
        "max_duration": step.max_duration.map(format_duration),
        "requires_approval": step.requires_approval,
        "bake": step.bake.map(format_duration),
        "holdback": step.bake.map(|_| format_percent(step.holdback)),
    })
}

fn guardrail(guardrail: &Guardrail) -> Value {
    let absolute = guardrail.max_increase.absolute;
    let (max_increase, max) = match guardrail.metric.kind() {
        MetricKind::Rate => (
            json!(format_points(absolute.unwrap_or_default())),
            guardrail.max.map(format_percent),
        ),
        MetricKind::Latency { .. } => {
            let absolute = absolute.map(milliseconds);
            let relative = guardrail.max_increase.relative.map(format_percent);
            let both: Vec<String> = absolute.into_iter().chain(relative).collect();
            (json!(both), guardrail.max.map(milliseconds))
        }
    };
    let inside = json!({
        "max_increase": max_increase,
        "max": max,
        "on_breach": on_breach(guardrail.on_breach),
        "min_samples": guardrail.min_samples,
        "dry_run": guardrail.dry_run,
    });
    json!({ guardrail.metric.name(): inside })
}

fn milliseconds(value: f64) -> String {
    let duration = std::time::Duration::try_from_secs_f64(value / 1e3);
    format_duration(duration.unwrap_or_default())
}

const fn on_breach(on_breach: OnBreach) -> &'static str {
    match on_breach {
        OnBreach::Rollback => "rollback",
        OnBreach::Hold => "hold",
        OnBreach::Warn => "warn",
    }
}

/// What is not set is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.into_iter().filter(|(_, value)| !value.is_null());
            let set = set.map(|(key, value)| (key, without_nulls(value)));
            Value::Object(set.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
