//! The admin API as a script or a browser meets it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use serin_stats::snapshot::{Arm, Outcome};

use super::house::{Answer, House, Setup, ask, eventually};
use crate::runtime::Reload;

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// What a browser says of a page's request.
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const PAUSE: &str = "/api/v1/rollouts/digits/pause";

fn check_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{what}: {problem}");
    }
}

#[test]
fn the_status_has_every_member_of_the_contract() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    house.traffic(Arm::Baseline, Outcome::Success, 400);
    house.traffic(Arm::Canary, Outcome::Success, 30);
    let status = house.wait_for("counts", |status| {
        status["arms"]["canary"]["requests"] == 30
    });
    for (pointer, kind) in [
        ("/name", "string"),
        ("/phase", "string"),
        ("/reason", "string"),
        ("/recommendation", "string"),
        ("/step/index", "number"),
        ("/step/of", "number"),
        ("/step/weight", "number"),
        ("/step/elapsed_s", "number"),
        ("/weight/desired", "number"),
        ("/weight/actual", "number"),
        ("/epoch", "number"),
        ("/arms/baseline/release/model", "string"),
        ("/arms/baseline/digest", "string"),
        ("/arms/baseline/requests", "number"),
        ("/arms/baseline/errors", "number"),
        ("/arms/baseline/rejected", "number"),
        ("/arms/baseline/aborted", "number"),
        ("/arms/baseline/latency_ms", "object"),
        ("/arms/canary/release/version", "string"),
        ("/arms/canary/digest", "string"),
        ("/arms/shadow", "object"),
        ("/stage/canary/requests", "number"),
        ("/guardrails/0/metric", "string"),
        ("/guardrails/0/verdict", "string"),
        ("/guardrails/0/baseline", "number"),
        ("/guardrails/0/canary", "number"),
        ("/guardrails/0/effect", "number"),
        ("/guardrails/0/interval/0", "number"),
        ("/guardrails/0/max_increase", "number"),
        ("/guardrails/0/p_value", "number"),
        ("/guardrails/0/samples/baseline", "number"),
        ("/guardrails/0/samples/canary", "number"),
        ("/guardrails/0/classic/two_proportion_z", "any"),
        ("/guardrails/0/classic/mann_whitney", "null"),
        ("/config/loaded_at", "string"),
        ("/config/refused", "null"),
        ("/alarms", "array"),
    ] {
        let found = match status.pointer(pointer) {
            None => "nothing",
            Some(_) if kind == "any" => "any",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        assert_eq!(found, kind, "{pointer} of {status:#}");
    }
    assert_eq!(status["step"]["of"], 3);
    let list = ask(house.address(), "GET", "/api/v1/rollouts", &[], "").json();
    assert_eq!(list[0]["name"], "digits");
}

