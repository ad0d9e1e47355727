//! What a replay found out, as figures.

use serde::Serialize;
use sidetone::media::leg::LegReport;
use sidetone::media::quality::Estimate;
use sidetone::media::quality::cause::{Cause, Causes};
use sidetone::media::quality::emodel::Band;
use sidetone::time::Duration;

use super::streams::Stream;

/// What happened to a stream on its way to the listener's ear. Times are in milliseconds, shares run
/// from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which stream it was.
    pub stream: StreamReport,
    /// How long the listener listened.
    pub duration_ms: f64,
    /// What became of the packets.
    pub packets: Packets,
    /// How the sound was made.
    pub sound: Sound,
    /// How long packets waited to be played.
    pub delay: Delay,
    /// Inter-arrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// How it sounds, and why where it sounds bad.
    pub quality: Rated,
    /// Second by second.
    pub timeline: Vec<Second>,
}

/// Which stream it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Its synchronisation sources, one after another, as `0x0000002a`.
    pub ssrcs: Vec<String>,
    /// Who sent it.
    pub source: String,
    /// Who was to receive it.
    pub destination: String,
    /// The codec of most packets, as SDP names it.
    pub codec: String,
    /// The payload types that came, most frequent first.
    pub payload_types: Vec<u8>,
}

/// What became of the packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// Packets in the capture.
    pub captured: u64,
    /// Packets that the listener played.
    pub played: u64,
    /// Packets that were not there when their turn came, the late and the discarded among them.
    pub lost: u64,
    /// Packets that the network lost: numbers that never came.
    pub never_came: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets that came in time and were dropped, because too many waited.
    pub discarded: u64,
    /// Packets that came more than once.
    pub duplicated: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that nothing could decode, or whose numbers or times fitted nothing.
    pub refused: u64,
    /// Times that the stream was taken up anew: another source, a jump of its clock.
    pub restarts: u64,
    /// Telephone events that the sender pressed (RFC 4733).
    pub digits: u64,
}

/// How the sound was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sound {
    /// All of it, from the first packet on.
    pub played_ms: f64,
    /// Made up in place of missing packets.
    pub concealed_ms: f64,
    /// Silence where concealment had faded out.
    pub silent_ms: f64,
    /// Left out and put in to correct the delay.
    pub stretched_ms: f64,
    /// The share that was made up.
    pub concealment_ratio: f64,
}

/// How it sounds by the E-model, and why where it sounds bad.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rated {
    /// The scale of the rating: `narrow` (G.107), `wide` (G.107.1) or `full` (G.107.2).
    pub band: &'static str,
    /// The transmission rating factor; `None` where nothing was played.
    pub r: Option<f64>,
    /// Mean opinion score of listening, 1 to 4.5.
    pub mos_lq: Option<f64>,
    /// Mean opinion score of a conversation, as far as the delay is known: that of the network is not
    /// in it.
    pub mos_cq: Option<f64>,
    /// The lowest mean opinion score of any second.
    pub worst_mos_cq: Option<f64>,
    /// The share of packets that never came.
    pub loss: f64,
    /// The share of packets that came and could not be played.
    pub discard: f64,
    /// How much longer runs of losses were than random loss would make them.
    pub burst_ratio: f64,
    /// Bursts of loss (RFC 3611 §4.7.2).
    pub bursts: u64,
    /// For how long it sounded bad.
    pub bad_ms: f64,
    /// Why it ever sounded bad, as `network-loss`.
    pub causes: Vec<&'static str>,
}

/// How long packets waited to be played.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delay {
    /// On average.
    pub mean_ms: f64,
    /// Half of them waited at most this long.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

/// One second of listening.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Which one, from 0.
    pub second: usize,
    /// Packets that came.
    pub received: u64,
    /// Packets played.
    pub played: u64,
    /// Packets missing at their turn.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Made up.
    pub concealed_ms: f64,
    /// How long the packets of this second waited on average.
    pub delay_ms: f64,
    /// Mean opinion score of a conversation; `None` where nothing was played.
    pub mos_cq: Option<f64>,
    /// Why it sounded bad at the end of this second.
    pub causes: Vec<&'static str>,
    /// How loud it was, in dB below the loudest sine (dBov); `None` for digital silence.
    pub level_dbov: Option<f64>,
}

