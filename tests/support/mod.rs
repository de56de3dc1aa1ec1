//! What the black-box tests are made of: the real binary, real model servers, real clients, all on loopback.
//!
//! Nothing here reaches into the product: a [`Site`](site::Site) is a folder with a configuration file, a
//! [`Serin`](process::Serin) is the process that runs it, and everything else is seen from outside. There are
//! no sleeps that hope: whoever waits says for what and for how long ([`eventually`]).

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod exposition;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod site;

use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with `what` when the limit has passed.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
