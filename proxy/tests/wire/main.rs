//! The data plane over real sockets: clients, upstreams and the proxy between them, all on loopback.
//!
//! Nothing sleeps to let something happen: every wait is for an event, and has a deadline.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail where it stands"
)]

mod authority;
mod deadlines;
mod descriptors;
mod downgrade;
mod endpoints;
mod forwarding;
mod leaving;
mod life;
mod outcomes;
mod retries;
mod routing;
mod shadow;
mod sins;
mod streaming;
mod strict;
mod support;
mod tls;
mod translation;
mod upgrade;
