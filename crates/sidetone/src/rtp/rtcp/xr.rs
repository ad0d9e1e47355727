//! RTCP extended reports (RFC 3611): reference times and VoIP metrics: wire format.

use crate::rtp::rtcp::{BufferFull, ParseError, Writer, split_u32};

pub(super) const EXTENDED_REPORT: u8 = 207;

const REFERENCE_TIME: u8 = 4;
const DELAYS: u8 = 5;
const VOIP_METRICS: u8 = 7;
const DELAY_LEN: usize = 12;
const METRICS_LEN: usize = 32;

/// A value that is not known, in the one-byte fields of [`VoipMetrics`] that allow for it.
pub const UNAVAILABLE: u8 = 127;

/// A received extended report (RFC 3611 §2).
#[derive(Debug, Clone, Copy)]
pub struct ExtendedReport<'a> {
    /// The reporter.
    pub ssrc: u32,
    blocks: &'a [u8],
}

/// One block of an extended report.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Block<'a> {
    /// Receiver reference time (RFC 3611 §4.4): the reporter's wall clock as a 64-bit NTP timestamp.
    ReferenceTime(u64),
    /// DLRR (RFC 3611 §4.5): answers to reference times.
    Delays(Delays<'a>),
    /// VoIP metrics (RFC 3611 §4.7).
    VoipMetrics(VoipMetrics),
    /// Any other type; its body is not looked at.
    Other {
        /// The block type.
        block_type: u8,
    },
}

impl<'a> ExtendedReport<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (ssrc, blocks) = split_u32(body)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            rest = split_block(rest)?.1;
        }
        Ok(Self { ssrc, blocks })
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + 'a {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (block, tail) = split_block(rest).ok()?;
            rest = tail;
            Some(block)
        })
    }
}

/// Takes one block off. One whose length does not fit its type is told as unknown: RFC 3611 §4
/// wants it ignored.
fn split_block(bytes: &[u8]) -> Result<(Block<'_>, &[u8]), ParseError> {
    let (&[block_type, _, high, low], rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(ParseError::Truncated)?;
    let len = usize::from(u16::from_be_bytes([high, low])) * 4;
    let (body, tail) = rest.split_at_checked(len).ok_or(ParseError::Truncated)?;
    let other = Block::Other { block_type };
    let block = match block_type {
        REFERENCE_TIME => match body.try_into() {
            Ok(time) => Block::ReferenceTime(u64::from_be_bytes(time)),
            Err(_) => other,
        },
        DELAYS if body.len().is_multiple_of(DELAY_LEN) => Block::Delays(Delays(body.as_chunks().0)),
        VOIP_METRICS => match body.try_into() {
            Ok(body) => Block::VoipMetrics(VoipMetrics::read(body)),
            Err(_) => other,
        },
        _ => other,
    };
    Ok((block, tail))
}

/// The entries of a DLRR block.
#[derive(Debug, Clone, Copy)]
pub struct Delays<'a>(&'a [[u8; DELAY_LEN]]);

/// An answer to a receiver's reference time (RFC 3611 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The receiver that is answered.
    pub ssrc: u32,
    /// Middle 32 bits of its last reference time, or zero.
    pub last_reference: u32,
    /// Time since that came, in 1/65536 s, or zero.
    pub delay: u32,
}

impl<'a> Delays<'a> {
    /// The answers.
    pub fn entries(&self) -> impl Iterator<Item = Delay> + 'a {
        self.0.iter().map(|entry| {
            let words = entry.as_chunks::<4>().0;
            let word = |at: usize| words.get(at).map_or(0, |w| u32::from_be_bytes(*w));
            Delay {
                ssrc: word(0),
                last_reference: word(1),
                delay: word(2),
            }
        })
    }
}

