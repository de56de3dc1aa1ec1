//! `serin approve`: lets a waiting rollout enter its next step. For steps with `requires_approval`.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Enter the step that waits for a person.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin approve digits --reason "looked at the dashboards""#)]
pub(crate) struct Approve {
    #[command(flatten)]
    operation: Operation,
}

impl Approve {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "approve", Map::new()).await
    }
}
