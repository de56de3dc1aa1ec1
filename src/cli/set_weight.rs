//! `serin set-weight`: pauses the ramp and puts the canary's weight where the operator wants it.
//!
//! The weight is checked here too, so that a bare number is wrong usage (exit 2) before anything is asked.

use clap::Args;
use serde_json::{Map, Value};

use super::operate::Operation;
use super::{Answer, Failure};
use crate::client::AdminOptions;

/// Pause the ramp and set the canary's weight by hand.
#[derive(Args, Debug)]
#[command(
    allow_missing_positional = true,
    after_help = "Example:\n  serin set-weight digits 10% --reason \"look at it closely\""
)]
pub(crate) struct SetWeight {
    #[command(flatten)]
    operation: Operation,
    /// The canary's weight, with its unit: 10%.
    #[arg(value_name = "WEIGHT", required = true)]
    weight: String,
}

impl SetWeight {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        serin_config::units::parse_fraction(&self.weight)
            .map_err(|error| Failure::usage(format!("weight {}: {error}", self.weight)))?;
        let mut members = Map::new();
        members.insert("weight".to_owned(), Value::String(self.weight));
        self.operation.send(admin, "set-weight", members).await
    }
}

#[cfg(test)]
impl SetWeight {
    /// What was typed: rollout and weight.
    pub(super) fn words(&self) -> (Option<&str>, &str) {
        (self.operation.rollout.as_deref(), &self.weight)
    }
}
