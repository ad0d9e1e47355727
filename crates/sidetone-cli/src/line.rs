//! What `call` and `answer` have in common: the sound they send and the report they print.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use sidetone::engine::event::CallEnd;
use sidetone::face::prompt::{Prompt, PromptError};
use sidetone::media::leg::LegReport;
use sidetone::media::tone::{Sine, Tone};

/// What is sent to the other party.
#[derive(Debug, Clone, Args)]
pub(crate) struct SoundArguments {
    /// Plays this WAV file: 8, 16 or 48 kHz, mono or stereo, 16-bit PCM or G.711.
    #[arg(long, value_name = "FILE", conflicts_with = "tone")]
    play: Option<PathBuf>,
    /// Plays a tone of this frequency in Hz, 20 to 3,900.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u16).range(20..=3900))]
    tone: Option<u16>,
    /// Plays the file again and again; otherwise silence follows it.
    #[arg(long = "loop", requires = "play")]
    pub(crate) looped: bool,
}

impl SoundArguments {
    /// The sound, loaded; `None` for silence.
    pub(crate) fn load(&self) -> Result<Option<Prompt>, PromptError> {
        if let Some(file) = &self.play {
            return Prompt::from_file(file).map(Some);
        }
        let tone = self.tone.map(|hz| {
            let sine = Sine {
                hz: f32::from(hz),
                dbm0: -16.0,
            };
            Prompt::tone(Tone::steady(sine, None))
        });
        Ok(tone)
    }
}

/// One call's outcome, printed as one line for people or as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// How the call ended.
    ended: String,
    /// Whether it was answered.
    pub(crate) answered: bool,
    /// Seconds from answer to end.
    seconds: f64,
    /// Media counters; `None` where the call had no media.
    pub(crate) media: Option<Media>,
}

/// The media counters of a call.
#[derive(Debug, Serialize)]
pub(crate) struct Media {
    /// RTP packets received.
    pub(crate) received: u64,
    /// Whether media was encrypted when the call ended.
    encrypted: bool,
    /// Packets that could not be authenticated, or came again.
    forged: u64,
    /// RTP packets sent.
    sent: u64,
    /// Packets missing from the received stream.
    lost: u64,
    /// The same as a share of those expected, in percent.
    lost_percent: f64,
    /// Packets that came after their turn.
    late: u64,
    /// Inter-arrival jitter (RFC 3550), in milliseconds.
    jitter_ms: f64,
    /// Mean time that packets waited in the jitter buffer, in milliseconds.
    buffer_ms: f64,
    /// Sound that concealment made up, in milliseconds.
    concealed_ms: f64,
    /// Time to the other party and back by RTCP, in milliseconds; `None` where it reported none.
    round_trip_ms: Option<f64>,
    /// Packets of ours that the other party reports lost; `None` where it reported none.
    peer_lost: Option<i32>,
}

impl Outcome {
    pub(crate) fn new(end: &CallEnd) -> Self {
        Self {
            ended: end.reason.to_string(),
            answered: end.answered.is_some(),
            seconds: end.talk_time().as_secs_f64(),
            media: end.media.as_ref().map(Media::new),
        }
    }

    /// Prints the outcome; a closed pipe is no trouble of ours.
    pub(crate) fn print(&self, json: bool) {
        if json {
            match serde_json::to_string(self) {
                Ok(line) => say(&line),
                Err(error) => complain(&error.to_string()),
            }
            return;
        }
        say(&format!(
            "ended after {:.1} s: {}",
            self.seconds, self.ended
        ));
        let Some(media) = &self.media else {
            return;
        };
        say(&format!(
            "received {} packets, lost {} ({:.2} %), late {}, jitter {:.1} ms, buffer {:.0} ms, concealed {:.0} ms",
            media.received,
            media.lost,
            media.lost_percent,
            media.late,
            media.jitter_ms,
            media.buffer_ms,
            media.concealed_ms,
        ));
        let round_trip = match media.round_trip_ms {
            Some(ms) => format!("round trip {ms:.1} ms"),
            None => "round trip not reported".into(),
        };
        let secured = match (media.encrypted, media.forged) {
            (false, _) => String::new(),
            (true, forged) => format!(", encrypted, {forged} packets refused as forged"),
        };
        say(&format!(
            "sent {} packets, {round_trip}{secured}",
            media.sent
        ));
    }
}

impl Media {
    fn new(report: &LegReport) -> Self {
        let expected = report.receive.packets + report.receive.lost;
        let share = if expected == 0 {
            0.0
        } else {
            report.receive.lost as f64 / expected as f64
        };
        let reported = report.peer.reports > 0;
        Self {
            encrypted: report.srtp.is_some(),
            forged: report.srtp.map_or(0, |s| s.auth_failed + s.replayed),
            received: report.receive.packets,
            sent: report.send.packets,
            lost: report.receive.lost,
            lost_percent: share * 100.0,
            late: report.jitter.late,
            jitter_ms: millis(report.receive.jitter),
            buffer_ms: millis(report.jitter.mean_delay()),
            concealed_ms: millis(report.concealment.concealed),
            round_trip_ms: report.peer.round_trip.map(millis),
            peer_lost: reported.then_some(report.peer.lost),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The address of this machine that reaches `host`, or loopback where that cannot be told.
pub(crate) fn local_address_towards(host: Option<IpAddr>) -> IpAddr {
    let route = |host: IpAddr| {
        let any: IpAddr = match host {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting a UDP socket sends nothing: it only asks for the route.
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(host, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    host.and_then(route).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// Prints one line at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is no trouble of ours.
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints one line of trouble.
pub(crate) fn complain(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "sidetone: {line}");
}
