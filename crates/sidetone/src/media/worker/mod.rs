//! The media worker: owns legs and rooms and runs them by ticks.

mod commands;
mod events;
mod forks;
mod lane;
pub mod lateness;
mod passing;
mod rest;
mod sharing;
pub mod shedding;
pub mod table;
mod tick;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use crate::id::{ForkId, LegId, PlayId, PortId, RoomId};
use crate::media::command::{Event, PlayEndReason};
use crate::media::fork::ForkTap;
use crate::media::frame::{FRAME_DURATION, Frame, SampleRate};
use crate::media::leg::Leg;
use crate::media::leg::config::Channel;
use crate::media::leg::forks::MAX_FORKS;
use crate::media::leg::players::{Ended, MAX_PLAYERS, Players};
use crate::media::leg::recording::MAX_RECORDINGS;
use crate::media::leg::sharing::Prints;
use crate::media::mixer::speakers::SelectionStats;
use crate::media::mixer::{Room, SinkSlot, SourceSlot};
use crate::media::resample::Resampler;
use crate::rtp::session::control::MAX_COMPOUND_LEN;
use crate::time::{Duration, Instant};

use events::{EVENTS_A_COMMAND, EventQueue};
use forks::RoomForks;
use lane::Lanes;
use lateness::Lateness;
use passing::{Passed, Wire};
use rest::Rest;
use sharing::{Group, MAX_GROUPS};
use shedding::{Shedding, SheddingConfig};
use table::{IdMap, Slots};

/// Bytes of the largest packet that a leg sends: 60 ms of 48 kHz linear audio do not occur, 60 ms
/// of anything negotiable fit one Ethernet frame.
const MAX_PACKET: usize = 1_500;

/// Goodbyes that wait to be polled at most; beyond, a leg ends without one, which RFC 3550 allows.
const MAX_GOODBYES: usize = 64;

/// Things that an [`AddLeg`](crate::media::command::Command::AddLeg) brings at most: the leg, its
/// players, its recordings, its forks.
const BROUGHT_A_LEG: usize = 1 + MAX_PLAYERS + MAX_RECORDINGS + MAX_FORKS;

/// Capacities of a [`Worker`]; all memory is taken when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Legs held at most. Each costs about 400 bytes here, besides the leg itself and its share of
    /// the event queue, and 2 kB more once it has been in a bridge. Default 4,096.
    pub max_legs: usize,
    /// Rooms held at most. Default 2,048.
    pub max_rooms: usize,
    /// Players held at most, on legs and in rooms. Default 4,096.
    pub max_plays: usize,
    /// Forks held at most, on legs and in rooms. Default 8,192.
    pub max_forks: usize,
    /// Events queued besides those that every held thing has reserved. Default 1,024, at least 16.
    pub event_slack: usize,
    /// Ticks made up for at once when the driver was late; the next ones follow when what they send has been
    /// polled. Default 5.
    pub max_catch_up: u32,
    /// Ticks that come later than this are left out, and counted: what they would send comes too late for
    /// everybody. Default 500 ms.
    pub leave_out_after: Duration,
    /// A tick that runs this long after its time counts as late. Default 5 ms.
    pub late_after: Duration,
    /// When forks that are optional are suspended.
    pub shedding: SheddingConfig,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            max_legs: 4_096,
            max_rooms: 2_048,
            max_plays: 4_096,
            max_forks: 8_192,
            event_slack: 1_024,
            max_catch_up: 5,
            leave_out_after: Duration::from_millis(500),
            late_after: Duration::from_millis(5),
            shedding: SheddingConfig::default(),
        }
    }
}

