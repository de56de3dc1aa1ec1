//! `serin history`: what was decided about a rollout, newest last.

use clap::Args;
use serde_json::Value;

use super::operate::Output;
use super::{Answer, Failure};
use crate::client::{AdminClient, AdminOptions, rollout_path};
use crate::term::{Align, Paint, Table, print};

/// Show what was decided about a rollout, newest last.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  serin history digits --limit 50")]
pub(crate) struct History {
    /// The rollout; may be left out when there is only one.
    rollout: Option<String>,
    /// The newest so many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl History {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        let client = AdminClient::new(admin)?;
        let name = client.the_rollout(self.rollout.as_deref()).await?;
        let path = rollout_path(&name, &format!("/decisions?limit={}", self.limit));
        let decisions = client.get(&path).await?;
        print(&match self.output {
            Output::Json => format!("{decisions:#}\n"),
            Output::Text => table(&decisions).render(Paint::stdout(), ""),
        })?;
        Ok(Answer::Yes)
    }
}

fn table(decisions: &Value) -> Table {
    let mut table = Table::new(&[
        ("id", Align::Right),
        ("at", Align::Left),
        ("epoch", Align::Right),
        ("kind", Align::Left),
        ("recommendation", Align::Left),
        ("summary", Align::Left),
    ]);
    for decision in decisions.as_array().into_iter().flatten().rev() {
        table.row(
            ["id", "at", "epoch", "kind", "recommendation", "summary"].map(|member| match decision
                .get(member)
            {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            }),
        );
    }
    table
}
