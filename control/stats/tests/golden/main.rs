//! Golden values: every formula against scipy, statsmodels, confseq and mpmath.
//!
//! The fixtures lie in `tests/fixtures` (made by the `gen_fixtures.py` beside them); `SERIN_STATS_FIXTURES`
//! names another folder with files of the same names and format. A file's name says its kind; a kind without
//! a test fails the run unless it stands in [`PENDING_KINDS`]. Of every case every expected key is compared.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a malformed fixture must fail the run"
)]

mod answers;
mod arms;
mod drift;
mod engine;
mod sequences;
mod special;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use answers::{Answers, Case};
use serde_json::Value;

/// Kinds of fixtures that are not computed yet.
const PENDING_KINDS: &[&str] = &[];

/// Expected keys that are not computed, by kind, with the reason.
const KEYS_NOT_COMPUTED: &[(&str, &str, &str)] = &[];

/// Computes a case; `None` is "nothing is defined".
type Answer = fn(&Case) -> Option<Answers>;

/// What each kind of fixture is answered by.
const KINDS: &[(&str, Answer)] = &[
    ("bucketed_cs", engine::bucketed_cs),
    ("chi_squared", drift::chi_squared),
    ("confidence_sequences", sequences::confidence_sequences),
    ("decision_rules", engine::decision_rules),
    ("evidence", engine::evidence),
    ("first_error_e_process", engine::first_error),
    ("group_sequential", sequences::group_sequential),
    ("js_divergence", drift::js_divergence),
    ("ks_2sample", drift::ks_2sample),
    ("linear_trend", drift::linear_trend),
    ("mann_whitney", arms::mann_whitney),
    ("mann_whitney_binned", arms::mann_whitney_binned),
    ("multiple_testing", drift::multiple_testing),
    ("power", engine::power),
    ("psi", drift::psi),
    ("quantile_cs", sequences::quantile_cs),
    ("ridit", arms::ridit),
    ("shadow_agreement", arms::shadow_agreement),
    ("special_functions", special::special_functions),
    ("srm_sequential", engine::srm_sequential),
    ("two_proportion_z", arms::two_proportion_z),
];

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn folder() -> PathBuf {
    std::env::var_os("SERIN_STATS_FIXTURES").map_or_else(own_folder, PathBuf::from)
}

/// The fixture files of a folder by kind.
fn kinds_in(folder: &Path) -> BTreeMap<String, PathBuf> {
    std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

fn check_kind(kind: &str, path: &Path, answer: Answer) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let skipped: Vec<&str> = KEYS_NOT_COMPUTED
        .iter()
        .filter(|(of, _, _)| *of == kind)
        .map(|&(_, key, _)| key)
        .collect();
    let (mut compared, mut failures) = (0, Vec::new());
    let cases = file["cases"].as_array().expect("a list of cases");
    for (index, value) in cases.iter().enumerate() {
        let case = Case::new(value);
        let found = answer(&case);
        let mut fail = |what: String| {
            failures.push(format!("{kind}[{index}] {}: {what}", case.name()));
        };
        match (found, &value["expected"]) {
            (None, Value::Null) => compared += 1,
            (Some(_), Value::Null) => fail("a result where none is defined".to_owned()),
            (None, _) => fail("no result".to_owned()),
            (Some(found), expected) => {
                compared +=
                    answers::compare(&found, expected, &skipped, case.tolerance(), &mut fail);
            }
        }
    }
    (compared, failures)
}

#[test]
fn every_fixture_agrees() {
    let folder = folder();
    let (mut compared, mut failures) = (0, Vec::new());
    for (kind, path) in kinds_in(&folder) {
        if PENDING_KINDS.contains(&kind.as_str()) {
            continue;
        }
        match KINDS.iter().find(|(known, _)| *known == kind) {
            Some((_, answer)) => {
                let (count, wrong) = check_kind(&kind, &path, *answer);
                println!("{kind}: {count} values compared, {} wrong", wrong.len());
                if count == 0 {
                    failures.push(format!("{kind}: nothing was compared"));
                }
                compared += count;
                failures.extend(wrong);
            }
            None => failures.push(format!("{kind}: no test for this kind")),
        }
    }
    assert!(compared > 0, "no fixtures in {}", folder.display());
    assert!(
        failures.is_empty(),
        "{} of {compared} values:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_kind_has_its_file_in_the_repository() {
    let kinds = kinds_in(&own_folder());
    for (kind, _) in KINDS {
        assert!(kinds.contains_key(*kind), "{kind}.json is missing");
    }
    for pending in PENDING_KINDS {
        assert!(kinds.contains_key(*pending), "{pending}.json is missing");
        assert!(
            KINDS.iter().all(|(kind, _)| kind != pending),
            "{pending} is tested"
        );
    }
}
