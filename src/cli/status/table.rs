//! A rollout's status as text: where it stands and why, the arms side by side, every guardrail's verdict.

use std::time::Duration;

use super::shadow;
use super::unit::Unit;
use crate::client::view::{Arm, ClassicTest, Guardrail, Status};
use crate::term::{Align, Colour, Paint, Table, count, p_value, percent};
use serin_config::units::format_duration;

/// What stands where there is nothing to show.
const NOTHING: &str = "-";

/// The whole block, ending with a newline.
pub(crate) fn render(status: &Status, paint: Paint) -> String {
    let mut text = heading(status, paint);
    text.push('\n');
    text.push_str(&arms(status).render(paint, "  "));
    text.push_str(&shadow::render(&status.arms.shadow, paint));
    if !status.guardrails.is_empty() {
        text.push('\n');
        text.push_str(&guardrails(&status.guardrails).render(paint, "  "));
    }
    for alarm in &status.alarms {
        let since = alarm.since.as_deref();
        let since = since.map_or_else(String::new, |since| format!(" (since {since})"));
        let line = format!("alarm {}: {}{since}", alarm.kind, alarm.message);
        text.push_str(&format!("\n  {}", paint.paint(Colour::Bad, &line)));
    }
    if !status.alarms.is_empty() {
        text.push('\n');
    }
    if let Some(refused) = &status.config.refused {
        text.push('\n');
        text.push_str(&refusal(refused, paint));
    }
    text
}

/// The report about a configuration that is not in force.
pub(super) fn refusal(report: &str, paint: Paint) -> String {
    let title = paint.paint(
        Colour::Bad,
        "configuration on disk refused, the last good one is in force:",
    );
    let lines = report.lines().map(|line| format!("    {line}\n"));
    format!("  {title}\n{}", lines.collect::<String>())
}

/// One line, for a log of changes.
pub(crate) fn summary(status: &Status) -> String {
    let step = position(status).map_or_else(String::new, |step| format!(", {step}"));
    let reason = match status.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "{} {} at {}{step}{reason}",
        status.name,
        status.phase,
        percent(status.weight.actual)
    )
}

fn heading(status: &Status, paint: Paint) -> String {
    let name = paint.paint(Colour::Strong, &status.name);
    let phase = paint.paint(phase_colour(&status.phase), &status.phase);
    let mut text = format!("{name}  {phase}\n");
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let label = paint.paint(Colour::Faint, &format!("{label:<8}"));
            text.push_str(&format!("  {label}{value}\n"));
        }
    };
    line("why", &status.reason);
    line(
        "advice",
        status.recommendation.as_deref().unwrap_or_default(),
    );
    let step = position(status).map(|step| {
        let elapsed = status
            .step
            .map_or(0.0, |step| step.elapsed_s)
            .clamp(0.0, 1e9);
        format!(
            "{step}, for {}",
            format_duration(Duration::from_secs(elapsed as u64))
        )
    });
    line("step", step.as_deref().unwrap_or_default());
    let weight = status.weight;
    line(
        "weight",
        &format!(
            "{} in force, {} desired (epoch {})",
            percent(weight.actual),
            percent(weight.desired),
            status.epoch
        ),
    );
    text
}

/// `step 2 of 4 (25%)`.
fn position(status: &Status) -> Option<String> {
    let step = status.step.filter(|step| step.of > 0)?;
    let weight = if step.shadow > 0.0 {
        format!("shadow {}", percent(step.shadow))
    } else {
        percent(step.weight)
    };
    Some(format!("{} of {} ({weight})", step.index + 1, step.of))
}

fn phase_colour(phase: &str) -> Colour {
    match phase {
        "Healthy" => Colour::Good,
        "RolledBack" | "Aborted" => Colour::Bad,
        _ => Colour::Wait,
    }
}

