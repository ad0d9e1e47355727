//! Which RTCP belongs to a stream, and where reports go, when RTCP has a port of its own.

use std::net::SocketAddr;

use crate::rtp::source::canonical;
use crate::time::{Duration, Instant};

/// How long a learned port must be silent before another of the same host is learned: three usual
/// intervals between reports.
pub const RELEARN_SILENCE: Duration = Duration::from_secs(15);

/// Decides about RTCP that comes on its own port, beside the [`SourceLock`] of its stream.
///
/// The peer's RTCP port is signalled (`a=rtcp`, or the port after RTP's), which behind an address
/// translator is not where RTCP comes from. So RTCP of the host that RTP comes from is read as well,
/// and once it has named the stream's SSRC its port is where reports go. The signalled address comes
/// first: once heard, nothing else counts. Another host never does.
///
/// [`SourceLock`]: crate::rtp::source::SourceLock
///
/// ```
/// use sidetone::rtp::source::control::ControlLock;
/// use sidetone::time::Instant;
///
/// let mut lock = ControlLock::new(true);
/// lock.signal(Some("10.0.0.7:4001".parse()?));
/// let (rtp, rtcp) = ("198.51.100.4:61000".parse()?, "198.51.100.4:61222".parse()?);
/// assert!(lock.accepts(Instant::ZERO, rtcp, Some(rtp)));
/// lock.heard(Instant::ZERO, rtcp, true);
/// assert_eq!(lock.destination(Some(rtp)), Some(rtcp));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ControlLock {
    learning: bool,
    signalled: Option<SocketAddr>,
    current: Option<Current>,
}

/// Where RTCP comes from.
#[derive(Debug, Clone, Copy)]
struct Current {
    address: SocketAddr,
    heard: Instant,
}

impl ControlLock {
    /// A lock that learns ports of the stream's host, or not.
    pub fn new(learning: bool) -> Self {
        Self {
            learning,
            signalled: None,
            current: None,
        }
    }

    /// Names the address from the peer's session description, `None` where the peer takes no RTCP.
    /// Another address than before opens the lock anew.
    pub fn signal(&mut self, address: Option<SocketAddr>) {
        let address = address.map(canonical);
        if self.signalled != address {
            self.signalled = address;
            self.current = None;
        }
    }

    /// Whether RTCP that came from `from` may be read, where RTP comes from `media`.
    pub fn accepts(&self, now: Instant, from: SocketAddr, media: Option<SocketAddr>) -> bool {
        let from = canonical(from);
        let is_signalled = self.signalled == Some(from);
        let is_host = self.learning && media.map(|media| media.ip()) == Some(from.ip());
        match self.current {
            Some(current) if current.address == from => true,
            Some(current) if self.signalled == Some(current.address) => false,
            Some(current) => is_signalled || (is_host && current.is_silent(now)),
            None => is_signalled || is_host,
        }
    }

    /// RTCP from `from` was accepted and valid; `named` tells whether it is from the stream's SSRC.
    pub fn heard(&mut self, now: Instant, from: SocketAddr, named: bool) {
        let address = canonical(from);
        let is_signalled = self.signalled == Some(address);
        let is_known = self.current.is_some_and(|c| c.address == address);
        if is_signalled || is_known || named {
            self.current = Some(Current {
                address,
                heard: now,
            });
        }
    }

    /// Where reports go, where RTP comes from `media`: the address heard, or else the signalled
    /// one. Where RTP had to be learned elsewhere, the signalled one leads nowhere, and the port
    /// after RTP's is tried on that host.
    pub fn destination(&self, media: Option<SocketAddr>) -> Option<SocketAddr> {
        if let Some(current) = self.current {
            return Some(current.address);
        }
        let signalled = self.signalled?;
        match media {
            Some(media) if media.ip() != signalled.ip() => {
                Some(SocketAddr::new(media.ip(), media.port().checked_add(1)?))
            }
            _ => Some(signalled),
        }
    }
}

impl Current {
    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= RELEARN_SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALLED: &str = "192.0.2.1:4001";
    const RTP: &str = "192.0.2.1:61000";
    const RTCP: &str = "192.0.2.1:61444";
    const OTHER_PORT: &str = "192.0.2.1:9";
    const OUTSIDER: &str = "203.0.113.9:4001";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    /// Offers RTCP as a leg does; `named` where it carries the stream's SSRC.
    fn offer(lock: &mut ControlLock, s: u64, from: &str, named: bool) -> bool {
        let accepted = lock.accepts(at(s), address(from), Some(address(RTP)));
        if accepted {
            lock.heard(at(s), address(from), named);
        }
        accepted
    }

    fn goes_to(lock: &ControlLock) -> SocketAddr {
        lock.destination(Some(address(RTP))).unwrap()
    }

    fn lock(learning: bool) -> ControlLock {
        let mut lock = ControlLock::new(learning);
        lock.signal(Some(address(SIGNALLED)));
        lock
    }

    #[test]
    fn the_port_behind_a_translator_is_learned_by_the_streams_own_ssrc() {
        let mut lock = lock(true);
        assert_eq!(goes_to(&lock), address(SIGNALLED));
        assert!(offer(&mut lock, 0, OTHER_PORT, false), "read");
        assert_eq!(goes_to(&lock), address(SIGNALLED), "but not followed");
        assert!(offer(&mut lock, 1, RTCP, true));
        assert_eq!(goes_to(&lock), address(RTCP));
        assert!(!offer(&mut lock, 2, OTHER_PORT, true), "learned once");
        assert!(offer(&mut lock, 20, OTHER_PORT, true), "until it is silent");
        assert_eq!(goes_to(&lock), address(OTHER_PORT));
    }

    #[test]
    fn the_signalled_address_comes_first_and_locks() {
        let mut lock = lock(true);
        assert!(offer(&mut lock, 1, RTCP, true));
        assert!(offer(&mut lock, 2, SIGNALLED, false));
        assert_eq!(goes_to(&lock), address(SIGNALLED));
        assert!(!offer(&mut lock, 100, RTCP, true));
        lock.signal(Some(address(SIGNALLED)));
        assert!(
            !offer(&mut lock, 101, RTCP, true),
            "nothing new was signalled"
        );
        lock.signal(Some(address("192.0.2.1:4003")));
        assert!(offer(&mut lock, 102, RTCP, true));
    }

    #[test]
    fn another_host_is_never_heard_and_without_learning_no_other_port() {
        for learning in [false, true] {
            let mut lock = lock(learning);
            for s in 0..100 {
                assert!(!offer(&mut lock, s, OUTSIDER, true));
                assert!(learning || !offer(&mut lock, s, RTCP, true));
            }
            assert_eq!(goes_to(&lock), address(SIGNALLED));
        }
    }

    #[test]
    fn where_rtp_was_learned_on_another_host_the_next_port_there_is_tried() {
        let mut lock = ControlLock::new(true);
        lock.signal(Some(address("10.0.0.7:4001")));
        assert_eq!(goes_to(&lock), address("192.0.2.1:61001"));
        lock.signal(None);
        assert_eq!(lock.destination(Some(address(RTP))), None);
    }
}
