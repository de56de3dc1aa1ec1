//! `serin explain`: one decision, recomputed from its recorded evidence.
//!
//! The receipt is all that is read: the decision is computed from it again by the same code that made it, and
//! compared with the record to the last bit. With `--state` it comes from the journal's folder, without a
//! running proxy.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use serin_control::analysis::{Explanation, explain};
use serin_control::journal::{DecisionHead, Reader};

use super::operate::Output;
use super::{Answer, Failure};
use crate::client::{AdminClient, AdminOptions, rollout_path};
use crate::term::print;

/// Decisions that are searched for one with a receipt.
const NEWEST: u32 = 50;

/// Recompute one decision from its recorded evidence, step by step.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  serin explain digits            the newest decision that moved the rollout
  serin explain digits 17         that one; `serin history` shows the numbers
  serin explain digits 17 --state ./serin-state    offline")]
pub(crate) struct Explain {
    /// The rollout; may be left out when there is only one.
    rollout: Option<String>,
    /// The decision's number; the newest one that moved the rollout when left out.
    decision: Option<u64>,
    /// Read the journal in this folder instead of asking a running proxy.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is told about.
struct Found {
    rollout: String,
    /// As in `serin history`.
    head: Value,
    id: u64,
    summary: String,
    receipt: Value,
    report: Value,
    /// Something else than the evidence made the rollout move.
    otherwise_caused: bool,
}

impl Found {
    /// `inputs` as the journal has them.
    fn new(rollout: String, head: Value, mut inputs: Value, receipt: Value) -> Self {
        let event = taken(&mut inputs, "event");
        let summary = head.get("summary").and_then(Value::as_str);
        Self {
            rollout,
            id: head.get("id").and_then(Value::as_u64).unwrap_or_default(),
            summary: summary.unwrap_or_default().to_owned(),
            head,
            receipt,
            report: taken(&mut inputs, "report"),
            otherwise_caused: !(event.is_null() || event.get("judged").is_some()),
        }
    }

    fn sentence(&self, told: &Explanation) -> String {
        if self.otherwise_caused {
            format!("{}; the evidence by then: {}", self.summary, told.sentence)
        } else {
            told.sentence.clone()
        }
    }
}

/// A member, taken out; null when there is none.
fn taken(document: &mut Value, name: &str) -> Value {
    document.get_mut(name).map(Value::take).unwrap_or_default()
}

impl Explain {
    pub(super) async fn run(self, admin: &AdminOptions) -> Result<Answer, Failure> {
        let (rollout, decision) = self.words();
        let found = match &self.state {
            Some(folder) => offline(folder, rollout.as_deref(), decision)?,
            None => online(admin, rollout.as_deref(), decision).await?,
        };
        let told = explain(&found.receipt, &found.report)
            .map_err(|error| Failure::no(format!("decision {}: {error}", found.id)))?;
        print(&match self.output {
            Output::Json => format!("{:#}\n", document(&found, &told)),
            Output::Text => text(&found, &told),
        })?;
        Ok(if told.agrees { Answer::Yes } else { Answer::No })
    }

    /// A single number is a decision: the rollout was left out.
    fn words(&self) -> (Option<String>, Option<u64>) {
        match (&self.rollout, self.decision) {
            (Some(word), None) => match word.parse() {
                Ok(decision) => (None, Some(decision)),
                Err(_) => (Some(word.clone()), None),
            },
            (rollout, decision) => (rollout.clone(), decision),
        }
    }
}

async fn online(
    admin: &AdminOptions,
    rollout: Option<&str>,
    decision: Option<u64>,
) -> Result<Found, Failure> {
    let client = AdminClient::new(admin)?;
    let rollout = client.the_rollout(rollout).await?;
    let id = match decision {
        Some(id) => id,
        None => {
            let path = rollout_path(&rollout, &format!("/decisions?limit={NEWEST}"));
            let heads = client.get(&path).await?;
            let heads = heads.as_array().into_iter().flatten();
            let head = |head: &'_ Value| {
                let kind = head.get("kind")?.as_str()?.to_owned();
                Some((head.get("id")?.as_u64()?, kind))
            };
            newest(heads.filter_map(head)).ok_or_else(|| nothing_decided(&rollout))?
        }
    };
    let mut document = client
        .get(&rollout_path(&rollout, &format!("/decisions/{id}")))
        .await?;
    let (receipt, inputs) = (
        taken(&mut document, "receipt"),
        taken(&mut document, "inputs"),
    );
    Ok(Found::new(rollout, head(&document), inputs, receipt))
}

