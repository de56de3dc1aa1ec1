//! Ports for processes that have to be told theirs.
//!
//! The data plane shares its port on purpose (a replacement may bind it too), so two tests that drew the same
//! port would silently share traffic. Ports are therefore handed out once per test process, from below the
//! range that the system gives to outgoing connections.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpSocket;

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

static DRAWN: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nobody listens on and that this process never hands out again.
pub(crate) fn free_address() -> SocketAddr {
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    loop {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        assert!(drawn < COUNT, "no free port left");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + (start + drawn) % COUNT));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// An address where every connection is refused for as long as this lives: bound, but nobody listens.
pub(crate) struct RefusingAddress {
    _bound: TcpSocket,
    /// Where nobody answers.
    pub(crate) address: SocketAddr,
}

impl RefusingAddress {
    /// Binds it.
    pub(crate) fn bind() -> Self {
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = bound.local_addr().unwrap();
        Self {
            _bound: bound,
            address,
        }
    }
}
