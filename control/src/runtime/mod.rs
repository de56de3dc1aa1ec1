//! The thin shell around the pure core: it feeds [`analysis`](crate::analysis) and [`rollout`](crate::rollout),
//! does what they say in the order they say it, and answers for it.
//!
//! One thread owns all state (and another one the journal: `scribe`), so there are no locks: it wakes by the bell (an error on the data plane), by
//! time, by an operator or by a reload, and every wake-up ends in the same place, `apply`: event → `step()` →
//! actions. It decides nothing itself. What it must get right is order and durability:
//!
//! - lowering exposure installs first and is journalled next; raising it is on disk before it is installed;
//! - while the journal cannot be written nothing is raised and everything lowered stays lowered;
//! - one process decides for a state folder. Another one stands by, serves what the journal says, and takes
//!   over when the lock is free.
//!
//! A panic ends this thread and nothing else: the last split keeps serving and `/readyz` says so.

mod act;
mod aftermath;
mod answer;
mod control;
mod controller;
mod guided;
mod look;
mod mending;
mod metrics;
mod restore;
mod revive;
mod role;
mod scribe;
mod stamp;
mod status;
mod track;
mod turn;

#[cfg(test)]
mod tests;

pub use controller::{Controller, Options, Reload, StartError};
