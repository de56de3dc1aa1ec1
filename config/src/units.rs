//! Values with their unit: durations, percentages, percentage points, sizes, addresses.
//!
//! A unit is always written, because `timeout: 500` has cost enough outages. The same readers serve the
//! configuration file, the admin API and the command line, so `10%` means the same everywhere. Values come out
//! in the model's units: times as [`Duration`], rates and weights as fractions of 1, sizes in bytes.
//! The writers give back what the readers read.

mod spelling;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest duration that is taken.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const NANOS: [(&str, u128); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

const BYTES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Text that is no such value; says what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    /// What should have been written, with an example.
    pub expected: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnitError {}

/// `500ms`, `10s`, `1.5s`, `10m`, `2h`, `1h30m`, `1d`; up to 365 days.
///
/// # Errors
/// When the text is no duration or too long a one.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let refused = || refuse("a duration such as \"10s\"", text, &["s", "ms"]);
    let mut total: u128 = 0;
    let mut rest = text;
    let mut units = NANOS.as_slice();
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(refused)?;
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters).ok_or_else(refused)?;
        // Units go from large to small, each once.
        let place = units.iter().position(|(name, _)| *name == unit);
        let (size, smaller) = place
            .and_then(|place| units.get(place..))
            .and_then(<[_]>::split_first)
            .map(|((_, size), smaller)| (*size, smaller))
            .ok_or_else(refused)?;
        let nanos = scaled(number, size).ok_or_else(refused)?;
        total = total.checked_add(nanos).ok_or_else(refused)?;
        units = smaller;
        rest = after;
    }
    if text.is_empty() {
        return Err(refused());
    }
    let duration = u64::try_from(total).ok().map(Duration::from_nanos);
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| UnitError {
            expected: "a duration of at most 365d".to_owned(),
            hint: None,
        })
}

/// `5%` as 0.05; not negative, and without an upper bound.
///
/// # Errors
/// When the text is no percentage.
pub fn parse_percent(text: &str) -> Result<f64, UnitError> {
    hundredths(text, "%").ok_or_else(|| refuse("a percentage such as \"5%\"", text, &["%"]))
}

/// A weight: `0%` to `100%` as a fraction in [0, 1].
///
/// # Errors
/// When the text is no percentage, or more than `100%`.
pub fn parse_fraction(text: &str) -> Result<f64, UnitError> {
    let value = parse_percent(text)?;
    if value <= 1.0 {
        return Ok(value);
    }
    Err(UnitError {
        expected: "a percentage from 0% to 100%".to_owned(),
        hint: None,
    })
}

/// Percentage points: `0.5pp` as 0.005; at most `100pp`.
///
/// # Errors
/// When the text is no number of percentage points, or more than `100pp`.
pub fn parse_points(text: &str) -> Result<f64, UnitError> {
    let value = hundredths(text, "pp");
    value.filter(|value| *value <= 1.0).ok_or_else(|| {
        let expected = "percentage points such as \"0.5pp\", at most \"100pp\"";
        match text.strip_suffix('%') {
            Some(number) => UnitError {
                expected: expected.to_owned(),
                hint: Some(format!(
                    "a rate's increase is written in points: {number}pp"
                )),
            },
            None => refuse(expected, text, &["pp"]),
        }
    })
}

/// `1MiB`, `32KiB`, `1GiB`, `512B`, and the decimal `KB`, `MB`, `GB`; in bytes.
///
/// # Errors
/// When the text is no size.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let refused = || refuse("a size such as \"32KiB\"", text, &["KiB", "B"]);
    let (number, unit) = split_number(text).ok_or_else(refused)?;
    let (_, size) = BYTES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refused)?;
    scaled(number, u128::from(*size))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(refused)
}