/// Counters of a [`Worker`] since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerStats {
    /// Ticks run.
    pub ticks: u64,
    /// Of these, ticks that ran later than [`WorkerConfig::late_after`].
    pub late_ticks: u64,
    /// Ticks that never ran because the driver was too late.
    pub skipped_ticks: u64,
    /// The largest delay of a tick.
    pub worst_delay: Duration,
    /// How late the ticks ran.
    pub lateness: Lateness,
    /// Datagrams for a port that no leg owns.
    pub stray_datagrams: u64,
    /// Packets passed on from one leg to another as they came.
    pub passed_packets: u64,
    /// Of these, packets that came as was foreseen, of which their legs learnt later.
    pub passed_at_once: u64,
    /// Times that a tick left out a room of two, whose packets are passed on.
    pub rested_ticks: u64,
    /// Packets that were to be passed on and were not, because the driver did not poll after each
    /// datagram.
    pub dropped_packets: u64,
    /// Packets whose payload was encoded for several legs at once.
    pub shared_packets: u64,
    /// Times that a party was given a place in the mix of a room that mixes the loudest only.
    pub chosen_speakers: u64,
    /// Frames of parties that such rooms left out of the mix.
    pub frames_left_out: u64,
    /// Frames of optional forks that were left out because ticks came too late.
    pub suspended_frames: u64,
    /// Times that optional forks were suspended.
    pub sheddings: u64,
    /// Commands rejected.
    pub rejected_commands: u64,
    /// Events dropped because signalling did not keep up; see
    /// [`Event`] for which never are.
    pub dropped_events: u64,
    /// Events queued beyond the queue's capacity, because the driver did not ask
    /// [`Worker::accepts_commands`]; each may have allocated.
    pub excess_events: u64,
    /// Legs held now.
    pub legs: usize,
    /// Rooms held now.
    pub rooms: usize,
}

/// A datagram to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// The sockets to send from.
    pub port: PortId,
    /// Which of them.
    pub channel: Channel,
    /// Where to.
    pub destination: SocketAddr,
    /// What.
    pub bytes: &'a [u8],
}

/// Owns media legs and rooms and runs them every 20 ms.
///
/// Sans-IO: a media thread drives it with the real clock, the simulator with a virtual one. After
/// every `handle_*` poll [`poll_transmit`](Self::poll_transmit) until it gives `None`, then
/// [`poll_event`](Self::poll_event) likewise, then ask [`poll_timeout`](Self::poll_timeout). Before
/// a command ask [`accepts_commands`](Self::accepts_commands). Once made, it allocates and frees
/// nothing: what is removed leaves in events.
///
/// Ticks lie on the multiples of 20 ms of the driver's clock, so that workers of one driver tick
/// together and a leg can move between them without a gap.
///
/// ```
/// use sidetone::media::worker::{Worker, WorkerConfig};
/// use sidetone::time::Instant;
///
/// let mut worker = Worker::new(WorkerConfig::default());
/// assert!(worker.accepts_commands());
/// assert_eq!(worker.poll_timeout(), None); // nothing to do without legs
/// worker.handle_timeout(Instant::ZERO);
/// assert!(worker.poll_transmit().is_none() && worker.poll_event().is_none());
/// ```
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    legs: Slots<Seat>,
    leg_ids: IdMap,
    ports: IdMap,
    rooms: Slots<Hall>,
    room_ids: IdMap,
    /// Every leg's room and slot, sorted; the legs in no room come last. A tick walks along it, room
    /// by room.
    order: Vec<(usize, usize)>,
    ledger: Ledger,
    goodbyes: VecDeque<Goodbye>,
    /// Whether the packet at the front of `goodbyes` has been polled.
    goodbye_polled: bool,
    /// The slots of the legs that the last ticks have visited, to be asked for packets.
    due: Vec<usize>,
    /// The place in `due` of the next one to ask.
    cursor: usize,
    /// Counts the calls that ticked.
    turn: u64,
    /// A room's rest is at the place of its slot.
    rests: Vec<Rest>,
    /// A leg's lane is at the place of its slot.
    lanes: Lanes,
    /// The rooms that a tick visits, and where their members stand in `order`.
    visits: Vec<(usize, Range<usize>)>,
    next_tick: Option<Instant>,
    /// A packet that is being written, or passed on.
    packet: Box<[u8]>,
    heard: Box<Frame>,
    scratch: Box<Frame>,
    /// What a room's players give in a tick.
    prompt: Box<Frame>,
    passed: Passed,
    prints: Prints,
    shedding: Shedding,
    stats: WorkerStats,
}

/// Things that will leave in events.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    legs: usize,
    rooms: usize,
    plays: usize,
    recordings: usize,
    forks: usize,
}

impl Counts {
    fn held(self) -> usize {
        self.legs + self.rooms + self.plays + self.recordings + self.forks
    }
}

/// What is held and what has been told of it.
#[derive(Debug)]
struct Ledger {
    /// Frames of forks left out because ticks came too late.
    suspended_frames: u64,
    /// Where each play sounds: the slot of a leg times two, or of a room times two plus one.
    plays: IdMap,
    counts: Counts,
    events: EventQueue,
}

