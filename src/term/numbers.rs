//! Numbers as people read them, in the units that the configuration is written in.

use std::time::Duration;

use serin_config::units::format_duration;

/// `9120` → `9,120`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a duration that people read: `1.5s`, `1m35s`, `27m`; `never` when infinite.
pub(crate) fn time(seconds: f64) -> String {
    let rounded = match seconds {
        _ if seconds < 10.0 => (seconds * 10.0).round() / 10.0,
        _ if seconds < 600.0 => seconds.round(),
        _ if seconds < 36_000.0 => (seconds / 60.0).round() * 60.0,
        _ => (seconds / 3600.0).round() * 3600.0,
    };
    Duration::try_from_secs_f64(rounded).map_or_else(|_| "never".to_owned(), format_duration)
}

/// About three significant digits, without an exponent and without trailing zeros.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor().clamp(-9.0, 2.0) as i32;
    let decimals = usize::try_from(2 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A fraction of 1 as `5%`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{}%", significant(fraction * 100.0))
}

/// A difference of two rates as `0.5pp`.
pub(crate) fn points(fraction: f64) -> String {
    format!("{}pp", significant(fraction * 100.0))
}

/// A number with its sign and unit; zero has none.
pub(crate) fn signed(value: f64, unit: &str) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}{unit}", significant(value))
}

/// A p-value: two digits, small ones as a power of ten.
pub(crate) fn p_value(p: f64) -> String {
    if p >= 0.995 {
        "1".to_owned()
    } else if p >= 0.01 {
        format!("{p:.2}")
    } else if p >= 0.0001 {
        format!("{p:.4}")
    } else if p > 0.0 {
        format!("{p:.1e}")
    } else {
        "<1e-300".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (9_120, "9,120"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn rates_keep_three_digits() {
        assert_eq!(percent(0.05), "5%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.0013), "0.13%");
        assert_eq!(percent(0.333_333), "33.3%");
        assert_eq!(percent(0.0), "0%");
        assert_eq!(points(0.005), "0.5pp");
        assert_eq!(signed(0.11, "pp"), "+0.11pp");
        assert_eq!(signed(-4.0, "ms"), "-4ms");
        assert_eq!(significant(1234.5), "1234");
        assert_eq!(significant(14.94), "14.9");
        assert_eq!(significant(100.0), "100");
    }

    #[test]
    fn times_are_as_exact_as_they_matter() {
        for (seconds, text) in [
            (0.0, "0s"),
            (1.26, "1.3s"),
            (95.4, "1m35s"),
            (1_000.0, "17m"),
            (f64::INFINITY, "never"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn p_values_never_read_as_certainty() {
        assert_eq!(p_value(0.999), "1");
        assert_eq!(p_value(0.41), "0.41");
        assert_eq!(p_value(0.0049), "0.0049");
        assert_eq!(p_value(3.14e-7), "3.1e-7");
        assert_eq!(p_value(0.0), "<1e-300");
    }
}
