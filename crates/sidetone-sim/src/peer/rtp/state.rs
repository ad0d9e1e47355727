//! The machine behind an RTP peer: frames on its own sample clock, digits, reports, hearing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use sidetone::media::codec::g711;
use sidetone::rng::Rng;
use sidetone::rtp::event::TelephoneEvent;
use sidetone::rtp::packet::{HEADER_LEN, Header, View};
use sidetone::rtp::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer};
use sidetone::srtp::session::Session;
use sidetone::time::{ClockAnchor, Instant};

use super::ears::{Ears, Placed};
use super::{Digit, Habits, Law, Outlet, Statistics};
use crate::network::{Delivery, SocketId};
use crate::node::{Context, Node};
use crate::peer::sound::{Heard, RATE, Sound, samples_in};

pub(super) fn event_code(digit: char) -> Option<u8> {
    let code = "0123456789*#ABCD".find(digit.to_ascii_uppercase())?;
    u8::try_from(code).ok()
}

pub(super) fn event_digit(code: u8) -> Option<char> {
    "0123456789*#ABCD".chars().nth(usize::from(code))
}

/// Room for what protection adds to a packet.
const TRAILER: usize = 40;

#[derive(Debug)]
pub(super) struct Utterance {
    pub(super) sound: Sound,
    pub(super) position: usize,
}

/// Frame `n` leaves at `start` plus n frames of the peer's own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleClock {
    pub(super) start: Instant,
    pub(super) frames: u64,
}

/// The digit that is being sent.
#[derive(Debug, Clone, Copy)]
struct Pressing {
    code: u8,
    timestamp: u32,
    elapsed: Duration,
    /// Repetitions of the end packet that are left; then the gap.
    ends: u8,
    gap: Duration,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) habits: Habits,
    pub(super) anchor: ClockAnchor,
    pub(super) sockets: Option<(SocketId, SocketId)>,
    pub(super) address: SocketAddr,
    pub(super) outlet: Option<Outlet>,
    pub(super) srtp: Option<Session>,
    pub(super) telephone_event: u8,
    pub(super) clock: Option<SampleClock>,
    pub(super) next_frame: Option<Instant>,
    pub(super) next_report: Option<Instant>,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) talking: bool,
    pub(super) said: VecDeque<Utterance>,
    pub(super) background: Option<Utterance>,
    pub(super) digits: VecDeque<u8>,
    pressing: Option<Pressing>,
    pub(super) octets: u32,
    pub(super) last_sent: Instant,
    pub(super) ears: Ears,
    pub(super) digits_heard: Vec<Digit>,
    event: Option<HeardEvent>,
    pub(super) last_arrival: Option<Instant>,
    pub(super) statistics: Statistics,
    pub(super) waiting: Vec<Waker>,
    reported: Reported,
}

/// What our last report said of the stream that we hear, and what the next one answers.
#[derive(Debug, Clone, Copy, Default)]
struct Reported {
    expected: u64,
    lost: u64,
    /// The middle of the last sender report's time, and when it came.
    sender: Option<(u32, Instant)>,
}

/// The event that is arriving: the same timestamp is the same event.
#[derive(Debug, Clone, Copy)]
struct HeardEvent {
    timestamp: u32,
    at: Instant,
    ended: bool,
}

impl Node for State {
    fn handle_delivery(&mut self, context: &mut Context<'_>, delivery: Delivery) {
        let Delivery::Datagram {
            socket, payload, ..
        } = delivery
        else {
            return;
        };
        let now = context.now();
        let is_rtp = self.sockets.is_some_and(|(rtp, _)| rtp == socket);
        let mut packet = payload.to_vec();
        let opened = match (&mut self.srtp, is_rtp) {
            (None, _) => Ok(packet.len()),
            (Some(session), true) => session.unprotect_rtp(now, &mut packet),
            (Some(session), false) => session.unprotect_rtcp(now, &mut packet),
        };
        match opened {
            Ok(length) if is_rtp => self.hear(now, &packet[..length]),
            Ok(length) => self.hear_report(now, &packet[..length]),
            Err(_) => self.statistics.undecryptable += 1,
        }
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        if self.next_report.is_some_and(|at| at <= now) {
            self.report(context, false);
        }
        if self.next_frame.is_some_and(|at| at <= now) {
            self.speak(context);
        }
        self.schedule();
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.next_frame.into_iter().chain(self.next_report).min()
    }
}

