//! RTCP feedback messages (RFC 4585 §6, RFC 5104 §4): wire format.

use crate::rtp::rtcp::{BufferFull, ParseError, Writer, split_u32};

/// Transport layer feedback (RFC 4585 §6.2).
pub(super) const TRANSPORT: u8 = 205;
/// Payload-specific feedback (RFC 4585 §6.3).
pub(super) const PAYLOAD: u8 = 206;

const NACK: u8 = 1;
const BITRATE_REQUEST: u8 = 3;
const BITRATE_NOTIFICATION: u8 = 4;
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA: u8 = 4;
const APPLICATION: u8 = 15;

/// A received feedback packet: who asks, about which stream, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    /// Who sent the feedback.
    pub sender: u32,
    /// The stream that it is about; zero where the entries name their streams themselves.
    pub media: u32,
    /// What it says.
    pub message: Message<'a>,
}

/// What a feedback packet says.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Generic NACK: packets that have not arrived (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// TMMBR: the most that the named streams may send (RFC 5104 §4.2.1).
    BitrateRequest(Bitrates<'a>),
    /// TMMBN: the limits that a sender keeps to (RFC 5104 §4.2.2).
    BitrateNotification(Bitrates<'a>),
    /// PLI: the decoder has lost a picture (RFC 4585 §6.3.1).
    PictureLoss,
    /// FIR: the named streams shall send a full picture (RFC 5104 §4.3.1).
    FullIntra(FullIntra<'a>),
    /// REMB: what the receiver believes the path to bear (draft-alvestrand-rmcat-remb-03 §2.2).
    EstimatedBitrate(EstimatedBitrate<'a>),
    /// Any other format; its body is not looked at.
    Other {
        /// 205 for transport, 206 for payload-specific feedback.
        packet_type: u8,
        /// The format (FMT).
        format: u8,
    },
}

impl<'a> Feedback<'a> {
    pub(super) fn parse(packet_type: u8, format: u8, body: &'a [u8]) -> Result<Self, ParseError> {
        let (sender, rest) = split_u32(body)?;
        let (media, control) = split_u32(rest)?;
        let message = match (packet_type, format) {
            (TRANSPORT, NACK) => Message::Nack(Nack(entries(control)?)),
            (TRANSPORT, BITRATE_REQUEST) => Message::BitrateRequest(Bitrates(entries(control)?)),
            (TRANSPORT, BITRATE_NOTIFICATION) => {
                // An empty notification tells that there is no limit (RFC 5104 §4.2.2.1).
                Message::BitrateNotification(Bitrates(control.as_chunks().0))
            }
            (PAYLOAD, PICTURE_LOSS) => Message::PictureLoss,
            (PAYLOAD, FULL_INTRA) => Message::FullIntra(FullIntra(entries(control)?)),
            (PAYLOAD, APPLICATION) if control.starts_with(b"REMB") => {
                Message::EstimatedBitrate(EstimatedBitrate::parse(control)?)
            }
            _ => Message::Other {
                packet_type,
                format,
            },
        };
        Ok(Self {
            sender,
            media,
            message,
        })
    }
}

/// The entries of a message, at least one (RFC 4585 §6.2.1: the length MUST be at least 3).
fn entries<const N: usize>(control: &[u8]) -> Result<&[[u8; N]], ParseError> {
    let (entries, rest) = control.as_chunks();
    if entries.is_empty() || !rest.is_empty() {
        return Err(ParseError::Truncated);
    }
    Ok(entries)
}

/// The packets that a generic NACK names.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a>(&'a [[u8; 4]]);

impl<'a> Nack<'a> {
    /// The sequence numbers, as the sender of the feedback ordered them.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + 'a {
        self.0.iter().flat_map(|entry| {
            let first = u16::from_be_bytes([entry[0], entry[1]]);
            let mask = u16::from_be_bytes([entry[2], entry[3]]);
            let follows = (0..16).filter(move |n| mask >> n & 1 != 0);
            std::iter::once(first).chain(follows.map(move |n| first.wrapping_add(n + 1)))
        })
    }
}

/// The entries of a TMMBR or TMMBN.
#[derive(Debug, Clone, Copy)]
pub struct Bitrates<'a>(&'a [[u8; 8]]);

/// A limit on a stream (RFC 5104 §4.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitrate {
    /// The stream.
    pub ssrc: u32,
    /// The most that it may send, in bits a second.
    pub bits: u64,
    /// Bytes of the layers below that are added to each packet in this reckoning.
    pub overhead: u16,
}

impl<'a> Bitrates<'a> {
    /// The limits; one beyond 64 bits counts as `u64::MAX`.
    pub fn limits(&self) -> impl Iterator<Item = Bitrate> + 'a {
        self.0.iter().map(|entry| {
            let [a, b, c, d, words @ ..] = *entry;
            let word = u32::from_be_bytes(words);
            Bitrate {
                ssrc: u32::from_be_bytes([a, b, c, d]),
                bits: scaled(word >> 9 & 0x1_FFFF, word >> 26),
                overhead: (word & 0x1FF) as u16,
            }
        })
    }
}

