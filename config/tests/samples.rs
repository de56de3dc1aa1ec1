//! The files that operators start from load, and mean what they say.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::path::Path;
use std::time::Duration;

use serin_config::model::{KeySource, Mirror, Plan};

#[test]
fn the_contracts_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/contract.yaml");
    let loaded = serin_config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = &loaded.config;
    let listeners: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(listeners, ["127.0.0.1:8080"]);
    assert_eq!(config.limits.max_body, 1 << 30);
    let telemetry = config.telemetry.as_ref().unwrap();
    assert_eq!(telemetry.otlp.endpoint.to_string(), "http://127.0.0.1:4317");
    assert_eq!(telemetry.trace_sample, 0.01);
    let (name, value) = &telemetry.otlp.headers[0];
    assert_eq!(
        (name.as_str(), &*value.0),
        ("authorization", &b"Bearer not-a-real-token"[..])
    );
    let digits = config.route("digits").unwrap();
    assert_eq!(digits.routing_key, [KeySource::Header("x-user-id".into())]);
    assert_eq!(digits.salt.as_ref().unwrap().0, b"not-a-real-secret");
    let rollout = digits.rollout.as_ref().unwrap();
    let Plan::Steps(steps) = &rollout.plan else {
        panic!("steps expected")
    };
    let weights: Vec<f64> = steps.iter().map(|step| step.weight).collect();
    assert_eq!(weights, [0.0, 0.05, 0.25, 0.5, 1.0]);
    assert_eq!((steps[0].shadow, steps[0].min_samples), (1.0, 500));
    assert!(steps[0].is_shadow() && !steps[1].is_shadow());
    assert_eq!(digits.mirror, Some(Mirror { share: 0.1 }));
    assert_eq!(digits.copying.methods, ["POST"]);
    assert_eq!(digits.copying.max_in_flight, 64);
    assert_eq!(digits.copying.max_body, 1 << 20);
    assert_eq!(digits.shadow.as_ref().unwrap().endpoints[0].port, 9003);
    assert_eq!(steps[4].bake, Some(Duration::from_secs(1800)));
    assert_eq!(steps[4].holdback, 0.05);
    assert_eq!(rollout.guardrails[1].max_increase.over(100.0), 50.0);
    assert_eq!(rollout.guardrails[1].max_increase.over(1000.0), 100.0);
    assert_eq!(rollout.guardrails[1].max, Some(2000.0));
}

