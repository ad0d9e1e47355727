//! The buffer: received packets by media time, and where in it the playout stands.

pub mod passing;

use std::collections::VecDeque;

use crate::media::jitter::delay::Delays;
use crate::media::jitter::log::{Action, Decision, Log};
use crate::media::jitter::statistics::Statistics;
use crate::media::jitter::store::{Place, Store};
use crate::media::jitter::{
    Arrival, Config, MAX_PAYLOAD, MEDIA_CLOCK, MS, Packet, duration, ticks,
};
use crate::time::{Duration, Instant};

/// How long a payload lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Ticks a second of the RTP clock of its format; not zero.
    pub clock: u32,
    /// Ticks that the payload lasts.
    pub ticks: u32,
}

/// The packet that is to be played next, as it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Media time of the payload's first sample.
    pub media_time: i64,
    /// Ticks of media time that it lasts.
    pub duration: i64,
    /// RTP payload type.
    pub payload_type: u8,
    /// Whether the packet before it in sequence is missing.
    pub follows_loss: bool,
}

/// A packet whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// Media time of the payload's first sample, in ticks of [`MEDIA_CLOCK`].
    pub media_time: i64,
    /// Ticks of media time that the payload lasts.
    pub duration: i64,
    /// Ticks of media time at the payload's beginning that have been played already and are to be
    /// left out.
    pub skip: i64,
    /// How long ago the first sample behind those came over the network at its fastest, in ticks of
    /// [`MEDIA_CLOCK`].
    pub age: i64,
    /// By how much the packet came later than that, in the same ticks.
    pub late: i64,
    /// RTP payload type.
    pub payload_type: u8,
    /// Another source begins with it: the decoder's past is not its own.
    pub begins_source: bool,
    /// The payload.
    pub payload: &'a [u8],
}

/// Holds packets until their turn, in the order of their timestamps, and knows the delay.
///
/// **Media time.** Timestamps are extended to 64 bits, brought to one clock of
/// [`MEDIA_CLOCK`] whatever the RTP clock of the packet's format, and joined into one line without
/// jumps: where the sender's timestamps leap while its sequence numbers go on, where its format has
/// another clock, or where another source takes over, the new ones are mapped behind the old.
///
/// **Position.** The media time of what is to be decoded next. It moves with the packets that are
/// [taken](Self::take), and with [`advance`](Self::advance) over what is not there. A packet that comes
/// when the position has passed it is late; but where nothing behind it has been played, and the delay
/// may grow, the playout goes [back](Self::rewind) to it instead.
///
/// Nothing allocates after construction. Bounds: [`Config::packets`], [`Config::bytes`]; a packet
/// more than 2 s off the stream's time is believed only when the next one agrees.
#[derive(Debug)]
pub struct JitterBuffer {
    store: Store,
    /// By media time.
    queue: VecDeque<Entry>,
    packets: usize,
    stream: Option<Stream>,
    delays: Delays,
    statistics: Statistics,
    log: Log,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    media_time: i64,
    duration: i64,
    sequence: i64,
    arrived: Instant,
    place: Place,
    payload_type: u8,
    redundant: bool,
    begins_source: bool,
}

impl Entry {
    fn end(&self) -> i64 {
        self.media_time + self.duration
    }
}

/// A stream in progress.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Ticks a second of its timestamps.
    clock: u32,
    /// Highest extended sequence number, and which of the 128 up to it have been received.
    highest: i64,
    seen: u128,
    /// Extended timestamp of the packet with the highest one.
    timestamp: i64,
    /// What makes media time of an extended timestamp brought to the media clock.
    offset: i64,
    /// Media time behind the packet that ends last, and how long it lasts.
    end: i64,
    duration: i64,
    /// Media time to decode next.
    position: i64,
    /// Media time behind the packet played last.
    floor: i64,
    /// Sequence number of the last packet played.
    played: Option<i64>,
    /// Since when every packet has been late, and how many.
    late: Option<(Instant, u32)>,
    /// A packet that did not fit, to be compared with the next.
    strange: Option<(u16, u32)>,
    /// Take the next packet as a new beginning.
    begin_anew: bool,
}

