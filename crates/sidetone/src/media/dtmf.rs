//! DTMF digits by RFC 4733: the sending and the receiving machine.

pub mod detect;
pub mod press;

use std::fmt;

use thiserror::Error;

use crate::rtp::event::{EVENT_LEN, TelephoneEvent};
use crate::rtp::session::receiver::Position;
use crate::time::{Duration, Instant};

/// Digits that wait in a [`DtmfSender`] at most.
pub const QUEUE_LEN: usize = 32;
/// Shortest key press sent: shorter ones are missed by detectors (ITU-T Q.24).
pub const MIN_PRESS: Duration = Duration::from_millis(40);
/// Longest key press sent.
pub const MAX_PRESS: Duration = Duration::from_secs(30);

/// How often the last report of an event is sent (RFC 4733 §2.5.1.4).
const END_REPORTS: u8 = 3;
const NAMES: &[u8; 17] = b"0123456789*#ABCD!";

/// A DTMF digit, or the hook flash: events 0 to 16 of RFC 4733 §3.2.
///
/// ```
/// use sidetone::media::dtmf::Digit;
/// let star = Digit::from_char('*').expect("a digit");
/// assert_eq!((star.event(), star.to_string()), (10, "*".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(u8);

impl Digit {
    /// The hook flash, event 16, written `!`.
    pub const FLASH: Self = Self(16);

    /// The digit of an event code, `None` above 16.
    pub const fn from_event(event: u8) -> Option<Self> {
        if event <= 16 { Some(Self(event)) } else { None }
    }

    /// The digit written as `0` to `9`, `*`, `#`, `A` to `D` or `a` to `d`, and `!` for the flash.
    pub fn from_char(name: char) -> Option<Self> {
        let name = u8::try_from(name).ok()?.to_ascii_uppercase();
        let event = NAMES.iter().position(|known| *known == name)?;
        Some(Self(event as u8))
    }

    /// The event code.
    pub const fn event(self) -> u8 {
        self.0
    }

    /// The digit as written; see [`Digit::from_char`].
    pub fn to_char(self) -> char {
        char::from(NAMES[usize::from(self.0)])
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_char())
    }
}

/// The queue of a [`DtmfSender`] has no room; send again when it has drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the queue of digits is full")]
pub struct QueueFull;

/// How a [`DtmfSender`] sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfSenderConfig {
    /// Ticks a second of the negotiated telephone-event format. Default 8000.
    pub clock_rate: u32,
    /// Time between two calls of [`DtmfSender::tick`]. Default 20 ms.
    pub ptime: Duration,
    /// Silence of events between two digits, rounded up to whole ticks. Default 60 ms; the
    /// repeated end reports come out of it.
    pub gap: Duration,
    /// Power sent, in −dBm0, 0 to 63. Default 10.
    pub volume: u8,
}

impl Default for DtmfSenderConfig {
    fn default() -> Self {
        Self {
            clock_rate: 8000,
            ptime: Duration::from_millis(20),
            gap: Duration::from_millis(60),
            volume: 10,
        }
    }
}

/// What to send in one packet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendTick {
    /// Audio as ever.
    Audio,
    /// This report in place of audio.
    Event {
        /// The RTP timestamp: when the event, or this segment of it, began.
        timestamp: u32,
        /// The marker bit: the event begins.
        marker: bool,
        /// The payload.
        payload: [u8; EVENT_LEN],
    },
}

/// Sends queued digits as telephone events (RFC 4733 §2.5.1).
///
/// Once a packet time, [`DtmfSender::tick`] says whether to send audio or a report. After a report
/// the RTP timestamp runs on as if audio had been sent
/// ([`Sender::skip`](crate::rtp::session::sender::Sender::skip)). No allocation.
///
/// ```
/// use sidetone::media::dtmf::{Digit, DtmfSender, SendTick};
/// use sidetone::time::Duration;
///
/// let mut dtmf = DtmfSender::new(Default::default());
/// dtmf.press(Digit::from_char('5').expect("a digit"), Duration::from_millis(100))?;
/// assert!(matches!(dtmf.tick(160), SendTick::Event { timestamp: 160, marker: true, .. }));
/// assert!(matches!(dtmf.tick(320), SendTick::Event { timestamp: 160, marker: false, .. }));
/// # Ok::<(), sidetone::media::dtmf::QueueFull>(())
/// ```
#[derive(Debug, Clone)]
pub struct DtmfSender {
    config: DtmfSenderConfig,
    queue: [(Digit, Duration); QUEUE_LEN],
    first: usize,
    len: usize,
    state: Sending,
}

