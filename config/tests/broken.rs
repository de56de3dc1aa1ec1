//! Broken configurations: each is refused at the right place, with the path and what should stand there.
//!
//! A case in `tests/broken/` is an edit of a good file, so that the edit is the one thing wrong with it: a line
//! with what stood there, one with what is written instead, one with the whole message after its position.
//! `⟨` marks the place that the error must point to, and `↵` stands for a line break.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by panicking"
)]

use serin_config::Diagnostics;

const GOOD: &str = "\
listen: 127.0.0.1:8080
admin: 127.0.0.1:9911
limits: {drain: 30s}
routes:
  - name: digits
    match: {path_prefix: /digits}
    routing_key: {header: x-user-id}
    timeouts: {connect: 1s}
    backends:
      baseline:
        release: {model: digits, version: \"1\"}
        endpoints: [\"http://127.0.0.1:9001\"]
      canary:
        release: {model: digits, version: \"2\"}
        endpoints: [\"http://127.0.0.1:9002\"]
    rollout:
      steps:
        - {weight: 5%, min_duration: 10m}
        - {weight: 100%, bake: 30m, holdback: 5%}
      guardrails:
        - error_rate: {max_increase: 0.5pp}
        - latency_p95: {max_increase: [50ms, 10%]}
      analysis: {alpha: 0.05}
  - name: rest
    backends: {baseline: {endpoints: [\"http://127.0.0.1:9001\"]}}
";

fn refused(text: &str) -> Diagnostics {
    match serin_config::parse(text, "serin.yaml") {
        Ok(_) => panic!("loads:\n{text}"),
        Err(errors) => errors,
    }
}

/// The table of one subject, in `tests/broken/`.
fn check(table: &str) -> usize {
    let cases: Vec<&str> = table
        .split("\n\n")
        .map(|case| case.trim_matches('\n'))
        .filter(|case| !case.is_empty())
        .collect();
    for case in &cases {
        let lines: Vec<String> = case.lines().map(|line| line.replace('↵', "\n")).collect();
        let [from, to, message] = lines.as_slice() else {
            panic!("a case is three lines:\n{case}");
        };
        check_one(from, to, message);
    }
    cases.len()
}

fn check_one(from: &str, to: &str, message: &str) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} must stand once");
    let marked = GOOD.replacen(from, to, 1);
    let before = &marked[..marked.find('⟨').expect("a mark")];
    let line = before.split('\n').count();
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    let said = refused(&marked.replace('⟨', "")).to_string();
    assert_eq!(
        said,
        format!("serin.yaml:{line}:{column}: {message}"),
        "{from:?} → {to:?}"
    );
}

#[test]
fn the_good_file_is_good() {
    serin_config::parse(GOOD, "serin.yaml").unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn every_case_of_the_tables() {
    let mut cases = 0;
    cases += check(include_str!("broken/keys.txt"));
    cases += check(include_str!("broken/kinds.txt"));
    cases += check(include_str!("broken/units.txt"));
    cases += check(include_str!("broken/addresses.txt"));
    cases += check(include_str!("broken/routes.txt"));
    cases += check(include_str!("broken/backends.txt"));
    cases += check(include_str!("broken/rollouts.txt"));
    cases += check(include_str!("broken/mirrors.txt"));
    cases += check(include_str!("broken/telemetry.txt"));
    cases += check(include_str!("broken/not_supported_yet.txt"));
    assert!(cases >= 90, "{cases}");
}

#[test]
fn a_mistake_is_told_once() {
    assert_eq!(
        refused("listen: 127.0.0.1:8080\nroutes: []\n").to_string(),
        "serin.yaml:2:9: routes: found an empty list, expected at least one route"
    );
}

/// What isn't a configuration at all: the position, and words of the message.
#[test]
fn other_things_than_a_configuration() {
    for (text, expected) in [
        ("", "serin.yaml:1:1: found nothing, expected a mapping"),
        ("# a comment\n", "found nothing, expected a mapping"),
        ("---\n", "found nothing, expected a mapping"),
        (
            "hello",
            "serin.yaml:1:1: found \"hello\", expected a mapping",
        ),
        ("- 1\n", "found a list, expected a mapping"),
        ("{}", "serin.yaml:1:1: found no `listen`, expected `listen`"),
        (
            "listen: [1, 2\nroutes: 3\n",
            "serin.yaml:2:7: found broken YAML",
        ),
        ("listen: 'never closed\n", "found broken YAML"),
        ("a: b: c\n", "serin.yaml:1:5: found broken YAML"),
        ("listen: \u{0}\u{1}", "serin.yaml:1:9: found broken YAML"),
        (
            "a: 1\n---\nb: 2\n",
            "serin.yaml:3:1: found broken YAML (multiple YAML documents",
        ),
        (
            "a: *nowhere\n",
            "serin.yaml:1:4: found broken YAML (alias references unknown anchor",
        ),
        ("a: &a [*a]\n", "found broken YAML"),
        ("listen: !env PORT\n", "found broken YAML"),
        (
            "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{",
            "found broken YAML",
        ),
    ] {
        let said = refused(text).to_string();
        assert!(said.contains(expected), "{text:?}: {said}");
        assert!(!said.contains('\n') || text == "{}", "{text:?}: {said}");
    }
}

/// Nine levels of nine aliases each would be 400 million nodes.
#[test]
fn a_bomb_of_anchors_is_refused_in_time() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    let started = std::time::Instant::now();
    let said = refused(&bomb).to_string();
    assert!(said.contains("found broken YAML"), "{said}");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn a_flood_of_errors_is_counted() {
    let text: String = (0..500).map(|key| format!("key{key}: 1\n")).collect();
    let errors = refused(&text);
    assert_eq!((errors.errors().len(), errors.omitted()), (100, 402));
    assert!(errors.to_string().ends_with("… and 402 more"));
}

#[test]
fn two_errors_are_both_reported_in_order() {
    let text = GOOD.replace("weight: 5%", "wieght: 5").replace("30s", "30");
    let errors = refused(&text);
    let places: Vec<(u64, &str)> = errors
        .errors()
        .iter()
        .map(|error| (error.line, error.path.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (3, "limits.drain"),
            (18, "routes[0].rollout.steps[0]"),
            (18, "routes[0].rollout.steps[0].wieght"),
        ]
    );
}

#[test]
fn bytes_that_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    std::fs::write(&path, b"listen: 127.0.0.1:80\nstate: a\xff\xfe").unwrap();
    let said = serin_config::load(&path).unwrap_err().to_string();
    let expected = format!(
        "{}:2:9: found bytes that are not UTF-8 text, expected a YAML file that can be read",
        path.display()
    );
    assert_eq!(said, expected);
    let said = serin_config::load(&folder.path().join("none.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("none.yaml: found no way to read it (No such file"),
        "{said}"
    );
    let said = serin_config::load(folder.path()).unwrap_err().to_string();
    assert!(said.contains("found no way to read it"), "{said}");
}
