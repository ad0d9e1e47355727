//! Keep-alives by STUN on the sockets of SIP: Binding requests and their answers (RFC 5626 §4.4.2, §8,
//! RFC 5389): wire format.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
/// Attributes from here on may be ignored.
const OPTIONAL: u16 = 0x8000;
/// Attributes that are looked at, and those that a refusal names.
const MAX_ATTRIBUTES: usize = 16;
const MAX_UNKNOWN: usize = 4;

/// What tells one question from another: 96 random bits.
pub type TransactionId = [u8; 12];

/// A STUN message, as far as keep-alives need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stun {
    /// A Binding request; the attributes that it wants understood and that are not.
    Request {
        /// To be repeated in the answer.
        id: TransactionId,
        /// Attributes that must be understood and are not; four at most.
        unknown: Vec<u16>,
    },
    /// A Binding success.
    Success {
        /// That of the request.
        id: TransactionId,
        /// Where the request came from, as the server saw it.
        mapped: Option<SocketAddr>,
    },
    /// A Binding error.
    Error {
        /// That of the request.
        id: TransactionId,
    },
}

/// Whether a datagram is STUN and not SIP: SIP begins with a letter.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| *byte < 4) && datagram.len() >= HEADER
}

impl Stun {
    /// Reads a datagram; `None` where it is no Binding message of RFC 5389.
    ///
    /// ```
    /// use sidetone::sip::transport::stun::Stun;
    /// let id = [7; 12];
    /// let source = "192.0.2.1:40000".parse().unwrap();
    /// let request = Stun::Request { id, unknown: Vec::new() };
    /// assert_eq!(Stun::parse(&request.to_bytes()), Some(request));
    /// let answer = Stun::Success { id, mapped: Some(source) };
    /// assert_eq!(Stun::parse(&answer.to_bytes()), Some(answer));
    /// ```
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, body) = datagram.split_at_checked(HEADER)?;
        let kind = u16::from_be_bytes(header[..2].try_into().ok()?);
        let length = u16::from_be_bytes(header[2..4].try_into().ok()?);
        let cookie = u32::from_be_bytes(header[4..8].try_into().ok()?);
        let id: TransactionId = header[8..].try_into().ok()?;
        if cookie != COOKIE || usize::from(length) != body.len() || !length.is_multiple_of(4) {
            return None;
        }
        let attributes = attributes(body)?;
        match kind {
            REQUEST => {
                let unknown = attributes.iter().map(|(kind, _)| *kind);
                let unknown = unknown.filter(|kind| *kind < OPTIONAL).take(MAX_UNKNOWN);
                Some(Self::Request {
                    id,
                    unknown: unknown.collect(),
                })
            }
            SUCCESS => {
                let mapped = attributes
                    .iter()
                    .find(|(kind, _)| *kind == XOR_MAPPED_ADDRESS);
                Some(Self::Success {
                    id,
                    mapped: mapped.and_then(|(_, value)| unmask(value, &id)),
                })
            }
            ERROR => Some(Self::Error { id }),
            _ => None,
        }
    }

    /// The answer to a request from `source`: its address, or 420 where it wants something understood
    /// that is not. It is never longer than twice the request and a bit.
    pub fn answer(id: TransactionId, unknown: &[u16], source: SocketAddr) -> Vec<u8> {
        if unknown.is_empty() {
            let mapped = Some(source);
            return Self::Success { id, mapped }.to_bytes();
        }
        let mut body = Vec::new();
        attribute(&mut body, ERROR_CODE, &[0, 0, 4, 20]);
        let named = unknown.iter().take(MAX_UNKNOWN);
        let named: Vec<u8> = named.flat_map(|kind| kind.to_be_bytes()).collect();
        attribute(&mut body, UNKNOWN_ATTRIBUTES, &named);
        message(ERROR, &id, &body)
    }

    /// The bytes of the message; an error as the bare fact.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Request { id, .. } => message(REQUEST, id, &[]),
            Self::Success { id, mapped } => {
                let mut body = Vec::new();
                if let Some(mapped) = mapped {
                    attribute(&mut body, XOR_MAPPED_ADDRESS, &mask(*mapped, id));
                }
                message(SUCCESS, id, &body)
            }
            Self::Error { id } => message(ERROR, id, &[]),
        }
    }
}

