//! The control loop: what the numbers mean, what is done about it, and how it is remembered.
//!
//! [`analysis`] and [`rollout`] decide and are pure; [`runtime`] is the thin shell that feeds them, acts on
//! what they say and writes it to the [`journal`]; [`admin`] is how people and machines look in.

pub mod admin;
pub mod analysis;
pub mod forecast;
pub mod journal;
pub mod rollout;
pub mod runtime;
pub mod simulation;

mod driver;
mod port;

pub use admin::meter::Meter;
pub use port::{DataPlane, NowMs};
pub use runtime::{Controller, Options, Reload, StartError};