#[test]
fn paths_methods_and_bodies() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let at = house.address();
    for (method, path, headers, body, status) in [
        ("GET", "/nothing", &[][..], "", 404),
        ("GET", "/api/v1/rollouts/other", &[], "", 404),
        ("GET", "/api/v1/rollouts/other/decisions", &[], "", 404),
        ("GET", "/api/v1/rollouts/digits/decisions/999", &[], "", 404),
        ("POST", "/api/v1/rollouts/other/pause", &[JSON], "{}", 404),
        (
            "POST",
            "/api/v1/rollouts/digits/explode",
            &[JSON],
            "{}",
            404,
        ),
        (
            "GET",
            "/api/v1/rollouts/digits/decisions?limit=0",
            &[],
            "",
            400,
        ),
        ("GET", PAUSE, &[], "", 405),
        ("DELETE", "/api/v1/rollouts", &[], "", 405),
        ("PUT", "/api/v1/config", &[JSON], "{}", 405),
        ("POST", PAUSE, &[JSON], "{", 400),
        ("POST", PAUSE, &[JSON], r#"{"weigth":"10%"}"#, 400),
        ("POST", PAUSE, &[("content-type", "text/plain")], "{}", 415),
        ("POST", PAUSE, &[SAME_ORIGIN], "{}", 415),
        ("POST", PAUSE, &[SAME_ORIGIN, FORM], "{}", 415),
        ("POST", PAUSE, &[FORM], "{", 400),
        ("POST", "/api/v1/feedback", &[JSON], "{}", 501),
        ("POST", "/api/v1/rollouts/digits/drill", &[JSON], "{}", 501),
        ("POST", "/api/v1/config", &[JSON], "{}", 501),
        ("POST", "/api/v1/config?dry_run=true", &[JSON], "{}", 400),
    ] {
        let answer = ask(at, method, path, headers, body);
        check_problem(&answer, status, &format!("{method} {path} {body}"));
    }
    let large = format!(r#"{{"reason":"{}"}}"#, "x".repeat(2 << 20));
    check_problem(&ask(at, "POST", PAUSE, &[JSON], &large), 413, "large");
    let allow = ask(at, "GET", PAUSE, &[], "");
    assert_eq!(allow.header("allow"), Some("POST"));
    let head = ask(at, "HEAD", "/api/v1/rollouts", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(house.status()["phase"], "Progressing");
    // As curl's -d sends it, and as tools do that say nothing of a body.
    for (verb, headers) in [("pause", &[FORM][..]), ("resume", &[])] {
        let path = format!("/api/v1/rollouts/digits/{verb}");
        let answer = ask(at, "POST", &path, headers, r#"{"reason":"by hand"}"#);
        assert_eq!(answer.status, 200, "{verb}");
    }
}

#[test]
fn requests_that_another_site_may_have_caused_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let at = house.address();
    let own = format!("http://{at}");
    for (headers, status) in [
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("host", "evil.example")], 403),
        (vec![("origin", own.as_str())], 200),
    ] {
        let mut with_type = headers.clone();
        with_type.push(JSON);
        let answer = ask(at, "POST", PAUSE, &with_type, "{}");
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let rebound = ask(
        at,
        "GET",
        "/api/v1/rollouts",
        &[("host", "evil.example")],
        "",
    );
    check_problem(&rebound, 403, "rebound");
    assert_eq!(house.status()["phase"], "Paused");
}

#[test]
fn a_token_where_one_is_set() {
    let state = tempfile::tempdir().unwrap();
    let token = state.path().join("token");
    std::fs::write(&token, "a-long-enough-token-for-everyone\n").unwrap();
    let setup = |address: &str| Setup {
        admin: format!(
            "{{address: \"{address}\", token_file: {}}}",
            token.display()
        ),
        ..Setup::default()
    };
    let right = ("authorization", "Bearer a-long-enough-token-for-everyone");
    let wrong = ("authorization", "Bearer a-long-enough-token-for-nobody");
    let list = "/api/v1/rollouts";

    let local = House::start(&state.path().join("one"), &setup("127.0.0.1:0"));
    let at = local.address();
    assert_eq!(ask(at, "GET", list, &[], "").status, 200);
    let refused = ask(at, "POST", PAUSE, &[JSON], "{}");
    check_problem(&refused, 401, "no token");
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    check_problem(
        &ask(at, "POST", PAUSE, &[JSON, wrong], "{}"),
        401,
        "wrong token",
    );
    assert_eq!(ask(at, "POST", PAUSE, &[JSON, right], "{}").status, 200);

    let remote = House::start(&state.path().join("two"), &setup("0.0.0.0:0"));
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], remote.address().port()));
    for path in [
        list,
        "/metrics",
        "/api/v1/config",
        "/api/v1/events",
        "/readyz",
    ] {
        check_problem(&ask(at, "GET", path, &[], ""), 401, path);
    }
    assert_eq!(ask(at, "GET", list, &[right], "").status, 200);
    let page = ask(at, "GET", "/", &[], "");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("digits"));
    let effective = ask(at, "GET", "/api/v1/config", &[right], "").body;
    assert!(!effective.contains("a-long-enough-token"), "{effective}");

    std::fs::write(&token, "another-token-after-the-rotation\n").unwrap();
    let config = setup("127.0.0.1:0").config(&state.path().join("one"));
    local.controller.reload(Reload::Applied {
        config,
        summary: "token".to_owned(),
    });
    let resume = "/api/v1/rollouts/digits/resume";
    check_problem(
        &ask(local.address(), "POST", resume, &[JSON, right], "{}"),
        401,
        "old",
    );
    let new = ("authorization", "Bearer another-token-after-the-rotation");
    assert_eq!(
        ask(local.address(), "POST", resume, &[JSON, new], "{}").status,
        200
    );
}

