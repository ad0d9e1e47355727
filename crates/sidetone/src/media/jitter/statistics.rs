//! What a jitter buffer counts: packets by their fate, waiting times, and sound by its making.

use crate::time::Duration;

/// Counters of packets, from the buffer's construction on.
///
/// Every packet put is in the end exactly one of: `played`, `late`, `discarded`, `duplicate`,
/// `needless`, `overrun`, `refused` or `strange`; those not yet decided wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Packets put, whatever became of them.
    pub put: u64,
    /// Packets played, wholly or in part.
    pub played: u64,
    /// Packets of which nothing could be played at their turn, because they never came, came late,
    /// or were dropped.
    pub lost: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Late packets that still served: the decoder went on from them.
    pub repaired: u64,
    /// Packets that came in time and were dropped, because the delay was above its maximum.
    pub discarded: u64,
    /// Packets that came more than once.
    pub duplicate: u64,
    /// Redundant copies (RFC 2198) that were played in place of a lost packet.
    pub redundant: u64,
    /// Redundant copies whose original was there.
    pub needless: u64,
    /// Lost packets that the codec recovered from the next one (in-band forward error correction).
    pub recovered: u64,
    /// Packets that arrived after a packet with a higher number, and in time.
    pub reordered: u64,
    /// Packets dropped because the buffer was full.
    pub overrun: u64,
    /// Packets refused for their size or because nothing can decode them.
    pub refused: u64,
    /// Packets dropped because their time did not fit the stream.
    pub strange: u64,
    /// Times that the stream was taken up anew: a jump of its timestamps, another source or clock,
    /// packets that are late for good.
    pub resyncs: u64,
    /// Times that nothing was there to play while the stream went on.
    pub starved: u64,
    /// How long the last packet played had waited.
    pub delay: Duration,
    /// Sum of the waiting times of all packets played.
    pub total_delay: Duration,
    /// The delay that is aimed at, above the fastest packet of the last two seconds.
    pub target: Duration,
    /// The delay that there is, above the fastest packet of the last two seconds.
    pub level: Duration,
    /// The waiting times of all packets played.
    pub waits: Waits,
}

impl Statistics {
    /// How long packets have waited on average.
    pub fn mean_delay(&self) -> Duration {
        match u32::try_from(self.played) {
            Ok(0) => Duration::ZERO,
            Ok(played) => self.total_delay / played,
            Err(_) => Duration::from_secs_f64(self.total_delay.as_secs_f64() / self.played as f64),
        }
    }

    pub(super) fn note_wait(&mut self, delay: Duration) {
        self.played += 1;
        self.delay = delay;
        self.total_delay += delay;
        self.waits.note(delay);
    }
}

/// A histogram of waiting times, in steps of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    counts: [u32; 32],
}

impl Waits {
    /// The width of a bin.
    pub const STEP: Duration = Duration::from_millis(10);

    /// Packets by their waiting time: less than 10 ms, less than 20 ms, and so on; the last bin
    /// holds all that waited 310 ms or longer.
    pub fn counts(&self) -> &[u32; 32] {
        &self.counts
    }

    /// The waiting time that this share of the packets (0 to 1) did not exceed, to the upper edge of
    /// its bin; zero where there were none.
    pub fn percentile(&self, share: f64) -> Duration {
        let total: u64 = self.counts.iter().map(|&n| u64::from(n)).sum();
        let mut left = (total as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        for (count, edge) in self.counts.iter().zip(1u32..) {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 && total > 0 {
                return Self::STEP * edge;
            }
        }
        Duration::ZERO
    }

    fn note(&mut self, delay: Duration) {
        let bin = delay.as_micros() as u64 / 10_000;
        let bin = bin.min(self.counts.len() as u64 - 1) as usize;
        self.counts[bin] = self.counts[bin].saturating_add(1);
    }
}

/// How what was played was made, in time.
///
/// `played` holds all of it; `concealed`, `noise` and `silent` are parts of it. Stretching changes
/// what a second of the sender's time takes here: `played + accelerated - slowed` is the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Concealment {
    /// All since the first packet.
    pub played: Duration,
    /// Made up in place of packets that were not there, while it could be heard.
    pub concealed: Duration,
    /// Comfort noise while the sender was silent (RFC 3389, or a codec's own), or where
    /// concealment had faded out to the background's noise.
    pub noise: Duration,
    /// Digital silence, where nothing had come for long.
    pub silent: Duration,
    /// Left out to catch up: speech by whole periods of its pitch, and silence.
    pub accelerated: Duration,
    /// Put in to wait: speech by whole periods of its pitch, and silence.
    pub slowed: Duration,
    /// The parts of `accelerated` and `slowed` that were quiet.
    pub stretched_silence: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_edges() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.waits.percentile(0.5), Duration::ZERO);
        for n in 0..100 {
            statistics.note_wait(Duration::from_millis(n * 5));
        }
        let percentile = |share| statistics.waits.percentile(share).as_millis();
        assert_eq!((percentile(0.0), percentile(0.5)), (10, 250));
        assert_eq!((percentile(0.62), percentile(1.0)), (310, 320));
        assert_eq!(statistics.mean_delay(), Duration::from_micros(247_500));
    }
}
