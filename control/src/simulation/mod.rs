//! Whole rollouts in virtual time, through the real analysis and rollout code.
//!
//! A [`Scenario`] is a rollout under a [model of traffic](Traffic) with something wrong with the canary, or
//! nothing; a [`Run`] is what came of it. [`World`] is one rollout to play with, request by request. The
//! [`suite`] is the table of scenarios that Serin's promises are held to, beside the usual rule.
//!
//! Nothing here reads a clock or does I/O, and chance comes from seeds: the same seed gives the same run on
//! every machine. Whoever wants many runs spreads their seeds over threads.

mod naive;
mod recorder;
mod run;
pub mod suite;
mod summary;
mod traffic;
mod world;

pub use run::{End, Onset, Run, Scenario};
pub use summary::{Figure, median, proportion, quantile};
pub use traffic::{Effect, Traffic};
pub use world::{Cadence, World};
