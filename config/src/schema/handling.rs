//! The schema of how a backend's endpoints are chosen, watched and protected.

use serde_json::{Value, json};

use super::{choice, count, described, duration, object, one_of, percent, with_default};
use crate::compile::handling;
use crate::model::Handling;
use crate::units::{format_duration, format_percent};

pub(super) fn balance() -> Value {
    let hash = object(
        "By hash.",
        handling::HASH_KEYS,
        &["hash"],
        [("hash", choice("Whose endpoint it is.", ["routing_key"]))],
    );
    let either = described(
        "Which endpoint is asked: the less loaded of two (latency times requests in flight), or the routing key's own, for caches, until that has 1.25 times its share in flight.",
        one_of([json!({"const": "least_loaded"}), hash]),
    );
    with_default(either, "least_loaded")
}

pub(super) fn pool() -> Value {
    let default = Handling::DEFAULT.pool;
    object(
        "HTTP/1.1 connections. Over HTTP/2 each worker opens one to an endpoint.",
        handling::POOL_KEYS,
        &[],
        [
            (
                "max_idle",
                count(
                    "Idle ones kept per endpoint and worker; per endpoint with `max_connections`.",
                    default.max_idle as u64,
                ),
            ),
            (
                "idle_timeout",
                with_default(
                    duration("Not used again after this: less than the server's own keep-alive."),
                    format_duration(default.idle_timeout),
                ),
            ),
            (
                "max_connections",
                json!({
                    "description": "Open at once to each address of an endpoint, by all workers together, for this backend; those of health checks and of copies aside. A request that finds all in use waits in the queue of `concurrency`; without one, or when it is full or too slow, another endpoint is asked if `retries` allow it, and else it is answered 503. Not set: any number.",
                    "type": "integer",
                    "minimum": 1,
                }),
            ),
        ],
    )
}

pub(super) fn health_check() -> Value {
    let path = super::pattern("GET of this path; any 2xx is good.", r"^/[!-~]*$");
    let grpc = json!({
        "description": "grpc.health.v1 for this service; \"\" for the whole server.",
        "type": "string",
    });
    let time = |description, default| with_default(duration(description), format_duration(default));
    let in_a_row = |description: &str, default: u32| json!({"description": description, "type": "integer", "minimum": 1, "default": default});
    object(
        "Asks every address whether it is well; who isn't is not asked, unless nobody is well; who is new waits for it, if there are others. `path` or `grpc`.",
        handling::CHECK_KEYS,
        &[],
        [
            ("path", path),
            ("grpc", grpc),
            (
                "interval",
                time("Between two questions.", handling::INTERVAL),
            ),
            ("timeout", time("For an answer.", handling::TIMEOUT)),
            (
                "unhealthy",
                in_a_row("So many bad answers in a row: unwell.", handling::UNHEALTHY),
            ),
            (
                "healthy",
                in_a_row(
                    "So many good answers in a row: well again.",
                    handling::HEALTHY,
                ),
            ),
        ],
    )
}

pub(super) fn ejection() -> Value {
    let default = handling::EJECTION;
    let failures = json!({
        "description": "In a row: no connection, no response, or a 5xx.",
        "type": "integer",
        "minimum": 1,
        "default": default.failures,
    });
    let rule = object(
        "An endpoint that fails is left alone for a while; it is asked when there is nobody better, and comes back when it answers.",
        handling::EJECTION_KEYS,
        &[],
        [
            ("failures", failures),
            (
                "time",
                with_default(
                    duration("For so long, times how often in a row (at most ten times)."),
                    format_duration(default.time),
                ),
            ),
            (
                "max",
                with_default(
                    percent("No more than this share of the endpoints at once."),
                    format_percent(default.max_share),
                ),
            ),
        ],
    );
    described(
        "When an endpoint that fails is left alone; `never`, or a rule. Without it: 5 failures, 30s, 50%.",
        one_of([json!({"const": "never"}), rule]),
    )
}

pub(super) fn concurrency() -> Value {
    object(
        "How much the backend is asked at once, by all workers together; one more than may wait is answered 503.",
        handling::CONCURRENCY_KEYS,
        &["max_in_flight"],
        [
            (
                "max_in_flight",
                json!({"description": "Requests, until their responses ended.", "type": "integer", "minimum": 1}),
            ),
            ("queue", count("More that may wait.", 0)),
            (
                "queue_timeout",
                with_default(
                    duration("How long they wait."),
                    format_duration(handling::QUEUE_TIMEOUT),
                ),
            ),
        ],
    )
}

pub(super) fn resolve() -> Value {
    with_default(
        duration("How often endpoints' names are looked up; all their addresses are asked."),
        format_duration(Handling::DEFAULT.resolve),
    )
}