impl State {
    pub(super) fn new(habits: Habits, anchor: ClockAnchor, rng: &mut Rng) -> Self {
        Self {
            habits,
            anchor,
            sockets: None,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            outlet: None,
            srtp: None,
            telephone_event: 101,
            clock: None,
            next_frame: None,
            next_report: None,
            ssrc: rng.next_u32(),
            sequence: rng.next_u32() as u16,
            timestamp: rng.next_u32(),
            talking: false,
            said: VecDeque::new(),
            background: None,
            digits: VecDeque::new(),
            pressing: None,
            octets: 0,
            last_sent: Instant::ZERO,
            ears: Ears::default(),
            digits_heard: Vec::new(),
            event: None,
            last_arrival: None,
            statistics: Statistics::default(),
            waiting: Vec::new(),
            reported: Reported::default(),
        }
    }

    pub(super) fn schedule(&mut self) {
        let Some(clock) = self.clock.filter(|_| self.outlet.is_some()) else {
            self.next_frame = None;
            self.next_report = None;
            return;
        };
        let nominal = self.habits.packet_time.as_nanos() * u128::from(clock.frames);
        let speed = (1_000_000 + i64::from(self.habits.drift_ppm)).max(1) as u128;
        let nanos = nominal * 1_000_000 / speed;
        let due = clock.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.next_frame = Some(due);
        if let (None, Some(every)) = (self.next_report, self.habits.rtcp_every) {
            self.next_report = Some(due + every);
        }
    }

    /// Forgets what was to be said and pressed.
    pub(super) fn fall_silent(&mut self) {
        self.said.clear();
        self.background = None;
        self.digits.clear();
        self.pressing = None;
        self.wake();
    }

    /// Sends the frame that is due: a digit's event, sound, or silence.
    fn speak(&mut self, context: &mut Context<'_>) {
        let samples = samples_in(self.habits.packet_time) as u32;
        if let Some(clock) = &mut self.clock {
            clock.frames += 1;
        }
        let outlet = self.outlet.filter(|outlet| outlet.active);
        if let Some(outlet) = outlet
            && !self.press_digit(context, outlet)
        {
            self.say_frame(context, outlet, samples as usize);
        }
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.wake();
    }

    fn say_frame(&mut self, context: &mut Context<'_>, outlet: Outlet, samples: usize) {
        let mut frame = [0i16; 1024];
        let frame = &mut frame[..samples.min(1024)];
        let loud = self.fill(frame);
        if !loud && !self.habits.sends_silence {
            self.talking = false;
            return;
        }
        let mut payload = [0u8; 1024];
        let payload = &mut payload[..frame.len()];
        match outlet.law {
            Law::Mu => g711::encode_mu(frame, payload),
            Law::A => g711::encode_a(frame, payload),
        }
        let marker = !std::mem::replace(&mut self.talking, true);
        let timestamp = self.timestamp;
        self.transmit(
            context,
            outlet,
            outlet.law.payload_type(),
            marker,
            timestamp,
            payload,
        );
    }

    /// Fills a frame from what is to be said; false where there is nothing.
    fn fill(&mut self, frame: &mut [i16]) -> bool {
        let mut filled = 0;
        while let Some(utterance) = self.said.front_mut() {
            let rest = &utterance.sound.samples()[utterance.position..];
            let count = rest.len().min(frame.len() - filled);
            frame[filled..filled + count].copy_from_slice(&rest[..count]);
            utterance.position += count;
            filled += count;
            if count < rest.len() {
                return true;
            }
            self.said.pop_front();
        }
        if let Some(utterance) = &mut self.background {
            let samples = utterance.sound.samples();
            for sample in &mut frame[filled..] {
                let Some(next) = samples.get(utterance.position) else {
                    break;
                };
                *sample = *next;
                utterance.position = (utterance.position + 1) % samples.len();
            }
            return !samples.is_empty();
        }
        filled > 0
    }

