//! The parties' packets: sent to the time of the sample clock, received, counted and timed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use sidetone::rtp::packet::{HEADER_LEN, Header, View, is_rtcp};
use sidetone::srtp::key::Keying;
use sidetone::srtp::session::Session;
use sidetone::time::Instant as MediaInstant;
use sidetone_udp::batch::ReceiveBatch;
use sidetone_udp::poll::Poller;
use sidetone_udp::socket::Socket;

use super::samples::Samples;
use super::sdp::{Format, Local, Remote};
use super::speech::{FRAME, Speech};

/// The time between a party's packets.
const TICK: Duration = Duration::from_millis(20);
/// Turns in which the parties send within a tick, so that they do not all send at once.
const TURNS: usize = 40;
/// A packet that goes out so much after its time was not sent in time.
const LATE: Duration = Duration::from_millis(2);
/// Packets of which a party remembers when it sent them; two seconds.
const REMEMBERED: usize = 100;
/// Parties of which what they receive is kept, to be listened to, and how many packets: a minute of them.
pub(super) const SAMPLED: usize = 6;
const KEPT: usize = 3_000;
/// Bytes of the largest packet.
const MTU: usize = 1_500;

/// Whom a party hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The party of this number.
    Party(usize),
    /// Everybody else.
    Room,
    /// A prompt of the server.
    Prompt,
}

/// What one party received, for listening to it afterwards.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) at: Instant,
    pub(super) sequence: u16,
    pub(super) payload: Vec<u8>,
}

/// One party of a call.
pub(super) struct Leg {
    number: usize,
    pub(super) format: Format,
    pub(super) source: Source,
    remote: SocketAddr,
    payload_type: u8,
    session: Option<Session>,
    sequence: u16,
    timestamp: u32,
    /// Where in the speech it begins, in frames; `None` is silent.
    pub(super) voice: Option<usize>,
    /// Packets sent since its voice began.
    said: usize,
    sent_at: [Option<Instant>; REMEMBERED],
    counts: Counts,
    last: Option<(u32, u16)>,
    pub(super) heard: Vec<Heard>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    sent: u64,
    refused: u64,
    received: u64,
    missing: u64,
    out_of_order: u64,
    restarts: u64,
    foreign: u64,
}

impl Leg {
    pub(super) fn new(
        number: usize,
        local: &Local,
        remote: &Remote,
        source: Source,
    ) -> io::Result<Self> {
        let session = match (&local.keys, &remote.keys) {
            (Some(own), Some(other)) => Some(Session::new(Keying {
                local: own.master()?,
                remote: other.master()?,
            })),
            _ => None,
        };
        Ok(Self {
            number,
            format: local.format,
            source,
            remote: remote.address,
            payload_type: remote.payload_type,
            session,
            sequence: (number * 7) as u16,
            timestamp: (number as u32).wrapping_mul(0x9E37_79B9),
            voice: None,
            said: 0,
            sent_at: [None; REMEMBERED],
            counts: Counts::default(),
            last: None,
            heard: Vec::new(),
        })
    }

    /// When its packet with this frame of the speech went out last.
    fn sent(&self, frame: usize, frames: usize) -> Option<Instant> {
        let latest = self.said.checked_sub(1)?;
        let back = (self.voice? + latest + frames - frame) % frames;
        let number = latest.checked_sub(back)?;
        (back < REMEMBERED).then(|| self.sent_at[number % REMEMBERED])?
    }

    /// When it sent the first packet of its voice, had it always been in time.
    pub(super) fn began(&self) -> Option<Instant> {
        let latest = self.said.checked_sub(1)?;
        let at = self.sent_at[latest % REMEMBERED]?;
        at.checked_sub(TICK * u32::try_from(latest).ok()?)
    }

    fn write(&mut self, payload: &[u8], packet: &mut [u8; MTU]) -> Option<usize> {
        let header = Header {
            payload_type: self.payload_type,
            marker: self.said == 0,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: 0x1000_0000 + self.number as u32,
        };
        header.emit(packet);
        let length = HEADER_LEN + payload.len();
        packet[HEADER_LEN..length].copy_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.format.ticks());
        match &mut self.session {
            Some(session) => session.protect_rtp(packet, length).ok(),
            None => Some(length),
        }
    }

    /// Follows the numbers of what comes.
    fn follow(&mut self, view: &View<'_>) {
        self.counts.received += 1;
        let now = (view.ssrc(), view.sequence());
        let Some((ssrc, sequence)) = self.last else {
            self.last = Some(now);
            return;
        };
        if ssrc != now.0 {
            self.counts.restarts += 1;
            self.last = Some(now);
            return;
        }
        match now.1.wrapping_sub(sequence) {
            1 => {}
            ahead @ 2..0x8000 => self.counts.missing += u64::from(ahead) - 1,
            _ => {
                self.counts.out_of_order += 1;
                return;
            }
        }
        self.last = Some(now);
    }
}

