//! Cases, computed answers and their comparison with the expected values.

use serde_json::{Map, Value};

/// Relative tolerance of closed forms.
pub(crate) const CLOSED: f64 = 1e-10;
/// Relative tolerance of special functions and logarithms of probabilities.
pub(crate) const SPECIAL: f64 = 1e-8;
/// Relative tolerance of roots.
pub(crate) const ROOT: f64 = 1e-6;
/// A closed form may be off by this much in absolute terms: differences that cancel, zeros of the reference.
const CANCELLED: f64 = 1e-13;

/// One case of a fixture file.
pub(crate) struct Case<'a> {
    value: &'a Value,
}

impl<'a> Case<'a> {
    pub(crate) fn new(value: &'a Value) -> Self {
        Self { value }
    }

    pub(crate) fn name(&self) -> &str {
        self.value["name"].as_str().unwrap_or("?")
    }

    /// The tolerance that the case itself states.
    pub(crate) fn tolerance(&self) -> Option<f64> {
        self.value.get("tolerance").map(number)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value["input"].get(key).is_some()
    }

    pub(crate) fn expects(&self, key: &str) -> bool {
        self.value["expected"].get(key).is_some()
    }

    pub(crate) fn input(&self, key: &str) -> &'a Value {
        self.value["input"]
            .get(key)
            .unwrap_or_else(|| panic!("{}: no input {key}", self.name()))
    }

    pub(crate) fn f64(&self, key: &str) -> f64 {
        number(self.input(key))
    }

    pub(crate) fn u64(&self, key: &str) -> u64 {
        count(self.input(key))
    }

    pub(crate) fn f64s(&self, key: &str) -> Vec<f64> {
        list(self.input(key)).iter().map(number).collect()
    }

    pub(crate) fn u64s(&self, key: &str) -> Vec<u64> {
        list(self.input(key)).iter().map(count).collect()
    }

    pub(crate) fn table(&self, key: &str) -> Vec<Vec<u64>> {
        list(self.input(key))
            .iter()
            .map(|row| list(row).iter().map(count).collect())
            .collect()
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {value}"))
}

/// A number; infinities and NaN are written as strings.
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        _ => value
            .as_f64()
            .unwrap_or_else(|| panic!("a number, not {value}")),
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| {
        let float = number(value);
        assert!(float >= 0.0 && float.fract() == 0.0, "a count, not {value}");
        float as u64
    })
}

/// A computed value.
pub(crate) enum Answer {
    Number(Option<f64>, Tolerance),
    Numbers(Vec<Option<f64>>, Tolerance),
    Flag(bool),
    Flags(Vec<bool>),
    Text(String),
    Nested(Answers),
}

#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    relative: f64,
    absolute: f64,
}

