//! Logs: JSON lines unless a person reads them on a terminal; no bodies, no secrets, whatever `RUST_LOG` asks.

use std::io::Read as _;
use std::process::Stdio;

use hyper::Method;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use super::{Scene, TOKEN};
use crate::support::client::Version;
use crate::support::collector::Manner;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::{Serin, command};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

/// What a client sends and nobody may find in a log.
const SECRETS: [&str; 4] = ["cl1ent", "qu3ry", "patient-4711", TOKEN];

async fn talk(scene: &Scene) {
    for version in [Version::Http1, Version::Http2] {
        let mut client = scene.site.client(version);
        let headers = [("x-user-id", "u"), ("authorization", "Bearer cl1ent")];
        let path = "/v2/models/digits/infer?key=qu3ry";
        let reply = client.ask(Method::POST, path, &headers, "patient-4711");
        assert_eq!(reply.await.unwrap().status, 200);
    }
}

fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn lines_are_json_where_no_terminal_is() {
    let scene = Scene::start("grpc", "100%", Manner::Takes).await;
    talk(&scene).await;
    for line in lines(&scene.serin.log()) {
        assert!(
            line["timestamp"].is_string() && line["message"].is_string(),
            "{line}"
        );
        let level = line["level"].as_str().unwrap();
        assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line}");
    }
    assert!(scene.serin.log().contains("\"listening\""));
}

#[tokio::test]
async fn the_most_talkative_log_tells_no_secret() {
    let scene = Scene::start("grpc", "100%", Manner::Takes).await;
    let Scene {
        site,
        serin,
        collector,
        model,
    } = scene;
    serin.kill();
    let mut loud = command();
    loud.args(["run", "-c", site.config().to_str().unwrap()]);
    loud.env("RUST_LOG", "trace");
    let serin = Serin::launch(loud);
    let scene = Scene {
        site,
        serin,
        collector,
        model,
    };
    eventually("it is ready", SOON, async || {
        scene.site.admin().is_ready().await.then_some(())
    })
    .await;
    talk(&scene).await;
    let seen = scene
        .collector
        .when("a span", |seen| !seen.spans.is_empty());
    drop(seen.await);
    let log = scene.serin.log();
    assert!(log.contains("\"DEBUG\""), "{log}");
    for secret in SECRETS {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_named() {
    let scene = Scene::start("grpc", "0%", Manner::Takes).await;
    let mut confused = command();
    confused.args(["run", "-c", scene.site.config().to_str().unwrap()]);
    confused.env("RUST_LOG", "a=b=c");
    let other = Serin::launch(confused);
    eventually("a warning", SOON, async || {
        other
            .log()
            .contains("RUST_LOG is not understood")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unwell_endpoint_is_told_with_its_address() {
    let model = ModelServer::start(Behaviour::BROKEN);
    let site = Site::new();
    let endpoint = format!("[\"http://{}\"]", model.address());
    let checked =
        format!("{endpoint}\n        health_check: {{path: /, interval: 100ms, unhealthy: 1}}");
    let text = site.text(&Digits::new(model.address(), model.address(), "weight: 0%"));
    site.write(text.replace(&endpoint, &checked));
    let serin = site.start().await;
    let line = eventually("it is told", SOON, async || {
        let mut lines = lines(&serin.log()).into_iter();
        lines.find(|line| line["message"] == "an endpoint is unwell")
    })
    .await;
    assert_eq!(line["address"], model.address().to_string(), "{line}");
    assert_eq!(line["why"], "status 500 Internal Server Error", "{line}");
}

/// With a terminal of its own on standard error.
#[tokio::test]
async fn people_get_lines_for_people() {
    let scene = Scene::start("grpc", "0%", Manner::Takes).await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let screen = std::fs::File::options()
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut shown = command();
    shown
        .args(["run", "-c", scene.site.config().to_str().unwrap()])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(screen);
    let mut child = shown.spawn().unwrap();
    // A read of a terminal that nobody writes to any more is an error, which ends the thread.
    let reader = std::thread::spawn(move || {
        let mut terminal = std::fs::File::from(terminal);
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.contains("listening") {
            match terminal.read(&mut piece) {
                Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&piece[..read])),
                _ => break,
            }
        }
        text
    });
    eventually("it says that it listens", SOON, async || {
        reader.is_finished().then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    let text = reader.join().unwrap();
    let line = text.lines().find(|line| line.contains("listening"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(" INFO ") && !line.contains('{'), "{line}");
    assert!(!line.contains('\u{1b}'), "no colours were wanted: {line}");
}
