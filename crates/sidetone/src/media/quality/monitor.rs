//! The monitor of a leg: measures each tick, judges each second.

use sidetone_simd::cache::prefetch;

use crate::media::frame::{FRAME_DURATION, Frame};
use crate::media::quality::cause::{Cause, Causes, Sign, Watch};
use crate::media::quality::drift::Drift;
use crate::media::quality::echo::{Echo, SPAN};
use crate::media::quality::emodel::{Conditions, Equipment, rate};
use crate::media::quality::level::Level;
use crate::media::quality::{Change, Estimate, Figures, Quality, Way};
use crate::rtp::burst::{BurstMeter, Bursts};
use crate::rtp::stats::PeerStats;
use crate::time::{Duration, Instant};

/// What a leg has counted, all of it since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counted {
    /// Packets that came.
    pub received: u64,
    /// Packets that should have come and have not; those that come late lower it again.
    pub missing: u64,
    /// Packets played.
    pub played: u64,
    /// Packets that were missing at their turn and were not restored.
    pub lost: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets that came in time and were dropped.
    pub dropped: u64,
    /// Sum of the times that played packets waited.
    pub waited: Duration,
    /// All sound that was played.
    pub sound: Duration,
    /// The part of it that was made up.
    pub concealed: Duration,
    /// Inter-arrival jitter now.
    pub jitter: Duration,
    /// Packets sent.
    pub sent: u64,
    /// RTCP datagrams of the peer.
    pub control: u64,
    /// What the peer reports of what we send.
    pub peer: PeerStats,
}

/// What a leg is about at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Packets of the peer are to be judged.
    pub receives: bool,
    /// The peer is to be heard: the call is up and nobody is on hold.
    pub converses: bool,
    /// The peer is to hear us.
    pub sends: bool,
    /// The codec that comes.
    pub received: Equipment,
    /// The codec that goes.
    pub sent: Equipment,
}

/// Watches how a leg sounds, both ways.
///
/// Each tick it is given what is heard and what is sent, and after [`Monitor::tick`] says so, once a
/// second, what the leg has counted. Nothing is allocated. A tick costs two passes over a frame; a
/// second's judgement a few microseconds.
///
/// A cause begins after two bad seconds, or one severe one, and ends after five good ones.
///
/// | cause | received: a second (for losses: three, up to a second ago) is bad | severe | good |
/// |---|---|---|---|
/// | network loss | 3 % never came | 20 % | less than 1 % |
/// | late arrival, buffer overrun | 3 % | 20 % | less than 1 % |
/// | drift | clocks apart by more than 400 ppm for 18 s | | less |
/// | sender silence | | no packet for 3 s, digital silence for 10 s | sound |
/// | one-way audio | | nothing for 5 s or digital silence for 15 s (from the start: 10 s), while we spoke for 3 s of it | sound |
/// | clipping | 0.5 % of the samples | 10 % | less than 0.1 % |
/// | echo suspected | the loudness of what is received follows what is sent | | it does not |
/// | delay | 400 ms from mouth to ear | | less than 350 ms |
///
/// What is sent is judged by the peer's reports: 4 % lost is bad, 10 % severe; one-way audio where
/// three of its RTCP packets over 15 s know nothing of our stream, or all of it is lost; delay and
/// clipping as above; CPU late where five of 50 ticks come late, severe where ticks are left out.
#[derive(Debug, Clone)]
pub struct Monitor {
    receive: Side,
    send: Side,
    last: Counted,
    /// What was counted at the end of the last seconds, the oldest first.
    earlier: [Counted; LOOK_BACK],
    bursts: BurstMeter,
    /// What the burst meter has been told: played and lost.
    told: (u64, u64),
    second: Second,
    silence: Silence,
    reporting: Reporting,
    drift: Drift,
    echo: Echo,
    is_first: bool,
    since_tick: SinceTick,
}

/// The levels of what was heard and sent since the last tick: more than one of each where ticks were left
/// out.
#[derive(Debug, Clone, Copy, Default)]
struct SinceTick {
    heard: Means,
    sent: Means,
}

/// Mean magnitudes, the oldest first.
#[derive(Debug, Clone, Copy, Default)]
struct Means {
    means: [u16; 8],
    count: u8,
}

impl Means {
    fn note(&mut self, level: Level) {
        if let Some(place) = self.means.get_mut(usize::from(self.count)) {
            *place = level.mean;
            self.count += 1;
        }
    }

