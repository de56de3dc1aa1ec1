//! Bodies that are known beforehand: a stream of bytes computed from a number.

/// The content that belongs to a number, piece by piece.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    state: u64,
    /// Bytes of the state that were used.
    used: u32,
    left: u64,
}

impl Content {
    /// So many bytes for this number.
    pub(crate) fn new(number: u64, length: u64) -> Self {
        Self {
            // Never zero, and different for neighbours (splitmix64's first step).
            state: number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            used: 0,
            left: length,
        }
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece, no longer than this; `None` at the end.
    pub(crate) fn next(&mut self, longest: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(longest);
        if length == 0 {
            return None;
        }
        let mut piece = Vec::with_capacity(length);
        for _ in 0..length {
            piece.push(self.byte());
        }
        Some(piece)
    }

    /// Whether these are the bytes that follow; those after the end are not.
    pub(crate) fn continues_with(&mut self, bytes: &[u8]) -> bool {
        bytes
            .iter()
            .all(|&byte| self.left > 0 && self.byte() == byte)
    }

    fn byte(&mut self) -> u8 {
        if self.used == u64::BITS / u8::BITS {
            // xorshift64
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.used = 0;
        }
        let [byte, ..] = (self.state >> (self.used * u8::BITS)).to_le_bytes();
        self.used += 1;
        self.left = self.left.saturating_sub(1);
        byte
    }
}

/// One event of a stream, counted from 1.
pub(crate) fn event(number: u64, at: u64) -> String {
    format!("data: {{\"stream\": {number}, \"token\": {at}}}\n\n")
}

/// The whole stream.
pub(crate) fn events(number: u64, count: u64) -> String {
    (1..=count).map(|at| event(number, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_however_it_is_cut_and_differs_between_numbers() {
        let whole = Content::new(7, 1000).next(1000).unwrap();
        let mut pieces = Content::new(7, 1000);
        let mut joined = Vec::new();
        while let Some(piece) = pieces.next(17) {
            joined.extend(piece);
        }
        assert_eq!(whole, joined);
        assert!(Content::new(7, 1000).continues_with(&whole));
        assert!(!Content::new(7, 999).continues_with(&whole));
        assert!(!Content::new(8, 1000).continues_with(&whole));
        let mut cut = Content::new(7, 1000);
        assert!(cut.continues_with(&whole[..10]));
        assert_eq!(cut.left(), 990);
    }
}
