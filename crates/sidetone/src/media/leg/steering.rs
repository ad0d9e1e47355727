//! What RTCP says of the way to the peer, smoothed, and what the sender makes of it.

use crate::media::codec::Conditions;
use crate::rtp::stats::PeerStats;

/// Percent of loss from which fewer bits are sent, and below which more are again.
const CROWDED: f32 = 10.0;
const FREE: f32 = 2.0;

/// The least share of its bit rate that an encoder is left with, in percent.
const LEAST_SHARE: u8 = 40;

/// Turns reports into conditions: believes in loss at once and in its end slowly, so that a single
/// good report does not undo what bad ones brought about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steering {
    reports: u64,
    /// Smoothed loss, in percent.
    loss: f32,
    share: u8,
}

impl Steering {
    pub(super) fn new() -> Self {
        Self {
            reports: 0,
            loss: 0.0,
            share: 100,
        }
    }

    /// Looks at the peer's reports; conditions where there is a new one.
    pub(super) fn read(&mut self, peer: &PeerStats) -> Option<Conditions> {
        if std::mem::replace(&mut self.reports, peer.reports) == peer.reports {
            return None;
        }
        let loss = f32::from(peer.fraction_lost) * 100.0 / 256.0;
        let weight = if loss > self.loss { 0.5 } else { 0.2 };
        self.loss += (loss - self.loss) * weight;
        if self.loss > CROWDED {
            self.share = (u16::from(self.share) * 85 / 100).max(LEAST_SHARE.into()) as u8;
        } else if self.loss < FREE {
            self.share = (self.share + 5).min(100);
        }
        Some(Conditions {
            loss_percent: self.loss.ceil().min(100.0) as u8,
            rate_percent: self.share,
        })
    }

    /// Whether nothing is made of what the peer reports: all arrives, and has room.
    pub(super) fn is_calm(&self) -> bool {
        self.loss < FREE && self.share == 100
    }

    /// Smoothed loss, in percent.
    pub(super) fn loss(&self) -> f32 {
        self.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64, percent: f32) -> PeerStats {
        PeerStats {
            reports: number,
            fraction_lost: (percent * 2.56) as u8,
            ..PeerStats::default()
        }
    }

    #[test]
    fn loss_is_believed_soon_and_its_end_late() {
        let mut steering = Steering::new();
        assert_eq!(steering.read(&report(0, 50.0)), None, "no report yet");
        let told = steering.read(&report(1, 20.0)).unwrap();
        assert!((9..=11).contains(&told.loss_percent), "{told:?}");
        assert_eq!(steering.read(&report(1, 20.0)), None, "the same report");
        for number in 2..12 {
            steering.read(&report(number, 20.0));
        }
        let bad = steering.read(&report(12, 20.0)).unwrap();
        assert_eq!((bad.loss_percent, bad.rate_percent), (20, LEAST_SHARE));
        let better = steering.read(&report(13, 0.0)).unwrap();
        assert!(better.loss_percent >= 15, "{better:?}");
        let mut last = better;
        for number in 14..60 {
            last = steering.read(&report(number, 0.0)).unwrap();
        }
        assert_eq!((last.loss_percent, last.rate_percent), (1, 100));
    }
}
