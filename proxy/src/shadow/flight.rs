//! One copy under way: sent once, its answer read and thrown away, within deadlines of its own.
//!
//! The route's deadlines hold as they do for originals. A copy that is still unanswered when its original has
//! been over for as long as a response may take is given up: so an answer that never ends does not stay for
//! ever, and one that is long for both is not cut short.

use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serin_config::model::{Backend, Timeouts};
use serin_stats::shadow::{CopyResult, Target};
use serin_stats::snapshot::Outcome;
use tokio::time::{Instant, sleep, timeout};

use super::Mirror;
use super::bounds::LONGEST_ANSWER;
use super::head::CopyHead;
use super::pair::Pairing;
use super::pieces::Pieces;
use crate::error::Failure;
use crate::measure::copies::CopySlot;
use crate::observe::{grpc, outcome};
use crate::upstream::Wire;

/// A copy under way.
pub(super) struct Flight {
    pub(super) mirror: Rc<Mirror>,
    pub(super) pairing: Rc<Pairing>,
    /// Its place among the copies under way.
    pub(super) slot: CopySlot,
}

/// How an answer ended.
struct Answer {
    result: CopyResult,
    /// We made the target wait: its time says nothing.
    was_paced: bool,
}

impl From<CopyResult> for Answer {
    fn from(result: CopyResult) -> Self {
        Self {
            result,
            was_paced: false,
        }
    }
}

impl Flight {
    /// Sends the copy and waits for all of the answer. Dropped half-way: the proxy has stopped.
    pub(super) async fn run(self, head: CopyHead, body: Pieces) {
        self.pairing.end(CopyResult::DroppedDraining, None);
        let answer = tokio::select! {
            biased;
            answer = self.ask(head, body) => answer,
            () = self.overdue() => CopyResult::Timeout.into(),
        };
        let ended = (!answer.was_paced).then(Instant::now);
        self.pairing.end(answer.result, ended);
        tracing::trace!(
            route = %self.pairing.entry().route.name,
            target = self.pairing.target().name(),
            result = answer.result.name(),
            "a copy ended"
        );
        drop(self.slot);
    }

    /// Nobody waits for the copy any more.
    async fn overdue(&self) {
        let Timeouts {
            total, response, ..
        } = self.timeouts();
        match total {
            Some(total) => sleep(total).await,
            None => {
                self.pairing.original_over().await;
                sleep(response).await;
            }
        }
    }

    async fn ask(&self, head: CopyHead, body: Pieces) -> Answer {
        let Some(backend) = self.backend() else {
            return CopyResult::DroppedConnection.into();
        };
        let is_call = grpc::is_call(head.headers());
        let wire = Wire::of(backend, is_call);
        let timeouts = self.timeouts();
        let pool = &self.mirror.pool;
        let mut line = match pool.line(backend, wire, timeouts.connect).await {
            Ok(line) => line,
            Err(Failure::Exhausted(_)) => return CopyResult::DroppedConnection.into(),
            Err(failure) => {
                tracing::debug!(%failure, "no connection for a copy");
                return CopyResult::Unreachable.into();
            }
        };
        let Some(request) = head.request(line.wire(), line.scheme(), body) else {
            return CopyResult::DroppedRequest.into();
        };
        match timeout(timeouts.response, line.send(request)).await {
            Err(_) => CopyResult::Timeout.into(),
            Ok(Err(result)) => result.into(),
            Ok(Ok(response)) => {
                let answer = self.read(response, is_call, timeouts.idle).await;
                if answer.result != CopyResult::Timeout
                    && answer.result != CopyResult::DroppedAnswer
                {
                    line.keep();
                }
                answer
            }
        }
    }

    /// Reads the answer to its end, not faster than we may.
    async fn read(&self, response: Response<Incoming>, is_call: bool, idle: Duration) -> Answer {
        let (head, mut body) = response.into_parts();
        let is_http2 = head.version == Version::HTTP_2;
        let mut meaning = if is_call && head.status == StatusCode::OK {
            grpc::outcome(&head.headers)
        } else if head.status.is_informational() {
            Some(Outcome::Error)
        } else {
            Some(outcome::of_status(head.status))
        };
        let mut read = 0;
        let mut was_paced = false;
        let result = loop {
            if let Some(pause) = self.mirror.pace.wait(Instant::now().into_std()) {
                was_paced = true;
                sleep(pause).await;
                continue;
            }
            let frame = match timeout(idle, body.frame()).await {
                Err(_) => break CopyResult::Timeout,
                // hyper takes any reset without an error for the end, though it is one only behind a whole answer.
                Ok(None) if is_http2 && !body.is_end_stream() => break CopyResult::Error,
                Ok(None) => break result_of(meaning),
                Ok(Some(Err(_))) => break CopyResult::Error,
                Ok(Some(Ok(frame))) => frame,
            };
            if let Some(data) = frame.data_ref() {
                read += data.len() as u64;
                let now = Instant::now().into_std();
                self.mirror.pace.took(data.len(), now);
                if read > LONGEST_ANSWER {
                    break CopyResult::DroppedAnswer;
                }
            } else if let Some(trailers) = frame.trailers_ref() {
                meaning = meaning.or_else(|| grpc::outcome(trailers));
            }
        };
        Answer { result, was_paced }
    }

    fn backend(&self) -> Option<&Backend> {
        let route = &self.pairing.entry().route;
        match self.pairing.target() {
            Target::Canary => route.canary.as_ref(),
            Target::Shadow => route.shadow.as_ref(),
        }
    }

    fn timeouts(&self) -> Timeouts {
        self.pairing.entry().route.timeouts
    }
}

/// A call without a status is an error; so is one that says its client left, which nobody did.
const fn result_of(meaning: Option<Outcome>) -> CopyResult {
    match meaning {
        Some(Outcome::Success) => CopyResult::Ok,
        Some(Outcome::Rejected) => CopyResult::Rejected,
        Some(Outcome::Error | Outcome::Aborted) | None => CopyResult::Error,
    }
}
