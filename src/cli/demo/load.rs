//! Clients: heavy-tailed users at a steady rate, through the proxy, over real connections.
//!
//! An open loop: requests leave when they are due (a Poisson stream) and not when an earlier one was answered,
//! so a slow release does not hide by slowing its clients down. What is counted here is what clients saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::random::Random;

/// Requests per second.
pub(super) const RATE: f64 = 350.0;
/// Users that are about at one time.
const ABOUT: usize = 200;
/// Requests under way; what is due beyond that is counted as shed.
const MAX_IN_FLIGHT: usize = 512;
/// Before a client gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    ok: AtomicU64,
    failed: AtomicU64,
    shed: AtomicU64,
    canary: AtomicU64,
}

/// The clients' book: what is sent from a certain moment on goes to a page of its own, since a request that
/// was under way then says nothing about what came after.
#[derive(Debug, Default)]
struct Book {
    before: Seen,
    after: Seen,
    turned: AtomicBool,
}

impl Book {
    /// The page for a request that leaves now.
    fn page(&self) -> &Seen {
        if self.turned.load(Relaxed) {
            &self.after
        } else {
            &self.before
        }
    }
}

/// [`Seen`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Answered below 400.
    pub(super) ok: u64,
    /// Anything else, no answer included.
    pub(super) failed: u64,
    /// Not sent, because too many were under way.
    pub(super) shed: u64,
    /// Answered by the canary, good or bad.
    pub(super) canary: u64,
}

impl Tally {
    /// Requests that were sent and ended.
    pub(super) const fn requests(self) -> u64 {
        self.ok + self.failed
    }

    const fn and(self, other: Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            failed: self.failed + other.failed,
            shed: self.shed + other.shed,
            canary: self.canary + other.canary,
        }
    }
}

/// A running load; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    book: Arc<Book>,
    task: JoinHandle<()>,
}

impl Load {
    /// Starts sending to the proxy at this address.
    pub(super) fn start(proxy: SocketAddr, seed: u64) -> Self {
        let book = Arc::new(Book::default());
        let task = tokio::spawn(send(proxy, seed, Arc::clone(&book)));
        Self { book, task }
    }

    /// What clients saw so far.
    pub(super) fn tally(&self) -> Tally {
        self.book.before.tally().and(self.book.after.tally())
    }

    /// From here on, requests that leave are also counted by themselves.
    pub(super) fn turn_the_page(&self) {
        self.book.turned.store(true, Relaxed);
    }

    /// What clients saw of the requests that left since the page was turned.
    pub(super) fn since_the_turn(&self) -> Tally {
        self.book.after.tally()
    }
}

impl Seen {
    fn tally(&self) -> Tally {
        Tally {
            ok: self.ok.load(Relaxed),
            failed: self.failed.load(Relaxed),
            shed: self.shed.load(Relaxed),
            canary: self.canary.load(Relaxed),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

async fn send(proxy: SocketAddr, seed: u64, book: Arc<Book>) {
    let client: HttpClient = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_timer(TokioTimer::new())
        .build(HttpConnector::new());
    let under_way = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut crowd = Crowd::new(seed);
    let mut due = Instant::now();
    loop {
        due += Duration::from_secs_f64(crowd.random.exponential(1.0 / RATE));
        sleep_until(due).await;
        let Ok(place) = Arc::clone(&under_way).try_acquire_owned() else {
            book.page().shed.fetch_add(1, Relaxed);
            continue;
        };
        let (client, book, visit) = (client.clone(), Arc::clone(&book), crowd.visit());
        tokio::spawn(async move {
            let seen = book.page();
            let answered = timeout(PATIENCE, infer(&client, proxy, &visit)).await;
            let (good, canary) = answered.ok().flatten().unwrap_or((false, false));
            let counter = if good { &seen.ok } else { &seen.failed };
            counter.fetch_add(1, Relaxed);
            seen.canary.fetch_add(u64::from(canary), Relaxed);
            drop(place);
        });
    }
}

/// One inference: whether it was good, and whether the canary answered.
async fn infer(client: &HttpClient, proxy: SocketAddr, visit: &Visit) -> Option<(bool, bool)> {
    let body = serde_json::json!({
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 10], "data": visit.image}],
    });
    let request = Request::post(format!("http://{proxy}/v2/models/digits/infer"))
        .header(CONTENT_TYPE, "application/json")
        .header("x-user-id", format!("user-{}", visit.user))
        .body(Full::new(Bytes::from(body.to_string())))
        .ok()?;
    let response = client.request(request).await.ok()?;
    let good = response.status().as_u16() < 400;
    let canary = response
        .headers()
        .get("x-serin-arm")
        .is_some_and(|arm| arm == "canary");
    let complete = response.into_body().collect().await.is_ok();
    Some((good && complete, canary))
}

/// Who comes next: users with some visits left, each replaced by a new one after the last.
#[derive(Debug)]
struct Crowd {
    random: Random,
    about: Vec<(u64, u32)>,
    newest: u64,
}

/// One request of one user.
#[derive(Debug)]
struct Visit {
    user: u64,
    image: Vec<f64>,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            about: Vec::with_capacity(ABOUT),
            newest: 0,
        }
    }

    fn visit(&mut self) -> Visit {
        while self.about.len() < ABOUT {
            self.newest += 1;
            self.about.push((self.newest, self.random.visits()));
        }
        let place = self.random.below(self.about.len());
        let user = match self.about.get_mut(place) {
            Some((user, left)) if *left > 1 => {
                *left -= 1;
                *user
            }
            _ => self.about.swap_remove(place).0,
        };
        let image = (0..10).map(|_| self.random.uniform()).collect();
        Visit { user, image }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_few_users_make_much_of_the_traffic() {
        let mut crowd = Crowd::new(3);
        let mut visits: BTreeMap<u64, u32> = BTreeMap::new();
        for _ in 0..20_000 {
            *visits.entry(crowd.visit().user).or_default() += 1;
        }
        let once = visits.values().filter(|visits| **visits == 1).count();
        assert!(once * 10 > visits.len() * 3, "{once} of {}", visits.len());
        assert!(visits.values().all(|visits| *visits <= 50));
        assert!(visits.values().any(|visits| *visits >= 40));
    }

    #[tokio::test]
    async fn a_good_server_answers_every_client() {
        use super::super::model_server::{Behaviour, ModelServer};
        use super::super::scenario::GOOD;

        let behaviour = Behaviour {
            error_rate: 0.0,
            ..GOOD
        };
        let server = ModelServer::start(behaviour, 5).await.unwrap();
        let load = Load::start(server.address, 6);
        let enough = async {
            while load.tally().requests() < 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), enough).await.unwrap();
        let tally = load.tally();
        assert_eq!((tally.failed, tally.shed, tally.canary), (0, 0, 0));
        assert_eq!(load.since_the_turn(), Tally::default());
        load.turn_the_page();
        let settled = load.tally();
        let more = async {
            while load.since_the_turn().requests() < 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), more).await.unwrap();
        assert!(load.tally().requests() >= settled.requests() + 100);
        assert!(server.account().requests >= 100);
    }
}
