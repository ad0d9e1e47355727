//! One end of an RTP stream: speaks on a sample clock that may drift, and remembers what it hears.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use sidetone::media::codec::g711;
use sidetone::rng::Rng;
use sidetone::rtp::event::TelephoneEvent;
use sidetone::rtp::packet::{HEADER_LEN, Header, View};
use sidetone::rtp::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer};
use sidetone::time::{ClockAnchor, Instant};

use super::sound::{Heard, RATE, Sound, samples_in};
use crate::network::{Delivery, NetworkError, SocketId};
use crate::node::{Context, Node, NodeId};
use crate::sim::Handle;

/// Which of the two laws of G.711 a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Law {
    /// PCMU, payload type 0.
    #[default]
    Mu,
    /// PCMA, payload type 8.
    A,
}

impl Law {
    /// The static payload type (RFC 3551 §6).
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Mu => 0,
            Self::A => 8,
        }
    }
}

/// Where and how a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlet {
    /// Where RTP goes.
    pub rtp: SocketAddr,
    /// Where RTCP goes.
    pub rtcp: SocketAddr,
    /// The codec.
    pub law: Law,
    /// The payload type of telephone events (RFC 4733), where the other side takes them.
    pub telephone_event: Option<u8>,
    /// Whether anything is sent at all: false on hold.
    pub active: bool,
}

/// How a peer's clock and habits are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Habits {
    /// How much faster than true its sample clock runs, in parts per million. Default 0.
    pub drift_ppm: i32,
    /// Audio in a packet. Default 20 ms.
    pub packet_time: Duration,
    /// Whether it sends packets of silence when it has nothing to say. Default true.
    pub sends_silence: bool,
    /// How often it sends RTCP, where at all. Default every 5 s.
    pub rtcp_every: Option<Duration>,
    /// How long a pressed digit lasts. Default 100 ms.
    pub digit: Duration,
    /// The pause after a digit. Default 100 ms.
    pub gap: Duration,
    /// How much of what it hears it keeps. Default 2 minutes.
    pub memory: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            drift_ppm: 0,
            packet_time: Duration::from_millis(20),
            sends_silence: true,
            rtcp_every: Some(Duration::from_secs(5)),
            digit: Duration::from_millis(100),
            gap: Duration::from_millis(100),
            memory: Duration::from_secs(120),
        }
    }
}

/// What went in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// RTP packets that were sent.
    pub sent: u64,
    /// RTP packets that arrived, copies included.
    pub received: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets that are missing between the first and the last one of each stream.
    pub lost: u64,
    /// Streams heard: one, and one more each time the SSRC or the timestamps jump.
    pub streams: u64,
    /// Packets with a payload type that the peer does not know, or that are no RTP.
    pub strange: u64,
    /// RTCP packets that arrived and could be read.
    pub reports: u64,
    /// The share of our packets that the other side misses, in 1/256, as its last report says.
    pub reported_loss: u8,
    /// Whether an RTCP goodbye came.
    pub goodbye: bool,
    /// The longest time between two packets that arrived.
    pub longest_gap: Duration,
}

/// A digit that arrived as telephone event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub digit: char,
    /// How long its last packet says that it was.
    pub duration: Duration,
    /// When its first packet arrived.
    pub at: Instant,
}

/// An RTP end on a host of the simulation; clones are the same end.
///
/// ```
/// use std::time::Duration;
/// use sidetone_sim::peer::rtp::{Habits, Outlet, RtpPeer};
/// use sidetone_sim::peer::sound::Sound;
/// use sidetone_sim::sim::Sim;
///
/// # fn main() -> Result<(), sidetone_sim::network::NetworkError> {
/// let sim = Sim::new(1);
/// sim.network().add_host("a", &[])?;
/// sim.network().add_host("b", &[])?;
/// let a = RtpPeer::open(&sim, "a", Habits::default())?;
/// let b = RtpPeer::open(&sim, "b", Habits::default())?;
/// a.start(Outlet::to(b.address()));
/// let speech = Sound::speech(1, Duration::from_secs(1));
/// a.say(&speech);
/// let heard = sim.block_on(b.hear_for(Duration::from_secs(2)));
/// assert!(heard.find(&speech).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RtpPeer {
    sim: Handle,
    id: NodeId,
    state: Rc<RefCell<State>>,
}