/// `127.0.0.1:8080` or `[::1]:8080`.
///
/// # Errors
/// When the text is no IP address with a port.
pub fn parse_address(text: &str) -> Result<SocketAddr, UnitError> {
    text.parse().map_err(|_| {
        let hint = match text.rsplit_once(':') {
            Some(("" | "*", port)) => Some(format!("write 0.0.0.0:{port} for every interface")),
            Some(("localhost", port)) => Some(format!("write 127.0.0.1:{port}")),
            _ => None,
        };
        UnitError {
            expected: "an IP address and a port such as \"127.0.0.1:8080\"".to_owned(),
            hint,
        }
    })
}

/// The shortest text that [`parse_duration`] reads as this duration.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, size) in NANOS {
        let (count, rest) = (left / size, left % size);
        if unit == "ms" && rest > 0 {
            let decimals = format!("{rest:06}");
            text += &format!("{count}.{}ms", decimals.trim_end_matches('0'));
        } else if count > 0 {
            text += &format!("{count}{unit}");
        }
        left = rest;
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// A fraction of 1 as a percentage: 0.05 as `5%`.
#[must_use]
pub fn format_percent(fraction: f64) -> String {
    format!("{}%", format_hundredths(fraction))
}

/// A fraction of 1 as percentage points: 0.005 as `0.5pp`.
#[must_use]
pub fn format_points(fraction: f64) -> String {
    format!("{}pp", format_hundredths(fraction))
}

/// A size in the largest binary unit that holds it exactly.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    BYTES
        .iter()
        .filter(|(unit, _)| unit.ends_with("iB"))
        .find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, size)| format!("{}{unit}", bytes / size),
        )
}

/// What to write instead.
fn refuse(expected: &str, text: &str, units: &[&str]) -> UnitError {
    let hint = bare_number_hint(text, units).or_else(|| spelling::hint(text, units));
    UnitError {
        expected: expected.to_owned(),
        hint,
    }
}

/// For a bare number the units to choose from.
pub(crate) fn bare_number_hint(text: &str, units: &[&str]) -> Option<String> {
    let (number, rest) = split_number(text)?;
    let mut forms: Vec<String> = units.iter().map(|unit| format!("{text}{unit}")).collect();
    // A fraction of 1, as elsewhere: the percentage that it is comes first.
    let fraction = number
        .parse()
        .ok()
        .filter(|number| (0.0..1.0).contains(number));
    if let (Some(fraction), ["%"]) = (fraction.filter(|number| *number > 0.0), units) {
        forms.insert(0, format_percent(fraction));
    }
    rest.is_empty()
        .then(|| format!("write {}", forms.join(" or ")))
}

/// A plain decimal at the front, and what follows.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (digits(whole) && digits(decimals)).then_some((number, rest))
}

/// A plain decimal times a unit's size: `1.5` and 1024 are 1536; nothing when that is no whole number.
fn scaled(number: &str, size: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let decimals = decimals.trim_end_matches('0');
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let power = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let product = digits.checked_mul(size)?;
    product.is_multiple_of(power).then(|| product / power)
}

/// `5%` or `5pp` as 0.05, correctly rounded: the point moves in the text.
fn hundredths(text: &str, unit: &str) -> Option<f64> {
    let (number, rest) = split_number(text)?;
    let value: f64 = format!("{number}e-2").parse().ok()?;
    (rest == unit && value.is_finite()).then_some(value)
}

