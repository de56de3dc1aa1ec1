//! Answers to what the admin API asks.

use serde_json::{Value, json};

use super::control::Control;
use super::role::Role;
use super::stamp::rfc3339;
use crate::admin::desk::{Question, Refusal, Reply};
use crate::journal::{DecisionHead, DecisionRow, JournalError, Reader};
use crate::rollout::Event;

impl Control {
    /// Answers a question.
    pub(super) fn answer(&mut self, question: Question) -> Result<Reply, Refusal> {
        match question {
            Question::Rollouts => {
                self.look_when_asked();
                Ok(Reply::Json(self.statuses()))
            }
            Question::Rollout(name) => {
                self.look_when_asked();
                self.one(&name)
            }
            Question::Operate { rollout, command } => {
                self.known(&rollout)?;
                if let Role::Waiting { why, .. } = &self.role {
                    return Err(Refusal::NotNow(why.to_string()));
                }
                tracing::info!(
                    rollout,
                    verb = command.verb.name(),
                    actor = command.actor,
                    reason = command.reason,
                    "operator"
                );
                self.apply(&rollout, Event::Operator(command))
                    .map_err(|why| {
                        tracing::warn!(rollout, why, "refused");
                        Refusal::NotNow(why)
                    })?;
                self.one(&rollout)
            }
            Question::Decisions { rollout, limit } => {
                self.known(&rollout)?;
                let heads = self.read(|reader| reader.decisions(&rollout, limit))?;
                Ok(Reply::Json(heads.iter().map(head).collect()))
            }
            Question::Decision { rollout, id } => {
                self.known(&rollout)?;
                let row = self.read(|reader| reader.decision(&rollout, id))?;
                row.map(|row| Reply::Json(decision(&row))).ok_or_else(|| {
                    Refusal::Unknown(format!("rollout {rollout} has no decision {id}"))
                })
            }
            Question::Config => Ok(Reply::Json(self.in_force())),
            Question::Metrics => Ok(Reply::Metrics(self.metrics())),
        }
    }

    /// The configuration in force, and why a newer one is not, for as long as that is so.
    fn in_force(&self) -> Value {
        let mut document = serin_config::effective(&self.config);
        if let (Some(members), Some(report)) = (document.as_object_mut(), &self.refused) {
            members.insert("refused".to_owned(), json!(report));
        }
        document
    }

    fn one(&self, name: &str) -> Result<Reply, Refusal> {
        self.status(name)
            .map(Reply::Json)
            .ok_or_else(|| unknown(name))
    }

    fn known(&self, name: &str) -> Result<(), Refusal> {
        if self.tracks.contains_key(name) {
            Ok(())
        } else {
            Err(unknown(name))
        }
    }

    /// Reads from the journal, whoever writes it.
    fn read<T>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, JournalError>,
    ) -> Result<T, Refusal> {
        let read = match &self.role {
            // Beside the thread that writes, so that nobody who asks waits for the disk's last write.
            Role::Deciding {
                journal: Some(_), ..
            } => Reader::open(&self.config.state).and_then(|reader| query(&reader)),
            Role::Waiting {
                reader: Some(reader),
                ..
            } => query(reader),
            Role::Deciding { journal: None, .. } | Role::Waiting { reader: None, .. } => {
                return Err(Refusal::Unavailable(
                    "there is no journal to read".to_owned(),
                ));
            }
        };
        read.map_err(|error| Refusal::Unavailable(error.to_string()))
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::Unknown(format!("there is no rollout {name}"))
}

fn head(head: &DecisionHead) -> Value {
    json!({
        "id": head.id,
        "at": rfc3339(head.at_ms),
        "epoch": head.epoch,
        "kind": head.kind,
        "recommendation": head.recommendation,
        "summary": head.summary,
    })
}

/// A decision with its inputs and its receipt; the evidence is JSON itself, where it is still kept.
fn decision(row: &DecisionRow) -> Value {
    let mut document = head(&row.head);
    let mut inputs: Value = serde_json::from_str(&row.report).unwrap_or_default();
    let receipt = inputs
        .as_object_mut()
        .and_then(|inputs| inputs.remove("receipt"));
    let evidence: Option<Value> = row
        .evidence
        .as_deref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok());
    if let Some(members) = document.as_object_mut() {
        members.insert("inputs".to_owned(), inputs);
        members.insert("receipt".to_owned(), json!(receipt));
        members.insert("evidence".to_owned(), json!(evidence));
    }
    document
}
