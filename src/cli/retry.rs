//! `serin retry`: gives a release that was taken back another chance. The only way back from `RolledBack`
//! and `Aborted`, short of a new release.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Start a rolled-back or aborted release again at its first step.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin retry digits --reason "feature store was down""#)]
pub(crate) struct Retry {
    #[command(flatten)]
    operation: Operation,
}

impl Retry {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "retry", Map::new()).await
    }
}
