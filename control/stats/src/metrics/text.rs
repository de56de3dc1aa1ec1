//! The page as Prometheus text (version 0.0.4).
//!
//! Names are translated as OpenTelemetry's compatibility rules say: dots become underscores, the unit and, for
//! counters, `_total` are appended.

use std::fmt::{Display, Write};

use super::{Buckets, Family, Kind, Metric, Page, Value};

impl Metric {
    /// Its name in Prometheus text.
    #[must_use]
    pub fn text_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            // Nothing, or an annotation in braces.
            _ => "",
        };
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

impl Page {
    /// The page as Prometheus text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            write_family(&mut out, family);
        }
        out
    }
}

fn write_family(out: &mut String, family: &Family) {
    let name = family.metric.text_name();
    let kind = match family.metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = family.metric.help;
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
    for sample in &family.samples {
        let labels = &sample.labels;
        match &sample.value {
            Value::Count(count) => write_sample(out, &name, labels, None, count),
            Value::Number(number) => write_sample(out, &name, labels, None, number),
            Value::Buckets(buckets) => write_buckets(out, &name, labels, buckets),
        }
    }
}

fn write_buckets(out: &mut String, name: &str, labels: &[(&str, String)], buckets: &Buckets) {
    let bucket = format!("{name}_bucket");
    let mut count = 0;
    for (at, values) in buckets.counts.iter().enumerate() {
        count += values;
        let bound = buckets.bounds.get(at).map(f64::to_string);
        let le = bound.as_deref().unwrap_or("+Inf");
        write_sample(out, &bucket, labels, Some(le), count);
    }
    write_sample(out, &format!("{name}_sum"), labels, None, buckets.sum);
    write_sample(out, &format!("{name}_count"), labels, None, count);
}

fn write_sample(
    out: &mut String,
    name: &str,
    labels: &[(&str, String)],
    le: Option<&str>,
    value: impl Display,
) {
    out.push_str(name);
    let labels = labels.iter().map(|(name, text)| (*name, text.as_str()));
    let mut separator = '{';
    for (name, text) in labels.chain(le.map(|le| ("le", le))) {
        out.push(separator);
        out.push_str(name);
        out.push_str("=\"");
        escape(out, text);
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    line(out, format_args!(" {value}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;

    #[test]
    fn names_are_spelled_as_promised() {
        for (metric, name) in [
            (
                &names::SERVER_DURATION,
                "http_server_request_duration_seconds",
            ),
            (
                &names::CLIENT_DURATION,
                "http_client_request_duration_seconds",
            ),
            (&names::ACTIVE_REQUESTS, "http_server_active_requests"),
            (&names::WEIGHT, "serin_weight"),
            (&names::REQUESTS, "serin_requests_total"),
            (&names::VERDICT, "serin_verdict"),
            (&names::EFFECT, "serin_effect"),
            (&names::SAMPLES, "serin_samples"),
            (&names::ROLLBACKS, "serin_rollbacks_total"),
            (&names::PHASE, "serin_phase"),
            (&names::CONFIG_RELOADS, "serin_config_reloads_total"),
            (&names::CONTROL_TICK, "serin_control_tick_seconds"),
        ] {
            assert_eq!(metric.text_name(), name);
        }
    }

    #[test]
    fn families_have_their_head_once_and_labels_are_escaped() {
        let mut page = Page::default();
        let family = page.family(&names::CONNECTIONS);
        family.add(&[], 1_u64);
        family.add(&[("a", "b\"\\\nc"), ("d", "")], 0.5);
        assert_eq!(
            page.to_text(),
            "# HELP serin_connections Client connections that are open.\n\
             # TYPE serin_connections gauge\nserin_connections 1\n\
             serin_connections{a=\"b\\\"\\\\\\nc\",d=\"\"} 0.5\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_in_text() {
        let mut page = Page::default();
        let buckets = Buckets {
            bounds: &[0.5, 1.0],
            counts: vec![2, 0, 1],
            sum: 2.75,
        };
        let family = page.family(&names::CONTROL_TICK);
        family.add(&[("route", "r")], buckets);
        let text = page.to_text();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "serin_control_tick_seconds_bucket{route=\"r\",le=\"0.5\"} 2",
                "serin_control_tick_seconds_bucket{route=\"r\",le=\"1\"} 2",
                "serin_control_tick_seconds_bucket{route=\"r\",le=\"+Inf\"} 3",
                "serin_control_tick_seconds_sum{route=\"r\"} 2.75",
                "serin_control_tick_seconds_count{route=\"r\"} 3",
            ]
        );
    }
}
