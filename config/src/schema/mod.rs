//! The configuration's JSON Schema (2020-12), for editors and for the reference.
//!
//! Written beside the readers, from their key lists and defaults, so the two cannot drift apart: a debug build
//! refuses a schema whose keys are not the reader's, and a test holds every default against the reader. What a
//! schema can't say (names are unique, weights rise, files exist) is left to `check`.

mod handling;
mod rollout;
mod route;
mod telemetry;
mod tls;

use serde_json::{Map, Value, json};

use crate::compile::{self, address, limits};
use crate::units::{format_duration, format_size};
use crate::walk::Keys;

/// The whole schema.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = object(
        "Configuration of Serin. Every key is known or refused; units are always written.",
        compile::KEYS,
        &["listen", "routes"],
        [
            ("listen", listen()),
            ("admin", admin()),
            (
                "probe",
                address(
                    "Only /livez, /readyz and /metrics, for kubelets and scrapers. Needs a restart.",
                ),
            ),
            (
                "state",
                with_default(
                    text("Folder of the journal, from the working directory. Needs a restart."),
                    "./serin-state",
                ),
            ),
            ("workers", workers()),
            ("limits", client_limits()),
            ("telemetry", telemetry::telemetry()),
            (
                "routes",
                list("In order; the first match wins.", route::route()),
            ),
        ],
    );
    if let Value::Object(fields) = &mut schema {
        fields.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        fields.insert("title".to_owned(), json!("Serin"));
    }
    schema
}

fn listen() -> Value {
    let one = one_of([
        address("Where clients connect."),
        object(
            "Where clients connect.",
            address::LISTEN_KEYS,
            &["address"],
            [
                ("address", address("IP address and port.")),
                ("tls", tls::server()),
            ],
        ),
    ]);
    let several = list("Several of them.", one.clone());
    described(
        "Where clients connect: HTTP/1.1 and HTTP/2 on one port. Another address needs a restart; certificates are taken over as they change.",
        one_of([one, several]),
    )
}

fn admin() -> Value {
    let fields = [
        (
            "address",
            with_default(address("IP address and port."), "127.0.0.1:9911"),
        ),
        (
            "token_file",
            text(
                "File with the bearer token, from this file's folder; a line ending at its end is dropped. Required off loopback.",
            ),
        ),
        ("tls", tls::server()),
    ];
    let long = object(
        "Admin API with a token, or encrypted.",
        address::ADMIN_KEYS,
        &[],
        fields,
    );
    let either = one_of([address("A loopback address and port."), long]);
    with_default(
        described(
            "The admin API and dashboard. Another address needs a restart.",
            either,
        ),
        "127.0.0.1:9911",
    )
}

fn workers() -> Value {
    let count = json!({"type": "integer", "minimum": 1, "maximum": 1024});
    let either = one_of([json!({"const": "auto"}), count]);
    with_default(
        described(
            "Data-plane threads; auto: as many as the cores it may use. Needs a restart.",
            either,
        ),
        "auto",
    )
}

fn client_limits() -> Value {
    let defaults = limits::DEFAULTS;
    let time = |description, default| with_default(duration(description), format_duration(default));
    let bytes =
        |description, default: usize| with_default(size(description), format_size(default as u64));
    let connections = json!({"type": "integer", "minimum": 1, "maximum": 1_000_000});
    let connections = described(
        "Client connections, all listeners together; fewer when there are too few file descriptors. More wait.",
        connections,
    );
    object(
        "Bounds on what clients may do.",
        limits::KEYS,
        &[],
        [
            (
                "header_timeout",
                time(
                    "For a request's whole head to arrive.",
                    defaults.header_timeout,
                ),
            ),
            (
                "body_timeout",
                time(
                    "Between two pieces of a request's body, while nothing of its response comes either.",
                    defaults.body_timeout,
                ),
            ),
            (
                "idle_timeout",
                time("A connection without a request.", defaults.idle_timeout),
            ),
            (
                "max_connections",
                with_default(connections, defaults.max_connections),
            ),
            (
                "max_header_bytes",
                bytes("A request's head; larger: 431.", defaults.max_header_bytes),
            ),
            (
                "max_uri_bytes",
                bytes("A request's target; longer: 414.", defaults.max_uri_bytes),
            ),
            (
                "max_body",
                with_default(
                    size("A request's body; larger: 413."),
                    format_size(defaults.max_body),
                ),
            ),
            (
                "max_buffered_body",
                bytes(
                    "What may be held of a body to find a JSON routing key or model.",
                    defaults.max_buffered_body,
                ),
            ),
            (
                "drain",
                time(
                    "How long requests in flight may take after SIGTERM.",
                    defaults.drain,
                ),
            ),
        ],
    )
}

/// A mapping with these keys and no others.
fn object<const N: usize>(
    description: &str,
    keys: Keys,
    required: &[&str],
    fields: [(&'static str, Value); N],
) -> Value {
    debug_assert_eq!(
        keys.known,
        fields.each_ref().map(|(name, _)| *name),
        "{description}"
    );
    let properties: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut schema = json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn list(description: &str, items: Value) -> Value {
    json!({"description": description, "type": "array", "minItems": 1, "items": items})
}

fn one_of<const N: usize>(forms: [Value; N]) -> Value {
    json!({"oneOf": forms.as_slice()})
}

fn described(description: &str, schema: Value) -> Value {
    with("description", schema, description)
}

fn with_default(schema: Value, default: impl Into<Value>) -> Value {
    with("default", schema, default)
}

fn with(key: &str, mut schema: Value, value: impl Into<Value>) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields.insert(key.to_owned(), value.into());
    }
    schema
}

fn text(description: &str) -> Value {
    json!({"description": description, "type": "string", "minLength": 1})
}

fn pattern(description: &str, pattern: &str) -> Value {
    json!({"description": description, "type": "string", "pattern": pattern})
}

/// A kind of value that has a name.
fn named(title: &str, schema: Value) -> Value {
    with("title", schema, title)
}

fn choice<'a>(description: &str, names: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"description": description, "enum": names.into_iter().collect::<Vec<_>>()})
}

fn boolean(description: &str, default: bool) -> Value {
    json!({"description": description, "type": "boolean", "default": default})
}

fn count(description: &str, default: u64) -> Value {
    json!({"description": description, "type": "integer", "minimum": 0, "default": default})
}

fn address(description: &str) -> Value {
    let written = r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]):\d{1,5}$";
    named("address", pattern(description, written))
}

fn duration(description: &str) -> Value {
    let written = r"^(\d+(\.\d+)?(d|h|m|s|ms))+$";
    named("duration", pattern(description, written))
}

fn size(description: &str) -> Value {
    let written = r"^\d+(\.\d+)?(GiB|MiB|KiB|GB|MB|KB|B)$";
    named("size", pattern(description, written))
}

fn percent(description: &str) -> Value {
    named("percentage", pattern(description, r"^\d+(\.\d+)?%$"))
}

fn points(description: &str) -> Value {
    named("points", pattern(description, r"^\d+(\.\d+)?pp$"))
}
