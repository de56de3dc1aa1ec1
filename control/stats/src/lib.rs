//! What is measured, and what it means.
//!
//! Two plain values cross between the wings of the house: a [`Snapshot`](snapshot::Snapshot) goes up from
//! the proxy (what happened), a [`Split`](split::Split) comes down (who gets what). Both are defined here,
//! next to the mathematics that reads them. Everything in this crate is pure: no clock, no I/O, no
//! randomness, no serde. The same inputs give the same bits.
//!
//! Conventions everywhere: the baseline is the reference, signed quantities are canary minus baseline
//! (positive = the canary's is larger), evidence and small probabilities are natural logarithms, and `None`
//! means "nothing is defined for these data" (an empty arm). No input panics or yields NaN.
#![expect(
    clippy::indexing_slicing,
    reason = "numerical code over arrays of fixed, checked lengths"
)]
#![expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "`!(x > 0.0)` also turns NaN away"
)]

pub mod agreement;
pub mod chi_squared;
pub mod cluster;
pub mod decision;
pub mod divergence;
pub mod first_error;
pub mod group_sequential;
pub mod histogram;
pub mod kolmogorov_smirnov;
pub mod metrics;
pub mod multiplicity;
pub mod names;
pub mod power;
pub mod proportion;
pub mod quantile;
pub mod quantile_comparison;
pub mod rank_sum;
pub mod ridit;
mod search;
pub mod sequential;
pub mod shadow;
pub mod shift;
pub mod snapshot;
pub mod special;
pub mod split;
pub mod srm;
pub mod trend;
