//! A pcap file of the virtual network: raw IPv4 and IPv6 packets that Wireshark opens.

use std::net::{IpAddr, SocketAddr};

use sidetone::time::WallTime;

/// A capture in the classic pcap format with nanosecond time stamps, kept in memory.
///
/// Full at [`Capture::LIMIT`] bytes; what comes later is counted and left out.
#[derive(Debug)]
pub struct Capture {
    bytes: Vec<u8>,
    left_out: u64,
}

/// What kind of packet carries the bytes of a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carrier {
    Udp,
    /// A TCP segment with its sequence and acknowledgement numbers and flags.
    Tcp {
        sequence: u32,
        acknowledgement: u32,
        flags: u8,
    },
}

pub(super) const TCP_FIN: u8 = 0x01;
pub(super) const TCP_SYN: u8 = 0x02;
pub(super) const TCP_RST: u8 = 0x04;
pub(super) const TCP_ACK: u8 = 0x10;

impl Default for Capture {
    fn default() -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
        bytes.extend_from_slice(&2u16.to_le_bytes());
        bytes.extend_from_slice(&4u16.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&65_535u32.to_le_bytes());
        bytes.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        Self { bytes, left_out: 0 }
    }
}

/// The packets begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u32 = 101;

impl Capture {
    /// The size at which a capture takes no more packets: 256 MiB.
    pub const LIMIT: usize = 256 << 20;

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many packets came after the capture was full.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Adds a UDP datagram that was seen at `wall`.
    pub fn record_udp(
        &mut self,
        wall: WallTime,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        self.record(wall, source, destination, Carrier::Udp, payload);
    }

    pub(super) fn record(
        &mut self,
        wall: WallTime,
        source: SocketAddr,
        destination: SocketAddr,
        carrier: Carrier,
        payload: &[u8],
    ) {
        let packet = packet(source, destination, carrier, payload);
        if self.bytes.len() + packet.len() + 16 > Self::LIMIT {
            self.left_out += 1;
            return;
        }
        let nanos = wall.as_unix_nanos();
        let length = packet.len() as u32;
        for field in [
            (nanos / 1_000_000_000) as u32,
            (nanos % 1_000_000_000) as u32,
            length,
            length,
        ] {
            self.bytes.extend_from_slice(&field.to_le_bytes());
        }
        self.bytes.extend_from_slice(&packet);
    }
}

fn packet(
    source: SocketAddr,
    destination: SocketAddr,
    carrier: Carrier,
    payload: &[u8],
) -> Vec<u8> {
    let (protocol, mut segment) = match carrier {
        Carrier::Udp => (17, udp_header(source, destination, payload.len())),
        Carrier::Tcp {
            sequence,
            acknowledgement,
            flags,
        } => (
            6,
            tcp_header(source, destination, sequence, acknowledgement, flags),
        ),
    };
    segment.extend_from_slice(payload);
    let (mut packet, pseudo) = ip_header(source.ip(), destination.ip(), protocol, segment.len());
    let at = if protocol == 17 { 6 } else { 16 };
    let sum = checksum(&[&pseudo, &segment]);
    let sum = if protocol == 17 && sum == 0 {
        0xffff
    } else {
        sum
    };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&segment);
    packet
}

fn udp_header(source: SocketAddr, destination: SocketAddr, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(8 + length);
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header.extend_from_slice(&((length + 8) as u16).to_be_bytes());
    header.extend_from_slice(&[0, 0]);
    header
}

fn tcp_header(
    source: SocketAddr,
    destination: SocketAddr,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
) -> Vec<u8> {
    let mut header = Vec::with_capacity(20);
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header.extend_from_slice(&sequence.to_be_bytes());
    header.extend_from_slice(&acknowledgement.to_be_bytes());
    header.extend_from_slice(&[5 << 4, flags]);
    header.extend_from_slice(&0xffff_u16.to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header
}

/// The IP header, and the pseudo-header that the checksum of the segment covers.
fn ip_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    length: usize,
) -> (Vec<u8>, Vec<u8>) {
    let mut pseudo = Vec::with_capacity(40);
    if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
        let mut header = vec![0x45, 0];
        header.extend_from_slice(&((length + 20) as u16).to_be_bytes());
        header.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
        header.extend_from_slice(&source.octets());
        header.extend_from_slice(&destination.octets());
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        pseudo.extend_from_slice(&header[12..20]);
        pseudo.extend_from_slice(&[0, protocol]);
        pseudo.extend_from_slice(&(length as u16).to_be_bytes());
        return (header, pseudo);
    }
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(length as u16).to_be_bytes());
    header.extend_from_slice(&[protocol, 64]);
    header.extend_from_slice(&octets(source));
    header.extend_from_slice(&octets(destination));
    pseudo.extend_from_slice(&header[8..40]);
    pseudo.extend_from_slice(&(length as u32).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, protocol]);
    (header, pseudo)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The internet checksum (RFC 1071) over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
        sum = (sum & 0xffff) + (sum >> 16);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_valid_packet() {
        let mut capture = Capture::default();
        capture.record(
            WallTime::from_unix_nanos(1_500_000_000),
            "10.0.0.1:5060".parse().expect("an address"),
            "10.0.0.2:5060".parse().expect("an address"),
            Carrier::Udp,
            b"abc",
        );
        let bytes = capture.as_bytes();
        assert_eq!(bytes.len(), 24 + 16 + 20 + 8 + 3);
        assert_eq!(bytes[24..32], [1, 0, 0, 0, 0, 0x65, 0xcd, 0x1d]);
        let ip = &bytes[40..60];
        assert_eq!(checksum(&[ip]), 0, "the header's sum with its checksum");
        let mut pseudo = ip[12..20].to_vec();
        pseudo.extend_from_slice(&[0, 17, 0, 11]);
        assert_eq!(checksum(&[&pseudo, &bytes[60..]]), 0);
    }
}
