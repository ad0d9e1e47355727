//! Captures written by the tests, byte by byte, and what becomes of damaged ones.

use std::net::SocketAddr;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// An IPv4 packet with a UDP datagram; checksums are nobody's business here.
fn ipv4(content: &[u8]) -> Vec<u8> {
    let length = (28 + content.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(udp(content));
    packet
}

fn udp(content: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x13, 0x88, 0x13, 0x8a];
    datagram.extend((8 + content.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(content);
    datagram
}

fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([[0x20; 16], [0x21; 16]].concat());
    packet.extend(rest);
    packet
}

/// A pcap file of this link type, a record a second, in little or big endian.
fn pcap(link: u32, big: bool, frames: &[Vec<u8>]) -> Vec<u8> {
    let word = |n: u32| {
        if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    let half = |n: u16| {
        if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    let mut file = word(0xa1b2_c3d4).to_vec();
    file.extend([half(2), half(4)].concat());
    file.extend([word(0), word(0), word(65_535), word(link)].concat());
    for (second, frame) in (100..).zip(frames) {
        let length = word(frame.len() as u32);
        file.extend([word(second), word(250_000), length, length].concat());
        file.extend(frame);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (12 + body.len().next_multiple_of(4)) as u32;
    let mut block = [kind.to_le_bytes(), length.to_le_bytes()].concat();
    block.extend(body);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend(length.to_le_bytes());
    block
}

fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    body.extend([1, 0, 0, 0]);
    body.extend([0xff; 8]);
    block(0x0a0d_0d0a, &body)
}

fn interface(link: u16, options: &[u8]) -> Vec<u8> {
    let mut body = link.to_le_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0]);
    body.extend(options);
    block(1, &body)
}

fn enhanced(interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
    let length = (frame.len() as u32).to_le_bytes();
    let mut body = interface.to_le_bytes().to_vec();
    body.extend(((ticks >> 32) as u32).to_le_bytes());
    body.extend((ticks as u32).to_le_bytes());
    body.extend([length, length].concat());
    body.extend(frame);
    block(6, &body)
}

fn ethernet(tags: &[u16], protocol: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(protocol.to_be_bytes());
    frame.extend(packet);
    frame
}

#[test]
fn every_link_layer_is_taken_off() {
    let cooked = |length: usize, at: usize| {
        let mut frame = vec![0; length];
        frame[at..at + 2].copy_from_slice(&[8, 0]);
        [frame, ipv4(b"hello")].concat()
    };
    let cases = [
        (1, ethernet(&[], 0x0800, &ipv4(b"hello"))),
        (1, ethernet(&[0x8100], 0x0800, &ipv4(b"hello"))),
        (1, ethernet(&[0x88a8, 0x8100], 0x0800, &ipv4(b"hello"))),
        (0, [vec![2, 0, 0, 0], ipv4(b"hello")].concat()),
        (108, [vec![0, 0, 0, 2], ipv4(b"hello")].concat()),
        (101, ipv4(b"hello")),
        (228, ipv4(b"hello")),
        (113, cooked(16, 14)),
        (276, cooked(20, 0)),
    ];
    for big in [false, true] {
        for (link, frame) in &cases {
            let file = pcap(*link, big, std::slice::from_ref(frame));
            let capture = Capture::read(&file[..]).expect("a capture");
            let [datagram] = capture.datagrams() else {
                panic!("link type {link}: {:?}", capture.counts());
            };
            assert_eq!(capture.payload(datagram), b"hello", "link type {link}");
            assert_eq!(datagram.source, address("192.0.2.1:5000"));
            assert_eq!(datagram.destination, address("192.0.2.2:5002"));
            assert_eq!(capture.epoch(), 100_250_000_000);
        }
    }
}

#[test]
fn ip_version_6_with_its_extensions_is_read() {
    let with_options = [vec![17, 0, 0, 0, 0, 0, 0, 0], udp(b"hi")].concat();
    let fragment = [vec![17, 0, 0, 1, 0, 0, 0, 0], udp(b"hi")].concat();
    let frames = [
        ipv6(17, &udp(b"hi")),
        ipv6(0, &with_options),
        ipv6(44, &fragment),
    ];
    let capture = Capture::read(&pcap(229, false, &frames)[..]).expect("a capture");
    assert_eq!(capture.counts().udp, 2);
    assert_eq!(capture.counts().fragments, 1);
    let last = capture.datagrams()[1];
    assert_eq!((capture.payload(&last), last.at.as_secs()), (&b"hi"[..], 1));
}

#[test]
fn fragments_other_protocols_and_broken_headers_are_counted() {
    let mut fragment = ipv4(b"x");
    fragment[6] = 0x20;
    let mut icmp = ipv4(b"x");
    icmp[9] = 1;
    let mut short = ipv4(b"x");
    short[0] = 0x44;
    let frames = [fragment, icmp, short, vec![0x45], vec![]];
    let capture = Capture::read(&pcap(101, false, &frames)[..]).expect("a capture");
    let counts = capture.counts();
    assert_eq!((counts.records, counts.udp), (5, 0));
    assert_eq!((counts.fragments, counts.malformed), (1, 2));
    assert_eq!(counts.other, 2);
    let wifi = Capture::read(&pcap(127, false, &[vec![0; 60]])[..]).expect("a capture");
    assert_eq!(wifi.counts().unknown_link, 1);
}

#[test]
fn next_generation_files_have_interfaces_with_their_own_clocks() {
    let nanos = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let file = [
        section(),
        interface(101, &[]),
        interface(1, &nanos),
        enhanced(0, 2_000_000, &ipv4(b"late")),
        enhanced(1, 1_500_000_000, &ethernet(&[], 0x0800, &ipv4(b"early"))),
        enhanced(9, 0, &ipv4(b"nowhere")),
    ]
    .concat();
    let capture = Capture::read(&file[..]).expect("a capture");
    let seen: Vec<_> = capture
        .datagrams()
        .iter()
        .map(|d| (d.at.as_millis(), capture.payload(d)))
        .collect();
    assert_eq!(seen, [(0, &b"early"[..]), (500, b"late")]);
    assert_eq!(capture.counts().unknown_link, 1);
    assert_eq!(capture.damage(), None);
}

#[test]
fn rtpdump_files_are_read() {
    let mut file = b"#!rtpplay1.0 192.0.2.9/4000\n".to_vec();
    file.extend([0, 0, 0, 9, 0, 0, 0, 0, 192, 0, 2, 8, 0x13, 0x88, 0, 0]);
    file.extend([0, 12, 0, 4, 0, 0, 0, 40]);
    file.extend(b"rtp!");
    file.extend([0, 12, 0, 0, 0, 0, 0, 60]);
    file.extend(b"rtcp");
    let capture = Capture::read(&file[..]).expect("a capture");
    let [rtp, rtcp] = capture.datagrams() else {
        panic!("two datagrams")
    };
    assert_eq!(
        (rtp.source, rtp.destination),
        (address("192.0.2.8:5000"), address("192.0.2.9:4000"))
    );
    assert_eq!(rtcp.destination.port(), 4001);
    assert_eq!(
        (capture.payload(rtp), rtcp.at.as_millis()),
        (&b"rtp!"[..], 20)
    );
    file.truncate(file.len() - 2);
    let capture = Capture::read(&file[..]).expect("what is left");
    assert_eq!(capture.datagrams().len(), 1);
    assert_eq!(capture.damage(), Some("it is cut off"));
}

#[test]
fn a_damaged_file_gives_what_came_before_the_damage() {
    let whole = pcap(101, false, &[ipv4(b"one"), ipv4(b"two")]);
    for end in 24..whole.len() {
        let capture = Capture::read(&whole[..end]).expect("a beginning");
        let complete = usize::from(end >= 24 + 16 + 31);
        assert_eq!(capture.datagrams().len(), complete, "cut at {end}");
        let at_record = [24, 24 + 16 + 31].contains(&end);
        assert_eq!(capture.damage().is_none(), at_record, "cut at {end}");
    }
    let mut huge = whole.clone();
    huge[32..36].fill(0x7f);
    let capture = Capture::read(&huge[..]).expect("a beginning");
    assert!(capture.damage().is_some() && capture.datagrams().is_empty());
}

#[test]
fn what_is_no_capture_is_told() {
    for file in [
        &b""[..],
        b"a",
        b"GIF89a and more bytes",
        &[0xd4, 0xc3, 0xb2],
    ] {
        assert!(
            matches!(Capture::read(file), Err(CaptureError::Unknown)),
            "{file:?}"
        );
    }
    let header = &pcap(1, false, &[])[..20];
    assert!(matches!(
        Capture::read(header),
        Err(CaptureError::Damaged(_))
    ));
    let dump = b"#!rtpplay1.0 1.2.3.4/5";
    assert!(matches!(
        Capture::read(&dump[..]),
        Err(CaptureError::Damaged(_))
    ));
}

/// Any bytes after a header that is believed: no panic, no endless loop.
#[test]
fn noise_is_survived() {
    let mut rng = sidetone::rng::Rng::new(11);
    for round in 0..400u32 {
        let mut file = match round % 4 {
            0 => pcap([0, 1, 101, 113, 276][round as usize % 5], false, &[]),
            1 => section(),
            2 => [section(), interface(1, &[]), enhanced(0, 5, &ipv4(b"x"))].concat(),
            _ => pcap(101, true, &[ipv4(b"x"), ipv6(17, &udp(b"y"))]),
        };
        file.extend((0..rng.next_u32() % 200).map(|_| rng.next_u32() as u8));
        for _ in 0..rng.next_u32() % 6 {
            let at = rng.next_u32() as usize % file.len();
            file[at] = rng.next_u32() as u8;
        }
        let _ = Capture::read(&file[..]);
    }
}
