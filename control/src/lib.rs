//! The control loop.
