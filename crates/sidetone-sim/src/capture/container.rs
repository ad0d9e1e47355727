//! The pcap and pcapng formats: records with their times and link types.

use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};

use super::{Capture, CaptureError, link};

/// Bytes read at once, and of the largest record.
const BUFFER: usize = 64 << 10;
const MAX_RECORD: usize = 4 << 20;
/// Interfaces of a pcapng section at most; packets of later ones are of unknown link type.
const MAX_INTERFACES: usize = 1_024;

/// Whether a file that begins so is pcap or pcapng.
pub(super) fn is_known(magic: &[u8]) -> bool {
    let legacy = [0xa1b2_c3d4_u32, 0xa1b2_3c4d, 0xa1b2_cd34];
    let number = magic.first_chunk().map(|&b| u32::from_le_bytes(b));
    let is_legacy = number.is_some_and(|n| legacy.contains(&n) || legacy.contains(&n.swap_bytes()));
    is_legacy || magic.starts_with(&NEXT_GENERATION)
}

/// The block type of a section header, the same in either byte order.
const NEXT_GENERATION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// What a packet's interface says of it.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    resolution: Resolution,
    /// Seconds to add to all times.
    offset: i64,
}

/// The unit of time stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    /// So many a second.
    PerSecond(u64),
    /// 2 to this power a second.
    Power(u8),
}

impl Resolution {
    /// pcapng's `if_tsresol`; microseconds where it makes no sense.
    fn new(tsresol: u8) -> Self {
        let exponent = tsresol & 0x7f;
        match tsresol & 0x80 {
            0 if exponent <= 19 => Self::PerSecond(10u64.pow(u32::from(exponent))),
            0x80 if exponent <= 63 => Self::Power(exponent),
            _ => Self::PerSecond(1_000_000),
        }
    }

    fn nanos(self, ticks: u64) -> u64 {
        let nanos = match self {
            Self::PerSecond(units) => u128::from(ticks) * 1_000_000_000 / u128::from(units),
            Self::Power(power) => (u128::from(ticks) * 1_000_000_000) >> power,
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// Reads a pcap or pcapng file to its end, or to where it is damaged.
pub(super) fn read(mut input: impl Read, capture: &mut Capture) -> Result<(), CaptureError> {
    let mut magic = [0; 4];
    let length = super::fill(&mut input, &mut magic)?;
    let input = (&magic[..length]).chain(input);
    let input = Eager(input);
    let damaged = |error: PcapError<_>| CaptureError::Damaged(describe(&error));
    if magic == NEXT_GENERATION {
        let reader = PcapNGReader::new(BUFFER, input).map_err(damaged)?;
        records(reader, capture)
    } else {
        let reader = LegacyPcapReader::new(BUFFER, input).map_err(damaged)?;
        records(reader, capture)
    }
}

/// Fills buffers as far as the input goes, whatever pieces it comes in.
struct Eager<R>(R);

impl<R: Read> Read for Eager<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        super::fill(&mut self.0, buf)
    }
}

fn records(mut reader: impl PcapReaderIterator, capture: &mut Capture) -> Result<(), CaptureError> {
    let mut interfaces = Vec::new();
    let mut size = BUFFER;
    loop {
        let error = match reader.next() {
            Ok((offset, block)) => {
                take(&block, &mut interfaces, capture)?;
                reader.consume(offset);
                continue;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => None,
            Err(error) => Some((matches!(error, PcapError::BufferTooSmall), describe(&error))),
        };
        match error {
            Some((true, _)) if size < MAX_RECORD => {
                size *= 2;
                reader.grow(size);
            }
            Some((_, damage)) => {
                capture.damage = Some(damage);
                return Ok(());
            }
            None => {}
        }
        if let Err(error) = reader.refill() {
            let damage = describe(&error);
            capture.damage = Some(damage);
            return Ok(());
        }
    }
}

/// What a parser's error means to who reads the capture.
fn describe(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::UnexpectedEof | PcapError::Incomplete(_) => "it is cut off".into(),
        PcapError::ReadError => "it cannot be read".into(),
        PcapError::BufferTooSmall => format!("a record is larger than {} MiB", MAX_RECORD >> 20),
        PcapError::HeaderNotRecognized => "its header is not understood".into(),
        _ => "a record cannot be understood".into(),
    }
}

fn take(
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    capture: &mut Capture,
) -> Result<(), CaptureError> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let units = if header.is_nanosecond_precision() {
                1_000_000_000
            } else {
                1_000_000
            };
            interfaces.push(Interface {
                // The upper bits tell of frame check sequences.
                link: header.network.0 & 0x0fff_ffff,
                resolution: Resolution::PerSecond(units),
                offset: 0,
            });
            Ok(())
        }
        PcapBlockOwned::Legacy(record) => {
            let Some(interface) = interfaces.first() else {
                return Ok(());
            };
            let Resolution::PerSecond(units) = interface.resolution else {
                return Ok(());
            };
            let ticks = u64::from(record.ts_sec) * units + u64::from(record.ts_usec);
            let cut = record.origlen as usize > record.data.len();
            packet(capture, Some(*interface), ticks, record.data, cut)
        }
        PcapBlockOwned::NG(block) => next_generation(block, interfaces, capture),
    }
}

