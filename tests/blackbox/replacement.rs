//! One process replaces another under load, and no client notices: not one that keeps its connection, not one
//! that opens a new one for every request, in HTTP/1.1 and HTTP/2.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{Client, Version};
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

/// Requests that must have been answered in all, without one failure.
const REQUESTS: u64 = 4_500;

/// How a client uses connections.
#[derive(Clone, Copy)]
enum Habit {
    Keeps(Version),
    NewEachTime,
}

/// Clients that ask without a pause.
struct Crowd {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Result<(), String>>,
}

impl Crowd {
    fn gather(address: SocketAddr) -> Self {
        let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let habits = [
            Habit::Keeps(Version::Http1),
            Habit::Keeps(Version::Http2),
            Habit::NewEachTime,
        ];
        let mut clients = JoinSet::new();
        for number in 0..12 {
            let habit = habits[number % habits.len()];
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            clients.spawn(async move {
                let version = match habit {
                    Habit::Keeps(version) => version,
                    Habit::NewEachTime => Version::Http1,
                };
                let mut client = Client::new(address, version);
                while !stop.load(Ordering::Relaxed) {
                    let user = format!("{number}-{}", answered.load(Ordering::Relaxed));
                    let reply = client.infer(&user).await?;
                    if reply.status != 200 {
                        return Err(format!("{reply:?}"));
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    if matches!(habit, Habit::NewEachTime) {
                        client = Client::new(address, version);
                    }
                }
                Ok(())
            });
        }
        Self {
            answered,
            stop,
            clients,
        }
    }

    async fn answers_more(&self, more: u64) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        eventually("traffic flows", SOON * 2, async || {
            (self.answered.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    }

    async fn disperse(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.clients.join_all().await;
        let failed = ends.into_iter().filter_map(Result::err).collect();
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

async fn until_it_says(serin: &mut Serin, words: &str) {
    eventually(words, SOON, async || {
        assert!(serin.is_running(), "it ended: {}", serin.log());
        serin.log().contains(words).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_replacements_under_load_lose_nothing() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let model = model.address();
    site.configure(&Digits::new(model, model, "weight: 30%"));
    let mut serving = site.start().await;
    let crowd = Crowd::gather(site.http);
    for _ in 0..2 {
        crowd.answers_more(REQUESTS / 6).await;
        let mut next = site.launch();
        until_it_says(&mut next, "took a listener over").await;
        crowd.answers_more(REQUESTS / 6).await;
        serving.terminate();
        assert_eq!(serving.ended(SOON).await.code(), Some(0));
        crowd.answers_more(REQUESTS / 6).await;
        serving = next;
    }
    let (answered, failed) = crowd.disperse().await;
    assert!(answered >= REQUESTS, "only {answered}");
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
    eventually("the last one decides", SOON, async || {
        let said = site.verb(&["set-weight", "digits", "40%"]).await;
        (said.code == Some(0)).then_some(())
    })
    .await;
}

/// What is in flight at the one that leaves keeps nobody from deciding: the traffic is the other's already.
#[tokio::test]
async fn the_replacement_decides_while_the_former_one_drains() {
    let (baseline, canary) = (
        ModelServer::start(Behaviour::GOOD),
        ModelServer::start(Behaviour::GOOD),
    );
    let site = Site::new();
    let digits = Digits::new(baseline.address(), canary.address(), "weight: 50%");
    site.configure(&digits);
    let mut old = site.start().await;
    let mut held = TcpStream::connect(site.http).await.unwrap();
    let head = b"POST /v2/models/digits/infer HTTP/1.0\r\ncontent-length: 2\r\n\r\n{";
    held.write_all(head).await.unwrap();
    eventually("a request is under way", SOON, async || {
        (baseline.requests() + canary.requests() == 1).then_some(())
    })
    .await;
    let mut next = site.launch();
    until_it_says(&mut old, "another process accepts").await;
    old.terminate();

    site.configure(&digits.plan("weight: 40%"));
    let edited = |status: &Value| status["weight"]["actual"] == 0.4;
    let admin = site.admin();
    admin.status_when("the edit acts", SOON, edited).await;
    let load = Load::start(site.http, 4);
    canary.behave(Behaviour::BROKEN);
    admin.phase("RolledBack").await;
    assert!(old.is_running(), "it left a request behind: {}", old.log());
    load.stop().await;

    canary.behave(Behaviour::GOOD);
    held.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    let reading = timeout(SOON, held.read_to_string(&mut answer)).await;
    assert!(matches!(reading, Ok(Ok(_))), "{reading:?}");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(old.ended(SOON).await.code(), Some(0), "{}", old.log());
    assert!(next.is_running());
}

/// Nothing to hand over by: two sockets on one port.
#[tokio::test]
async fn without_a_common_state_folder_what_is_queued_is_served() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let model = model.address();
    site.configure(&Digits::new(model, model, "weight: 30%"));
    let mut old = site.start().await;
    let other = Site::new();
    let address = other.http.to_string();
    let text = other.text(&Digits::new(model, model, "weight: 30%"));
    other.write(text.replace(&address, &site.http.to_string()));
    let crowd = Crowd::gather(site.http);
    crowd.answers_more(REQUESTS / 6).await;
    let _new = other.start().await;
    crowd.answers_more(REQUESTS / 6).await;
    old.terminate();
    assert_eq!(old.ended(SOON).await.code(), Some(0));
    crowd.answers_more(REQUESTS / 6).await;
    let (answered, failed) = crowd.disperse().await;
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
}

/// A replacement that fails must not take the name of the listeners with it.
#[tokio::test]
async fn after_a_replacement_that_died_the_next_one_takes_over() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let model = model.address();
    site.configure(&Digits::new(model, model, "weight: 30%"));
    let mut old = site.start().await;
    let mut stillborn = site.launch();
    until_it_says(&mut stillborn, "took a listener over").await;
    stillborn.kill();
    let mut next = eventually("the old one offers again", SOON, async || {
        let mut next = site.launch();
        until_it_says(&mut next, "listening").await;
        next.log().contains("took a listener over").then_some(next)
    })
    .await;
    let crowd = Crowd::gather(site.http);
    crowd.answers_more(REQUESTS / 6).await;
    old.terminate();
    assert_eq!(old.ended(SOON).await.code(), Some(0));
    crowd.answers_more(REQUESTS / 6).await;
    let (answered, failed) = crowd.disperse().await;
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
    assert!(next.is_running());
}

/// The service manager opens the socket and keeps it: clients wait there before the first process and between two, and
/// notice nothing of it.
#[tokio::test]
async fn restarts_under_a_service_manager_lose_nothing() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let model = model.address();
    site.configure(&Digits::new(model, model, "weight: 30%"));
    let socket = TcpListener::bind(site.http).unwrap();
    let crowd = Crowd::gather(site.http);
    let mut former: Option<Serin> = None;
    for _ in 0..3 {
        if let Some(mut former) = former.take() {
            former.terminate();
            assert_eq!(former.ended(SOON).await.code(), Some(0));
        }
        // On the queue while nobody is there to take it.
        let mut queued = TcpStream::connect(site.http).await.unwrap();
        let request = b"POST /v2/models/digits/infer HTTP/1.0\r\nx-user-id: early\r\n\r\n";
        queued.write_all(request).await.unwrap();
        let config = site.config();
        let arguments = ["run", "-c", config.to_str().unwrap()];
        let passed = socket.try_clone().unwrap();
        former = Some(Serin::spawn_on_socket(&arguments, passed.into()));
        let mut answer = String::new();
        let reading = timeout(SOON, queued.read_to_string(&mut answer)).await;
        assert!(matches!(reading, Ok(Ok(_))), "{reading:?}");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        crowd.answers_more(REQUESTS / 6).await;
    }
    let (answered, failed) = crowd.disperse().await;
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
}