impl Outlet {
    /// PCMU with telephone events as payload type 101 to an address and, for RTCP, the next port.
    pub fn to(rtp: SocketAddr) -> Self {
        Self {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1)),
            law: Law::Mu,
            telephone_event: Some(101),
            active: true,
        }
    }
}

impl RtpPeer {
    /// Opens a pair of ports on the preferred address of a host. Nothing is sent before
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// [`NetworkError`] where there is no such host or no port left.
    pub fn open(sim: &Handle, host: &str, habits: Habits) -> Result<Self, NetworkError> {
        let ip = {
            let network = sim.network();
            network.addresses(network.host(host)?)[0]
        };
        Self::open_at(sim, host, ip, habits)
    }

    /// As [`open`](Self::open), on one of the host's addresses.
    ///
    /// # Errors
    /// As there.
    pub fn open_at(
        sim: &Handle,
        host: &str,
        ip: std::net::IpAddr,
        habits: Habits,
    ) -> Result<Self, NetworkError> {
        let host = sim.network().host(host)?;
        let mut rng = sim.fork_rng();
        let state = Rc::new(RefCell::new(State::new(habits, sim.anchor(), &mut rng)));
        let id = sim.add_node(state.clone());
        let sockets = sim.act(id, |context| {
            // RTP wants an even port and RTCP the next one (RFC 3550 §11).
            loop {
                let rtp = context.bind(host, SocketAddr::new(ip, 0))?;
                let address = context.network().address(rtp);
                let next = SocketAddr::new(ip, address.port().wrapping_add(1));
                if address.port() % 2 == 0
                    && let Ok(rtcp) = context.bind(host, next)
                {
                    return Ok((rtp, rtcp, address));
                }
                context.unbind(rtp);
            }
        })?;
        {
            let mut state = state.borrow_mut();
            state.sockets = Some((sockets.0, sockets.1));
            state.address = sockets.2;
        }
        Ok(Self {
            sim: sim.clone(),
            id,
            state,
        })
    }

    /// The address for RTP; RTCP is at the next port.
    pub fn address(&self) -> SocketAddr {
        self.state.borrow().address
    }

    /// Starts to send, or goes on under other terms.
    pub fn start(&self, outlet: Outlet) {
        self.change(|state, now| {
            state.outlet = Some(outlet);
            state.clock.get_or_insert(SampleClock {
                start: now,
                frames: 0,
            });
            state.schedule();
        });
    }

    /// What the peer does with the streams that come and go.
    pub fn set_habits(&self, change: impl FnOnce(&mut Habits)) {
        self.change(|state, now| {
            change(&mut state.habits);
            if state.clock.is_some() {
                state.clock = Some(SampleClock {
                    start: now,
                    frames: 0,
                });
                state.schedule();
            }
        });
    }

    /// The payload types that mean telephone events when they arrive. Default 101.
    pub fn set_telephone_event(&self, payload_type: u8) {
        self.state.borrow_mut().telephone_event = payload_type;
    }

    /// Sends nothing more, as if the peer's machine had died: no goodbye either.
    pub fn mute(&self) {
        self.change(|state, _| {
            state.outlet = None;
            state.schedule();
        });
    }

    /// Says something after what is still to be said.
    pub fn say(&self, sound: &Sound) {
        let mut state = self.state.borrow_mut();
        state.said.push_back(Utterance {
            sound: sound.clone(),
            position: 0,
        });
    }

    /// Says something again and again, from the beginning of the next packet, until
    /// [`hush`](Self::hush).
    pub fn keep_saying(&self, sound: &Sound) {
        let mut state = self.state.borrow_mut();
        state.said.clear();
        state.background = Some(Utterance {
            sound: sound.clone(),
            position: 0,
        });
    }

    /// Says nothing more.
    pub fn hush(&self) {
        let mut state = self.state.borrow_mut();
        state.said.clear();
        state.background = None;
    }

    /// Waits until everything was said that was to be said.
    pub async fn finish_saying(&self) {
        self.until(|state| state.said.is_empty().then_some(()))
            .await;
    }

