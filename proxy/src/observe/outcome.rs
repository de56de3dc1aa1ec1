//! How an upstream's answer counts, by its status.

use http::StatusCode;
use serin_stats::snapshot::Outcome;

/// 5xx and 429 are the arm's errors, any other 4xx is a rejection, the rest succeeds if its body arrives whole.
pub(crate) fn of_status(status: StatusCode) -> Outcome {
    of_code(status.as_u16())
}

/// The same, by the status' number.
pub(crate) const fn of_code(status: u16) -> Outcome {
    match status {
        429 | 500.. => Outcome::Error,
        400..500 => Outcome::Rejected,
        ..400 => Outcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_fall_into_their_classes() {
        for (status, outcome) in [
            (200, Outcome::Success),
            (204, Outcome::Success),
            (304, Outcome::Success),
            (400, Outcome::Rejected),
            (404, Outcome::Rejected),
            (429, Outcome::Error),
            (499, Outcome::Rejected),
            (500, Outcome::Error),
            (599, Outcome::Error),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(of_status(status), outcome, "{status}");
        }
    }
}
