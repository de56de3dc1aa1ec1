//! Accepts connections and hands each to the least busy worker.
//!
//! One thread accepts for all listeners: a cost per connection, not per request, and better than letting the
//! kernel spread connections over workers that may be busy. When there is no room, or no file descriptor,
//! clients wait in the kernel's queue; nothing spins. They also wait there until the first rules are in force.
//!
//! Closing a listening socket resets what is queued on it. So a socket is shared with the process that follows
//! ([`crate::succession`]), and whoever leaves leaves the queue to the other; without one, what is queued is
//! taken before the socket is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::coop::unconstrained;

use crate::gauge::Gauges;
use crate::plane::{Phase, Shared, Signal};
use crate::succession::{self, Heirloom, Holders, Inheritance, Source};
use crate::tls::Port;
use crate::worker::Handover;

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;
/// How long to leave it alone when accepting fails for want of something.
const BREATHER: Duration = Duration::from_millis(50);

/// Why the data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A listener's address could not be bound.
    #[error("cannot listen on {address}: {error}")]
    Address {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start a data-plane thread: {0}")]
    Thread(io::Error),
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    source: Source,
}

impl Listener {
    /// Takes over what others opened, and binds the rest.
    pub(crate) fn open_all(
        addresses: &[SocketAddr],
        inheritance: &mut Inheritance,
    ) -> Result<Vec<Self>, BindError> {
        let mut managed = succession::from_manager();
        let open = |&address: &SocketAddr| {
            let (socket, source) = if let Some(socket) = managed.remove(&address) {
                (socket, Source::Manager)
            } else if let Some(socket) = inheritance.take(address) {
                (socket, Source::Process)
            } else {
                (bind(address)?, Source::Bound)
            };
            // The real port, where the configuration leaves it to the system.
            let address = socket.local_addr().map_err(BindError::Thread)?;
            Ok(Self {
                socket,
                address,
                source,
            })
        };
        addresses.iter().map(open).collect()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn heirloom(&self, holders: &Rc<Holders>) -> io::Result<Heirloom> {
        Ok(Heirloom {
            address: self.address,
            socket: self.socket.try_clone()?.into(),
            holders: Rc::clone(holders),
        })
    }
}

/// Binds a listener. Another process may listen on the same address, so that it can take over.
fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let is_shared = is_taken(address);
    let socket = bind().map_err(|error| BindError::Address { address, error })?;
    if is_shared {
        tracing::warn!(
            %address,
            "another process listens on this address and hands nothing over: the system deals clients to both"
        );
    }
    Ok(socket)
}

/// Whether somebody listens there.
fn is_taken(address: SocketAddr) -> bool {
    let probe = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    let refused = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    address.port() != 0 && probe().is_err_and(refused)
}

/// Where accepted connections go.
pub(crate) struct Acceptor {
    pub(crate) shared: Arc<Shared>,
    /// By worker.
    pub(crate) workers: Box<[mpsc::Sender<Handover>]>,
    /// Where the process that follows finds the listeners.
    pub(crate) state: PathBuf,
    /// Tells the process before that this one accepts.
    pub(crate) bond: Option<UnixStream>,
}

/// Accepts on all listeners until told to stop.
pub(crate) async fn run(
    mut acceptor: Acceptor,
    listeners: Vec<Listener>,
    signal: watch::Receiver<Signal>,
) {
    let _bond = acceptor.bond.take();
    let acceptor = Rc::new(acceptor);
    let mut heirlooms = Vec::new();
    let mut tasks = Vec::new();
    for (port, listener) in listeners.into_iter().enumerate() {
        let holders = Rc::new(Holders::new(listener.source));
        match listener.heirloom(&holders) {
            Ok(heirloom) => heirlooms.push(heirloom),
            Err(error) => tracing::warn!(%error, "a listener cannot be handed over"),
        }
        let (acceptor, signal) = (Rc::clone(&acceptor), signal.clone());
        tasks.push(tokio::task::spawn_local(async move {
            acceptor
                .accept_all(port, listener.socket, &holders, signal)
                .await;
        }));
    }
    let state = acceptor.state.clone();
    let gauges = Arc::clone(&acceptor.shared.gauges);
    let offering = tokio::task::spawn_local(succession::offer(state, heirlooms, gauges));
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener ended");
        }
    }
    offering.abort();
    // With it the last handles of the sockets are closed.
    _ = offering.await;
}

impl Acceptor {
    async fn accept_all(
        &self,
        port: usize,
        listener: TcpListener,
        holders: &Holders,
        mut signal: watch::Receiver<Signal>,
    ) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot watch a listener");
                return;
            }
        };
        let ruled = |_: &Signal| self.shared.rules.load().is_some();
        let begun = signal.wait_for(|signal| ruled(signal) || signal.phase != Phase::Serving);
        if begun.await.is_err() {
            return;
        }
        let mut failures = 0_u32;
        loop {
            let accepted = tokio::select! {
                accepted = self.next(&listener) => accepted,
                _ = signal.wait_for(|signal| signal.phase != Phase::Serving) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    self.hand_over(port, stream, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Often the same for a while: said the first time and now and then.
                    if failures == 0 || failures.is_power_of_two() {
                        tracing::warn!(%error, failures, "cannot accept connections");
                    }
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
        if holders.remain() {
            return;
        }
        if holders.are_none() {
            refuse(&listener);
        }
        while let Some(Ok((stream, peer))) = unconstrained(listener.accept()).now_or_never() {
            self.hand_over(port, stream, peer);
        }
    }

    async fn next(
        &self,
        listener: &tokio::net::TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let gauges: &Gauges = &self.shared.gauges;
        gauges.room(|| self.shared.max_connections()).await;
        listener.accept().await
    }

    fn hand_over(&self, port: usize, stream: TcpStream, peer: SocketAddr) {
        // Leaves this thread's poll; a worker's takes it up.
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let worker = self.shared.gauges.least_busy();
        let seat = self.shared.gauges.seat(worker);
        let handover = Handover {
            stream,
            peer,
            seat,
            greeting: self.shared.ports.get(port).and_then(Port::greeting),
        };
        if let Some(queue) = self.workers.get(worker)
            && queue.try_send(handover).is_err()
        {
            tracing::warn!(worker, "a worker takes no connections; one was closed");
        }
    }
}

/// Lets nobody join the queue any more, so that it can be emptied and closed without a reset in between: who
/// comes now is refused, or answered by another process on this address, when it tries again.
fn refuse(listener: &tokio::net::TcpListener) {
    #[cfg(target_os = "linux")]
    {
        /// `BPF_RET | BPF_K` with 0: a packet filter that takes nothing.
        const NOTHING: socket2::SockFilter = socket2::SockFilter::new(0x06, 0, 0, 0);
        if let Err(error) = socket2::SockRef::from(listener).attach_filter(&[NOTHING]) {
            tracing::debug!(%error, "the queue cannot be closed before it is emptied");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

/// The client left before it was accepted, or the network failed it (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_is_named() {
        let address = "192.0.2.1:80".parse().unwrap();
        let error = bind(address).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:80"), "{error}");
    }
}
