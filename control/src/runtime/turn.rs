//! The control thread's loop: one thing at a time, whichever comes first.
//!
//! The bell is answered at once when it was quiet, and at most every two milliseconds under a storm, so that a
//! canary that fails every request cannot keep operators waiting.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::control::Control;
use super::controller::Reload;
use crate::admin::desk::Ask;
use crate::driver::BELL_PAUSE;

/// What the process itself says to the control loop.
#[derive(Debug)]
pub(super) enum Order {
    /// The configuration was read again.
    Reload(Reload),
    /// Save everything and end.
    Stop(oneshot::Sender<()>),
}

/// Runs until it is told to stop, or until whoever started it is gone: then nothing is saved, as after kill -9.
pub(super) async fn turn(
    control: &mut Control,
    bell: Arc<Notify>,
    mut asks: mpsc::Receiver<Ask>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut quiet_until = Instant::now();
    loop {
        let rung = async {
            sleep_until(quiet_until).await;
            bell.notified().await;
        };
        tokio::select! {
            () = rung => {
                control.look_at_bell();
                quiet_until = Instant::now() + BELL_PAUSE;
            }
            () = sleep_until(control.next_due()) => control.on_time(),
            Some(ask) = asks.recv() => {
                // An asker that went away needs no answer; what it asked for is done all the same.
                _ = ask.reply.send(control.answer(ask.question));
            }
            order = orders.recv() => match order {
                Some(Order::Reload(reload)) => control.reload(reload),
                Some(Order::Stop(done)) => {
                    // What happened since the last look is evidence too, and must outlive the process.
                    control.look_at_bell();
                    control.checkpoint();
                    control.settle();
                    _ = done.send(());
                    return;
                }
                None => return,
            },
        }
    }
}
