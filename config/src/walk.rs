//! Walking the tree: readers that note every mistake and carry on.
//!
//! [`At`] is a node with the path that led to it. Its readers return nothing for what they had to refuse, and
//! the refusal is in the [`Report`] by then; callers carry on with a default, and the whole result is thrown
//! away at the end when the report holds an error. So one run finds all there is to find.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, choices, did_you_mean, quoted};
use crate::load::ContentHash;
use crate::tree::{Entry, Mark, Node, Value};
use crate::units::{self, UnitError};

/// What a walk has found so far.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    /// Where the paths of secrets start from.
    pub(crate) folder: PathBuf,
    pub(crate) errors: RefCell<Vec<Diagnostic>>,
    pub(crate) warnings: RefCell<Vec<Diagnostic>>,
    /// The files beside the configuration that it names, and what was read there.
    pub(crate) files: RefCell<Vec<(PathBuf, ContentHash)>>,
}

impl Report {
    pub(crate) fn new(file: &str, folder: PathBuf) -> Self {
        Self {
            file: file.to_owned(),
            folder,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            files: RefCell::default(),
        }
    }

    fn finding(&self, mark: Mark, path: &str, found: &str, expected: &str) -> Diagnostic {
        Diagnostic {
            file: self.file.clone(),
            line: mark.line,
            column: mark.column,
            path: path.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            hint: None,
        }
    }
}

/// The keys a mapping may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) known: &'static [&'static str],
    /// Known to the contract, not built yet: refused by name, never ignored.
    pub(crate) later: &'static [&'static str],
}

