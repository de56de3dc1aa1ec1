//! The reference table, on a small scale: every cell is there, says what it has to say, and no cell on healthy
//! releases contradicts its target. The figures themselves are `serin simulate --suite`'s.
#![expect(clippy::unwrap_used, reason = "test support: a panic is a failed test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serin_control::simulation::suite::{Cell, Outcome, Sample, Target, cells};

/// How many runs each cell gets, by what is in its name; the first that fits.
const RUNS: [(&str, u64); 6] = [
    // Whole days and long stays, of which a run or two must do.
    ("24 h", 1),
    ("reaching", 2),
    ("merge", 1),
    ("A/A for 2 h", 5),
    ("A/A ramp", 6),
    ("", 9),
];

/// Standard errors by which a cell may miss its target before it contradicts it.
const BEYOND: f64 = 1.0;

fn runs(cell: &Cell) -> u64 {
    let fits = |(part, _): &&(&str, u64)| cell.name.contains(part);
    RUNS.iter().find(fits).map_or(1, |(_, runs)| *runs)
}

/// All runs of all cells on all cores, in the order of the cells.
fn outcomes(cells: &[Cell]) -> Vec<Outcome> {
    let jobs: Vec<(&Cell, u64)> = cells
        .iter()
        .flat_map(|cell| (0..runs(cell)).map(move |run| (cell, run)))
        .collect();
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut samples: Vec<(usize, Sample)> = thread::scope(|scope| {
        let worker = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((cell, run)) = jobs.get(at) else {
                    return mine;
                };
                mine.push((at, cell.sample(*run)));
            }
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    samples.sort_by_key(|(at, _)| *at);
    let mut samples = samples.into_iter().map(|(_, sample)| sample);
    cells
        .iter()
        .map(|cell| {
            let mine: Vec<Sample> = samples.by_ref().take(runs(cell) as usize).collect();
            cell.outcome(&mine).unwrap()
        })
        .collect()
}

/// Whether the figure is on the wrong side of its target, by more than chance explains.
fn contradicts(cell: &Cell, outcome: &Outcome) -> bool {
    let reach = BEYOND * outcome.ours.std_error;
    match cell.target {
        Target::AtMost(limit) => outcome.ours.value - reach > limit,
        Target::AtLeast(limit) => outcome.ours.value + reach < limit,
    }
}

#[test]
fn every_cell_has_its_figures_and_healthy_releases_keep_their_targets() {
    let cells = cells(1);
    let outcomes = outcomes(&cells);
    let names: BTreeSet<&str> = cells.iter().map(|cell| cell.name).collect();
    assert_eq!(names.len(), cells.len(), "names are told apart");
    let rows: [(&str, usize); 8] = [
        ("A/A for 2 h", 3),
        ("A/A ramp", 2),
        ("pp errors, canary requests", 4),
        ("fails all, canary requests", 1),
        ("TTFT", 1),
        ("healthy 24 h", 4),
        ("pp errors reaching", 2),
        ("merge", 1),
    ];
    for (part, expected) in rows {
        let found = names.iter().filter(|name| name.contains(part)).count();
        assert_eq!(found, expected, "cells named {part:?} of {names:?}");
    }
    let all: usize = rows.iter().map(|(_, cells)| cells).sum();
    assert_eq!(cells.len(), all, "{names:?}");

    for (cell, outcome) in cells.iter().zip(&outcomes) {
        println!(
            "{}: {} ± {} of {} runs, {:?}, naive {:?}",
            cell.name,
            outcome.ours.value,
            outcome.ours.std_error,
            outcome.runs,
            cell.target,
            outcome.naive.map(|naive| naive.value)
        );
        let name = cell.name;
        assert_eq!(outcome.runs as u64, runs(cell), "{name}");
        assert!(!outcome.ours.value.is_nan(), "{name}");
        assert!(outcome.ours.std_error >= 0.0, "{name}");
        assert_eq!(
            outcome.met,
            cell.target.is_met(outcome.ours.value),
            "{name}"
        );
        assert!(cell.conditions.contains("rps"), "{}", cell.conditions);
        if let Some(naive) = outcome.naive {
            assert!(!naive.value.is_nan(), "{name}");
        }
        if name.starts_with("A/A") || name.starts_with("merge") {
            assert!(!contradicts(cell, outcome), "{name}: {outcome:?}");
        }
    }
    let naive = |part: &str| {
        let of = cells.iter().zip(&outcomes);
        of.filter(|(cell, _)| cell.name.contains(part))
            .filter_map(|(_, outcome)| outcome.naive)
            .map(|figure| figure.value)
            .collect::<Vec<f64>>()
    };
    // The usual rule stands beside ours, and is as bad as the specification says.
    let rolled_back = naive("A/A for 2 h");
    assert_eq!(rolled_back.len(), 3);
    let sum: f64 = rolled_back.iter().sum();
    assert!(sum > 3.0 * 0.3, "{rolled_back:?}");
    assert_eq!(naive("fully promoted").len(), 1);
    assert_eq!(naive("TTFT").len(), 1);
    assert_eq!(naive("fails all, canary requests").len(), 1);
}

#[test]
fn a_figure_far_from_its_target_is_called_a_contradiction() {
    let cells = cells(1);
    let aa = &cells[0];
    assert_eq!(aa.target, Target::AtMost(0.05));
    let found = aa.outcome(&[aa.sample(0); 8]).unwrap();
    let with = |value: f64, std_error: f64| {
        let mut outcome = found;
        outcome.ours.value = value;
        outcome.ours.std_error = std_error;
        outcome
    };
    assert!(!contradicts(aa, &with(0.125, 0.12)), "one of eight");
    assert!(contradicts(aa, &with(0.5, 0.18)), "half of eight");
    let promoted = cells.iter().find(|cell| cell.name.contains("promoted"));
    let promoted = promoted.unwrap();
    assert!(contradicts(promoted, &with(0.5, 0.18)));
    assert!(!contradicts(promoted, &with(0.875, 0.12)));
}
