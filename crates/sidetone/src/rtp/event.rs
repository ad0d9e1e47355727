//! The telephone-event payload (RFC 4733 §2.3): wire format.

/// Bytes of one event report.
pub const EVENT_LEN: usize = 4;

/// One report about a telephone event (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code: 0 to 9 the digits, 10 `*`, 11 `#`, 12 to 15 `A` to `D`, 16 flash (RFC 4733 §3.2).
    pub event: u8,
    /// This report is the event's last; senders repeat it twice.
    pub end: bool,
    /// Power of the tone in −dBm0, 0 (loudest) to 63; only for the DTMF events.
    pub volume: u8,
    /// Time since the packet's timestamp that this report covers, in ticks of the event's clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first report of a payload; `None` where it is shorter than [`EVENT_LEN`].
    ///
    /// The reserved bit is ignored (RFC 4733 §2.3.3), and so is whatever follows the report.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk::<EVENT_LEN>()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3F,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The report's bytes; a volume above 63 is sent as 63.
    #[inline]
    pub fn emit(&self) -> [u8; EVENT_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        let flags = (u8::from(self.end) << 7) | self.volume.min(63);
        [self.event, flags, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_back() {
        for end in [false, true] {
            let event = TelephoneEvent {
                event: 11,
                end,
                volume: 10,
                duration: 0xFFFF,
            };
            assert_eq!(TelephoneEvent::parse(&event.emit()), Some(event));
        }
    }

    #[test]
    fn reserved_bit_and_trailing_bytes_are_ignored() {
        let event = TelephoneEvent::parse(&[1, 0x40 | 10, 0, 160, 99]).unwrap();
        assert_eq!((event.end, event.volume, event.duration), (false, 10, 160));
    }

    #[test]
    fn short_payloads_are_refused() {
        for len in 0..EVENT_LEN {
            assert_eq!(TelephoneEvent::parse(&vec![0; len]), None);
        }
    }

    #[test]
    fn volume_is_clamped() {
        let event = TelephoneEvent {
            event: 0,
            end: false,
            volume: 200,
            duration: 0,
        };
        assert_eq!(event.emit()[1], 63);
    }
}