/// The shortest number that [`hundredths`] reads as this fraction.
fn format_hundredths(fraction: f64) -> String {
    let text = fraction.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let decimals = format!("{decimals:0<2}");
    let (moved, decimals) = decimals.split_at_checked(2).unwrap_or((&decimals, ""));
    let digits = format!("{whole}{moved}");
    let whole = match digits.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    match decimals {
        "" => whole.to_owned(),
        decimals => format!("{whole}.{decimals}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_micros() as f64 / 1e3);
        for (text, expected) in [
            ("50ms", 50.0),
            ("0.5ms", 0.5),
            ("10s", 1e4),
            ("1.5s", 1.5e3),
            ("10m", 6e5),
            ("2h", 7.2e6),
            ("1d", 8.64e7),
            ("1h30m", 5.4e6),
            ("1m1s1ms", 61_001.0),
            ("0s", 0.0),
            ("365d", 31_536_000_000.0),
        ] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5sec",
            "30m1h",
            "1s1s",
            "1e3s",
            ".5s",
            "5.s",
            "1.2.3s",
            "366d",
            "99999999999999999999999999999999999999999999d",
            "١s",
            "5µs",
            "inf",
            "5S",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_percent("5%"), Ok(0.05));
        assert_eq!(parse_percent("250%"), Ok(2.5));
        assert_eq!(parse_fraction("100%"), Ok(1.0));
        assert_eq!(parse_fraction("0.1%"), Ok(0.001));
        assert_eq!(parse_points("0.5pp"), Ok(0.005));
        for text in [
            "5", "%", "-5%", "5 %", "5%%", "5pp", "100.1%", "NaN%", "1e1%", "",
        ] {
            assert!(parse_fraction(text).is_err(), "{text}");
        }
        for text in ["5", "5%", "101pp", "-1pp", "pp"] {
            assert!(parse_points(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1MiB", 1 << 20),
            ("32KiB", 32 << 10),
            ("1GiB", 1 << 30),
            ("1.5KiB", 1536),
            ("1KB", 1000),
            ("2.5MB", 2_500_000),
            ("1GB", 1_000_000_000),
            ("17B", 17),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "1024",
            "1M",
            "1mib",
            "0.1KiB",
            "-1B",
            "99999999999999GiB",
            "",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let said = |error: UnitError| error.to_string();
        assert_eq!(
            parse_fraction("5").map_err(said),
            Err("expected a percentage such as \"5%\"; write 5%".to_owned())
        );
        assert_eq!(
            parse_duration("500").map_err(said),
            Err("expected a duration such as \"10s\"; write 500s or 500ms".to_owned())
        );
        assert_eq!(
            parse_points("0.5%").map_err(|error| error.hint),
            Err(Some(
                "a rate's increase is written in points: 0.5pp".to_owned()
            ))
        );
        for (error, hint) in [
            (parse_fraction("0.05").map(|_| ()), "write 5% or 0.05%"),
            (parse_fraction("0").map(|_| ()), "write 0%"),
            (parse_fraction("5 %").map(|_| ()), "write 5%"),
            (parse_fraction("5percent").map(|_| ()), "write 5%"),
            (parse_fraction("5pp").map(|_| ()), "write 5%"),
            (parse_points("0.5 PP").map(|_| ()), "write 0.5pp"),
            (parse_duration("10 s").map(|_| ()), "write 10s"),
            (parse_duration("10min").map(|_| ()), "write 10m"),
            (parse_duration("1.5 Hours").map(|_| ()), "write 1.5h"),
            (parse_size("1gib").map(|_| ()), "write 1GiB"),
            (parse_size("64k").map(|_| ()), "write 64KiB"),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.hint.as_deref(), Some(hint), "{error}");
        }
        for text in ["10w", "ten s", "-5s", "5 % of it"] {
            assert_eq!(parse_duration(text).unwrap_err().hint, None, "{text}");
        }
        assert!(
            parse_address(":8080").is_err_and(|error| error.to_string().contains("0.0.0.0:8080"))
        );
        assert!(parse_address("8080").is_err());
        assert!(parse_address("[::1]:8080").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in 0..LONGEST.as_nanos() as u64, bytes: u64, fraction in 0.0..=1.0) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            prop_assert_eq!(parse_fraction(&format_percent(fraction)), Ok(fraction));
            prop_assert_eq!(parse_points(&format_points(fraction)), Ok(fraction));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_percent(&text);
            let _ = parse_points(&text);
            let _ = parse_size(&text);
            let _ = parse_address(&text);
        }
    }
}
