//! RTP, RTCP, telephone events and source locks: nothing panics, what is read is what was there.

use std::net::SocketAddr;

use crate::media::dtmf::{DtmfEvent, DtmfReceiver, DtmfReceiverConfig};
use crate::rng::Rng;
use crate::rtp::extension::{Elements, Writer as ExtensionWriter};
use crate::rtp::packet::{HEADER_LEN, Header, View, ViewMut};
use crate::rtp::rtcp::feedback::{Feedback, Message};
use crate::rtp::rtcp::xr::{Block, Content};
use crate::rtp::rtcp::{Compound, Packet, Writer};
use crate::rtp::session::receiver::{Position, ReceiverConfig};
use crate::rtp::session::{Session, SessionConfig};
use crate::rtp::source::{Learning, SourceConfig, SourceLock, Verdict};
use crate::time::{ClockAnchor, Duration, Instant};

/// A datagram as RTP: its parts lie within it, and rewriting its header changes nothing else.
pub fn packet(data: &[u8]) {
    let Ok(view) = View::parse(data) else {
        return;
    };
    let extension = view.extension().map_or(0, |(_, words)| 4 + words.len());
    let sources = view.contributing().count() * 4;
    assert_eq!(view.header_len(), HEADER_LEN + sources + extension);
    assert!(view.header_len() + view.payload().len() <= data.len());
    let header = view.header();
    let mut copy = data.to_vec();
    let mut rewritten = ViewMut::parse(&mut copy).expect("parsed before");
    rewritten.set_sequence(!header.sequence);
    rewritten.set_timestamp(!header.timestamp);
    rewritten.set_ssrc(!header.ssrc);
    rewritten.set_payload_type(!header.payload_type);
    rewritten.set_header(&header);
    assert_eq!(copy, data, "rewriting touched something else");
    let elements = Elements::of(&view);
    let read: usize = elements.map(|e| 1 + e.data.len()).sum();
    assert!(read <= extension);
}

/// A header extension, its profile before its words: what is read and can be written reads back.
pub fn extension(data: &[u8]) {
    let Some(([high, low], words)) = data.split_first_chunk::<2>() else {
        return;
    };
    let profile = u16::from_be_bytes([*high, *low]);
    let mut packet = vec![0; HEADER_LEN + 4 + 2 * words.len() + 4];
    Header::default().emit(&mut packet);
    let mut writer = ExtensionWriter::new(&mut packet);
    let mut written = Vec::new();
    for element in Elements::new(profile, words) {
        assert!(element.id != 0 && element.data.len() <= words.len());
        if writer.element(element.id, element.data).is_ok() {
            written.push(element);
        }
    }
    let end = writer.finish();
    let view = View::parse(&packet).expect("what we write is valid");
    assert_eq!(view.header_len(), end);
    assert!(Elements::of(&view).eq(written));
}

/// A datagram as RTCP: read in every way.
pub fn control(data: &[u8]) {
    let Ok(compound) = Compound::parse_reduced(data) else {
        assert!(Compound::parse(data).is_err());
        return;
    };
    let mut count = 0;
    for packet in compound.packets() {
        count += 1;
        match packet {
            Packet::SenderReport(report) => assert!(report.blocks().count() <= 31),
            Packet::ReceiverReport(report) => assert!(report.blocks().count() <= 31),
            Packet::SourceDescription(description) => {
                description.cname(0);
            }
            Packet::Goodbye(goodbye) => {
                assert!(goodbye.sources().count() * 4 + goodbye.reason().len() <= data.len());
            }
            Packet::Feedback(feedback) => self::feedback(&feedback, data.len()),
            Packet::ExtendedReport(report) => report.blocks().for_each(extended_block),
            _ => {}
        }
    }
    assert!(count >= 1 && count * 4 <= data.len());
}

