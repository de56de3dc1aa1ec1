//! The counter between the admin API and the control loop: questions go in, answers come out.
//!
//! The two run on threads of their own, so a control loop that waits for a slow disk leaves `/livez` and
//! `/metrics` alone. The queue is bounded; when it is full the asker waits, and gives up at a deadline.

use std::time::Duration;

use serde_json::Value;
use serin_stats::metrics::Page;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::rollout::Command;

/// Questions that may wait for the control loop.
pub(crate) const QUEUE: usize = 64;
/// Notices a slow listener may be behind before it misses some.
pub(crate) const NOTICES: usize = 256;
/// For an answer; a lower bound on how long a disk may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What can be asked.
#[derive(Debug)]
pub(crate) enum Question {
    /// Every rollout's status.
    Rollouts,
    /// One rollout's status.
    Rollout(String),
    /// An operator's verb; answered with the rollout as it is afterwards.
    Operate {
        /// Whose.
        rollout: String,
        /// What.
        command: Command,
    },
    /// A rollout's newest decisions.
    Decisions {
        /// Whose.
        rollout: String,
        /// At most this many.
        limit: u32,
    },
    /// One decision with its evidence.
    Decision {
        /// Whose.
        rollout: String,
        /// Which.
        id: u64,
    },
    /// The configuration in force.
    Config,
    /// The control loop's own metrics.
    Metrics,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To every question but metrics.
    Json(Value),
    /// The control loop's families.
    Metrics(Page),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no such rollout, or no such decision.
    #[error("{0}")]
    Unknown(String),
    /// Not in this phase, or not by this process.
    #[error("{0}")]
    NotNow(String),
    /// The control loop cannot answer.
    #[error("{0}")]
    Unavailable(String),
}

/// A question with the way back.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) reply: oneshot::Sender<Result<Reply, Refusal>>,
}

/// Something that listeners of `/api/v1/events` are told.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// `phase`, `decision` or `reload`.
    pub(crate) kind: &'static str,
    /// What about it.
    pub(crate) data: Value,
}

/// The asking side.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
    notices: broadcast::Sender<Notice>,
}

impl Desk {
    pub(crate) const fn new(asks: mpsc::Sender<Ask>, notices: broadcast::Sender<Notice>) -> Self {
        Self { asks, notices }
    }

    /// Asks, and waits for the answer as long as is reasonable.
    pub(crate) async fn ask(&self, question: Question) -> Result<Reply, Refusal> {
        self.ask_within(question, PATIENCE).await
    }

    /// Asks, and waits for the answer this long.
    pub(crate) async fn ask_within(
        &self,
        question: Question,
        patience: Duration,
    ) -> Result<Reply, Refusal> {
        let gone = || Refusal::Unavailable("the control loop does not run".to_owned());
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let ask = Ask { question, reply };
            self.asks.send(ask).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|_| {
                Err(Refusal::Unavailable(
                    "the control loop does not answer in time".to_owned(),
                ))
            })
    }

    /// What happens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}
