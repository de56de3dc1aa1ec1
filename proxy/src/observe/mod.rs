//! Watches a response as it streams past, and says once how its exchange ended.
//!
//! [`relay`] wraps the response's body without buffering anything; [`outcome`] and [`grpc`] class what it sees;
//! [`ticket`] is the one record that every routed request leaves behind, also when it is dropped half-way;
//! [`patience`] is how long either side may be silent; [`trace`] tells a sampled exchange as spans.

pub(crate) mod grpc;
pub(crate) mod outcome;
pub(crate) mod patience;
pub(crate) mod relay;
pub(crate) mod ticket;
pub(crate) mod trace;
pub(crate) mod traceparent;

pub(crate) use patience::Patience;
pub(crate) use relay::Relay;
pub(crate) use ticket::{Arrival, Ticket};
pub(crate) use trace::{Sampling, SpanLinks, Trace, TracedHead};
