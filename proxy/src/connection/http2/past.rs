//! The streams that are over, to tell late frames from wrong ones.
//!
//! A client that was told of a reset may have sent frames before it knew, on as many streams at once as it has opened:
//! those are passed over. What it ended itself it must not go on with. Neighbours that ended one after another are one
//! entry, so that any number of streams refused in a row are.

use std::collections::VecDeque;

/// Entries of streams that we reset, of which frames may be on their way.
const MOST_RESET: usize = 1024;
/// Entries of streams that the client ended.
const MOST_ENDED: usize = 128;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both ends were done.
    Whole,
    /// The client reset it.
    ResetByClient,
    /// We reset it: frames of it may be on their way.
    ResetByUs,
}

/// Who ended a stream, as far as that matters to what comes behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// We: the client may not know it yet.
    Us,
    /// The client.
    Client,
}

/// The streams that ended last.
#[derive(Debug, Default)]
pub(super) struct Past {
    reset: Entries,
    ended: Entries,
}

/// Numbers of streams, from the first to the last of each entry. The latest are at the back.
#[derive(Debug, Default)]
struct Entries(VecDeque<(u32, u32)>);

impl Past {
    /// A stream is over.
    pub(super) fn remember(&mut self, id: u32, how: Ending) {
        match how {
            Ending::ResetByUs => self.reset.add(id, MOST_RESET),
            Ending::Whole | Ending::ResetByClient => self.ended.add(id, MOST_ENDED),
        }
    }

    /// The client was told once more that a stream is over. One that was forgotten pushes out no other: else the frames
    /// of each would be the next one's end.
    pub(super) fn reset_again(&mut self, id: u32) {
        if self.ended_by(id) == Some(EndedBy::Client) {
            self.reset.add(id, MOST_RESET);
        }
    }

    /// Who ended a stream that is over, if it is remembered.
    pub(super) fn ended_by(&self, id: u32) -> Option<EndedBy> {
        if self.reset.contains(id) {
            Some(EndedBy::Us)
        } else {
            self.ended.contains(id).then_some(EndedBy::Client)
        }
    }

    /// The client knows of every reset.
    pub(super) fn forget_reset(&mut self) {
        self.reset = Entries::default();
    }
}

impl Entries {
    fn add(&mut self, id: u32, most: usize) {
        if let Some((_, last)) = self.0.back_mut()
            && id.checked_sub(2) == Some(*last)
        {
            *last = id;
            return;
        }
        if self.0.len() == most {
            self.0.pop_front();
        }
        self.0.push_back((id, id));
    }

    fn contains(&self, id: u32) -> bool {
        let mut latest_first = self.0.iter().rev();
        latest_first.any(|&(first, last)| (first..=last).contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_entry() {
        let mut past = Past::default();
        for id in (1..100_000).step_by(2) {
            past.remember(id, Ending::ResetByUs);
        }
        assert_eq!(past.reset.0.len(), 1);
        assert_eq!(past.ended_by(1), Some(EndedBy::Us));
        assert_eq!(past.ended_by(99_999), Some(EndedBy::Us));
        assert_eq!(past.ended_by(100_001), None);
        past.remember(100_003, Ending::ResetByUs);
        assert_eq!(past.ended_by(100_001), None);
        past.forget_reset();
        assert_eq!(past.ended_by(1), None);
    }

    #[test]
    fn the_oldest_are_forgotten_and_push_out_nobody() {
        let mut past = Past::default();
        let apart = |at: usize| u32::try_from(4 * at + 1).unwrap();
        for at in 0..=MOST_RESET {
            past.remember(apart(at), Ending::ResetByUs);
        }
        assert_eq!(past.ended_by(apart(0)), None);
        past.reset_again(apart(0));
        assert_eq!(past.ended_by(apart(0)), None);
        assert_eq!(past.ended_by(apart(1)), Some(EndedBy::Us));
        assert_eq!(past.reset.0.len(), MOST_RESET);
    }

    #[test]
    fn what_clients_ended_is_theirs_until_they_are_told() {
        let mut past = Past::default();
        past.remember(1, Ending::ResetByUs);
        for at in 0..2 * MOST_ENDED {
            let id = u32::try_from(4 * at + 3).unwrap();
            past.remember(id, Ending::Whole);
            assert_eq!(past.ended_by(id), Some(EndedBy::Client));
        }
        assert_eq!(past.ended.0.len(), MOST_ENDED);
        assert_eq!(past.ended_by(1), Some(EndedBy::Us));
        past.remember(5, Ending::ResetByClient);
        assert_eq!(past.ended_by(5), Some(EndedBy::Client));
        past.reset_again(5);
        assert_eq!(past.ended_by(5), Some(EndedBy::Us));
    }
}
