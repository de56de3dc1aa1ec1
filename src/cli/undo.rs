//! `serin undo`: takes the last operator command back.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Take the last operator command back.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin undo digits"#)]
pub(crate) struct Undo {
    #[command(flatten)]
    operation: Operation,
}

impl Undo {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "undo", Map::new()).await
    }
}
