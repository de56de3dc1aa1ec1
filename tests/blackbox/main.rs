//! Black-box tests: the real binary against the product's contract.
//!
//! One module a promise. Every test starts processes of its own on ports and folders of its own, so they run
//! side by side; what they share lives in `tests/support`.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod breach;
#[cfg(test)]
mod config_errors;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod forecasts;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod latch;
#[cfg(test)]
mod night;
#[cfg(test)]
mod ramp;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replacement;
#[cfg(test)]
mod secure;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod standby;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod verbs;
#[cfg(test)]
mod workers;
