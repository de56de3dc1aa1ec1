//! What would run, for people: who listens where, which requests go where, and how long the ramp takes at least.

use std::fmt::Write as _;
use std::time::Duration;

use serin_config::Loaded;
use serin_config::model::{
    Backend, Config, Guardrail, KeyFallback, KeySource, Match, MetricKind, OnBreach, Plan, Route,
    Step,
};
use serin_config::units::{format_duration, format_size};
use serin_control::forecast::FEWEST;

use super::{dwell, shortest};
use crate::term::{Align, Colour, Paint, Table, count, percent, points};

/// The whole answer.
pub(super) fn render(file: &str, loaded: &Loaded, paint: Paint) -> String {
    let mut text = format!("{} {file}\n\n", paint.paint(Colour::Good, "valid"));
    text.push_str(&process(&loaded.config).render(paint, ""));
    for route in &loaded.config.routes {
        text.push('\n');
        text.push_str(&describe(route, paint));
    }
    if loaded
        .config
        .routes
        .iter()
        .any(|route| route.rollout.is_some())
    {
        let state = loaded.config.state.display();
        let _ = write!(
            text,
            "\nThis process decides for its own traffic only. It remembers rollbacks in {state}:\n\
             keep that folder on a volume, or a restart elsewhere forgets them.\n"
        );
    }
    for warning in &loaded.warnings {
        let _ = write!(
            text,
            "\n{} {warning}\n",
            paint.paint(Colour::Wait, "warning")
        );
    }
    text
}

fn process(config: &Config) -> Table {
    let mut table = Table::new(&[("process", Align::Left), ("", Align::Left)]);
    let listeners: Vec<_> = config.listeners.iter().map(ToString::to_string).collect();
    table.row(["listen".into(), listeners.join(", ")]);
    let admin = &config.admin;
    let token = if admin.token.is_some() {
        " (token)"
    } else {
        ""
    };
    let tls = if admin.tls.is_some() { " (TLS)" } else { "" };
    table.row(["admin".into(), format!("{}{tls}{token}", admin.address)]);
    if let Some(probe) = config.probe {
        table.row(["probe".into(), probe.to_string()]);
    }
    table.row(["state".into(), config.state.display().to_string()]);
    let workers = config
        .workers
        .map_or_else(|| "auto".to_owned(), |workers| workers.to_string());
    table.row(["workers".into(), workers]);
    table
}

fn describe(route: &Route, paint: Paint) -> String {
    let kind = if route.rollout.is_some() {
        "rollout"
    } else {
        "route"
    };
    let mut text = format!("{kind} {}\n", paint.paint(Colour::Strong, &route.name));
    let _ = writeln!(text, "  match   {}", matches(&route.matcher));
    if route.canary.is_some() {
        let _ = writeln!(text, "  key     {}", key(route));
    }
    if let Some(copies) = copies(route) {
        let _ = writeln!(text, "  copies  {copies}");
    }
    text.push('\n');
    text.push_str(&arms(route).render(paint, "  "));
    if let Some(rollout) = &route.rollout {
        text.push('\n');
        match &rollout.plan {
            Plan::Steps(steps) => text.push_str(&ramp(steps).render(paint, "  ")),
            Plan::Manual(weight) => {
                let _ = writeln!(text, "  weight  {}, edited by hand", percent(*weight));
            }
        }
        if let Some(time) = shortest(&rollout.plan) {
            let _ = writeln!(text, "  in all  at least {}", format_duration(time));
        }
        text.push('\n');
        text.push_str(&guardrails(&rollout.guardrails).render(paint, "  "));
    }
    text
}

fn matches(matcher: &Match) -> String {
    let single = [
        ("host", &matcher.host),
        ("path", &matcher.path),
        ("path_prefix", &matcher.path_prefix),
        ("model", &matcher.model),
    ];
    let mut conditions: Vec<_> = single
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)))
        .collect();
    for (name, value) in &matcher.headers {
        conditions.push(format!("header {name}: {value}"));
    }
    match conditions.as_slice() {
        [] => "every request".to_owned(),
        conditions => conditions.join(", "),
    }
}

fn key(route: &Route) -> String {
    let mut sources: Vec<_> = route
        .routing_key
        .iter()
        .map(|source| match source {
            KeySource::Header(name) => format!("header {name}"),
            KeySource::Cookie(name) => format!("cookie {name}"),
            KeySource::Query(name) => format!("query {name}"),
            KeySource::JsonPointer(pointer) => format!("JSON pointer {pointer}"),
        })
        .collect();
    sources.push(
        match route.key_fallback {
            KeyFallback::Random => "at random",
            KeyFallback::ClientIp => "the client's address",
            KeyFallback::Reject => "400",
        }
        .to_owned(),
    );
    sources.join(", else ")
}