/// Media time that a timestamp may be off.
const STRANGE: i64 = 2_000 * MS;
const STRANGE_SEQUENCE: i64 = 1_000;
/// Every packet being late for so long means that the network's delay has changed.
const LATE_SPAN: Duration = Duration::from_millis(100);
/// The longest payload.
const LONGEST: i64 = 500 * MS;

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(config: Config) -> Self {
        let config = config.limited();
        let packets = usize::from(config.packets);
        Self {
            store: Store::new(config.bytes as usize),
            queue: VecDeque::with_capacity(packets),
            packets,
            stream: None,
            delays: Delays::new(config.mode),
            statistics: Statistics::default(),
            log: Log::default(),
        }
    }

    /// The counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub(super) fn statistics_mut(&mut self) -> &mut Statistics {
        &mut self.statistics
    }

    /// Keeps a log of the last `capacity` decisions, or none. Allocates.
    pub fn log_decisions(&mut self, capacity: usize) {
        self.log = Log::new(capacity);
    }

    /// Takes the oldest decision out of the log.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.log.pop()
    }

    /// Goes on with the counters and the log of `former`, whose place this buffer takes. What waits
    /// there is never played.
    pub(super) fn succeed(&mut self, former: &mut Self) {
        self.statistics = former.statistics;
        self.statistics.discarded += former.queue.len() as u64;
        std::mem::swap(&mut self.log, &mut former.log);
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no packet waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Media time to decode next, `None` before the first packet.
    pub fn position(&self) -> Option<i64> {
        self.stream.map(|s| s.position)
    }

    /// Media time behind what can be decoded from the position on without a hole.
    pub fn covered(&self) -> i64 {
        let mut covered = self.stream.map_or(0, |s| s.position);
        for entry in &self.queue {
            if entry.media_time > covered {
                break;
            }
            covered = covered.max(entry.end());
        }
        covered
    }

    /// The delay above the network's least at which `media_time` is played `now`.
    pub fn level(&self, now: Instant, media_time: i64) -> i64 {
        clock(now) - media_time - self.delays.base()
    }

    /// The delay above the network's least that is aimed at.
    pub fn target(&self) -> i64 {
        self.delays.target()
    }

    /// The delay above the network's least that four packets of five do not exceed.
    pub(super) fn usual(&self) -> i64 {
        self.delays.usual()
    }

    /// The chance that a packet which is this late now, and has not come, comes, but when it is more than
    /// `limit` late.
    pub(super) fn chance_beyond(&self, age: i64, limit: i64) -> f32 {
        self.delays.chance_beyond(age, limit)
    }

    /// The longest delay above the network's least.
    pub(super) fn most(&self) -> i64 {
        self.delays.most()
    }

    /// Says that the next packet begins a new stream: another SSRC, say. What waits is still played,
    /// and the new stream follows it.
    pub fn resync(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.begin_anew = true;
        }
    }

    /// Takes in a packet whose payload lasts `span`.
    pub fn put(&mut self, now: Instant, packet: &Packet<'_>, span: Span) -> Arrival {
        let duration = to_media(i64::from(span.ticks), span.clock);
        let is_possible = packet.payload.len() <= MAX_PAYLOAD && (1..=LONGEST).contains(&duration);
        if !is_possible {
            return self.refuse(packet.sequence);
        }
        self.statistics.put += 1;
        let stream = self
            .stream
            .get_or_insert_with(|| Stream::begin(packet, span.clock));
        let begins_source = stream.begin_anew && !packet.redundant;
        match stream.place(packet, span.clock) {
            Fit::Duplicate => return self.duplicate(packet),
            Fit::Strange => {
                self.statistics.strange += 1;
                return Arrival::Strange;
            }
            Fit::Anew => {
                stream.join(packet, span.clock);
                self.delays.restart();
                self.statistics.resyncs += 1;
            }
            Fit::Fits => {}
        }
        let was_highest = stream.highest;
        let (sequence, media_time) = stream.receive(packet);
        self.delays.note(now, clock(now) - media_time);
        let entry = Entry {
            media_time,
            duration,
            sequence,
            arrived: now,
            place: Place::default(),
            payload_type: packet.payload_type,
            redundant: packet.redundant,
            begins_source,
        };
        if self.is_late(now, &entry) {
            return self.late(now, packet, entry);
        }
        if let Some(stream) = &mut self.stream {
            stream.late = None;
            if entry.end() > stream.end {
                (stream.end, stream.duration) = (entry.end(), duration);
            }
        }
        self.statistics.reordered += u64::from(sequence < was_highest && !packet.redundant);
        self.insert(entry, packet.payload)
    }

    /// Whether the packet before the one of this number has not been received.
    pub(super) fn follows_hole(&self, sequence: u16) -> bool {
        self.stream.is_some_and(|stream| {
            let before = stream.highest + stream.ahead(sequence) - 1;
            stream.played.is_some() && !stream.has_seen(before)
        })
    }

    /// Learns that a packet which was put carries a copy of the one before it: that one has come as
    /// late as its copy.
    pub(super) fn note_copy(&mut self, now: Instant, packet: &Packet<'_>, span: Span) {
        if let Some(stream) = &self.stream {
            let own = stream.media_time(stream.extend_timestamp(packet.timestamp));
            let lost = own - to_media(i64::from(span.ticks), span.clock);
            self.delays.note(now, clock(now) - lost);
        }
    }

    fn duplicate(&mut self, packet: &Packet<'_>) -> Arrival {
        if packet.redundant {
            self.statistics.needless += 1;
        } else {
            self.statistics.duplicate += 1;
        }
        Arrival::Duplicate
    }

    /// Whether the turn of a packet is over: what follows it has been played, or its time has passed
    /// and the delay must not grow so far.
    fn is_late(&self, now: Instant, entry: &Entry) -> bool {
        let Some(stream) = &self.stream else {
            return false;
        };
        if entry.end() <= stream.floor {
            return true;
        }
        entry.end() <= stream.position && !self.may_rewind(now, entry.media_time)
    }

    /// Whether the delay may grow when packets are late.
    pub(super) fn may_grow(&self) -> bool {
        self.delays.is_adaptive()
    }

    /// Whether the delay may grow so far that the playout goes back to `media_time`.
    fn may_rewind(&self, now: Instant, media_time: i64) -> bool {
        self.may_grow() && self.level(now, media_time) <= self.delays.most()
    }

    fn late(&mut self, now: Instant, packet: &Packet<'_>, mut entry: Entry) -> Arrival {
        let Some(stream) = &mut self.stream else {
            return Arrival::Late;
        };
        let behind = stream.position - entry.end();
        let is_idle = self.queue.is_empty() && behind >= ticks(LATE_SPAN);
        if stream.is_lasting_lateness(now, packet.marker && is_idle) {
            self.statistics.resyncs += 1;
            entry.media_time = stream.shift(entry.media_time);
            self.delays.restart();
            self.delays.note(now, clock(now) - entry.media_time);
            self.tell(now, entry.media_time, Action::Resync, behind);
            return self.insert(entry, packet.payload);
        }
        self.statistics.late += 1;
        // Those before the packet played last have been found missing already.
        let is_news = stream.played.is_none_or(|played| entry.sequence > played);
        self.statistics.lost += u64::from(is_news);
        self.tell(now, entry.media_time, Action::Late, behind);
        Arrival::Late
    }

    /// Whether nothing that follows the packet of this number has been played.
    pub(super) fn is_newest(&self, sequence: u16) -> bool {
        self.stream.is_some_and(|stream| {
            let sequence = stream.highest + stream.ahead(sequence);
            stream.played.is_none_or(|played| sequence > played)
        })
    }

    /// Counts a packet that nothing can decode.
    pub fn refuse(&mut self, sequence: u16) -> Arrival {
        self.statistics.put += 1;
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
        if let Some(other) = self.queue.get(place)
            && other.media_time == entry.media_time
        {
            let counter = match entry.redundant {
                true => &mut self.statistics.needless,
                false => &mut self.statistics.duplicate,
            };
            *counter += 1;
            return Arrival::Duplicate;
        }
        let mut place = place;
        let mut room = self.store.keep(payload);
        while self.queue.len() == self.packets || room.is_none() {
            if let Some(room) = room.take() {
                self.store.free(room);
            }
            self.statistics.overrun += 1;
            if place == 0 {
                return Arrival::Late;
            }
            self.drop_oldest();
            place -= 1;
            room = self.store.keep(payload);
        }
        let Some(room) = room else {
            return Arrival::Refused;
        };
        entry.place = room;
        self.queue.insert(place, entry);
        Arrival::Queued
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.queue.pop_front() else {
            return;
        };
        self.store.free(oldest.place);
        if let (Some(stream), Some(head)) = (&mut self.stream, self.queue.front()) {
            stream.position = stream.position.max(head.media_time);
            stream.floor = stream.floor.max(oldest.end());
        }
    }

    /// The packet to be played next.
    pub fn head(&mut self) -> Option<Head> {
        let stream = self.stream.as_ref()?;
        // Packets that lie before what has been played.
        while let Some(entry) = self.queue.front()
            && entry.end() <= stream.floor
        {
            self.statistics.discarded += 1;
            self.store.free(entry.place);
            self.queue.pop_front();
        }
        let entry = self.queue.front()?;
        let expected = stream.played.map_or(entry.sequence, |played| played + 1);
        Some(Head {
            media_time: entry.media_time,
            duration: entry.duration,
            payload_type: entry.payload_type,
            follows_loss: entry.sequence > expected && !stream.has_seen(entry.sequence - 1),
        })
    }

    /// The payload of the packet to be played next.
    pub fn peek(&self) -> Option<&[u8]> {
        self.queue.front().map(|entry| self.store.get(entry.place))
    }

    /// Takes the packet to be played next, and moves the position behind it.
    pub fn take(&mut self, now: Instant) -> Option<Due<'_>> {
        let entry = self.queue.pop_front()?;
        self.store.free(entry.place);
        let mut skip = 0;
        if let Some(stream) = &mut self.stream {
            skip = (stream.position - entry.media_time).clamp(0, entry.duration);
            stream.position = entry.end();
            stream.floor = entry.end();
            if let Some(played) = stream.played {
                let first = (played + 1).max(entry.sequence - STRANGE_SEQUENCE);
                let missed = (first..entry.sequence).filter(|&s| !stream.has_seen(s));
                let missed = missed.count() as u64;
                self.statistics.lost += missed;
                self.delays.note_lost(missed);
            }
            stream.played = Some(entry.sequence);
        }
        self.statistics.redundant += u64::from(entry.redundant);
        self.statistics.note_wait(now - entry.arrived);
        Some(Due {
            media_time: entry.media_time,
            duration: entry.duration,
            skip,
            age: self.level(now, entry.media_time + skip),
            late: self.level(entry.arrived, entry.media_time),
            payload_type: entry.payload_type,
            begins_source: entry.begins_source,
            payload: self.store.get(entry.place),
        })
    }

    /// Drops the packet to be played next.
    pub fn discard(&mut self) {
        if self.queue.len() > 1 {
            self.statistics.discarded += 1;
            self.drop_oldest();
        }
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.statistics.discarded += self.queue.len() as u64;
        while let Some(entry) = self.queue.pop_front() {
            self.store.free(entry.place);
        }
    }

    /// Lets `ticks` of media time pass of which nothing is there.
    pub fn advance(&mut self, ticks: i64) {
        if let Some(stream) = &mut self.stream {
            stream.position += ticks;
        }
    }

    /// Goes to `media_time`, back or forth; not back behind what has been played.
    pub fn rewind(&mut self, media_time: i64) {
        if let Some(stream) = &mut self.stream {
            stream.position = media_time.max(stream.floor);
        }
    }

    /// Writes a decision into the log, if there is one.
    pub(super) fn tell(&mut self, now: Instant, media_time: i64, action: Action, amount: i64) {
        if self.log.is_on() {
            self.log.push(Decision {
                at: now,
                media_time,
                action,
                amount: duration(amount),
                level: duration(self.level(now, media_time)),
                target: duration(self.delays.target()),
            });
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let blocks = self.queue.iter().map(|e| e.place.blocks().len()).sum();
        assert_eq!(self.store.blocks_taken(), blocks);
        assert!(self.queue.iter().map(|e| e.media_time).is_sorted());
        assert!(self.queue.len() <= self.packets);
    }
}