#[derive(Debug, Clone, Copy)]
enum Sending {
    Idle,
    /// `left` more reports follow, the last of them with the end bit.
    Press {
        digit: Digit,
        left: u32,
        /// When the present segment began, and how long it is.
        segment: u32,
        covered: u16,
        began: bool,
    },
    /// The end report is repeated.
    End {
        timestamp: u32,
        payload: [u8; EVENT_LEN],
        left: u8,
        gap: u32,
    },
    Gap {
        left: u32,
    },
}

impl DtmfSender {
    /// A sender with nothing queued.
    pub fn new(config: DtmfSenderConfig) -> Self {
        Self {
            config,
            queue: [(Digit(0), Duration::ZERO); QUEUE_LEN],
            first: 0,
            len: 0,
            state: Sending::Idle,
        }
    }

    /// Queues a key press of `duration`, kept within [`MIN_PRESS`] and [`MAX_PRESS`] and rounded
    /// up to whole packets.
    ///
    /// # Errors
    /// [`QueueFull`] where [`QUEUE_LEN`] digits wait.
    pub fn press(&mut self, digit: Digit, duration: Duration) -> Result<(), QueueFull> {
        if self.len == QUEUE_LEN {
            return Err(QueueFull);
        }
        let at = (self.first + self.len) % QUEUE_LEN;
        self.queue[at] = (digit, duration.clamp(MIN_PRESS, MAX_PRESS));
        self.len += 1;
        Ok(())
    }

    /// Drops what is queued; a digit that is being sent ends with its next report.
    pub fn clear(&mut self) {
        self.len = 0;
        if let Sending::Press { left, .. } = &mut self.state {
            *left = 1;
        }
    }

    /// Goes on with another negotiated clock rate. An event that is being sent keeps its length.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        let before = u64::from(self.config.clock_rate.max(1));
        self.config.clock_rate = clock_rate;
        if let Sending::Press { covered, .. } = &mut self.state {
            let ticks = u64::from(*covered) * u64::from(clock_rate) / before;
            *covered = u16::try_from(ticks).unwrap_or(u16::MAX);
        }
    }

    /// Whether nothing is queued or being sent.
    pub fn is_idle(&self) -> bool {
        self.len == 0 && matches!(self.state, Sending::Idle)
    }

    /// What to send in the packet time that begins at the stream's `timestamp`.
    pub fn tick(&mut self, timestamp: u32) -> SendTick {
        if let Sending::Idle = self.state {
            self.state = self.next_press();
        }
        match self.state {
            Sending::Idle => SendTick::Audio,
            Sending::Press { .. } => self.report(timestamp),
            Sending::End {
                timestamp,
                payload,
                left,
                gap,
            } => {
                self.state = match left {
                    0 | 1 => gap_of(gap),
                    _ => Sending::End {
                        timestamp,
                        payload,
                        left: left - 1,
                        gap,
                    },
                };
                SendTick::Event {
                    timestamp,
                    marker: false,
                    payload,
                }
            }
            Sending::Gap { left } => {
                self.state = gap_of(left - 1);
                SendTick::Audio
            }
        }
    }

    fn next_press(&mut self) -> Sending {
        if self.len == 0 {
            return Sending::Idle;
        }
        let (digit, duration) = self.queue[self.first];
        self.first = (self.first + 1) % QUEUE_LEN;
        self.len -= 1;
        Sending::Press {
            digit,
            left: self.packets_in(duration).max(1),
            segment: 0,
            covered: 0,
            began: false,
        }
    }

    /// One report on the key that is held: its duration runs to the end of this packet time.
    fn report(&mut self, timestamp: u32) -> SendTick {
        let Sending::Press {
            digit,
            left,
            mut segment,
            mut covered,
            began,
        } = self.state
        else {
            return SendTick::Audio;
        };
        let step = self.step();
        match covered.checked_add(step) {
            Some(sum) if began => covered = sum,
            // The event begins, or its duration would overflow and a new segment begins, without a
            // marker (RFC 4733 §2.5.1.3).
            _ => (segment, covered) = (timestamp, step),
        }
        let event = TelephoneEvent {
            event: digit.event(),
            end: left <= 1,
            volume: self.config.volume,
            duration: covered,
        };
        let payload = event.emit();
        self.state = if event.end {
            let repeats = END_REPORTS - 1;
            let gap = self.packets_in(self.config.gap);
            Sending::End {
                timestamp: segment,
                payload,
                left: repeats,
                gap: gap.saturating_sub(u32::from(repeats)),
            }
        } else {
            Sending::Press {
                digit,
                left: left - 1,
                segment,
                covered,
                began: true,
            }
        };
        SendTick::Event {
            timestamp: segment,
            marker: !began,
            payload,
        }
    }

    fn packets_in(&self, time: Duration) -> u32 {
        let ptime = self.config.ptime.as_nanos().max(1);
        u32::try_from(time.as_nanos().div_ceil(ptime)).unwrap_or(u32::MAX)
    }

    /// Ticks of one packet time.
    fn step(&self) -> u16 {
        let ticks = self.config.ptime.as_nanos() * u128::from(self.config.clock_rate);
        u16::try_from(ticks / 1_000_000_000).unwrap_or(u16::MAX)
    }
}