impl Ledger {
    /// Queues an event that may be dropped; false where it was.
    fn offer(&mut self, event: Event) -> bool {
        self.events.offer(event, self.counts.held())
    }

    /// Reports a fork that was taken out.
    fn end_fork(&mut self, fork: ForkId, tap: Box<ForkTap>) {
        self.counts.forks -= 1;
        self.events.push(Event::ForkStopped { fork, tap });
    }

    /// Reports a player that was taken out; one that was told to stop says so whatever `reason`.
    fn end_play(&mut self, ended: Ended, reason: PlayEndReason) {
        self.plays.remove(ended.play.0);
        self.counts.plays -= 1;
        self.events.push(Event::PlayEnded {
            play: ended.play,
            reason: match ended.stopped {
                true => PlayEndReason::Stopped,
                false => reason,
            },
            played: ended.player.rate().duration_of(ended.player.played()),
            player: ended.player,
        });
    }
}

/// A leg and its place in a room.
#[derive(Debug)]
struct Seat {
    leg: Box<Leg>,
    membership: Option<Membership>,
    /// Where its sound may go as it is.
    wire: Option<Wire>,
    /// The last packet that could have been passed on was not.
    keeps: bool,
    /// In this tick its sound is passed on.
    is_passing: bool,
    /// In this tick another leg's sound is passed on to it.
    is_passed_to: bool,
    /// With whom it is sent the same, as long as they hear the same.
    group: Option<u8>,
    /// Ticks for which it has heard what all do who do not speak.
    alike: u8,
    /// The turn in which it was last put down to be asked for packets.
    turn: u64,
}

/// Stands in [`Worker::order`] for no room.
const NO_ROOM: usize = usize::MAX;

impl Seat {
    /// Its place in the order.
    fn rank(&self, slot: usize) -> (usize, usize) {
        (self.membership.map_or(NO_ROOM, |m| m.room), slot)
    }
}

#[derive(Debug, Clone, Copy)]
struct Membership {
    room: usize,
    source: SourceSlot,
    sink: SinkSlot,
}

/// A room and what plays in it.
#[derive(Debug)]
struct Hall {
    mixer: Box<Room>,
    players: Players,
    /// The source of the room's players, while there are any.
    prompts: Option<SourceSlot>,
    /// The rate of its players, which stays when the room's own changes.
    prompt_rate: SampleRate,
    /// From the players' rate to the room's.
    converter: Option<Box<Resampler>>,
    /// Members who are sent the same.
    groups: [Group; MAX_GROUPS],
    /// Ticks for which hardly anything has been heard.
    quiet: u8,
    /// What has been counted of its selection.
    counted: SelectionStats,
    forks: RoomForks,
}

#[derive(Debug)]
struct Goodbye {
    port: PortId,
    channel: Channel,
    destination: SocketAddr,
    length: usize,
    bytes: [u8; MAX_COMPOUND_LEN],
}

impl Worker {
    /// A worker that holds nothing yet.
    pub fn new(config: WorkerConfig) -> Self {
        let slack = config.event_slack.max(16);
        let held = config.max_legs * (1 + MAX_RECORDINGS) + config.max_rooms + config.max_plays;
        let held = held + config.max_forks;
        let silence = Frame::silence(SampleRate::HZ_8000);
        Self {
            legs: Slots::with_capacity(config.max_legs),
            leg_ids: IdMap::with_capacity(config.max_legs),
            ports: IdMap::with_capacity(config.max_legs),
            rooms: Slots::with_capacity(config.max_rooms),
            room_ids: IdMap::with_capacity(config.max_rooms),
            order: Vec::with_capacity(config.max_legs),
            ledger: Ledger {
                suspended_frames: 0,
                plays: IdMap::with_capacity(config.max_plays),
                counts: Counts::default(),
                events: EventQueue::with_capacity(held + BROUGHT_A_LEG + EVENTS_A_COMMAND + slack),
            },
            goodbyes: VecDeque::with_capacity(MAX_GOODBYES),
            goodbye_polled: false,
            due: Vec::with_capacity(config.max_legs),
            cursor: 0,
            turn: 0,
            rests: vec![Rest::default(); config.max_rooms],
            lanes: Lanes::new(config.max_legs),
            visits: Vec::with_capacity(config.max_rooms),
            next_tick: None,
            packet: vec![0; MAX_PACKET].into(),
            heard: Box::new(silence.clone()),
            scratch: Box::new(silence.clone()),
            prompt: Box::new(silence),
            passed: Passed::new(),
            prints: Prints::new(),
            shedding: Shedding::new(config.shedding),
            stats: WorkerStats::default(),
            config,
        }
    }

