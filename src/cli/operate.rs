//! What the operator verbs have in common: a word, a reason, one POST, and the rollout as it is afterwards.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::{Answer, Failure};
use crate::client::view::Status;
use crate::client::{AdminClient, AdminOptions, rollout_path};
use crate::term::{percent, print};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What every operator verb takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Operation {
    /// The rollout; may be left out when there is only one.
    #[arg(value_name = "ROLLOUT")]
    pub(crate) rollout: Option<String>,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How the rollout is printed afterwards.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Operation {
    /// Sends the verb with its own members, and prints the rollout as it is now.
    pub(crate) async fn send(
        self,
        admin: &AdminOptions,
        verb: &str,
        mut members: Map<String, Value>,
    ) -> Result<Answer, Failure> {
        let client = AdminClient::new(admin)?;
        let name = client.the_rollout(self.rollout.as_deref()).await?;
        if let Some(reason) = self.reason {
            members.insert("reason".to_owned(), Value::String(reason));
        }
        let answer = client
            .post(
                &rollout_path(&name, &format!("/{verb}")),
                &Value::Object(members),
            )
            .await?;
        print(&match self.output {
            Output::Json => format!("{answer:#}\n"),
            Output::Text => line(&name, &answer),
        })?;
        Ok(Answer::Yes)
    }
}

/// One line about the rollout: `digits: Paused at 25% (operator: release freeze)`.
fn line(name: &str, answer: &Value) -> String {
    let status: Status = serde_json::from_value(answer.clone()).unwrap_or_default();
    let reason = match status.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let share = percent(status.weight.actual);
    format!("{name}: {} at {share}{reason}\n", status.phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_is_now() {
        let answer = serde_json::json!({
            "phase": "Paused", "reason": "release freeze", "weight": {"desired": 0.25, "actual": 0.25}
        });
        assert_eq!(
            line("digits", &answer),
            "digits: Paused at 25% (release freeze)\n"
        );
    }
}