/// The entries of a FIR.
#[derive(Debug, Clone, Copy)]
pub struct FullIntra<'a>(&'a [[u8; 8]]);

impl<'a> FullIntra<'a> {
    /// The streams that shall send a full picture, and the number of each request: one that repeats
    /// the last number is the same request again (RFC 5104 §4.3.1.2).
    pub fn requests(&self) -> impl Iterator<Item = (u32, u8)> + 'a {
        self.0
            .iter()
            .map(|&[a, b, c, d, number, ..]| (u32::from_be_bytes([a, b, c, d]), number))
    }
}

/// What a REMB says.
#[derive(Debug, Clone, Copy)]
pub struct EstimatedBitrate<'a> {
    /// Bits a second for all the streams together.
    pub bits: u64,
    streams: &'a [[u8; 4]],
}

impl<'a> EstimatedBitrate<'a> {
    fn parse(control: &'a [u8]) -> Result<Self, ParseError> {
        let (head, rest) = control
            .split_first_chunk::<8>()
            .ok_or(ParseError::Truncated)?;
        let [_, _, _, _, count, a, b, c] = *head;
        let word = u32::from_be_bytes([0, a, b, c]);
        let streams = rest.as_chunks().0.get(..usize::from(count));
        Ok(Self {
            bits: scaled(word & 0x3_FFFF, word >> 18),
            streams: streams.ok_or(ParseError::Truncated)?,
        })
    }

    /// The streams that the estimate is for.
    pub fn streams(&self) -> impl Iterator<Item = u32> + 'a {
        self.streams.iter().map(|s| u32::from_be_bytes(*s))
    }
}

fn scaled(mantissa: u32, exponent: u32) -> u64 {
    let mantissa = u64::from(mantissa);
    if mantissa == 0 {
        return 0;
    }
    if exponent > mantissa.leading_zeros() {
        return u64::MAX;
    }
    mantissa << exponent
}

impl Writer<'_> {
    /// Appends a generic NACK of `sender` for packets of `media`, which ascend (across a wrap too);
    /// packets that are near each other share an entry.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn nack(&mut self, sender: u32, media: u32, sequences: &[u16]) -> Result<(), BufferFull> {
        let count = nack_entries(sequences).count();
        if count == 0 {
            return Ok(());
        }
        let body = self.feedback(TRANSPORT, NACK, [sender, media], 4 * count)?;
        for (to, entry) in body
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(nack_entries(sequences))
        {
            *to = entry;
        }
        Ok(())
    }

    /// Appends a generic NACK of one entry: `first`, and a bit for each of the 16 after it.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn nack_entry(
        &mut self,
        sender: u32,
        media: u32,
        first: u16,
        following: u16,
    ) -> Result<(), BufferFull> {
        let body = self.feedback(TRANSPORT, NACK, [sender, media], 4)?;
        body[..2].copy_from_slice(&first.to_be_bytes());
        body[2..].copy_from_slice(&following.to_be_bytes());
        Ok(())
    }

    /// Appends a picture loss indication of `sender` about `media`.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn picture_loss(&mut self, sender: u32, media: u32) -> Result<(), BufferFull> {
        self.feedback(PAYLOAD, PICTURE_LOSS, [sender, media], 0)
            .map(drop)
    }

    /// Appends a full intra request of `sender` to `media`; `number` grows by one with each new
    /// request.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn full_intra(&mut self, sender: u32, media: u32, number: u8) -> Result<(), BufferFull> {
        let body = self.feedback(PAYLOAD, FULL_INTRA, [sender, 0], 8)?;
        body[..4].copy_from_slice(&media.to_be_bytes());
        body[4..].copy_from_slice(&[number, 0, 0, 0]);
        Ok(())
    }

    fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        streams: [u32; 2],
        len: usize,
    ) -> Result<&mut [u8], BufferFull> {
        let body = self.packet(packet_type, format, 8 + len)?;
        let (head, control) = body.split_at_mut(8);
        head[..4].copy_from_slice(&streams[0].to_be_bytes());
        head[4..].copy_from_slice(&streams[1].to_be_bytes());
        Ok(control)
    }
}

