//! Tests: RTCP packets, well-formed and not.

use super::*;

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x1111_2222,
    fraction_lost: 64,
    lost: -3,
    highest_sequence: 0x0002_FFFE,
    jitter: 77,
    last_sender_report: 0xB705_2000,
    delay: 0x0005_4000,
};

const INFO: SenderInfo = SenderInfo {
    ntp: 0xB44D_B705_2000_0000,
    rtp_timestamp: 160_000,
    packets: 1000,
    octets: 160_000,
};

fn compound() -> Vec<u8> {
    let mut buf = [0xAA; 256];
    let mut writer = Writer::new(&mut buf);
    writer.sender_report(7, &INFO, &[BLOCK]).unwrap();
    writer.cname(7, "u7@192.0.2.1").unwrap();
    writer.goodbye(7, "hung up").unwrap();
    let len = writer.finish();
    buf[..len].to_vec()
}

#[test]
fn written_packets_read_back() {
    let bytes = compound();
    assert_eq!(bytes.len() % 4, 0);
    let packets: Vec<_> = Compound::parse(&bytes).unwrap().packets().collect();
    let [
        Packet::SenderReport(report),
        Packet::SourceDescription(description),
        Packet::Goodbye(goodbye),
    ] = packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!((report.ssrc(), report.info()), (7, INFO));
    assert_eq!(report.blocks().collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(description.cname(7), Some(&b"u7@192.0.2.1"[..]));
    assert_eq!(description.cname(8), None);
    assert_eq!(goodbye.sources().collect::<Vec<_>>(), [7]);
    assert_eq!(goodbye.reason(), b"hung up");
}

#[test]
fn every_cname_length_ends_with_a_null_on_a_word() {
    for len in 0..=255 {
        let name = "x".repeat(len);
        let mut buf = [0xAA; 300];
        let mut writer = Writer::new(&mut buf);
        writer.receiver_report(1, &[]).unwrap();
        writer.cname(1, &name).unwrap();
        let end = writer.finish();
        let found =
            Compound::parse(&buf[..end])
                .unwrap()
                .packets()
                .find_map(|packet| match packet {
                    Packet::SourceDescription(s) => s.cname(1),
                    _ => None,
                });
        assert_eq!(found, Some(name.as_bytes()));
    }
}

#[test]
fn lost_is_clamped_to_24_bits() {
    for (lost, read) in [
        (i32::MAX, 0x7F_FFFF),
        (i32::MIN, -0x80_0000),
        (-1, -1),
        (5, 5),
    ] {
        let block = ReportBlock { lost, ..BLOCK };
        assert_eq!(ReportBlock::read(&block.emit()).lost, read);
    }
}

#[test]
fn a_small_buffer_is_left_untouched_by_what_does_not_fit() {
    let mut buf = [0xAA; 30];
    let mut writer = Writer::new(&mut buf);
    writer.receiver_report(1, &[]).unwrap();
    assert_eq!(writer.sender_report(1, &INFO, &[BLOCK]), Err(BufferFull));
    assert_eq!(writer.cname(1, &"x".repeat(40)), Err(BufferFull));
    assert_eq!(writer.finish(), 8);
    assert_eq!(buf[8..], [0xAA; 22]);
}

#[test]
fn invalid_compounds_are_refused() {
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let with = |tail: &[u8]| [&report[..], tail].concat();
    for (bytes, error) in [
        (vec![], ParseError::Truncated),
        (vec![0x80, 201, 0], ParseError::Truncated),
        (vec![0x80, 201, 0, 0], ParseError::Truncated),
        (vec![0x40, 201, 0, 1, 0, 0, 0, 1], ParseError::Version),
        (vec![0x80, 202, 0, 0], ParseError::FirstPacket),
        (vec![0x81, 203, 0, 1, 0, 0, 0, 1], ParseError::FirstPacket),
        (
            vec![0x80, 201, 0xFF, 0xFF, 0, 0, 0, 1],
            ParseError::Truncated,
        ),
        (vec![0x81, 201, 0, 1, 0, 0, 0, 1], ParseError::Truncated),
        (vec![0x80, 200, 0, 1, 0, 0, 0, 1], ParseError::Truncated),
        (with(&[0x80]), ParseError::Truncated),
        (with(&[0x82, 203, 0, 1, 0, 0, 0, 1]), ParseError::Truncated),
        (
            with(&[0x81, 203, 0, 2, 0, 0, 0, 1, 9, b'x', 0, 0]),
            ParseError::Truncated,
        ),
        (with(&[0x81, 202, 0, 1, 0, 0, 0, 1]), ParseError::Truncated),
        (
            with(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, b'x', 0]),
            ParseError::Truncated,
        ),
        (
            with(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'x', b'y']),
            ParseError::Truncated,
        ),
        (with(&[0x80, 204, 0, 1, 0, 0, 0, 1]), ParseError::Truncated),
        (
            with(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0]),
            ParseError::Padding,
        ),
        (
            with(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]),
            ParseError::Padding,
        ),
        (
            with(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 12]),
            ParseError::Padding,
        ),
        (
            [&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4][..], &report[..]].concat(),
            ParseError::Padding,
        ),
    ] {
        assert_eq!(Compound::parse(&bytes).err(), Some(error), "{bytes:?}");
    }
}

