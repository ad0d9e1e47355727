//! Jitter buffers: how they are set, what they take in, and what they count.

pub mod buffer;
mod delay;
mod line;
pub mod log;
pub mod playout;
pub mod statistics;
mod stereo;
mod store;

use crate::time::Duration;

/// Ticks a second of media time, the one line on which a receiver orders all that a stream carries,
/// whatever the RTP clock of its formats (see [`JitterBuffer`](buffer::JitterBuffer)).
pub const MEDIA_CLOCK: u32 = 48_000;

/// How long packets are held before they are played.
///
/// Every delay here is measured from the moment at which the fastest packet of the last two seconds
/// would have arrived: what the network makes all packets wait does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// As short as the network's jitter allows, by what has lately arrived; time is stretched and
    /// shortened to get there.
    Adaptive {
        /// Never aim lower than this. Default 0.
        min: Duration,
        /// Never hold longer than this: what would wait longer is dropped. Default 400 ms; one
        /// second at most.
        max: Duration,
    },
    /// Always this long, one second at most: what comes later is lost. Time is stretched only
    /// to follow the sender's clock and lasting changes of the network's delay.
    Fixed(Duration),
}

impl Mode {
    /// The longest delay that can be asked for.
    pub const LONGEST: Duration = Duration::from_secs(1);

    /// Adaptive, from nothing to 400 ms.
    pub const ADAPTIVE: Self = Self::Adaptive {
        min: Duration::ZERO,
        max: Duration::from_millis(400),
    };

    /// Whether the delays are possible: the shortest not above the longest, the longest 20 ms to one
    /// second, a fixed one at most one second.
    pub fn is_possible(self) -> bool {
        match self {
            Self::Adaptive { min, max } => {
                min <= max && max >= Duration::from_millis(20) && max <= Self::LONGEST
            }
            Self::Fixed(delay) => delay <= Self::LONGEST,
        }
    }

    /// The same with every delay brought into its range.
    fn limited(self) -> Self {
        match self {
            Self::Adaptive { min, max } => {
                let max = max.clamp(Duration::from_millis(20), Self::LONGEST);
                Self::Adaptive {
                    min: min.min(max),
                    max,
                }
            }
            Self::Fixed(delay) => Self::Fixed(delay.min(Self::LONGEST)),
        }
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self::ADAPTIVE
    }
}

/// How a jitter buffer is sized and how long it holds packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long packets wait. Default [`Mode::ADAPTIVE`].
    pub mode: Mode,
    /// Packets held at most, 4 to 512; the oldest is dropped for one too many. Default 64.
    pub packets: u16,
    /// Bytes of payload held at most, 2 kB to 1 MB, in blocks of 64; beyond it the oldest packets
    /// are dropped. Default 16 kB: two seconds of G.711.
    pub bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::ADAPTIVE,
            packets: 64,
            bytes: 16_384,
        }
    }
}

/// Bytes of the largest payload that a jitter buffer takes.
pub const MAX_PAYLOAD: usize = 1_500;

impl Config {
    fn limited(self) -> Self {
        Self {
            mode: self.mode.limited(),
            packets: self.packets.clamp(4, 512),
            bytes: self.bytes.clamp(2_048, 1 << 20),
        }
    }
}

/// An RTP packet as the buffer takes it: the fields of its header as they were on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// The marker bit: for audio, the first packet after silence (RFC 3551 §4.1).
    pub marker: bool,
    /// Whether this is a copy that another packet carries (RFC 2198), under the number that its
    /// original had: it fills a hole, and is no duplicate where there is none.
    pub redundant: bool,
    /// The payload without padding.
    pub payload: &'a [u8],
}

/// What became of a packet that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It waits for its turn.
    Queued,
    /// It has been received before, and is dropped.
    Duplicate,
    /// Its turn is over, and it is dropped.
    Late,
    /// It does not fit the stream's time, and is dropped unless the next packet confirms it.
    Strange,
    /// It is too large, or nothing that could be played.
    Refused,
}

/// Ticks of media time in `duration`.
fn ticks(duration: Duration) -> i64 {
    let whole = duration.as_secs() as i64 * i64::from(MEDIA_CLOCK);
    whole + i64::from(duration.subsec_nanos()) * i64::from(MEDIA_CLOCK) / 1_000_000_000
}

/// The time that `ticks` of media time take; nothing for less than none.
fn duration(ticks: i64) -> Duration {
    Duration::from_nanos(ticks.max(0) as u64 * 62_500 / 3)
}

/// Ticks in a millisecond of media time.
const MS: i64 = MEDIA_CLOCK as i64 / 1000;

#[cfg(test)]
mod tests;
