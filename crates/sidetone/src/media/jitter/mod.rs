//! Jitter buffers: ordering received packets by RTP timestamp for playout.

pub mod playout;

use std::collections::VecDeque;

use crate::time::{Duration, Instant};

/// How a [`JitterBuffer`] is sized and how long it holds packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long a packet waits when the network is quiet; packets that come later than this behind
    /// the first one are too late. 0 to 500 ms, default 60 ms.
    pub target: Duration,
    /// Packets held at most, 4 to 512; the oldest is dropped for one too many. Default 32.
    pub slots: u16,
    /// Bytes of the largest payload, up to 1,500; larger ones are refused. Default 480, 60 ms of
    /// G.711. Memory is `slots` times this, 15 kB by default.
    pub slot_bytes: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(60),
            slots: 32,
            slot_bytes: 480,
        }
    }
}

impl Config {
    fn limited(self) -> Self {
        Self {
            target: self.target.min(Duration::from_millis(500)),
            slots: self.slots.clamp(4, 512),
            slot_bytes: self.slot_bytes.min(1_500),
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

/// What is to be played next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A packet, to be decoded.
    Packet(Due<'a>),
    /// Nothing is there for this many ticks of the RTP clock, although the stream goes on: conceal.
    Missing {
        /// Ticks until there is something, at most as many as were asked for.
        ticks: u32,
    },
    /// There is no stream yet, or it is filling the buffer: play silence.
    Waiting {
        /// Ticks to wait, at most as many as were asked for.
        ticks: u32,
    },
}

/// A packet whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// Media time of the payload's first sample, in ticks of the RTP clock, without jumps: see
    /// [`JitterBuffer`].
    pub media_time: i64,
    /// Ticks at the payload's beginning that have been played already and are to be left out.
    pub skip: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// The payload.
    pub payload: &'a [u8],
}

/// Counters of a [`JitterBuffer`], from its construction on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Packets put, whatever became of them.
    pub put: u64,
    /// Packets played.
    pub played: u64,
    /// Packets that were not there at their turn, the late among them.
    pub lost: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets that came more than once.
    pub duplicate: u64,
    /// Packets dropped because the buffer was full.
    pub overrun: u64,
    /// Packets refused for their size or because nothing can decode them.
    pub refused: u64,
    /// Packets dropped because their time did not fit the stream.
    pub strange: u64,
    /// Times that the stream was taken up anew: a jump of its timestamps, another source, a
    /// lasting change of the network's delay.
    pub resyncs: u64,
    /// Times that 20 ms were left out because the delay had grown beyond its target.
    pub shortened: u64,
    /// Times that 20 ms were added because the delay had sunk below its target.
    pub lengthened: u64,
    /// How long the last packet played had waited.
    pub delay: Duration,
    /// Sum of the waiting times of all packets played.
    pub total_delay: Duration,
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
}

/// Holds packets until their turn, in the order of their timestamps, with a fixed delay.
///
/// **Media time.** Timestamps are extended to 64 bits and joined into one line without jumps: where
/// the sender's timestamps leap while its sequence numbers go on, or where another source takes
/// over, the new ones are mapped behind the old. What the buffer plays is the stretch of this line
/// that [`next`](Self::next) is asked for, tick by tick, so lost packets and silence take their time.
///
/// **Delay.** The first packet waits for the target; the others follow by their timestamps. The
/// delay is then watched over windows of some 64 packets:
/// * where even the slowest packet waits 20 ms longer than the target, [`excess`](Self::excess) says
///   by how much, and whoever plays leaves out a piece;
/// * where most packets wait less than half the target, [`deficit`](Self::deficit) says by how much,
///   and whoever plays adds a piece;
/// * where for 100 ms every packet is late, the stream is taken up anew with the whole target.
///
/// A stall of the network therefore costs the packets that it delays, and no lasting delay.
///
/// Nothing allocates after construction. Bounds: [`Config::slots`] packets; a packet more than 2 s
/// off the stream's time is believed only when the next one agrees.
#[derive(Debug)]
pub struct JitterBuffer {
    clock: u32,
    target: i64,
    slot_bytes: usize,
    payloads: Box<[u8]>,
    free: Vec<u16>,
    /// By media time.
    queue: VecDeque<Entry>,
    stream: Option<Stream>,
    statistics: Statistics,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    media_time: i64,
    duration: u32,
    sequence: i64,
    arrived: Instant,
    slot: u16,
    len: u16,
    payload_type: u8,
}

/// A stream in progress.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Highest extended sequence number, and which of the 128 up to it have been received.
    highest: i64,
    seen: u128,
    /// Extended timestamp of the packet with the highest one.
    timestamp: i64,
    /// What makes media time of an extended timestamp.
    offset: i64,
    /// Media time behind the packet that ends last.
    end: i64,
    /// Media time to play next.
    position: i64,
    /// Ticks to wait before playing.
    wait: i64,
    /// Sequence number of the last packet played.
    played: Option<i64>,
    /// Ticks for which nothing has been there.
    starved: i64,
    /// Since when every packet has been late, and how many.
    late: Option<(Instant, u32)>,
    /// A packet that did not fit, to be compared with the next.
    strange: Option<(u16, u32)>,
    /// Take the next packet as a new beginning.
    begin_anew: bool,
    window: Window,
    excess: i64,
    deficit: i64,
}