fn feedback(feedback: &Feedback<'_>, most: usize) {
    match feedback.message {
        Message::Nack(nack) => {
            let mut sequences: Vec<u16> = nack.sequences().take(64).collect();
            assert!(!sequences.is_empty());
            let first = sequences[0];
            sequences.sort_by_key(|s| s.wrapping_sub(first));
            let mut buf = [0; 600];
            let mut writer = Writer::new(&mut buf);
            writer.nack(1, 2, &sequences).expect("room for them all");
            let len = writer.finish();
            let packet = Compound::parse_reduced(&buf[..len]).expect("valid");
            let packet = packet.packets().next();
            let Some(Packet::Feedback(read)) = packet else {
                panic!("{packet:?}");
            };
            let Message::Nack(read) = read.message else {
                panic!("{read:?}");
            };
            sequences.dedup();
            assert!(read.sequences().eq(sequences));
        }
        Message::BitrateRequest(limits) | Message::BitrateNotification(limits) => {
            assert!(limits.limits().count() * 8 <= most);
        }
        Message::FullIntra(full) => assert!(full.requests().count() * 8 <= most),
        Message::EstimatedBitrate(estimate) => {
            assert!(estimate.streams().count() * 4 <= most);
        }
        _ => {}
    }
}

fn extended_block(block: Block<'_>) {
    let content = match block {
        Block::ReferenceTime(time) => Content {
            reference_time: Some(time),
            ..Content::default()
        },
        Block::VoipMetrics(metrics) => Content {
            metrics: Some(metrics),
            ..Content::default()
        },
        Block::Delays(delays) => Content {
            delay: delays.entries().next(),
            ..Content::default()
        },
        _ => return,
    };
    let mut buf = [0; 64];
    let mut writer = Writer::new(&mut buf);
    writer.extended_report(1, &content).expect("room for it");
    let len = writer.finish();
    let packets = Compound::parse_reduced(&buf[..len.max(4)]);
    assert!(content == Content::default() || packets.is_ok());
}

/// The machines above the wire formats; the first byte says which is fed with the rest.
pub fn machines(data: &[u8]) {
    match data.split_first() {
        Some((0, steps)) => session(steps),
        Some((1, steps)) => source(steps),
        Some((2, steps)) => dtmf(steps),
        _ => {}
    }
}

/// A session fed with datagrams of its peer: the figures stay possible, the SSRC its own.
///
/// The input is a list of steps: a length, milliseconds to pass, whether it is RTCP, and bytes.
fn session(data: &[u8]) {
    let config = SessionConfig {
        cname: "fuzz".to_owned(),
        anchor: ClockAnchor::default(),
        receiver: ReceiverConfig::default(),
        control: Default::default(),
    };
    let mut now = Instant::ZERO;
    let mut session = Session::new(now, config, Rng::new(1));
    let mut last: Option<Position> = None;
    let mut taken = 0;
    for (head, bytes) in Steps(data) {
        now += Duration::from_millis(u64::from(head[1]) * 8);
        if head[2] & 1 == 1 {
            let _ = session.handle_rtcp(now, bytes);
        } else if let Ok(view) = View::parse(bytes)
            && let Ok(position) = session.handle_rtp(now, &view)
        {
            taken += 1;
            assert_eq!(position.sequence as u16, view.sequence());
            assert_eq!(position.timestamp as u32, view.timestamp());
            let related = last.filter(|_| !position.restarted);
            assert!(related.is_none_or(|last| position.sequence != last.sequence));
            last = Some(position);
        }
        let mut buf = [0; 580];
        while let Some(len) = session.poll_rtcp(now, &mut buf) {
            Compound::parse(&buf[..len]).expect("what we send is valid");
        }
    }
    assert_eq!(session.receive_stats().packets, taken);
}

