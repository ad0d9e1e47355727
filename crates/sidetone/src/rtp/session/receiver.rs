//! The receiving half of an RTP session: which packets count, where they belong, how they fared.

use thiserror::Error;

use crate::rtp::burst::{BurstMeter, Bursts};
use crate::rtp::packet::View;
use crate::rtp::rtcp::ReportBlock;
use crate::rtp::session::sender::{ticks_in, ticks_to_time};
use crate::rtp::stats::ReceiveStats;
use crate::time::{Duration, Instant};

/// A jump forward of this many sequence numbers or more is a restart (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// A step back of fewer than this many is reordering (RFC 3550 appendix A.1).
const MAX_MISORDER: u16 = 100;
/// Sequence numbers remembered to tell a duplicate; not below [`MAX_MISORDER`].
const HISTORY: u64 = 128;
/// A packet that has not come when this many later ones have counts as lost for the burst figures.
const OVERDUE: u64 = 16;
/// Numbers may run ahead by one for each so much time, besides [`MAX_MISORDER`]: no sender makes
/// shorter packets. What runs further is a jump, or forged.
const SHORTEST_PACKET: Duration = Duration::from_millis(5);
/// The longest packet believed, 200 ms at 48 kHz.
const LONGEST_PACKET_TICKS: u64 = 9_600;
/// How long a restart announced by signalling may take to show.
const EXPECTED_CHANGE: Duration = Duration::from_secs(2);

/// How a [`Receiver`] judges packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Ticks a second of the stream's clock: 8000 for G.711 and, by RFC 3551 §4.5.2, G.722.
    pub clock_rate: u32,
    /// Packets in sequence that confirm the stream's first SSRC (RFC 3550 appendix A.1). It is
    /// taken from its first packet on; until it is confirmed, another that is confirmed sooner
    /// takes its place. Default 2.
    pub probation: u32,
    /// Packets in sequence before another SSRC replaces a confirmed one. Default 3.
    pub change_probation: u32,
    /// How long the stream's SSRC must have been silent before another, or its own numbers from
    /// elsewhere, can replace it. Default 100 ms: an outsider who forges the source address cannot
    /// talk over a living stream.
    pub change_silence: Duration,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            clock_rate: 8000,
            probation: 2,
            change_probation: 3,
            change_silence: Duration::from_millis(100),
        }
    }
}

/// Where a packet that was taken belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number extended to 64 bits; grows by one a packet across wraps.
    pub sequence: u64,
    /// Timestamp extended to 64 bits; runs on across wraps.
    pub timestamp: u64,
    /// A stream began or began anew with this packet: both numbers are far ahead of those before,
    /// and their distance to them means nothing.
    pub restarted: bool,
}

/// Why a packet was not taken. Drop it; the counters of [`ReceiveStats`] tell the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The payload type was not negotiated.
    #[error("payload type was not negotiated")]
    PayloadType,
    /// Its SSRC or sequence is on probation.
    #[error("source is on probation")]
    Probation,
    /// Its SSRC is not the stream's, which is alive.
    #[error("SSRC is not the stream's")]
    Ssrc,
    /// Its sequence number jumped impossibly.
    #[error("sequence number is out of range")]
    Sequence,
    /// It was received before.
    #[error("packet is a duplicate")]
    Duplicate,
    /// It carries our own SSRC: a collision or a loop (RFC 3550 §8.2).
    #[error("packet carries our own SSRC")]
    Collision,
}

/// Judges the packets of one received stream (RFC 3550 appendix A.1, A.3, A.8).
///
/// Packets should come from the stream's source already, by
/// [`SourceLock`](crate::rtp::source::SourceLock). No allocation.
///
/// ```
/// use sidetone::rtp::packet::{HEADER_LEN, Header, View};
/// use sidetone::rtp::session::receiver::{Receiver, ReceiverConfig};
/// use sidetone::time::Instant;
///
/// let mut receiver = Receiver::new(ReceiverConfig { probation: 1, ..Default::default() });
/// let header = Header { payload_type: 0, sequence: 7, timestamp: 160, ssrc: 1, marker: true };
/// let mut packet = [0u8; HEADER_LEN + 160];
/// header.emit(&mut packet);
/// let view = View::parse(&packet).expect("valid");
/// assert!(receiver.handle_packet(Instant::ZERO, &view).is_ok());
/// assert!(receiver.handle_packet(Instant::ZERO, &view).is_err(), "a duplicate");
/// ```
#[derive(Debug, Clone)]
pub struct Receiver {
    config: ReceiverConfig,
    payload_types: u128,
    /// The clock rate of each payload type; zero where it is that of the configuration.
    clocks: Box<[u32; 128]>,
    source: Option<Source>,
    candidate: Option<Candidate>,
    change_expected: Option<Expected>,
    stats: ReceiveStats,
    bursts: BurstMeter,
}

