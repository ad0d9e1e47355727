//! The incoming stream of an RTP peer, laid out on one continuous line of samples.

use std::collections::VecDeque;

use sidetone::rtp::packet::View;
use sidetone::time::Instant;

use crate::peer::sound::RATE;

/// The incoming stream laid out on one continuous line of samples.
#[derive(Debug, Default)]
pub(super) struct Ears {
    pub(super) samples: VecDeque<i16>,
    pub(super) arrivals: VecDeque<(u64, Instant)>,
    /// How many samples were forgotten at the front.
    pub(super) forgotten: u64,
    pub(super) stream: Option<InStream>,
    pub(super) lost_before: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InStream {
    pub(super) ssrc: u32,
    pub(super) first: u64,
    pub(super) highest: u64,
    /// One bit for each of the last 64 sequence numbers, the highest in bit 0.
    pub(super) seen: u64,
    pub(super) unique: u64,
    pub(super) timestamp: u32,
    /// Where that timestamp is on the line.
    pub(super) position: u64,
}

/// How a packet stands to those before it.
pub(super) enum Placed {
    InOrder,
    Late,
    Duplicate,
    NewStream,
}

impl InStream {
    pub(super) fn lost(&self) -> u64 {
        (self.highest - self.first + 1).saturating_sub(self.unique)
    }
}

impl Ears {
    pub(super) fn end(&self) -> u64 {
        self.forgotten + self.samples.len() as u64
    }

    pub(super) fn place(&mut self, view: &View<'_>) -> Placed {
        let end = self.end();
        let Some(stream) = self.stream.as_mut().filter(|s| continues(s, view)) else {
            let lost = self.stream.map_or(0, |stream| stream.lost());
            self.lost_before += lost;
            // Far from zero, so that packets before the first one have a number too.
            let number = (1 << 16) + u64::from(view.sequence());
            self.stream = Some(InStream {
                ssrc: view.ssrc(),
                first: number,
                highest: number,
                seen: 1,
                unique: 1,
                timestamp: view.timestamp(),
                position: end,
            });
            return Placed::NewStream;
        };
        let ahead = view.sequence().wrapping_sub(stream.highest as u16) as i16;
        if ahead > 0 {
            let ahead = ahead as u64;
            stream.highest += ahead;
            stream.seen = stream.seen.checked_shl(ahead as u32).unwrap_or(0) | 1;
            stream.unique += 1;
            return Placed::InOrder;
        }
        let behind = u64::from(ahead.unsigned_abs());
        let bit = 1u64.checked_shl(behind as u32).unwrap_or(0);
        if stream.seen & bit != 0 || bit == 0 {
            return Placed::Duplicate;
        }
        stream.seen |= bit;
        stream.unique += 1;
        stream.first = stream.first.min(stream.highest - behind);
        Placed::Late
    }

    /// Lays samples on the line, where their timestamp says.
    pub(super) fn keep(&mut self, now: Instant, timestamp: u32, samples: &[i16], memory: usize) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let distance = i64::from(timestamp.wrapping_sub(stream.timestamp) as i32);
        let position = stream.position.saturating_add_signed(distance);
        if distance > 0 {
            stream.timestamp = timestamp;
            stream.position = position;
        }
        if position < self.forgotten {
            return;
        }
        self.arrivals.push_back((position, now));
        let start = (position - self.forgotten) as usize;
        let needed = start + samples.len();
        if self.samples.len() < needed {
            self.samples.resize(needed, 0);
        }
        for (offset, sample) in samples.iter().enumerate() {
            self.samples[start + offset] = *sample;
        }
        let excess = self.samples.len().saturating_sub(memory);
        self.samples.drain(..excess);
        self.forgotten += excess as u64;
        while self
            .arrivals
            .front()
            .is_some_and(|(position, _)| *position < self.forgotten)
        {
            self.arrivals.pop_front();
        }
    }
}

/// Whether a packet goes on with a stream: the same SSRC, and no jump of more than 10 s.
fn continues(stream: &InStream, view: &View<'_>) -> bool {
    let distance = view.timestamp().wrapping_sub(stream.timestamp) as i32;
    stream.ssrc == view.ssrc() && distance.unsigned_abs() < 10 * RATE
}
