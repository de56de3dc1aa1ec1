//! One timer per connection, however many deadlines it has.
//!
//! The timer is not moved when a deadline is put off, which happens at every request: when it goes off, it
//! looks which deadline holds now, and waits for that one. It is moved only when a deadline comes nearer.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A connection's timer. One task waits for it, and no other.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The task will be woken when it goes off.
    is_set: bool,
}

impl Alarm {
    /// A timer that goes off then, or is asked for something else before.
    pub(crate) fn new(deadline: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(deadline)),
            is_set: false,
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        } else if self.is_set && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            self.is_set = false;
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        self.is_set = true;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_deadline_that_holds_when_it_looks() {
        const S: Duration = Duration::from_secs(1);
        let begin = Instant::now();
        let mut alarm = Alarm::new(begin + 75 * S);
        poll_fn(|cx| alarm.poll_due(cx, begin + 10 * S)).await;
        assert_eq!(begin.elapsed(), 10 * S);
        // Put off while it waits.
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            let deadline = if looks == 1 { 20 } else { 30 };
            alarm.poll_due(cx, begin + deadline * S)
        })
        .await;
        assert_eq!(begin.elapsed(), 30 * S);
        poll_fn(|cx| alarm.poll_due(cx, begin)).await;
        assert_eq!(begin.elapsed(), 30 * S);
    }
}
