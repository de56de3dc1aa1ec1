//! As many file descriptors as the process may have.
//!
//! The soft limit is often 1,024, for programs that use `select`; this is none of them. A proxy pays one descriptor
//! for each client connection and one for each upstream connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one: what there is now, `None` without a limit.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit on file descriptors stays");
            current
        }
    }
}

/// Says so when connections will wait although the configuration would let them in.
pub(crate) fn warn_if_few(limit: Option<u64>, max_connections: usize) {
    let affordable = serin_proxy::affordable_connections();
    if let Some(limit) = limit
        && affordable < max_connections
    {
        tracing::warn!(
            limit,
            max_connections,
            affordable,
            "too few file descriptors for max_connections: clients will wait beyond what they are enough for"
        );
    }
}
