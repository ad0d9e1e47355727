//! RTP in capture files: read what went over the loopback, write what SIPp is to send.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::RATE;
use super::g711::Law;

/// Samples of one packet, 20 ms.
const PACKET: usize = RATE / 50;
const ETHERNET: usize = 14;
/// Link types of a capture file: Ethernet, and bare IP packets as a TUN device carries them.
const LINK_ETHERNET: u32 = 1;
const LINK_RAW: [u32; 2] = [101, 12];
/// The port that a written stream goes to; SIPp puts its own there.
pub(crate) const WRITTEN_TO: u16 = 6002;

/// One RTP stream of a capture.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    packets: Vec<Packet>,
}

#[derive(Debug, Clone)]
struct Packet {
    /// Arrival, in seconds since the epoch.
    at: f64,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

/// Who sent a stream to whom, by port, and its synchronisation source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) ssrc: u32,
}

impl Stream {
    /// Packets that went missing, by sequence number, and packets seen.
    pub(crate) fn loss(&self) -> (usize, usize) {
        let mut highest: Option<i64> = None;
        let mut seen = std::collections::BTreeSet::new();
        for packet in &self.packets {
            let last = highest.unwrap_or(i64::from(packet.sequence));
            let step = i64::from(packet.sequence.wrapping_sub(last as u16) as i16);
            seen.insert(last + step);
            highest = Some(last.max(last + step));
        }
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
            return (0, 0);
        };
        ((last - first + 1) as usize - seen.len(), seen.len())
    }

    /// The digits of RFC 4733 events in the stream, each event once.
    #[cfg(test)]
    fn digits(&self, payload_type: u8) -> String {
        let mut digits = String::new();
        let mut last = None;
        for packet in self
            .packets
            .iter()
            .filter(|packet| packet.payload_type == payload_type)
        {
            if last != Some(packet.timestamp)
                && let Some(event) = packet.payload.first()
            {
                digits.extend("0123456789*#ABCD".chars().nth(usize::from(*event)));
                last = Some(packet.timestamp);
            }
        }
        digits
    }

    /// The G.711 sound as samples from `origin` (seconds since the epoch) on, laid out by RTP
    /// time; the packet that hurried most gives the anchor.
    pub(crate) fn sound(&self, origin: f64) -> Vec<i16> {
        let audio = || {
            self.packets
                .iter()
                .filter_map(|p| Some((p, Law::of(p.payload_type)?)))
        };
        let Some((first, _)) = audio().next() else {
            return Vec::new();
        };
        let place = |p: &Packet| f64::from(p.timestamp.wrapping_sub(first.timestamp) as i32);
        let anchor = audio()
            .map(|(packet, _)| packet.at - place(packet) / RATE as f64)
            .fold(f64::INFINITY, f64::min);
        let base = ((anchor - origin) * RATE as f64).round();
        let mut samples = Vec::new();
        for (packet, law) in audio() {
            let start = base + place(packet);
            // More than an hour off is a fault of the stream, not sound.
            if !(0.0..(3600 * RATE) as f64).contains(&start) {
                continue;
            }
            let start = start as usize;
            samples.resize(samples.len().max(start + packet.payload.len()), 0);
            for (slot, byte) in samples[start..].iter_mut().zip(&packet.payload) {
                *slot = law.decode(*byte);
            }
        }
        samples
    }

    /// How far the payload's bytes are from being evenly spread, as encrypted ones are: the chi-square
    /// statistic in standard deviations above its mean. `None` for fewer than 2,000 bytes.
    pub(crate) fn unevenness(&self) -> Option<f64> {
        let mut counts = [0u32; 256];
        for byte in self.packets.iter().flat_map(|packet| &packet.payload) {
            counts[usize::from(*byte)] += 1;
        }
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / 256.0;
        let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        let statistic: f64 = counts.iter().map(square).sum();
        (total >= 2000).then(|| (statistic - 255.0) / 510f64.sqrt())
    }

    /// Arrival of the first packet.
    pub(crate) fn begins(&self) -> f64 {
        self.packets.first().map_or(0.0, |packet| packet.at)
    }
}

/// The RTP streams over IPv4 in a capture (classic pcap) of the loopback or of a TUN device.
/// Streams of fewer than five packets are left out.
pub(crate) fn streams(path: &Path) -> io::Result<BTreeMap<Key, Stream>> {
    let bytes = fs::read(path)?;
    let mut streams = BTreeMap::<Key, Stream>::new();
    for (at, frame) in frames(&bytes) {
        if let Some((key, packet)) = rtp(at, frame) {
            streams.entry(key).or_default().packets.push(packet);
        }
    }
    streams.retain(|_, stream| stream.packets.len() >= 5);
    Ok(streams)
}

/// The IP packets of a capture with their times.
fn frames(bytes: &[u8]) -> Vec<(f64, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let unit = match word(0) {
        Some(0xA1B2_C3D4) => 1e-6,
        Some(0xA1B2_3C4D) => 1e-9,
        _ => return Vec::new(),
    };
    let header = match word(20) {
        Some(LINK_ETHERNET) => ETHERNET,
        Some(link) if LINK_RAW.contains(&link) => 0,
        _ => return Vec::new(),
    };
    let mut frames = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(parts), Some(size)) = (word(at), word(at + 4), word(at + 8)) {
        let Some(frame) = bytes.get(at + 16..at + 16 + size as usize) else {
            break;
        };
        let packet = frame.get(header..).unwrap_or_default();
        frames.push((f64::from(seconds) + f64::from(parts) * unit, packet));
        at += 16 + size as usize;
    }
    frames
}

