//! How good a call sounds: rating it, and finding out why it does not.

pub mod cause;
mod drift;
mod echo;
pub mod emodel;
pub mod impairment;
pub(crate) mod level;
pub mod monitor;

use crate::rtp::burst::Bursts;
use crate::time::Duration;

use cause::Causes;
use emodel::Rating;

/// How both ways of a leg sound, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// What we hear of the peer.
    pub receive: Estimate,
    /// What the peer hears of us, by what it reports in RTCP.
    pub send: Estimate,
}

/// How one way of a leg sounds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Why it sounds bad now; empty while it is good.
    pub causes: Causes,
    /// Why it ever sounded bad.
    pub past_causes: Causes,
    /// For how long it sounded bad, in whole seconds.
    pub bad_for: Duration,
    /// The last second in which there was something to rate; for the way out, the last report.
    pub latest: Figures,
    /// The call up to now.
    pub call: Figures,
    /// The lowest rating of any second.
    pub worst: Option<Rating>,
    /// Bursts and gaps of loss over the call; only of what we receive.
    pub bursts: Bursts,
}

/// What was measured of one way over some time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// The share of packets that never came, 0 to 1.
    pub loss: f64,
    /// The share of packets that came and could not be played: too late, or too many.
    pub discard: f64,
    /// The share of the sound that was made up; 0 for the way out, where only the peer knows.
    pub concealment: f64,
    /// Inter-arrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// From mouth to ear: half the round trip, the jitter buffer, and a packet's own time. Without
    /// RTCP of the peer the network's part is not known and not in it. For the way out, the peer's
    /// jitter buffer is taken to hold twice its jitter.
    pub delay: Duration,
    /// What the E-model makes of it; `None` where nothing came.
    pub rating: Option<Rating>,
}

/// Which way of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// What we receive.
    Receive,
    /// What we send.
    Send,
}

/// One way of a leg has begun to sound bad, sounds bad for other reasons, or is good again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which way.
    pub way: Way,
    /// Why it sounds bad now; empty where it is good again.
    pub causes: Causes,
    /// What was told before.
    pub before: Causes,
    /// The figures of the last second.
    pub figures: Figures,
}

impl Change {
    /// Whether it sounds bad now.
    pub fn is_bad(&self) -> bool {
        !self.causes.is_empty()
    }
}
