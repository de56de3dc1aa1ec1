//! `serin status`: how a rollout stands, and whether that is good.
//!
//! Exit code 0 means healthy and nothing else: a rollout that is still under way is not yet a yes. `--timeout`
//! waits for the end of it, `-w` shows the way there.

mod shadow;
pub(crate) mod table;
mod unit;
mod watch;

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::operate::Output;
use super::{Answer, Failure};
use crate::client::view::{ConfigState, Status};
use crate::client::{AdminClient, AdminOptions, AskError, rollout_path};
use crate::term::{Paint, complain, print};

/// Show how a rollout stands; exit code 0 only when it is healthy.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  serin status                       every rollout
  serin status digits -w             live
  serin status digits --timeout 30m  wait until healthy (exit 0) or taken back (exit 1)")]
pub(crate) struct StatusVerb {
    /// The rollout; may be left out when there is only one, else shows every one.
    rollout: Option<String>,
    /// Go on showing, until interrupted (or until the end, with --timeout).
    #[arg(short, long)]
    watch: bool,
    /// Wait this long for the rollout to be healthy, rolled back or aborted.
    #[arg(long, value_name = "DURATION", value_parser = serin_config::units::parse_duration)]
    timeout: Option<Duration>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl StatusVerb {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        let client = AdminClient::new(admin)?;
        if self.watch || self.timeout.is_some() {
            return watch::follow(&client, &self).await;
        }
        let rollouts = ask(&client, self.rollout.as_deref()).await?;
        print(&show(&rollouts, self.output)?)?;
        if rollouts.is_empty() {
            tell_refusal(&client, self.output).await?;
        }
        answer(&read(&rollouts)?)
    }
}

/// The JSON of the rollout named, or of every one.
async fn ask(client: &AdminClient, named: Option<&str>) -> Result<Vec<Value>, AskError> {
    match named {
        Some(name) => Ok(vec![client.get(&rollout_path(name, "")).await?]),
        None => client.rollouts().await,
    }
}

/// Rollouts tell of a configuration that was refused; where there are none, nobody else does.
async fn tell_refusal(client: &AdminClient, output: Output) -> Result<(), Failure> {
    let config: ConfigState = serde_json::from_value(client.get("/api/v1/config").await?)
        .map_err(|error| AskError::Malformed(error.to_string()))?;
    match (config.refused, output) {
        (Some(report), Output::Text) => print(&table::refusal(&report, Paint::stdout()))?,
        // The list stays what it is.
        (Some(report), Output::Json) => complain(&table::refusal(&report, Paint::plain())),
        (None, _) => {}
    }
    Ok(())
}

/// One rollout is printed as an object, named or not; several as a list.
fn show(rollouts: &[Value], output: Output) -> Result<String, Failure> {
    Ok(match (output, rollouts) {
        (Output::Json, [only]) => format!("{only:#}\n"),
        (Output::Json, rollouts) => format!("{:#}\n", Value::from(rollouts)),
        (Output::Text, rollouts) => {
            let paint = Paint::stdout();
            let tables: Vec<_> = read(rollouts)?
                .iter()
                .map(|status| table::render(status, paint))
                .collect();
            tables.join("\n")
        }
    })
}

fn read(rollouts: &[Value]) -> Result<Vec<Status>, AskError> {
    rollouts
        .iter()
        .map(|rollout| {
            serde_json::from_value(rollout.clone())
                .map_err(|error| AskError::Malformed(error.to_string()))
        })
        .collect()
}

/// Yes when every rollout asked about is healthy, and there is one.
fn answer(statuses: &[Status]) -> Result<Answer, Failure> {
    match statuses {
        [] => Err(Failure::no("there is no rollout")),
        statuses if statuses.iter().all(Status::is_healthy) => Ok(Answer::Yes),
        _ => Ok(Answer::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_healthy_is_yes() {
        let phase = |phase: &str| Status {
            phase: phase.to_owned(),
            ..Status::default()
        };
        assert_eq!(answer(&[phase("Healthy")]), Ok(Answer::Yes));
        for other in [
            "Pending",
            "Progressing",
            "Paused",
            "Baking",
            "RolledBack",
            "Aborted",
        ] {
            assert_eq!(answer(&[phase(other)]), Ok(Answer::No), "{other}");
        }
        assert_eq!(
            answer(&[phase("Healthy"), phase("Aborted")]),
            Ok(Answer::No)
        );
        assert_eq!(answer(&[]), Err(Failure::no("there is no rollout")));
    }

    #[test]
    fn one_rollout_is_an_object_in_json() {
        let rollout = |name: &str| serde_json::json!({"name": name});
        let one = show(&[rollout("digits")], Output::Json).unwrap();
        assert!(one.starts_with('{'), "{one}");
        let two = show(&[rollout("digits"), rollout("letters")], Output::Json).unwrap();
        assert!(two.starts_with('['), "{two}");
        assert_eq!(show(&[], Output::Json).unwrap(), "[]\n");
    }
}
