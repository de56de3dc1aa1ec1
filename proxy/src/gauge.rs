//! How much is going on: connections and requests in flight, per worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// All workers' gauges.
#[derive(Debug)]
pub(crate) struct Gauges {
    workers: Box<[Worker]>,
    /// Acceptors that wait for room.
    room_wanted: AtomicUsize,
    /// A connection ended while one of them did, or more may be open.
    room: Notify,
    /// A connection ended, or a thread did.
    ended: Notify,
    threads: AtomicUsize,
    acceptors: AtomicUsize,
    heirs: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Worker {
    /// Raised by the acceptor, lowered by the worker.
    connections: AtomicUsize,
    /// Written by the worker alone.
    in_flight: AtomicUsize,
}

/// A connection's place at a worker; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    gauges: Arc<Gauges>,
    worker: usize,
}

/// A thread of ours that runs; said to have ended when dropped.
pub(crate) struct Running(Arc<Gauges>);

/// Listeners that are open; said to be closed when dropped.
pub(crate) struct Accepting(Arc<Gauges>);

/// An acceptor that waits, as long as it does.
struct Wanting<'a>(&'a AtomicUsize);

/// Another process that accepts beside this one; said to be gone when dropped.
pub(crate) struct Heir(Arc<Gauges>);

impl Gauges {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            room_wanted: AtomicUsize::new(0),
            room: Notify::new(),
            ended: Notify::new(),
            threads: AtomicUsize::new(0),
            acceptors: AtomicUsize::new(0),
            heirs: AtomicUsize::new(0),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        let workers = self.workers.iter();
        workers
            .map(|worker| worker.connections.load(Ordering::Acquire))
            .sum()
    }

    pub(crate) fn in_flight(&self) -> usize {
        let workers = self.workers.iter();
        workers
            .map(|worker| worker.in_flight.load(Ordering::Acquire))
            .sum()
    }

    /// The worker with the fewest connections.
    pub(crate) fn least_busy(&self) -> usize {
        let loads = self.workers.iter().enumerate();
        loads
            .min_by_key(|(_, worker)| worker.connections.load(Ordering::Relaxed))
            .map_or(0, |(at, _)| at)
    }

    /// Takes a place at a worker.
    pub(crate) fn seat(self: &Arc<Self>, worker: usize) -> Seat {
        if let Some(gauge) = self.workers.get(worker) {
            gauge.connections.fetch_add(1, Ordering::AcqRel);
        }
        Seat {
            gauges: Arc::clone(self),
            worker,
        }
    }

    /// Waits until fewer than `most` connections are open, which may change meanwhile.
    pub(crate) async fn room(&self, most: impl Fn() -> usize) {
        if self.connections() < most() {
            return;
        }
        let _wanting = Wanting::begin(&self.room_wanted);
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            // Again: one may have ended before it could know that it is waited for.
            if self.connections() < most() {
                return;
            }
            room.await;
        }
    }

    /// More connections may be open than before, perhaps.
    pub(crate) fn look_for_room(&self) {
        self.room.notify_waiters();
    }

    /// Waits until this holds; it is asked again after every end of a connection or thread.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if holds(self) {
                return;
            }
            ended.await;
        }
    }

    /// One more thread of ours runs.
    pub(crate) fn running(self: &Arc<Self>) -> Running {
        self.threads.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// Threads of ours that run.
    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Acquire)
    }

    /// Listeners are open.
    pub(crate) fn accepting(self: &Arc<Self>) -> Accepting {
        self.acceptors.fetch_add(1, Ordering::AcqRel);
        Accepting(Arc::clone(self))
    }

    /// How many accept connections.
    pub(crate) fn acceptors(&self) -> usize {
        self.acceptors.load(Ordering::Acquire)
    }

    /// Another process has taken listeners over.
    pub(crate) fn heir(self: &Arc<Self>) -> Heir {
        self.heirs.fetch_add(1, Ordering::AcqRel);
        Heir(Arc::clone(self))
    }

    /// How many processes accept beside this one.
    pub(crate) fn heirs(&self) -> usize {
        self.heirs.load(Ordering::Acquire)
    }

    pub(crate) fn request_began(&self, worker: usize) {
        self.change_in_flight(worker, |count| count.wrapping_add(1));
    }

    pub(crate) fn request_ended(&self, worker: usize) {
        self.change_in_flight(worker, |count| count.wrapping_sub(1));
    }

    /// One writer: no locked instruction is needed.
    fn change_in_flight(&self, worker: usize, change: impl Fn(usize) -> usize) {
        if let Some(gauge) = self.workers.get(worker) {
            let count = gauge.in_flight.load(Ordering::Relaxed);
            gauge.in_flight.store(change(count), Ordering::Release);
        }
    }
}

impl<'a> Wanting<'a> {
    fn begin(wanting: &'a AtomicUsize) -> Self {
        wanting.fetch_add(1, Ordering::SeqCst);
        Self(wanting)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauges.workers.get(self.worker) {
            gauge.connections.fetch_sub(1, Ordering::SeqCst);
        }
        if self.gauges.room_wanted.load(Ordering::SeqCst) > 0 {
            self.gauges.room.notify_waiters();
        }
        self.gauges.ended.notify_waiters();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_waiters();
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.acceptors.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_waiters();
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        self.0.heirs.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_room_hears_of_ends_and_of_new_limits() {
        let gauges = Arc::new(Gauges::new(1));
        let most = AtomicUsize::new(1);
        let room = || gauges.room(|| most.load(Ordering::Relaxed));
        assert!(room().now_or_never().is_some());
        let seat = gauges.seat(0);
        // Two listeners wait: one may not keep the news from the other.
        let (mut first, mut second) = (Box::pin(room()), Box::pin(room()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(seat);
        assert!(first.as_mut().now_or_never().is_some());
        drop(first);
        assert!(second.as_mut().now_or_never().is_some());
        let _seat = gauges.seat(0);
        let mut third = Box::pin(room());
        assert!(third.as_mut().now_or_never().is_none());
        most.store(2, Ordering::Relaxed);
        gauges.look_for_room();
        assert!(third.as_mut().now_or_never().is_some());
    }
}