/// A receiver's account of how a stream sounds (RFC 3611 §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoipMetrics {
    /// The stream.
    pub ssrc: u32,
    /// Share lost on the network since the beginning, in 1/256.
    pub loss_rate: u8,
    /// Share that came too late or too early to be played, in 1/256.
    pub discard_rate: u8,
    /// Share lost or discarded within bursts, in 1/256.
    pub burst_density: u8,
    /// Share lost or discarded within gaps, in 1/256.
    pub gap_density: u8,
    /// Mean length of a burst, in ms.
    pub burst_duration: u16,
    /// Mean length of a gap, in ms.
    pub gap_duration: u16,
    /// Latest round trip between the RTP interfaces, in ms; zero where unknown.
    pub round_trip: u16,
    /// Delay within the reporter, buffer, decoder, encoder and all, in ms; zero where unknown.
    pub end_system_delay: u16,
    /// Level of the voice in dBm0, or [`UNAVAILABLE`].
    pub signal_level: i8,
    /// Level of the noise in silent times in dBm0, or [`UNAVAILABLE`].
    pub noise_level: i8,
    /// Residual echo return loss in dB, or [`UNAVAILABLE`].
    pub echo_return_loss: u8,
    /// Packets received in a row that end a burst.
    pub gap_minimum: u8,
    /// R factor of the conversation, 0 to 100, or [`UNAVAILABLE`] (G.107).
    pub r_factor: u8,
    /// R factor of a further network segment, or [`UNAVAILABLE`].
    pub external_r_factor: u8,
    /// Listening quality as ten times the MOS, 10 to 50, or [`UNAVAILABLE`].
    pub mos_listening: u8,
    /// Conversational quality as ten times the MOS, 10 to 50, or [`UNAVAILABLE`].
    pub mos_conversation: u8,
    /// Concealment and jitter buffer as bits (RFC 3611 §4.7.6): see [`receiver_configuration`].
    pub receiver: u8,
    /// The jitter buffer's delay now, in ms.
    pub buffer_nominal: u16,
    /// The delay that it grows to at the present jitter, in ms.
    pub buffer_maximum: u16,
    /// The delay that it can never exceed, in ms.
    pub buffer_limit: u16,
}

/// The bits of [`VoipMetrics::receiver`] for enhanced concealment (of speech, not silence) and an
/// adaptive jitter buffer, or a fixed one (RFC 3611 §4.7.6).
pub const fn receiver_configuration(adaptive: bool) -> u8 {
    const ENHANCED: u8 = 0b11;
    let buffer = if adaptive { 0b11 } else { 0b10 };
    ENHANCED << 6 | buffer << 4
}

impl VoipMetrics {
    /// Metrics of which nothing is known yet.
    pub const fn unknown(ssrc: u32) -> Self {
        Self {
            ssrc,
            loss_rate: 0,
            discard_rate: 0,
            burst_density: 0,
            gap_density: 0,
            burst_duration: 0,
            gap_duration: 0,
            round_trip: 0,
            end_system_delay: 0,
            signal_level: UNAVAILABLE as i8,
            noise_level: UNAVAILABLE as i8,
            echo_return_loss: UNAVAILABLE,
            gap_minimum: 16,
            r_factor: UNAVAILABLE,
            external_r_factor: UNAVAILABLE,
            mos_listening: UNAVAILABLE,
            mos_conversation: UNAVAILABLE,
            receiver: 0,
            buffer_nominal: 0,
            buffer_maximum: 0,
            buffer_limit: 0,
        }
    }

    fn read(body: &[u8; METRICS_LEN]) -> Self {
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        Self {
            ssrc: u32::from_be_bytes([body[0], body[1], body[2], body[3]]),
            loss_rate: body[4],
            discard_rate: body[5],
            burst_density: body[6],
            gap_density: body[7],
            burst_duration: word(8),
            gap_duration: word(10),
            round_trip: word(12),
            end_system_delay: word(14),
            signal_level: body[16] as i8,
            noise_level: body[17] as i8,
            echo_return_loss: body[18],
            gap_minimum: body[19],
            r_factor: body[20],
            external_r_factor: body[21],
            mos_listening: body[22],
            mos_conversation: body[23],
            receiver: body[24],
            buffer_nominal: word(26),
            buffer_maximum: word(28),
            buffer_limit: word(30),
        }
    }

