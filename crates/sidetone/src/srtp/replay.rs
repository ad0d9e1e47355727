//! Replay windows and the estimate of the rollover counter (RFC 3711 §3.3).

/// Which indices of one stream have been taken: the highest, and the 128 before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: the index n below the highest.
    seen: u128,
}

/// Indices that a window remembers; RFC 3711 §3.3.2 wants at least 64.
pub(super) const WINDOW: u64 = 128;

/// RTP indices have 48 bits.
const MAX_ROLLOVER: u64 = u32::MAX as u64;

impl Window {
    /// A window whose first packet was `index`.
    pub(super) fn new(index: u64) -> Self {
        Self {
            highest: index,
            seen: 1,
        }
    }

    /// The highest index taken.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` was taken before or is too old to tell.
    #[inline]
    pub(super) fn has(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => false,
            Some(age) if age < WINDOW => self.seen >> age & 1 == 1,
            Some(_) => true,
        }
    }

    /// Takes `index`, which authenticated and was not there.
    #[inline]
    pub(super) fn take(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            None => {
                let age = self.highest - index;
                if age < WINDOW {
                    self.seen |= 1 << age;
                }
            }
            Some(ahead) => {
                let kept = if ahead < WINDOW {
                    self.seen << ahead
                } else {
                    0
                };
                self.seen = kept | 1;
                self.highest = index;
            }
        }
    }
}

/// The index of a packet with this sequence number, the nearest to `highest` (RFC 3711 §3.3.1);
/// `None` where the rollover counter would leave its 32 bits.
#[inline]
pub(super) fn estimate(highest: u64, sequence: u16) -> Option<u64> {
    let (rollover, last) = (highest >> 16, highest as u16);
    let ahead = sequence.wrapping_sub(last);
    let rollover = if ahead < 0x8000 {
        // It follows, maybe across the wrap.
        rollover + u64::from(sequence < last)
    } else {
        match rollover.checked_sub(u64::from(sequence > last)) {
            Some(rollover) => rollover,
            // Before the very first wrap there is nothing: it can only be ahead.
            None => rollover,
        }
    };
    (rollover <= MAX_ROLLOVER).then_some(rollover << 16 | u64::from(sequence))
}

#[cfg(test)]
mod tests;
