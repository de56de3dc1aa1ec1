//! `serin demo`: the main job, played in about a minute on loopback with everything real.
//!
//! Model servers, clients, the proxy and its control loop run in this process and talk HTTP. A good release
//! ramps to 100 %; then the configuration *file* is rewritten for a bad one, and the guardrails take it back.
//! Nothing here decides anything: what is told at the end was read from the admin API, from the clients and
//! from the model servers. Exit code 0 means that exactly this happened.

mod evidence;
mod load;
mod model_server;
mod random;
mod scenario;
mod stage;
mod story;

use std::time::Duration;

use clap::Args;

use super::{Answer, Failure};
use crate::logging;
use crate::signals::Signals;
use crate::term::{complain, print};

use evidence::Evidence;
use stage::Stage;
use story::Story;

/// For each of the two releases to come to its end.
const PATIENCE: Duration = Duration::from_secs(75);
/// Traffic that is watched after the rollback.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Watch a good release ramp up and a bad one be rolled back, in about a minute.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  serin demo
  serin demo --keep   leave it running, to look around with `serin status` or curl")]
pub(crate) struct Demo {
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Seed of users, latencies and faults.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Demo {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        logging::start("error");
        let mut signals = Signals::listen()?;
        let stage = Stage::build(self.seed).await?;
        let answer = tokio::select! {
            played = play(&stage) => played,
            () = signals.stop() => Err(Failure::no("interrupted")),
        };
        if self.keep && answer.is_ok() {
            print(&format!(
                "\nStill running. Try: serin status --admin {}\nConfiguration: {}\nCtrl-C ends it.\n",
                stage.admin_url(),
                stage.config_path().display(),
            ))?;
            signals.stop().await;
        }
        stage.strike().await;
        answer
    }
}

/// Both acts and the evidence.
async fn play(stage: &Stage) -> Result<Answer, Failure> {
    let mut story = Story::begin(stage)?;
    story.act(&format!(
        "Act 1: release 2 is good. {:.0} requests a second from heavy-tailed users; its share grows 10 → 25 → 50 → 100%.",
        load::RATE
    ))?;
    let good = story.follow(&stage.good, PATIENCE).await?;
    story.act(
        "Act 2: release 2 serves now, release 3 is next: the configuration file is rewritten under traffic.\n\
         Release 3 answers its first requests well and then begins to fail a quarter of them.",
    )?;
    stage.release_the_bad_one()?;
    let bad = story.follow(&stage.bad, PATIENCE).await?;
    stage.load.turn_the_page();
    tokio::time::sleep(AFTERWARDS).await;
    let evidence = Evidence {
        good: &good,
        bad: &bad,
        bad_account: stage.bad.server.account(),
        clients: stage.load.tally(),
        afterwards: stage.load.since_the_turn(),
    };
    print(&evidence.render())?;
    match evidence.shortfall() {
        None => Ok(Answer::Yes),
        Some(why) => {
            complain(&format!("serin: not as it should be: {why}"));
            Ok(Answer::No)
        }
    }
}
