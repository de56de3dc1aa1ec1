//! The data plane: who is asked, and what came back.
//!
//! The folders are a request's way: `listener` → `worker` → `connection` → `exchange` → [`route`] → `upstream`
//! → `observe` → [`measure`]. [`DataPlane`] starts it all, and is what the rest of the house holds.

#[cfg(feature = "bench")]
pub mod bench;
mod buffer;
mod clock;
mod connection;
mod descriptors;
mod error;
mod exchange;
mod gauge;
mod h1;
mod h2;
mod identity;
mod listener;
pub mod measure;
mod observe;
mod plane;
pub mod route;
mod shadow;
mod socket;
mod succession;
mod tls;
mod upstream;
mod worker;

pub use clock::Clock;
pub use descriptors::affordable_connections;
pub use listener::BindError;
pub use observe::trace::{SPANS, SpanLinks};
pub use observe::traceparent::Traceparent;
pub use plane::{DataPlane, Drained};
