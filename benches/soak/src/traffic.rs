//! The clients: some of every kind, each asking one request after the other until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::answer::{self, Came};
use crate::content::Content;
use crate::disturb::Weather;
use crate::ledger::{Ending, Ledger};
use crate::wire::{Connection, GRPC_PATH, PATIENCE, Upload, Version};

/// A mebibyte.
const MIB: u64 = 1 << 20;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);
/// Events of one stream.
const EVENTS: u64 = 40;

/// What a client does.
#[derive(Clone, Copy, Debug)]
struct Habit {
    kind: &'static str,
    clients: usize,
    version: Version,
    act: Act,
    keeps: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// A body each way: of stated length, or in chunks.
    Exchange {
        path: &'static str,
        up: u64,
        down: u64,
    },
    Events,
    Unary,
    /// Leaves in the middle of the answer.
    Leave,
    /// Asks for an answer that breaks off: it must be seen to.
    Cut,
}

const fn habit(kind: &'static str, clients: usize, version: Version, act: Act) -> Habit {
    Habit {
        kind,
        clients,
        version,
        act,
        keeps: true,
    }
}

const SMALL: Act = Act::Exchange {
    path: "echo",
    up: 300,
    down: 1_000,
};
const CHUNKED: Act = Act::Exchange {
    path: "chunked",
    up: 20_000,
    down: 50_000,
};
const LARGE: Act = Act::Exchange {
    path: "echo",
    up: MIB,
    down: MIB,
};

const HABITS: [Habit; 13] = [
    habit("h1", 6, Version::Http1, SMALL),
    Habit {
        keeps: false,
        ..habit("h1 new connection", 2, Version::Http1, SMALL)
    },
    habit("h1 chunked", 2, Version::Http1, CHUNKED),
    habit("h1 1 MiB", 1, Version::Http1, LARGE),
    habit("h1 events", 4, Version::Http1, Act::Events),
    habit("h1 leaves", 2, Version::Http1, Act::Leave),
    habit("h1 cut off", 1, Version::Http1, Act::Cut),
    habit("h2", 6, Version::Http2, SMALL),
    habit("h2 1 MiB", 1, Version::Http2, LARGE),
    habit("h2 events", 4, Version::Http2, Act::Events),
    habit("h2 leaves", 2, Version::Http2, Act::Leave),
    habit("h2 cut off", 1, Version::Http2, Act::Cut),
    habit("grpc", 3, Version::Http2, Act::Unary),
];

/// The names of all kinds of traffic.
pub(crate) const KINDS: [&str; HABITS.len()] = {
    let mut kinds = [""; HABITS.len()];
    let mut at = 0;
    while at < HABITS.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, over its own length"
        )]
        {
            kinds[at] = HABITS[at].kind;
        }
        at += 1;
    }
    kinds
};

