//! The ground of the house: what the operator said, parsed and proven.
//!
//! A file goes through three rooms: `tree` reads YAML once and keeps every position, `compile` walks the tree
//! and collects every error, and [`model`] holds the types that cannot be wrong. Nothing of the file is
//! ignored: what a later version implements is refused by name. [`watch`] does the same again whenever the
//! file changes and keeps the last good configuration.
//!
//! Paths: those of tokens, salts, certificates and keys are taken from the configuration file's folder, `state` from the
//! process' working directory.

mod compile;
mod diagnostic;
pub mod diff;
mod digest;
mod effective;
mod load;
pub mod model;
mod reference;
mod schema;
pub mod tls;
mod tree;
pub mod units;
mod walk;
pub mod watch;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use effective::effective;
pub use load::{Fingerprint, Loaded, load, parse};
pub use reference::markdown_reference;
pub use schema::json_schema;
