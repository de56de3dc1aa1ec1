//! What is wrong with a configuration file, said so that it can be mended without the manual.
//!
//! A finding names the place (file, line, column and the path of keys), what stands there, what should stand
//! there, and a suggestion where one is likely. Errors come all at once, in the order of the file: mending one
//! at a time is what makes people guess. The same shape serves warnings, which change nothing.

use std::fmt;

use serde::Serialize;

/// Errors shown of one file; the rest are only counted.
const SHOWN: usize = 100;

/// One finding at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// As the operator named it.
    pub file: String,
    /// From 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// From 1, in characters; 0 when the file as a whole is meant.
    pub column: u64,
    /// Keys and indices down to the place, such as `routes[0].rollout.weight`; empty at the top.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: String,
    /// A suggestion.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " found {}, expected {}", self.found, self.expected)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Every error of a configuration file, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    errors: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    /// Sorts the errors into the order of the file and keeps the first hundred.
    pub(crate) fn new(mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        let omitted = errors.len().saturating_sub(SHOWN);
        errors.truncate(SHOWN);
        Self { errors, omitted }
    }

    /// The errors, in the order of the file.
    #[must_use]
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// How many more there are than [`Self::errors`] lists.
    #[must_use]
    pub const fn omitted(&self) -> usize {
        self.omitted
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(error: Diagnostic) -> Self {
        Self::new(vec![error])
    }
}

/// One line for each error.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Text from the file as a message may show it: quoted, escaped, cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// `` did you mean `weight`? `` when one of the names is near enough.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    const FARTHEST: usize = 3;
    if written.len() > 64 {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    names
        .into_iter()
        .map(|name| {
            (
                strsim::osa_distance(&written, &name.to_ascii_lowercase()),
                name,
            )
        })
        .filter(|&(distance, name)| distance <= FARTHEST.min(name.chars().count() / 2))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line() {
        let mut finding = Diagnostic {
            file: "serin.yaml".into(),
            line: 12,
            column: 9,
            path: "routes[0].rollout.steps[1].weight".into(),
            found: "number 5".into(),
            expected: "a percentage such as \"5%\"".into(),
            hint: None,
        };
        assert_eq!(
            finding.to_string(),
            "serin.yaml:12:9: routes[0].rollout.steps[1].weight: found number 5, expected a percentage \
             such as \"5%\""
        );
        finding.hint = Some("did you mean `weight`?".into());
        assert!(finding.to_string().ends_with("; did you mean `weight`?"));
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["weight", "min_duration", "bake"];
        let near = |written| did_you_mean(written, names);
        assert_eq!(near("wieght").as_deref(), Some("did you mean `weight`?"));
        assert_eq!(
            near("min-duration").as_deref(),
            Some("did you mean `min_duration`?")
        );
        assert_eq!(near("colour"), None);
    }

    #[test]
    fn hostile_text_is_shown_tamed() {
        assert_eq!(quoted("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert!(quoted(&"x".repeat(10_000)).chars().count() < 70);
    }
}
