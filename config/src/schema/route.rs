//! The schema of one route, its keys and its backends.

use serde_json::{Value, json};

use super::{
    choice, described, duration, handling, list, object, one_of, pattern, percent, rollout, size,
    text, tls, with_default,
};
use crate::compile::{backend, matcher, mirror, retries, route, routing_key};
use crate::units::{format_duration, format_size};

pub(super) fn route() -> Value {
    let fallbacks = route::FALLBACKS.map(|(name, _)| name);
    let fallback = choice(
        "When no routing key is found: assign at random, by the peer's address, or answer 400.",
        fallbacks,
    );
    object(
        "Which requests go to which releases. With a baseline only it is a plain route.",
        route::KEYS,
        &["name", "backends"],
        [
            (
                "name",
                pattern(
                    "Unique; also the rollout's name.",
                    r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$",
                ),
            ),
            ("match", matching()),
            ("routing_key", routing_keys()),
            ("key_fallback", with_default(fallback, "random")),
            (
                "salt_file",
                text(
                    "File with a secret mixed into the assignment, from this file's folder; a line ending at its end is dropped.",
                ),
            ),
            ("expose_headers", exposed()),
            ("timeouts", timeouts()),
            ("retries", retried()),
            (
                "fallback",
                choice(
                    "Who answers in place of a canary that can't be connected, or answers 5xx before its first byte; it counts as the canary's failure all the same. Needs the whole request body within `max_buffered_body`. Not set: nobody.",
                    retries::FALLBACK.map(|(name, _)| name),
                ),
            ),
            ("upgrade", upgraded()),
            ("backends", backends()),
            ("mirror", mirroring()),
            ("rollout", rollout::rollout()),
        ],
    )
}

fn matching() -> Value {
    let headers = json!({
        "description": "Header names (case does not matter) and their exact values.",
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1},
    });
    let path = |description| pattern(description, r"^/[^?#\s]*$");
    object(
        "Every condition given must hold; none: every request.",
        matcher::KEYS,
        &[],
        [
            ("host", text("Host without port; case does not matter.")),
            ("path", path("The whole path.")),
            (
                "path_prefix",
                path("A prefix of the path, on segment boundaries."),
            ),
            ("headers", headers),
            ("model", text("The `model` member of a JSON body.")),
        ],
    )
}

fn routing_keys() -> Value {
    let source = with_one_key(object(
        "Where to look.",
        routing_key::KEYS,
        &[],
        [
            ("header", text("A request header's name.")),
            ("cookie", text("A cookie's name.")),
            ("query", text("A query parameter's name.")),
            (
                "json_pointer",
                pattern(
                    "A JSON pointer (RFC 6901) into the body.",
                    r"^(/([^~]|~[01])*)+$",
                ),
            ),
        ],
    ));
    let several = list("Tried in order.", source.clone());
    let either = described(
        "Whose requests stay on one arm: one source, or a list tried in order.",
        one_of([source, several]),
    );
    with_default(either, json!({"header": routing_key::DEFAULT_HEADER}))
}

/// A mapping with one key alone.
pub(super) fn with_one_key(schema: Value) -> Value {
    super::with("maxProperties", super::with("minProperties", schema, 1), 1)
}

fn exposed() -> Value {
    json!({
        "description": "Which x-serin-* response headers clients may see.",
        "type": "array",
        "items": {"enum": ["arm", "release", "request_id"]},
        "default": ["arm", "release", "request_id"],
    })
}

fn timeouts() -> Value {
    let defaults = route::TIMEOUTS;
    let time = |description, default| with_default(duration(description), format_duration(default));
    object(
        "Deadlines towards the backends.",
        route::TIMEOUT_KEYS,
        &[],
        [
            ("connect", time("To open a connection.", defaults.connect)),
            (
                "response",
                time("To the response's first byte.", defaults.response),
            ),
            (
                "idle",
                time("Between two pieces of the response.", defaults.idle),
            ),
            (
                "total",
                duration(
                    "The whole exchange; not limited unless set, or by what a gRPC client says (`grpc-timeout`).",
                ),
            ),
        ],
    )
}

