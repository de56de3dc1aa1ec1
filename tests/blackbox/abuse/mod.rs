//! Clients that mean harm, over real sockets, against the real process. Each class of attack is one test, and each
//! asks the same: is memory bounded, is processor time bounded, are others served meanwhile, and is everything
//! given back afterwards?
//!
//! Attacks are written by hand, byte by byte: no well-behaved library stands between the test and the wire.

mod flood;
mod frames;
mod http2;
mod memory;
mod slow;
mod upstream;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::support::client::{Client, Version};
use super::support::process::{Serin, Vitals};
use super::support::site::{Digits, Site};
use super::support::{SOON, eventually};
use upstream::Upstream;

/// One mebibyte.
const MIB: u64 = 1 << 20;
/// Nobody who behaves waits longer for an answer while somebody else doesn't behave. Unoptimised builds on busy
/// machines take part in this.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// A process that is attacked.
struct Victim {
    site: Site,
    serin: Serin,
    _upstream: Upstream,
    bystander: Bystander,
    before: Vitals,
}

/// Somebody who behaves: asks again and again, on one connection.
struct Bystander {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    /// Ends with the longest time to an answer.
    asking: JoinHandle<Duration>,
}

impl Victim {
    /// Starts one with these limits (`key: value, …`) and a bystander. Attackers' requests don't go away by
    /// themselves while they are looked at.
    async fn start(limits: &str) -> Self {
        Self::start_with(limits, "60s").await
    }

    /// The same with this response timeout.
    async fn start_with(limits: &str, response: &'static str) -> Self {
        let upstream = Upstream::start().await;
        let site = Site::new();
        let address = upstream.address();
        let mut digits = Digits::new(address, address, "weight: 0%");
        digits.response = response;
        let text = site.text(&digits);
        let limited = text.replace("{drain: 10s}", &format!("{{drain: 2s, {limits}}}"));
        assert!(limited.contains(limits), "the limits have found no place");
        site.write(limited);
        let serin = site.start().await;
        let bystander = Bystander::start(site.http);
        bystander.is_served().await;
        let before = serin.vitals();
        Self {
            site,
            serin,
            _upstream: upstream,
            bystander,
            before,
        }
    }

    fn address(&self) -> SocketAddr {
        self.site.http
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.site.http).await.unwrap()
    }

    /// Memory in use beyond what it was before the attack.
    fn growth(&self) -> u64 {
        let now = self.serin.vitals().memory;
        now.saturating_sub(self.before.memory)
    }

    #[track_caller]
    fn grew_by_at_most(&self, bytes: u64) {
        let growth = self.growth();
        assert!(
            growth <= bytes,
            "memory grew by {:.1} MiB, {:.1} were allowed",
            growth as f64 / MIB as f64,
            bytes as f64 / MIB as f64
        );
    }

    /// Requests in flight and connections, as the process itself says.
    async fn gauge(&self, name: &str) -> u64 {
        let metrics = self.site.admin().get("/metrics").await;
        let text = String::from_utf8(metrics.body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    /// The attack is over: the bystander never waited, and nothing is left of the attackers.
    async fn recovers(self) {
        self.bystander.is_served().await;
        eventually("the attackers' requests are gone", SOON, async || {
            (self.gauge("http_server_active_requests").await <= 1).then_some(())
        })
        .await;
        eventually("the attackers' connections are gone", SOON, async || {
            (self.gauge("serin_connections").await <= 1).then_some(())
        })
        .await;
        eventually("descriptors are given back", SOON, async || {
            // Upstream connections may be kept for later: as many as there were requests at a time.
            let spare = self.serin.vitals().descriptors;
            (spare <= self.before.descriptors + 300).then_some(())
        })
        .await;
        let longest = self.bystander.leave().await;
        assert!(longest < SERVED_WITHIN, "somebody waited {longest:?}");
    }
}

impl Bystander {
    fn start(address: SocketAddr) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let trouble = Arc::<Mutex<Option<String>>>::default();
        let (told, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let met = Arc::clone(&trouble);
        let asking = tokio::spawn(async move {
            let mut client = Client::new(address, Version::Http1);
            let mut longest = Duration::ZERO;
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                match client.infer("bystander").await {
                    Ok(reply) if reply.status == 200 => {}
                    other => {
                        *met.lock().unwrap() = Some(format!("{other:?}"));
                        break;
                    }
                }
                longest = longest.max(asked.elapsed());
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            longest
        });
        Self {
            stop,
            answered,
            trouble,
            asking,
        }
    }

    /// A few more requests are answered.
    async fn is_served(&self) {
        let until = self.answered.load(Ordering::Relaxed) + 3;
        eventually("the bystander is served", SOON, async || {
            assert_eq!(*self.trouble.lock().unwrap(), None);
            (self.answered.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    }

    /// How long the longest answer took.
    async fn leave(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.asking.await.unwrap();
        assert_eq!(*self.trouble.lock().unwrap(), None);
        longest
    }
}

/// Everything that comes until the other side closes, or resets; panics when it doesn't within `limit`.
async fn until_closed(stream: &mut TcpStream, limit: Duration) -> Vec<u8> {
    let mut all = Vec::new();
    let ended = tokio::time::timeout(limit, stream.read_to_end(&mut all)).await;
    assert!(ended.is_ok(), "it was not closed within {limit:?}");
    all
}
