//! What a route does when an attempt fails: ask again, let baseline answer; and which protocols it lets a client
//! switch to.

use crate::model::Retries;
use crate::units::parse_percent;
use crate::walk::{At, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &["attempts", "on", "budget"],
    later: &["backoff", "per_try_timeout"],
};
/// Reasons that are no statuses.
pub(crate) const REASONS: [(&str, Reason); 2] =
    [("connect", Reason::Connect), ("reset", Reason::Reset)];
/// More would only add to what an overloaded server has to do.
pub(crate) const MOST_ATTEMPTS: u64 = 5;
/// The only arm that can stand in.
pub(crate) const FALLBACK: [(&str, bool); 1] = [("baseline", true)];
/// What clients may switch to.
pub(crate) const PROTOCOLS: [(&str, &str); 1] = [("websocket", "websocket")];

/// A reason that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Connect,
    Reset,
}

/// What holds where nothing is written.
pub(crate) const DEFAULT: Retries = Retries {
    attempts: 1,
    connect: true,
    reset: true,
    statuses: Vec::new(),
    budget: 0.1,
};

pub(crate) fn retries(at: &At<'_>) -> Option<Retries> {
    let fields = at.fields(KEYS)?;
    let mut retries = DEFAULT;
    retries.attempts = fields.or("attempts", DEFAULT.attempts, |at| {
        let attempts = at.whole(0..=MOST_ATTEMPTS)?;
        u32::try_from(attempts).ok()
    });
    retries.budget = fields.or("budget", DEFAULT.budget, |at| {
        let budget = at.measured(parse_percent)?;
        if budget > 1.0 {
            at.unexpected("at most `100%`");
            return None;
        }
        Some(budget)
    });
    if let Some(at) = fields.get("on") {
        (retries.connect, retries.reset) = (false, false);
        let expected = "a list of `connect`, `reset` and statuses from 500 to 599";
        for item in at.entries(expected, 20) {
            if item.as_text().is_some() {
                match item.choice(&REASONS) {
                    Some(Reason::Connect) => retries.connect = true,
                    Some(Reason::Reset) => retries.reset = true,
                    None => {}
                }
            } else if let Some(status) = item.whole(500..=599) {
                retries.statuses.push(status as u16);
            }
        }
    }
    Some(retries)
}

/// The protocols that clients may switch to.
pub(crate) fn upgrade(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.entries("a list of protocols: `websocket`", 1);
    let names = items.iter().filter_map(|item| item.choice(&PROTOCOLS));
    Some(names.map(str::to_owned).collect())
}