fn retried() -> Value {
    let defaults = retries::DEFAULT;
    let reason = one_of([
        json!({"enum": retries::REASONS.map(|(name, _)| name)}),
        json!({"type": "integer", "minimum": 500, "maximum": 599}),
    ]);
    let attempts = json!({"type": "integer", "minimum": 0, "maximum": retries::MOST_ATTEMPTS});
    let attempts = described("How many times, at most; 0: never.", attempts);
    object(
        "When an upstream is asked again: before the first byte to the client only. What a server may have acted on already (a POST that was sent) is never sent again; of what an HTTP/2 server refuses (`REFUSED_STREAM`, or a `GOAWAY` that leaves it out) it says that it has not, and that is asked for again with `connect` or `reset`.",
        retries::KEYS,
        &[],
        [
            ("attempts", with_default(attempts, defaults.attempts)),
            (
                "on",
                with_default(
                    list(
                        "Why: no connection, a connection that broke without an answer, or these statuses.",
                        reason,
                    ),
                    json!(["connect", "reset"]),
                ),
            ),
            (
                "budget",
                with_default(
                    percent(
                        "The share of the route's requests that may be asked again. Another endpoint in place of one that can't be connected is not counted.",
                    ),
                    "10%",
                ),
            ),
        ],
    )
}

fn upgraded() -> Value {
    let protocols = json!({"enum": retries::PROTOCOLS.map(|(name, _)| name)});
    list(
        "Protocols that HTTP/1.1 clients may switch to. Not set: none, and `Upgrade` is not passed on.",
        protocols,
    )
}

fn backends() -> Value {
    object(
        "The two arms, and who gets copies only.",
        backend::BACKENDS_KEYS,
        &["baseline"],
        [
            ("baseline", arm("The release that serves today.")),
            ("canary", arm("The release that has to earn its traffic.")),
            ("shadow", arm("Gets copies of requests only (`mirror`).")),
        ],
    )
}

fn mirroring() -> Value {
    let methods = list(
        "Only these are copied; a method that changes something should not be among them.",
        json!({"enum": mirror::METHODS}),
    );
    let in_flight = json!({
        "description": "Copies under way at once, all workers together; more are dropped.",
        "type": "integer", "minimum": 1, "maximum": mirror::MOST_IN_FLIGHT,
    });
    object(
        "Standing copies of baseline's requests to `shadow`, else to the canary; the bounds hold for shadow steps too.",
        mirror::KEYS,
        &["percent"],
        [
            (
                "percent",
                percent("Share of the baseline's users whose requests are copied; 0% for none."),
            ),
            ("methods", with_default(methods, json!([mirror::METHOD]))),
            (
                "max_in_flight",
                with_default(in_flight, mirror::MAX_IN_FLIGHT),
            ),
            (
                "max_body",
                with_default(
                    size("A larger body is not copied; at most 16MiB."),
                    format_size(mirror::MAX_BODY as u64),
                ),
            ),
        ],
    )
}

fn arm(description: &str) -> Value {
    let protocols = backend::PROTOCOLS.map(|(name, _)| name);
    let protocol = choice(
        "What is spoken: HTTP/1.1, HTTP/2 (without TLS with prior knowledge), or `auto`: HTTP/2 for gRPC; for the rest what an https endpoint chooses in the handshake (ALPN), and HTTP/1.1 without TLS or a choice.",
        protocols,
    );
    let release = json!({
        "description": "The bundle: free keys, values in quotes. Its digest is the release's identity. Required with a rollout.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": "string", "minLength": 1},
    });
    object(
        description,
        backend::KEYS,
        &["endpoints"],
        [
            ("release", release),
            (
                "endpoints",
                list(
                    "At least one.",
                    pattern(
                        "http://host:port or https://host:port",
                        r"^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$",
                    ),
                ),
            ),
            ("protocol", with_default(protocol, "auto")),
            ("tls", tls::client()),
            ("balance", handling::balance()),
            ("pool", handling::pool()),
            ("health_check", handling::health_check()),
            ("ejection", handling::ejection()),
            ("concurrency", handling::concurrency()),
            ("resolve", handling::resolve()),
        ],
    )
}