fn gap_of(left: u32) -> Sending {
    match left {
        0 => Sending::Idle,
        left => Sending::Gap { left },
    }
}

/// How a [`DtmfReceiver`] listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfReceiverConfig {
    /// Ticks a second of the negotiated telephone-event format. Default 8000.
    pub clock_rate: u32,
    /// A key counts as released when its reports have stopped for this long. Default 100 ms.
    pub silence: Duration,
}

impl Default for DtmfReceiverConfig {
    fn default() -> Self {
        Self {
            clock_rate: 8000,
            silence: Duration::from_millis(100),
        }
    }
}

/// What the other party did with its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtmfEvent {
    /// A key went down.
    Started {
        /// Which.
        digit: Digit,
    },
    /// The key went up: told once for each [`DtmfEvent::Started`].
    Ended {
        /// Which.
        digit: Digit,
        /// How long it was down, as far as reports came.
        duration: Duration,
    },
}

/// Counters of a [`DtmfReceiver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DtmfStats {
    /// Key presses told.
    pub digits: u64,
    /// Reports that repeated what was known or came too late.
    pub repeated: u64,
    /// Reports of events that are no digits, and payloads too short.
    pub ignored: u64,
    /// Key presses whose end was lost: ended by silence or by the next key.
    pub ends_lost: u64,
    /// Key presses of which no report before the end came.
    pub starts_lost: u64,
    /// Key presses whose reports counted on another clock than was negotiated.
    pub odd_clocks: u64,
    /// Events lost because nobody polled.
    pub unread: u64,
}

/// Recognises key presses in received telephone events (RFC 4733 §2.5.2).
///
/// Tells each press once, whatever the sender and the network do: an event is known by its
/// timestamp, so that repeated ends, missing or repeated markers, lost starts and lost ends, and
/// reordered reports do no harm. Senders that let the timestamp run within an event, or count
/// durations on another clock, are understood. Volume does not count. No allocation.
///
/// After each [`DtmfReceiver::handle_report`] and [`DtmfReceiver::handle_timeout`], call
/// [`DtmfReceiver::poll_event`] until `None`.
///
/// ```
/// use sidetone::media::dtmf::{Digit, DtmfEvent, DtmfReceiver};
/// use sidetone::rtp::session::receiver::Position;
/// use sidetone::time::Instant;
///
/// let mut dtmf = DtmfReceiver::new(Default::default());
/// let position = Position { sequence: 1, timestamp: 160, restarted: false };
/// dtmf.handle_report(Instant::ZERO, position, true, &[5, 10, 0, 160]);
/// let digit = Digit::from_char('5').expect("a digit");
/// assert_eq!(dtmf.poll_event(), Some(DtmfEvent::Started { digit }));
/// ```
#[derive(Debug, Clone)]
pub struct DtmfReceiver {
    config: DtmfReceiverConfig,
    active: Option<Press>,
    /// The press told last, by which its late reports are known.
    ended: Option<EndedPress>,
    events: [Option<DtmfEvent>; 4],
    stats: DtmfStats,
}

