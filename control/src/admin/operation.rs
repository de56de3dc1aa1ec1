//! From a verb in the path and a JSON body to a [`Command`].
//!
//! Strict like the configuration: unknown members, a member that the verb does not take, and a weight without
//! a unit are errors that say what to write.

use serde::Deserialize;
use serde_json::Value;
use serin_config::units;

use super::problem::Problem;
use crate::rollout::{Command, Verb};

/// Of a reason, in bytes: it goes into the journal.
const MAX_REASON: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOperation {
    reason: Option<String>,
    weight: Option<Value>,
    full: Option<bool>,
}

/// Whether there is such a verb.
pub(super) fn is_verb(name: &str) -> bool {
    matches!(
        name,
        "promote" | "pause" | "resume" | "abort" | "retry" | "set-weight" | "approve" | "undo"
    )
}

/// Reads an operation.
///
/// # Errors
/// 400 with what to write instead.
pub(super) fn read(verb: &str, body: &[u8], actor: String) -> Result<Command, Problem> {
    let raw = if body.trim_ascii().is_empty() {
        RawOperation::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body: {error}")))?
    };
    let reason = raw.reason;
    if reason
        .as_ref()
        .is_some_and(|reason| reason.len() > MAX_REASON)
    {
        return Err(Problem::bad_request(format!(
            "reason: expected at most {MAX_REASON} bytes"
        )));
    }
    if raw.weight.is_some() && verb != "set-weight" {
        return Err(Problem::bad_request(format!("{verb} takes no weight")));
    }
    if raw.full.is_some() && verb != "promote" {
        return Err(Problem::bad_request(format!("{verb} takes no full")));
    }
    let verb = match verb {
        "promote" => Verb::Promote {
            full: raw.full.unwrap_or_default(),
        },
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "abort" => Verb::Abort,
        "retry" => Verb::Retry,
        "approve" => Verb::Approve,
        "undo" => Verb::Undo,
        "set-weight" => Verb::SetWeight(weight(raw.weight)?),
        other => return Err(Problem::not_found(other)),
    };
    Ok(Command {
        verb,
        reason: reason.and_then(|reason| one_line(&reason)),
        actor: Some(actor),
    })
}

/// A reason is shown in tables and on terminals: line breaks and control characters are spaces.
fn one_line(reason: &str) -> Option<String> {
    let words: Vec<&str> = reason
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn weight(given: Option<Value>) -> Result<f64, Problem> {
    match given {
        Some(Value::String(text)) => units::parse_fraction(&text)
            .map_err(|error| Problem::bad_request(format!("weight: found {text:?}, {error}"))),
        Some(Value::Number(number)) => Err(Problem::bad_request(format!(
            "weight: found {number}, expected a percentage with its unit, such as \"10%\""
        ))),
        Some(_) => Err(Problem::bad_request(
            "weight: expected a percentage such as \"10%\"",
        )),
        None => Err(Problem::bad_request(
            "weight is missing: expected {\"weight\": \"10%\"}",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verb: &str, body: &str) -> Result<Verb, u16> {
        read(verb, body.as_bytes(), "test".to_owned())
            .map(|command| command.verb)
            .map_err(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn operations() {
        for (verb, body, expected) in [
            ("pause", "", Ok(Verb::Pause)),
            ("pause", "{}", Ok(Verb::Pause)),
            ("abort", r#"{"reason":"smells"}"#, Ok(Verb::Abort)),
            ("promote", "{}", Ok(Verb::Promote { full: false })),
            (
                "promote",
                r#"{"full":true}"#,
                Ok(Verb::Promote { full: true }),
            ),
            (
                "set-weight",
                r#"{"weight":"10%"}"#,
                Ok(Verb::SetWeight(0.1)),
            ),
            ("set-weight", r#"{"weight":"0%"}"#, Ok(Verb::SetWeight(0.0))),
            ("set-weight", r#"{"weight":10}"#, Err(400)),
            ("set-weight", r#"{"weight":"10"}"#, Err(400)),
            ("set-weight", r#"{"weight":"101%"}"#, Err(400)),
            ("set-weight", r#"{"weight":"-1%"}"#, Err(400)),
            ("set-weight", r#"{"weight":"10pp"}"#, Err(400)),
            ("set-weight", "{}", Err(400)),
            ("pause", r#"{"weight":"10%"}"#, Err(400)),
            ("pause", r#"{"full":true}"#, Err(400)),
            ("pause", r#"{"why":"typo"}"#, Err(400)),
            ("pause", "[", Err(400)),
            ("pause", r#""pause""#, Err(400)),
        ] {
            assert_eq!(check(verb, body), expected, "{verb} {body}");
        }
        for (reason, kept) in [
            ("smells", Some("smells")),
            (" two\r\nlines\t", Some("two lines")),
            ("\u{1b}[2Jnothing to see", Some("[2Jnothing to see")),
            (" \n", None),
        ] {
            let body = serde_json::json!({"reason": reason}).to_string();
            let command = read("pause", body.as_bytes(), "test".to_owned()).unwrap();
            assert_eq!(command.reason.as_deref(), kept, "{reason:?}");
        }
        let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(1_001));
        assert_eq!(check("abort", &long), Err(400));
    }
}
