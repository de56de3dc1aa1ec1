//! One record per request: written by one worker, read by the control loop, never in each other's way.
//!
//! [`record`] is what is known of a request when it ends, [`stage`] counts it for the epoch it was assigned
//! in, [`cell`] is one worker's share of that, [`totals`] counts the same request for the metrics, whatever
//! its epoch; [`copies`] counts the copies that are made of requests. [`registry`] knows all of them: it hands stages to the routing table and reads them all into a
//! snapshot.

pub mod cell;
pub mod copies;
pub mod record;
pub mod registry;
pub mod stage;
pub mod totals;

pub use record::Record;
pub use registry::Measurements;
pub use stage::Stage;
