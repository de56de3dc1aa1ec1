//! The file as a tree that remembers where everything stands.
//!
//! A derived reader stops at its first complaint and forgets positions. This one only asks YAML for its shape:
//! scalars keep whether they were text, a number or a boolean (quoting decides that), numbers keep their
//! spelling (`1.10` is not 1.1), mappings keep every pair, duplicates too. Judging is left to the walk.
//! Aliases and merge keys are expanded within tight bounds; a value stands where it was defined.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};

use crate::diagnostic::{Diagnostic, Diagnostics};

/// Nodes of one file, aliases expanded.
const MOST_NODES: usize = 100_000;
/// Mappings and sequences inside each other.
const DEEPEST: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// A place in the file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// As it stands in the file: empty, or `null` and its like.
    Nothing(String),
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// An unquoted number.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    /// As it stands in the file.
    pub(crate) spelled: String,
    /// Its value, when it is whole and not negative.
    pub(crate) whole: Option<u64>,
    /// Its value, rounded.
    pub(crate) real: f64,
}

/// One pair of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
}

/// Reads one YAML document. A syntax error ends it, so there is at most one.
pub(crate) fn read(text: &str, file: &str) -> Result<Node, Diagnostics> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MOST_NODES,
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options)
        .map(|raw| place(raw, text))
        .map_err(|error| syntax_error(&error, file).into())
}

/// The parser's complaint in our shape; its own position suffix is dropped.
fn syntax_error(error: &serde_yaml::Error, file: &str) -> Diagnostic {
    let error = error.without_snippet();
    let (line, column) = error
        .location()
        .map_or((1, 1), |place| (place.line(), place.column()));
    let message = error.to_string();
    let found = message
        .strip_suffix(&format!(" at line {line}, column {column}"))
        .unwrap_or(&message);
    Diagnostic {
        file: file.to_owned(),
        line,
        column,
        path: String::new(),
        found: format!("broken YAML ({found})"),
        expected: "one YAML document".to_owned(),
        hint: None,
    }
}

/// The shape alone, as the deserializer hands it over.
enum Raw {
    Nothing,
    Bool(bool),
    Number { whole: Option<u64>, real: f64 },
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

/// Adds places and spellings.
fn place(raw: Spanned<Raw>, text: &str) -> Node {
    let place_here = |raw| place(raw, text);
    let location = raw.defined;
    let value = match raw.value {
        Raw::Nothing => Value::Nothing(spelling(location, text).unwrap_or_default()),
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number { whole, real } => Value::Number(Number {
            spelled: spelling(location, text).unwrap_or_else(|| real.to_string()),
            whole,
            real,
        }),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(place_here).collect()),
        Raw::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| Entry {
                    key: place_here(key),
                    value: place_here(value),
                })
                .collect(),
        ),
    };
    let mark = Mark {
        line: location.line().max(1),
        column: location.column().max(1),
    };
    Node { mark, value }
}

fn spelling(location: serde_yaml::Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let spelled = text.get(start..start.checked_add(length)?)?.trim();
    (!spelled.is_empty()).then(|| spelled.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        let real = value as f64;
        let whole = Some(value);
        Ok(Raw::Number { whole, real })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        let real = value as f64;
        let whole = u64::try_from(value).ok();
        Ok(Raw::Number { whole, real })
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        let real = value as f64;
        Ok(Raw::Number { whole: None, real })
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        let real = value as f64;
        Ok(Raw::Number { whole: None, real })
    }

    fn visit_f64<E>(self, real: f64) -> Result<Raw, E> {
        Ok(Raw::Number { whole: None, real })
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Map(pairs))
    }
}
