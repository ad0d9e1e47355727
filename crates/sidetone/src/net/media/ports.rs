//! Pairs of media sockets: RTP on an even port, RTCP on the odd one above it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use sidetone_udp::batch::ReceiveBatch;
use sidetone_udp::socket::{Options, Socket};

use crate::engine::io::MediaPort;
use crate::id::{LegId, PortId};

/// Attempts at a pair of ports that the system chooses.
const ATTEMPTS: usize = 64;

/// Batches thrown away at most when a port changes hands; more than a socket buffer holds.
const STALE_BATCHES: usize = 256;

/// The sockets of a [`MediaPort`].
#[derive(Debug)]
pub(super) struct PortPair {
    pub(super) rtp: Socket,
    pub(super) rtcp: Socket,
}

#[derive(Debug)]
struct Entry {
    pair: Arc<PortPair>,
    /// The leg that had it last.
    leg: Option<LegId>,
}

/// Binds media sockets and keeps them open while they are wanted.
///
/// ```
/// use sidetone::net::media::ports::PortPool;
///
/// let mut pool = PortPool::new(None);
/// let port = pool.bind("127.0.0.1".parse().unwrap())?;
/// assert_eq!(port.rtp.port() % 2, 0);
/// assert_eq!(port.rtcp.port(), port.rtp.port() + 1);
/// pool.release(port.id);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct PortPool {
    range: Option<RangeInclusive<u16>>,
    /// The even port to try next, in a range.
    next: u16,
    next_id: u32,
    pairs: BTreeMap<PortId, Entry>,
    options: Options,
    scrap: ReceiveBatch,
}

impl PortPool {
    /// A pool of ports in `range`, or wherever the system likes.
    pub fn new(range: Option<RangeInclusive<u16>>) -> Self {
        let first = range.as_ref().map_or(0, |r| *r.start());
        Self {
            range,
            next: even_from(first),
            next_id: 0,
            pairs: BTreeMap::new(),
            options: Options::default(),
            scrap: ReceiveBatch::new(1),
        }
    }

    /// Opens sockets with these options from now on.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Pairs that are open.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no pair is open.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Opens a pair at `ip`.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where no pair of ports is free, or the system's error: not our
    /// address, too many files open.
    pub fn bind(&mut self, ip: IpAddr) -> io::Result<MediaPort> {
        let pair = match self.range.clone() {
            Some(range) => self.bind_in(ip, &range)?,
            None => bind_anywhere(ip)?,
        };
        for socket in [&pair.rtp, &pair.rtcp] {
            socket.configure(&self.options)?;
        }
        let port = MediaPort {
            id: PortId(self.next_id),
            rtp: pair.rtp.local_address(),
            rtcp: pair.rtcp.local_address(),
        };
        self.next_id += 1;
        let pair = Arc::new(pair);
        self.pairs.insert(port.id, Entry { pair, leg: None });
        Ok(port)
    }

    /// Forgets a pair. Its sockets close when no leg uses them any more.
    pub fn release(&mut self, port: PortId) {
        self.pairs.remove(&port);
    }

    /// The sockets of `port` for `leg`. A leg that did not have them before gets them empty: what
    /// arrived for another call is thrown away.
    pub(super) fn claim(&mut self, port: PortId, leg: LegId) -> Option<Arc<PortPair>> {
        let entry = self.pairs.get_mut(&port)?;
        if entry.leg.replace(leg) != Some(leg) {
            for socket in [&entry.pair.rtp, &entry.pair.rtcp] {
                let mut batches = 0..STALE_BATCHES;
                while batches.next().is_some() && self.scrap.receive(socket).is_ok_and(|n| n > 0) {}
            }
        }
        Some(entry.pair.clone())
    }

    /// The next free pair of the range, going round it once.
    fn bind_in(&mut self, ip: IpAddr, range: &RangeInclusive<u16>) -> io::Result<PortPair> {
        let first = even_from(*range.start());
        let pairs = (usize::from(*range.end()) + 1).saturating_sub(usize::from(first)) / 2;
        for _ in 0..pairs {
            let port = self.next;
            let last = port.checked_add(3).is_none_or(|end| end > *range.end());
            self.next = if last { first } else { port + 2 };
            match bind_pair(ip, port) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// The first even port from `port` on; there is none above the last.
fn even_from(port: u16) -> u16 {
    port.max(2)
        .checked_next_multiple_of(2)
        .unwrap_or(u16::MAX - 1)
}

fn bind_pair(ip: IpAddr, port: u16) -> io::Result<PortPair> {
    Ok(PortPair {
        rtp: Socket::bind(SocketAddr::new(ip, port))?,
        rtcp: Socket::bind(SocketAddr::new(ip, port + 1))?,
    })
}

/// Lets the system choose a port, and takes its neighbour too if it is free.
fn bind_anywhere(ip: IpAddr) -> io::Result<PortPair> {
    for _ in 0..ATTEMPTS {
        let chosen = Socket::bind(SocketAddr::new(ip, 0))?;
        let port = chosen.local_address().port();
        let Ok(other) = Socket::bind(SocketAddr::new(ip, port ^ 1)) else {
            continue;
        };
        let (rtp, rtcp) = match port % 2 {
            0 => (chosen, other),
            _ => (other, chosen),
        };
        return Ok(PortPair { rtp, rtcp });
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_range_is_used_up_and_given_back() {
        // A pair that was free a moment ago; somebody may be quicker, so try again.
        let found = (0..20).find_map(|_| {
            let start = PortPool::new(None).bind(HERE).unwrap().rtp.port();
            let mut pool = PortPool::new(Some(start..=start.saturating_add(2)));
            Some((start, pool.bind(HERE).ok()?, pool))
        });
        let (start, port, mut pool) = found.unwrap();
        assert_eq!((port.rtp.port(), port.rtcp.port()), (start, start + 1));
        let full = pool.bind(HERE).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::AddrInUse);
        pool.release(port.id);
        assert!(pool.is_empty());
        let again = pool.bind(HERE).unwrap();
        assert_eq!(again.rtp, port.rtp);
        assert_ne!(again.id, port.id);
    }

    #[test]
    fn another_leg_does_not_get_what_came_for_the_last() {
        let mut pool = PortPool::new(None);
        let port = pool.bind(HERE).unwrap();
        let sender = Socket::bind(SocketAddr::new(HERE, 0)).unwrap();
        let mut batch = ReceiveBatch::new(100);
        let mut waiting = |pool: &mut PortPool, leg| {
            sender.send_to(b"secret", port.rtp).unwrap();
            let pair = pool.claim(port.id, LegId(leg)).unwrap();
            batch.receive(&pair.rtp).unwrap()
        };
        assert_eq!(waiting(&mut pool, 1), 0);
        assert_eq!(
            waiting(&mut pool, 1),
            1,
            "the same leg loses nothing in a move"
        );
        assert_eq!(waiting(&mut pool, 2), 0);
        assert!(pool.claim(PortId(99), LegId(1)).is_none());
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error() {
        let mut pool = PortPool::new(Some(20_000..=20_100));
        assert!(pool.bind("192.0.2.1".parse().unwrap()).is_err());
    }
}
