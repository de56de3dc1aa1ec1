//! What the process uses: along the way, and when everything is over.

use std::time::{Duration, Instant};

use crate::SOON;
use crate::site::Site;
use crate::upstream::Upstream;

const MIB: f64 = 1024.0 * 1024.0;
/// Memory counts from here: pools and caches have their size by then.
const WARM_AFTER: f64 = 0.25;
/// Growth that is noise: allocators keep what fragments.
const NOISE_MIB: f64 = 8.0;
/// … and in proportion.
const NOISE_SHARE: f64 = 0.15;

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    pub(crate) memory_mib: f64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Vitals {
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{process}");
        let statm = std::fs::read_to_string(format!("{folder}/statm"))?;
        let pages: f64 = statm.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok(Self {
            memory_mib: pages * rustix::param::page_size() as f64 / MIB,
            descriptors: std::fs::read_dir(format!("{folder}/fd"))?.count(),
            threads: std::fs::read_dir(format!("{folder}/task"))?.count(),
        })
    }
}

/// Memory over time.
#[derive(Debug)]
pub(crate) struct Course {
    began: Instant,
    length: Duration,
    memory_mib: Vec<(f64, f64)>,
}

impl Course {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            began: Instant::now(),
            length,
            memory_mib: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, vitals: &Vitals) {
        let at = self.began.elapsed().as_secs_f64() / self.length.as_secs_f64();
        self.memory_mib.push((at, vitals.memory_mib));
    }

    /// The middle of what was seen between two moments: single peaks are no growth.
    fn median(&self, from: f64, to: f64) -> Option<f64> {
        let within = self
            .memory_mib
            .iter()
            .filter(|(at, _)| (from..=to).contains(at));
        let mut values: Vec<f64> = within.map(|(_, mib)| *mib).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn early_and_late(&self) -> Option<(f64, f64)> {
        let early = self.median(WARM_AFTER, WARM_AFTER + 0.25)?;
        Some((early, self.median(0.75, 1.0)?))
    }

    pub(crate) fn complaint(&self) -> Option<String> {
        let Some((early, late)) = self.early_and_late() else {
            return Some("too short to say anything about memory".to_owned());
        };
        let allowed = early + NOISE_MIB.max(early * NOISE_SHARE);
        (late > allowed).then(|| format!("memory grew from {early:.1} to {late:.1} MiB"))
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (early, late) = self.early_and_late().unwrap_or_default();
        let values = self.memory_mib.iter().map(|(_, mib)| *mib);
        let most = values.fold(0.0, f64::max);
        write!(
            f,
            "memory: {early:.1} MiB in the second quarter, {late:.1} in the last, at most {most:.1}"
        )
    }
}

/// What is left when all clients are gone and the upstreams too.
#[derive(Debug)]
pub(crate) struct Leftovers {
    before: Vitals,
    after: Vitals,
    requests: u64,
    connections: u64,
    ended_well: bool,
}

impl Leftovers {
    /// Waits for what has to go, then looks, then asks the process to stop.
    pub(crate) async fn look(
        site: &mut Site,
        before: &Vitals,
        upstreams: &mut [Upstream],
    ) -> anyhow::Result<Self> {
        for upstream in upstreams {
            // With it go the idle connections to it.
            upstream.leave().await;
        }
        let deadline = Instant::now() + SOON;
        loop {
            let requests = site.gauge("http_server_active_requests").await?;
            let connections = site.gauge("serin_connections").await?;
            let after = site.vitals()?;
            let all_gone =
                requests == 0 && connections == 0 && after.descriptors <= before.descriptors;
            if all_gone || Instant::now() > deadline {
                return Ok(Self {
                    before: *before,
                    after,
                    requests,
                    connections,
                    ended_well: site.stops().await?,
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        let Self {
            before,
            after,
            requests,
            connections,
            ended_well,
        } = self;
        let mut complaints = Vec::new();
        if *requests > 0 || *connections > 0 {
            complaints.push(format!(
                "{requests} requests and {connections} connections are left"
            ));
        }
        if after.descriptors > before.descriptors {
            let (before, after) = (before.descriptors, after.descriptors);
            complaints.push(format!("{after} descriptors are open, {before} were"));
        }
        if after.threads > before.threads {
            let (before, after) = (before.threads, after.threads);
            complaints.push(format!("{after} threads run, {before} did"));
        }
        if !ended_well {
            complaints.push("it did not end with 0".to_owned());
        }
        complaints
    }
}

impl std::fmt::Display for Leftovers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "left over: {} requests, {} connections; descriptors {} → {}, threads {} → {}",
            self.requests,
            self.connections,
            self.before.descriptors,
            self.after.descriptors,
            self.before.threads,
            self.after.threads,
        )
    }
}