    /// Sends the event packet that is due; false where no digit is pressed.
    fn press_digit(&mut self, context: &mut Context<'_>, outlet: Outlet) -> bool {
        let Some(payload_type) = outlet.telephone_event else {
            self.digits.clear();
            return false;
        };
        let first = self.pressing.is_none();
        let Some(code) = self.digits.front().copied() else {
            return false;
        };
        let mut pressing = self.pressing.unwrap_or(Pressing {
            code,
            timestamp: self.timestamp,
            elapsed: Duration::ZERO,
            ends: 3,
            gap: self.habits.gap,
        });
        if pressing.ends == 0 {
            return self.pause_after_digit(pressing);
        }
        pressing.elapsed += self.habits.packet_time;
        let end = pressing.elapsed >= self.habits.digit;
        if end {
            pressing.elapsed = self.habits.digit;
            pressing.ends -= 1;
        }
        let event = TelephoneEvent {
            event: pressing.code,
            end,
            volume: 10,
            duration: u16::try_from(samples_in(pressing.elapsed)).unwrap_or(u16::MAX),
        };
        self.pressing = Some(pressing);
        self.transmit(
            context,
            outlet,
            payload_type,
            first,
            pressing.timestamp,
            &event.emit(),
        );
        true
    }

    /// Counts the pause down; the frames in it are ordinary ones.
    fn pause_after_digit(&mut self, mut pressing: Pressing) -> bool {
        pressing.gap = pressing.gap.saturating_sub(self.habits.packet_time);
        if pressing.gap.is_zero() {
            self.digits.pop_front();
            self.pressing = None;
        } else {
            self.pressing = Some(pressing);
        }
        false
    }

