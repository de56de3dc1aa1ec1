//! Follows a release through the admin API until it ends, and shows the way: in place on a terminal, else a
//! line whenever something changed or a few seconds went by.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::scenario::ROLLOUT;
use super::stage::{Player, Stage};
use crate::cli::Failure;
use crate::cli::status::table;
use crate::client::rollout_path;
use crate::client::view::Status;
use crate::term::{Colour, Paint, Screen, count, is_terminal, percent, print};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Between two lines without a change.
const REMINDER: Duration = Duration::from_secs(2);

/// How a release ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// Of the model.
    pub(super) version: &'static str,
    /// The last status that was about it.
    pub(super) status: Status,
    /// From the first one.
    pub(super) took: Duration,
}

/// The telling.
pub(super) struct Story<'a> {
    stage: &'a Stage,
    paint: Paint,
    live: bool,
    began: Instant,
}

impl<'a> Story<'a> {
    /// Tells what is on.
    pub(super) fn begin(stage: &'a Stage) -> Result<Self, Failure> {
        let paint = Paint::stdout();
        print(&format!(
            "serin demo: everything on loopback, real HTTP. Admin API: {}\n",
            stage.admin_url()
        ))?;
        Ok(Self {
            stage,
            paint,
            live: is_terminal(),
            began: Instant::now(),
        })
    }

    /// Announces what comes.
    pub(super) fn act(&self, title: &str) -> Result<(), Failure> {
        Ok(print(&format!(
            "\n{}\n\n",
            self.paint.paint(Colour::Strong, title)
        ))?)
    }

    /// Follows one release until its rollout ends.
    pub(super) async fn follow(
        &mut self,
        player: &Player,
        patience: Duration,
    ) -> Result<Ending, Failure> {
        let began = Instant::now();
        let mut screen = Screen::default();
        let mut line = Line::default();
        let path = rollout_path(ROLLOUT, "");
        let mut last = String::from("nothing was seen of it");
        while began.elapsed() < patience {
            let status = match self.stage.client.get(&path).await {
                Ok(answer) => serde_json::from_value::<Status>(answer).unwrap_or_default(),
                // The admin API may not be up yet; the patience is bounded.
                Err(error) => {
                    last = error.to_string();
                    Status::default()
                }
            };
            // Before the reload is in force the status is still about the release before.
            let about_it = status
                .arms
                .canary
                .release
                .get("version")
                .map(String::as_str);
            if about_it == Some(player.version) {
                if self.live {
                    screen.draw(&self.picture(&status))?;
                } else {
                    line.tell(self, &status)?;
                }
                if status.has_ended() {
                    return Ok(Ending {
                        version: player.version,
                        status,
                        took: began.elapsed(),
                    });
                }
                last = table::summary(&status);
            }
            sleep(LOOK).await;
        }
        Err(Failure::no(format!(
            "release {} came to no end within {patience:?}: {last}",
            player.version
        )))
    }

    fn picture(&self, status: &Status) -> String {
        let clients = self.stage.load.tally();
        format!(
            "{}\n  clients  {} requests, {} failed; {:.0}s\n",
            table::render(status, self.paint),
            count(clients.requests()),
            count(clients.failed),
            self.began.elapsed().as_secs_f64(),
        )
    }
}

/// The plain telling.
#[derive(Default)]
struct Line {
    told: Option<(String, Instant)>,
}

impl Line {
    fn tell(&mut self, story: &Story<'_>, status: &Status) -> Result<(), Failure> {
        let key = format!("{} {}", status.phase, status.weight.actual);
        let due = self
            .told
            .as_ref()
            .is_none_or(|(told, at)| *told != key || at.elapsed() >= REMINDER);
        if due {
            let arm = &status.arms.canary;
            print(&format!(
                "{:5.1}s  {:<12} {:>5} to release {}  canary {} requests ({} errors)  clients {} requests ({} failed)\n",
                story.began.elapsed().as_secs_f64(),
                status.phase,
                percent(status.weight.actual),
                arm.release.get("version").map_or("?", String::as_str),
                count(arm.requests),
                count(arm.errors),
                count(story.stage.load.tally().requests()),
                count(story.stage.load.tally().failed),
            ))?;
            self.told = Some((key, Instant::now()));
        }
        Ok(())
    }
}
