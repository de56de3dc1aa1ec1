//! Many runs at once: spread over the cores, in the order of their seeds, with a bar for whoever waits.

use std::io::IsTerminal as _;

use indicatif::{ParallelProgressIterator as _, ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serin_control::simulation::{Run, Scenario};

/// What came of a rollout with a healthy canary, and of one with the damage asked for.
pub(super) struct Simulated {
    pub(super) healthy: Vec<Run>,
    pub(super) harmed: Vec<Run>,
}

/// So many runs of each.
pub(super) fn simulate(
    healthy: &Scenario,
    harmed: Option<&Scenario>,
    runs: u64,
    seed: u64,
) -> Simulated {
    let scenarios: Vec<&Scenario> = [Some(healthy), harmed].into_iter().flatten().collect();
    let all = spread(runs * scenarios.len() as u64, |index| {
        // Both see the same users and requests until something breaks.
        let scenario = scenarios.get((index / runs) as usize).unwrap_or(&healthy);
        scenario.run(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index % runs))
    });
    let mut healthy = all;
    let harmed = healthy.split_off(runs as usize);
    Simulated { healthy, harmed }
}

/// Does so many jobs on all cores; their results are in the order of their numbers.
pub(super) fn spread<T: Send>(jobs: u64, job: impl Fn(u64) -> T + Sync + Send) -> Vec<T> {
    (0..jobs)
        .into_par_iter()
        .progress_with(bar(jobs))
        .map(job)
        .collect()
}

/// On standard error, so that the answer can be piped; nothing when that is no terminal.
fn bar(jobs: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(jobs);
    let template = "{bar:40} {human_pos} of {human_len} rollouts, {eta} to go";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
