//! The ground of the house: what the operator said, parsed and proven.
pub mod model;
