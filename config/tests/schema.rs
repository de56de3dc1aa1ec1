//! The JSON Schema and the reader say the same: about keys, kinds, units and defaults.
//!
//! The schema is read by a small validator of the keywords it uses; an unknown keyword fails the test, so the
//! validator can't silently fall behind.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use regex::Regex;
use serde_json::{Value, json};

const SAMPLE: &str = include_str!("samples/contract.yaml");
const MINIMAL: &str = "
listen: 127.0.0.1:8080
routes:
  - name: digits
    backends:
      baseline: {release: {v: \"1\"}, endpoints: [\"http://127.0.0.1:9001\"]}
      canary: {release: {v: \"2\"}, endpoints: [\"http://127.0.0.1:9002\"]}
    rollout: {steps: [{weight: 100%}]}
";

fn valid(schema: &Value, value: &Value) -> bool {
    let fields = schema.as_object().expect("a schema is an object");
    fields.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "default" => true,
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            other => panic!("type {other}"),
        },
        "properties" => {
            entries(value).all(|(key, value)| rule.get(key).is_none_or(|rule| valid(rule, value)))
        }
        "additionalProperties" => entries(value).all(|(key, value)| {
            let listed = fields.get("properties").and_then(|listed| listed.get(key));
            listed.is_some() || rule.is_object() && valid(rule, value)
        }),
        "required" => rule
            .as_array()
            .unwrap()
            .iter()
            .all(|key| value.get(key.as_str().unwrap()).is_some()),
        "minProperties" => entries(value).count() as u64 >= rule.as_u64().unwrap(),
        "maxProperties" => entries(value).count() as u64 <= rule.as_u64().unwrap(),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| valid(rule, item))),
        "minItems" => value
            .as_array()
            .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
        "oneOf" => {
            rule.as_array()
                .unwrap()
                .iter()
                .filter(|rule| valid(rule, value))
                .count()
                == 1
        }
        "anyOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .any(|rule| valid(rule, value)),
        "not" => !valid(rule, value),
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "pattern" => value
            .as_str()
            .is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "minimum" => value
            .as_f64()
            .is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| number <= rule.as_f64().unwrap()),
        "exclusiveMinimum" => value
            .as_f64()
            .is_none_or(|number| number > rule.as_f64().unwrap()),
        "exclusiveMaximum" => value
            .as_f64()
            .is_none_or(|number| number < rule.as_f64().unwrap()),
        other => panic!("keyword {other}"),
    })
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn from_yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// Where the reader looks, in the order of the path: `a.0.b`.
fn edited(path: &str, to: Value) -> Value {
    let mut value = from_yaml(SAMPLE);
    let pointer = format!("/{}", path.replace('.', "/"));
    match value.pointer_mut(&pointer) {
        Some(place) => *place = to,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = value
                .pointer_mut(parent)
                .unwrap_or_else(|| panic!("{path}"));
            parent.as_object_mut().unwrap().insert(key.to_owned(), to);
        }
    }
    value
}

#[test]
fn the_sample_and_the_smallest_file_are_valid() {
    let schema = serin_config::json_schema();
    assert!(valid(&schema, &from_yaml(SAMPLE)));
    assert!(valid(&schema, &from_yaml(MINIMAL)));
}

