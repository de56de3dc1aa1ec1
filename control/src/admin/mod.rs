//! How people and machines look in: the admin API, health, metrics and a plain status page.
//!
//! It decides nothing. Every question goes over the desk to the control loop, which owns all state; health
//! is read from the pulse, so that it can still be told when the control loop hangs. The admin API has a
//! thread of its own: a slow reader slows neither a request nor a decision.

pub(crate) mod desk;
pub(crate) mod meter;
pub(crate) mod pulse;

mod answer;
mod events;
mod gate;
mod operation;
mod problem;
mod routes;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use serin_config::model::{Admin, Config};
use tokio::sync::oneshot;

use desk::Desk;
use gate::Gate;
use meter::Meter;
use pulse::Pulse;
use routes::Office;
use server::{Greeting, Port};

/// The running admin API; dropped, it ends.
pub(crate) struct AdminServer {
    office: Arc<Office>,
    admin: Arc<OnceLock<SocketAddr>>,
    greeting: Arc<Greeting>,
    probe: Option<Arc<OnceLock<SocketAddr>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminServer {
    /// Binds what can be bound at once and serves on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub(crate) fn start(
        config: &Config,
        desk: Desk,
        pulse: Arc<Pulse>,
        meter: Meter,
    ) -> std::io::Result<Self> {
        let office = Arc::new(Office {
            meter,
            desk,
            gate: Gate::new(&config.admin),
            pulse,
        });
        let greeting = Arc::new(Greeting::default());
        greeting.set(config.admin.tls.as_ref());
        let admin = Port::open("admin", config.admin.address, Arc::clone(&greeting));
        let plain = Arc::default();
        let probe = config
            .probe
            .map(|address| Port::open("probe", address, plain));
        let (stop, stopped) = oneshot::channel();
        let (admin_bound, probe_bound) = (admin.bound(), probe.as_ref().map(Port::bound));
        let shared = Arc::clone(&office);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("serin-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    serve(shared, admin, probe);
                    // Ends when the server is dropped, and all connections with it.
                    _ = stopped.await;
                });
            })?;
        Ok(Self {
            office,
            admin: admin_bound,
            greeting,
            probe: probe_bound,
            stop,
            thread,
        })
    }

    /// Ends it, with all connections, and waits until the ports are free.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread did not end well");
        }
    }

    /// Where the admin API listens, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.admin.get().copied()
    }

    /// Where the probe listener listens, once it does.
    pub(crate) fn probe_address(&self) -> Option<SocketAddr> {
        self.probe.as_ref()?.get().copied()
    }

    /// Takes over a reloaded token and certificate.
    pub(crate) fn reload(&self, admin: &Admin) {
        self.office.gate.reload(admin);
        self.greeting.set(admin.tls.as_ref());
    }
}

fn serve(office: Arc<Office>, admin: Port, probe: Option<Port>) {
    if let Some(probe) = probe {
        let office = Arc::clone(&office);
        tokio::spawn(
            probe.serve(move |_, request| routes::answer_probe(Arc::clone(&office), request)),
        );
    }
    tokio::spawn(
        admin.serve(move |peer, request| routes::answer_admin(Arc::clone(&office), peer, request)),
    );
}