/// How early packets have come, in ticks before their turn.
#[derive(Debug, Clone, Copy)]
struct Window {
    packets: u32,
    least: i64,
    sum: i64,
    low: u32,
}

impl Window {
    const EMPTY: Self = Self {
        packets: 0,
        least: i64::MAX,
        sum: 0,
        low: 0,
    };
}

const WINDOW_PACKETS: u32 = 64;
/// Ticks that a timestamp may be off are those of this long.
const STRANGE: Duration = Duration::from_secs(2);
const STRANGE_SEQUENCE: i64 = 1_000;
/// Every packet being late for so long means that the network's delay has changed.
const LATE_SPAN: Duration = Duration::from_millis(100);

impl JitterBuffer {
    /// An empty buffer for a stream whose RTP clock ticks `clock` times a second.
    pub fn new(config: Config, clock: u32) -> Self {
        let config = config.limited();
        let slots = usize::from(config.slots);
        let slot_bytes = usize::from(config.slot_bytes);
        Self {
            clock,
            target: ticks(config.target, clock),
            slot_bytes,
            payloads: vec![0; slots * slot_bytes].into(),
            free: (0..config.slots).rev().collect(),
            queue: VecDeque::with_capacity(slots),
            stream: None,
            statistics: Statistics::default(),
        }
    }

    /// The counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no packet waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Media time to play next, `None` before the first packet. While the first packet waits, it
    /// is that much before it.
    pub fn position(&self) -> Option<i64> {
        self.stream.map(|s| s.position - s.wait)
    }

    /// Ticks by which the delay is above its target for good, zero where it is not.
    pub fn excess(&self) -> u32 {
        self.stream.map_or(0, |s| s.excess as u32)
    }

    /// Ticks by which the delay is below its target for good, zero where it is not.
    pub fn deficit(&self) -> u32 {
        self.stream.map_or(0, |s| s.deficit as u32)
    }

