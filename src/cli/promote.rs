//! `serin promote`: takes one step up without waiting for it, or all of them.

use clap::Args;
use serde_json::{Map, Value};

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Take the next step now, or go to 100 % with --full.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  serin promote digits\n  serin promote digits --full --reason \"hotfix\""
)]
pub(crate) struct Promote {
    #[command(flatten)]
    operation: Operation,
    /// Go to 100 % at once.
    #[arg(long)]
    full: bool,
}

impl Promote {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        let mut members = Map::new();
        if self.full {
            members.insert("full".to_owned(), Value::Bool(true));
        }
        self.operation.send(admin, "promote", members).await
    }
}