    fn transmit(
        &mut self,
        context: &mut Context<'_>,
        outlet: Outlet,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) {
        let Some((socket, _)) = self.sockets else {
            return;
        };
        let header = Header {
            payload_type,
            marker,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        let mut packet = vec![0; HEADER_LEN + payload.len()];
        header.emit(&mut packet);
        packet[HEADER_LEN..].copy_from_slice(payload);
        if let Some(session) = &mut self.srtp {
            let length = packet.len();
            packet.resize(length + TRAILER, 0);
            let length = session.protect_rtp(&mut packet, length).unwrap_or_default();
            packet.truncate(length);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.statistics.sent += 1;
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        self.last_sent = context.now();
        context.send(socket, outlet.rtp, Bytes::from(packet));
    }

    /// Sends a sender report with what was received, or a goodbye.
    pub(super) fn report(&mut self, context: &mut Context<'_>, goodbye: bool) {
        let now = context.now();
        self.next_report = self.habits.rtcp_every.map(|every| now + every);
        let (Some(outlet), Some((_, socket))) = (self.outlet, self.sockets) else {
            return;
        };
        let info = SenderInfo {
            ntp: self.anchor.wall_at(now).to_ntp(),
            rtp_timestamp: self.timestamp,
            packets: self.statistics.sent as u32,
            octets: self.octets,
        };
        let block = self.block(now);
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer);
        let written = writer
            .sender_report(self.ssrc, &info, block.as_slice())
            .and_then(|()| writer.cname(self.ssrc, "peer"))
            .and_then(|()| match goodbye {
                true => writer.goodbye(self.ssrc, ""),
                false => Ok(()),
            });
        if written.is_ok() {
            let mut length = writer.finish();
            if let Some(session) = &mut self.srtp {
                length = session
                    .protect_rtcp(&mut buffer, length)
                    .unwrap_or_default();
            }
            context.send(
                socket,
                outlet.rtcp,
                Bytes::copy_from_slice(&buffer[..length]),
            );
        }
    }

    fn hear(&mut self, now: Instant, packet: &[u8]) {
        let Ok(view) = View::parse(packet) else {
            self.statistics.strange += 1;
            return;
        };
        self.statistics.received += 1;
        if let Some(last) = self.last_arrival.replace(now) {
            self.statistics.longest_gap = self.statistics.longest_gap.max(now - last);
        }
        match self.ears.place(&view) {
            Placed::Duplicate => self.statistics.duplicates += 1,
            Placed::Late => self.statistics.reordered += 1,
            Placed::InOrder => {}
            Placed::NewStream => self.statistics.streams += 1,
        }
        match view.payload_type() {
            pt if pt == self.telephone_event => self.hear_event(now, &view),
            0 | 8 => {
                let mut samples = [0; 1024];
                let payload = view.payload();
                let samples = &mut samples[..payload.len().min(1024)];
                match view.payload_type() {
                    0 => g711::decode_mu(payload, samples),
                    _ => g711::decode_a(payload, samples),
                }
                let memory = samples_in(self.habits.memory);
                self.ears.keep(now, view.timestamp(), samples, memory);
            }
            _ => self.statistics.strange += 1,
        }
        self.wake();
    }

    fn hear_event(&mut self, now: Instant, view: &View<'_>) {
        let Some(event) = TelephoneEvent::parse(view.payload()) else {
            self.statistics.strange += 1;
            return;
        };
        let age = |e: &HeardEvent| view.timestamp().wrapping_sub(e.timestamp) as i32;
        if self.event.as_ref().is_some_and(|event| age(event) < 0) {
            return;
        }
        let same = self.event.filter(|e| e.timestamp == view.timestamp());
        let mut current = same.unwrap_or(HeardEvent {
            timestamp: view.timestamp(),
            at: now,
            ended: false,
        });
        if event.end && !current.ended {
            current.ended = true;
            if let Some(digit) = event_digit(event.event) {
                self.digits_heard.push(Digit {
                    digit,
                    duration: Duration::from_micros(
                        u64::from(event.duration) * 1_000_000 / u64::from(RATE),
                    ),
                    at: current.at,
                });
            }
        }
        self.event = Some(current);
    }

    /// What we say of the stream that we hear; nothing while we hear none.
    fn block(&mut self, now: Instant) -> Option<ReportBlock> {
        let stream = self.ears.stream?;
        let (expected, lost) = (stream.highest - stream.first + 1, stream.lost());
        let fresh = expected.saturating_sub(self.reported.expected);
        let missing = lost.saturating_sub(self.reported.lost);
        (self.reported.expected, self.reported.lost) = (expected, lost);
        let fraction = (missing * 256).checked_div(fresh).unwrap_or(0);
        let (last_sender_report, delay) = self.reported.sender.map_or((0, 0), |(middle, at)| {
            let held = (now - at).as_nanos() * 65_536 / 1_000_000_000;
            (middle, held as u32)
        });
        Some(ReportBlock {
            ssrc: stream.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest_sequence: stream.highest as u32,
            jitter: 0,
            last_sender_report,
            delay,
        })
    }

    fn hear_report(&mut self, now: Instant, packet: &[u8]) {
        let Ok(compound) = Compound::parse(packet) else {
            self.statistics.strange += 1;
            return;
        };
        self.statistics.reports += 1;
        for packet in compound.packets() {
            let block = match packet {
                Packet::SenderReport(report) => {
                    let middle = (report.info().ntp >> 16) as u32;
                    self.reported.sender = Some((middle, now));
                    report.blocks().find(|b| b.ssrc == self.ssrc)
                }
                Packet::ReceiverReport(report) => report.blocks().find(|b| b.ssrc == self.ssrc),
                Packet::Goodbye(_) => {
                    self.statistics.goodbye = true;
                    None
                }
                _ => None,
            };
            if let Some(block) = block {
                self.statistics.reported_loss = block.fraction_lost;
            }
        }
        self.wake();
    }

    pub(super) fn statistics(&self) -> Statistics {
        let running = self.ears.stream.map_or(0, |stream| stream.lost());
        Statistics {
            lost: self.ears.lost_before + running,
            ..self.statistics
        }
    }

    pub(super) fn heard_end(&self) -> u64 {
        self.ears.end()
    }

    pub(super) fn heard_since(&self, from: u64) -> Heard {
        let start = from.max(self.ears.forgotten);
        let skip = (start - self.ears.forgotten) as usize;
        let arrivals = self.ears.arrivals.iter();
        Heard {
            samples: self.ears.samples.iter().skip(skip).copied().collect(),
            arrivals: arrivals
                .filter(|(position, _)| *position >= start)
                .map(|(position, at)| ((position - start) as usize, *at))
                .collect(),
        }
    }

    fn wake(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}
