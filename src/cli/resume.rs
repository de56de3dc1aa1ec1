//! `serin resume`: lets a paused ramp go on. After `set-weight` it goes on at the first step at or above the
//! weight that was set.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Let a paused ramp go on.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin resume digits"#)]
pub(crate) struct Resume {
    #[command(flatten)]
    operation: Operation,
}

impl Resume {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "resume", Map::new()).await
    }
}