fn rtp(at: f64, ip: &[u8]) -> Option<(Key, Packet)> {
    let header = usize::from(ip.first()? & 0x0F) * 4;
    if ip.first()? >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(header..)?;
    let short =
        |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long =
        |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let rtp = udp.get(8..usize::from(short(udp, 4)?))?;
    let kind = rtp.get(1)? & 0x7F;
    // Version 2, and not a packet type of RTCP (RFC 5761 §4).
    if rtp[0] >> 6 != 2 || (64..=95).contains(&kind) {
        return None;
    }
    let start = 12 + usize::from(rtp[0] & 0x0F) * 4;
    let packet = Packet {
        at,
        payload_type: kind,
        sequence: short(rtp, 2)?,
        timestamp: long(rtp, 4)?,
        payload: rtp.get(start..)?.to_vec(),
    };
    Some((
        Key {
            from: short(udp, 0)?,
            to: short(udp, 2)?,
            ssrc: long(rtp, 8)?,
        },
        packet,
    ))
}

/// A digit that SIPp is to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Press {
    /// Seconds after the stream's beginning.
    pub(crate) at: f64,
    pub(crate) digit: char,
}

/// Writes `sound` as one RTP stream for SIPp's `play_pcap_audio`, with RFC 4733 events of 160 ms
/// (payload type 101) where digits are pressed.
pub(crate) fn write_stream(
    path: &Path,
    sound: &[i16],
    law: Law,
    presses: &[Press],
) -> io::Result<()> {
    let mut writer = Writer::new();
    for (index, block) in sound.chunks_exact(PACKET).enumerate() {
        let at = index * PACKET;
        let pressed = presses.iter().find_map(|press| {
            let start = (press.at * RATE as f64) as usize / PACKET * PACKET;
            (start..start + 8 * PACKET)
                .contains(&at)
                .then_some((press.digit, start))
        });
        match pressed {
            Some((digit, start)) => writer.event(at, start, digit),
            None => {
                let payload: Vec<u8> = block.iter().map(|sample| law.encode(*sample)).collect();
                writer.packet(at, at as u32, law.payload_type(), index == 0, &payload);
            }
        }
    }
    fs::write(path, writer.out)
}

struct Writer {
    out: Vec<u8>,
    sequence: u16,
}

impl Writer {
    fn new() -> Self {
        let mut out = Vec::new();
        for word in [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, 1] {
            out.extend(word.to_le_bytes());
        }
        Self {
            out,
            sequence: 1000,
        }
    }

    /// One packet of an event of eight; the last is sent three times.
    fn event(&mut self, at: usize, start: usize, digit: char) {
        let code = "0123456789*#ABCD"
            .chars()
            .position(|known| known == digit)
            .unwrap_or(0) as u8;
        let length = (at - start + PACKET) as u16;
        let last = usize::from(length) == 8 * PACKET;
        let flags = if last { 0x8A } else { 0x0A };
        let payload = [code, flags, (length >> 8) as u8, length as u8];
        for _ in 0..if last { 3 } else { 1 } {
            self.packet(at, start as u32, 101, at == start, &payload);
        }
    }

    fn packet(&mut self, at: usize, timestamp: u32, kind: u8, marker: bool, payload: &[u8]) {
        let mut rtp = vec![0x80, kind | if marker { 0x80 } else { 0 }];
        rtp.extend(self.sequence.to_be_bytes());
        rtp.extend((timestamp.wrapping_add(16_000)).to_be_bytes());
        rtp.extend(0x51DE_7013u32.to_be_bytes());
        rtp.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let mut frame = vec![0u8; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((rtp.len() as u16 + 28).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        frame.extend(6000u16.to_be_bytes());
        frame.extend(WRITTEN_TO.to_be_bytes());
        frame.extend((rtp.len() as u16 + 8).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(rtp);
        let microseconds = at as u64 * 1_000_000 / RATE as u64;
        self.out
            .extend(((microseconds / 1_000_000) as u32).to_le_bytes());
        self.out
            .extend(((microseconds % 1_000_000) as u32).to_le_bytes());
        self.out.extend((frame.len() as u32).to_le_bytes());
        self.out.extend((frame.len() as u32).to_le_bytes());
        self.out.extend(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{measure, speech};
    use super::*;

    fn temporary(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("sidetone-{name}-{}.pcap", std::process::id()))
    }

    #[test]
    fn a_written_stream_is_read_back_with_its_digits() {
        let path = temporary("digits");
        let sound = speech::synthetic(3.0, 7);
        let presses = [
            Press {
                at: 1.0,
                digit: '2',
            },
            Press {
                at: 2.0,
                digit: '#',
            },
        ];
        write_stream(&path, &sound, Law::Mu, &presses).unwrap();
        let streams = streams(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (key, stream) = streams.first_key_value().unwrap();
        assert_eq!((key.from, key.to), (6000, WRITTEN_TO));
        assert_eq!(stream.digits(101), "2#");
        assert_eq!(stream.loss(), (0, 150 + 4));
        let heard = stream.sound(stream.begins() - 0.5);
        let carried = measure::carried(&sound, &heard).unwrap();
        assert!((carried.delay - 0.5).abs() < 1e-6, "{carried:?}");
        assert!(carried.carried >= 1.0, "{carried:?}");
    }

    #[test]
    fn missing_packets_are_counted_over_the_wrap() {
        let packet = |sequence| Packet {
            at: 0.0,
            payload_type: 0,
            sequence,
            timestamp: 0,
            payload: Vec::new(),
        };
        let stream = Stream {
            packets: [65_534, 65_535, 1, 3, 2, 2].map(packet).to_vec(),
        };
        assert_eq!(stream.loss(), (1, 5));
    }

    #[test]
    fn garbage_is_no_capture() {
        assert!(frames(b"hello, world").is_empty());
        assert!(rtp(0.0, &[0; 20]).is_none());
    }
}
