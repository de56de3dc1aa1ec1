//! `serin abort`: takes the canary back by hand. Works in every phase, and the release stays aborted until
//! `retry`.

use clap::Args;
use serde_json::Map;

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Take the canary back to 0 % at once.
#[derive(Args, Debug)]
#[command(after_help = r#"Example:
  serin abort digits --reason "wrong prompt""#)]
pub(crate) struct Abort {
    #[command(flatten)]
    operation: Operation,
}

impl Abort {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        self.operation.send(admin, "abort", Map::new()).await
    }
}
