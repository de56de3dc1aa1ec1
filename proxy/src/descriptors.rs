//! How many clients the process's file descriptors are enough for.
//!
//! Who is let in and can't be connected to an endpoint is answered 503, and probes that can't connect get a working
//! process killed. So those who come too many wait to be let in instead.

use rustix::process::{Resource, getrlimit};

/// Listeners, the journal, the admin API and its clients, health checks.
const ASIDE: u64 = 64;

/// Client connections that may be open at once by the limit on file descriptors. Most of many connections are idle: one
/// in four descriptors is kept for connections to endpoints, and a few for everything else.
#[must_use]
pub fn affordable_connections() -> usize {
    of(getrlimit(Resource::Nofile).current)
}

fn of(limit: Option<u64>) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let left = limit - ASIDE.min(limit / 4);
    usize::try_from(left / 4 * 3).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_what_is_left_goes_to_clients() {
        let cases = [
            (Some(64), 36),
            (Some(1024), 720),
            (Some(20_000), 14_952),
            (Some(0), 1),
        ];
        for (limit, connections) in cases {
            assert_eq!(of(limit), connections, "{limit:?}");
        }
        assert!(of(None) > 1 << 30);
    }
}
