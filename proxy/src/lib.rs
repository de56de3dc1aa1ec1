//! The data plane: who is asked, and what came back.

mod clock;
mod measure;
mod route;

pub use clock::Clock;