fn arms(status: &Status) -> Table {
    let mut table = Table::new(&[
        ("arm", Align::Left),
        ("release", Align::Left),
        ("requests", Align::Right),
        ("errors", Align::Right),
        ("rejected", Align::Right),
        ("aborted", Align::Right),
        ("p50", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
    ]);
    let shadow = &status.arms.shadow;
    let copied = shadow.target.is_some().then_some(("shadow", &shadow.arm));
    let arms = [
        ("baseline", &status.arms.baseline),
        ("canary", &status.arms.canary),
    ];
    for (name, arm) in arms.into_iter().chain(copied) {
        table.row([
            name.to_owned(),
            arm.label(),
            count(arm.requests),
            errors(arm),
            count(arm.rejected),
            count(arm.aborted),
            milliseconds(arm.latency_ms.p50),
            milliseconds(arm.latency_ms.p95),
            milliseconds(arm.latency_ms.p99),
        ]);
    }
    table
}

fn errors(arm: &Arm) -> String {
    if arm.requests == 0 {
        return count(arm.errors);
    }
    let share = percent(arm.errors as f64 / arm.requests as f64);
    format!("{} ({share})", count(arm.errors))
}

fn guardrails(guardrails: &[Guardrail]) -> Table {
    let decides = |guardrail: &Guardrail| guardrail.classic.used_for_decisions;
    let label = if guardrails.iter().any(decides) {
        "fixed horizon, decides once"
    } else {
        "fixed horizon, not used"
    };
    let mut table = Table::new(&[
        ("guardrail", Align::Left),
        ("verdict", Align::Left),
        ("baseline", Align::Right),
        ("canary", Align::Right),
        ("effect", Align::Right),
        ("interval", Align::Left),
        ("allowed", Align::Right),
        ("p", Align::Right),
        (label, Align::Left),
    ]);
    for guardrail in guardrails {
        let unit = Unit::of(&guardrail.metric);
        let plain = |text: String| (text, None);
        table.painted([
            plain(name(guardrail)),
            (
                guardrail.verdict.clone(),
                verdict_colour(&guardrail.verdict),
            ),
            plain(shown(guardrail.baseline, |value| unit.value(value))),
            plain(shown(guardrail.canary, |value| unit.value(value))),
            plain(shown(guardrail.effect, |value| unit.difference(value))),
            plain(interval(guardrail, unit)),
            plain(shown(guardrail.max_increase, |value| unit.margin(value))),
            plain(shown(guardrail.p_value, p_value)),
            plain(classic(guardrail)),
        ]);
    }
    table
}

fn name(guardrail: &Guardrail) -> String {
    let dry_run = if guardrail.dry_run { " (dry run)" } else { "" };
    format!("{}{dry_run}", guardrail.metric)
}

fn verdict_colour(verdict: &str) -> Option<Colour> {
    match verdict {
        "Successful" => Some(Colour::Good),
        "Failed" | "Error" => Some(Colour::Bad),
        _ => None,
    }
}

fn interval(guardrail: &Guardrail, unit: Unit) -> String {
    match guardrail.interval {
        Some([Some(low), Some(high)]) => {
            format!("{} … {}", unit.difference(low), unit.difference(high))
        }
        _ => NOTHING.to_owned(),
    }
}

/// The fixed-horizon test of this metric with its effect sizes: shown always, decided upon when asked for.
fn classic(guardrail: &Guardrail) -> String {
    let unit = Unit::of(&guardrail.metric);
    let named = |name: &str, test: Option<ClassicTest>| {
        let test = test?;
        let mut text = format!("{name} p={}", p_value(test.p_value?));
        let auc = test.auc.map(|auc| format!("AUC {auc:.2}"));
        let shift = test.hodges_lehmann.or(test.effect);
        let sizes = [auc, shift.map(|shift| unit.difference(shift))];
        for size in sizes.into_iter().flatten() {
            text.push_str(", ");
            text.push_str(&size);
        }
        Some(text)
    };
    named("z", guardrail.classic.two_proportion_z)
        .or_else(|| named("MW", guardrail.classic.mann_whitney))
        .unwrap_or_else(|| NOTHING.to_owned())
}

fn shown(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), format)
}

fn milliseconds(value: Option<f64>) -> String {
    shown(value, |ms| Unit::Milliseconds.value(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the admin API's description.
    fn example() -> Status {
        serde_json::from_value(serde_json::json!({
            "name": "digits", "phase": "Progressing",
            "reason": "error_rate inconclusive: 412 of ~1,900 samples",
            "recommendation": "MONITOR_CLOSELY",
            "step": {"index": 1, "of": 5, "weight": 0.05, "elapsed_s": 32.1},
            "weight": {"desired": 0.05, "actual": 0.05}, "epoch": 3,
            "arms": {"baseline": {"release": {"model": "digits"}, "digest": "ab", "requests": 9120,
                "errors": 12, "rejected": 3, "aborted": 1,
                "latency_ms": {"p50": 8.1, "p95": 14.9, "p99": 22.0}}, "canary": {}, "shadow": {}},
            "guardrails": [
                {"metric": "error_rate", "verdict": "Inconclusive", "baseline": 0.0013, "canary": 0.0024,
                 "effect": 0.0011, "interval": [-0.004, 0.009], "max_increase": 0.005, "p_value": 0.41,
                 "samples": {"baseline": 9120, "canary": 412},
                 "classic": {"two_proportion_z": {"z": 0.6, "p_value": 0.55}, "mann_whitney": null}},
                {"metric": "latency_p95", "verdict": "Error", "baseline": 14.9, "canary": null,
                 "effect": null, "interval": null, "max_increase": 50.0, "p_value": null,
                 "classic": {"two_proportion_z": null, "mann_whitney": null}}],
            "config": {"loaded_at": "2026-01-01T00:00:00Z", "refused": "serin.yaml:1:1: found x"},
            "alarms": [{"kind": "journal_damaged", "message": "set aside", "since": "2026-01-01T00:00:00Z"}]
        }))
        .unwrap()
    }

    #[test]
    fn everything_is_shown_side_by_side() {
        let text = render(&example(), Paint::plain());
        for expected in [
            "digits  Progressing\n  why     error_rate inconclusive: 412 of ~1,900 samples\n",
            "  step    2 of 5 (5%), for 32s\n  weight  5% in force, 5% desired (epoch 3)\n",
            "  baseline  model=digits     9,120  12 (0.132%)         3        1  8.1ms  14.9ms  22ms\n",
            "  canary                         0            0         0        0      -       -     -\n",
            "  error_rate   Inconclusive     0.13%   0.24%  +0.11pp  -0.4pp … +0.9pp    0.5pp  0.41  z p=0.55\n",
            "  latency_p95  Error           14.9ms       -        -  -                   50ms     -  -\n",
            "\n  alarm journal_damaged: set aside (since 2026-01-01T00:00:00Z)\n",
            "refused, the last good one is in force:\n    serin.yaml:1:1: found x\n",
        ] {
            assert!(text.contains(expected), "missing {expected:?} in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn an_empty_status_is_shown_too() {
        let status: Status = serde_json::from_str("{}").unwrap();
        assert!(render(&status, Paint::plain()).contains("canary"));
        assert_eq!(
            summary(&example()),
            "digits Progressing at 5%, 2 of 5 (5%): error_rate inconclusive: 412 of ~1,900 samples"
        );
    }
}
