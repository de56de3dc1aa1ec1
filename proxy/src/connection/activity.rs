//! When an HTTP/2 connection has been idle, or busy with nothing, for too long.
//!
//! The codec's traffic is noted as it passes (a few stores, no timer); one timer per connection looks at the
//! notes when it might be time.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For being shown the door.
    pub(crate) head: Duration,
    /// Without a request, or without taking what we send.
    pub(crate) idle: Duration,
}

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    requests: Cell<usize>,
    /// Since when there is no request.
    idle_since: Cell<Instant>,
    /// Since when the client takes nothing of what we send.
    stuck_since: Cell<Option<Instant>>,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// It had no request for too long.
    Idle,
    /// It takes nothing of what we send.
    Stuck,
}

impl Activity {
    /// Of a new connection whose first bytes were read.
    pub(crate) fn new() -> Self {
        Self {
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            stuck_since: Cell::new(None),
        }
    }

    /// A request's head is complete.
    pub(crate) fn request_began(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// A response is complete, or given up.
    pub(crate) fn request_ended(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
    }

    /// Bytes were written to the client, or could not be.
    pub(super) fn wrote(&self, progress: bool) {
        if progress {
            self.stuck_since.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Instant::now()));
        }
    }

    /// The earliest moment at which there may be something to do.
    pub(super) fn due(&self, patience: &Patience) -> Instant {
        let idle_since = match self.requests.get() {
            0 => self.idle_since.get(),
            _ => Instant::now(),
        };
        self.stuck_since.get().unwrap_or(idle_since) + patience.idle
    }

    pub(super) fn judge(&self, patience: &Patience, now: Instant) -> Verdict {
        let over = |since: Option<Instant>, limit| since.is_some_and(|since| since + limit <= now);
        if over(self.stuck_since.get(), patience.idle) {
            Verdict::Stuck
        } else if self.requests.get() > 0 {
            Verdict::Fine
        } else if over(Some(self.idle_since.get()), patience.idle) {
            Verdict::Idle
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        head: S,
        idle: Duration::from_secs(5),
    };

    #[tokio::test(start_paused = true)]
    async fn idleness_and_stuck_readers_are_told_apart() {
        let activity = Activity::new();
        let after = |seconds: u32| activity.judge(&PATIENCE, Instant::now() + S * seconds);
        assert_eq!(after(0), Verdict::Fine);
        activity.request_began();
        assert_eq!(after(9), Verdict::Fine);
        activity.request_ended();
        assert_eq!(after(4), Verdict::Fine);
        assert_eq!(after(5), Verdict::Idle);
        activity.request_began();
        activity.wrote(false);
        assert_eq!(after(5), Verdict::Stuck);
        activity.wrote(true);
        assert_eq!(after(9), Verdict::Fine);
        assert!(activity.due(&PATIENCE) <= Instant::now() + 5 * S);
    }
}
