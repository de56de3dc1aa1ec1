//! Flow control (RFC 9113, section 5.2): what may still be sent, either way.

/// No window is larger.
pub(crate) const LARGEST: u32 = (1 << 31) - 1;

/// What we may still send. Negative after the peer has made it smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outbound(i64);

/// What the peer may still send, and what of it we have used up and not yet given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    left: u32,
    used: u32,
    size: u32,
}

/// The window would be larger than any may be, or smaller than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbound {
    /// A window of this size.
    pub(crate) const fn new(size: u32) -> Self {
        Self(size as i64)
    }

    /// What may be sent now.
    pub(crate) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// So much was sent.
    pub(crate) const fn take(&mut self, sent: usize) {
        self.0 -= sent as i64;
    }

    /// More may be sent, or less when the peer changed what streams begin with.
    ///
    /// # Errors
    /// When the window would be larger than any may be.
    pub(crate) fn widen(&mut self, more: i64) -> Result<(), Overflow> {
        let size = self.0 + more;
        if size > i64::from(LARGEST) {
            return Err(Overflow);
        }
        self.0 = size;
        Ok(())
    }
}

impl Inbound {
    /// A window of this size.
    pub(crate) const fn new(size: u32) -> Self {
        Self {
            left: size,
            used: 0,
            size,
        }
    }

    /// So much came.
    ///
    /// # Errors
    /// When that is more than was allowed.
    pub(crate) fn take(&mut self, came: usize) -> Result<(), Overflow> {
        let came = u32::try_from(came).map_err(|_| Overflow)?;
        self.left = self.left.checked_sub(came).ok_or(Overflow)?;
        Ok(())
    }

    /// So much of what came was used up: what is to be given back now, not each byte by itself but when it is half
    /// the window.
    pub(crate) fn give_back(&mut self, used: usize) -> Option<u32> {
        self.used += u32::try_from(used).unwrap_or(u32::MAX - self.used);
        if self.used < self.size / 2 {
            return None;
        }
        self.left += self.used;
        Some(std::mem::take(&mut self.used))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_outbound_window_may_be_less_than_nothing() {
        let mut window = Outbound::new(10);
        window.take(10);
        assert_eq!(window.widen(-5), Ok(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.widen(6), Ok(()));
        assert_eq!(window.room(), 1);
        assert_eq!(window.widen(i64::from(LARGEST) - 1), Ok(()));
        assert_eq!(window.widen(1), Err(Overflow));
    }

    proptest! {
        #[test]
        fn what_is_used_is_given_back_in_the_end(size in 2_u32..100_000, pieces in prop::collection::vec(0_usize..5_000, 0..200)) {
            let mut window = Inbound::new(size);
            let (mut came, mut back) = (0_u64, 0_u64);
            for piece in pieces {
                let allowed = u64::from(size) + back - came;
                let taken = window.take(piece);
                prop_assert_eq!(taken.is_ok(), piece as u64 <= allowed);
                if taken.is_ok() {
                    came += piece as u64;
                    back += u64::from(window.give_back(piece).unwrap_or(0));
                }
            }
            prop_assert!(came - back < u64::from(size / 2).max(1));
        }
    }
}
