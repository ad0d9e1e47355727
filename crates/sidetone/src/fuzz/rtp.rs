//! RTP, RTCP, telephone events and source locks: nothing panics, what is read is what was there.

use std::net::SocketAddr;

use crate::media::dtmf::{DtmfEvent, DtmfReceiver, DtmfReceiverConfig};
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, View, ViewMut};
use crate::rtp::rtcp::{Compound, Packet};
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
}

/// A datagram as RTCP: read in every way.
pub fn control(data: &[u8]) {
    let Ok(compound) = Compound::parse(data) else {
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
            _ => {}
        }
    }
    assert!(count >= 1 && count * 4 <= data.len());
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
        assert!(
            !was_locked || destination == before,
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
                    1 => *byte = 200 + (*byte & 3),
                    2..5 => *byte &= 3,
                    _ => {}
                }
            }
            for run in [packet, control, session, source, dtmf] {
                let result = std::panic::catch_unwind(|| run(&data));
                assert!(result.is_ok(), "seed {seed}");
            }
        }
    }
}
