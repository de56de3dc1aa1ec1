//! `serin pause`: stops the ramp where it is. The weight stays; guardrails go on watching.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Hold the ramp at its present weight.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin pause digits --reason "release freeze""#)]
pub(crate) struct Pause {
    #[command(flatten)]
    operation: Operation,
}

impl Pause {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "pause", Map::new()).await
    }
}
