//! What a client may do that costs us more than it costs the client.
//!
//! Each mistake and each request that is taken back before anybody looked at it adds to a debt, each answer pays some of it off. A client that
//! owes too much is told to calm down, and its connection ends ("rapid reset", CVE-2023-44487; "MadeYouReset",
//! CVE-2025-8671). What merely costs bytes (PING, SETTINGS, empty frames) needs no toll: the answers wait until the client
//! takes them, and nothing more is read meanwhile.

/// The largest debt of requests that were taken back before anybody looked at them.
pub(crate) const MAX_UNSEEN_RESETS: u32 = 100;
/// The largest debt of streams that had to be reset for the client's mistakes.
pub(crate) const MAX_MISTAKES: u32 = 100;

/// A connection's debts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Toll {
    unseen_resets: u32,
    mistakes: u32,
}

/// The client owes too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Toll {
    /// A client took a request back before anybody looked at it.
    ///
    /// # Errors
    /// When there were too many.
    pub(crate) fn reset_unseen(&mut self) -> Result<(), TooMuch> {
        self.unseen_resets += 1;
        within(self.unseen_resets, MAX_UNSEEN_RESETS)
    }

    /// A stream is reset for a client's mistake.
    ///
    /// # Errors
    /// When there were too many.
    pub(crate) fn mistake(&mut self) -> Result<(), TooMuch> {
        self.mistakes += 1;
        within(self.mistakes, MAX_MISTAKES)
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self) {
        self.unseen_resets = self.unseen_resets.saturating_sub(1);
        self.mistakes = self.mistakes.saturating_sub(1);
    }
}

const fn within(debt: u32, most: u32) -> Result<(), TooMuch> {
    if debt > most { Err(TooMuch) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_takes_back_owes_too_much_and_answers_redeem() {
        let mut toll = Toll::default();
        for _ in 0..MAX_UNSEEN_RESETS {
            assert_eq!(toll.reset_unseen(), Ok(()));
        }
        toll.answered();
        assert_eq!(toll.reset_unseen(), Ok(()));
        assert_eq!(toll.reset_unseen(), Err(TooMuch));
        let mut toll = Toll::default();
        for _ in 0..MAX_MISTAKES {
            assert_eq!(toll.mistake(), Ok(()));
        }
        assert_eq!(toll.mistake(), Err(TooMuch));
    }
}
