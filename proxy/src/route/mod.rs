//! Which route takes a request, and which arm answers it.
//!
//! [`facts`] is what routing may see of a request, [`table`] finds the route, [`key`] finds the user's key in
//! the request, [`assign`] turns the key into an arm. All of it is pure: the same request, table and salt give
//! the same arm in every process.

pub mod assign;
#[cfg(test)]
pub(crate) mod example;
pub mod facts;
pub mod key;
pub mod pointer;
pub mod table;

pub use assign::{Assignment, Salt};
pub use facts::{Body, Fields, RequestFacts};
pub use key::{Key, KeyRule, Unassigned};
pub use table::{Found, RouteEntry, Table};