/// A restart that was announced.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// By signalling, at this time.
    Signalled(Instant),
    /// By the source's goodbye, which counts for nothing where the source goes on.
    Goodbye(Instant),
}

/// The stream's present SSRC.
#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// Extended sequence number from which loss counts.
    base: u64,
    highest: u64,
    /// Bit n tells whether `highest - n` was received.
    history: u128,
    /// Bit n tells whether `highest - n` was received and not played.
    discarded: u128,
    /// Packets since it was admitted, until [`ReceiverConfig::probation`] of them confirm it.
    confirmations: u32,
    received: u64,
    expected_before: u64,
    received_before: u64,
    timestamp: u64,
    /// Timestamp and transit time of the packet measured last.
    measured: Option<(u32, u32)>,
    /// Jitter in ticks, times 16 (appendix A.8).
    jitter: u32,
    /// Ticks between the last two packets that followed each other.
    packet_ticks: u32,
    heard: Instant,
}

/// An SSRC on probation.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    ssrc: u32,
    next_sequence: u16,
    count: u32,
}

impl Receiver {
    /// A receiver that takes every payload type.
    pub fn new(config: ReceiverConfig) -> Self {
        Self {
            config,
            payload_types: u128::MAX,
            clocks: Box::new([0; 128]),
            source: None,
            candidate: None,
            change_expected: None,
            stats: ReceiveStats::default(),
            bursts: BurstMeter::default(),
        }
    }

    /// Takes only these payload types from now on, each with its clock rate: the peer may change
    /// among them at any packet (RFC 7160 §4.1).
    pub fn set_payload_types(&mut self, payload_types: impl IntoIterator<Item = (u8, u32)>) {
        self.payload_types = 0;
        for (payload_type, clock_rate) in payload_types {
            if let Some(clock) = self.clocks.get_mut(usize::from(payload_type)) {
                *clock = clock_rate;
                self.payload_types |= 1 << payload_type;
            }
        }
    }

