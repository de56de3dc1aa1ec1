//! What the peer says it takes (RFC 9113, section 6.5).

use super::{Reason, Wrong};
use crate::h2::frame;

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Key {
    /// Streams that the other end may have open at once.
    MaxConcurrentStreams = 3,
    /// What may be sent on a new stream.
    InitialWindowSize = 4,
    /// What a block of fields may amount to.
    MaxHeaderListSize = 6,
}

/// What the peer set, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What we may send on a new stream.
    pub(crate) initial_window: u32,
    /// The largest payload of one frame.
    pub(crate) max_frame: usize,
    /// Our table of fields is to be smaller than both assumed.
    pub(crate) wants_small_table: bool,
}

impl Settings {
    /// What both ends assume.
    pub(crate) const ASSUMED: Self = Self {
        initial_window: 65_535,
        max_frame: frame::LARGEST,
        wants_small_table: false,
    };

    /// Takes in a SETTINGS frame's payload.
    ///
    /// # Errors
    /// When a value is out of its bounds.
    pub(crate) fn change(&mut self, payload: &[u8]) -> Result<(), Wrong> {
        const TABLE_SIZE: u16 = 1;
        const ENABLE_PUSH: u16 = 2;
        const MAX_FRAME_SIZE: u16 = 5;
        const ASSUMED_TABLE: u32 = 4096;
        for entry in payload.chunks_exact(6) {
            let &[k0, k1, v0, v1, v2, v3] = entry else {
                continue;
            };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([k0, k1]) {
                TABLE_SIZE => self.wants_small_table |= value < ASSUMED_TABLE,
                ENABLE_PUSH if value > 1 => {
                    return Err(Wrong::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                key if key == Key::InitialWindowSize as u16 => {
                    if value > super::window::LARGEST {
                        let what = "INITIAL_WINDOW_SIZE is too large";
                        return Err(Wrong::Connection(Reason::FlowControl, what));
                    }
                    self.initial_window = value;
                }
                MAX_FRAME_SIZE => {
                    if !(16_384..=16_777_215).contains(&value) {
                        return Err(Wrong::protocol("MAX_FRAME_SIZE is out of its bounds"));
                    }
                    self.max_frame = value as usize;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: u16, value: u32) -> Result<Settings, Wrong> {
        let mut payload = key.to_be_bytes().to_vec();
        payload.extend_from_slice(&value.to_be_bytes());
        let mut settings = Settings::ASSUMED;
        settings.change(&payload).map(|()| settings)
    }

    #[test]
    fn values_are_taken_or_refused() {
        assert_eq!(change(4, 7).unwrap().initial_window, 7);
        assert_eq!(change(5, 20_000).unwrap().max_frame, 20_000);
        assert!(change(1, 0).unwrap().wants_small_table);
        assert!(!change(1, 65_536).unwrap().wants_small_table);
        assert_eq!(change(99, 1), Ok(Settings::ASSUMED));
        assert_eq!(change(2, 1), Ok(Settings::ASSUMED));
        for (key, value) in [(2, 2), (4, 1 << 31), (5, 16_383), (5, 1 << 24)] {
            assert!(change(key, value).is_err(), "{key} {value}");
        }
    }
}
