//! Whether this process should get traffic, as `/readyz` tells it.
//!
//! The control loop beats once a second. When it stops, because it panicked or hangs on a disk, the last split
//! keeps serving, and readiness is how anybody learns of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::NowMs;

/// Shared by the control loop, which beats, and the admin API, which listens.
pub(crate) struct Pulse {
    now: NowMs,
    beat_ms: AtomicU64,
    tolerated_ms: AtomicU64,
    installed: AtomicBool,
    draining: AtomicBool,
    ended: AtomicBool,
    /// What is to be said of it although it is ready; often nothing.
    remark: Mutex<&'static str>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse")
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

impl Pulse {
    pub(crate) fn new(now: NowMs) -> Self {
        Self {
            beat_ms: AtomicU64::new(now()),
            now,
            tolerated_ms: AtomicU64::new(10_000),
            installed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            remark: Mutex::new(""),
        }
    }

    /// The loop is alive, and promises to beat again within this time.
    pub(crate) fn beat(&self, tolerated_ms: u64) {
        self.beat_ms.store((self.now)(), Relaxed);
        self.tolerated_ms.store(tolerated_ms, Relaxed);
    }

    /// The first split is in force.
    pub(crate) fn set_installed(&self) {
        self.installed.store(true, Relaxed);
    }

    /// The process is on its way out.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether it is.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// What is to be said of it, while that does not keep traffic away.
    pub(crate) fn set_remark(&self, remark: &'static str) {
        *self.remark.lock().unwrap_or_else(PoisonError::into_inner) = remark;
    }

    /// That.
    pub(crate) fn remark(&self) -> &'static str {
        *self.remark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop ended by itself.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether to send traffic here.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.draining.load(Relaxed) {
            return Err("draining".to_owned());
        }
        if !self.installed.load(Relaxed) {
            return Err("no split is in force yet".to_owned());
        }
        if self.ended.load(Relaxed) {
            return Err("the control loop ended; the last split keeps serving".to_owned());
        }
        let silent_ms = (self.now)().saturating_sub(self.beat_ms.load(Relaxed));
        if silent_ms > self.tolerated_ms.load(Relaxed) {
            return Err(format!(
                "the control loop has been silent for {} s; the last split keeps serving",
                silent_ms / 1_000
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn readiness_follows_the_loop() {
        let clock = Arc::new(AtomicU64::new(1_000));
        let read = Arc::clone(&clock);
        let pulse = Pulse::new(Arc::new(move || read.load(Relaxed)));
        assert!(pulse.ready().unwrap_err().contains("no split"));
        pulse.set_installed();
        assert_eq!(pulse.ready(), Ok(()));
        clock.store(11_000, Relaxed);
        assert_eq!(pulse.ready(), Ok(()));
        clock.store(11_001, Relaxed);
        assert!(pulse.ready().unwrap_err().contains("silent for 10 s"));
        pulse.beat(15_000);
        clock.store(26_000, Relaxed);
        assert_eq!(pulse.ready(), Ok(()));
        pulse.set_ended();
        assert!(pulse.ready().unwrap_err().contains("ended"));
        pulse.set_draining();
        assert_eq!(pulse.ready().unwrap_err(), "draining");
    }
}
