//! The control loop against a data plane that only writes down what it is told, over real sockets, with a
//! real journal. Time is real; waiting is polling with a deadline.

mod api;
mod house;
mod journal_trouble;
mod lifecycle;
mod restart;
mod standby;
