//! A steady load in the background that remembers every request that failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::client::{Client, Version};

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);

/// A running load: some clients, each with one connection, each a new user with every request.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Requests sent.
    pub(crate) sent: u64,
    /// One line for each request that was not answered with 200.
    pub(crate) failed: Vec<String>,
}

impl Load {
    /// Starts clients of both versions, half and half.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|number| {
                let version = [Version::Http1, Version::Http2][number % 2];
                let client = Client::new(address, version);
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                tokio::spawn(drive(client, number, stop, sent))
            })
            .collect();
        Self {
            stop,
            sent,
            clients,
        }
    }

    /// Requests sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lets every client finish its request and says what failed.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for client in self.clients {
            failed.extend(client.await.unwrap());
        }
        Tally {
            sent: self.sent.load(Ordering::Relaxed),
            failed,
        }
    }
}

impl Tally {
    /// Fails the test unless every request was answered, and there were some.
    #[track_caller]
    pub(crate) fn expect_clean(&self) {
        assert!(self.sent > 0, "the load sent nothing");
        assert!(
            self.failed.is_empty(),
            "{} of {} requests failed, the first: {}",
            self.failed.len(),
            self.sent,
            self.failed[0]
        );
    }
}

async fn drive(
    mut client: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        sent.fetch_add(1, Ordering::Relaxed);
        match client.infer(&format!("load-{number}-{turn}")).await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => failed.push(format!("{}: {:?}", reply.status, reply.body)),
            Err(error) => failed.push(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    failed
}
