//! RTCP packets: sender and receiver reports, source description, goodbye: wire format.

pub mod feedback;
pub mod xr;

use thiserror::Error;

use crate::rtp::rtcp::feedback::Feedback;
use crate::rtp::rtcp::xr::ExtendedReport;
use crate::time::{Duration, WallTime};

/// Bytes of one report block (RFC 3550 §6.4.1).
pub const REPORT_BLOCK_LEN: usize = 24;

/// Report blocks that one packet can hold: its count field has five bits.
pub const MAX_REPORT_BLOCKS: usize = 31;

const VERSION: u8 = 2;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const APPLICATION: u8 = 204;
const CNAME: u8 = 1;

/// Why bytes are not a compound RTCP packet; always the sender's fault. Drop and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A packet is shorter than its length field or its counts announce.
    #[error("RTCP packet is truncated")]
    Truncated,
    /// A version field is not 2.
    #[error("RTCP version is not 2")]
    Version,
    /// The first packet is neither a sender nor a receiver report (RFC 3550 §6.1).
    #[error("compound RTCP packet does not begin with a report")]
    FirstPacket,
    /// Padding before the last packet, or an impossible padding count.
    #[error("RTCP padding is impossible")]
    Padding,
}

/// The caller's buffer has no room for what was to be written; nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no room for the RTCP packet")]
pub struct BufferFull;

/// A compound packet that passed the validity checks of RFC 3550 appendix A.2.
///
/// ```
/// use sidetone::rtp::rtcp::{Compound, Packet, Writer};
///
/// let mut buf = [0u8; 128];
/// let mut writer = Writer::new(&mut buf);
/// writer.receiver_report(7, &[])?;
/// writer.cname(7, "a@example.com")?;
/// let len = writer.finish();
/// let compound = Compound::parse(&buf[..len]).expect("we wrote it");
/// assert!(matches!(compound.packets().next(), Some(Packet::ReceiverReport(r)) if r.ssrc() == 7));
/// # Ok::<(), sidetone::rtp::rtcp::BufferFull>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a>(&'a [u8]);

impl<'a> Compound<'a> {
    /// Checks every packet of the datagram: version, lengths that add up, a report first, padding
    /// only last, and each known packet's own counts.
    ///
    /// # Errors
    /// [`ParseError`] where any check fails. The datagram is dropped as a whole.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        if !matches!(
            datagram.get(1),
            None | Some(&(SENDER_REPORT | RECEIVER_REPORT))
        ) {
            return Err(ParseError::FirstPacket);
        }
        Self::parse_reduced(datagram)
    }

    /// As [`Compound::parse`], and the first packet may be of any type: what a peer may send with
    /// whom reduced-size RTCP was agreed (RFC 5506 §3.4).
    ///
    /// # Errors
    /// [`ParseError`] where a check fails. The datagram is dropped as a whole.
    pub fn parse_reduced(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let mut rest = datagram;
        let mut first = true;
        while !rest.is_empty() || first {
            let (raw, tail) = Raw::split(rest)?;
            if raw.padded && !tail.is_empty() {
                return Err(ParseError::Padding);
            }
            raw.interpret()?;
            rest = tail;
            first = false;
        }
        Ok(Self(datagram))
    }

    /// The packets in order; those of unknown type as [`Packet::Unknown`].
    pub fn packets(&self) -> impl Iterator<Item = Packet<'a>> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (raw, tail) = Raw::split(rest).ok()?;
            rest = tail;
            raw.interpret().ok()
        })
    }
}