/// Everything that was counted and timed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    sent: u64,
    /// Packets that the system refused to send for us.
    refused: u64,
    received: u64,
    /// What had to come: a packet each 20 ms for each party.
    expected: u64,
    /// Holes in the sequence of what came.
    missing: u64,
    out_of_order: u64,
    /// Times that what came began anew.
    restarts: u64,
    /// Datagrams that were no packets of the call.
    foreign: u64,
    /// Packets that came as they were sent, and so could be timed.
    matched: u64,
    /// From our sending to our receiving, in microseconds.
    delay_median: f64,
    delay_99: f64,
    delay_999: f64,
    delay_worst: f64,
    /// Packets that were sent more than 2 ms after their time.
    not_in_time: u64,
    /// How late turns of sending were, in microseconds.
    lateness_median: f64,
    lateness_999: f64,
    lateness_worst: f64,
}

impl Figures {
    /// Whether all came in order.
    pub(super) fn is_sound(&self) -> bool {
        // A party that hears a server's own clock may hear one packet more or less.
        let short = self.expected.saturating_sub(self.received);
        short * 500 <= self.expected && self.missing == 0 && self.restarts == 0
    }
}

/// All parties and their sockets.
pub(super) struct Traffic {
    sockets: Vec<Socket>,
    pub(super) legs: Vec<Leg>,
    poller: Poller,
    batch: ReceiveBatch,
    payloads: HashMap<u8, Vec<Vec<u8>>>,
    silence: HashMap<u8, Vec<u8>>,
    /// Frames of the speech by their payload; those that stand in it several times are left out.
    frames: HashMap<Vec<u8>, Option<usize>>,
    turn: u64,
    /// Zero of all sending.
    start: Option<Instant>,
    delays: Samples,
    lateness: Samples,
    not_in_time: u64,
}

