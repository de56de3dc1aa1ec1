//! What became of every request, by kind of traffic.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Wrong answers of one kind that are told in full.
const EXAMPLES: u64 = 3;

/// How a request ended, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exactly as it had to be.
    Right,
    /// An honest error while an upstream was away.
    Excused,
    /// Not as it had to be; why.
    Wrong(String),
}

/// Where endings are written down.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Tally>);

/// Endings, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    kinds: BTreeMap<&'static str, Counts>,
    examples: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    right: u64,
    excused: u64,
    wrong: u64,
}

impl Ledger {
    pub(crate) fn note(&self, kind: &'static str, ending: Ending) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = tally.kinds.entry(kind).or_default();
        match ending {
            Ending::Right => counts.right += 1,
            Ending::Excused => counts.excused += 1,
            Ending::Wrong(why) => {
                counts.wrong += 1;
                if counts.wrong <= EXAMPLES {
                    tally.examples.push(format!("{kind}: {why}"));
                }
            }
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Tally {
    /// Answers that were right.
    #[must_use]
    pub fn right(&self) -> u64 {
        self.kinds.values().map(|counts| counts.right).sum()
    }

    /// Answers that were wrong.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.kinds.values().map(|counts| counts.wrong).sum()
    }

    /// Errors while an upstream was away.
    #[must_use]
    pub fn excused(&self) -> u64 {
        self.kinds.values().map(|counts| counts.excused).sum()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.wrong() > 0 {
            complaints.push(format!(
                "{} wrong answers: {}",
                self.wrong(),
                self.examples.join("; ")
            ));
        }
        for kind in crate::traffic::KINDS {
            if self.kinds.get(kind).is_none_or(|counts| counts.right == 0) {
                complaints.push(format!("no {kind} was answered as it had to be"));
            }
        }
        complaints
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:<22} {:>10} {:>10} {:>7}",
            "traffic", "right", "excused", "wrong"
        )?;
        for (kind, counts) in &self.kinds {
            writeln!(
                f,
                "{kind:<22} {:>10} {:>10} {:>7}",
                counts.right, counts.excused, counts.wrong
            )?;
        }
        let (right, excused, wrong) = (self.right(), self.excused(), self.wrong());
        writeln!(f, "{:<22} {right:>10} {excused:>10} {wrong:>7}", "all")
    }
}