#[test]
fn padding_at_the_end_and_unknown_types_are_taken() {
    let bytes = [
        0x80, 201, 0, 1, 0, 0, 0, 1, // receiver report
        0x80, 195, 0, 1, 1, 2, 3, 4, // nobody's
        0x81, 204, 0, 2, 0, 0, 0, 9, b'n', b'a', b'm', b'e', // application
        0xA1, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, // goodbye, padded
    ];
    let packets: Vec<_> = Compound::parse(&bytes).unwrap().packets().collect();
    assert_eq!(packets.len(), 4);
    assert!(matches!(
        packets[1],
        Packet::Unknown {
            packet_type: 195,
            body: [1, 2, 3, 4],
            ..
        }
    ));
    assert!(matches!(
        packets[2],
        Packet::Application(Application {
            subtype: 1,
            ssrc: 9,
            name: [b'n', b'a', b'm', b'e'],
            ..
        })
    ));
    assert!(
        matches!(packets[3], Packet::Goodbye(g) if g.sources().eq([1]) && g.reason().is_empty())
    );
}

#[test]
fn every_truncation_and_every_flipped_bit_is_survived() {
    let bytes = compound();
    for len in 0..bytes.len() {
        if let Ok(compound) = Compound::parse(&bytes[..len]) {
            assert!(compound.packets().count() <= 3);
        }
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(compound) = Compound::parse(&bytes) {
            for packet in compound.packets() {
                if let Packet::SourceDescription(s) = packet {
                    s.cname(7);
                }
            }
        }
    }
}

#[test]
fn round_trip_of_the_rfcs_figure_2() {
    // RFC 3550 §6.4.1, figure 2: A=0xb710:8000, LSR=0xb705:2000, DLSR=0x0005:4000, RTT 6.125 s.
    const UNIX_TO_NTP: u64 = 2_208_988_800;
    let seconds = (1u64 << 32) + 0xB710;
    let now = WallTime::from_unix_nanos((seconds - UNIX_TO_NTP) * 1_000_000_000 + 500_000_000);
    assert_eq!((now.to_ntp() >> 16) as u32, 0xB710_8000);
    assert_eq!(BLOCK.round_trip(now), Some(Duration::from_millis(6125)));
}

#[test]
fn impossible_round_trips_are_none() {
    let now = WallTime::from_unix_nanos(1_700_000_000_000_000_000);
    let arrival = (now.to_ntp() >> 16) as u32;
    let trip = |last, delay| {
        ReportBlock {
            last_sender_report: last,
            delay,
            ..BLOCK
        }
        .round_trip(now)
    };
    assert_eq!(trip(0, 0), None, "no sender report seen yet");
    assert_eq!(
        trip(arrival, 1 << 16),
        None,
        "delay longer than the time passed"
    );
    assert_eq!(trip(arrival, 10), Some(Duration::ZERO), "rounding");
    assert_eq!(
        trip(arrival.wrapping_sub(100 << 16), 0),
        None,
        "over a minute"
    );
    assert_eq!(
        trip(arrival.wrapping_sub(3 << 16), 1 << 16),
        Some(Duration::from_secs(2))
    );
}

#[test]
fn only_reduced_size_may_begin_without_a_report() {
    let goodbye = [0x81, 203, 0, 1, 0, 0, 0, 7];
    assert_eq!(
        Compound::parse(&goodbye).err(),
        Some(ParseError::FirstPacket)
    );
    let reduced = Compound::parse_reduced(&goodbye).unwrap();
    assert!(matches!(reduced.packets().next(), Some(Packet::Goodbye(_))));
    assert!(Compound::parse_reduced(&[]).is_err());
    assert!(Compound::parse_reduced(&goodbye[..4]).is_err());
}