    /// Says that the next packet begins a new stream: another SSRC, another payload format. What
    /// waits is still played, and the new stream follows it.
    pub fn resync(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.begin_anew = true;
        }
    }

    /// Takes in a packet whose payload lasts `duration` ticks of the RTP clock.
    pub fn put(&mut self, now: Instant, packet: &Packet<'_>, duration: u32) -> Arrival {
        self.statistics.put += 1;
        let longest = self.clock / 2;
        if packet.payload.len() > self.slot_bytes || duration == 0 || duration > longest {
            return self.refuse(packet.sequence);
        }
        let clock = self.clock;
        let stream = self
            .stream
            .get_or_insert_with(|| Stream::begin(packet, self.target));
        match stream.place(packet, clock) {
            Place::Duplicate => {
                self.statistics.duplicate += 1;
                return Arrival::Duplicate;
            }
            Place::Strange => {
                self.statistics.strange += 1;
                return Arrival::Strange;
            }
            Place::Anew => {
                stream.join(packet, self.queue.is_empty(), self.target);
                self.statistics.resyncs += 1;
            }
            Place::Fits => {}
        }
        let (sequence, timestamp) = stream.receive(packet);
        let mut media_time = timestamp + stream.offset;
        if media_time + i64::from(duration) <= stream.position {
            if !stream.is_lasting_lateness(now, packet.marker, clock) {
                self.statistics.late += 1;
                // Those before the packet played last have been found missing already.
                let is_news = stream.played.is_some_and(|played| sequence > played);
                self.statistics.lost += u64::from(is_news);
                stream.watch(media_time, self.target, clock);
                return Arrival::Late;
            }
            self.statistics.resyncs += 1;
            stream.position = media_time;
            stream.pause(self.target);
            media_time = stream.position;
        } else {
            stream.late = None;
        }
        stream.watch(media_time, self.target, clock);
        stream.end = stream.end.max(media_time + i64::from(duration));
        self.insert(
            Entry {
                media_time,
                duration,
                sequence,
                arrived: now,
                slot: 0,
                len: packet.payload.len() as u16,
                payload_type: packet.payload_type,
            },
            packet.payload,
        )
    }

    /// Says what to play for the next `ticks` ticks of the RTP clock, and takes it as played.
    ///
    /// A packet may last longer than was asked for: then the rest of it is the caller's to keep.
    pub fn next(&mut self, now: Instant, ticks: u32) -> Next<'_> {
        let Some(stream) = &mut self.stream else {
            return Next::Waiting { ticks };
        };
        if stream.wait > 0 {
            let ticks = ticks.min(stream.wait as u32);
            stream.wait -= i64::from(ticks);
            return Next::Waiting { ticks };
        }
        // Packets that a change of position has left behind.
        while let Some(entry) = self.queue.front()
            && entry.media_time + i64::from(entry.duration) <= stream.position
        {
            self.free.push(entry.slot);
            self.queue.pop_front();
        }
        let gap = match self.queue.front() {
            Some(entry) => (entry.media_time - stream.position).min(i64::from(ticks)),
            None => i64::from(ticks),
        };
        if gap > 0 {
            stream.position += gap;
            stream.starved += gap;
            return Next::Missing { ticks: gap as u32 };
        }
        match self.queue.pop_front() {
            Some(entry) => Next::Packet(self.play(now, entry)),
            None => Next::Missing { ticks: 0 },
        }
    }

    /// Says that the caller has left out `ticks` ticks of what it was given, for [`excess`](Self::excess).
    pub fn shortened(&mut self, ticks: u32) {
        self.statistics.shortened += 1;
        if let Some(stream) = &mut self.stream {
            stream.excess = (stream.excess - i64::from(ticks)).max(0);
            stream.window = Window::EMPTY;
        }
    }

    /// Says that the caller has played something of its own for a time in which it did not ask, for
    /// [`deficit`](Self::deficit).
    pub fn lengthened(&mut self, ticks: u32) {
        self.statistics.lengthened += 1;
        if let Some(stream) = &mut self.stream {
            stream.deficit = (stream.deficit - i64::from(ticks)).max(0);
            stream.window = Window::EMPTY;
        }
    }

    /// Counts a packet that nothing can decode.
    pub fn refuse(&mut self, sequence: u16) -> Arrival {
        self.statistics.refused += 1;
        self.aside(sequence);
        Arrival::Refused
    }

    /// Says that the packet with this number was received but is played elsewhere, as a telephone
    /// event is (RFC 4733): it does not count as lost.
    pub fn aside(&mut self, sequence: u16) {
        if let Some(stream) = &mut self.stream
            && stream.ahead(sequence).abs() <= STRANGE_SEQUENCE
        {
            stream.note(sequence);
        }
    }

    fn insert(&mut self, mut entry: Entry, payload: &[u8]) -> Arrival {
        let place = self
            .queue
            .partition_point(|e| e.media_time < entry.media_time);
        if self
            .queue
            .get(place)
            .is_some_and(|e| e.media_time == entry.media_time)
        {
            self.statistics.duplicate += 1;
            return Arrival::Duplicate;
        }
        let mut place = place;
        if self.free.is_empty() {
            self.statistics.overrun += 1;
            if place == 0 {
                return Arrival::Late;
            }
            self.drop_oldest();
            place -= 1;
        }
        let Some(slot) = self.free.pop() else {
            return Arrival::Refused;
        };
        entry.slot = slot;
        let start = usize::from(slot) * self.slot_bytes;
        self.payloads[start..start + payload.len()].copy_from_slice(payload);
        self.queue.insert(place, entry);
        Arrival::Queued
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.queue.pop_front() else {
            return;
        };
        self.free.push(oldest.slot);
        if let (Some(stream), Some(head)) = (&mut self.stream, self.queue.front()) {
            stream.position = stream.position.max(head.media_time);
            stream.wait = 0;
        }
    }

    fn play(&mut self, now: Instant, entry: Entry) -> Due<'_> {
        self.free.push(entry.slot);
        let mut skip = 0;
        if let Some(stream) = &mut self.stream {
            skip = (stream.position - entry.media_time).max(0);
            stream.position = entry.media_time + i64::from(entry.duration);
            stream.starved = 0;
            if let Some(played) = stream.played {
                let first = (played + 1).max(entry.sequence - STRANGE_SEQUENCE);
                let missed = (first..entry.sequence).filter(|&s| !stream.has_seen(s));
                self.statistics.lost += missed.count() as u64;
            }
            stream.played = Some(entry.sequence);
        }
        let delay = now - entry.arrived;
        self.statistics.played += 1;
        self.statistics.delay = delay;
        self.statistics.total_delay += delay;
        let start = usize::from(entry.slot) * self.slot_bytes;
        Due {
            media_time: entry.media_time,
            skip: skip as u32,
            payload_type: entry.payload_type,
            payload: &self.payloads[start..start + usize::from(entry.len)],
        }
    }
}

