//! The forecast for people: a table of what each guardrail needs in each step, and how long the steps take.

use std::fmt::Write as _;

use serin_config::model::Metric;
use serin_control::forecast::{Ends, Never, StepForecast};

use super::Outlook;
use crate::term::{Align, Colour, Paint, Table, count, percent, points, significant, time};

/// The whole answer.
pub(super) fn whole(outlook: &Outlook, paint: Paint) -> String {
    let assumptions = &outlook.assumptions;
    let mut text = format!(
        "{}: {} requests a second, {} of baseline's failing, median latency {} ms, design effect {} in the long run\n\n",
        paint.paint(Colour::Strong, &outlook.spec.name),
        significant(assumptions.requests_per_second),
        percent(assumptions.error_rate),
        significant(assumptions.median_ms),
        significant(outlook.design_effect()),
    );
    text.push_str(&table(&outlook.steps).render(paint, "  "));
    text.push('\n');
    text.push_str(&durations(outlook, paint));
    text
}

fn table(steps: &[StepForecast]) -> Table {
    let mut table = Table::new(&[
        ("step", Align::Right),
        ("canary", Align::Right),
        ("guardrail", Align::Left),
        ("margin", Align::Right),
        ("proves: requests", Align::Right),
        ("time", Align::Right),
        ("finds: requests", Align::Right),
        ("time", Align::Right),
        ("found by the end", Align::Right),
    ]);
    for (index, step) in steps.iter().enumerate() {
        let (share, nothing) = if step.shadow > 0.0 {
            let copies = format!("shadow {}", percent(step.shadow));
            (copies, "copies, pair by pair")
        } else if step.ends == Ends::Never(Never::NothingActs) {
            (percent(step.share), "dry runs only")
        } else {
            (percent(step.share), "nothing to compare with")
        };
        let mut place = [(index + 1).to_string(), share];
        if step.guardrails.is_empty() {
            let [number, share] = place;
            let nothing = nothing.to_owned();
            let rest: [String; 6] = Default::default();
            let [a, b, c, d, e, f] = rest;
            table.row([number, share, nothing, a, b, c, d, e, f]);
            continue;
        }
        for guardrail in &step.guardrails {
            let [number, share] = std::mem::take(&mut place);
            let found = guardrail.detectable;
            table.row([
                number,
                share,
                guardrail.metric.name().to_owned(),
                amount(guardrail.metric, guardrail.margin),
                requests(guardrail.prove.canary_requests),
                time(guardrail.prove.seconds),
                requests(guardrail.detect.canary_requests),
                time(guardrail.detect.seconds),
                found.map_or_else(String::new, |found| amount(guardrail.metric, found)),
            ]);
        }
    }
    table
}

/// How long each step takes, and which don't end in time.
pub(super) fn durations(outlook: &Outlook, paint: Paint) -> String {
    if outlook.is_manual() {
        return by_hand(&outlook.steps);
    }
    let mut text = String::new();
    for (index, step) in outlook.steps.iter().enumerate() {
        if step.seconds.is_finite() {
            let _ = writeln!(text, "  {}", duration(index, step));
        }
        if let Some(warning) = outlook.warning(index, step) {
            let _ = writeln!(text, "  {} {warning}", paint.paint(Colour::Wait, "warning"));
        }
    }
    let all = outlook.seconds();
    let _ = if all.is_finite() {
        writeln!(text, "  in all about {}", time(all))
    } else {
        writeln!(text, "  in all: the end is not reached without `promote`")
    };
    text
}

fn duration(index: usize, step: &StepForecast) -> String {
    let copies = step.shadow > 0.0;
    format!(
        "step {} takes about {}{} ({} {}){}",
        index + 1,
        time(step.seconds),
        if step.requires_approval {
            " once it is approved"
        } else {
            ""
        },
        requests(step.canary_requests),
        if copies { "copies" } else { "canary requests" },
        if step.likely_seconds > step.seconds {
            format!("; four times in five at most {}", time(step.likely_seconds))
        } else {
            String::new()
        },
    )
}

/// A weight that is edited by hand: nothing is waited for, and guardrails act all the same.
fn by_hand(steps: &[StepForecast]) -> String {
    let proven = steps
        .iter()
        .filter(|step| !step.guardrails.is_empty() && step.seconds.is_finite());
    let mut text: String = proven
        .map(|step| {
            format!(
                "  at {} it is proven not worse after about {} ({} canary requests); four times in five within {}\n",
                percent(step.share),
                time(step.seconds),
                requests(step.canary_requests),
                time(step.likely_seconds),
            )
        })
        .collect();
    text.push_str(
        "  the weight is edited by hand: nothing raises it by itself, and a breach takes the canary back\n",
    );
    text
}

fn amount(metric: Metric, value: f64) -> String {
    if metric.is_rate() {
        points(value)
    } else {
        format!("{}ms", significant(value))
    }
}

fn requests(requests: f64) -> String {
    if requests.is_finite() {
        // What is a whole number but for rounding is not rounded up.
        count((requests - 1e-6).ceil().max(0.0) as u64)
    } else {
        "never".to_owned()
    }
}
