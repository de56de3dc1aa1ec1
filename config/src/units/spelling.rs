//! Units as they are written elsewhere: what was probably meant.

use super::split_number;

/// How units are written elsewhere, by a unit that stands for their kind.
const SPELLINGS: [(&str, &[(&str, &str)]); 4] = [
    (
        "s",
        &[
            ("ms", "ms"),
            ("msec", "ms"),
            ("millis", "ms"),
            ("s", "s"),
            ("sec", "s"),
            ("secs", "s"),
            ("second", "s"),
            ("seconds", "s"),
            ("m", "m"),
            ("min", "m"),
            ("mins", "m"),
            ("minute", "m"),
            ("minutes", "m"),
            ("h", "h"),
            ("hour", "h"),
            ("hours", "h"),
            ("d", "d"),
            ("day", "d"),
            ("days", "d"),
        ],
    ),
    (
        "%",
        &[("%", "%"), ("percent", "%"), ("pct", "%"), ("pp", "%")],
    ),
    ("pp", &[("pp", "pp"), ("points", "pp")]),
    (
        "KiB",
        &[
            ("b", "B"),
            ("k", "KiB"),
            ("kb", "KiB"),
            ("kib", "KiB"),
            ("m", "MiB"),
            ("mb", "MiB"),
            ("mib", "MiB"),
            ("g", "GiB"),
            ("gb", "GiB"),
            ("gib", "GiB"),
        ],
    ),
];

/// Spaces, capitals and other spellings of a unit, for those who were asked for one of these.
pub(super) fn hint(text: &str, units: &[&str]) -> Option<String> {
    let squeezed = text.replace(char::is_whitespace, "").to_ascii_lowercase();
    let (number, written) = split_number(&squeezed)?;
    let (_, meant) = units.iter().find_map(|unit| {
        let spelled = SPELLINGS.iter().find(|(named, _)| named == unit)?.1;
        spelled.iter().find(|(other, _)| *other == written)
    })?;
    Some(format!("write {number}{meant}"))
}