/// How a packet lies to the stream.
enum Place {
    Fits,
    Duplicate,
    Strange,
    Anew,
}

impl Stream {
    fn begin(packet: &Packet<'_>, target: i64) -> Self {
        let timestamp = i64::from(packet.timestamp);
        Self {
            highest: i64::from(packet.sequence),
            seen: 0,
            timestamp,
            offset: 0,
            end: timestamp,
            position: timestamp,
            wait: target,
            played: None,
            starved: 0,
            late: None,
            strange: None,
            begin_anew: false,
            window: Window::EMPTY,
            excess: 0,
            deficit: 0,
        }
    }

    /// Judges a packet by its numbers, changing nothing but the memory of strange ones.
    fn place(&mut self, packet: &Packet<'_>, clock: u32) -> Place {
        if self.begin_anew {
            return Place::Anew;
        }
        let ahead = self.ahead(packet.sequence);
        let timestamp = self.extend_timestamp(packet.timestamp);
        let limit = ticks(STRANGE, clock);
        let off = timestamp + self.offset - self.position;
        let before = self.strange.take();
        if ahead.abs() <= STRANGE_SEQUENCE && off.abs() <= limit {
            return match self.has_seen(self.highest + ahead) {
                true => Place::Duplicate,
                false => Place::Fits,
            };
        }
        // The next number in sequence proves that this is the same sender after a leap of its clock.
        if ahead == 1 {
            return Place::Anew;
        }
        let confirmed = before.is_some_and(|(sequence, timestamp)| {
            let apart = packet.timestamp.wrapping_sub(timestamp) as i32;
            packet.sequence == sequence.wrapping_add(1) && i64::from(apart.abs()) <= limit
        });
        if confirmed {
            return Place::Anew;
        }
        self.strange = Some((packet.sequence, packet.timestamp));
        Place::Strange
    }

