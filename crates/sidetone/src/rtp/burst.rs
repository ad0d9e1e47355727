//! Gaps and bursts of lost packets (RFC 3611 §4.7.2), and how bursty loss is (G.107 §7.5).

/// Packets that must arrive one after another to end a burst: the recommended Gmin (RFC 3611 §4.7.2).
pub const GMIN: u8 = 16;

/// Follows a stream packet by packet, in the order of playout, and sorts what is lost into bursts and
/// gaps. A packet that is discarded counts as lost.
///
/// A burst begins and ends with a lost packet and holds nowhere [`GMIN`] packets in a row that
/// arrived. A lost packet that stands alone belongs to the gap around it. Each packet costs a few
/// additions; nothing is kept but counters.
///
/// ```
/// use sidetone::rtp::burst::BurstMeter;
///
/// let mut meter = BurstMeter::default();
/// meter.received(100);
/// meter.lost(3);
/// meter.received(100);
/// let bursts = meter.bursts();
/// assert_eq!((bursts.bursts, bursts.burst_lost), (1, 3));
/// assert_eq!(bursts.mean_burst(), 3.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BurstMeter {
    closed: Bursts,
    /// Packets from the first to the last loss of what may become a burst, and the losses.
    open: (u64, u64),
    /// Packets that arrived since the last loss.
    since: u64,
}

/// What a [`BurstMeter`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bursts {
    /// Bursts.
    pub bursts: u64,
    /// Packets in bursts, arrived and lost.
    pub burst_packets: u64,
    /// Of these, lost.
    pub burst_lost: u64,
    /// Packets in gaps, arrived and lost.
    pub gap_packets: u64,
    /// Of these, lost: losses that stand alone.
    pub gap_lost: u64,
    /// Runs of packets lost one after another, be they one packet long.
    pub runs: u64,
}

impl BurstMeter {
    /// `packets` arrived.
    #[inline]
    pub fn received(&mut self, packets: u64) {
        self.since += packets;
    }

    /// `packets` that should have come next are lost.
    #[inline]
    pub fn lost(&mut self, packets: u64) {
        if packets == 0 {
            return;
        }
        let begins_run = self.since > 0 || self.open.0 == 0;
        self.closed.runs += u64::from(begins_run);
        if self.since >= u64::from(GMIN) || self.open.0 == 0 {
            self.closed = self.closed.with(self.open);
            self.closed.gap_packets += self.since;
            self.open = (packets, packets);
        } else {
            self.open.0 += self.since + packets;
            self.open.1 += packets;
        }
        self.since = 0;
    }

    /// Gaps and bursts up to now; a burst that goes on counts as far as it has come.
    pub fn bursts(&self) -> Bursts {
        let mut bursts = self.closed.with(self.open);
        bursts.gap_packets += self.since;
        bursts
    }
}

impl Bursts {
    /// With a stretch from its first to its last loss, which is a burst where it holds more than one.
    fn with(mut self, (packets, lost): (u64, u64)) -> Self {
        if lost > 1 {
            self.bursts += 1;
            self.burst_packets += packets;
            self.burst_lost += lost;
        } else {
            self.gap_packets += packets;
            self.gap_lost += lost;
        }
        self
    }

    /// Packets in all.
    pub fn packets(&self) -> u64 {
        self.burst_packets + self.gap_packets
    }

    /// Packets lost in all.
    pub fn lost(&self) -> u64 {
        self.burst_lost + self.gap_lost
    }