/// How a packet lies to the stream.
enum Fit {
    Fits,
    Duplicate,
    Strange,
    Anew,
}

impl Stream {
    fn begin(packet: &Packet<'_>, clock: u32) -> Self {
        let timestamp = i64::from(packet.timestamp);
        let media_time = to_media(timestamp, clock);
        Self {
            clock,
            highest: i64::from(packet.sequence),
            seen: 0,
            timestamp,
            offset: 0,
            end: media_time,
            duration: 0,
            position: media_time,
            floor: i64::MIN,
            played: None,
            late: None,
            strange: None,
            begin_anew: false,
        }
    }

    /// Judges a packet by its numbers, changing nothing but the memory of strange ones.
    fn place(&mut self, packet: &Packet<'_>, clock: u32) -> Fit {
        let ahead = self.ahead(packet.sequence);
        if packet.redundant {
            return self.place_redundant(packet, clock);
        }
        if self.begin_anew {
            return Fit::Anew;
        }
        let off = self.media_time(self.extend_timestamp(packet.timestamp)) - self.position;
        let before = self.strange.take();
        let is_near = ahead.abs() <= STRANGE_SEQUENCE;
        if is_near && self.has_seen(self.highest + ahead) {
            return Fit::Duplicate;
        }
        if clock != self.clock {
            // An older one of the former format cannot be placed any more.
            return if ahead > 0 || !is_near {
                Fit::Anew
            } else {
                Fit::Strange
            };
        }
        if is_near && off.abs() <= STRANGE {
            return Fit::Fits;
        }
        // The next number in sequence proves that this is the same sender after a leap of its clock.
        if ahead == 1 {
            return Fit::Anew;
        }
        let confirmed = before.is_some_and(|(sequence, timestamp)| {
            let apart = packet.timestamp.wrapping_sub(timestamp) as i32;
            let apart = to_media(i64::from(apart), clock);
            packet.sequence == sequence.wrapping_add(1) && apart.abs() <= STRANGE
        });
        if confirmed {
            return Fit::Anew;
        }
        self.strange = Some((packet.sequence, packet.timestamp));
        Fit::Strange
    }