    /// Goes on with a codec of another clock rate, until a packet's payload type has another. Jitter
    /// is brought to its ticks.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        let before = self.config.clock_rate;
        if before == clock_rate {
            return;
        }
        self.config.clock_rate = clock_rate;
        if let Some(source) = &mut self.source {
            let ticks = |old: u32| {
                let new = u64::from(old) * u64::from(clock_rate) / u64::from(before.max(1));
                u32::try_from(new).unwrap_or(u32::MAX)
            };
            source.measured = None;
            source.jitter = ticks(source.jitter);
            source.packet_ticks = ticks(source.packet_ticks);
        }
    }

    /// Ticks a second of the clock of the packet taken last.
    pub fn clock_rate(&self) -> u32 {
        self.config.clock_rate
    }

    /// Signalling has announced that the peer's stream may begin anew (a re-INVITE, a transfer):
    /// for two seconds another SSRC, or other numbers, are taken with their first packet.
    pub fn expect_change(&mut self, now: Instant) {
        self.change_expected = Some(Expected::Signalled(now));
    }

    /// The packet that was taken with this extended number came too late to be played, or was left
    /// out: it counts as lost in [`Receiver::bursts`].
    pub fn discard(&mut self, sequence: u64) {
        self.stats.discarded += 1;
        if let Some(source) = &mut self.source
            && let Some(behind) = source.highest.checked_sub(sequence)
            && behind < HISTORY
        {
            source.discarded |= 1 << behind;
        }
    }

    /// Judges a packet.
    ///
    /// # Errors
    /// [`Refusal`]: the packet does not belong to the stream. Drop it; it is counted.
    #[inline]
    pub fn handle_packet(&mut self, now: Instant, packet: &View<'_>) -> Result<Position, Refusal> {
        if self.payload_types >> packet.payload_type() & 1 == 0 {
            self.stats.wrong_payload_type += 1;
            return Err(Refusal::PayloadType);
        }
        let position = match &mut self.source {
            Some(source) if source.ssrc == packet.ssrc() => {
                match source.place(now, packet, &mut self.stats, &mut self.bursts)? {
                    Some(position) => position,
                    None => self.restart(now, packet)?,
                }
            }
            _ => self.admit(now, packet)?,
        };
        self.candidate = None;
        if let Some(Expected::Goodbye(_)) = self.change_expected {
            self.change_expected = None;
        }
        self.record(now, packet);
        Ok(position)
    }

    /// The SSRC of the stream, once one has passed probation.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.map(|source| source.ssrc)
    }

    /// SSRC and sequence number of the packet that comes next in order.
    pub(crate) fn next(&self) -> Option<(u32, u16)> {
        let source = self.source.as_ref()?;
        Some((source.ssrc, (source.highest as u16).wrapping_add(1)))
    }

    /// When the last packet was taken.
    pub fn last_received(&self) -> Option<Instant> {
        self.source.map(|source| source.heard)
    }

    /// How what was lost or discarded clusters, over all SSRCs. Packets count when they are
    /// overdue: sixteen later ones have come.
    pub fn bursts(&self) -> Bursts {
        self.bursts.bursts()
    }

    /// How long a packet of the peer lasts, from the last two that followed each other.
    pub fn packet_time(&self) -> Duration {
        let ticks = self.source.map_or(0, |source| source.packet_ticks);
        ticks_to_time(ticks, self.config.clock_rate)
    }

    /// Counters since construction.
    pub fn stats(&self) -> ReceiveStats {
        let mut stats = self.stats;
        if let Some(source) = &self.source {
            stats.lost += source.lost().max(0) as u64;
            stats.jitter_ticks = source.jitter >> 4;
            stats.jitter = ticks_to_time(stats.jitter_ticks, self.config.clock_rate);
        }
        stats
    }

    /// The report block on this stream, which begins a new reporting interval; `None` where
    /// nothing was received in the last one (RFC 3550 §6.4). The caller adds the times of the
    /// last sender report.
    pub fn report(&mut self) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        if source.received == source.received_before {
            return None;
        }
        let expected = source.expected() - source.expected_before;
        let received = source.received - source.received_before;
        source.expected_before = source.expected();
        source.received_before = source.received;
        let lost = expected.saturating_sub(received);
        let fraction_lost = (lost << 8).checked_div(expected).unwrap_or(0);
        self.stats.fraction_lost = fraction_lost.min(255) as u8;
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: self.stats.fraction_lost,
            lost: source.lost().clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: source.highest as u32,
            jitter: source.jitter >> 4,
            last_sender_report: 0,
            delay: 0,
        })
    }

    /// The source has said goodbye: another may follow at once, unless it goes on itself.
    pub fn handle_goodbye(&mut self, now: Instant, ssrc: u32) {
        if self.ssrc() == Some(ssrc) {
            self.change_expected = Some(Expected::Goodbye(now));
        }
    }

    /// Another SSRC than the stream's: on probation, and only where the stream's has fallen silent
    /// or is not confirmed itself.
    #[cold]
    fn admit(&mut self, now: Instant, packet: &View<'_>) -> Result<Position, Refusal> {
        let needed = match self.source {
            None => 1,
            Some(_) if self.is_change_announced(now) => 1,
            Some(source) if source.confirmations < self.config.probation => self.config.probation,
            Some(source) => {
                let silence = now.saturating_duration_since(source.heard);
                if silence < self.config.change_silence {
                    self.candidate = None;
                    self.stats.wrong_ssrc += 1;
                    return Err(Refusal::Ssrc);
                }
                self.config.change_probation
            }
        };
        let count = self.count_candidate(packet);
        if count < needed {
            self.stats.invalid += 1;
            return Err(Refusal::Probation);
        }
        self.change_expected = None;
        Ok(self.replace_source(now, packet, count))
    }

    /// The stream's SSRC with numbers from elsewhere: its sender has restarted (appendix A.1), or
    /// somebody forges. Taken where it was announced, else the second in sequence, and only where
    /// the old numbers have fallen silent.
    #[cold]
    fn restart(&mut self, now: Instant, packet: &View<'_>) -> Result<Position, Refusal> {
        let announced = self.is_change_announced(now);
        let count = self.count_candidate(packet);
        let silent = self.source.is_none_or(|source| {
            now.saturating_duration_since(source.heard) >= self.config.change_silence
        });
        if !announced && (count < 2 || !silent) {
            match self.source.map(|source| source.behind(packet)) {
                Some(..MAX_DROPOUT) => self.stats.late += 1,
                _ => self.stats.invalid += 1,
            }
            return Err(Refusal::Sequence);
        }
        self.change_expected = None;
        Ok(self.replace_source(now, packet, count))
    }

    fn is_change_announced(&self, now: Instant) -> bool {
        self.change_expected.is_some_and(|expected| {
            let (Expected::Signalled(at) | Expected::Goodbye(at)) = expected;
            now.saturating_duration_since(at) <= EXPECTED_CHANGE
        })
    }

    fn count_candidate(&mut self, packet: &View<'_>) -> u32 {
        let (ssrc, sequence) = (packet.ssrc(), packet.sequence());
        let count = match self.candidate {
            Some(held) if held.ssrc == ssrc && held.next_sequence == sequence => {
                held.count.saturating_add(1)
            }
            _ => 1,
        };
        self.candidate = Some(Candidate {
            ssrc,
            next_sequence: sequence.wrapping_add(1),
            count,
        });
        count
    }

    fn replace_source(&mut self, now: Instant, packet: &View<'_>, count: u32) -> Position {
        let position = Source::first_position(packet, self.source.as_ref());
        let mut source = Source::new(now, packet.ssrc(), position);
        source.confirmations = count;
        if let Some(old) = self.source {
            old.tell_overdue(OVERDUE, &mut self.bursts);
            self.stats.lost += old.lost().max(0) as u64;
            self.stats.restarts += 1;
            source.packet_ticks = old.packet_ticks;
            // An SSRC that had to pass a trial, or was announced, is no longer on one.
            source.confirmations = self.config.probation;
        }
        self.source = Some(source);
        position
    }

    fn record(&mut self, now: Instant, packet: &View<'_>) {
        self.stats.packets += 1;
        self.stats.bytes += packet.payload().len() as u64;
        let rate = match self.clocks[usize::from(packet.payload_type() & 0x7F)] {
            0 => self.config.clock_rate,
            rate => rate,
        };
        self.set_clock_rate(rate);
        if let Some(source) = &mut self.source {
            source.heard = now;
            source.measure(now, packet.timestamp(), rate);
        }
    }
}