    /// The share lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        share(self.lost(), self.packets())
    }

    /// The share lost within bursts, 0 to 1.
    pub fn burst_density(&self) -> f64 {
        share(self.burst_lost, self.burst_packets)
    }

    /// The share lost within gaps, 0 to 1.
    pub fn gap_density(&self) -> f64 {
        share(self.gap_lost, self.gap_packets)
    }

    /// Packets of a burst on average; 0 without bursts.
    pub fn mean_burst(&self) -> f64 {
        share(self.burst_packets, self.bursts)
    }

    /// Packets of a gap on average. There is a gap before, after and between bursts.
    pub fn mean_gap(&self) -> f64 {
        share(self.gap_packets, self.bursts + 1)
    }

    /// How much longer runs of losses are than random loss of the same share would make them: BurstR
    /// of G.107. 1 for random loss and without loss; 2 where runs are twice as long.
    pub fn burst_ratio(&self) -> f64 {
        if self.runs == 0 {
            return 1.0;
        }
        (self.lost() as f64 / self.runs as f64) * (1.0 - self.loss())
    }

    /// What came after `earlier`, an older state of the same meter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            bursts: less(self.bursts, earlier.bursts),
            burst_packets: less(self.burst_packets, earlier.burst_packets),
            burst_lost: less(self.burst_lost, earlier.burst_lost),
            gap_packets: less(self.gap_packets, earlier.gap_packets),
            gap_lost: less(self.gap_lost, earlier.gap_lost),
            runs: less(self.runs, earlier.runs),
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// `.` arrived, `x` lost.
    fn meter(packets: &str) -> Bursts {
        let mut meter = BurstMeter::default();
        for packet in packets.chars() {
            match packet {
                'x' => meter.lost(1),
                _ => meter.received(1),
            }
        }
        meter.bursts()
    }

    #[test]
    fn a_loss_that_stands_alone_belongs_to_the_gap() {
        let gap = ".".repeat(40);
        let bursts = meter(&format!("{gap}x{gap}x{gap}"));
        assert_eq!(bursts.bursts, 0);
        assert_eq!((bursts.gap_lost, bursts.gap_packets), (2, 122));
        assert_eq!(bursts.mean_burst(), 0.0);
    }

    #[test]
    fn fewer_than_gmin_arrivals_do_not_end_a_burst() {
        let (fifteen, sixteen) = (".".repeat(15), ".".repeat(16));
        let one = meter(&format!("{sixteen}x{fifteen}x{sixteen}"));
        assert_eq!((one.bursts, one.burst_packets, one.burst_lost), (1, 17, 2));
        assert_eq!(one.gap_packets, 32);
        let none = meter(&format!("{sixteen}x{sixteen}x{sixteen}"));
        assert_eq!((none.bursts, none.gap_lost), (0, 2));
    }

    #[test]
    fn every_packet_is_counted_once() {
        let mut rng = Rng::new(5);
        let mut meter = BurstMeter::default();
        let (mut lost, mut received) = (0, 0);
        for _ in 0..10_000 {
            if rng.next_f64() < 0.2 {
                let n = 1 + u64::from(rng.next_u32() % 4);
                meter.lost(n);
                lost += n;
            } else {
                let n = u64::from(rng.next_u32() % 30);
                meter.received(n);
                received += n;
            }
            let bursts = meter.bursts();
            assert_eq!(bursts.lost(), lost);
            assert_eq!(bursts.packets(), lost + received);
        }
    }

    #[test]
    fn random_loss_has_ratio_one_and_runs_of_four_more() {
        let mut rng = Rng::new(7);
        let mut random = BurstMeter::default();
        let mut runs = BurstMeter::default();
        for _ in 0..200_000 {
            match rng.next_f64() < 0.1 {
                true => random.lost(1),
                false => random.received(1),
            }
            match rng.next_f64() < 0.01 {
                true => runs.lost(4),
                false => runs.received(1),
            }
        }
        let ratio = random.bursts().burst_ratio();
        assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
        let ratio = runs.bursts().burst_ratio();
        assert!((3.6..4.1).contains(&ratio), "{ratio}");
        assert_eq!(BurstMeter::default().bursts().burst_ratio(), 1.0);
    }

    #[test]
    fn the_difference_of_two_states_is_what_came_between() {
        let mut meter = BurstMeter::default();
        meter.received(100);
        meter.lost(2);
        meter.received(50);
        let then = meter.bursts();
        meter.lost(5);
        meter.received(50);
        let now = meter.bursts().since(&then);
        assert_eq!((now.bursts, now.burst_lost, now.packets()), (1, 5, 55));
    }
}
