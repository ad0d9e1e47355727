//! The log of a playout's decisions: why a listener heard what was heard.

use std::collections::VecDeque;

use crate::time::{Duration, Instant};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A stream began, or speech after silence; the amount is how long its first packet waited.
    Begin,
    /// Nothing was there at its turn; the amount is what concealment made up.
    Conceal,
    /// Nothing was there while the sender was silent, or concealment had faded; the amount is what
    /// comfort noise filled.
    Noise,
    /// Sound was left out because the delay was above its target.
    Accelerate,
    /// Sound was put in because the delay was below its target.
    SlowDown,
    /// Sound was put in because the next packet was overdue.
    Bridge,
    /// A late packet was played after all, and the delay grew by the amount.
    Rewind,
    /// Packets that came in time were dropped, because the delay was above its maximum.
    Discard,
    /// A packet came after its turn; the amount is how much too late it was.
    Late,
    /// A late packet served the decoder to go on from; its amount is nothing.
    Repair,
    /// A lost packet was recovered from the next one.
    Recover,
    /// The stream was taken up anew.
    Resync,
}

/// A decision, and the delays that it was made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// When.
    pub at: Instant,
    /// The place in the stream, in ticks of [`MEDIA_CLOCK`](super::MEDIA_CLOCK).
    pub media_time: i64,
    /// What.
    pub action: Action,
    /// How much; see [`Action`].
    pub amount: Duration,
    /// The delay that there was.
    pub level: Duration,
    /// The delay that was aimed at.
    pub target: Duration,
}

/// A bounded log: when it is full, the oldest decision makes room.
#[derive(Debug, Default)]
pub(super) struct Log {
    decisions: VecDeque<Decision>,
    capacity: usize,
}

impl Log {
    /// A log that holds so many; it is allocated here.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            decisions: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.capacity > 0
    }

    pub(super) fn push(&mut self, decision: Decision) {
        if self.decisions.len() == self.capacity {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
    }

    pub(super) fn pop(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }
}