impl Source {
    fn new(now: Instant, ssrc: u32, first: Position) -> Self {
        Self {
            ssrc,
            base: first.sequence,
            highest: first.sequence,
            history: 1,
            discarded: 0,
            confirmations: 1,
            received: 1,
            expected_before: 0,
            received_before: 0,
            timestamp: first.timestamp,
            measured: None,
            jitter: 0,
            packet_ticks: 0,
            heard: now,
        }
    }

    /// Where a stream begins: beyond all of the one before, so that whoever compares positions
    /// never takes a new packet for an old one; and with room below for packets that were
    /// overtaken by the first. The lower 32 bits begin at the packet's own numbers.
    fn first_position(packet: &View<'_>, before: Option<&Self>) -> Position {
        let epoch = |last: u64| (last >> 32).wrapping_add(2) << 32;
        Position {
            sequence: epoch(before.map_or(0, |old| old.highest)) | u64::from(packet.sequence()),
            timestamp: epoch(before.map_or(1 << 48, |old| old.timestamp))
                | u64::from(packet.timestamp()),
            restarted: true,
        }
    }

    /// Finds the packet's place; `None` where its number is too far from the others.
    #[inline]
    fn place(
        &mut self,
        now: Instant,
        packet: &View<'_>,
        stats: &mut ReceiveStats,
        bursts: &mut BurstMeter,
    ) -> Result<Option<Position>, Refusal> {
        let behind = self.behind(packet);
        let ahead = behind.wrapping_neg();
        if ahead == 1 || (ahead != 0 && ahead < self.furthest(now)) {
            return Ok(Some(self.advance(u64::from(ahead), packet, bursts)));
        }
        if behind < MAX_MISORDER {
            return self.fill_in(u64::from(behind), packet, stats).map(Some);
        }
        Ok(None)
    }

