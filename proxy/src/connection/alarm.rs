//! One timer per connection, however many deadlines it has.
//!
//! The timer is not moved when a deadline is put off, which happens at every request: when it goes off, it
//! looks which deadline holds now, and waits for that one. It is moved only when a deadline comes nearer.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A connection's timer.
#[derive(Debug)]
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// A timer that goes off then, or is asked for something else before.
    pub(crate) fn new(deadline: Instant) -> Self {
        Self(Box::pin(sleep_until(deadline)))
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        while self.0.as_mut().poll(cx).is_ready() {
            if self.0.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
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