/// One packet's common header and body (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy)]
struct Raw<'a> {
    padded: bool,
    count: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let (head, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or(ParseError::Truncated)?;
        if head[0] >> 6 != VERSION {
            return Err(ParseError::Version);
        }
        let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let (body, tail) = rest.split_at_checked(len).ok_or(ParseError::Truncated)?;
        let padded = head[0] & 0x20 != 0;
        let body = if padded { unpad(body)? } else { body };
        let raw = Self {
            padded,
            count: head[0] & 0x1F,
            packet_type: head[1],
            body,
        };
        Ok((raw, tail))
    }

    fn interpret(&self) -> Result<Packet<'a>, ParseError> {
        match self.packet_type {
            SENDER_REPORT => self.sender_report(),
            RECEIVER_REPORT => {
                let (ssrc, rest) = split_u32(self.body)?;
                let blocks = self.blocks(rest)?;
                Ok(Packet::ReceiverReport(ReceiverReport { ssrc, blocks }))
            }
            SOURCE_DESCRIPTION => {
                SourceDescription::check(self.body, self.count)?;
                Ok(Packet::SourceDescription(SourceDescription {
                    chunks: self.body,
                    count: self.count,
                }))
            }
            GOODBYE => self.goodbye(),
            APPLICATION => {
                let (ssrc, rest) = split_u32(self.body)?;
                let (name, data) = rest.split_first_chunk::<4>().ok_or(ParseError::Truncated)?;
                Ok(Packet::Application(Application {
                    subtype: self.count,
                    ssrc,
                    name: *name,
                    data,
                }))
            }
            feedback::TRANSPORT | feedback::PAYLOAD => {
                let feedback = Feedback::parse(self.packet_type, self.count, self.body)?;
                Ok(Packet::Feedback(feedback))
            }
            xr::EXTENDED_REPORT => Ok(Packet::ExtendedReport(ExtendedReport::parse(self.body)?)),
            packet_type => Ok(Packet::Unknown {
                packet_type,
                count: self.count,
                body: self.body,
            }),
        }
    }

    fn sender_report(&self) -> Result<Packet<'a>, ParseError> {
        let (ssrc, rest) = split_u32(self.body)?;
        let (high, rest) = split_u32(rest)?;
        let (low, rest) = split_u32(rest)?;
        let (rtp_timestamp, rest) = split_u32(rest)?;
        let (packets, rest) = split_u32(rest)?;
        let (octets, rest) = split_u32(rest)?;
        Ok(Packet::SenderReport(SenderReport {
            ssrc,
            info: SenderInfo {
                ntp: (u64::from(high) << 32) | u64::from(low),
                rtp_timestamp,
                packets,
                octets,
            },
            blocks: self.blocks(rest)?,
        }))
    }

    /// The report blocks; what follows them is a profile's extension and is ignored.
    fn blocks(&self, rest: &'a [u8]) -> Result<&'a [[u8; REPORT_BLOCK_LEN]], ParseError> {
        rest.as_chunks()
            .0
            .get(..usize::from(self.count))
            .ok_or(ParseError::Truncated)
    }

    fn goodbye(&self) -> Result<Packet<'a>, ParseError> {
        let (sources, rest) = self
            .body
            .split_at_checked(usize::from(self.count) * 4)
            .ok_or(ParseError::Truncated)?;
        let reason = match rest.split_first() {
            None => &[][..],
            Some((&len, text)) => text.get(..usize::from(len)).ok_or(ParseError::Truncated)?,
        };
        Ok(Packet::Goodbye(Goodbye {
            sources: sources.as_chunks().0,
            reason,
        }))
    }
}

fn unpad(body: &[u8]) -> Result<&[u8], ParseError> {
    let count = usize::from(*body.last().ok_or(ParseError::Padding)?);
    let len = body.len().checked_sub(count).ok_or(ParseError::Padding)?;
    if count == 0 || !count.is_multiple_of(4) {
        return Err(ParseError::Padding);
    }
    Ok(&body[..len])
}