    /// The one of that tick, or the last there is.
    fn at(&self, tick: u8) -> u16 {
        let last = self.count.checked_sub(1);
        last.map_or(0, |last| self.means[usize::from(tick.min(last))])
    }
}

/// What happened since the last judgement.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    ticks: u16,
    /// The level of what is heard in this tick.
    heard: Level,
    sent: Level,
    samples: u32,
    /// Ticks in which a packet's sound was played, and those of it that were digital silence.
    sounded: u16,
    zero: u16,
    heard_clipped: u32,
    sent_clipped: u32,
    spoken: u16,
    late: u16,
    skipped: u32,
}

/// For how many seconds the peer has not been heard.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    /// Seconds without a packet.
    nothing: u16,
    /// Seconds of packets that held digital silence.
    zero: u16,
    /// Seconds since anything else was heard, and those of them in which we spoke.
    unheard: u16,
    spoken: u16,
    /// Whether anything was ever heard.
    was_heard: bool,
}

/// What the peer's RTCP says of whether it hears us.
#[derive(Debug, Clone, Copy, Default)]
struct Reporting {
    /// Seconds since its last report of our stream.
    seconds: u16,
    /// RTCP datagrams since.
    without: u64,
}

/// One way, judged.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    watches: [Watch; Cause::ALL.len()],
    estimate: Estimate,
    change: Option<Change>,
}

impl Monitor {
    /// A monitor of a leg that has just begun. Its first second is shorter by as many ticks as
    /// `stagger` says, so that many legs are not judged all in the same tick.
    pub fn new(stagger: u64) -> Self {
        Self {
            receive: Side::default(),
            send: Side::default(),
            last: Counted::default(),
            earlier: [Counted::default(); LOOK_BACK],
            bursts: BurstMeter::default(),
            told: (0, 0),
            second: Second {
                ticks: (stagger % SPAN as u64) as u16,
                ..Second::default()
            },
            silence: Silence::default(),
            reporting: Reporting::default(),
            drift: Drift::new(),
            echo: Echo::new(),
            is_first: true,
            since_tick: SinceTick::default(),
        }
    }

    /// How the leg sounds up to now.
    pub fn quality(&self) -> Quality {
        Quality {
            receive: self.receive.estimate,
            send: self.send.estimate,
        }
    }

    /// A packet is coming, or goes: asks for what that reads.
    pub(crate) fn expect(&self) {
        prefetch(&self.second);
        prefetch(&self.since_tick);
        prefetch(&self.drift);
    }

    /// A packet of sound came, with this timestamp of a clock of `clock` ticks a second. `anew`
    /// where it begins another stream.
    #[inline]
    pub fn packet(&mut self, now: Instant, timestamp: u32, clock: u32, anew: bool) {
        if anew {
            self.drift.restart();
        }
        self.drift.packet(now, timestamp, clock);
    }

    /// What is heard in this tick; `sounds` where packets made it, at least in part.
    pub fn heard(&mut self, frame: &Frame, sounds: bool) {
        self.heard_at(Level::of(frame.samples()), frame.samples().len(), sounds);
    }

    /// The same of so many samples that have been measured already.
    pub(crate) fn heard_at(&mut self, level: Level, samples: usize, sounds: bool) {
        self.second.heard = level;
        self.since_tick.heard.note(level);
        self.second.samples += samples as u32;
        self.second.heard_clipped += u32::from(level.clipped);
        if sounds {
            self.second.sounded += 1;
            self.second.zero += u16::from(level.is_zero());
        }
    }

    /// What is sent in this tick.
    pub fn sent(&mut self, frame: &Frame) {
        self.sent_at(Level::of(frame.samples()));
    }

    /// The same of a frame that has been measured already.
    pub(crate) fn sent_at(&mut self, level: Level) {
        self.second.sent = level;
        self.since_tick.sent.note(level);
        self.second.sent_clipped += u32::from(level.clipped);
        self.second.spoken += u16::from(level.is_sound());
    }

    /// So many ticks went by unnoticed, of which some ran late: packets were passed on meanwhile.
    pub(crate) fn make_up(&mut self, ticks: u8, late: u8) {
        let SinceTick { heard, sent } = &self.since_tick;
        for tick in 0..ticks {
            self.echo.tick(sent.at(tick), heard.at(tick));
        }
        self.second.ticks += u16::from(ticks);
        self.second.late += u16::from(late);
    }