/// A source lock under a crowd: it sends only where signalling or a trial allows.
///
/// The input is a list of steps of three bytes: who sends, milliseconds to pass, sequence number.
fn source(data: &[u8]) {
    let address = |n: u8| SocketAddr::from(([192, 0, 2, n & 3], 4000 + u16::from(n >> 2 & 1)));
    let Some((&mode, steps)) = data.split_first() else {
        return;
    };
    let learning = [Learning::Off, Learning::KnownHost, Learning::AnyHost][usize::from(mode % 3)];
    let mut lock = SourceLock::new(SourceConfig {
        learning,
        ..SourceConfig::default()
    });
    let mut now = Instant::ZERO;
    let mut signalled = address(0);
    lock.signal(now, signalled);
    for step in steps.as_chunks::<3>().0 {
        now += Duration::from_millis(u64::from(step[1]));
        let from = address(step[0]);
        if step[0] >= 0xF8 {
            signalled = from;
            lock.signal(now, from);
            continue;
        }
        let was_locked = lock.is_locked();
        let before = lock.destination();
        let verdict = lock.handle_packet(now, from, 1, u16::from(step[2]));
        let destination = lock.destination();
        let host = |address: Option<SocketAddr>| address.map(|a| a.ip());
        let rebound = learning != Learning::Off && host(destination) == host(before);
        assert!(
            !was_locked || destination == before || rebound,
            "a locked stream moved"
        );
        if verdict != Verdict::Refuse {
            assert!(Some(from) == destination || from == signalled);
        }
        match learning {
            Learning::Off => assert_eq!(destination, Some(signalled)),
            Learning::KnownHost => assert_eq!(destination.map(|d| d.ip()), Some(signalled.ip())),
            Learning::AnyHost => assert!(destination.is_some()),
        }
    }
}

/// Telephone events in any order: starts and ends alternate, and name the same digit.
///
/// The input is a list of steps of eight bytes: milliseconds, sequence, timestamp, flags, payload.
fn dtmf(data: &[u8]) {
    let mut receiver = DtmfReceiver::new(DtmfReceiverConfig::default());
    let mut now = Instant::ZERO;
    let mut down = None;
    for step in data.as_chunks::<8>().0 {
        let [pass, sequence, timestamp, flags, payload @ ..] = *step;
        now += Duration::from_millis(u64::from(pass));
        receiver.handle_timeout(now);
        check_events(&mut receiver, &mut down);
        let position = Position {
            sequence: (1 << 32) + u64::from(sequence),
            timestamp: (1 << 48) + u64::from(timestamp) * 160,
            restarted: flags & 2 != 0,
        };
        receiver.handle_report(now, position, flags & 1 != 0, &payload);
        check_events(&mut receiver, &mut down);
    }
    assert_eq!(receiver.active(), down);
    assert_eq!(receiver.stats().unread, 0);
}

fn check_events(receiver: &mut DtmfReceiver, down: &mut Option<crate::media::dtmf::Digit>) {
    while let Some(event) = receiver.poll_event() {
        match event {
            DtmfEvent::Started { digit } => assert_eq!(down.replace(digit), None),
            DtmfEvent::Ended { digit, .. } => assert_eq!(down.take(), Some(digit)),
        }
    }
}

/// Splits the input into steps: four bytes, the first of them the length of what follows.
struct Steps<'a>(&'a [u8]);

impl<'a> Iterator for Steps<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at(usize::from(head[0]).min(rest.len()));
        self.0 = rest;
        Some((*head, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("rtp", packet);
        crate::fuzz::run_seeds("rtcp", control);
        crate::fuzz::run_seeds("rtp_extension", extension);
        crate::fuzz::run_seeds("rtp_machines", machines);
    }

    #[test]
    fn random_input_keeps_every_promise() {
        for seed in 0..3000 {
            let mut rng = Rng::new(seed);
            let len = rng.below(600) as usize;
            let mut data: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
            // Few values in most places, so that inputs get past the first checks.
            for byte in &mut data {
                match rng.below(8) {
                    0 => *byte = 0x80,
                    1 => *byte = 200 + (*byte & 7),
                    2..5 => *byte &= 3,
                    _ => {}
                }
            }
            for run in [packet, extension, control, session, source, dtmf] {
                let result = std::panic::catch_unwind(|| run(&data));
                assert!(result.is_ok(), "seed {seed}");
            }
        }
    }
}
