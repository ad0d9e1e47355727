//! The rtpdump format of rtptools: RTP and RTCP without their packets' headers.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Capture, CaptureError, Flow, Transport};

/// How a file begins, before the address that it was recorded at.
pub(super) const MAGIC: &[u8] = b"#!rtpplay1.0";
/// Bytes of the first line at most.
const MAX_LINE: usize = 256;

/// Reads a file to its end, or to where it is damaged.
pub(super) fn read(mut input: impl Read, capture: &mut Capture) -> Result<(), CaptureError> {
    let mut bytes = Vec::new();
    let limit = super::MAX_BYTES as u64;
    input.by_ref().take(limit).read_to_end(&mut bytes)?;
    if input.read(&mut [0])? > 0 {
        return Err(CaptureError::TooLarge);
    }
    let line = bytes.iter().take(MAX_LINE).position(|&b| b == b'\n');
    let Some(line) = line else {
        return Err(CaptureError::Damaged("its first line has no end".into()));
    };
    let destination = recorded_at(&bytes[..line]);
    let Some((header, mut rest)) = bytes[line + 1..].split_first_chunk::<16>() else {
        return Err(CaptureError::Damaged("it is cut off".into()));
    };
    let seconds = be32(header, 0);
    let micros = be32(header, 4);
    let start = u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1_000;
    let [.., a, b, c, d, p0, p1, _, _] = *header;
    let source = SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        u16::from_be_bytes([p0, p1]),
    );
    while let Some((head, following)) = rest.split_first_chunk::<8>() {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let full = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let offset = be32(head, 4);
        let content = length.checked_sub(8).and_then(|n| following.get(..n));
        let Some(content) = content else {
            capture.damage = Some("it is cut off".into());
            return Ok(());
        };
        rest = &following[content.len()..];
        capture.counts.records += 1;
        // RTCP has no length of its own here, and its own port there.
        let is_control = full == 0;
        capture.counts.truncated += u64::from(!is_control && full > content.len());
        let to_control = |a: SocketAddr| match is_control {
            true => SocketAddr::new(a.ip(), a.port().saturating_add(1)),
            false => a,
        };
        let flow = Flow {
            source: to_control(source),
            destination: to_control(destination),
            transport: Transport::Udp,
        };
        capture.push(start + u64::from(offset) * 1_000_000, flow, content)?;
    }
    if !rest.is_empty() {
        capture.damage = Some("it is cut off".into());
    }
    Ok(())
}

/// The address in the first line, `#!rtpplay1.0 224.2.0.1/3456`.
fn recorded_at(line: &[u8]) -> SocketAddr {
    let text = String::from_utf8_lossy(line);
    let address = text.split_whitespace().nth(1).unwrap_or_default();
    let (host, port) = address.rsplit_once('/').unwrap_or((address, ""));
    let host = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    SocketAddr::new(host, port.parse().unwrap_or(0))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |&word| u32::from_be_bytes(word))
}
