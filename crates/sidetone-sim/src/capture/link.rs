//! From a captured frame to what UDP or TCP carried: link layers, VLAN tags, IP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Capture, CaptureError, Flow, Transport};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// VLAN tags: IEEE 802.1Q, 802.1ad, and what was used before that.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags in a row at most.
const MAX_TAGS: usize = 8;
/// IPv6 extension headers in a row at most.
const MAX_EXTENSIONS: usize = 8;

/// Takes what a frame of this link type carried.
pub(super) fn unwrap(
    capture: &mut Capture,
    at: u64,
    link: i32,
    frame: &[u8],
    is_cut: bool,
) -> Result<(), CaptureError> {
    let Some(layer) = Layer::of(link) else {
        capture.counts.unknown_link += 1;
        return Ok(());
    };
    let Some((protocol, packet)) = layer.open(frame) else {
        capture.counts.malformed += 1;
        return Ok(());
    };
    let opened = match protocol {
        IPV4 => ipv4(packet),
        IPV6 => ipv6(packet),
        _ => Opened::Other,
    };
    match opened {
        Opened::Content(flow, content) => {
            capture.counts.truncated += u64::from(is_cut);
            capture.push(at, flow, content)?;
        }
        Opened::Empty => capture.counts.other += 1,
        Opened::Fragment => capture.counts.fragments += 1,
        Opened::Other => capture.counts.other += 1,
        Opened::Broken => capture.counts.malformed += 1,
    }
    Ok(())
}

/// Link layers that are understood.
#[derive(Debug, Clone, Copy)]
enum Layer {
    Ethernet,
    /// BSD loopback: the address family in the byte order of the machine.
    Loopback,
    /// The same in network byte order.
    LoopbackNetwork,
    Raw,
    /// Linux "any" interface, first and second version.
    Cooked,
    Cooked2,
}

impl Layer {
    /// The layer of a link type (tcpdump.org/linktypes.html).
    fn of(link: i32) -> Option<Self> {
        Some(match link {
            0 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            108 => Self::LoopbackNetwork,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// The EtherType of what the frame carries, and that.
    fn open(self, frame: &[u8]) -> Option<(u16, &[u8])> {
        match self {
            Self::Ethernet => untag(be16(frame, 12)?, frame.get(14..)?),
            Self::Cooked => untag(be16(frame, 14)?, frame.get(16..)?),
            Self::Cooked2 => untag(be16(frame, 0)?, frame.get(20..)?),
            Self::Raw => Some((by_version(frame), frame)),
            Self::Loopback => {
                let family = u32::from_le_bytes(*frame.first_chunk()?);
                let family = if family > 0xffff {
                    family.swap_bytes()
                } else {
                    family
                };
                Some((by_family(family), frame.get(4..)?))
            }
            Self::LoopbackNetwork => {
                let family = u32::from_be_bytes(*frame.first_chunk()?);
                Some((by_family(family), frame.get(4..)?))
            }
        }
    }
}

/// Takes VLAN tags off.
fn untag(mut protocol: u16, mut packet: &[u8]) -> Option<(u16, &[u8])> {
    for _ in 0..MAX_TAGS {
        if !VLAN.contains(&protocol) {
            break;
        }
        protocol = be16(packet, 2)?;
        packet = packet.get(4..)?;
    }
    Some((protocol, packet))
}

fn by_version(packet: &[u8]) -> u16 {
    match packet.first().map(|b| b >> 4) {
        Some(4) => IPV4,
        Some(6) => IPV6,
        _ => 0,
    }
}

/// The address families of the systems that write such captures.
fn by_family(family: u32) -> u16 {
    match family {
        2 => IPV4,
        10 | 24 | 28 | 30 => IPV6,
        _ => 0,
    }
}

/// What was found in an IP packet.
enum Opened<'a> {
    Content(Flow, &'a [u8]),
    Empty,
    Fragment,
    Other,
    Broken,
}

fn ipv4(packet: &[u8]) -> Opened<'_> {
    let header = packet.first().map_or(0, |b| usize::from(b & 15) * 4);
    let (Some(fixed), Some(total)) = (packet.first_chunk::<20>(), be16(packet, 2)) else {
        return Opened::Broken;
    };
    if header < 20 || fixed[0] >> 4 != 4 {
        return Opened::Broken;
    }
    // Where the network card cuts packets up, the length is not known yet.
    let end = match usize::from(total) {
        0 => packet.len(),
        total => total.min(packet.len()),
    };
    let Some(segment) = packet.get(header..end) else {
        return Opened::Broken;
    };
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x3fff != 0 {
        return Opened::Fragment;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    let source = IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3));
    let destination = IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3));
    transport(fixed[9], source, destination, segment)
}

fn ipv6(packet: &[u8]) -> Opened<'_> {
    let (Some(fixed), Some(length)) = (packet.first_chunk::<40>(), be16(packet, 4)) else {
        return Opened::Broken;
    };
    if fixed[0] >> 4 != 6 {
        return Opened::Broken;
    }
    let address = |bytes: &[u8]| {
        let octets: [u8; 16] = bytes.try_into().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let (source, destination) = (address(&fixed[8..24]), address(&fixed[24..40]));
    let end = match usize::from(length) {
        0 => packet.len(),
        length => (40 + length).min(packet.len()),
    };
    let mut segment = &packet[40..end];
    let mut next = fixed[6];
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => segment.get(1).map(|&n| 8 + 8 * usize::from(n)),
            51 => segment.get(1).map(|&n| 8 + 4 * usize::from(n)),
            44 => return Opened::Fragment,
            _ => return transport(next, source, destination, segment),
        };
        let rest = length.and_then(|n| segment.get(n..));
        let (Some(&following), Some(rest)) = (segment.first(), rest) else {
            return Opened::Broken;
        };
        (next, segment) = (following, rest);
    }
    Opened::Other
}

fn transport(protocol: u8, source: IpAddr, destination: IpAddr, segment: &[u8]) -> Opened<'_> {
    let (transport, header) = match protocol {
        17 => (Transport::Udp, Some(8)),
        6 => (
            Transport::Tcp,
            segment.get(12).map(|b| usize::from(b >> 4) * 4),
        ),
        _ => return Opened::Other,
    };
    let ports = be16(segment, 0).zip(be16(segment, 2));
    let end = match (transport, be16(segment, 4)) {
        (Transport::Udp, Some(length)) if length >= 8 => usize::from(length).min(segment.len()),
        _ => segment.len(),
    };
    let content = header.and_then(|header| segment.get(header..end));
    let (Some((from, to)), Some(content)) = (ports, content) else {
        return Opened::Broken;
    };
    if content.is_empty() {
        return Opened::Empty;
    }
    let flow = Flow {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
        transport,
    };
    Opened::Content(flow, content)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*pair))
}