    fn emit(&self) -> [u8; METRICS_LEN] {
        let mut body = [0; METRICS_LEN];
        body[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        body[4..8].copy_from_slice(&[
            self.loss_rate,
            self.discard_rate,
            self.burst_density,
            self.gap_density,
        ]);
        body[16..25].copy_from_slice(&[
            self.signal_level as u8,
            self.noise_level as u8,
            self.echo_return_loss,
            self.gap_minimum,
            self.r_factor,
            self.external_r_factor,
            self.mos_listening,
            self.mos_conversation,
            self.receiver,
        ]);
        for (at, word) in [
            (8, self.burst_duration),
            (10, self.gap_duration),
            (12, self.round_trip),
            (14, self.end_system_delay),
            (26, self.buffer_nominal),
            (28, self.buffer_maximum),
            (30, self.buffer_limit),
        ] {
            body[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        body
    }
}

/// What an extended report of ours holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Our wall clock as a 64-bit NTP timestamp, so that senders' answers tell the round trip.
    pub reference_time: Option<u64>,
    /// The answer to the peer's reference time.
    pub delay: Option<Delay>,
    /// How the peer's stream sounds here.
    pub metrics: Option<VoipMetrics>,
}

impl Writer<'_> {
    /// Appends an extended report; without content, nothing.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn extended_report(&mut self, ssrc: u32, content: &Content) -> Result<(), BufferFull> {
        let time = content.reference_time.map(u64::to_be_bytes);
        let delay = content.delay.map(|delay| {
            let mut body = [0; DELAY_LEN];
            let words = [delay.ssrc, delay.last_reference, delay.delay];
            for (to, word) in body.as_chunks_mut().0.iter_mut().zip(words) {
                *to = word.to_be_bytes();
            }
            body
        });
        let metrics = content.metrics.map(|metrics| metrics.emit());
        let blocks = [
            (REFERENCE_TIME, time.as_ref().map(|b| &b[..])),
            (DELAYS, delay.as_ref().map(|b| &b[..])),
            (VOIP_METRICS, metrics.as_ref().map(|b| &b[..])),
        ];
        let lengths = blocks.iter().filter_map(|(_, body)| body.map(<[u8]>::len));
        let len: usize = lengths.map(|len| 4 + len).sum();
        if len == 0 {
            return Ok(());
        }
        let body = self.packet(EXTENDED_REPORT, 0, 4 + len)?;
        let (head, mut rest) = body.split_at_mut(4);
        head.copy_from_slice(&ssrc.to_be_bytes());
        for (block_type, block) in blocks {
            let Some(block) = block else { continue };
            let (to, tail) = rest.split_at_mut(4 + block.len());
            to[..4].copy_from_slice(&[block_type, 0, 0, (block.len() / 4) as u8]);
            to[4..].copy_from_slice(block);
            rest = tail;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Packet};

    fn metrics() -> VoipMetrics {
        VoipMetrics {
            ssrc: 0xCAFE,
            loss_rate: 1,
            discard_rate: 2,
            burst_density: 3,
            gap_density: 4,
            burst_duration: 500,
            gap_duration: 60_000,
            round_trip: 70,
            end_system_delay: 80,
            signal_level: -19,
            noise_level: -60,
            echo_return_loss: 50,
            gap_minimum: 16,
            r_factor: 93,
            external_r_factor: UNAVAILABLE,
            mos_listening: 44,
            mos_conversation: 43,
            receiver: receiver_configuration(true),
            buffer_nominal: 40,
            buffer_maximum: 80,
            buffer_limit: 500,
        }
    }

    const DELAY: Delay = Delay {
        ssrc: 9,
        last_reference: 0x1234_5678,
        delay: 65_536,
    };

    fn write(content: &Content, buf: &mut [u8]) -> Result<usize, BufferFull> {
        let mut writer = Writer::new(buf);
        writer.receiver_report(7, &[])?;
        writer.extended_report(7, content)?;
        Ok(writer.finish())
    }

    fn read(bytes: &[u8]) -> Vec<Block<'_>> {
        let packets: Vec<_> = Compound::parse(bytes).unwrap().packets().collect();
        let Some(Packet::ExtendedReport(report)) = packets.get(1) else {
            panic!("{packets:?}");
        };
        assert_eq!(report.ssrc, 7);
        report.blocks().collect()
    }

    #[test]
    fn written_blocks_read_back() {
        let content = Content {
            reference_time: Some(0x0123_4567_89AB_CDEF),
            delay: Some(DELAY),
            metrics: Some(metrics()),
        };
        let mut buf = [0xAA; 128];
        let len = write(&content, &mut buf).unwrap();
        assert_eq!(len, 8 + 8 + 12 + 16 + 36);
        let blocks = read(&buf[..len]);
        let [
            Block::ReferenceTime(time),
            Block::Delays(delays),
            Block::VoipMetrics(read),
        ] = blocks[..]
        else {
            panic!("{blocks:?}");
        };
        assert_eq!(Some(time), content.reference_time);
        assert_eq!(delays.entries().collect::<Vec<_>>(), [DELAY]);
        assert_eq!(read, metrics());
        for short in 0..len {
            assert_eq!(write(&content, &mut buf[..short]), Err(BufferFull));
        }
        assert_eq!(write(&Content::default(), &mut buf).unwrap(), 8);
    }

    #[test]
    fn blocks_of_wrong_length_are_passed_over_and_cut_ones_refused() {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        let blocks = [
            &[4, 0, 0, 1, 1, 2, 3, 4][..], // a short time
            &[5, 0, 0, 1, 1, 2, 3, 4],     // a third of an answer
            &[7, 0, 0, 1, 1, 2, 3, 4],     // short metrics
            &[99, 0, 0, 0],                // unknown and empty
        ]
        .concat();
        let words = (blocks.len() / 4 + 1) as u8;
        let bytes = [&report[..], &[0x80, 207, 0, words, 0, 0, 0, 7], &blocks].concat();
        let kinds: Vec<_> = read(&bytes)
            .into_iter()
            .map(|block| match block {
                Block::Other { block_type } => block_type,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [4, 5, 7, 99]);
        let mut cut = bytes;
        *cut.last_mut().unwrap() = 1;
        assert!(Compound::parse(&cut).is_err());
    }
}