    /// A copy is of use only where its original is missing and its time is known.
    fn place_redundant(&self, packet: &Packet<'_>, clock: u32) -> Fit {
        let ahead = self.ahead(packet.sequence);
        let off = self.media_time(self.extend_timestamp(packet.timestamp)) - self.position;
        let is_known = clock == self.clock && ahead.abs() < 128 && off.abs() <= STRANGE;
        if !is_known || self.begin_anew || self.has_seen(self.highest + ahead) {
            return Fit::Duplicate;
        }
        Fit::Fits
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

    /// Maps the packet's timestamps behind what has been received.
    fn join(&mut self, packet: &Packet<'_>, clock: u32) {
        let ahead = self.ahead(packet.sequence);
        // Those lost before it take their time, where it is the same source.
        let missed = match self.begin_anew {
            false if (2..10).contains(&ahead) => (ahead - 1) * self.duration,
            _ => 0,
        };
        if self.begin_anew || !(1..10).contains(&ahead) {
            self.seen = 0;
            self.highest = i64::from(packet.sequence);
            self.played = None;
        }
        self.begin_anew = false;
        self.late = None;
        self.clock = clock;
        self.timestamp = i64::from(packet.timestamp);
        // What had been made up before this came is no part of the new stream.
        let media_time = self.end.max(self.floor) + missed;
        self.offset = 0;
        self.offset = media_time - self.media_time(self.timestamp);
    }

    /// Puts the present packet, which has this media time, behind all that has been played; returns its
    /// new media time.
    fn shift(&mut self, media_time: i64) -> i64 {
        let to = self.position.max(self.end);
        self.offset += to - media_time;
        to
    }

    /// Notes the packet's numbers; returns the extended sequence number and the media time.
    fn receive(&mut self, packet: &Packet<'_>) -> (i64, i64) {
        let sequence = self.note(packet.sequence);
        let timestamp = self.extend_timestamp(packet.timestamp);
        self.timestamp = self.timestamp.max(timestamp);
        (sequence, self.media_time(timestamp))
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

    fn media_time(&self, timestamp: i64) -> i64 {
        to_media(timestamp, self.clock) + self.offset
    }

    /// Whether a late packet shows that the delay has changed for good: nothing but late packets
    /// for a while, or the beginning of a new talk spurt after silence.
    fn is_lasting_lateness(&mut self, now: Instant, begins_talk_spurt: bool) -> bool {
        let (since, packets) = self.late.unwrap_or((now, 0));
        let packets = packets + 1;
        let lasting = packets >= 3 && now - since >= LATE_SPAN;
        if lasting || begins_talk_spurt {
            self.late = None;
            return true;
        }
        self.late = Some((since, packets));
        false
    }
}

/// The local clock in ticks of media time.
fn clock(now: Instant) -> i64 {
    (now.as_nanos() / 62_500 * 3 + now.as_nanos() % 62_500 * 3 / 62_500) as i64
}

fn to_media(timestamp: i64, clock: u32) -> i64 {
    let clock = i64::from(clock.max(1));
    let media = i64::from(MEDIA_CLOCK);
    if media % clock == 0 {
        return timestamp * (media / clock);
    }
    // In two parts, so that no product leaves 64 bits.
    timestamp.div_euclid(clock) * media + timestamp.rem_euclid(clock) * media / clock
}
