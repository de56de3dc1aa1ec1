//! Mixed load on a real `serin` process, for as long as you like: HTTP/1.1, HTTP/2, gRPC, event streams, large
//! bodies, clients that leave, upstreams that break off and restart, reloads of the configuration.
//!
//! Every body is computed from its request's number, in both directions, so that each byte of each answer is
//! known beforehand. An answer is *right*, *excused* (an honest error while an upstream was away) or *wrong*: other
//! bytes than those asked for, a clean end where the upstream broke off, an error nobody caused. One wrong answer
//! fails the run; so does memory that grows, and a descriptor, thread, connection or request that is left over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod answer;
mod content;
mod disturb;
mod ledger;
mod site;
mod traffic;
mod upstream;
mod vitals;
mod wire;

pub use ledger::Tally;

use disturb::Weather;
use ledger::Ledger;
use site::Site;
use upstream::Upstream;
use vitals::{Course, Leftovers};

/// Nothing that should happen at once takes longer.
const SOON: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary under test.
    pub serin: PathBuf,
    /// How long the load lasts.
    pub length: Duration,
    /// Writes a line about the course of things every ten seconds.
    pub talks: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    tally: Tally,
    course: Course,
    leftovers: Leftovers,
    disturbances: disturb::Count,
}

impl Report {
    /// What is wrong; nothing, if all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.tally.complaints();
        complaints.extend(self.course.complaint());
        complaints.extend(self.leftovers.complaints());
        complaints
    }

    /// Answers by kind.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.tally)?;
        writeln!(f, "{}", self.disturbances)?;
        writeln!(f, "{}", self.course)?;
        write!(f, "{}", self.leftovers)
    }
}

/// Runs it all.
///
/// # Errors
/// When it cannot be set up; what goes wrong under load is in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let weather = Arc::new(Weather::default());
    let mut upstreams = [
        Upstream::start("baseline").await?,
        Upstream::start("canary").await?,
    ];
    let [baseline, canary] = &upstreams;
    let mut site = Site::start(&options.serin, baseline.address(), canary.address()).await?;
    let empty = site.vitals()?;
    let ledger = Arc::new(Ledger::default());
    let clients = traffic::start(site.http(), &ledger, &weather);
    let course = Course::new(options.length);
    let ended = Instant::now() + options.length;
    let (course, disturbances) = disturb::run(
        disturb::Scene {
            site: &mut site,
            upstreams: &mut upstreams,
            weather: &weather,
            ledger: &ledger,
            talks: options.talks,
        },
        course,
        ended,
    )
    .await?;
    clients.leave().await;
    let leftovers = Leftovers::look(&mut site, &empty, &mut upstreams).await?;
    Ok(Report {
        tally: ledger.tally(),
        course,
        leftovers,
        disturbances,
    })
}