    /// A tick is over that ran so late, before which `skipped` never ran, and with which so many
    /// packets have been played and lost since the beginning. True where a second is over and
    /// [`Monitor::judge`] is to be called.
    pub fn tick(&mut self, late: Duration, skipped: u32, played: u64, lost: u64) -> bool {
        let (played_then, lost_then) = self.told;
        self.bursts.lost(lost.saturating_sub(lost_then));
        self.bursts.received(played.saturating_sub(played_then));
        self.told = (played, lost);
        let second = &mut self.second;
        second.ticks += 1;
        second.late += u16::from(late >= LATE);
        second.skipped += skipped;
        self.echo.tick(second.sent.mean, second.heard.mean);
        self.since_tick = SinceTick::default();
        usize::from(second.ticks) >= SPAN
    }

    /// Judges the second that is over by what the leg has counted.
    pub fn judge(&mut self, counted: &Counted, situation: &Situation) {
        let second = std::mem::take(&mut self.second);
        let past = std::mem::replace(&mut self.last, *counted);
        let bursts = self.bursts.bursts();
        let heard = Received::between(&past, counted);
        let lately = Received::between(&self.earlier[0], counted);
        let settled = Received::between(&self.earlier[0], &self.earlier[LOOK_BACK - 1]);
        self.earlier.rotate_left(1);
        self.earlier[LOOK_BACK - 1] = *counted;
        let echoes = self.echo.end_span();
        let drift = self.drift.end_window();
        if situation.receives {
            match situation.converses {
                true => self.silence.note(&second, &heard),
                false => self.silence = Silence::default(),
            }
            let delay = self.note_received(&heard, counted, &bursts, &situation.received);
            let side = &mut self.receive;
            side.note_loss(&lately, &settled);
            side.note_drift(drift);
            side.note_silence(&self.silence);
            side.note_clipping(second.heard_clipped, second.samples);
            side.watch(Cause::EchoSuspected, Sign::bad_if(echoes));
            side.note_delay(delay);
        } else {
            self.silence = Silence::default();
            self.drift.restart();
            self.receive.rest();
        }
        // What the first second of a leg is late with is the making of it.
        let is_first = std::mem::take(&mut self.is_first);
        if situation.sends {
            let is_news = counted.peer.reports > past.peer.reports;
            self.reporting.note(&past, counted);
            if is_news {
                self.note_reported(&past, counted, &situation.sent);
            }
            let reporting = self.reporting;
            let side = &mut self.send;
            if is_news {
                side.note_reported(&counted.peer);
            }
            side.note_unheard(reporting, &counted.peer);
            side.note_clipping(second.sent_clipped, second.samples);
            if !is_first {
                side.note_ticks(&second);
            }
        } else {
            self.reporting = Reporting::default();
            self.send.rest();
        }
        self.receive.settle(Way::Receive);
        self.send.settle(Way::Send);
    }

    /// The next change that is to be told.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.receive
            .change
            .take()
            .or_else(|| self.send.change.take())
    }

    /// Renews the figures of what is received; returns the delay of this second, where there is one.
    fn note_received(
        &mut self,
        heard: &Received,
        counted: &Counted,
        bursts: &Bursts,
        equipment: &Equipment,
    ) -> Option<Duration> {
        let estimate = &mut self.receive.estimate;
        let recent = bursts.since(&estimate.bursts);
        estimate.bursts = *bursts;
        if heard.played + heard.lost == 0 {
            return None;
        }
        let network = counted.peer.round_trip.unwrap_or_default() / 2 + FRAME_DURATION;
        let figures = |received: &Received, burst_ratio: f64| Figures {
            loss: share(received.never_came(), received.turns()),
            discard: share(received.late + received.dropped, received.turns()),
            concealment: ratio(received.concealed, received.sound),
            jitter: counted.jitter,
            delay: network + received.mean_wait(),
            rating: Some(rate(
                equipment,
                &Conditions {
                    loss: share(received.lost, received.turns()),
                    burst_ratio,
                    delay: network + received.mean_wait(),
                },
            )),
        };
        estimate.latest = figures(heard, recent.burst_ratio());
        let whole = Received::between(&Counted::default(), counted);
        estimate.call = figures(&whole, bursts.burst_ratio());
        estimate.note_worst();
        Some(estimate.latest.delay)
    }

    /// Renews the figures of what is sent by a report of the peer.
    fn note_reported(&mut self, past: &Counted, counted: &Counted, equipment: &Equipment) {
        let peer = &counted.peer;
        let delay = peer.round_trip.unwrap_or_default() / 2 + peer.jitter * 2 + FRAME_DURATION;
        let figures = |loss: f64| Figures {
            loss,
            jitter: peer.jitter,
            delay,
            rating: Some(rate(
                equipment,
                &Conditions {
                    loss,
                    delay,
                    ..Conditions::default()
                },
            )),
            ..Figures::default()
        };
        let estimate = &mut self.send.estimate;
        estimate.latest = figures(f64::from(peer.fraction_lost) / 256.0);
        // What was sent since the peer made its report is not in it.
        let lost = u64::try_from(peer.lost).unwrap_or(0);
        estimate.call = figures(share(lost, past.sent.max(lost)));
        estimate.note_worst();
    }
}