    /// Datagrams of `port` will be handed in soon: asks the processor for the memory that they read. A driver
    /// that knows of several says so while it is busy with those before; it costs little, and where thousands
    /// of legs have turned each other out of the caches it saves most of the time that a packet takes.
    pub fn expect(&self, port: PortId) {
        let Some(slot) = self.ports.find(u64::from(port.0)) else {
            return;
        };
        if self.lanes.is_open(slot) {
            return self.lanes.expect(slot);
        }
        let Some(seat) = self.legs.get(slot) else {
            return;
        };
        seat.leg.expect();
        if let Some(other) = seat.wire.and_then(|wire| self.legs.get(wire.to)) {
            other.leg.expect_passed();
        }
    }

    /// Datagrams of `port`, which have been [expected](Self::expect), come next.
    pub fn expect_at_once(&self, port: PortId) {
        let slot = self.ports.find(u64::from(port.0));
        let slot = slot.filter(|&slot| !self.lanes.is_open(slot));
        if let Some(seat) = slot.and_then(|slot| self.legs.get(slot)) {
            seat.leg.expect_at_once();
        }
    }

    /// Takes a datagram that came from `source` to the RTP socket of `port`. Its bytes are
    /// worthless afterwards: protection, where there is any, is taken off in place.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        port: PortId,
        source: SocketAddr,
        packet: &mut [u8],
    ) {
        self.handle_datagram(now, port, Channel::Rtp, source, packet);
    }

    /// Takes a datagram that came from `source` to the RTCP socket of `port`.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        port: PortId,
        source: SocketAddr,
        packet: &mut [u8],
    ) {
        self.handle_datagram(now, port, Channel::Rtcp, source, packet);
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        port: PortId,
        channel: Channel,
        source: SocketAddr,
        packet: &mut [u8],
    ) {
        let Some(slot) = self.ports.find(u64::from(port.0)) else {
            self.stats.stray_datagrams += 1;
            return;
        };
        if channel == Channel::Rtp && self.pass_at_once(now, slot, source, packet) {
            return;
        }
        if self.lanes.is_open(slot) {
            self.wake_around(slot);
        }
        let Some(seat) = self.legs.get_mut(slot) else {
            return;
        };
        if channel == Channel::Rtcp {
            seat.leg.handle_rtcp(now, source, packet);
            return self.tell_leg_events(slot);
        }
        let wire = self.wire(slot);
        let audio = self.legs.get_mut(slot).and_then(|seat| {
            let wanted = wire.is_some();
            seat.leg.handle_rtp(now, source, packet, wanted)
        });
        match (wire, audio) {
            (Some(wire), Some(audio)) => self.pass(now, slot, wire, &audio),
            // It was a digit, perhaps, which ends by time.
            (Some(_), None) => self.wake_around(slot),
            (None, _) => {}
        }
        self.tell_leg_events(slot);
    }

    /// Runs the ticks that are due.
    ///
    /// A driver that comes late makes up for [`WorkerConfig::max_catch_up`] ticks at once; while more are due
    /// [`poll_timeout`](Self::poll_timeout) names a time that is over. Those that are later than
    /// [`WorkerConfig::leave_out_after`] are left out, and every leg's timestamps jump over them.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(mut at) = self.next_tick else {
            return;
        };
        if at > now {
            return;
        }
        let due = (now - at).as_nanos() / FRAME_DURATION.as_nanos() + 1;
        let most = self.config.leave_out_after.as_nanos() / FRAME_DURATION.as_nanos();
        let skipped = due.saturating_sub(most.max(1)) as u64;
        self.stats.skipped_ticks += skipped;
        self.prints.clear();
        self.due.clear();
        self.cursor = 0;
        self.turn += 1;
        let mut left = self.config.max_catch_up.max(1);
        at += Duration::from_nanos(skipped * FRAME_DURATION.as_nanos() as u64);
        while at <= now && left > 0 {
            left -= 1;
            let delay = now - at;
            self.stats.ticks += 1;
            self.stats.late_ticks += u64::from(delay > self.config.late_after);
            self.stats.worst_delay = self.stats.worst_delay.max(delay);
            self.stats.lateness.note(delay);
            self.shed(delay);
            self.tick(at, delay);
            at += FRAME_DURATION;
        }
        self.next_tick = self.has_work().then_some(at);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next; `None` while there is
    /// nothing to run.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// The next datagram to send. It must be sent or dropped before the next call.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        if std::mem::take(&mut self.goodbye_polled) {
            self.goodbyes.pop_front();
        }
        if !self.goodbyes.is_empty() {
            self.goodbye_polled = true;
            let goodbye = self.goodbyes.front()?;
            return Some(Transmit {
                port: goodbye.port,
                channel: goodbye.channel,
                destination: goodbye.destination,
                bytes: &goodbye.bytes[..goodbye.length],
            });
        }
        if !self.passed.is_empty() {
            return self.passed.poll();
        }
        while let Some(&slot) = self.due.get(self.cursor) {
            let later = self.due.get(self.cursor + 2);
            if let Some(seat) = later.and_then(|&slot| self.legs.get(slot)) {
                seat.leg.expect_poll();
            }
            let leg = self.legs.get_mut(slot).map(|s| &mut s.leg);
            let sent = leg
                .and_then(|l| Some((l.poll_transmit(&mut self.packet, &self.prints)?, l.port())));
            if let Some((sent, port)) = sent {
                return Some(Transmit {
                    port,
                    channel: sent.channel,
                    destination: sent.destination,
                    bytes: &self.packet[..sent.length],
                });
            }
            self.cursor += 1;
        }
        None
    }

    /// The next event for signalling.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.ledger.events.pop()
    }

    /// Whether another command may be handed in now: there is sure to be room for what it may
    /// cause. While false, poll events.
    pub fn accepts_commands(&self) -> bool {
        self.ledger
            .events
            .accepts(self.ledger.counts.held(), BROUGHT_A_LEG)
    }

    /// A leg that it holds, to look at. Of a bridge, what came in the last five ticks may be missing;
    /// [`Command::QueryLeg`](crate::media::command::Command::QueryLeg) misses nothing.
    pub fn leg(&self, leg: LegId) -> Option<&Leg> {
        let seat = self.legs.get(self.leg_slot(leg)?)?;
        Some(&seat.leg)
    }

    /// Whether it holds a leg that owns `port`.
    pub fn holds_port(&self, port: PortId) -> bool {
        self.ports.find(u64::from(port.0)).is_some()
    }

    /// Counters.
    pub fn stats(&self) -> WorkerStats {
        WorkerStats {
            suspended_frames: self.ledger.suspended_frames,
            dropped_events: self.ledger.events.dropped(),
            excess_events: self.ledger.events.grown(),
            passed_packets: self.passed.count,
            dropped_packets: self.passed.dropped,
            legs: self.ledger.counts.legs,
            rooms: self.ledger.counts.rooms,
            ..self.stats
        }
    }

    fn tell_leg_events(&mut self, slot: usize) {
        if let Some(seat) = self.legs.get_mut(slot) {
            tick::tell(&mut seat.leg, &mut self.ledger);
        }
    }

    fn leg_slot(&self, leg: LegId) -> Option<usize> {
        self.leg_ids.find(leg.0)
    }

    fn room_slot(&self, room: RoomId) -> Option<usize> {
        self.room_ids.find(room.0)
    }

    /// The players among which `play` sounds.
    fn players_of(&mut self, play: PlayId) -> Option<&mut Players> {
        let place = self.ledger.plays.find(play.0)?;
        if place % 2 == 0 {
            Some(self.legs.get_mut(place / 2)?.leg.players_mut())
        } else {
            Some(&mut self.rooms.get_mut(place / 2)?.players)
        }
    }

    fn has_work(&self) -> bool {
        self.ledger.counts.legs + self.ledger.counts.plays > 0
    }

    /// The first multiple of 20 ms after `now`.
    fn start_ticking(&mut self, now: Instant) {
        if self.next_tick.is_none() {
            let tick = FRAME_DURATION.as_nanos() as u64;
            self.next_tick = Some(Instant::from_nanos((now.as_nanos() / tick + 1) * tick));
        }
    }
}

#[cfg(test)]
mod tests;