/// All clients.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Each ends its request and leaves.
    pub(crate) async fn leave(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts them.
pub(crate) fn start(address: SocketAddr, ledger: &Arc<Ledger>, weather: &Arc<Weather>) -> Clients {
    let stop = Arc::<AtomicBool>::default();
    let numbers = Arc::<AtomicU64>::default();
    let mut tasks = JoinSet::new();
    for habit in HABITS {
        for _ in 0..habit.clients {
            let client = Client {
                address,
                habit,
                connection: None,
                ledger: Arc::clone(ledger),
                weather: Arc::clone(weather),
            };
            tasks.spawn(client.run(Arc::clone(&stop), Arc::clone(&numbers)));
        }
    }
    Clients { stop, tasks }
}

struct Client {
    address: SocketAddr,
    habit: Habit,
    connection: Option<Connection>,
    ledger: Arc<Ledger>,
    weather: Arc<Weather>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>, numbers: Arc<AtomicU64>) {
        while !stop.load(Ordering::Relaxed) {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let ending = match timeout(PATIENCE, self.act(number)).await {
                Ok(Ok(came)) => self.judge(came, began),
                Ok(Err(error)) => self.failed(&format!("{error:#}"), began),
                Err(_) => Ending::Wrong(format!("number {number}: no end within {PATIENCE:?}")),
            };
            let is_right = ending == Ending::Right;
            self.ledger.note(self.habit.kind, ending);
            if !self.habit.keeps || !is_right {
                self.connection = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn judge(&self, came: Came, began: Instant) -> Ending {
        match came {
            Came::Whole => Ending::Right,
            Came::Broken => self.failed("it broke off", began),
            Came::Other(what) => Ending::Wrong(what),
        }
    }

    /// An error is honest while an upstream is away; otherwise nobody caused it.
    fn failed(&self, why: &str, began: Instant) -> Ending {
        if self.weather.was_bad_since(began) {
            Ending::Excused
        } else {
            Ending::Wrong(why.to_owned())
        }
    }

    async fn connection(&mut self) -> anyhow::Result<&mut Connection> {
        let usable = match &mut self.connection {
            Some(connection) => connection.is_usable().await,
            None => false,
        };
        if !usable {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connection::open(self.address, self.habit.version).await?)),
        }
    }

    async fn act(&mut self, number: u64) -> anyhow::Result<Came> {
        match self.habit.act {
            Act::Exchange { path, up, down } => {
                let path = format!("/{path}/{number}/{down}");
                let upload = Upload::Content(Content::new(number, up));
                let body = self
                    .ask(Method::POST, &path, number, upload)
                    .await?
                    .into_body();
                Ok(answer::content(body, number, down).await)
            }
            Act::Events => {
                let path = format!("/events/{number}/{EVENTS}");
                let body = self
                    .ask(Method::GET, &path, number, Upload::none())
                    .await?
                    .into_body();
                Ok(answer::stream(body, number, EVENTS).await)
            }
            Act::Unary => {
                let message = message(number);
                let upload = Upload::Message(message.clone());
                let response = self.ask(Method::POST, GRPC_PATH, number, upload).await?;
                Ok(answer::unary(response, &message).await)
            }
            Act::Leave => {
                let path = format!("/echo/{number}/{}", 8 * MIB);
                let body = self.ask(Method::GET, &path, number, Upload::none()).await?;
                drop(body);
                // In HTTP/1.1 that is the connection's end; in HTTP/2 the stream's.
                if self.habit.version == Version::Http1 {
                    self.connection = None;
                }
                Ok(Came::Whole)
            }
            Act::Cut => {
                let length = 10_000 + number % 50_000;
                let path = format!("/cut/{number}/{length}");
                let body = self.ask(Method::GET, &path, number, Upload::none()).await?;
                self.connection = None;
                Ok(
                    match answer::content(body.into_body(), number, length).await {
                        Came::Broken => Came::Whole,
                        Came::Whole => {
                            Came::Other("a clean end where the upstream broke off".to_owned())
                        }
                        other => other,
                    },
                )
            }
        }
    }

    /// A request that is answered with 200.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        number: u64,
        upload: Upload,
    ) -> anyhow::Result<http::Response<hyper::body::Incoming>> {
        let connection = self.connection().await?;
        let mut request = connection.request(method, path, number, upload)?;
        if path == GRPC_PATH {
            let kind = http::HeaderValue::from_static("application/grpc");
            request.headers_mut().insert("content-type", kind);
            let trailers = http::HeaderValue::from_static("trailers");
            request.headers_mut().insert("te", trailers);
        }
        let response = connection.send(request).await?;
        let status = response.status();
        anyhow::ensure!(status == StatusCode::OK, "{path}: {status}");
        Ok(response)
    }
}

/// A gRPC message: uncompressed, its length, its bytes.
fn message(number: u64) -> Bytes {
    let content = Content::new(number, 200 + number % 1_000)
        .next(usize::MAX)
        .unwrap_or_default();
    let mut message = vec![0];
    message.extend(
        u32::try_from(content.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    message.extend(content);
    Bytes::from(message)
}
