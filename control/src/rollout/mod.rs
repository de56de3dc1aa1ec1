//! How a canary earns its traffic, and loses it: [`step`] takes a [`State`] and an [`Event`] and gives the
//! next state and what has to be done about it, in order.
//!
//! Pure: no clock (`now_ms` is an argument), no I/O, no randomness. Operators come in as events like the
//! evidence does: one path, no back door. What it does not do: weigh evidence (that is
//! [`analysis`](crate::analysis)), write anything down or install anything (that is
//! [`runtime`](crate::runtime), which carries out the [`Action`]s).

mod draft;
mod event;
mod operator;
mod ramp;
mod reload;
mod spec;
mod state;
pub mod table;
mod transition;

pub use event::{Action, Command, Event, Refused, Transition, Verb};
pub use spec::{MirrorSpec, RolloutSpec};
pub use state::{Latch, Override, Phase, State};
pub use transition::{begin, step};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod semantics_tests;
#[cfg(test)]
mod shadow_tests;
#[cfg(test)]
mod table_tests;
