//! The data plane: who is asked, and what came back.

mod clock;
pub mod measure;
pub mod route;

pub use clock::Clock;