fn split_u32(bytes: &[u8]) -> Result<(u32, &[u8]), ParseError> {
    let (head, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(ParseError::Truncated)?;
    Ok((u32::from_be_bytes(*head), rest))
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// RR (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// SDES (RFC 3550 §6.5).
    SourceDescription(SourceDescription<'a>),
    /// BYE (RFC 3550 §6.6).
    Goodbye(Goodbye<'a>),
    /// APP (RFC 3550 §6.7).
    Application(Application<'a>),
    /// Feedback (RFC 4585 §6).
    Feedback(Feedback<'a>),
    /// XR (RFC 3611).
    ExtendedReport(ExtendedReport<'a>),
    /// Any other type; its body is not looked at.
    Unknown {
        /// The packet type.
        packet_type: u8,
        /// The five bits after the padding bit.
        count: u8,
        /// What follows the common header, without padding.
        body: &'a [u8],
    },
}

/// A received sender report.
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'a> {
    ssrc: u32,
    info: SenderInfo,
    blocks: &'a [[u8; REPORT_BLOCK_LEN]],
}

impl<'a> SenderReport<'a> {
    /// The reporter, which is the sender.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What the sender says of its stream.
    pub fn info(&self) -> SenderInfo {
        self.info
    }

    /// What it says of the streams that it receives.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.blocks.iter().map(ReportBlock::read)
    }
}

/// A received receiver report.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'a> {
    ssrc: u32,
    blocks: &'a [[u8; REPORT_BLOCK_LEN]],
}

impl<'a> ReceiverReport<'a> {
    /// The reporter.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What it says of the streams that it receives.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.blocks.iter().map(ReportBlock::read)
    }
}

/// A sender's account of its own stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wall time of the report as a 64-bit NTP timestamp.
    pub ntp: u64,
    /// The same moment on the stream's clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the stream began.
    pub packets: u32,
    /// Payload bytes sent since the stream began.
    pub octets: u32,
}

/// A receiver's account of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits with sign; emitted clamped to them.
    pub lost: i32,
    /// Highest sequence number received, with the count of its cycles above it.
    pub highest_sequence: u32,
    /// Inter-arrival jitter in ticks of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report received, or zero.
    pub last_sender_report: u32,
    /// Time since then, in 1/65536 s, or zero.
    pub delay: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let words = bytes.as_chunks::<4>().0;
        let word = |at: usize| words.get(at).map_or(0, |w| u32::from_be_bytes(*w));
        let loss = word(1);
        Self {
            ssrc: word(0),
            fraction_lost: (loss >> 24) as u8,
            lost: ((loss << 8) as i32) >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_sender_report: word(4),
            delay: word(5),
        }
    }

    fn emit(&self) -> [u8; REPORT_BLOCK_LEN] {
        let lost = self.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        let words = [
            self.ssrc,
            (u32::from(self.fraction_lost) << 24) | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay,
        ];
        let mut bytes = [0; REPORT_BLOCK_LEN];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        bytes
    }

    /// Round-trip time where this block reports on our stream and arrived at `now`: arrival minus
    /// last sender report minus the peer's delay (RFC 3550 §6.4.1, figure 2).
    ///
    /// `None` where the peer has seen no sender report yet, or its figures are impossible: a time
    /// below zero or above a minute.
    pub fn round_trip(&self, now: WallTime) -> Option<Duration> {
        round_trip(now, self.last_sender_report, self.delay)
    }
}

/// The time since our report with the middle NTP bits `sent`, less what the peer held it for.
pub(crate) fn round_trip(now: WallTime, sent: u32, delay: u32) -> Option<Duration> {
    if sent == 0 {
        return None;
    }
    let arrival = (now.to_ntp() >> 16) as u32;
    let units = arrival.wrapping_sub(sent).wrapping_sub(delay);
    // Clocks tick in 15 µs here, so that a very short path may come out just below zero.
    let units = if (units as i32) < 0 && units as i32 > -66 {
        0
    } else {
        units
    };
    if units > 60 << 16 {
        return None;
    }
    Some(Duration::from_nanos(
        (u64::from(units) * 1_000_000_000) >> 16,
    ))
}

/// A received source description (RFC 3550 §6.5).
#[derive(Debug, Clone, Copy)]
pub struct SourceDescription<'a> {
    chunks: &'a [u8],
    count: u8,
}

impl<'a> SourceDescription<'a> {
    /// The canonical name given for `ssrc`, as bytes that should be UTF-8.
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        let mut rest = self.chunks;
        for _ in 0..self.count {
            let (source, items) = split_u32(rest).ok()?;
            let (name, tail) = Self::chunk(items).ok()?;
            if source == ssrc && name.is_some() {
                return name;
            }
            rest = tail;
        }
        None
    }

    fn check(body: &'a [u8], count: u8) -> Result<(), ParseError> {
        let mut rest = body;
        for _ in 0..count {
            let (_, items) = split_u32(rest)?;
            rest = Self::chunk(items)?.1;
        }
        Ok(())
    }

    /// Walks one chunk's items; returns its CNAME and what follows the chunk.
    fn chunk(items: &'a [u8]) -> Result<(Option<&'a [u8]>, &'a [u8]), ParseError> {
        let mut name = None;
        let mut at = 0;
        loop {
            let kind = *items.get(at).ok_or(ParseError::Truncated)?;
            if kind == 0 {
                // The list ends with one to four null bytes, up to the next word.
                let end = (at + 4) & !3;
                return Ok((name, items.get(end..).ok_or(ParseError::Truncated)?));
            }
            let len = usize::from(*items.get(at + 1).ok_or(ParseError::Truncated)?);
            let text = items
                .get(at + 2..at + 2 + len)
                .ok_or(ParseError::Truncated)?;
            if kind == CNAME {
                name = Some(text);
            }
            at += 2 + len;
        }
    }
}