impl Traffic {
    /// Opens a socket for each party.
    pub(super) fn new(first_port: u16, parties: usize) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(parties);
        let mut poller = Poller::new()?;
        for number in 0..parties {
            let port = u16::try_from(usize::from(first_port) + number * 2);
            let port = port.map_err(io::Error::other)?;
            let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let socket = Socket::bind(here)
                .map_err(|error| io::Error::new(error.kind(), format!("{here}: {error}")))?;
            poller.add(&socket, number as u64)?;
            sockets.push(socket);
        }
        Ok(Self {
            sockets,
            legs: Vec::with_capacity(parties),
            poller,
            batch: ReceiveBatch::new(MTU),
            payloads: HashMap::new(),
            silence: HashMap::new(),
            frames: HashMap::new(),
            turn: 0,
            start: None,
            delays: Samples::default(),
            lateness: Samples::default(),
            not_in_time: 0,
        })
    }

    pub(super) fn address(&self, number: usize) -> SocketAddr {
        self.sockets[number].local_address()
    }

    /// Encodes what is said; the first `talkers` parties say it, each from another place on.
    pub(super) fn prepare(&mut self, speech: &Speech, talkers: usize) -> io::Result<()> {
        let nothing = Speech {
            samples: vec![0; FRAME],
        };
        for format in self.legs.iter().map(|leg| leg.format) {
            let key = format.static_type();
            if self.payloads.contains_key(&key) {
                continue;
            }
            let payloads = speech.encode(format)?;
            for (number, payload) in payloads.iter().enumerate() {
                let place = self.frames.entry(payload.clone()).or_insert(Some(number));
                if *place != Some(number) {
                    *place = None;
                }
            }
            let silence = nothing.encode(format)?.swap_remove(0);
            self.payloads.insert(key, payloads);
            self.silence.insert(key, silence);
        }
        let frames = speech.frames();
        for (number, leg) in self.legs.iter_mut().enumerate() {
            leg.voice = (number < talkers).then_some(number * 131 % frames);
        }
        Ok(())
    }

    /// Forgets what was counted so far.
    pub(super) fn forget(&mut self) {
        for leg in &mut self.legs {
            leg.counts = Counts::default();
            leg.heard.clear();
        }
        self.delays.clear();
        self.lateness.clear();
        self.not_in_time = 0;
    }

    /// Talks for so long; gives how long it took.
    pub(super) fn run(&mut self, time: Duration) -> io::Result<Duration> {
        let begin = Instant::now();
        let start = *self.start.get_or_insert(begin);
        let step = TICK / TURNS as u32;
        let turns = (time.as_nanos() / step.as_nanos()) as u64;
        for _ in 0..turns {
            let due = start + Duration::from_nanos(step.as_nanos() as u64 * self.turn);
            self.receive_until(due)?;
            let late = Instant::now().saturating_duration_since(due);
            self.lateness.push(micros(late));
            self.send_turn(late);
            self.turn += 1;
        }
        Ok(begin.elapsed())
    }

    /// The packets of the parties whose turn it is.
    fn send_turn(&mut self, late: Duration) {
        let turn = (self.turn % TURNS as u64) as usize;
        let mut packet = [0; MTU];
        for number in (turn..self.legs.len()).step_by(TURNS) {
            let leg = &mut self.legs[number];
            let key = leg.format.static_type();
            let payload = match leg.voice {
                Some(voice) => self.payloads.get(&key).and_then(|all| {
                    let place = (voice + leg.said) % all.len();
                    all.get(place)
                }),
                None => self.silence.get(&key),
            };
            let Some(length) = payload.and_then(|payload| leg.write(payload, &mut packet)) else {
                continue;
            };
            leg.sent_at[leg.said % REMEMBERED] = Some(Instant::now());
            leg.said += 1;
            leg.counts.sent += 1;
            self.not_in_time += u64::from(late > LATE);
            let sent = self.sockets[number].send_to(&packet[..length], leg.remote);
            leg.counts.refused += u64::from(sent.is_err());
        }
    }

    /// Takes what comes until it is time to send.
    fn receive_until(&mut self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            self.poller.wait(Some(left))?;
            let ready = self.poller.ready().len();
            for index in 0..ready {
                let number = self.poller.ready()[index] as usize;
                self.receive(number)?;
                if self.batch.may_have_left() {
                    self.poller.again(&self.sockets[number], number as u64)?;
                }
            }
            if Instant::now() >= due {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        // A port that nobody listens at any more shows as an error of receiving.
        if self.batch.receive(&self.sockets[number]).is_err() {
            return Ok(());
        }
        let now = Instant::now();
        for datagram in self.batch.datagrams() {
            let Some(leg) = self.legs.get_mut(number) else {
                continue;
            };
            let at = now.checked_sub(datagram.waited).unwrap_or(now);
            if is_rtcp(datagram.bytes) {
                continue;
            }
            let length = match &mut leg.session {
                Some(session) => session
                    .unprotect_rtp(MediaInstant::ZERO, datagram.bytes)
                    .ok(),
                None => Some(datagram.bytes.len()),
            };
            let view = length.and_then(|length| View::parse(&datagram.bytes[..length]).ok());
            let Some(view) = view else {
                leg.counts.foreign += 1;
                continue;
            };
            leg.follow(&view);
            if number < SAMPLED && leg.heard.len() < KEPT {
                leg.heard.push(Heard {
                    at,
                    sequence: view.sequence(),
                    payload: view.payload().to_vec(),
                });
            }
            let Source::Party(partner) = leg.source else {
                continue;
            };
            let frame = self.frames.get(view.payload()).copied().flatten();
            let frames = self.payloads.values().next().map_or(1, Vec::len);
            let partner = self.legs.get(partner);
            if let Some(sent) = frame.zip(partner).and_then(|(f, p)| p.sent(f, frames)) {
                self.delays.push(micros(at.saturating_duration_since(sent)));
            }
        }
        Ok(())
    }

    pub(super) fn figures(&mut self, took: Duration) -> Figures {
        self.delays.sort();
        self.lateness.sort();
        let sum = |count: fn(&Counts) -> u64| self.legs.iter().map(|leg| count(&leg.counts)).sum();
        let ticks = took.as_secs_f64() / TICK.as_secs_f64();
        Figures {
            sent: sum(|c| c.sent),
            refused: sum(|c| c.refused),
            received: sum(|c| c.received),
            expected: (ticks * self.legs.len() as f64) as u64,
            missing: sum(|c| c.missing),
            out_of_order: sum(|c| c.out_of_order),
            restarts: sum(|c| c.restarts),
            foreign: sum(|c| c.foreign),
            matched: self.delays.count(),
            delay_median: self.delays.quantile(0.5),
            delay_99: self.delays.quantile(0.99),
            delay_999: self.delays.quantile(0.999),
            delay_worst: self.delays.largest(),
            not_in_time: self.not_in_time,
            lateness_median: self.lateness.quantile(0.5),
            lateness_999: self.lateness.quantile(0.999),
            lateness_worst: self.lateness.largest(),
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