/// A key that is down.
#[derive(Debug, Clone, Copy)]
struct Press {
    digit: Digit,
    /// Highest sequence number of its reports.
    sequence: u64,
    /// Timestamp of the present segment.
    segment: u64,
    /// Longest duration reported of the segment, and the sum of those before it.
    covered: u16,
    before: u64,
    began: Instant,
    heard: Instant,
    /// Ticks covered by the first report, and when the coverage last grew.
    first: u64,
    grew: Instant,
}

impl Press {
    fn ticks(&self) -> u64 {
        self.before + u64::from(self.covered)
    }
}

#[derive(Debug, Clone, Copy)]
struct EndedPress {
    digit: Digit,
    sequence: u64,
    segment: u64,
    covered: u16,
    at: Instant,
    end_lost: bool,
}

/// A report about a digit, and how it came.
struct Arrival {
    now: Instant,
    position: Position,
    marker: bool,
    digit: Digit,
    report: TelephoneEvent,
}

/// What a report means for a press that is known.
enum Relation {
    /// It is about the same segment.
    Same,
    /// It continues the press in another segment.
    Continues,
    /// It is about something older.
    Older,
    /// It is about another press.
    Other,
}

impl DtmfReceiver {
    /// A receiver that has heard nothing.
    pub fn new(config: DtmfReceiverConfig) -> Self {
        Self {
            config,
            active: None,
            ended: None,
            events: [None; 4],
            stats: DtmfStats::default(),
        }
    }