    /// Says something and waits until it was said; gives the time at which its first packet left.
    pub async fn speak(&self, sound: &Sound) -> Instant {
        self.finish_saying().await;
        self.say(sound);
        let started = self
            .until(|state| match state.said.front() {
                Some(utterance) if utterance.position == 0 => None,
                _ => Some(state.last_sent),
            })
            .await;
        self.finish_saying().await;
        started
    }

    /// Presses digits one after the other and waits until the last one is sent; whatever else is
    /// pressed in the string is left out.
    pub async fn press(&self, digits: &str) {
        self.start_pressing(digits);
        self.until(|state| state.digits.is_empty().then_some(()))
            .await;
    }

    /// As [`press`](Self::press), without waiting.
    pub fn start_pressing(&self, digits: &str) {
        let mut state = self.state.borrow_mut();
        state.digits.extend(digits.chars().filter_map(event_code));
    }

    /// Listens for this long, and gives what arrived in that time.
    pub async fn hear_for(&self, duration: Duration) -> Heard {
        let from = self.state.borrow().heard_end();
        self.sim.sleep(duration).await;
        self.state.borrow().heard_since(from)
    }

    /// Listens until the last `window` of what arrived satisfies the condition, looking every
    /// 100 ms, for at most `within`.
    pub async fn hear_until(
        &self,
        window: Duration,
        within: Duration,
        condition: impl Fn(&Heard) -> bool,
    ) -> Option<Heard> {
        let deadline = self.sim.now() + within;
        let from = self.state.borrow().heard_end();
        let wanted = samples_in(window) as u64;
        loop {
            let heard = {
                let state = self.state.borrow();
                let end = state.heard_end();
                (end - from >= wanted).then(|| state.heard_since(end - wanted))
            };
            if let Some(heard) = heard.filter(&condition) {
                return Some(heard);
            }
            if self.sim.now() >= deadline {
                return None;
            }
            self.sim.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything that was heard, as far as it is remembered.
    pub fn heard(&self) -> Heard {
        self.state.borrow().heard_since(0)
    }

    /// The digits that arrived so far.
    pub fn digits(&self) -> Vec<Digit> {
        self.state.borrow().digits_heard.clone()
    }

    /// Waits for the next digit that ends after this call.
    pub async fn next_digit(&self) -> char {
        let known = self.state.borrow().digits_heard.len();
        self.until(|state| state.digits_heard.get(known).map(|digit| digit.digit))
            .await
    }

    /// What went in and out.
    pub fn statistics(&self) -> Statistics {
        self.state.borrow().statistics()
    }

    /// When the last packet arrived.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.state.borrow().last_arrival
    }

    /// Closes the ports, with a goodbye where RTCP is on.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        self.sim.act(self.id, |context| {
            if state.habits.rtcp_every.is_some() {
                state.report(context, true);
            }
            if let Some((rtp, rtcp)) = state.sockets.take() {
                context.unbind(rtp);
                context.unbind(rtcp);
            }
            state.outlet = None;
            state.schedule();
        });
        drop(state);
        // Only now can the node be asked for its next deadline.
        self.change(|_, _| ());
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        self.sim.act(self.id, |context| {
            change(&mut self.state.borrow_mut(), context.now());
        });
    }

    async fn until<T>(&self, mut done: impl FnMut(&State) -> Option<T>) -> T {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if let Some(result) = done(&state) {
                return Poll::Ready(result);
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

fn event_code(digit: char) -> Option<u8> {
    let code = "0123456789*#ABCD".find(digit.to_ascii_uppercase())?;
    u8::try_from(code).ok()
}

fn event_digit(code: u8) -> Option<char> {
    "0123456789*#ABCD".chars().nth(usize::from(code))
}

#[derive(Debug)]
struct Utterance {
    sound: Sound,
    position: usize,
}

/// Frame `n` leaves at `start` plus n frames of the peer's own clock.
#[derive(Debug, Clone, Copy)]
struct SampleClock {
    start: Instant,
    frames: u64,
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
struct State {
    habits: Habits,
    anchor: ClockAnchor,
    sockets: Option<(SocketId, SocketId)>,
    address: SocketAddr,
    outlet: Option<Outlet>,
    telephone_event: u8,
    clock: Option<SampleClock>,
    next_frame: Option<Instant>,
    next_report: Option<Instant>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    talking: bool,
    said: VecDeque<Utterance>,
    background: Option<Utterance>,
    digits: VecDeque<u8>,
    pressing: Option<Pressing>,
    octets: u32,
    last_sent: Instant,
    ears: Ears,
    digits_heard: Vec<Digit>,
    event: Option<HeardEvent>,
    last_arrival: Option<Instant>,
    statistics: Statistics,
    waiting: Vec<Waker>,
}

/// The event that is arriving: the same timestamp is the same event.
#[derive(Debug, Clone, Copy)]
struct HeardEvent {
    timestamp: u32,
    at: Instant,
    ended: bool,
}

/// The incoming stream laid out on one continuous line of samples.
#[derive(Debug, Default)]
struct Ears {
    samples: VecDeque<i16>,
    arrivals: VecDeque<(u64, Instant)>,
    /// How many samples were forgotten at the front.
    forgotten: u64,
    stream: Option<InStream>,
    lost_before: u64,
}

#[derive(Debug, Clone, Copy)]
struct InStream {
    ssrc: u32,
    first: u64,
    highest: u64,
    /// One bit for each of the last 64 sequence numbers, the highest in bit 0.
    seen: u64,
    unique: u64,
    timestamp: u32,
    /// Where that timestamp is on the line.
    position: u64,
}

impl Node for State {
    fn handle_delivery(&mut self, context: &mut Context<'_>, delivery: Delivery) {
        let Delivery::Datagram {
            socket, payload, ..
        } = delivery
        else {
            return;
        };
        match self.sockets {
            Some((rtp, _)) if rtp == socket => self.hear(context.now(), &payload),
            _ => self.hear_report(&payload),
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

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_frame.into_iter().chain(self.next_report).min()
    }
}

impl State {
    fn new(habits: Habits, anchor: ClockAnchor, rng: &mut Rng) -> Self {
        Self {
            habits,
            anchor,
            sockets: None,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            outlet: None,
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
        }
    }

    fn schedule(&mut self) {
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
        self.sequence = self.sequence.wrapping_add(1);
        self.statistics.sent += 1;
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        self.last_sent = context.now();
        context.send(socket, outlet.rtp, Bytes::from(packet));
    }

    /// Sends a sender report with what was received, or a goodbye.
    fn report(&mut self, context: &mut Context<'_>, goodbye: bool) {
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
        let block = self.ears.stream.map(|stream| ReportBlock {
            ssrc: stream.ssrc,
            fraction_lost: 0,
            lost: i32::try_from(stream.lost()).unwrap_or(i32::MAX),
            highest_sequence: stream.highest as u32,
            jitter: 0,
            last_sender_report: 0,
            delay: 0,
        });
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
            let length = writer.finish();
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

    fn hear_report(&mut self, packet: &[u8]) {
        let Ok(compound) = Compound::parse(packet) else {
            self.statistics.strange += 1;
            return;
        };
        self.statistics.reports += 1;
        for packet in compound.packets() {
            let block = match packet {
                Packet::SenderReport(report) => report.blocks().find(|b| b.ssrc == self.ssrc),
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

    fn statistics(&self) -> Statistics {
        let running = self.ears.stream.map_or(0, |stream| stream.lost());
        Statistics {
            lost: self.ears.lost_before + running,
            ..self.statistics
        }
    }

    fn heard_end(&self) -> u64 {
        self.ears.end()
    }

    fn heard_since(&self, from: u64) -> Heard {
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

/// How a packet stands to those before it.
enum Placed {
    InOrder,
    Late,
    Duplicate,
    NewStream,
}

impl InStream {
    fn lost(&self) -> u64 {
        (self.highest - self.first + 1).saturating_sub(self.unique)
    }
}

impl Ears {
    fn end(&self) -> u64 {
        self.forgotten + self.samples.len() as u64
    }

    fn place(&mut self, view: &View<'_>) -> Placed {
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
    fn keep(&mut self, now: Instant, timestamp: u32, samples: &[i16], memory: usize) {
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

#[cfg(test)]
mod tests;