/// One edit at a time: both accept it, or both refuse it.
#[test]
fn schema_and_reader_agree() {
    let schema = serin_config::json_schema();
    let shadow = "routes.0.rollout.steps.0";
    let step = "routes.0.rollout.steps.1";
    let rate = "routes.0.rollout.guardrails.0.error_rate";
    let latency = "routes.0.rollout.guardrails.1.latency_p95";
    let canary = "routes.0.backends.canary";
    let cases = [
        (
            "listen".to_owned(),
            json!(["127.0.0.1:1", {"address": "[::1]:2"}]),
            true,
        ),
        ("listen".to_owned(), json!(8080), false),
        ("listen".to_owned(), json!([]), false),
        (
            "admin".to_owned(),
            json!({"address": "127.0.0.1:9999"}),
            true,
        ),
        ("admin".to_owned(), json!({"tls": {}}), false),
        ("workers".to_owned(), json!(4), true),
        ("workers".to_owned(), json!(0), false),
        ("workers".to_owned(), json!("many"), false),
        ("limits.max_body".to_owned(), json!("1.5GB"), true),
        ("limits.max_body".to_owned(), json!(1024), false),
        ("limits.max_body".to_owned(), json!("1M"), false),
        ("limits.max_connections".to_owned(), json!("20000"), false),
        ("telemetry".to_owned(), json!({}), false),
        ("telemetry.trace_sample".to_owned(), json!("100%"), true),
        ("telemetry.trace_sample".to_owned(), json!(0.01), false),
        ("telemetry.otlp.protocol".to_owned(), json!("http"), true),
        ("telemetry.otlp.protocol".to_owned(), json!("json"), false),
        (
            "telemetry.otlp.endpoint".to_owned(),
            json!("http://[::1]:4317"),
            true,
        ),
        (
            "telemetry.otlp.endpoint".to_owned(),
            json!("https://c"),
            false,
        ),
        ("telemetry.otlp.interval".to_owned(), json!(10), false),
        ("routes".to_owned(), json!([]), false),
        ("routes.0.name".to_owned(), json!("a b"), false),
        (
            "routes.0.match".to_owned(),
            json!({"host": "h", "headers": {"x-a": "b"}, "model": "m"}),
            true,
        ),
        ("routes.0.match".to_owned(), json!({"path": "v2"}), false),
        (
            "routes.0.routing_key".to_owned(),
            json!([{"cookie": "s"}, {"json_pointer": "/user"}]),
            true,
        ),
        (
            "routes.0.routing_key".to_owned(),
            json!({"cookie": "s", "query": "q"}),
            false,
        ),
        (
            "routes.0.routing_key".to_owned(),
            json!({"json_pointer": "user"}),
            false,
        ),
        ("routes.0.key_fallback".to_owned(), json!("client_ip"), true),
        (
            "routes.0.key_fallback".to_owned(),
            json!("client-ip"),
            false,
        ),
        ("routes.0.expose_headers".to_owned(), json!([]), true),
        ("routes.0.expose_headers".to_owned(), json!(["all"]), false),
        ("routes.0.timeouts.total".to_owned(), json!("1h30m"), true),
        ("routes.0.timeouts.total".to_owned(), json!("90 min"), false),
        (
            "routes.0.mirror".to_owned(),
            json!({"percent": "10%"}),
            true,
        ),
        ("routes.0.mirror".to_owned(), json!({}), false),
        ("routes.0.mirror.percent".to_owned(), json!(10), false),
        ("routes.0.mirror.percent".to_owned(), json!("0%"), true),
        ("routes.0.mirror.methods".to_owned(), json!(["GET"]), true),
        (
            "routes.0.mirror.methods".to_owned(),
            json!(["CONNECT"]),
            false,
        ),
        ("routes.0.mirror.methods".to_owned(), json!([]), false),
        ("routes.0.mirror.max_in_flight".to_owned(), json!(0), false),
        ("routes.0.mirror.max_body".to_owned(), json!("4MiB"), true),
        ("routes.0.mirror.max_body".to_owned(), json!(4096), false),
        ("routes.0.mirror.to".to_owned(), json!("shadow"), false),
        (
            "routes.0.backends.shadow".to_owned(),
            json!({"release": {"v": "3"}}),
            false,
        ),
        (format!("{canary}.release.version"), json!(2), false),
        (format!("{canary}.release"), json!({}), false),
        (
            format!("{canary}.endpoints"),
            json!(["http://[::1]:9002", "http://model.svc"]),
            true,
        ),
        (format!("{canary}.endpoints"), json!(["https://h"]), true),
        (format!("{canary}.endpoints"), json!(["ftp://h"]), false),
        (
            format!("{canary}.balance"),
            json!({"hash": "routing_key"}),
            true,
        ),
        (format!("{canary}.balance"), json!("hash"), false),
        (
            format!("{canary}.health_check"),
            json!({"grpc": "", "interval": "5s", "healthy": 1}),
            true,
        ),
        (
            format!("{canary}.health_check"),
            json!({"path": "/healthz", "interval": 5}),
            false,
        ),
        (format!("{canary}.ejection"), json!("never"), true),
        (
            format!("{canary}.ejection"),
            json!({"failures": 3, "time": "1s", "max": "20%"}),
            true,
        ),
        (format!("{canary}.ejection"), json!({"max": 0.2}), false),
        (
            format!("{canary}.concurrency"),
            json!({"max_in_flight": 8, "queue": 16}),
            true,
        ),
        (format!("{canary}.concurrency"), json!({"queue": 16}), false),
        (format!("{canary}.pool"), json!({"max_idle": 0}), true),
        (format!("{canary}.resolve"), json!("5s"), true),
        (format!("{canary}.resolve"), json!(5), false),
        (
            format!("{canary}.tls"),
            json!({"server_name": "h", "insecure": true}),
            false,
        ),
        (
            format!("{canary}.endpoints"),
            json!(["http://h:1/v2"]),
            false,
        ),
        (format!("{canary}.protocol"), json!("http2"), true),
        (format!("{canary}.protocol"), json!("grpc"), false),
        (
            "routes.0.backends.baseline".to_owned(),
            json!({"release": {"v": "1"}}),
            false,
        ),
        ("routes.0.rollout.weight".to_owned(), json!("10%"), false),
        (
            "routes.0.rollout".to_owned(),
            json!({"weight": "10%"}),
            true,
        ),
        ("routes.0.rollout".to_owned(), json!({}), false),
        (format!("{step}.weight"), json!("0.5%"), true),
        (format!("{step}.weight"), json!(0.5), false),
        (format!("{step}.min_samples"), json!(-1), false),
        (format!("{step}.requires_approval"), json!("yes"), false),
        (format!("{shadow}.shadow"), json!("1%"), true),
        (format!("{shadow}.shadow"), json!(1), false),
        (format!("{shadow}.weight"), json!("1%"), false),
        (format!("{step}.shadow"), json!("100%"), false),
        (format!("{rate}.max_increase"), json!("2pp"), true),
        (format!("{rate}.max_increase"), json!("2%"), false),
        (format!("{rate}.on_breach"), json!("warn"), true),
        (format!("{latency}.max_increase"), json!("10%"), true),
        (format!("{latency}.max_increase"), json!("100ms"), true),
        (
            format!("{latency}.max_increase"),
            json!(["100ms", 10]),
            false,
        ),
        (format!("{latency}.max"), json!("5%"), false),
        (format!("{latency}.max_decrease"), json!("5%"), false),
        (
            "routes.0.rollout.guardrails.0".to_owned(),
            json!({"tokens_p95": {}}),
            false,
        ),
        (
            "routes.0.rollout.guardrails".to_owned(),
            json!([{"error_rate": {}}]),
            true,
        ),
        (
            "routes.0.rollout.analysis.alpha".to_owned(),
            json!("1%"),
            true,
        ),
        (
            "routes.0.rollout.analysis.alpha".to_owned(),
            json!(0.5),
            false,
        ),
        (
            "routes.0.rollout.analysis.method".to_owned(),
            json!("fixed_horizon"),
            false,
        ),
        (
            "routes.0.rollout.analysis".to_owned(),
            json!({"method": "fixed_horizon", "at_samples": 10_000}),
            true,
        ),
        (
            "routes.0.rollout.analysis.at_samples".to_owned(),
            json!(10_000),
            false,
        ),
        (
            "routes.0.rollout.on_sample_ratio_mismatch".to_owned(),
            json!("warn"),
            true,
        ),
        (
            "routes.0.rollout.guardrails".to_owned(),
            json!([
                {"rejected_rate": {"max_increase": "2pp"}},
                {"aborted_rate": {}},
                {"latency_p99": {"max_increase": ["100ms", "20%"], "max": "2s"}},
                {"ttft_p95": {"max_increase": "50%", "dry_run": true}},
            ]),
            true,
        ),
        (
            "routes.0.rollout.on_no_data".to_owned(),
            json!("rollback"),
            false,
        ),
    ];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/edited.yaml");
    for (path, to, expected) in cases {
        let value = edited(&path, to.clone());
        // JSON is YAML.
        let read = serin_config::parse(&value.to_string(), file);
        assert_eq!(
            read.is_ok(),
            expected,
            "the reader on {path}: {to}: {read:?}"
        );
        assert_eq!(
            valid(&schema, &value),
            expected,
            "the schema on {path}: {to}"
        );
    }
}

