//! `serin undo`: takes a finished promotion back. Everybody gets the baseline again at once, and the release
//! stays there until `retry`.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Take a release back that had reached everybody: 100 % baseline, until `retry`.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin undo digits --reason "complaints since yesterday""#)]
pub(crate) struct Undo {
    #[command(flatten)]
    operation: Operation,
}

impl Undo {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "undo", Map::new()).await
    }
}
