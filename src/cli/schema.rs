//! `serin schema`: the configuration's JSON Schema, for editors; the same as a page for people.

use clap::{Args, ValueEnum};

use super::{Answer, Failure};
use crate::term::print;

/// Print the JSON Schema of the configuration, for editors.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  serin schema > serin.schema.json\n  serin schema --output markdown"
)]
pub(crate) struct Schema {
    /// The schema itself, or every key with its values, default and meaning.
    #[arg(long, value_enum, default_value_t = Form::Json)]
    output: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Json,
    Markdown,
}

impl Schema {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        match self.output {
            Form::Json => print(&format!("{:#}\n", serin_config::json_schema()))?,
            Form::Markdown => print(&serin_config::markdown_reference())?,
        }
        Ok(Answer::Yes)
    }
}