/// Each default written out means what leaving it out means.
#[test]
fn defaults_are_the_readers() {
    let implicit = serin_config::parse(MINIMAL, "serin.yaml").unwrap();
    let mut explicit = from_yaml(MINIMAL);
    let filled = fill(&serin_config::json_schema(), &mut explicit);
    assert!(filled >= 30, "{filled}: {explicit:#}");
    // A holdback belongs to a bake.
    let step = explicit.pointer_mut("/routes/0/rollout/steps/0").unwrap();
    assert_eq!(
        step.as_object_mut().unwrap().remove("holdback"),
        Some(json!("0%"))
    );
    let explicit = serin_config::parse(&explicit.to_string(), "serin.yaml");
    assert_eq!(explicit, Ok(implicit));
}

/// Adds every default that the schema names, and says how many.
fn fill(schema: &Value, value: &mut Value) -> usize {
    let mut filled = 0;
    if let (Some(properties), Some(fields)) = (schema.get("properties"), value.as_object_mut()) {
        for (key, schema) in entries(properties) {
            if !fields.contains_key(key) {
                if let Some(default) = schema.get("default") {
                    filled += 1;
                    fields.insert(key.clone(), default.clone());
                } else if ["limits", "timeouts", "analysis", "pool"].contains(&key.as_str()) {
                    fields.insert(key.clone(), json!({}));
                }
            }
            if let Some(value) = fields.get_mut(key) {
                filled += fill(schema, value);
            }
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array_mut()) {
        filled += items
            .iter_mut()
            .map(|item| fill(schema, item))
            .sum::<usize>();
    }
    filled
}

/// What is in force, read back, is what is in force.
#[test]
fn the_effective_configuration_reads_back() {
    let without_files = SAMPLE
        .replace("    salt_file: ./salt\n", "")
        .replace(", headers_file: ./otlp-headers", "");
    for text in [without_files.as_str(), MINIMAL] {
        let config =
            serin_config::parse(text, "serin.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        let effective = serin_config::effective(&config);
        assert!(
            valid(&serin_config::json_schema(), &effective),
            "{effective:#}"
        );
        let again = serin_config::parse(&effective.to_string(), "effective.yaml");
        assert_eq!(again, Ok(config));
    }
}

#[test]
fn secrets_are_masked() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/contract.yaml");
    let config = serin_config::load(file.as_ref()).unwrap().config;
    let shown = format!("{} {config:?}", serin_config::effective(&config));
    assert!(shown.contains("\"salt_file\":\"(secret)\""), "{shown}");
    assert!(!shown.contains("not-a-real-secret"));
}