impl Report {
    pub(super) fn new(
        stream: &Stream,
        codec: &str,
        length: Duration,
        leg: &LegReport,
        mut waits: Vec<Duration>,
        timeline: Vec<Second>,
    ) -> Self {
        waits.sort_unstable();
        Self {
            stream: StreamReport {
                ssrcs: stream.ssrcs.iter().map(|s| format!("{s:#010x}")).collect(),
                source: stream.source.to_string(),
                destination: stream.destination.to_string(),
                codec: codec.into(),
                payload_types: stream.payload_types.iter().map(|p| p.0).collect(),
            },
            duration_ms: ms(length),
            packets: Packets::new(stream, leg),
            sound: Sound::new(leg),
            delay: Delay {
                mean_ms: ms(leg.jitter.mean_delay()),
                p50_ms: percentile(&waits, 50),
                p95_ms: percentile(&waits, 95),
                p99_ms: percentile(&waits, 99),
                max_ms: percentile(&waits, 100),
            },
            jitter_ms: ms(leg.receive.jitter),
            quality: Rated::new(&leg.quality.receive),
            timeline,
        }
    }
}

impl Packets {
    fn new(stream: &Stream, leg: &LegReport) -> Self {
        let (receive, jitter) = (&leg.receive, &leg.jitter);
        Self {
            captured: stream.packets,
            played: jitter.played,
            lost: jitter.lost,
            never_came: receive.lost,
            late: jitter.late + receive.late,
            discarded: jitter.overrun + jitter.discarded,
            duplicated: jitter.duplicate + receive.duplicates,
            reordered: receive.out_of_order,
            refused: jitter.refused
                + jitter.strange
                + receive.invalid
                + receive.wrong_ssrc
                + receive.wrong_payload_type
                + leg.malformed
                + leg.source.refused,
            restarts: receive.restarts + jitter.resyncs,
            digits: leg.digits.digits,
        }
    }
}

impl Sound {
    fn new(leg: &LegReport) -> Self {
        let made = leg.concealment;
        Self {
            played_ms: ms(made.played),
            concealed_ms: ms(made.concealed),
            silent_ms: ms(made.silent + made.noise),
            stretched_ms: ms(made.accelerated + made.slowed),
            concealment_ratio: share(
                made.concealed.as_micros() as u64,
                made.played.as_micros() as u64,
            ),
        }
    }
}

impl Rated {
    fn new(estimate: &Estimate) -> Self {
        let rating = estimate.call.rating;
        Self {
            band: match rating.unwrap_or_default().band {
                Band::Narrow => "narrow",
                Band::Wide => "wide",
                Band::Full => "full",
            },
            r: rating.map(|r| hundredth(r.r)),
            mos_lq: rating.map(|r| hundredth(r.mos_lq)),
            mos_cq: rating.map(|r| hundredth(r.mos_cq)),
            worst_mos_cq: estimate.worst.map(|r| hundredth(r.mos_cq)),
            loss: millionth(estimate.call.loss),
            discard: millionth(estimate.call.discard),
            burst_ratio: hundredth(estimate.bursts.burst_ratio()),
            bursts: estimate.bursts.bursts,
            bad_ms: ms(estimate.bad_for),
            causes: names(estimate.past_causes),
        }
    }
}

fn names(causes: Causes) -> Vec<&'static str> {
    causes.iter().map(Cause::name).collect()
}

impl Second {
    /// What happened between two reports, and what was heard then.
    pub(super) fn between(
        second: usize,
        before: &LegReport,
        after: &LegReport,
        heard: &[i16],
    ) -> Self {
        let concealed = after.concealment.concealed - before.concealment.concealed;
        let (then, now) = (&before.jitter, &after.jitter);
        let played = now.played - then.played;
        let waited = now.total_delay - then.total_delay;
        Self {
            second,
            received: after.receive.packets - before.receive.packets,
            played,
            lost: now.lost - then.lost,
            late: now.late - then.late,
            concealed_ms: ms(concealed),
            delay_ms: ms(waited.checked_div(played as u32).unwrap_or_default()),
            mos_cq: after
                .quality
                .receive
                .latest
                .rating
                .filter(|_| played > 0)
                .map(|r| hundredth(r.mos_cq)),
            causes: names(after.quality.receive.causes),
            level_dbov: level(heard),
        }
    }
}

/// The level of samples in dBov, to a tenth.
fn level(samples: &[i16]) -> Option<f64> {
    let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    if sum == 0.0 {
        return None;
    }
    let full = f64::from(i16::MAX).powi(2) / 2.0;
    let decibels = 10.0 * (sum / samples.len() as f64 / full).log10();
    Some((decibels * 10.0).round() / 10.0)
}

/// The value that so many of 100 do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |&d| ms(d))
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// A share, to a millionth.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    millionth(part as f64 / whole as f64)
}

fn millionth(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
