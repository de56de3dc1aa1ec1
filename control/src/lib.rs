//! The control loop: what the numbers mean, what is done about it, and how it is remembered.

pub mod admin;
pub mod analysis;
pub mod journal;
pub mod rollout;
pub mod runtime;