#[test]
fn the_probe_listener_tells_health_and_metrics_and_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let probe = eventually("probe", || house.controller.probe_address());
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(
            ask(probe, "GET", path, &[("host", "any.name")], "").status,
            200,
            "{path}"
        );
    }
    for path in ["/", "/api/v1/rollouts", "/api/v1/config", "/api/v1/events"] {
        check_problem(&ask(probe, "GET", path, &[], ""), 404, path);
    }
    check_problem(&ask(probe, "POST", PAUSE, &[JSON], "{}"), 404, "verb");
    check_problem(&ask(probe, "POST", "/livez", &[], ""), 405, "post");
    house.controller.set_draining();
    check_problem(&ask(probe, "GET", "/readyz", &[], ""), 503, "draining");
    assert_eq!(ask(probe, "GET", "/livez", &[], "").status, 200);
}

#[test]
fn metrics_are_valid_prometheus_text() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup {
        interval: "100ms",
        ..Setup::default()
    };
    let house = House::start(state.path(), &setup);
    house.traffic(Arm::Baseline, Outcome::Success, 100);
    house.traffic(Arm::Canary, Outcome::Success, 20);
    house.wait_for("counts", |status| {
        status["arms"]["canary"]["requests"] == 20
    });
    let text = ask(house.address(), "GET", "/metrics", &[], "").body;
    let mut families = std::collections::BTreeSet::new();
    let mut samples = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().unwrap();
            assert!(families.insert(name), "{name} twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(samples.insert(series), "{series} twice");
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|family| families.contains(family))
            .unwrap_or(name);
        assert!(families.contains(family), "{line} without a type");
    }
    for series in [
        "serin_weight{rollout=\"digits\",kind=\"actual\"} 0.05",
        "serin_weight{rollout=\"digits\",kind=\"desired\"} 0.05",
        "serin_verdict{rollout=\"digits\",metric=\"error_rate\"}",
        "serin_effect{rollout=\"digits\",metric=\"error_rate\"}",
        "serin_samples{rollout=\"digits\",metric=\"error_rate\",arm=\"canary\"} 20",
        "serin_phase{rollout=\"digits\",phase=\"Progressing\"} 1",
        "serin_phase{rollout=\"digits\",phase=\"Healthy\"} 0",
        "serin_config_reloads_total{result=\"applied\"} 0",
        "serin_control_tick_seconds_count",
        "serin_connections 7",
        "serin_ready 1",
    ] {
        assert!(text.contains(series), "{series} in {text}");
    }
}

#[test]
fn events_are_streamed() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let at = house.address();
    let mut stream = TcpStream::connect(at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nhost: {at}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("200"));
    let mut next = |start: &str| lines.find(|line| line.starts_with(start)).unwrap();
    next(": listening");
    assert_eq!(house.operate("pause", r#"{"reason":"look"}"#).status, 200);
    next("event: phase");
    let data: Value = serde_json::from_str(&next("data:")[5..]).unwrap();
    assert_eq!(data["phase"], "Paused");
    assert!(data["reason"].as_str().unwrap().contains("look"));
    house.controller.reload(Reload::Refused("bad".to_owned()));
    next("event: reload");
    assert!(next("data:").contains("\"refused\""));
    // What the evidence does is told as what operators do.
    house.break_canary();
    next("event: phase");
    let data: Value = serde_json::from_str(&next("data:")[5..]).unwrap();
    assert_eq!(data["phase"], "RolledBack", "{data}");
    assert_eq!(data["weight"]["actual"], 0.0, "{data}");
}

#[test]
fn a_configuration_can_be_tried() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let yaml = ("content-type", "application/yaml");
    let path = "/api/v1/config?dry_run=true";
    let good = r#"routes: [{name: a, backends: {baseline: {endpoints: ["http://127.0.0.1:1"]}}}]"#;
    let answer = ask(house.address(), "POST", path, &[yaml], good);
    let errors = answer.json();
    assert!(
        answer.status == 200 || errors["errors"].is_array(),
        "{answer:?}"
    );
    let bad = "listen: nowhere\nroutes: []\ntypo: 1\n";
    let answer = ask(house.address(), "POST", path, &[yaml], bad);
    check_problem(&answer, 400, "bad");
    assert!(
        answer.json()["errors"].as_array().unwrap().len() >= 2,
        "{answer:?}"
    );
    assert_eq!(house.status()["phase"], "Progressing");
}

#[test]
fn http2_is_spoken_too() {
    let state = tempfile::tempdir().unwrap();
    let house = House::start(state.path(), &Setup::default());
    let at = house.address();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://{at}/api/v1/rollouts"))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        sender.send_request(request).await.unwrap().status()
    });
    assert_eq!(status, 200);
}
