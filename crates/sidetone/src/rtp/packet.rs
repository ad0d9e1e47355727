//! RTP packets: a view over received bytes and a header to emit: wire format.

use thiserror::Error;

/// Bytes of the fixed header, which is all that [`Header::emit`] writes (RFC 3550 §5.1).
pub const HEADER_LEN: usize = 12;

const VERSION: u8 = 2;

/// Why bytes are not an RTP packet; always the sender's fault. Drop the packet and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than the fixed header, the CSRC list or the header extension that it announces.
    #[error("RTP packet is truncated")]
    Truncated,
    /// The version field is not 2 (RFC 3550 appendix A.1): STUN, DTLS, or noise.
    #[error("RTP version is not 2")]
    Version,
    /// The padding count is zero or larger than what follows the header (RFC 3550 §5.1).
    #[error("RTP padding count is impossible")]
    Padding,
}

/// Whether a datagram on a port shared by RTP and RTCP is RTCP (RFC 5761 §4).
///
/// Looks at the second byte alone: packet types 192 to 223 are RTCP. Says nothing about validity.
pub const fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= 2 && datagram[1] >= 192 && datagram[1] <= 223
}

/// A received RTP packet, its bounds proved once (RFC 3550 §5.1).
///
/// ```
/// use sidetone::rtp::packet::{HEADER_LEN, Header, View};
///
/// let header = Header { payload_type: 0, marker: true, sequence: 7, timestamp: 160, ssrc: 0xCAFE };
/// let mut datagram = [0u8; HEADER_LEN + 4];
/// header.emit(&mut datagram);
/// let view = View::parse(&datagram)?;
/// assert_eq!(view.header(), header);
/// assert_eq!(view.payload().len(), 4);
/// # Ok::<(), sidetone::rtp::packet::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    fixed: &'a [u8; HEADER_LEN],
    csrc: &'a [u8],
    extension: &'a [u8],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks version, CSRC list, header extension and padding, and finds the payload.
    ///
    /// # Errors
    /// [`ParseError`] where the bytes do not hold what the header announces. The packet is dropped.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let Some((fixed, rest)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::Truncated);
        };
        // Version 2, no padding, no extension, no contributing source: nearly every packet.
        if fixed[0] == VERSION << 6 {
            return Ok(Self {
                fixed,
                csrc: &[],
                extension: &[],
                payload: rest,
            });
        }
        Self::parse_rest(fixed, rest)
    }

    fn parse_rest(fixed: &'a [u8; HEADER_LEN], rest: &'a [u8]) -> Result<Self, ParseError> {
        if fixed[0] >> 6 != VERSION {
            return Err(ParseError::Version);
        }
        let csrc_len = usize::from(fixed[0] & 0x0F) * 4;
        let (csrc, rest) = rest
            .split_at_checked(csrc_len)
            .ok_or(ParseError::Truncated)?;
        let (extension, rest) = if fixed[0] & 0x10 == 0 {
            (&[][..], rest)
        } else {
            let words = rest.get(2..4).ok_or(ParseError::Truncated)?;
            let len = 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
            rest.split_at_checked(len).ok_or(ParseError::Truncated)?
        };
        let payload = if fixed[0] & 0x20 == 0 {
            rest
        } else {
            let count = usize::from(*rest.last().ok_or(ParseError::Padding)?);
            let len = rest.len().checked_sub(count);
            match len {
                Some(len) if count > 0 => &rest[..len],
                _ => return Err(ParseError::Padding),
            }
        };
        Ok(Self {
            fixed,
            csrc,
            extension,
            payload,
        })
    }

    /// The fields of the fixed header.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            payload_type: self.payload_type(),
            marker: self.marker(),
            sequence: self.sequence(),
            timestamp: self.timestamp(),
            ssrc: self.ssrc(),
        }
    }

    /// The payload type, 0 to 127.
    #[inline]
    pub fn payload_type(&self) -> u8 {
        self.fixed[1] & 0x7F
    }

    /// The marker bit: for audio, the first packet of a talk spurt (RFC 3551 §4.1).
    #[inline]
    pub fn marker(&self) -> bool {
        self.fixed[1] & 0x80 != 0
    }

    /// The sequence number.
    #[inline]
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// The timestamp, in ticks of the payload's clock.
    #[inline]
    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.fixed[4], self.fixed[5], self.fixed[6], self.fixed[7]])
    }

    /// The synchronisation source.
    #[inline]
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.fixed[8], self.fixed[9], self.fixed[10], self.fixed[11]])
    }

    /// The contributing sources, at most 15.
    pub fn contributing(&self) -> impl Iterator<Item = u32> + 'a {
        self.csrc
            .as_chunks()
            .0
            .iter()
            .map(|c| u32::from_be_bytes(*c))
    }

    /// The header extension: the profile's identifier and the words after its length.
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        let (head, words) = self.extension.split_first_chunk::<4>()?;
        Some((u16::from_be_bytes([head[0], head[1]]), words))
    }

    /// The payload without padding; may be empty.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes before the payload.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.csrc.len() + self.extension.len()
    }
}