/// Seconds over which packets are judged. Those that were missing in the last of them do not count as
/// lost yet: what comes late comes mostly within a second.
const LOOK_BACK: usize = 4;
/// A tick that runs so much after its time is late: half of it.
pub(crate) const LATE: Duration = Duration::from_millis(10);
/// Clocks that are so far apart, in parts in a million, are broken; those of telephones keep 100.
const DRIFT: f64 = 400.0;

/// What came in some time.
#[derive(Debug, Clone, Copy)]
struct Received {
    packets: u64,
    missing: u64,
    played: u64,
    lost: u64,
    late: u64,
    dropped: u64,
    waited: Duration,
    sound: Duration,
    concealed: Duration,
}

impl Received {
    fn between(past: &Counted, now: &Counted) -> Self {
        Self {
            packets: now.received.saturating_sub(past.received),
            missing: now.missing.saturating_sub(past.missing),
            played: now.played.saturating_sub(past.played),
            lost: now.lost.saturating_sub(past.lost),
            late: now.late.saturating_sub(past.late),
            dropped: now.dropped.saturating_sub(past.dropped),
            waited: now.waited.saturating_sub(past.waited),
            sound: now.sound.saturating_sub(past.sound),
            concealed: now.concealed.saturating_sub(past.concealed),
        }
    }

    /// Packets whose turn came.
    fn turns(&self) -> u64 {
        self.played + self.lost
    }

    /// Packets that never came and were not restored from others. Each that comes late was missing
    /// before, so at the edges of a span the two sums differ, and the smaller one is believed.
    fn never_came(&self) -> u64 {
        self.missing.min(self.lost.saturating_sub(self.late))
    }

    fn mean_wait(&self) -> Duration {
        match u32::try_from(self.played) {
            Ok(0) => Duration::ZERO,
            Ok(played) => self.waited / played,
            Err(_) => Duration::from_secs_f64(self.waited.as_secs_f64() / self.played as f64),
        }
    }
}

impl Silence {
    fn note(&mut self, second: &Second, heard: &Received) {
        self.nothing = match heard.packets {
            0 => self.nothing.saturating_add(1),
            _ => 0,
        };
        if second.sounded > second.zero {
            *self = Self {
                nothing: self.nothing,
                was_heard: true,
                ..Self::default()
            };
            return;
        }
        if second.sounded > 0 {
            self.zero = self.zero.saturating_add(1);
        }
        self.unheard = self.unheard.saturating_add(1);
        // A fifth of a second of speech in a second is speech.
        let spoke = usize::from(second.spoken) >= SPAN / 5;
        self.spoken = self.spoken.saturating_add(u16::from(spoke));
    }

    fn is_silent(&self) -> bool {
        self.nothing >= 3 || self.zero >= 10
    }

    fn is_one_way(&self) -> bool {
        let limit = if self.was_heard { 15 } else { 10 };
        self.spoken >= 3 && (self.nothing >= 5 || self.unheard >= limit)
    }
}

impl Reporting {
    fn note(&mut self, past: &Counted, now: &Counted) {
        if now.peer.reports > past.peer.reports || now.sent == past.sent {
            *self = Self::default();
            return;
        }
        self.seconds = self.seconds.saturating_add(1);
        self.without += now.control.saturating_sub(past.control);
    }
}

