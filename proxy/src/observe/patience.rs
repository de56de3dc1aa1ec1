//! How long a body may be silent.
//!
//! A timer is made only when a body has to be waited for, and is not moved with every piece: when it goes off
//! it looks whether the silence has really lasted so long.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The patience with one body.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    /// When everything must be over, however lively it is.
    end: Option<Instant>,
    silent_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Silences up to `limit`, and not beyond `end`.
    pub(crate) const fn new(limit: Duration, end: Option<Instant>) -> Self {
        Self {
            limit,
            end,
            silent_since: None,
            timer: None,
        }
    }

    /// A piece came.
    pub(crate) const fn heard(&mut self) {
        self.silent_since = None;
    }

    /// Something came elsewhere that counts as well.
    pub(crate) fn heard_at(&mut self, at: Instant) {
        self.silent_since = self.silent_since.map(|since| since.max(at));
    }

    /// Whether everything must be over by now.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Nothing came: ready when that has lasted too long.
    pub(crate) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        let silence_ends = since + self.limit;
        let deadline = self.end.map_or(silence_ends, |end| end.min(silence_ends));
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_piece_renews_it_but_not_the_end() {
        let begin = Instant::now();
        let mut patience = Patience::new(3 * SECOND, Some(begin + 7 * SECOND));
        for _ in 0..2 {
            let waited = tokio::time::timeout(2 * SECOND, async {
                poll_fn(|cx| patience.poll_exhausted(cx)).await;
            });
            assert!(waited.await.is_err());
            patience.heard();
        }
        poll_fn(|cx| patience.poll_exhausted(cx)).await;
        // 4 s have passed; 3 s of silence end just at the end.
        assert_eq!(begin.elapsed().as_secs(), 7);
        patience.heard();
        poll_fn(|cx| patience.poll_exhausted(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 7);
    }
}
