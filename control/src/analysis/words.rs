//! Numbers in sentences.

/// 9120 → "9,120".
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 1,873 → "~1,900": two digits are all a forecast is good for.
pub(super) fn about(n: u64) -> String {
    let scale = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    let rounded = n.saturating_add(scale / 2) / scale * scale;
    format!("~{}", grouped(rounded))
}

/// "1 user", "2 users".
pub(super) fn counted(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(n))
}

/// 0.0123 → "1.23 %".
pub(super) fn percent(rate: f64) -> String {
    format!("{} %", trimmed(rate * 100.0))
}

/// 0.0123 → "+1.23 pp".
pub(super) fn points(diff: f64) -> String {
    let sign = if diff < 0.0 { "" } else { "+" };
    format!("{sign}{} pp", trimmed(diff * 100.0))
}

/// 812.4 → "812 ms".
pub(super) fn milliseconds(ms: f64) -> String {
    format!("{} ms", trimmed(ms))
}

/// A p-value with two digits, never a plain 0.
pub(super) fn p_value(p: f64) -> String {
    if p <= 0.0 {
        "below 1e-300".to_owned()
    } else if p < 0.001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.2}")
            .parse::<f64>()
            .ok()
            .filter(|&rounded| rounded > 0.0)
            .map_or_else(|| format!("{p:.4}"), |_| format!("{p:.3}"))
    }
}

/// About three digits.
fn trimmed(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(about(1_873), "~1,900");
        assert_eq!(about(7), "~7");
        assert_eq!(about(0), "~0");
        assert_eq!(counted(1, "user"), "1 user");
        assert_eq!(percent(0.0123), "1.23 %");
        assert_eq!(points(-0.004), "-0.40 pp");
        assert_eq!(p_value(0.0), "below 1e-300");
        assert_eq!(p_value(2.34e-9), "2.3e-9");
        assert_eq!(p_value(0.0246), "0.025");
    }
}
