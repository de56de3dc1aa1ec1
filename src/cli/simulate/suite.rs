//! The reference table: every cell's figure beside its target and the usual rule's.

use serde_json::{Value, json};
use serin_control::simulation::suite::{Cell, Outcome, Target, Unit, cells};

use super::runs::spread;
use crate::cli::operate::Output;
use crate::cli::{Answer, Failure};
use crate::term::{Align, Colour, Paint, Table, count, percent, print, significant};

/// Runs it; the answer is no when a target is missed.
pub(super) fn run(runs: u32, seed: u64, output: Output) -> Result<Answer, Failure> {
    let (cells, runs) = (cells(seed), u64::from(runs));
    let samples = spread(runs * cells.len() as u64, |job| {
        let cell = cells.get((job / runs) as usize);
        cell.map(|cell| cell.sample(job % runs))
    });
    let samples: Vec<_> = samples.into_iter().flatten().collect();
    let table: Vec<(&Cell, Outcome)> = cells
        .iter()
        .zip(samples.chunks(runs as usize))
        .filter_map(|(cell, samples)| Some((cell, cell.outcome(samples)?)))
        .collect();
    print(&match output {
        Output::Text => text(&table, Paint::stdout()),
        Output::Json => format!("{:#}\n", json(&table)),
    })?;
    let all_met = table.iter().all(|(_, outcome)| outcome.met);
    Ok(if all_met { Answer::Yes } else { Answer::No })
}

fn json(table: &[(&Cell, Outcome)]) -> Value {
    let cells: Vec<Value> = table
        .iter()
        .map(|(cell, outcome)| {
            let (bound, target) = match cell.target {
                Target::AtMost(limit) => ("at most", limit),
                Target::AtLeast(limit) => ("at least", limit),
            };
            json!({
                "name": cell.name,
                "value": finite(outcome.ours.value),
                "std_error": finite(outcome.ours.std_error),
                "runs": outcome.runs,
                "target": target,
                "met": outcome.met,
                "naive": outcome.naive.and_then(|naive| finite(naive.value)),
                "bound": bound,
                "unit": cell.unit.name(),
                "conditions": cell.conditions,
            })
        })
        .collect();
    json!({ "cells": cells })
}

/// JSON knows no infinity: what never happened has no number.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn text(table: &[(&Cell, Outcome)], paint: Paint) -> String {
    let mut lines = Table::new(&[
        ("measure", Align::Left),
        ("value", Align::Right),
        ("±", Align::Right),
        ("target", Align::Right),
        ("", Align::Left),
        ("usual rule", Align::Right),
        ("runs", Align::Right),
        ("conditions", Align::Left),
    ]);
    for (cell, outcome) in table {
        let number = |value: f64| match cell.unit {
            _ if !value.is_finite() => "never".to_owned(),
            Unit::Share => percent(value),
            Unit::CanaryRequests => significant(value),
            Unit::Minutes => format!("{} min", significant(value)),
        };
        let target = match cell.target {
            Target::AtMost(limit) => format!("≤ {}", number(limit)),
            Target::AtLeast(limit) => format!("≥ {}", number(limit)),
        };
        let (word, colour) = if outcome.met {
            ("met", Colour::Good)
        } else {
            ("missed", Colour::Bad)
        };
        let naive = outcome.naive.map(|naive| number(naive.value));
        lines.painted([
            (cell.name.to_owned(), None),
            (number(outcome.ours.value), None),
            (number(outcome.ours.std_error), None),
            (target, None),
            (word.to_owned(), Some(colour)),
            (naive.unwrap_or_default(), None),
            (count(outcome.runs as u64), None),
            (cell.conditions.clone(), Some(Colour::Faint)),
        ]);
    }
    lines.render(paint, "")
}