    /// How many numbers the packet is behind the highest.
    #[inline]
    fn behind(&self, packet: &View<'_>) -> u16 {
        (self.highest as u16).wrapping_sub(packet.sequence())
    }

    /// How far the numbers can have run ahead since the last packet: no lost burst is longer than
    /// the time allows.
    fn furthest(&self, now: Instant) -> u16 {
        let silence = now.saturating_duration_since(self.heard).as_millis();
        let most = silence / SHORTEST_PACKET.as_millis() + u128::from(MAX_MISORDER);
        u16::try_from(most).map_or(MAX_DROPOUT, |most| most.min(MAX_DROPOUT))
    }

    fn advance(&mut self, ahead: u64, packet: &View<'_>, bursts: &mut BurstMeter) -> Position {
        self.tell_overdue(ahead, bursts);
        self.highest += ahead;
        let shift = |mask: u128| if ahead < HISTORY { mask << ahead } else { 0 };
        self.history = shift(self.history) | 1;
        self.discarded = shift(self.discarded);
        self.received += 1;
        let timestamp = self.extend(packet.timestamp());
        if ahead == 1 {
            self.confirmations = self.confirmations.saturating_add(1);
            let step = timestamp.saturating_sub(self.timestamp);
            // Not what silence or an event between them adds.
            if matches!(step, 1..=LONGEST_PACKET_TICKS) {
                self.packet_ticks = step as u32;
            }
        }
        self.timestamp = timestamp;
        Position {
            sequence: self.highest,
            timestamp: self.timestamp,
            restarted: false,
        }
    }

    /// Tells the packets that become overdue when the highest number grows by `ahead`.
    #[inline]
    fn tell_overdue(&self, ahead: u64, bursts: &mut BurstMeter) {
        // Ages of the packets in question before the step: OVERDUE - 1 down to OVERDUE - ahead,
        // those below zero being numbers that never came.
        let known = ahead.min(OVERDUE);
        for age in (OVERDUE - known..OVERDUE).rev() {
            if self.highest - self.base < age {
                continue;
            }
            match (self.history & !self.discarded) >> age & 1 {
                1 => bursts.received(1),
                _ => bursts.lost(1),
            }
        }
        bursts.lost(ahead - known);
    }

    fn fill_in(
        &mut self,
        behind: u64,
        packet: &View<'_>,
        stats: &mut ReceiveStats,
    ) -> Result<Position, Refusal> {
        let bit = 1u128 << behind;
        if self.history & bit != 0 {
            stats.duplicates += 1;
            return Err(Refusal::Duplicate);
        }
        self.history |= bit;
        self.received += 1;
        stats.out_of_order += 1;
        let sequence = self.highest - behind;
        // Overtaken by the stream's very first packet: loss counts from here.
        self.base = self.base.min(sequence);
        Ok(Position {
            sequence,
            timestamp: self.extend(packet.timestamp()),
            restarted: false,
        })
    }

    fn extend(&self, timestamp: u32) -> u64 {
        let step = timestamp.wrapping_sub(self.timestamp as u32) as i32;
        self.timestamp.saturating_add_signed(i64::from(step))
    }

    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// Inter-arrival jitter (appendix A.8). Packets that share a timestamp, as those of one event
    /// do, were not sampled at different times and say nothing about it.
    fn measure(&mut self, now: Instant, timestamp: u32, rate: u32) {
        let arrival = ticks_in(Duration::from_nanos(now.as_nanos()), rate);
        let transit = arrival.wrapping_sub(timestamp);
        let Some((last, before)) = self.measured else {
            self.measured = Some((timestamp, transit));
            return;
        };
        if last == timestamp {
            return;
        }
        self.measured = Some((timestamp, transit));
        let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
        // A change this large is a new media clock, not jitter.
        if difference > rate.saturating_mul(10) {
            return;
        }
        let correction = (self.jitter + 8) >> 4;
        self.jitter = (self.jitter + difference).saturating_sub(correction);
    }
}

#[cfg(test)]
mod tests;