/// What is copied, to whom, and within which bounds.
fn copies(route: &Route) -> Option<String> {
    let plan = route.rollout.as_ref().map(|rollout| &rollout.plan);
    let in_steps = matches!(plan, Some(Plan::Steps(steps)) if steps.iter().any(Step::is_shadow));
    let standing = route.mirror.map(|mirror| {
        let target = match route.shadow {
            Some(_) => "the shadow",
            None => "the canary",
        };
        format!(
            "{} of baseline's requests to {target}",
            percent(mirror.share)
        )
    });
    let said = standing.or_else(|| in_steps.then(|| "in shadow steps only".to_owned()))?;
    let copying = &route.copying;
    Some(format!(
        "{said}; {}, bodies up to {}, at most {} at once",
        copying.methods.join(" "),
        format_size(copying.max_body as u64),
        copying.max_in_flight
    ))
}

fn arms(route: &Route) -> Table {
    let mut table = Table::new(&[
        ("arm", Align::Left),
        ("release", Align::Left),
        ("digest", Align::Left),
        ("endpoints", Align::Left),
    ]);
    let mut row = |name: &str, backend: &Backend| {
        let release = backend.release.as_ref();
        let fields = release.map_or_else(String::new, |release| {
            let fields: Vec<_> = release
                .fields
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            fields.join(" ")
        });
        let endpoints: Vec<_> = backend.endpoints.iter().map(ToString::to_string).collect();
        table.row([
            name.to_owned(),
            fields,
            release.map_or_else(String::new, |release| release.digest.to_string()),
            endpoints.join(" "),
        ]);
    };
    row("baseline", &route.baseline);
    if let Some(canary) = &route.canary {
        row("canary", canary);
    }
    if let Some(shadow) = &route.shadow {
        row("shadow", shadow);
    }
    table
}

fn ramp(steps: &[Step]) -> Table {
    let mut table = Table::new(&[
        ("step", Align::Right),
        ("weight", Align::Right),
        ("at least", Align::Right),
        ("canary requests or copies", Align::Right),
        ("", Align::Left),
    ]);
    for (index, step) in steps.iter().enumerate() {
        table.row([
            (index + 1).to_string(),
            if step.is_shadow() {
                format!("shadow {}", percent(step.shadow))
            } else {
                percent(step.weight)
            },
            format_duration(dwell(step)),
            count(wanted(step)),
            remarks(step),
        ]);
    }
    table
}

/// Without so many it is not left.
fn wanted(step: &Step) -> u64 {
    if step.is_shadow() {
        step.min_samples.max(1)
    } else {
        step.min_samples.max(FEWEST)
    }
}

fn remarks(step: &Step) -> String {
    let mut remarks = Vec::new();
    if step.requires_approval {
        remarks.push("waits for approval first".to_owned());
    }
    if let Some(bake) = step.bake {
        remarks.push(format!("bakes for {}", format_duration(bake)));
    }
    if step.holdback > 0.0 {
        remarks.push(format!(
            "{} of users stay on the baseline",
            percent(step.holdback)
        ));
    }
    if let Some(limit) = step.max_duration {
        remarks.push(format!("stuck after {}", format_duration(limit)));
    }
    remarks.join(", ")
}

fn guardrails(guardrails: &[Guardrail]) -> Table {
    let mut table = Table::new(&[
        ("guardrail", Align::Left),
        ("may be worse by", Align::Left),
        ("at most", Align::Right),
        ("on breach", Align::Left),
    ]);
    for guardrail in guardrails {
        let on_breach = match (guardrail.dry_run, guardrail.on_breach) {
            (true, _) => "shown only",
            (false, OnBreach::Rollback) => "rollback",
            (false, OnBreach::Hold) => "hold",
            (false, OnBreach::Warn) => "warn",
        };
        table.row([
            guardrail.metric.name().to_owned(),
            margin(guardrail),
            guardrail
                .max
                .map_or_else(String::new, |max| match guardrail.metric.kind() {
                    MetricKind::Rate => percent(max),
                    MetricKind::Latency { .. } => milliseconds(max),
                }),
            on_breach.to_owned(),
        ]);
    }
    table
}

fn margin(guardrail: &Guardrail) -> String {
    let absolute = guardrail
        .max_increase
        .absolute
        .map(|value| match guardrail.metric.kind() {
            MetricKind::Rate => points(value),
            MetricKind::Latency { .. } => milliseconds(value),
        });
    let relative = guardrail.max_increase.relative.map(percent);
    match (absolute, relative) {
        (Some(absolute), Some(relative)) => format!("{absolute} or {relative}, the larger"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "nothing".to_owned(),
    }
}

/// A limit or a margin, written as in the file.
fn milliseconds(value: f64) -> String {
    // Proven to be a time of at most a year.
    format_duration(Duration::try_from_secs_f64(value / 1000.0).unwrap_or(Duration::MAX))
}