/// A node, the path to it, and where to report.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    node: &'a Node,
    /// Where the key of this value stands; the value's own place in lists.
    key: Mark,
    path: String,
    report: &'a Report,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self {
            node,
            key: node.mark,
            path: String::new(),
            report,
        }
    }

    pub(crate) fn report(&self) -> &'a Report {
        self.report
    }

    /// Notes an error at the value.
    pub(crate) fn refuse(&self, found: &str, expected: &str) {
        self.refuse_with(found, expected, None);
    }

    /// Notes an error at the value, with a suggestion.
    pub(crate) fn refuse_with(&self, found: &str, expected: &str, hint: Option<String>) {
        self.note(self.mark(), found, expected, hint);
    }

    /// Notes an error at the key: that it stands here at all is wrong.
    pub(crate) fn refuse_key(&self, found: &str, expected: &str, hint: Option<String>) {
        self.note(self.key, found, expected, hint);
    }

    fn note(&self, mark: Mark, found: &str, expected: &str, hint: Option<String>) {
        let mut finding = self.report.finding(mark, &self.path, found, expected);
        finding.hint = hint;
        self.report.errors.borrow_mut().push(finding);
    }

    /// An absent value has no place of its own.
    fn mark(&self) -> Mark {
        match &self.node.value {
            Value::Nothing(spelled) if spelled.is_empty() => self.key,
            _ => self.node.mark,
        }
    }

    /// Notes that the value here is of the wrong kind.
    pub(crate) fn unexpected(&self, expected: &str) {
        self.refuse(&self.described(), expected);
    }

    /// Notes that what stands here belongs to a part of the contract that isn't built yet.
    pub(crate) fn not_yet(&self, what: &str) {
        let found = format!("{what}, which is not supported yet");
        self.refuse_key(&found, "it to be left out", None);
    }

    /// Notes something that is allowed and probably not meant.
    pub(crate) fn warn(&self, found: &str, expected: &str) {
        let finding = self.report.finding(self.key, &self.path, found, expected);
        self.report.warnings.borrow_mut().push(finding);
    }

    /// The value as messages name it.
    pub(crate) fn described(&self) -> String {
        match &self.node.value {
            Value::Nothing(spelled) if spelled.is_empty() => "nothing".to_owned(),
            Value::Nothing(spelled) => format!("the unquoted {spelled}"),
            Value::Bool(value) => format!("the unquoted {value}"),
            Value::Number(number) => format!("number {}", number.spelled),
            Value::Text(text) => quoted(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether this is a mapping without a key.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.node.value, Value::Map(pairs) if pairs.is_empty())
    }

    /// Whether this is a mapping with that key, known or not.
    pub(crate) fn has_key(&self, name: &str) -> bool {
        let named = |entry: &Entry| matches!(&entry.key.value, Value::Text(key) if key == name);
        matches!(&self.node.value, Value::Map(pairs) if pairs.iter().any(named))
    }

    /// The line of the value.
    pub(crate) fn line(&self) -> u64 {
        self.mark().line
    }

    /// For a bare number: which unit to add.
    pub(crate) fn bare_number_hint(&self, units: &[&str]) -> Option<String> {
        match &self.node.value {
            Value::Number(number) => units::bare_number_hint(&number.spelled, units),
            _ => None,
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// The text here, if that is what stands here; nothing is noted otherwise.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text that isn't empty. Numbers and booleans are not text: YAML would change `1.10` to 1.1.
    pub(crate) fn text(&self, expected: &str) -> Option<&'a str> {
        let spelled = match &self.node.value {
            Value::Text(text) if !text.is_empty() => return Some(text),
            Value::Number(number) => number.spelled.as_str(),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Nothing(spelled) => spelled,
            Value::Text(_) | Value::List(_) | Value::Map(_) => "",
        };
        let hint = (!spelled.is_empty()).then(|| format!("put it in quotes: \"{spelled}\""));
        self.refuse_with(&self.described(), expected, hint);
        None
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        let hint = match self.as_text().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "on" | "true") => Some("write true".to_owned()),
            Some("no" | "off" | "false") => Some("write false".to_owned()),
            _ => None,
        };
        self.refuse_with(&self.described(), "true or false", hint);
        None
    }

    /// A whole number without unit.
    pub(crate) fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        if let Value::Number(number) = &self.node.value
            && let Some(whole) = number.whole.filter(|whole| range.contains(whole))
        {
            return Some(whole);
        }
        let (from, to) = (range.start(), range.end());
        self.unexpected(&match *to {
            u64::MAX => format!("a whole number of at least {from}"),
            _ => format!("a whole number from {from} to {to}"),
        });
        None
    }

    /// A number without unit.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match &self.node.value {
            Value::Number(number) => Some(number.real),
            _ => None,
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, among: &[(&str, T)]) -> Option<T> {
        let names = || among.iter().map(|(name, _)| *name);
        let written = self.as_text();
        let found = among.iter().find(|(name, _)| written == Some(name));
        if found.is_none() {
            let hint = written.and_then(|written| did_you_mean(written, names()));
            self.refuse_with(&self.described(), &choices(names()), hint);
        }
        found.map(|(_, value)| *value)
    }

    /// A value with a unit, read by one of [`units`]' readers.
    pub(crate) fn measured<T>(&self, parse: impl Fn(&str) -> Result<T, UnitError>) -> Option<T> {
        // A bare number goes through the same reader, whose refusal says which unit to add.
        let text = match &self.node.value {
            Value::Text(text) => text,
            Value::Number(number) => &number.spelled,
            Value::Nothing(_) | Value::Bool(_) | Value::List(_) | Value::Map(_) => "",
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse_with(&self.described(), &error.expected, error.hint);
                None
            }
        }
    }

    /// A duration longer than nothing.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let duration = self.measured(units::parse_duration)?;
        if duration.is_zero() {
            self.unexpected("a duration longer than 0s");
            return None;
        }
        Some(duration)
    }

    /// The items of a list that isn't empty and not absurdly long.
    pub(crate) fn items(&self, expected: &str, most: usize) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(items) if items.is_empty() => self.refuse("an empty list", expected),
            Value::List(items) if items.len() > most => {
                let found = format!("a list of {}", items.len());
                self.refuse(&found, &format!("at most {most} items"));
            }
            Value::List(items) => {
                let at = |(index, node): (usize, &'a Node)| Self {
                    node,
                    key: node.mark,
                    path: format!("{}[{index}]", self.path),
                    report: self.report,
                };
                return items.iter().enumerate().map(at).collect();
            }
            _ => self.unexpected(expected),
        }
        Vec::new()
    }

    /// The items of a list that may be empty.
    pub(crate) fn entries(&self, expected: &str, most: usize) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(items) if items.is_empty() => Vec::new(),
            _ => self.items(expected, most),
        }
    }

    /// A mapping with these keys at most.
    pub(crate) fn fields(&self, keys: Keys) -> Option<Fields<'a>> {
        let names = || keys.known.iter().copied();
        let mut fields = self.pairs(&format!("a mapping with {}", choices(names())))?;
        fields.entries.retain(|(name, at)| {
            let known = keys.known.contains(name);
            if keys.later.contains(name) {
                at.not_yet(&format!("`{name}`"));
            } else if !known {
                let hint = did_you_mean(name, names());
                at.refuse_key("an unknown key", &choices(names()), hint);
            }
            known
        });
        Some(fields)
    }

    /// A mapping with free keys, each once.
    pub(crate) fn pairs(&self, expected: &str) -> Option<Fields<'a>> {
        let Value::Map(pairs) = &self.node.value else {
            self.unexpected(expected);
            return None;
        };
        let mut entries: Vec<(&'a str, At<'a>)> = Vec::new();
        let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
        for Entry { key, value } in pairs {
            let path = |name: &str| match self.path.as_str() {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            let at = |path| Self {
                node: value,
                key: key.mark,
                path,
                report: self.report,
            };
            let Value::Text(name) = &key.value else {
                let key = Self {
                    node: key,
                    key: key.mark,
                    path: self.path.clone(),
                    report: self.report,
                };
                key.text("a key that is plain text");
                continue;
            };
            let at = at(path(&tamed(name)));
            if let Some(line) = lines.get(name.as_str()) {
                let expected = format!("each key once (first on line {line})");
                at.refuse_key("this key a second time", &expected, None);
                continue;
            }
            lines.insert(name, key.mark.line);
            entries.push((name, at));
        }
        Some(Fields {
            at: self.clone(),
            entries,
        })
    }
}

/// A key as a path may show it.
fn tamed(name: &str) -> String {
    let plain = |c: char| !c.is_control() && c != ' ';
    if name.len() <= 60 && !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A mapping whose keys have been looked at.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// The mapping itself.
    pub(crate) at: At<'a>,
    /// In the order of the file.
    pub(crate) entries: Vec<(&'a str, At<'a>)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&At<'a>> {
        let mut entries = self.entries.iter();
        entries.find(|(key, _)| *key == name).map(|(_, at)| at)
    }

    /// The value of a key that must be there.
    pub(crate) fn require(&self, name: &str, meaning: &str) -> Option<&At<'a>> {
        let at = self.get(name);
        if at.is_none() {
            self.at
                .refuse(&format!("no `{name}`"), &format!("`{name}`: {meaning}"));
        }
        at
    }

    /// The value of a key as read, or the default when there is none or it was refused.
    pub(crate) fn or<T>(
        &self,
        name: &str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> T {
        self.get(name).and_then(read).unwrap_or(default)
    }
}