fn offline(folder: &Path, rollout: Option<&str>, decision: Option<u64>) -> Result<Found, Failure> {
    let unreadable = |error| Failure::no(format!("{}: {error}", folder.display()));
    let reader = Reader::open(folder).map_err(unreadable)?;
    let known = reader.rollouts().map_err(unreadable)?;
    let rollout = match (rollout, known.as_slice()) {
        (_, []) => return Err(Failure::no("the journal knows no rollout")),
        (Some(named), known) if known.iter().any(|each| each == named) => named.to_owned(),
        (Some(named), known) => {
            let known = known.join(", ");
            return Err(Failure::no(format!(
                "the journal knows no rollout {named}; there is: {known}"
            )));
        }
        (None, [only]) => only.clone(),
        (None, several) => {
            return Err(Failure::usage(format!(
                "there are several rollouts, name one: {}",
                several.join(", ")
            )));
        }
    };
    let id = match decision {
        Some(id) => id,
        None => {
            let heads = reader.decisions(&rollout, NEWEST).map_err(unreadable)?;
            newest(heads.into_iter().map(|head| (head.id, head.kind)))
                .ok_or_else(|| nothing_decided(&rollout))?
        }
    };
    let row = reader
        .decision(&rollout, id)
        .map_err(unreadable)?
        .ok_or_else(|| Failure::no(format!("rollout {rollout} has no decision {id}")))?;
    let mut inputs: Value = serde_json::from_str(&row.report)
        .map_err(|error| Failure::no(format!("decision {id}: {error}")))?;
    let DecisionHead {
        id,
        at_ms,
        epoch,
        kind,
        recommendation,
        summary,
    } = row.head;
    let head = json!({
        "id": id,
        "at_ms": at_ms,
        "epoch": epoch,
        "kind": kind,
        "recommendation": recommendation,
        "summary": summary,
    });
    let receipt = taken(&mut inputs, "receipt");
    Ok(Found::new(rollout, head, inputs, receipt))
}

/// The newest that moved the rollout, or else the newest; heads come newest first.
fn newest(heads: impl Iterator<Item = (u64, String)>) -> Option<u64> {
    let heads: Vec<_> = heads.collect();
    let moved = heads.iter().find(|(_, kind)| kind == "transition");
    moved.or(heads.first()).map(|(id, _)| *id)
}

fn nothing_decided(rollout: &str) -> Failure {
    Failure::no(format!("nothing was decided about {rollout} yet"))
}

/// What `serin history` shows of a decision.
fn head(document: &Value) -> Value {
    let members = ["id", "at", "epoch", "kind", "recommendation", "summary"];
    let shown = members.map(|member| {
        let value = document.get(member).cloned().unwrap_or_default();
        (member.to_owned(), value)
    });
    Value::Object(shown.into_iter().collect())
}

fn document(found: &Found, told: &Explanation) -> Value {
    json!({
        "rollout": found.rollout,
        "decision": found.head,
        "sentence": found.sentence(told),
        "agrees": told.agrees,
        "differences": told.differences,
        "steps": told.steps,
        "formulas": told.formulas,
        "recomputed": told.recomputed,
        "receipt": found.receipt,
    })
}

fn text(found: &Found, told: &Explanation) -> String {
    let mut text = format!("{}\n\n", found.sentence(told));
    text.push_str(&format!(
        "decision {} about {}: {}\n\n",
        found.id, found.rollout, found.summary
    ));
    for step in &told.steps {
        text.push_str(step);
        text.push('\n');
    }
    text.push_str("\ncomputed by\n");
    for formula in &told.formulas {
        text.push_str(&format!("  {formula}\n"));
    }
    text.push_str(if told.agrees {
        "\nRecomputed from the receipt alone: every number is the recorded one, to the last bit.\n"
    } else {
        "\nRecomputed from the receipt alone, and it is NOT what was recorded:\n"
    });
    for difference in &told.differences {
        text.push_str(&format!("  {difference}\n"));
    }
    text
}