/// Computed values by the key that expects them.
#[derive(Default)]
pub(crate) struct Answers(Vec<(&'static str, Answer)>);

impl Answers {
    fn with(mut self, key: &'static str, answer: Answer) -> Self {
        self.0.push((key, answer));
        self
    }

    /// A closed form: [`CLOSED`], or [`CANCELLED`] in absolute terms.
    pub(crate) fn number(self, key: &'static str, value: impl Into<Option<f64>>) -> Self {
        self.within(key, value, CLOSED, CANCELLED)
    }

    /// A value that may be extremely small, compared in relative terms only: [`SPECIAL`].
    pub(crate) fn tail(self, key: &'static str, value: impl Into<Option<f64>>) -> Self {
        self.within(key, value, SPECIAL, 0.0)
    }

    /// A value with stated tolerances.
    pub(crate) fn within(
        self,
        key: &'static str,
        value: impl Into<Option<f64>>,
        relative: f64,
        absolute: f64,
    ) -> Self {
        self.with(
            key,
            Answer::Number(value.into(), Tolerance { relative, absolute }),
        )
    }

    /// Closed forms in a list.
    pub(crate) fn numbers(self, key: &'static str, values: &[f64]) -> Self {
        self.list_within(
            key,
            values.iter().map(|&value| Some(value)),
            CLOSED,
            CANCELLED,
        )
    }

    /// A list with stated tolerances.
    pub(crate) fn list_within(
        self,
        key: &'static str,
        values: impl IntoIterator<Item = Option<f64>>,
        relative: f64,
        absolute: f64,
    ) -> Self {
        let values = values.into_iter().collect();
        self.with(
            key,
            Answer::Numbers(values, Tolerance { relative, absolute }),
        )
    }

    /// The two ends of an interval.
    pub(crate) fn interval(
        self,
        key: &'static str,
        ends: serin_stats::proportion::Interval,
    ) -> Self {
        self.numbers(key, &[ends.low, ends.high])
    }

    pub(crate) fn flag(self, key: &'static str, value: bool) -> Self {
        self.with(key, Answer::Flag(value))
    }

    pub(crate) fn flags(self, key: &'static str, values: Vec<bool>) -> Self {
        self.with(key, Answer::Flags(values))
    }

    pub(crate) fn text(self, key: &'static str, value: impl Into<String>) -> Self {
        self.with(key, Answer::Text(value.into()))
    }

    pub(crate) fn nested(self, key: &'static str, value: Self) -> Self {
        self.with(key, Answer::Nested(value))
    }
}

/// Compares every expected key; returns how many values were compared.
pub(crate) fn compare(
    found: &Answers,
    expected: &Value,
    skipped: &[&str],
    stated: Option<f64>,
    fail: &mut dyn FnMut(String),
) -> usize {
    let Some(expected) = expected.as_object() else {
        fail(format!("expected an object, not {expected}"));
        return 0;
    };
    keys(found, expected, "", skipped, stated, fail)
}

fn keys(
    found: &Answers,
    expected: &Map<String, Value>,
    path: &str,
    skipped: &[&str],
    stated: Option<f64>,
    fail: &mut dyn FnMut(String),
) -> usize {
    let mut compared = 0;
    for (key, wanted) in expected {
        let path = format!("{path}{key}");
        match found.0.iter().find(|(name, _)| name == key) {
            Some((_, Answer::Nested(inner))) if wanted.is_object() => {
                let wanted = wanted.as_object().unwrap();
                compared += keys(inner, wanted, &format!("{path}."), skipped, stated, fail);
            }
            Some((_, answer)) => {
                compared += 1;
                if let Err(difference) = agree(answer, wanted, stated) {
                    fail(format!("{path}: {difference}"));
                }
            }
            None if skipped.contains(&path.as_str()) => {}
            None => fail(format!("{path}: nothing computes this key")),
        }
    }
    compared
}

fn agree(answer: &Answer, wanted: &Value, stated: Option<f64>) -> Result<(), String> {
    match answer {
        Answer::Number(value, tolerance) => close(*value, wanted, *tolerance, stated),
        Answer::Numbers(values, tolerance) => {
            let list = wanted
                .as_array()
                .ok_or_else(|| format!("a list for {wanted}"))?;
            let list = flat(list);
            if list.len() != values.len() {
                return Err(format!("{} values for {}", values.len(), list.len()));
            }
            for (at, (&value, wanted)) in values.iter().zip(list).enumerate() {
                close(value, wanted, *tolerance, stated).map_err(|why| format!("[{at}] {why}"))?;
            }
            Ok(())
        }
        Answer::Flag(value) => equal(&Value::Bool(*value), wanted),
        Answer::Flags(values) => equal(
            &values.iter().map(|&value| Value::Bool(value)).collect(),
            wanted,
        ),
        Answer::Text(value) => equal(&Value::String(value.clone()), wanted),
        Answer::Nested(_) => Err(format!("an object for {wanted}")),
    }
}

/// The values of a list, or of a list of lists row by row.
fn flat(list: &[Value]) -> Vec<&Value> {
    list.iter()
        .flat_map(|item| match item {
            Value::Array(inner) => flat(inner),
            _ => vec![item],
        })
        .collect()
}

fn equal(value: &Value, wanted: &Value) -> Result<(), String> {
    if value == wanted {
        Ok(())
    } else {
        Err(format!("{value} for {wanted}"))
    }
}

fn close(
    value: Option<f64>,
    wanted: &Value,
    tolerance: Tolerance,
    stated: Option<f64>,
) -> Result<(), String> {
    let value = match (value, wanted) {
        (None, Value::Null) => return Ok(()),
        // The reference library has no value either.
        (None, Value::String(text)) if text == "nan" => return Ok(()),
        (Some(value), wanted) if wanted.is_number() || wanted.is_string() => value,
        (value, wanted) => return Err(format!("{value:?} for {wanted}")),
    };
    let wanted = number(wanted);
    let relative = stated.unwrap_or(tolerance.relative);
    // Equality first, for infinities.
    if value == wanted || (value - wanted).abs() <= relative * wanted.abs() + tolerance.absolute {
        Ok(())
    } else {
        Err(format!(
            "{value:e} for {wanted:e}, off by {:e}",
            (value - wanted) / wanted
        ))
    }
}
