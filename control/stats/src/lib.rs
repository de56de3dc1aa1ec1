//! What is measured, and what it means.
//!
//! Two plain values cross between the wings of the house: a [`Snapshot`](snapshot::Snapshot) goes up from
//! the proxy (what happened), a [`Split`](split::Split) comes down (who gets what). Both are defined here,
//! next to the mathematics that reads them. Everything in this crate is pure: no clock, no I/O, no
//! randomness, no serde. The same inputs give the same bits.
#![expect(
    clippy::indexing_slicing,
    reason = "numerical code over arrays of fixed, checked lengths"
)]

pub mod histogram;
pub mod snapshot;
pub mod split;
