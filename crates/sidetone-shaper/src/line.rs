//! One direction: packets in, the same packets out when their time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use sidetone::rng::Rng;
use sidetone::time::Instant;
use sidetone_sim::network::link::{Fate, Link, Path};

/// Packets on their way at most; more are dropped and counted as congested.
const MOST: usize = 4096;

/// One direction with the packets that are on their way.
#[derive(Debug)]
pub(crate) struct Line {
    path: Path,
    /// By arrival, and by the order of sending where that is the same.
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    order: u64,
    counts: Counts,
}

/// What became of the packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    taken: u64,
    lost: u64,
    congested: u64,
    overtaken: u64,
    doubled: u64,
}

impl Line {
    /// A line over `link` whose fates are drawn from `rng`.
    pub(crate) fn new(link: Link, rng: Rng) -> Self {
        Self {
            path: Path::new(link, rng),
            waiting: BinaryHeap::new(),
            order: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a packet at `now`.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.counts.taken += 1;
        if self.waiting.len() >= MOST {
            self.counts.congested += 1;
            return;
        }
        match self.path.carry(now, packet.len()) {
            Fate::Lost => self.counts.lost += 1,
            Fate::Congested => self.counts.congested += 1,
            Fate::Arrives {
                at,
                again,
                overtaken,
            } => {
                self.counts.overtaken += u64::from(overtaken);
                self.counts.doubled += u64::from(again.is_some());
                for at in [Some(at), again].into_iter().flatten() {
                    self.order += 1;
                    self.waiting
                        .push(Reverse((at, self.order, packet.to_vec())));
                }
            }
        }
    }

    /// The next packet that has arrived by `now`.
    pub(crate) fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, _, packet))| packet)
    }

    /// When the next packet arrives.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((at, _, _))| *at)
    }

    /// What became of the packets so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets: {} lost, {} congested, {} overtaken, {} doubled",
            self.taken, self.lost, self.congested, self.overtaken, self.doubled
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sidetone_sim::network::link::Loss;

    use super::*;

    /// What arrives of `count` packets sent every 20 ms, and when, in milliseconds.
    fn arrivals(link: Link, seed: u64, count: u8) -> (Vec<(u8, u64)>, Counts) {
        let mut line = Line::new(link, Rng::new(seed));
        for number in 0..count {
            let sent = Instant::ZERO + Duration::from_millis(20) * u32::from(number);
            line.handle_packet(sent, &[number; 100]);
        }
        let mut arrived = Vec::new();
        while let Some(at) = line.poll_timeout() {
            assert!(line.poll_packet(at - Duration::from_nanos(1)).is_none());
            let packet = line.poll_packet(at).expect("its time has come");
            assert!(packet.len() == 100 && packet.iter().all(|byte| *byte == packet[0]));
            arrived.push((packet[0], at.as_nanos() / 1_000_000));
        }
        (arrived, line.counts())
    }

    #[test]
    fn a_perfect_link_delivers_all_in_time() {
        let (arrived, counts) = arrivals(Link::delay(Duration::from_millis(7)), 1, 200);
        let expected: Vec<_> = (0..200).map(|n| (n, 7 + 20 * u64::from(n))).collect();
        assert_eq!(arrived, expected);
        assert_eq!(counts.to_string().split(':').next(), Some("200 packets"));
    }

    #[test]
    fn what_is_lost_doubled_and_overtaken_is_counted_and_repeats() {
        let link = Link::delay(Duration::from_millis(20))
            .loss(Loss::Random(0.2))
            .reorder(0.1, Duration::from_millis(50))
            .duplicate(0.1);
        let (arrived, counts) = arrivals(link, 5, 250);
        let expected = counts.taken - counts.lost + counts.doubled;
        assert_eq!(arrived.len() as u64, expected);
        assert!(counts.lost > 20 && counts.doubled > 5, "{counts}");
        let turned = arrived.windows(2).filter(|pair| pair[0].0 > pair[1].0);
        assert!(turned.count() > 5 && counts.overtaken > 5, "{counts}");
        assert_eq!(arrivals(link, 5, 250), (arrived.clone(), counts));
        assert_ne!(arrivals(link, 6, 250).0, arrived);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut line = Line::new(Link::default(), Rng::new(1));
        for _ in 0..MOST + 10 {
            line.handle_packet(Instant::ZERO, &[0; 20]);
        }
        assert_eq!(line.counts().congested, 10);
    }
}
