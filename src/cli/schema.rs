//! `serin schema`: the configuration's JSON Schema, for editors.

use clap::Args;

use super::{Answer, Failure};
use crate::term::print;

/// Print the JSON Schema of the configuration, for editors.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  serin schema > serin.schema.json")]
pub(crate) struct Schema {}

impl Schema {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        print(&format!("{:#}\n", serin_config::json_schema()))?;
        Ok(Answer::Yes)
    }
}
