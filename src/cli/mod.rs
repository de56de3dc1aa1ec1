//! The command line: one file a verb.
//!
//! A verb is offered when it works; the names of later ones are unknown here, so they end with exit code 2
//! like any other typo. Verbs that act on a running proxy go through [`client`](crate::client), so whatever
//! they do can be done with `curl` too.

mod abort;
mod approve;
mod check;
mod demo;
mod explain;
mod failure;
mod history;
mod operate;
mod pause;
mod plan;
mod promote;
mod resume;
mod retry;
mod run;
mod schema;
mod set_weight;
mod simulate;
mod status;
mod undo;

pub(crate) use failure::{Answer, Failure, exit_code};

use clap::{Parser, Subcommand};

use crate::client::AdminOptions;

/// Progressive delivery traffic router for model inference: a new release earns its traffic, and a bad one is
/// taken back by itself.
#[derive(Debug, Parser)]
#[command(
    name = "serin",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Start with:\n  serin demo                 a good and a bad release, in a minute\n  \
                  serin check -c serin.yaml  what a configuration would do\n  \
                  serin run -c serin.yaml    the proxy\n\n\
                  Exit codes: 0 good, 1 the answer is no, 2 wrong usage or configuration."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    admin: AdminOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Demo(demo::Demo),
    Check(check::Check),
    Plan(plan::Plan),
    Simulate(simulate::Simulate),
    Schema(schema::Schema),
    Status(status::StatusVerb),
    Promote(promote::Promote),
    Pause(pause::Pause),
    Resume(resume::Resume),
    Abort(abort::Abort),
    Retry(retry::Retry),
    Undo(undo::Undo),
    SetWeight(set_weight::SetWeight),
    Approve(approve::Approve),
    History(history::History),
    Explain(explain::Explain),
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<Answer, Failure> {
        let admin = &self.admin;
        match self.verb {
            Verb::Run(verb) => verb.run().await,
            Verb::Demo(verb) => verb.run().await,
            Verb::Check(verb) => verb.run(),
            Verb::Plan(verb) => verb.run(),
            Verb::Simulate(verb) => verb.run(),
            Verb::Schema(verb) => verb.run(),
            Verb::Status(verb) => verb.run(admin).await,
            Verb::Promote(verb) => verb.run(admin).await,
            Verb::Pause(verb) => verb.run(admin).await,
            Verb::Resume(verb) => verb.run(admin).await,
            Verb::Abort(verb) => verb.run(admin).await,
            Verb::Retry(verb) => verb.run(admin).await,
            Verb::Undo(verb) => verb.run(admin).await,
            Verb::SetWeight(verb) => verb.run(admin).await,
            Verb::Approve(verb) => verb.run(admin).await,
            Verb::History(verb) => verb.run(admin).await,
            Verb::Explain(verb) => verb.run(admin).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_verb_has_an_example() {
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            let help = verb.render_long_help().to_string();
            assert!(
                help.contains(&format!("\n  serin {name}")),
                "{name} shows no example:\n{help}"
            );
        }
        command.debug_assert();
    }

    #[test]
    fn wrong_usage_exits_2() {
        for words in [
            "serin",
            "serin explain digits x",
            "serin stauts",
            "serin status --output yaml",
            "serin set-weight",
            "serin check",
        ] {
            let error = Cli::try_parse_from(words.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}: {error}");
        }
    }

    #[test]
    fn the_rollout_may_be_left_out_before_a_weight() {
        for words in ["serin set-weight 10%", "serin set-weight digits 10%"] {
            let cli = Cli::try_parse_from(words.split(' ')).unwrap();
            let Verb::SetWeight(verb) = cli.verb else {
                panic!("{words}: another verb");
            };
            assert_eq!(verb.words().1, "10%", "{words}");
            assert_eq!(verb.words().0.is_some(), words.contains("digits"));
        }
    }

    #[test]
    fn the_admin_address_may_stand_anywhere() {
        for words in [
            "serin --admin http://h:1 status",
            "serin status --admin http://h:1",
        ] {
            let cli = Cli::try_parse_from(words.split(' ')).unwrap();
            assert_eq!(cli.admin.admin, "http://h:1");
        }
    }
}
