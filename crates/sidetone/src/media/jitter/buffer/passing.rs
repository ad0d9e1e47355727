//! Packets that are passed on as they come: followed like those that wait, but not kept waiting.

use sidetone_simd::cache::prefetch;

use crate::media::jitter::buffer::{
    Entry, Fit, JitterBuffer, LONGEST, Span, Stream, clock, to_media,
};
use crate::media::jitter::store::Place;
use crate::media::jitter::{MAX_PAYLOAD, MEDIA_CLOCK, Packet};
use crate::time::{Duration, Instant};

/// Packets that were passed on and are kept, so that decoding can go on behind them.
const KEPT: usize = 3;

/// Where a packet that is passed on belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Its number, extended; goes on by one a packet until `anew`.
    pub sequence: i64,
    /// Media time of its first sample; goes on evenly over leaps of the sender's timestamps.
    pub media_time: i64,
    /// Ticks of its RTP clock that it lasts.
    pub ticks: u32,
    /// Numbers have begun anew with it: those before say nothing of it.
    pub anew: bool,
}

/// The packet that comes next to a stream that is passed on, where it goes on evenly: as long as the last
/// one, and right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Even {
    /// Its extended number.
    pub(crate) sequence: i64,
    pub(crate) timestamp: u32,
    pub(crate) media_time: i64,
    pub(crate) payload_type: u8,
    /// Ticks of `clock` Hz that it lasts.
    pub(crate) ticks: u32,
    pub(crate) clock: u32,
    /// Bytes of its payload.
    pub(crate) length: usize,
}

impl JitterBuffer {
    /// The packet that comes next, where the last one came in order and nothing is in doubt.
    pub(in crate::media::jitter) fn coming(&self) -> Option<Even> {
        let stream = self.stream.as_ref()?;
        let last = self.queue.back()?;
        let ticks = last.duration * i64::from(stream.clock) / i64::from(MEDIA_CLOCK);
        let timestamp = stream.timestamp + ticks;
        let is_even = last.sequence == stream.highest
            && stream.played == Some(stream.highest)
            && last.end() == stream.end
            && stream.media_time(timestamp) == stream.end
            && stream.strange.is_none()
            && !stream.begin_anew;
        is_even.then(|| Even {
            sequence: stream.highest + 1,
            timestamp: timestamp as u32,
            media_time: stream.end,
            payload_type: last.payload_type,
            ticks: ticks as u32,
            clock: stream.clock,
            length: self.store.get(last.place).len(),
        })
    }

    /// A packet is coming: asks for what it reads.
    pub(in crate::media::jitter) fn expect(&self) {
        let (queue, more) = self.queue.as_slices();
        prefetch(queue);
        prefetch(more);
        self.store.expect();
        self.delays.expect();
    }

    /// Takes note of a packet that is passed on at once: as if it had been played. `None` where
    /// it has come before, or does not fit the stream.
    pub(in crate::media::jitter) fn pass(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        span: Span,
    ) -> Option<Passed> {
        let duration = to_media(i64::from(span.ticks), span.clock);
        if packet.payload.len() > MAX_PAYLOAD || !(1..=LONGEST).contains(&duration) {
            self.refuse(packet.sequence);
            return None;
        }
        self.statistics.put += 1;
        let first = self.stream.is_none();
        let stream = self
            .stream
            .get_or_insert_with(|| Stream::begin(packet, span.clock));
        match stream.place(packet, span.clock) {
            Fit::Duplicate => {
                self.duplicate(packet);
                return None;
            }
            Fit::Strange => {
                self.statistics.strange += 1;
                return None;
            }
            Fit::Anew => {
                stream.join(packet, span.clock);
                self.delays.restart();
                self.statistics.resyncs += 1;
            }
            Fit::Fits => {}
        }
        let anew = first || stream.played.is_none();
        let (sequence, media_time) = stream.receive(packet);
        self.delays.note(now, clock(now) - media_time);
        self.statistics.note_wait(Duration::ZERO);
        let entry = Entry {
            media_time,
            duration,
            sequence,
            arrived: now,
            place: Place::default(),
            payload_type: packet.payload_type,
            redundant: false,
            begins_source: false,
        };
        self.play_at_once(&entry);
        self.keep_a_while(entry, packet.payload);
        Some(Passed {
            sequence,
            media_time,
            ticks: span.ticks,
            anew,
        })
    }

    /// Moves everything behind a packet.
    fn play_at_once(&mut self, entry: &Entry) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        match stream.played {
            Some(played) if entry.sequence <= played => {
                // It had been found missing.
                self.statistics.lost = self.statistics.lost.saturating_sub(1);
                self.statistics.reordered += 1;
            }
            Some(played) => {
                let missed = (played + 1..entry.sequence).take(1_000);
                let missed = missed
                    .filter(|&sequence| !stream.has_seen(sequence))
                    .count() as u64;
                self.statistics.lost += missed;
                stream.played = Some(entry.sequence);
            }
            None => stream.played = Some(entry.sequence),
        }
        stream.position = stream.position.max(entry.end());
        stream.floor = stream.floor.max(entry.end());
        if entry.end() > stream.end {
            (stream.end, stream.duration) = (entry.end(), entry.duration);
        }
    }

    /// Keeps the packets that were passed on last, as far as they came in order.
    fn keep_a_while(&mut self, mut entry: Entry, payload: &[u8]) {
        if self
            .queue
            .back()
            .is_some_and(|last| last.media_time >= entry.media_time)
        {
            return;
        }
        while self.queue.len() >= KEPT.min(self.packets) {
            if let Some(oldest) = self.queue.pop_front() {
                self.store.free(oldest.place);
            }
        }
        if let Some(place) = self.store.keep(payload) {
            entry.place = place;
            self.queue.push_back(entry);
        }
    }

    /// Takes the oldest of the packets kept by [`pass`](Self::pass): payload type and payload.
    pub(in crate::media::jitter) fn take_kept(&mut self) -> Option<(u8, i64, &[u8])> {
        let entry = self.queue.pop_front()?;
        self.store.free(entry.place);
        Some((
            entry.payload_type,
            entry.duration,
            self.store.get(entry.place),
        ))
    }

    /// The number of the packet to be played next.
    pub(in crate::media::jitter) fn next_sequence(&self) -> Option<i64> {
        self.queue.front().map(|entry| entry.sequence)
    }
}
