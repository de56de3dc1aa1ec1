//! What happens around the load: reloads, and upstreams that go away and come back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::Ledger;
use crate::site::Site;
use crate::upstream::Upstream;
use crate::vitals::Course;

/// Between two disturbances.
const EVERY: Duration = Duration::from_secs(2);
/// How long an upstream is away.
const AWAY: Duration = Duration::from_millis(300);
/// What an upstream's absence may still do after its return: a connection that died is found out when it is used.
const AFTERMATH: Duration = Duration::from_millis(700);
/// Between two lines about the course of things.
const LINE: Duration = Duration::from_secs(10);

/// When errors are excused.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// The last spell of bad weather: until when; `None` inside while it lasts.
    last: Mutex<Option<Option<Instant>>>,
}

impl Weather {
    /// Whether an upstream was away at any moment since then.
    pub(crate) fn was_bad_since(&self, then: Instant) -> bool {
        match *self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            None => false,
            Some(None) => true,
            Some(Some(until)) => then <= until,
        }
    }

    fn turns_bad(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(None);
    }

    fn clears_up(&self) {
        let until = Instant::now() + AFTERMATH;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Some(until));
    }
}

/// Disturbances so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    restarts: u32,
    reloads: u32,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "disturbed by {} restarts of upstreams and {} reloads",
            self.restarts, self.reloads
        )
    }
}

/// What is disturbed.
pub(crate) struct Scene<'s> {
    pub(crate) site: &'s mut Site,
    pub(crate) upstreams: &'s mut [Upstream],
    pub(crate) weather: &'s Weather,
    pub(crate) ledger: &'s Ledger,
    pub(crate) talks: bool,
}

/// Disturbs until the end, and notes what the process uses.
pub(crate) async fn run(
    scene: Scene<'_>,
    mut course: Course,
    end: std::time::Instant,
) -> anyhow::Result<(Course, Count)> {
    let end = Instant::from_std(end);
    let mut count = Count::default();
    let mut line_at = Instant::now() + LINE;
    for turn in 0_usize.. {
        sleep_until((Instant::now() + EVERY).min(end)).await;
        if Instant::now() >= end {
            break;
        }
        scene.site.expect_alive()?;
        let vitals = scene.site.vitals()?;
        course.note(&vitals);
        // Every other turn a reload, every fourth a restart of one upstream.
        match turn % 4 {
            0 | 2 => {
                let percent = [10, 50, 90, 30].get(turn / 2 % 4).copied().unwrap_or(30);
                scene.site.set_weight(percent)?;
                count.reloads += 1;
            }
            1 => {
                let at = turn / 4 % scene.upstreams.len().max(1);
                if let Some(upstream) = scene.upstreams.get_mut(at) {
                    scene.weather.turns_bad();
                    upstream.leave().await;
                    sleep(AWAY).await;
                    upstream.come_back().await?;
                    scene.weather.clears_up();
                    count.restarts += 1;
                }
            }
            _ => scene.site.hang_up()?,
        }
        if scene.talks && Instant::now() >= line_at {
            line_at += LINE;
            let tally = scene.ledger.tally();
            eprintln!(
                "{:>9} right {:>6} excused {:>3} wrong  {:>6.1} MiB  {:>5} descriptors",
                tally.right(),
                tally.excused(),
                tally.wrong(),
                vitals.memory_mib,
                vitals.descriptors,
            );
        }
    }
    Ok((course, count))
}