impl Side {
    fn watch(&mut self, cause: Cause, sign: Sign) {
        self.watches[cause as usize].note(sign);
    }

    /// `settled` is what was `heard` up to a second ago.
    fn note_loss(&mut self, heard: &Received, settled: &Received) {
        let of = |packets: u64, turns: u64| {
            let measure = share(packets, turns.max(packets));
            Sign::of(measure, 0.01, 0.03, 0.2)
        };
        let never_came = heard.missing.min(settled.lost.saturating_sub(heard.late));
        self.watch(Cause::NetworkLoss, of(never_came, settled.turns()));
        self.watch(Cause::LateArrival, of(heard.late, heard.turns()));
        self.watch(Cause::BufferOverrun, of(heard.dropped, heard.turns()));
    }

    fn note_drift(&mut self, drift: Option<f64>) {
        let sign = drift.map(|ppm| Sign::of(ppm.abs(), DRIFT * 0.75, DRIFT, f64::MAX));
        self.watch(Cause::Drift, sign.unwrap_or(Sign::Good));
    }

    fn note_silence(&mut self, silence: &Silence) {
        let sign = |is_so: bool| if is_so { Sign::Severe } else { Sign::Good };
        self.watch(Cause::SenderSilence, sign(silence.is_silent()));
        self.watch(Cause::OneWayAudio, sign(silence.is_one_way()));
    }

    fn note_clipping(&mut self, clipped: u32, samples: u32) {
        let measure = share(u64::from(clipped), u64::from(samples));
        self.watch(Cause::Clipping, Sign::of(measure, 0.001, 0.005, 0.1));
    }

    fn note_delay(&mut self, delay: Option<Duration>) {
        if let Some(delay) = delay {
            let sign = Sign::of(delay.as_secs_f64(), 0.35, 0.4, f64::MAX);
            self.watch(Cause::Delay, sign);
        }
    }

    fn note_reported(&mut self, peer: &PeerStats) {
        let loss = Sign::of(f64::from(peer.fraction_lost) / 256.0, 0.01, 0.04, 0.1);
        self.watch(Cause::NetworkLoss, loss);
        // Reports come every few seconds: a good one says more than a second of ours.
        if loss == Sign::Good {
            self.watch(Cause::NetworkLoss, loss);
            self.watch(Cause::NetworkLoss, loss);
        }
        self.note_delay(Some(self.estimate.latest.delay));
    }

    fn note_unheard(&mut self, reporting: Reporting, peer: &PeerStats) {
        let unknown = reporting.seconds >= 15 && reporting.without >= 3;
        let all_lost = peer.reports > 0 && peer.fraction_lost >= 250;
        let sign = match unknown || all_lost {
            true => Sign::Severe,
            false => Sign::Good,
        };
        self.watch(Cause::OneWayAudio, sign);
    }

    fn note_ticks(&mut self, second: &Second) {
        let sign = match (second.late, second.skipped) {
            (15.., _) | (_, 1..) => Sign::Severe,
            (5.., _) => Sign::Bad,
            (1.., _) => Sign::Unsure,
            (0, 0) => Sign::Good,
        };
        self.watch(Cause::CpuLate, sign);
    }

    /// Nothing is to be heard this way: nothing can be bad.
    fn rest(&mut self) {
        self.watches = Default::default();
    }

    /// Sums up the second, and has a change to tell where the causes are others.
    fn settle(&mut self, way: Way) {
        let on = Cause::ALL
            .into_iter()
            .filter(|&c| self.watches[c as usize].is_on());
        let causes = on.fold(Causes::NONE, Causes::with);
        let estimate = &mut self.estimate;
        let before = std::mem::replace(&mut estimate.causes, causes);
        estimate.past_causes = estimate.past_causes.and(causes);
        if !causes.is_empty() {
            estimate.bad_for += Duration::from_secs(1);
        }
        if causes != before {
            self.change = Some(Change {
                way,
                causes,
                before,
                figures: estimate.latest,
            });
        }
    }
}

impl Estimate {
    fn note_worst(&mut self) {
        let Some(rating) = self.latest.rating else {
            return;
        };
        if self.worst.is_none_or(|worst| rating.mos_cq < worst.mos_cq) {
            self.worst = Some(rating);
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

fn ratio(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / whole.as_secs_f64()
}
