//! What copies may hold, and how fast their answers are read.
//!
//! Bodies that wait to be copied are bounded over all workers together. What an answer may cost is bounded per
//! worker: a target that floods us is read slowly, and not to its end, so that it takes no processor time from
//! those who are answered by somebody else.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What all copies of all workers may hold of requests: as much as one largest copy takes (`mirror.max_body` is
/// at most 16 MiB).
const MOST_HELD: usize = 17 * 1024 * 1024;
/// What a copy counts for beside its head and body.
const FIXED: usize = 1024;
/// Longer answers are not read to their end.
pub(super) const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;
/// Bytes of answers that one worker reads per second, all copies together.
const RATE: u64 = 16 * 1024 * 1024;
/// … and at once after a pause.
const BURST: u64 = 1024 * 1024;

/// What all copies hold.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicUsize);

/// One copy's part of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    memory: Arc<Memory>,
    held: usize,
}

impl Claim {
    /// For a copy with a head of this size; `None` when there is no room.
    pub(super) fn new(memory: &Arc<Memory>, head: usize) -> Option<Self> {
        let mut claim = Self {
            memory: Arc::clone(memory),
            held: 0,
        };
        claim.grow(head + FIXED).then_some(claim)
    }

    /// Takes more, if there is room.
    pub(super) fn grow(&mut self, by: usize) -> bool {
        let room = |held: usize| held.checked_add(by).filter(|held| *held <= MOST_HELD);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Relaxed);
        let has_room = self.memory.0.fetch_update(set, fetch, room).is_ok();
        if has_room {
            self.held += by;
        }
        has_room
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.held, Ordering::AcqRel);
    }
}

/// How much may be read now. It may be overdrawn by one piece; then it is waited for.
#[derive(Debug)]
pub(super) struct Pace {
    allowed: Cell<f64>,
    at: Cell<Instant>,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            allowed: Cell::new(BURST as f64),
            at: Cell::new(now),
        }
    }

    /// So much was read. How long to wait before the next piece, if at all.
    pub(super) fn took(&self, bytes: usize, now: Instant) -> Option<Duration> {
        self.allowed.set(self.refilled(now) - bytes as f64);
        self.wait(now)
    }

    /// How long to wait, if at all.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let allowed = self.refilled(now);
        (allowed < 0.0).then(|| Duration::from_secs_f64(-allowed / RATE as f64))
    }

    fn refilled(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at.replace(now));
        let allowed = (self.allowed.get() + since.as_secs_f64() * RATE as f64).min(BURST as f64);
        self.allowed.set(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_allowed_and_all_is_given_back() {
        let memory = Arc::new(Memory::default());
        let mut first = Claim::new(&memory, 100).unwrap();
        assert!(first.grow(MOST_HELD - 3 * FIXED));
        assert!(!first.grow(2 * FIXED));
        let second = Claim::new(&memory, 100);
        assert!(second.is_some() && Claim::new(&memory, FIXED).is_none());
        drop(first);
        drop(second);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flood_is_read_at_its_pace() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert_eq!(pace.took(BURST as usize, start), None);
        let wait = pace.took(RATE as usize, start).unwrap();
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(pace.wait(start + wait), None);
        // A long pause allows one burst, not more.
        let later = start + Duration::from_secs(100);
        assert_eq!(pace.took(BURST as usize, later), None);
        assert!(pace.took(1024, later).is_some());
    }
}