fn next_generation(
    block: &Block<'_>,
    interfaces: &mut Vec<Interface>,
    capture: &mut Capture,
) -> Result<(), CaptureError> {
    match block {
        Block::SectionHeader(_) => interfaces.clear(),
        Block::InterfaceDescription(described) if interfaces.len() < MAX_INTERFACES => {
            interfaces.push(Interface {
                link: described.linktype.0,
                resolution: Resolution::new(described.if_tsresol),
                offset: described.if_tsoffset,
            });
        }
        Block::EnhancedPacket(record) => {
            let interface = interfaces.get(record.if_id as usize).copied();
            let ticks = u64::from(record.ts_high) << 32 | u64::from(record.ts_low);
            let data = captured(record.data, record.caplen);
            let cut = record.origlen as usize > data.len();
            packet(capture, interface, ticks, data, cut)?;
        }
        Block::SimplePacket(record) => {
            let interface = interfaces.first().copied();
            let data = captured(record.data, record.origlen);
            let cut = record.origlen as usize > data.len();
            packet(capture, interface, 0, data, cut)?;
        }
        _ => {}
    }
    Ok(())
}

/// A record's content without its padding.
fn captured(data: &[u8], length: u32) -> &[u8] {
    data.get(..length as usize).unwrap_or(data)
}

fn packet(
    capture: &mut Capture,
    interface: Option<Interface>,
    ticks: u64,
    data: &[u8],
    is_cut: bool,
) -> Result<(), CaptureError> {
    capture.counts.records += 1;
    let Some(interface) = interface else {
        capture.counts.unknown_link += 1;
        return Ok(());
    };
    let nanos = interface.resolution.nanos(ticks);
    let offset = interface.offset.saturating_mul(1_000_000_000);
    let at = nanos.saturating_add_signed(offset);
    link::unwrap(capture, at, interface.link, data, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_have_units_of_either_base() {
        assert_eq!(Resolution::new(6).nanos(1_500_000), 1_500_000_000);
        assert_eq!(Resolution::new(9).nanos(7), 7);
        assert_eq!(Resolution::new(0x80 | 10).nanos(1_536), 1_500_000_000);
        assert_eq!(Resolution::new(77), Resolution::new(6));
        assert_eq!(Resolution::new(0).nanos(u64::MAX), u64::MAX);
    }

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        assert!(is_known(&[0xd4, 0xc3, 0xb2, 0xa1]));
        assert!(is_known(&[0xa1, 0xb2, 0x3c, 0x4d, 0]));
        assert!(is_known(&[0x0a, 0x0d, 0x0d, 0x0a]));
        assert!(!is_known(&[0xd4, 0xc3, 0xb2]));
        assert!(!is_known(b"#!rtpplay1.0"));
    }
}