/// The entries that name all of `sequences`.
fn nack_entries(sequences: &[u16]) -> impl Iterator<Item = [u8; 4]> + '_ {
    let mut rest = sequences;
    std::iter::from_fn(move || {
        let (&first, mut tail) = rest.split_first()?;
        let mut mask = 0_u16;
        while let Some((&next, after)) = tail.split_first() {
            let ahead = next.wrapping_sub(first);
            if ahead > 16 {
                break;
            }
            if ahead > 0 {
                mask |= 1 << (ahead - 1);
            }
            tail = after;
        }
        rest = tail;
        let ([a, b], [c, d]) = (first.to_be_bytes(), mask.to_be_bytes());
        Some([a, b, c, d])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Packet};

    fn written(write: impl Fn(&mut Writer<'_>) -> Result<(), BufferFull>) -> Vec<u8> {
        let mut buf = [0xAA; 128];
        let mut writer = Writer::new(&mut buf);
        write(&mut writer).unwrap();
        let len = writer.finish();
        for short in 0..len {
            let mut buf = vec![0; short];
            assert_eq!(write(&mut Writer::new(&mut buf)), Err(BufferFull));
        }
        buf[..len].to_vec()
    }

    fn read(bytes: &[u8]) -> Feedback<'_> {
        match Compound::parse_reduced(bytes).unwrap().packets().next() {
            Some(Packet::Feedback(feedback)) => feedback,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nacks_read_back_in_as_few_entries_as_they_need() {
        for (sequences, entries) in [
            (&[7][..], 1),
            (&[7, 8, 23], 1),
            (&[7, 24], 2),
            (&[65_530, 65_535, 0, 10], 1),
            (&[1, 30, 31, 60, 100], 4),
        ] {
            let bytes = written(|w| w.nack(1, 2, sequences));
            assert_eq!(bytes.len(), 12 + 4 * entries, "{sequences:?}");
            let feedback = read(&bytes);
            assert_eq!((feedback.sender, feedback.media), (1, 2));
            let Message::Nack(nack) = feedback.message else {
                panic!("{feedback:?}");
            };
            assert_eq!(nack.sequences().collect::<Vec<_>>(), sequences);
        }
        let mut buf = [0; 8];
        let mut writer = Writer::new(&mut buf);
        writer.nack(1, 2, &[]).unwrap();
        assert_eq!(writer.finish(), 0, "nothing to ask for");
    }

    #[test]
    fn requests_for_pictures_read_back() {
        let bytes = written(|w| w.picture_loss(1, 2));
        assert!(matches!(read(&bytes).message, Message::PictureLoss));
        assert_eq!(bytes.len(), 12);
        let bytes = written(|w| w.full_intra(1, 2, 9));
        let feedback = read(&bytes);
        assert_eq!(feedback.media, 0, "RFC 5104 §4.3.1.2: unused, zero");
        let Message::FullIntra(full) = feedback.message else {
            panic!("{feedback:?}");
        };
        assert_eq!(full.requests().collect::<Vec<_>>(), [(2, 9)]);
    }

    #[test]
    fn limits_read() {
        // 1,000 × 2² bits a second and 40 bytes of overhead for stream 5.
        let word = (2_u32 << 26) | (1_000 << 9) | 40;
        let mut bytes = vec![0x83, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
        bytes.extend(word.to_be_bytes());
        let Message::BitrateRequest(limits) = read(&bytes).message else {
            panic!("no request");
        };
        let wanted = Bitrate {
            ssrc: 5,
            bits: 4_000,
            overhead: 40,
        };
        assert_eq!(limits.limits().collect::<Vec<_>>(), [wanted]);
        let mut endless = bytes.clone();
        endless[16..].fill(0xFF);
        let Message::BitrateRequest(limits) = read(&endless).message else {
            panic!("no request");
        };
        assert_eq!(limits.limits().next().unwrap().bits, u64::MAX);
        let none = [0x84, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0];
        assert!(matches!(
            read(&none).message,
            Message::BitrateNotification(limits) if limits.limits().count() == 0
        ));
    }

    #[test]
    fn estimates_read() {
        let mut bytes = vec![0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"REMB");
        let word = (3_u32 << 18) | 8_000;
        bytes.push(1);
        bytes.extend(&word.to_be_bytes()[1..]);
        bytes.extend([0, 0, 0, 5]);
        let Message::EstimatedBitrate(estimate) = read(&bytes).message else {
            panic!("no estimate");
        };
        assert_eq!(estimate.bits, 64_000);
        assert_eq!(estimate.streams().collect::<Vec<_>>(), [5]);
        bytes[16] = 2;
        assert!(Compound::parse_reduced(&bytes).is_err(), "one stream short");
    }

    #[test]
    fn broken_messages_are_refused_and_unknown_ones_told() {
        for bytes in [
            &[0x81, 205, 0, 1, 0, 0, 0, 1][..],         // no media source
            &[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2], // a NACK of nothing
            &[0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0], // a FIR of nobody
            &[0x84, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5], // half an entry
        ] {
            assert!(Compound::parse_reduced(bytes).is_err(), "{bytes:x?}");
        }
        let other = [0x8F, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4];
        assert!(matches!(
            read(&other).message,
            Message::Other {
                packet_type: 205,
                format: 15
            }
        ));
    }
}
