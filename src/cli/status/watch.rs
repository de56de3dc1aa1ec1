//! `serin status -w` and `--timeout`: asks again until there is nothing left to wait for.
//!
//! On a terminal the table is drawn in place. Elsewhere a line is written when the phase, the step or the
//! weight changes, so that a build's log tells the story without repeating it. With `--timeout` an admin API
//! that is not there yet is waited for as well: the job often starts before the proxy does.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{StatusVerb, answer, ask, read, show, table};
use crate::cli::operate::Output;
use crate::cli::{Answer, Failure};
use crate::client::view::Status;
use crate::client::{AdminClient, AskError};
use crate::term::{Colour, Paint, Screen, complain, is_terminal, print};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Longer waits than this are not told apart from forever.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Follows until the end, the timeout or an interruption; the answer is that of the last status seen.
pub(super) async fn follow(client: &AdminClient, verb: &StatusVerb) -> Result<Answer, Failure> {
    let deadline = Instant::now() + verb.timeout.unwrap_or(FOREVER).min(FOREVER);
    let mut viewer = Viewer::new(verb);
    let mut last: Result<Vec<Status>, AskError> = Ok(Vec::new());
    loop {
        tokio::select! {
            asked = look(client, verb, &mut viewer) => last = asked?,
            () = sleep_until(deadline) => break,
            _ = tokio::signal::ctrl_c() => break,
        }
        let over = match &last {
            Ok(statuses) => verb.timeout.is_some() && statuses.iter().all(Status::has_ended),
            Err(error) => !error.is_absence() || (verb.timeout.is_none() && !viewer.has_shown),
        };
        if over {
            break;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = sleep_until(deadline) => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    let timed_out = Instant::now() >= deadline;
    let statuses = last?;
    if !verb.watch {
        viewer.show_end(&statuses)?;
    }
    if timed_out && !statuses.iter().all(Status::has_ended) {
        complain("serin: not ended within --timeout");
    }
    answer(&statuses)
}

/// One question and what is shown of its answer; the inner error is the API's, the outer one our output's.
async fn look(
    client: &AdminClient,
    verb: &StatusVerb,
    viewer: &mut Viewer,
) -> Result<Result<Vec<Status>, AskError>, Failure> {
    let asked = ask(client, verb.rollout.as_deref()).await;
    let statuses = match asked {
        Ok(rollouts) => {
            let statuses = match read(&rollouts) {
                Ok(statuses) => statuses,
                Err(error) => return Ok(Err(error)),
            };
            viewer.show(&rollouts, &statuses)?;
            Ok(statuses)
        }
        Err(error) => {
            viewer.show_absence(&error)?;
            Err(error)
        }
    };
    Ok(statuses)
}

/// How changes are shown.
struct Viewer {
    style: Style,
    output: Output,
    last: Option<String>,
    has_shown: bool,
}

enum Style {
    /// Waits silently and shows the end.
    Quiet,
    /// A line for a change.
    Lines,
    /// The table, in its place.
    Live(Screen, Paint),
}

impl Viewer {
    fn new(verb: &StatusVerb) -> Self {
        let style = match (verb.watch, is_terminal(), verb.output) {
            (false, _, _) => Style::Quiet,
            (true, true, Output::Text) => Style::Live(Screen::default(), Paint::stdout()),
            (true, _, _) => Style::Lines,
        };
        Self {
            style,
            output: verb.output,
            last: None,
            has_shown: false,
        }
    }

    fn show(&mut self, rollouts: &[serde_json::Value], statuses: &[Status]) -> Result<(), Failure> {
        self.has_shown = true;
        match &mut self.style {
            Style::Quiet => {
                // The JSON of the end is printed as it was answered.
                self.last = Some(show(rollouts, self.output)?);
            }
            Style::Live(screen, paint) => {
                let tables: Vec<_> = statuses
                    .iter()
                    .map(|status| table::render(status, *paint))
                    .collect();
                screen.draw(&tables.join("\n"))?;
            }
            Style::Lines => {
                let key: Vec<_> = statuses.iter().map(change_key).collect();
                let key = key.join("\n");
                if self.last.as_ref() != Some(&key) {
                    print(&lines(rollouts, statuses, self.output))?;
                    self.last = Some(key);
                }
            }
        }
        Ok(())
    }

    fn show_absence(&mut self, error: &AskError) -> Result<(), Failure> {
        match &mut self.style {
            Style::Live(screen, paint) if self.has_shown => {
                Ok(screen.draw(&paint.paint(Colour::Bad, &error.to_string()))?)
            }
            Style::Live(..) | Style::Lines | Style::Quiet => Ok(()),
        }
    }

    fn show_end(&self, statuses: &[Status]) -> Result<(), Failure> {
        match &self.last {
            Some(text) if !statuses.is_empty() => Ok(print(text)?),
            _ => Ok(()),
        }
    }
}

/// What makes a new line worth writing: not the counts, which change all the time.
fn change_key(status: &Status) -> String {
    let verdicts: Vec<_> = status
        .guardrails
        .iter()
        .map(|guardrail| guardrail.verdict.as_str())
        .collect();
    format!(
        "{} {} {:?} {} {verdicts:?} {} {}",
        status.name,
        status.phase,
        status.step.map(|step| step.index),
        status.weight.actual,
        status.alarms.len(),
        status.config.refused.is_some(),
    )
}

fn lines(rollouts: &[serde_json::Value], statuses: &[Status], output: Output) -> String {
    match output {
        Output::Json => rollouts
            .iter()
            .map(|rollout| format!("{rollout}\n"))
            .collect(),
        Output::Text => statuses
            .iter()
            .map(|status| format!("{}\n", table::summary(status)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_alone_are_no_change() {
        let mut status = Status {
            name: "digits".to_owned(),
            phase: "Progressing".to_owned(),
            ..Status::default()
        };
        let before = change_key(&status);
        status.arms.canary.requests += 100;
        assert_eq!(change_key(&status), before);
        status.weight.actual = 0.25;
        assert_ne!(change_key(&status), before);
    }
}
