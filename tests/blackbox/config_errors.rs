//! A configuration that is wrong is refused: with where, what and what instead; never with a panic; and
//! never at the cost of a request that is being served.

use crate::support::SOON;
use crate::support::admin::actual;
use crate::support::client::Version;
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::{command, run};
use crate::support::site::{Digits, Site};

/// One mistake: what it is, the file, and what the report must name.
struct Mistake {
    what: &'static str,
    text: Vec<u8>,
    names: &'static [&'static str],
}

/// A mistake made by replacing a piece of the good file.
fn edit(
    good: &str,
    what: &'static str,
    from: &str,
    to: &str,
    names: &'static [&'static str],
) -> Mistake {
    assert!(good.contains(from), "{what}: the good file has no {from:?}");
    Mistake {
        what,
        text: good.replacen(from, to, 1).into_bytes(),
        names,
    }
}

fn raw(what: &'static str, text: impl Into<Vec<u8>>) -> Mistake {
    Mistake {
        what,
        text: text.into(),
        names: &[],
    }
}

fn mistakes(good: &str) -> Vec<Mistake> {
    let edit = |what, from: &str, to: &str, names| edit(good, what, from, to, names);
    vec![
        edit(
            "typo",
            "routing_key:",
            "ruoting_key:",
            &["routes[0].ruoting_key", "routing_key"],
        ),
        edit(
            "unknown key at the top",
            "workers: 2",
            "wrkers: 2",
            &["wrkers", "workers"],
        ),
        edit("wrong type", "workers: 2", "workers: [2]", &["workers"]),
        edit(
            "a mapping for a text",
            "name: digits",
            "name: {a: b}",
            &["routes[0].name"],
        ),
        edit("wrong unit", "interval: 1s", "interval: 5%", &["interval"]),
        edit("bare number", "interval: 1s", "interval: 5", &["interval"]),
        edit("bare weight", "weight: 10%", "weight: 10", &["weight"]),
        edit(
            "weight above 100%",
            "weight: 10%",
            "weight: 110%",
            &["weight"],
        ),
        edit(
            "unquoted version",
            "version: \"2\"",
            "version: 1.10",
            &["release.version"],
        ),
        edit(
            "duplicate key",
            "workers: 2",
            "workers: 2\nworkers: 3",
            &["workers"],
        ),
        edit(
            "no endpoint",
            "endpoints: [",
            "endpoints: [] #",
            &["endpoints"],
        ),
        edit(
            "endpoint with a path",
            "127.0.0.1:1\"]",
            "127.0.0.1:1/v2\"]",
            &["endpoints[0]"],
        ),
        edit(
            "endpoint without a scheme",
            "\"http://127.0.0.1:1\"",
            "\"127.0.0.1:1\"",
            &["endpoints[0]"],
        ),
        edit(
            "no release",
            "release: {model: digits, version: \"2\"}",
            "",
            &["release"],
        ),
        edit(
            "steps that fall",
            "weight: 10%",
            "steps: [{weight: 50%}, {weight: 20%}]",
            &["steps[1].weight"],
        ),
        edit("no steps", "weight: 10%", "steps: []", &["steps"]),
        edit(
            "weight beside steps",
            "weight: 10%",
            "weight: 10%\n      steps: [{weight: 20%}]",
            &["weight"],
        ),
        edit(
            "unknown guardrail",
            "weight: 10%",
            "weight: 10%\n      guardrails: [{eror_rate: {max_increase: 1pp}}]",
            &["eror_rate", "error_rate"],
        ),
        edit(
            "a rate's margin in percent",
            "weight: 10%",
            "weight: 10%\n      guardrails: [{error_rate: {max_increase: 1%}}]",
            &["max_increase"],
        ),
        edit(
            "a boolean that is none",
            "weight: 10%",
            "steps: [{weight: 20%, requires_approval: maybe}]",
            &["requires_approval"],
        ),
        edit(
            "what is not there yet",
            "weight: 10%",
            "weight: 10%\n      segments: []",
            &["segments", "not supported yet"],
        ),
        edit(
            "admin for everybody without a token",
            "admin: 127.0.0.1:",
            "admin: 0.0.0.0:",
            &["admin"],
        ),
        edit(
            "no such port",
            "limits:",
            "probe: 127.0.0.1:99999\nlimits:",
            &["probe"],
        ),
        edit("no routes", "routes:", "routes: []\nx:", &["routes"]),
        edit(
            "second rollout of the name",
            "routes:\n",
            &twice(good),
            &["routes[1].name"],
        ),
        edit(
            "two mistakes at once",
            "workers: 2\nlimits: {drain: 10s}",
            "workers: none\nlimits: {drain: ten}",
            &["workers", "limits.drain"],
        ),
        raw("empty", ""),
        raw("nothing but a remark", "# nothing here\n"),
        raw("not YAML", "listen: [unclosed\n  : : :\n"),
        raw("a list", "- listen\n- admin\n"),
        raw("one word", "serin"),
        raw(
            "binary",
            (0_u8..=255).cycle().take(4096).collect::<Vec<_>>(),
        ),
        raw("deeper than anybody means", "[".repeat(20_000)),
        raw("an alias bomb", alias_bomb()),
    ]
}