/// A route with these lines below it, after these lines at the top.
fn file(top: &str, route: &str) -> String {
    format!(
        "listen: 127.0.0.1:8080
{top}
routes:
  - name: digits
    backends: &backends
      baseline: &one {{release: &r {{v: \"1\"}}, endpoints: [\"http://127.0.0.1:9001\"]}}
      canary: {{<<: *one, release: {{<<: *r, v: \"2\"}}, endpoints: [\"http://127.0.0.1:9002\"]}}
{route}
"
    )
}

fn warnings(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    std::fs::write(&path, text).unwrap();
    let loaded = serin_config::load(&path).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let prefix = format!("{}:", path.display());
    let said = loaded.warnings.iter().map(ToString::to_string);
    said.map(|said| said.replacen(&prefix, "", 1)).collect()
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let rollout = "    rollout: {weight: 10%}";
    for (text, expected) in [
        (file("state: ./s", rollout), ""),
        (
            file("", rollout),
            "1:1: found rollouts and no `state`, expected `state`: a folder",
        ),
        (
            file("", ""),
            "4:5: routes[0]: found a canary without a rollout, which gets no traffic",
        ),
        (
            file("state: ./s", rollout).replace("v: \"2\"", "v: \"1\""),
            "found the same release on both arms",
        ),
        (
            file("state: ./s", rollout).replace("9002", "9001"),
            "found an endpoint that serves both arms",
        ),
        (
            file(
                "state: ./s",
                &format!("    upgrade: [websocket]\n{rollout}"),
            )
            .replace("canary: {", "canary: {protocol: http2, "),
            "found `upgrade`, and a backend with `protocol: http2`, which switches to nothing",
        ),
        (
            file("state: ./s", rollout).replace("9002", "8080"),
            "found the endpoint http://127.0.0.1:8080, which is this proxy itself",
        ),
        (
            file("state: ./s", "    rollout: {steps: [{weight: 50%}]}"),
            "found a ramp that ends at 50%",
        ),
        (
            file("state: ./s", rollout).replace(
                "canary: {",
                "shadow: {endpoints: [\"http://127.0.0.1:9003\"]}\n      canary: {",
            ),
            "found a shadow backend without a mirror, which gets no copies",
        ),
        (
            file(
                "state: ./s",
                &format!("    mirror: {{percent: 1%}}\n{rollout}"),
            )
            .replace(
                "canary: {",
                "shadow: {endpoints: [\"http://127.0.0.1:9002\"]}\n      canary: {",
            ),
            "found an endpoint that serves clients and gets copies too",
        ),
        (
            file(
                "state: ./s",
                &format!("{rollout}\n  - {{name: more, backends: {{baseline: *one}}}}"),
            ),
            "9:5: routes[1]: found a route that no request reaches: \"digits\" before it takes all",
        ),
    ] {
        let said = warnings(&text);
        match expected {
            "" => assert!(said.is_empty(), "{said:?}"),
            expected => assert!(
                said.len() == 1 && said[0].contains(expected),
                "{said:?}\n{text}"
            ),
        }
    }
}

#[test]
fn anchors_and_merge_keys_are_read() {
    let config = serin_config::parse(&file("", ""), "serin.yaml").unwrap();
    let canary = config.routes[0].canary.as_ref().unwrap();
    assert_eq!(canary.release.as_ref().unwrap().fields["v"], "2");
    assert_eq!(canary.endpoints[0].port, 9002);
}

#[test]
fn secrets_are_found_beside_the_file_and_lose_their_line_ending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    std::fs::write(folder.path().join("token"), "s3cret\r\n").unwrap();
    let load = |admin: &str| {
        std::fs::write(&path, file(&format!("admin: {admin}"), "")).unwrap();
        serin_config::load(&path)
    };
    let loaded = load("{address: 0.0.0.0:9911, token_file: ./token}").unwrap();
    assert_eq!(loaded.config.admin.token.as_ref().unwrap().0, b"s3cret");
    std::fs::write(folder.path().join("token"), "two words\n").unwrap();
    let said = load("{token_file: ./token}").unwrap_err().to_string();
    assert!(
        said.contains("which holds more than one word of plain ASCII") && !said.contains("two"),
        "{said}"
    );
}

#[test]
fn headers_of_the_collector_are_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    let top =
        "telemetry: {otlp: {endpoint: \"http://[::1]/otlp/\", protocol: http, headers_file: h}}";
    std::fs::write(&path, file(top, "")).unwrap();
    let load = |headers: &str| {
        std::fs::write(folder.path().join("h"), headers).unwrap();
        serin_config::load(&path)
    };
    let loaded = load("# two\r\nX-Scope: a b \r\n\nauthorization:Basic eDp5Og==\n").unwrap();
    let otlp = &loaded.config.telemetry.as_ref().unwrap().otlp;
    assert_eq!(otlp.endpoint.to_string(), "http://[::1]:4318/otlp");
    let read: Vec<(&str, &[u8])> = otlp
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), &*value.0))
        .collect();
    let expected: [(&str, &[u8]); 2] = [("x-scope", b"a b"), ("authorization", b"Basic eDp5Og==")];
    assert_eq!(read, expected);
    let shown = format!(
        "{:?} {}",
        loaded.config,
        serin_config::effective(&loaded.config)
    );
    assert!(!shown.contains("eDp5"), "{shown}");
    for broken in [
        "s3cret",
        "a b: s3cret",
        "x: s3cret\u{e9}",
        "x: ok\ns3cret: ",
    ] {
        let said = load(broken).unwrap_err().to_string();
        assert!(said.contains("is no header"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn the_kernels_choice_of_port_never_clashes() {
    let text = file("admin: 127.0.0.1:0\nprobe: 127.0.0.1:0", "")
        .replace("127.0.0.1:8080", "[127.0.0.1:0, 127.0.0.1:0]");
    let config = serin_config::parse(&text, "serin.yaml").unwrap();
    assert_eq!(config.listeners.len(), 2);
    let clash = file("", "").replace("127.0.0.1:8080", "127.0.0.1:9911");
    let said = serin_config::parse(&clash, "serin.yaml")
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("serin.yaml:1:1: found no `admin`, whose default 127.0.0.1:9911 is taken"),
        "{said}"
    );
}
