//! The life of a stage, and the metrics' text.

use std::time::Duration;

use serin_stats::snapshot::StageSnapshot;

use super::*;
use crate::measure::Record;
use crate::route::Salt;
use crate::route::example::{config, plain_route, rollout_route};

fn measurements() -> Measurements {
    Measurements::new(2, Arc::new(Notify::new()))
}

fn splits(epoch: u64) -> BTreeMap<String, Arc<Split>> {
    let split = Split {
        share: 0.25,
        ..Split::baseline_only(epoch)
    };
    BTreeMap::from([("digits".to_owned(), Arc::new(split))])
}

/// Installs a configuration of one rollout in this epoch.
fn enter(measurements: &Measurements, epoch: u64) -> Arc<Stage> {
    let config = config([rollout_route("digits")]);
    let mut stages = measurements.install(&config, &splits(epoch));
    stages.pop().unwrap()
}

fn record(arm: Arm, outcome: Outcome, total_ms: f64) -> Record {
    Record {
        arm,
        assignment: Salt::new(None, "digits", None).assign(b"ada"),
        outcome,
        unreachable: false,
        arrived_ms: 0,
        total_ms,
        first_byte_ms: None,
    }
}

fn success() -> Record {
    record(Arm::Baseline, Outcome::Success, 1.0)
}

/// Epochs and their requests.
fn seen(measurements: &Measurements) -> Vec<(u64, u64)> {
    let mut snapshot = measurements.snapshot();
    let stages = snapshot.rollouts.remove("digits").unwrap_or_default();
    assert!(snapshot.rollouts.is_empty());
    let requests = |stage: &StageSnapshot| stage.arms.baseline.total() + stage.arms.canary.total();
    stages
        .iter()
        .map(|stage| (stage.epoch, requests(stage)))
        .collect()
}

fn kept(measurements: &Measurements) -> usize {
    measurements.lock()["digits"].by_epoch.len()
}

#[test]
fn a_stage_stays_while_its_epoch_does() {
    let measurements = measurements();
    let first = enter(&measurements, 1);
    first.record(0, &success());
    let again = enter(&measurements, 1);
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!Arc::ptr_eq(&first, &enter(&measurements, 2)));
    assert_eq!(first.split().epoch, 1);

    let mut changed = splits(1);
    changed.insert("digits".into(), Arc::new(Split::baseline_only(1)));
    let config = config([rollout_route("digits")]);
    let kept = measurements.install(&config, &changed).pop().unwrap();
    assert!(Arc::ptr_eq(&first, &kept), "no new epoch, no new stage");
    assert_eq!(kept.split().share, 0.25);
}

#[test]
fn unchanged_stages_are_left_out() {
    let measurements = measurements();
    let stage = enter(&measurements, 1);
    assert_eq!(seen(&measurements), [(1, 0)], "a new stage is told once");
    assert_eq!(seen(&measurements), []);
    stage.record(0, &success());
    stage.record(1, &success());
    assert_eq!(seen(&measurements), [(1, 2)]);
    assert_eq!(seen(&measurements), []);
    stage.record(1, &success());
    assert_eq!(seen(&measurements), [(1, 3)], "counts are cumulative");
}

#[test]
fn a_record_counts_for_the_epoch_of_its_assignment_whenever_it_ends() {
    let measurements = measurements();
    let old = enter(&measurements, 1);
    old.record(0, &success());
    let new = enter(&measurements, 2);
    new.record(0, &success());
    assert_eq!(seen(&measurements), [(1, 1), (2, 1)]);
    old.record(1, &success());
    assert_eq!(seen(&measurements), [(1, 2)]);

    old.record(1, &success());
    drop(old);
    assert_eq!(seen(&measurements), [(1, 3)], "the last counts go up");
    assert_eq!(kept(&measurements), 1, "then the stage is dropped");
    drop(new);
    assert_eq!(seen(&measurements), []);
    assert_eq!(kept(&measurements), 1, "the one in force is kept");
    let again = enter(&measurements, 2);
    again.record(0, &success());
    assert_eq!(seen(&measurements), [(2, 2)]);
}

#[test]
fn stages_are_bounded() {
    let measurements = measurements();
    let held: Vec<Arc<Stage>> = (0..100).map(|epoch| enter(&measurements, epoch)).collect();
    assert_eq!(kept(&measurements), MAX_STAGES);
    for stage in &held {
        stage.record(0, &success());
    }
    let expected: Vec<(u64, u64)> = (36..100).map(|epoch| (epoch, 1)).collect();
    assert_eq!(seen(&measurements), expected);
    let totals = measurements.totals();
    assert_eq!(totals[0].2.outcome(Outcome::Success), 100);
}