    /// How far a sequence number is ahead of the highest one.
    fn ahead(&self, sequence: u16) -> i64 {
        i64::from(sequence.wrapping_sub(self.highest as u16) as i16)
    }

    /// Whether the packet with this extended number has been received, as far back as is known.
    fn has_seen(&self, sequence: i64) -> bool {
        let behind = self.highest - sequence;
        (0..128).contains(&behind) && self.seen >> behind & 1 == 1
    }

    /// Maps the packet's timestamps behind what has been received, or a whole target away from the
    /// present where there is nothing left to play.
    fn join(&mut self, packet: &Packet<'_>, is_empty: bool, target: i64) {
        self.begin_anew = false;
        self.highest = i64::from(packet.sequence);
        self.seen = 0;
        self.timestamp = i64::from(packet.timestamp);
        self.played = None;
        self.late = None;
        let media_time = if is_empty {
            self.position.max(self.end)
        } else {
            self.end
        };
        if is_empty {
            self.position = media_time;
            self.pause(target);
        }
        self.offset = media_time - self.timestamp;
        self.window = Window::EMPTY;
        self.excess = 0;
        self.deficit = 0;
    }

    /// Notes the packet's numbers and returns them extended.
    fn receive(&mut self, packet: &Packet<'_>) -> (i64, i64) {
        let sequence = self.note(packet.sequence);
        let timestamp = self.extend_timestamp(packet.timestamp);
        self.timestamp = self.timestamp.max(timestamp);
        (sequence, timestamp)
    }

    /// Notes a sequence number as received and returns it extended.
    fn note(&mut self, sequence: u16) -> i64 {
        let ahead = self.ahead(sequence);
        if ahead > 0 {
            self.seen = self.seen.checked_shl(ahead as u32).unwrap_or(0) | 1;
            self.highest += ahead;
            return self.highest;
        }
        if ahead > -128 {
            self.seen |= 1 << -ahead;
        }
        self.highest + ahead
    }

    fn extend_timestamp(&self, timestamp: u32) -> i64 {
        let ahead = timestamp.wrapping_sub(self.timestamp as u32) as i32;
        self.timestamp + i64::from(ahead)
    }

    /// Whether a late packet shows that the delay has changed for good: nothing but late packets
    /// for a while, or the beginning of a new talk spurt after silence.
    fn is_lasting_lateness(&mut self, now: Instant, marker: bool, clock: u32) -> bool {
        let (since, packets) = self.late.unwrap_or((now, 0));
        let packets = packets + 1;
        let lasting = packets >= 3 && now - since >= LATE_SPAN;
        let talk_spurt = marker && self.starved >= ticks(LATE_SPAN, clock);
        if lasting || talk_spurt {
            self.late = None;
            return true;
        }
        self.late = Some((since, packets));
        false
    }

    /// Lets the target pass before the position is played.
    fn pause(&mut self, target: i64) {
        self.wait = target;
        self.starved = 0;
        self.window = Window::EMPTY;
        self.excess = 0;
        self.deficit = 0;
    }

    /// Watches how early packets come, and at the end of a window decides on the delay.
    fn watch(&mut self, media_time: i64, target: i64, clock: u32) {
        let early = media_time - self.position + self.wait;
        let window = &mut self.window;
        window.packets += 1;
        window.least = window.least.min(early);
        window.sum += early;
        window.low += u32::from(early < target / 2);
        if window.packets < WINDOW_PACKETS {
            return;
        }
        let frame = i64::from(clock / 50);
        let excess = window.least - target;
        let deficit = target - window.sum / i64::from(WINDOW_PACKETS);
        self.excess = if excess >= frame { excess } else { 0 };
        let mostly_low = window.low > WINDOW_PACKETS / 2;
        self.deficit = if mostly_low {
            deficit.clamp(0, target)
        } else {
            0
        };
        self.window = Window::EMPTY;
    }
}

fn ticks(duration: Duration, clock: u32) -> i64 {
    (duration.as_nanos() * u128::from(clock) / 1_000_000_000) as i64
}

#[cfg(test)]
mod tests;