/// The route, once more under the same name.
fn twice(good: &str) -> String {
    let (_, routes) = good.split_once("routes:\n").unwrap();
    format!("routes:\n{routes}")
}

/// A few lines that would unfold to billions of items.
fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", "));
    }
    text
}

fn good(site: &Site) -> String {
    let nobody = "127.0.0.1:1".parse().unwrap();
    site.text(&Digits::new(nobody, nobody, "weight: 10%"))
}

/// `file:line:column`, both numbers from 1.
fn has_position(report: &str) -> bool {
    report.match_indices("serin.yaml:").any(|(at, found)| {
        let mut parts = report[at + found.len()..].splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
        matches!((number(), number()), (Some(1..), Some(1..)))
    })
}

#[track_caller]
fn expect_report(mistake: &Mistake, report: &str) {
    let what = mistake.what;
    assert!(!report.contains("panicked"), "{what}: {report}");
    assert!(has_position(report), "{what}: no position in: {report}");
    assert!(
        report.contains("expected"),
        "{what}: no expectation in: {report}"
    );
    for name in mistake.names {
        assert!(report.contains(name), "{what}: no {name} in: {report}");
    }
}

#[tokio::test]
async fn check_accepts_the_good_file() {
    let site = Site::new();
    site.write(good(&site));
    let config = site.config();
    let said = site.verb(&["check", "-c", config.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("digits"), "{said:?}");
}

#[tokio::test]
async fn check_and_run_refuse_every_mistake() {
    let site = Site::new();
    let all = mistakes(&good(&site));
    assert!(all.len() >= 20);
    for mistake in &all {
        site.write(&mistake.text);
        for verb in ["check", "run"] {
            let mut command = command();
            command.arg(verb).arg("-c").arg(site.config());
            let said = tokio::time::timeout(SOON, run(command))
                .await
                .unwrap_or_else(|_| panic!("{verb} accepted: {}", mistake.what));
            assert_eq!(said.code, Some(2), "{verb}, {}: {said:?}", mistake.what);
            expect_report(mistake, &said.err);
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let site = Site::new();
    let config = site.config();
    for verb in ["check", "run"] {
        let said = site.verb(&[verb, "-c", config.to_str().unwrap()]).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("serin.yaml"), "{said:?}");
    }
}

#[tokio::test]
async fn a_running_process_refuses_every_mistake_and_serves_on() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(model.address(), model.address(), "weight: 10%");
    site.configure(&digits);
    let _serin = site.start().await;
    let admin = site.admin();
    let load = Load::start(site.http, 2);
    for mistake in mistakes(&good(&site)) {
        let before = admin.reloads("refused").await;
        site.write(&mistake.text);
        admin.reloads_beyond(before, "refused").await;
        let shown = admin
            .status_when(mistake.what, SOON, |status| {
                let refused = status["config"]["refused"].to_string();
                mistake.names.iter().all(|name| refused.contains(name)) && refused != "null"
            })
            .await;
        assert_eq!(actual(&shown), 0.1, "{}", mistake.what);

        // A good file in between: so each mistake is met by a process that runs a good one.
        site.configure(&digits);
        admin
            .status_when("the good file is back", SOON, |status| {
                status["config"]["refused"].is_null()
            })
            .await;
    }
    load.stop().await.expect_clean();

    site.configure(&digits.plan("weight: 20%"));
    admin.weight(0.2).await;
    let reply = site.client(Version::Http1).infer("somebody").await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_dry_run_validates_and_changes_nothing() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(model.address(), model.address(), "weight: 10%");
    site.configure(&digits);
    let _serin = site.start().await;
    let admin = site.admin();
    let path = "/api/v1/config?dry_run=true";
    let headers = [("content-type", "application/yaml")];
    let post = async |text: &str| {
        let reply = admin.ask(hyper::Method::POST, path, &headers, text).await;
        reply.unwrap()
    };
    let fine = post(&site.text(&digits.plan("weight: 50%"))).await;
    assert_eq!(fine.status, 200, "{fine:?}");
    let wrong = post(&site.text(&digits.plan("weight: 50"))).await;
    assert!(wrong.status.is_client_error(), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.body).contains("weight"));
    assert_eq!(actual(&admin.status().await), 0.1);
}