/// A received RTP packet whose header fields can be rewritten in place, for relaying.
#[derive(Debug)]
pub struct ViewMut<'a> {
    fixed: &'a mut [u8; HEADER_LEN],
}

impl<'a> ViewMut<'a> {
    /// Checks the packet as [`View::parse`] does.
    ///
    /// # Errors
    /// Those of [`View::parse`].
    pub fn parse(datagram: &'a mut [u8]) -> Result<Self, ParseError> {
        View::parse(datagram)?;
        let fixed = datagram.first_chunk_mut().ok_or(ParseError::Truncated)?;
        Ok(Self { fixed })
    }

    /// The packet's fields as they stand now.
    pub fn header(&self) -> Header {
        Header::read(self.fixed)
    }

    /// Replaces payload type (its lower seven bits), marker, sequence, timestamp and SSRC at once;
    /// extension, contributing sources, payload and padding stay.
    pub fn set_header(&mut self, header: &Header) {
        let first = self.fixed[0];
        header.write(self.fixed);
        self.fixed[0] = first;
    }

    /// Replaces the sequence number.
    pub fn set_sequence(&mut self, sequence: u16) {
        self.fixed[2..4].copy_from_slice(&sequence.to_be_bytes());
    }

    /// Replaces the timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        self.fixed[4..8].copy_from_slice(&timestamp.to_be_bytes());
    }

    /// Replaces the synchronisation source.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        self.fixed[8..12].copy_from_slice(&ssrc.to_be_bytes());
    }

    /// Replaces the payload type by the lower seven bits of `payload_type`.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.fixed[1] = (self.fixed[1] & 0x80) | (payload_type & 0x7F);
    }
}