/// Type and value of each attribute; `None` where lengths lie, or there are too many.
fn attributes(mut body: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        if found.len() == MAX_ATTRIBUTES {
            return None;
        }
        let (head, rest) = body.split_at_checked(4)?;
        let kind = u16::from_be_bytes(head[..2].try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(head[2..].try_into().ok()?));
        let (padded, next) = rest.split_at_checked(length.next_multiple_of(4))?;
        found.push((kind, padded.get(..length)?));
        body = next;
    }
    Some(found)
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_be_bytes());
    body.extend((value.len() as u16).to_be_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn message(kind: u16, id: &TransactionId, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(kind.to_be_bytes());
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(COOKIE.to_be_bytes());
    bytes.extend(id);
    bytes.extend(body);
    bytes
}

/// What an address is masked with, lest a translator that rewrites payloads finds it (RFC 5389 §15.2).
fn pad(id: &TransactionId) -> [u8; 16] {
    let mut pad = [0; 16];
    pad[..4].copy_from_slice(&COOKIE.to_be_bytes());
    pad[4..].copy_from_slice(id);
    pad
}

fn mask(address: SocketAddr, id: &TransactionId) -> Vec<u8> {
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(ip.iter().zip(pad(id)).map(|(byte, pad)| byte ^ pad));
    value
}

fn unmask(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let (head, ip) = value.split_at_checked(4)?;
    let port = u16::from_be_bytes(head[2..].try_into().ok()?) ^ (COOKIE >> 16) as u16;
    let plain: Vec<u8> = ip
        .iter()
        .zip(pad(id))
        .map(|(byte, pad)| byte ^ pad)
        .collect();
    let ip: IpAddr = match (head[1], ip.len()) {
        (1, 4) => Ipv4Addr::from(<[u8; 4]>::try_from(&plain[..]).ok()?).into(),
        (2, 16) => Ipv6Addr::from(<[u8; 16]>::try_from(&plain[..]).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    #[test]
    fn the_mapped_addresses_of_rfc_5769_are_read() {
        let v4 = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(unmask(&v4, &ID), "192.0.2.1:32853".parse().ok());
        let v6 = [
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
            0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let address = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        assert_eq!(unmask(&v6, &ID), Some(address));
        assert_eq!(mask(address, &ID), v6);
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let mut body = Vec::new();
        attribute(&mut body, 0x0024, &[1]);
        attribute(&mut body, 0x8022, b"software");
        let bytes = message(REQUEST, &ID, &body);
        let unknown = vec![0x0024];
        let expected = Stun::Request {
            id: ID,
            unknown: unknown.clone(),
        };
        assert_eq!(Stun::parse(&bytes), Some(expected));
        let answer = Stun::answer(ID, &unknown, "192.0.2.1:1".parse().unwrap());
        assert_eq!(Stun::parse(&answer), Some(Stun::Error { id: ID }));
        assert_eq!(&answer[HEADER..HEADER + 8], [0, 9, 0, 4, 0, 0, 4, 20]);
    }

    #[test]
    fn no_answer_is_three_times_its_request() {
        for source in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            for count in 0..=MAX_ATTRIBUTES {
                let mut body = Vec::new();
                (0..count).for_each(|kind| attribute(&mut body, kind as u16, &[]));
                let bytes = message(REQUEST, &ID, &body);
                let Some(Stun::Request { id, unknown }) = Stun::parse(&bytes) else {
                    panic!("no request");
                };
                let answer = Stun::answer(id, &unknown, source.parse().unwrap());
                assert!(answer.len() < 3 * bytes.len(), "{count}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_lies_is_no_message() {
        let whole = Stun::answer(ID, &[], "[2001:db8::1]:9".parse().unwrap());
        for end in 0..whole.len() {
            assert_eq!(Stun::parse(&whole[..end]), None, "{end}");
        }
        for (at, value) in [(3, 23), (3, 255), (4, 0), (23, 255), (0, 0x80)] {
            let mut broken = whole.clone();
            broken[at] = value;
            assert_eq!(Stun::parse(&broken), None, "{at}");
        }
        assert!(!is_stun(b"") && !is_stun(b"OPTIONS sip:x SIP/2.0\r\n\r\n") && is_stun(&whole));
    }
}
