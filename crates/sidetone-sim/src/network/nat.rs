//! Address translation: the four classic behaviours of RFC 3489 §5, in the words of RFC 4787.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sidetone::time::Instant;

/// Which outside address a translator gives to an inside one, and whom it lets in through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatKind {
    /// One outside port for an inside address; anybody may send to it (full cone).
    FullCone,
    /// One outside port; only hosts that were sent to may answer (restricted cone).
    AddressRestricted,
    /// One outside port; only addresses and ports that were sent to may answer.
    PortRestricted,
    /// A new outside port for every destination, which alone may answer (symmetric).
    Symmetric,
}

/// How long a mapping lives without outgoing traffic (RFC 4787 REQ-5 asks for two minutes or more).
const MAPPING_LIFETIME: Duration = Duration::from_secs(120);

/// A translator holds at most this many mappings; the oldest gives way.
const MAPPINGS: usize = 4096;

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// Set for a symmetric translator: the only destination of this mapping.
    only: Option<SocketAddr>,
    allowed: Vec<SocketAddr>,
    used: Instant,
}

/// One translator with its table.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    public: IpAddr,
    next_port: u16,
    mappings: BTreeMap<u16, Mapping>,
}

impl Nat {
    pub(super) fn new(kind: NatKind, public: IpAddr) -> Self {
        Self {
            kind,
            public,
            next_port: 20_000,
            mappings: BTreeMap::new(),
        }
    }

    /// The outside address under which `inside` talks to `destination`.
    pub(super) fn outbound(
        &mut self,
        now: Instant,
        inside: SocketAddr,
        destination: SocketAddr,
    ) -> SocketAddr {
        let only = (self.kind == NatKind::Symmetric).then_some(destination);
        self.mappings
            .retain(|_, mapping| now - mapping.used < MAPPING_LIFETIME);
        let found = self
            .mappings
            .iter()
            .find(|(_, mapping)| mapping.inside == inside && mapping.only == only)
            .map(|(port, _)| *port);
        let port = found.unwrap_or_else(|| self.open(now, inside, only));
        if let Some(mapping) = self.mappings.get_mut(&port) {
            mapping.used = now;
            if !mapping.allowed.contains(&destination) {
                mapping.allowed.push(destination);
            }
        }
        SocketAddr::new(self.public, port)
    }

    /// The inside address that a packet from `source` to the outside port `port` reaches.
    pub(super) fn inbound(
        &self,
        now: Instant,
        port: u16,
        source: SocketAddr,
    ) -> Option<SocketAddr> {
        let mapping = self.mappings.get(&port)?;
        if now - mapping.used >= MAPPING_LIFETIME {
            return None;
        }
        let allowed = match self.kind {
            NatKind::FullCone => true,
            NatKind::AddressRestricted => mapping.allowed.iter().any(|a| a.ip() == source.ip()),
            NatKind::PortRestricted | NatKind::Symmetric => mapping.allowed.contains(&source),
        };
        allowed.then_some(mapping.inside)
    }

    fn open(&mut self, now: Instant, inside: SocketAddr, only: Option<SocketAddr>) -> u16 {
        if self.mappings.len() >= MAPPINGS {
            let oldest = self.mappings.iter().min_by_key(|(_, m)| m.used);
            if let Some(port) = oldest.map(|(port, _)| *port) {
                self.mappings.remove(&port);
            }
        }
        while self.mappings.contains_key(&self.next_port) {
            self.next_port = self.next_port.wrapping_add(1).max(1024);
        }
        let port = self.next_port;
        self.next_port = self.next_port.wrapping_add(1).max(1024);
        self.mappings.insert(
            port,
            Mapping {
                inside,
                only,
                allowed: Vec::new(),
                used: now,
            },
        );
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn reach(kind: NatKind) -> [bool; 3] {
        let mut nat = Nat::new(kind, addr("203.0.113.1:0").ip());
        let now = Instant::ZERO;
        let out = nat.outbound(now, addr("192.168.0.2:5060"), addr("198.51.100.1:5060"));
        [
            nat.inbound(now, out.port(), addr("198.51.100.1:5060")),
            nat.inbound(now, out.port(), addr("198.51.100.1:9")),
            nat.inbound(now, out.port(), addr("198.51.100.9:9")),
        ]
        .map(|inside| inside == Some(addr("192.168.0.2:5060")))
    }

    #[test]
    fn each_kind_filters_as_named() {
        assert_eq!(reach(NatKind::FullCone), [true, true, true]);
        assert_eq!(reach(NatKind::AddressRestricted), [true, true, false]);
        assert_eq!(reach(NatKind::PortRestricted), [true, false, false]);
        assert_eq!(reach(NatKind::Symmetric), [true, false, false]);
    }

    #[test]
    fn only_the_symmetric_one_maps_by_destination() {
        for (kind, same) in [(NatKind::PortRestricted, true), (NatKind::Symmetric, false)] {
            let mut nat = Nat::new(kind, addr("203.0.113.1:0").ip());
            let inside = addr("192.168.0.2:5060");
            let first = nat.outbound(Instant::ZERO, inside, addr("198.51.100.1:1"));
            let second = nat.outbound(Instant::ZERO, inside, addr("198.51.100.2:1"));
            assert_eq!(first == second, same, "{kind:?}");
        }
    }

    #[test]
    fn an_idle_mapping_closes() {
        let mut nat = Nat::new(NatKind::FullCone, addr("203.0.113.1:0").ip());
        let out = nat.outbound(Instant::ZERO, addr("192.168.0.2:1"), addr("198.51.100.1:1"));
        let later = Instant::ZERO + Duration::from_secs(121);
        assert_eq!(nat.inbound(later, out.port(), addr("198.51.100.1:1")), None);
    }
}
