//! How much a backend is asked at once, by all workers together.
//!
//! Requests beyond the limit wait in the order of their arrival, no more of them and no longer than is allowed;
//! one more, or a longer wait, is 503 with `Retry-After`. So load is shed while it costs a head, before it
//! costs a body and a connection. A place is held until the response has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use serin_config::model::Concurrency;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Failure;

/// A limit and the queue in front of it.
#[derive(Debug)]
pub(super) struct Admission {
    limit: Concurrency,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    shed: AtomicU64,
}

/// A place, as long as it is held.
#[derive(Debug, Default)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Whether it is one of a limited number.
    pub(super) const fn is_held(&self) -> bool {
        self.permit.is_some()
    }
}

/// One that waits, as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Admission {
    pub(super) fn new(limit: Concurrency) -> Self {
        Self {
            limit,
            places: Arc::new(Semaphore::new(limit.max_in_flight)),
            waiting: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
        }
    }

    /// A place, at once or after a while.
    pub(super) async fn enter(&self) -> Result<Place, Failure> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place {
                permit: Some(permit),
            });
        }
        let permit = self.queue(Arc::clone(&self.places).acquire_owned()).await?;
        Ok(Place {
            permit: Some(permit),
        })
    }

    /// Waits for this, if there is room in the queue and not too long.
    pub(super) async fn queue<T, E>(
        &self,
        awaited: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let Some(_waiting) = Waiting::begin(&self.waiting, self.limit.queue) else {
            return Err(self.shed());
        };
        match timeout(self.limit.queue_timeout, awaited).await {
            Ok(Ok(it)) => Ok(it),
            // Nobody closes what is waited for.
            Ok(Err(_)) | Err(_) => Err(self.shed()),
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many were sent away.
    pub(super) fn count_shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    fn shed(&self) -> Failure {
        self.shed.fetch_add(1, Relaxed);
        Failure::Overloaded
    }
}

impl<'a> Waiting<'a> {
    /// Unless so many do already.
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let room = |count| (count < most).then_some(count + 1);
        waiting.fetch_update(Relaxed, Relaxed, room).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    fn admission(max_in_flight: usize, queue: usize) -> Admission {
        Admission::new(Concurrency {
            max_in_flight,
            queue,
            queue_timeout: Duration::from_secs(1),
        })
    }

    async fn is_pending(mut entering: Pin<&mut impl Future>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(entering.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_may_wait_is_sent_away_at_once() {
        let admission = admission(1, 1);
        let first = admission.enter().await.unwrap();
        let second = admission.enter();
        tokio::pin!(second);
        assert!(is_pending(second.as_mut()).await);
        assert_eq!(admission.waiting(), 1);
        let third = tokio::time::timeout(Duration::ZERO, admission.enter()).await;
        assert!(matches!(third, Ok(Err(Failure::Overloaded))));
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!((admission.waiting(), admission.count_shed()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_who_leaves_makes_room() {
        let admission = admission(1, 1);
        let _first = admission.enter().await.unwrap();
        let began = tokio::time::Instant::now();
        assert!(matches!(admission.enter().await, Err(Failure::Overloaded)));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        {
            let leaves = admission.enter();
            tokio::pin!(leaves);
            assert!(is_pending(leaves.as_mut()).await);
        }
        assert_eq!(admission.waiting(), 0);
    }
}