/// A received goodbye (RFC 3550 §6.6).
#[derive(Debug, Clone, Copy)]
pub struct Goodbye<'a> {
    sources: &'a [[u8; 4]],
    reason: &'a [u8],
}

impl<'a> Goodbye<'a> {
    /// The sources that leave.
    pub fn sources(&self) -> impl Iterator<Item = u32> + 'a {
        self.sources.iter().map(|s| u32::from_be_bytes(*s))
    }

    /// The reason, as bytes that should be UTF-8; empty where none is given.
    pub fn reason(&self) -> &'a [u8] {
        self.reason
    }
}

/// A received application-defined packet (RFC 3550 §6.7).
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    /// The application's own subtype, 0 to 31.
    pub subtype: u8,
    /// The sender.
    pub ssrc: u32,
    /// The application's name.
    pub name: [u8; 4],
    /// The application's data.
    pub data: &'a [u8],
}

/// Writes a compound packet into the caller's buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buf`. The first packet must be a report (RFC 3550 §6.1).
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Appends a sender report; blocks beyond [`MAX_REPORT_BLOCKS`] are left out.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), BufferFull> {
        let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
        let mut body = [0; 24];
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4..12].copy_from_slice(&info.ntp.to_be_bytes());
        body[12..16].copy_from_slice(&info.rtp_timestamp.to_be_bytes());
        body[16..20].copy_from_slice(&info.packets.to_be_bytes());
        body[20..].copy_from_slice(&info.octets.to_be_bytes());
        self.report(SENDER_REPORT, &body, blocks)
    }

    /// Appends a receiver report; blocks beyond [`MAX_REPORT_BLOCKS`] are left out.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), BufferFull> {
        let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
        self.report(RECEIVER_REPORT, &ssrc.to_be_bytes(), blocks)
    }

    /// Appends a source description with the canonical name alone; bytes beyond 255 are cut.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn cname(&mut self, ssrc: u32, cname: &str) -> Result<(), BufferFull> {
        let name = &cname.as_bytes()[..cname.len().min(255)];
        // The items end with at least one null byte and fill the word.
        let items = (2 + name.len() + 1).next_multiple_of(4);
        let body = self.packet(SOURCE_DESCRIPTION, 1, 4 + items)?;
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4] = CNAME;
        body[5] = name.len() as u8;
        body[6..6 + name.len()].copy_from_slice(name);
        body[6 + name.len()..].fill(0);
        Ok(())
    }

    /// Appends a goodbye; of the reason, bytes beyond 255 are cut, and an empty one is left out.
    ///
    /// # Errors
    /// [`BufferFull`] where the buffer has no room for all of it.
    pub fn goodbye(&mut self, ssrc: u32, reason: &str) -> Result<(), BufferFull> {
        let reason = &reason.as_bytes()[..reason.len().min(255)];
        let text = if reason.is_empty() {
            0
        } else {
            (1 + reason.len()).next_multiple_of(4)
        };
        let body = self.packet(GOODBYE, 1, 4 + text)?;
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        if !reason.is_empty() {
            body[4] = reason.len() as u8;
            body[5..5 + reason.len()].copy_from_slice(reason);
            body[5 + reason.len()..].fill(0);
        }
        Ok(())
    }

    /// Bytes written.
    pub fn finish(self) -> usize {
        self.len
    }

    fn report(
        &mut self,
        packet_type: u8,
        head: &[u8],
        blocks: &[ReportBlock],
    ) -> Result<(), BufferFull> {
        let len = head.len() + blocks.len() * REPORT_BLOCK_LEN;
        let body = self.packet(packet_type, blocks.len() as u8, len)?;
        let (start, rest) = body.split_at_mut(head.len());
        start.copy_from_slice(head);
        for (to, block) in rest.as_chunks_mut().0.iter_mut().zip(blocks) {
            *to = block.emit();
        }
        Ok(())
    }

    /// Writes a common header and returns the body to fill; `len` is a multiple of four.
    fn packet(&mut self, packet_type: u8, count: u8, len: usize) -> Result<&mut [u8], BufferFull> {
        let room = self
            .buf
            .get_mut(self.len..self.len + 4 + len)
            .ok_or(BufferFull)?;
        self.len += 4 + len;
        let (head, body) = room.split_at_mut(4);
        let words = (len / 4) as u16;
        head.copy_from_slice(&[
            (VERSION << 6) | count,
            packet_type,
            words.to_be_bytes()[0],
            words.to_be_bytes()[1],
        ]);
        Ok(body)
    }
}

#[cfg(test)]
mod tests;