    /// Goes on with another negotiated clock rate.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.config.clock_rate = clock_rate;
    }

    /// Takes the payload of a telephone-event packet at `position` in the stream.
    pub fn handle_report(
        &mut self,
        now: Instant,
        position: Position,
        marker: bool,
        payload: &[u8],
    ) {
        if position.restarted {
            self.release(now, true);
            self.ended = None;
        }
        let report = TelephoneEvent::parse(payload);
        let digit = report.and_then(|report| Digit::from_event(report.event));
        let (Some(report), Some(digit)) = (report, digit) else {
            self.stats.ignored += 1;
            return;
        };
        let arrival = Arrival {
            now,
            position,
            marker,
            digit,
            report,
        };
        match self.relation(&arrival) {
            Some(Relation::Same) => self.grow(&arrival),
            Some(Relation::Continues) => self.continue_segment(&arrival),
            Some(Relation::Older) => self.stats.repeated += 1,
            Some(Relation::Other) => {
                self.release(now, true);
                self.begin(&arrival);
            }
            None if self.is_repeat(&arrival) => self.stats.repeated += 1,
            None => self.begin(&arrival),
        }
    }

    /// Lets time pass: a key whose reports have stopped is released.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.release(now, true);
        }
    }

    /// When [`DtmfReceiver::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.active.map(|press| press.heard + self.config.silence)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<DtmfEvent> {
        let event = self.events[0].take()?;
        self.events.rotate_left(1);
        Some(event)
    }

    /// The key that is down.
    pub fn active(&self) -> Option<Digit> {
        self.active.map(|press| press.digit)
    }

    /// Counters since construction.
    pub fn stats(&self) -> DtmfStats {
        self.stats
    }

    /// How a report relates to the key that is down, if one is.
    fn relation(&self, arrival: &Arrival) -> Option<Relation> {
        let press = self.active?;
        let timestamp = arrival.position.timestamp;
        let newer = arrival.position.sequence > press.sequence;
        if timestamp < press.segment {
            // A sender whose clock went back begins its next event with a marker.
            let begins = newer && arrival.marker;
            return Some(if begins {
                Relation::Other
            } else {
                Relation::Older
            });
        }
        if press.digit != arrival.digit {
            return Some(Relation::Other);
        }
        if timestamp == press.segment {
            return Some(Relation::Same);
        }
        let continues = !arrival.marker && timestamp <= self.reach(press.segment, press.covered);
        // The next segment of a long event begins where the last ended (RFC 4733 §2.5.1.3).
        let long = press.covered >= 0x8000;
        // Some senders let the timestamp run within an event, and the duration with it or not.
        let runs = arrival.report.duration > press.covered
            || arrival.position.sequence == press.sequence + 1;
        if continues && (long || runs) {
            return Some(Relation::Continues);
        }
        Some(Relation::Other)
    }

    /// Whether a report while no key is down belongs to the press that was told last.
    fn is_repeat(&self, arrival: &Arrival) -> bool {
        let Some(ended) = self.ended else {
            return false;
        };
        let Arrival {
            now,
            position,
            report,
            ..
        } = *arrival;
        if position.timestamp <= ended.segment {
            // Some senders' clocks stand still or go back: then a marker after the end tells.
            let newer = position.sequence > ended.sequence && !ended.end_lost;
            return !(newer && arrival.marker && !report.end);
        }
        // Some senders move the timestamp on for the repeated ends.
        let recent = now.saturating_duration_since(ended.at) < self.config.silence;
        let ends_again = report.end && !arrival.marker && report.duration >= ended.covered;
        arrival.digit == ended.digit
            && ends_again
            && recent
            && position.timestamp <= self.reach(ended.segment, ended.covered)
    }

    /// The last timestamp that may still belong to a segment, reports being lost.
    fn reach(&self, segment: u64, covered: u16) -> u64 {
        segment + u64::from(covered) + u64::from(self.config.clock_rate) / 10
    }

    fn begin(&mut self, arrival: &Arrival) {
        let Arrival {
            now,
            position,
            digit,
            report,
            ..
        } = *arrival;
        self.stats.digits += 1;
        self.active = Some(Press {
            digit,
            sequence: position.sequence,
            segment: position.timestamp,
            covered: report.duration,
            before: 0,
            began: now,
            heard: now,
            first: u64::from(report.duration),
            grew: now,
        });
        self.push(DtmfEvent::Started { digit });
        if report.end {
            self.stats.starts_lost += 1;
            self.release(now, false);
        }
    }

    fn grow(&mut self, arrival: &Arrival) {
        let Arrival {
            now,
            position,
            report,
            ..
        } = *arrival;
        let Some(press) = &mut self.active else {
            return;
        };
        press.heard = now;
        press.sequence = press.sequence.max(position.sequence);
        if report.duration > press.covered {
            press.covered = report.duration;
            press.grew = now;
        } else if !report.end {
            self.stats.repeated += 1;
        }
        if report.end {
            self.release(now, false);
        }
    }

    fn continue_segment(&mut self, arrival: &Arrival) {
        let Some(press) = &mut self.active else {
            return;
        };
        let timestamp = arrival.position.timestamp;
        // Unless the duration still counts from the event's beginning, what lies between the
        // timestamps was held, whether or not it was reported.
        if arrival.report.duration <= press.covered {
            press.before += timestamp - press.segment;
            press.covered = 0;
        }
        press.segment = timestamp;
        self.grow(arrival);
    }

    fn release(&mut self, now: Instant, end_lost: bool) {
        let Some(press) = self.active.take() else {
            return;
        };
        self.stats.ends_lost += u64::from(end_lost);
        self.ended = Some(EndedPress {
            digit: press.digit,
            sequence: press.sequence,
            segment: press.segment,
            covered: press.covered,
            at: now,
            end_lost,
        });
        let duration = self.duration_of(&press);
        self.push(DtmfEvent::Ended {
            digit: press.digit,
            duration,
        });
    }

    /// The time that a press took by its own clock, or by a better guess of it where the reports
    /// came at quite another pace.
    fn duration_of(&mut self, press: &Press) -> Duration {
        const KNOWN: [u32; 5] = [8000, 16_000, 24_000, 32_000, 48_000];
        let negotiated = self.config.clock_rate.max(1);
        let grown = press.ticks().saturating_sub(press.first);
        let watched = press.grew.saturating_duration_since(press.began);
        let mut rate = negotiated;
        if watched >= MIN_PRESS && grown > 0 {
            let pace = grown as f64 / watched.as_secs_f64();
            let off = |rate: u32| (pace / f64::from(rate)).ln().abs();
            if off(negotiated) > 0.5 {
                let nearest = KNOWN.into_iter().min_by(|a, b| off(*a).total_cmp(&off(*b)));
                rate = nearest.unwrap_or(negotiated);
            }
        }
        self.stats.odd_clocks += u64::from(rate != negotiated);
        Duration::from_nanos(press.ticks().saturating_mul(1_000_000_000) / u64::from(rate))
    }

    fn push(&mut self, event: DtmfEvent) {
        match self.events.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(event),
            None => self.stats.unread += 1,
        }
    }
}

#[cfg(test)]
mod tests;