/// The fields of an RTP header without contributing sources or extension (RFC 3550 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Payload type, 0 to 127; higher bits are not sent.
    pub payload_type: u8,
    /// Marker bit: for audio, the first packet of a talk spurt; for an event, its first packet.
    pub marker: bool,
    /// Sequence number, one more for each packet sent.
    pub sequence: u16,
    /// Timestamp of the payload's first sample, in ticks of its clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Writes the header at the start of `buf`; returns [`HEADER_LEN`], where the payload goes.
    ///
    /// # Panics
    /// Where `buf` is shorter than [`HEADER_LEN`]: the caller's buffer is its own.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> usize {
        let fixed = buf
            .first_chunk_mut()
            .expect("a buffer for RTP holds at least a header");
        self.write(fixed);
        HEADER_LEN
    }

    #[inline]
    fn write(&self, fixed: &mut [u8; HEADER_LEN]) {
        fixed[0] = VERSION << 6;
        fixed[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7F);
        fixed[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }

    fn read(fixed: &[u8; HEADER_LEN]) -> Self {
        View {
            fixed,
            csrc: &[],
            extension: &[],
            payload: &[],
        }
        .header()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        payload_type: 101,
        marker: true,
        sequence: 0xFFFE,
        timestamp: 0x8000_0001,
        ssrc: 0xDEAD_BEEF,
    };

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        HEADER.emit(&mut bytes);
        bytes[0] = first;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn emitted_header_reads_back() {
        let bytes = packet(0x80, b"abc");
        let view = View::parse(&bytes).unwrap();
        assert_eq!(view.header(), HEADER);
        assert_eq!(view.payload(), b"abc");
        assert_eq!(view.header_len(), HEADER_LEN);
        assert_eq!(view.extension(), None);
        assert_eq!(view.contributing().count(), 0);
    }

    #[test]
    fn csrc_extension_and_padding_are_taken_off() {
        let mut rest = vec![0, 0, 0, 1, 0, 0, 0, 2]; // two contributing sources
        rest.extend_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, 0x7F, 0, 0]); // one word of extension
        rest.extend_from_slice(b"voice");
        rest.extend_from_slice(&[0, 0, 3]);
        let bytes = packet(0xB2, &rest);
        let view = View::parse(&bytes).unwrap();
        assert_eq!(view.contributing().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(view.extension(), Some((0xBEDE, &[0x10, 0x7F, 0, 0][..])));
        assert_eq!(view.payload(), b"voice");
        assert_eq!(view.header_len(), 28);
    }

    #[test]
    fn impossible_packets_are_refused() {
        for (first, rest, error) in [
            (0x00, &b""[..], ParseError::Version),
            (0x40, b"", ParseError::Version),
            (0xC0, b"", ParseError::Version),
            (0x81, b"abc", ParseError::Truncated),
            (0x8F, &[0; 59], ParseError::Truncated),
            (0x90, b"abc", ParseError::Truncated),
            (0x90, &[0, 0, 0, 1, 0, 0, 0], ParseError::Truncated),
            (0x90, &[0, 0, 0xFF, 0xFF, 0, 0], ParseError::Truncated),
            (0xA0, b"", ParseError::Padding),
            (0xA0, &[0], ParseError::Padding),
            (0xA0, &[1, 2, 4], ParseError::Padding),
        ] {
            let bytes = packet(first, rest);
            assert_eq!(
                View::parse(&bytes).err(),
                Some(error),
                "{first:#x} {rest:?}"
            );
        }
        for len in 0..HEADER_LEN {
            assert_eq!(
                View::parse(&vec![0x80; len]).err(),
                Some(ParseError::Truncated)
            );
        }
    }

    #[test]
    fn padding_alone_is_an_empty_payload() {
        let bytes = packet(0xA0, &[0, 0, 3]);
        assert_eq!(View::parse(&bytes).unwrap().payload(), b"");
    }

    #[test]
    fn fields_are_rewritten_in_place_and_nothing_else() {
        let mut bytes = packet(0xA0, &[9, 9, 0, 2]);
        let mut view = ViewMut::parse(&mut bytes).unwrap();
        view.set_sequence(1);
        view.set_timestamp(2);
        view.set_ssrc(3);
        view.set_payload_type(0x80 | 8);
        let expected = Header {
            payload_type: 8,
            marker: true,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
        };
        assert_eq!(view.header(), expected);
        view.set_header(&HEADER);
        assert_eq!(view.header(), HEADER);
        assert_eq!(bytes, packet(0xA0, &[9, 9, 0, 2]));
    }

    #[test]
    fn shared_ports_are_told_apart_by_the_second_byte() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x81, 223]));
        assert!(!is_rtcp(&[0x80, 0]));
        assert!(!is_rtcp(&[0x80, 0x80 | 101]));
        assert!(!is_rtcp(&[0x80]));
        assert!(!is_rtcp(&[]));
    }
}
