//! What we spare those who are overloaded and say so (RFC 7339 §5.4, §7).

use std::collections::BTreeMap;

use crate::rng::Rng;
use crate::sip::overload::admission::Precedence;
use crate::sip::overload::feedback::Feedback;
use crate::sip::transport::Destination;
use crate::time::Instant;

/// Peers whose wishes are remembered at most; further ones are not obeyed.
const MAX_PEERS: usize = 1_024;

/// What one peer has said last.
#[derive(Debug, Clone, Copy)]
struct Wish {
    reduction: u8,
    until: Instant,
    sequence: u64,
}

/// What each peer wants to be spared.
#[derive(Debug, Default)]
pub struct Throttle {
    peers: BTreeMap<Destination, Wish>,
    withheld: u64,
}

impl Throttle {
    /// Requests that were not sent.
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    /// A peer has said what it wants to be spared; what is older than what it has said is ignored.
    pub fn handle_feedback(&mut self, now: Instant, peer: Destination, told: Feedback) {
        let wish = Wish {
            reduction: told.reduction,
            until: now + told.validity,
            sequence: told.sequence,
        };
        if let Some(known) = self.peers.get_mut(&peer) {
            // A peer that began anew counts from below once what it said before is over.
            if known.sequence < told.sequence || known.until <= now {
                *known = wish;
            }
            return;
        }
        if self.peers.len() >= MAX_PEERS {
            self.peers.retain(|_, wish| wish.until > now);
        }
        if self.peers.len() < MAX_PEERS {
            self.peers.insert(peer, wish);
        }
    }

    /// Whether a request may be sent to a peer now. Only new work without precedence is withheld
    /// (RFC 7339 §5.10.1).
    pub fn allows(
        &mut self,
        now: Instant,
        peer: &Destination,
        precedence: Precedence,
        rng: &mut Rng,
    ) -> bool {
        if precedence != Precedence::Normal {
            return true;
        }
        let wish = self.peers.get(peer).filter(|wish| wish.until > now);
        let withheld = wish.is_some_and(|wish| rng.below(100) < u64::from(wish.reduction));
        self.withheld += u64::from(withheld);
        !withheld
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::transport::Transport;
    use crate::time::{Duration, WallTime};

    fn peer(last: u8) -> Destination {
        Destination {
            transport: Transport::Udp,
            address: ([192, 0, 2, last], 5060).into(),
        }
    }

    fn told(reduction: u8, sequence: u64) -> Feedback {
        Feedback {
            reduction,
            validity: Duration::from_millis(500),
            sequence,
        }
    }

    fn sent(throttle: &mut Throttle, now: Instant, last: u8) -> usize {
        let mut rng = Rng::new(7);
        let mut allows = || throttle.allows(now, &peer(last), Precedence::Normal, &mut rng);
        (0..1_000).filter(|_| allows()).count()
    }

    #[test]
    fn each_peer_is_spared_what_it_says_for_as_long_as_it_holds() {
        let (mut throttle, now) = (Throttle::default(), Instant::ZERO);
        throttle.handle_feedback(now, peer(1), told(30, 2));
        assert!((650..750).contains(&sent(&mut throttle, now, 1)));
        assert_eq!(sent(&mut throttle, now, 2), 1_000);
        assert_eq!(
            sent(&mut throttle, now + Duration::from_millis(500), 1),
            1_000
        );
        // What is older, or as old, counts for nothing.
        throttle.handle_feedback(now, peer(1), told(100, 2));
        assert!(sent(&mut throttle, now, 1) > 600);
        throttle.handle_feedback(now, peer(1), told(100, 3));
        assert_eq!(sent(&mut throttle, now, 1), 0);
        let mut rng = Rng::new(7);
        assert!(throttle.allows(now, &peer(1), Precedence::High, &mut rng));
        // It is over.
        let over = Feedback::new(now, WallTime::from_unix_nanos(1 << 60), 0);
        throttle.handle_feedback(now, peer(1), over);
        assert_eq!(sent(&mut throttle, now, 1), 1_000);
        assert!(throttle.withheld() > 1_000);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::ZERO);
        for number in 0..3_000_u32 {
            let address = std::net::SocketAddr::from((number.to_be_bytes(), 5060));
            let peer = Destination {
                transport: Transport::Udp,
                address,
            };
            throttle.handle_feedback(now, peer, told(100, 1));
            now += Duration::from_millis(1);
        }
        assert!(throttle.peers.len() <= MAX_PEERS);
    }
}
