//! Prometheus' text format: one family at a time, its head once.

use std::fmt::{Display, Write};

/// Writes one metric family.
pub struct Family<'o> {
    out: &'o mut String,
    name: &'static str,
}

impl<'o> Family<'o> {
    /// Starts a family: its `HELP` and `TYPE` lines. `kind` is `counter`, `gauge` or `histogram`.
    pub fn start(out: &'o mut String, name: &'static str, kind: &str, help: &str) -> Self {
        line(out, format_args!("# HELP {name} {help}"));
        line(out, format_args!("# TYPE {name} {kind}"));
        Self { out, name }
    }

    /// Writes one sample. `suffix` is empty, or `_bucket`, `_sum`, `_count` in a histogram.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let mut separator = '{';
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (name, text) in labels {
            self.out.push(separator);
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(self.out, text);
            self.out.push('"');
            separator = ',';
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        line(self.out, format_args!(" {value}"));
    }
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

    #[test]
    fn label_values_are_escaped() {
        let mut out = String::new();
        let mut family = Family::start(&mut out, "serin_x", "gauge", "An x.");
        family.sample("", &[], 1);
        family.sample("", &[("a", "b\"\\\nc"), ("d", "")], 0.5);
        assert_eq!(
            out,
            "# HELP serin_x An x.\n# TYPE serin_x gauge\nserin_x 1\n\
             serin_x{a=\"b\\\"\\\\\\nc\",d=\"\"} 0.5\n"
        );
    }
}