#[test]
fn routes_that_left_the_configuration_are_forgotten() {
    let measurements = measurements();
    let stage = enter(&measurements, 1);
    let _ = measurements.install(&config([plain_route("rest")]), &splits(1));
    stage.record(0, &success());
    assert_eq!(seen(&measurements), []);
    let names = measurements.totals().into_iter().map(|(name, ..)| name);
    assert_eq!(names.collect::<Vec<_>>(), ["rest"]);
}

#[test]
fn only_rollouts_with_a_split_are_judged() {
    let measurements = measurements();
    let config = config([
        rollout_route("digits"),
        plain_route("rest"),
        rollout_route("unsplit"),
    ]);
    let stages = measurements.install(&config, &splits(1));
    let judged: Vec<bool> = stages.iter().map(|stage| stage.is_judged()).collect();
    assert_eq!(judged, [true, false, false]);
    assert_eq!(stages[2].split().share, 0.0);
    for stage in &stages {
        stage.record(0, &success());
    }
    assert_eq!(seen(&measurements), [(1, 1)]);
}

#[test]
fn metrics_are_prometheus_text() {
    let measurements = measurements();
    let name = "di\"g\\its";
    let config = config([rollout_route(name), plain_route("rest")]);
    let stages = measurements.install(&config, &BTreeMap::new());
    for (worker, total_ms) in [(0, 5.0), (1, 5.1), (0, 10_000.0), (1, 60_000.0)] {
        stages[0].record(worker, &record(Arm::Canary, Outcome::Success, total_ms));
    }
    stages[1].record(0, &record(Arm::Baseline, Outcome::Rejected, f64::NAN));
    stages[1].record_asked(1, Arm::Baseline, Duration::from_millis(300));
    let mut page = Page::default();
    measurements.metrics(&mut page);
    let text = page.to_text();
    for line in [
        "# TYPE serin_requests_total counter",
        r#"serin_requests_total{rollout="di\"g\\its",arm="canary",outcome="success"} 4"#,
        r#"serin_requests_total{rollout="di\"g\\its",arm="baseline",outcome="success"} 0"#,
        r#"serin_requests_total{rollout="rest",arm="baseline",outcome="rejected"} 1"#,
        "# TYPE http_server_request_duration_seconds histogram",
        r#"http_server_request_duration_seconds_bucket{arm="canary",route="di\"g\\its",le="0.005"} 1"#,
        r#"http_server_request_duration_seconds_bucket{arm="canary",route="di\"g\\its",le="0.01"} 2"#,
        r#"http_server_request_duration_seconds_bucket{arm="canary",route="di\"g\\its",le="7.5"} 2"#,
        r#"http_server_request_duration_seconds_bucket{arm="canary",route="di\"g\\its",le="10"} 3"#,
        r#"http_server_request_duration_seconds_bucket{arm="canary",route="di\"g\\its",le="+Inf"} 4"#,
        r#"http_server_request_duration_seconds_sum{arm="canary",route="di\"g\\its"} 70.0101"#,
        r#"http_server_request_duration_seconds_count{arm="canary",route="di\"g\\its"} 4"#,
        r#"http_server_request_duration_seconds_count{arm="baseline",route="rest"} 1"#,
        "# TYPE http_client_request_duration_seconds histogram",
        r#"http_client_request_duration_seconds_bucket{arm="baseline",route="rest",le="0.25"} 0"#,
        r#"http_client_request_duration_seconds_bucket{arm="baseline",route="rest",le="0.5"} 1"#,
        r#"http_client_request_duration_seconds_sum{arm="baseline",route="rest"} 0.3"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\nin\n{text}");
    }
    assert!(!text.contains(r#"rollout="rest",arm="canary""#));
    for family in [
        "serin_requests_total",
        "http_server_request_duration_seconds",
        "http_client_request_duration_seconds",
    ] {
        for head in ["HELP", "TYPE"] {
            let head = format!("# {head} {family} ");
            let heads = text.lines().filter(|line| line.starts_with(&head));
            assert_eq!(heads.count(), 1, "{head}");
        }
    }
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        let (_, value) = sample.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{sample}");
    }
}

#[test]
fn metrics_rise_through_epochs_and_reloads() {
    let measurements = measurements();
    for epoch in 1..=5 {
        let stage = enter(&measurements, epoch);
        stage.record(0, &success());
        drop(stage);
        let _ = measurements.snapshot();
        let totals = measurements.totals();
        let (_, arm, totals) = &totals[0];
        assert_eq!(*arm, Arm::Baseline);
        assert_eq!(totals.outcome(Outcome::Success), epoch);
        assert_eq!(totals.server.sum_us, epoch * 1_000);
    }
}
