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
    inside: Arc<Inside>,
}

/// Who is in, and who waits: reloads change the limit, and not that.
#[derive(Debug)]
struct Inside {
    places: Arc<Semaphore>,
    /// Places to be taken away as they are given back.
    surplus: AtomicUsize,
    waiting: AtomicUsize,
    shed: AtomicU64,
}

/// A place, as long as it is held.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<Held>);

#[derive(Debug)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    inside: Arc<Inside>,
}

impl Place {
    /// Whether it is one of a limited number.
    pub(super) const fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.inside.takes_away()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Inside {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            surplus: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
        }
    }

    /// As many places as now, and so many more or fewer.
    fn resize(&self, from: usize, to: usize) {
        if to < from {
            let gone = self.places.forget_permits(from - to);
            self.surplus.fetch_add(from - to - gone, Relaxed);
        } else {
            let more = (from..to).filter(|_| !self.takes_away()).count();
            self.places.add_permits(more);
        }
    }

    /// Whether there is a place too many; there is one fewer then.
    fn takes_away(&self) -> bool {
        let fewer = |surplus: usize| surplus.checked_sub(1);
        self.surplus.fetch_update(Relaxed, Relaxed, fewer).is_ok()
    }
}

/// One that waits, as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Admission {
    /// A limit in place of a former one, with those who are in and who wait.
    pub(super) fn new(limit: Concurrency, former: Option<&Self>) -> Self {
        let inside = match former {
            Some(former) => {
                let inside = Arc::clone(&former.inside);
                inside.resize(former.limit.max_in_flight, limit.max_in_flight);
                inside
            }
            None => Arc::new(Inside::new(limit.max_in_flight)),
        };
        Self { limit, inside }
    }

    /// A place, at once or after a while.
    pub(super) async fn enter(&self) -> Result<Place, Failure> {
        let places = &self.inside.places;
        let permit = match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue(Arc::clone(places).acquire_owned()).await?,
        };
        Ok(Place(Some(Held {
            permit: Some(permit),
            inside: Arc::clone(&self.inside),
        })))
    }

    /// Waits for this, if there is room in the queue and not too long.
    pub(super) async fn queue<T, E>(
        &self,
        awaited: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let Some(_waiting) = Waiting::begin(&self.inside.waiting, self.limit.queue) else {
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
        self.inside.waiting.load(Relaxed)
    }

    /// How many were sent away.
    pub(super) fn count_shed(&self) -> u64 {
        self.inside.shed.load(Relaxed)
    }

    fn shed(&self) -> Failure {
        self.inside.shed.fetch_add(1, Relaxed);
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
        Admission::new(limit(max_in_flight, queue), None)
    }

    fn limit(max_in_flight: usize, queue: usize) -> Concurrency {
        Concurrency {
            max_in_flight,
            queue,
            queue_timeout: Duration::from_secs(1),
        }
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

    /// Reloads change how many may be in, not who is.
    #[tokio::test(start_paused = true)]
    async fn limits_change_around_those_who_are_in() {
        let first = admission(2, 1);
        let mut inside = vec![first.enter().await.unwrap(), first.enter().await.unwrap()];
        let mut waits = std::pin::pin!(first.enter());
        assert!(is_pending(waits.as_mut()).await);
        let wider = Admission::new(limit(3, 1), Some(&first));
        inside.push(waits.await.unwrap());
        let mut waits = std::pin::pin!(wider.enter());
        assert!(is_pending(waits.as_mut()).await);
        // Fewer than are in: places are free again when enough have left.
        let narrow = Admission::new(limit(1, 1), Some(&wider));
        inside.truncate(1);
        assert!(is_pending(waits.as_mut()).await);
        inside.clear();
        let last = waits.await.unwrap();
        let mut waits = std::pin::pin!(narrow.enter());
        assert!(is_pending(waits.as_mut()).await);
        // More again, before that had come about.
        let again = Admission::new(limit(2, 1), Some(&narrow));
        let second = waits.await.unwrap();
        let tighter = Admission::new(limit(1, 1), Some(&again));
        let as_before = Admission::new(limit(2, 1), Some(&tighter));
        drop((last, second));
        let (_one, _two) = (
            as_before.enter().await.unwrap(),
            as_before.enter().await.unwrap(),
        );
        let mut waits = std::pin::pin!(as_before.enter());
        assert!(is_pending(waits.as_mut()).await);
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
