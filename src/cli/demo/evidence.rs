//! What it all proved: the numbers behind the promotion and the rollback, and whether they are as they should
//! be.

use super::load::Tally;
use super::model_server::Account;
use super::scenario::ROLLOUT;
use super::story::Ending;
use crate::client::view::Breach;
use crate::term::{count, p_value, percent};

/// Canary requests after which a rollback counts as late: four times what a release this bad usually takes.
const LATE_AFTER: u64 = 600;

/// The ends of both acts, beside what servers and clients saw.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The good release's end.
    pub(super) good: &'a Ending,
    /// The bad release's end.
    pub(super) bad: &'a Ending,
    /// What the bad release's own server saw.
    pub(super) bad_account: Account,
    /// What clients saw, all in all.
    pub(super) clients: Tally,
    /// What clients saw after the rollback.
    pub(super) afterwards: Tally,
}

impl Evidence<'_> {
    /// The closing words; the last lines name release, guardrail, requests and p-values.
    pub(super) fn render(&self) -> String {
        let mut text = String::from("\nEvidence\n");
        let mut line = |label: &str, value: String| {
            text.push_str(&format!("  {label:<13}{value}\n"));
        };
        line("clients", self.clients_saw());
        line("promoted", self.promotion());
        line("rolled back", self.rollback());
        if let Some(breach) = &self.bad.status.breach {
            line(
                "guardrail",
                format!("{} (rule: {})", breach.metric, breach.rule),
            );
            line("it took", self.cost(breach));
            line("p-values", p_values(breach));
        }
        text
    }

    fn clients_saw(&self) -> String {
        format!(
            "{} requests ({} failed), {} since the rollback ({} of them answered by the canary)",
            count(self.clients.requests()),
            count(self.clients.failed),
            count(self.afterwards.requests()),
            count(self.afterwards.canary),
        )
    }

    fn promotion(&self) -> String {
        let canary = &self.good.status.arms.canary;
        format!(
            "{ROLLOUT} version {} is {} at {} after {:.0} s: {} canary requests ({} errors)",
            self.good.version,
            self.good.status.phase,
            percent(self.good.status.weight.desired),
            self.good.took.as_secs_f64(),
            count(canary.requests),
            count(canary.errors),
        )
    }

    fn rollback(&self) -> String {
        format!(
            "{ROLLOUT} version {} (digest {}) is {} at {}",
            self.bad.version,
            self.bad.status.arms.canary.digest.as_deref().unwrap_or("?"),
            self.bad.status.phase,
            percent(self.bad.status.weight.actual),
        )
    }

    fn cost(&self, breach: &Breach) -> String {
        let account = self.bad_account;
        format!(
            "{} canary requests ({} errors); its server got {} of them since it turned bad, within {:.1} s",
            count(breach.canary_requests),
            count(breach.canary_errors),
            count(account.since_turn),
            account.exposed_for.as_secs_f64(),
        )
    }

    /// What is missing for the demonstration to have shown what it is for.
    pub(super) fn shortfall(&self) -> Option<String> {
        let phase = |ending: &Ending, wanted: &str| {
            let found = &ending.status.phase;
            let differs = found != wanted;
            differs.then(|| format!("version {} is {found}, not {wanted}", ending.version))
        };
        let late = self.bad_account.since_turn;
        let reached = self.afterwards.canary;
        let checks = [
            phase(self.good, "Healthy"),
            phase(self.bad, "RolledBack"),
            (self.bad.status.breach.is_none()).then(|| "no guardrail was broken".to_owned()),
            (late > LATE_AFTER).then(|| format!("the rollback took {late} bad requests")),
            (reached > 0).then(|| format!("{reached} requests reached it after its rollback")),
            (self.afterwards.requests() == 0).then(|| "the traffic stopped".to_owned()),
        ];
        checks.into_iter().flatten().next()
    }
}

fn p_values(breach: &Breach) -> String {
    let shown = |p: Option<f64>| p.map_or_else(|| "none".to_owned(), p_value);
    let classic = if breach.metric == "error_rate" {
        "two-proportion z-test"
    } else {
        "Mann-Whitney test"
    };
    format!(
        "always-valid {} (decides), classic {classic} {} (shown only)",
        shown(breach.p_value),
        shown(breach.classic_p),
    )
}
