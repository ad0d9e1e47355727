//! `sidetone replay`: what a listener would have heard of a captured call, and why.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use sidetone::media::jitter;
use sidetone::media::wav::{Encoding, Header};
use sidetone::sdp::attribute::Format;
use sidetone::sdp::crypto::{Crypto, CryptoSuite};
use sidetone::srtp::key::MasterKey;
use sidetone::srtp::suite::Suite;
use sidetone_sim::capture::Capture;
use sidetone_sim::replay::machine::{Options, Replayed, replay};
use sidetone_sim::replay::report::Report;
use sidetone_sim::replay::streams::{Stream, find};

use crate::codecs;

/// Hear a captured stream as the listener did, and learn why it sounded so.
///
/// Reads a capture (pcap, pcapng or rtpdump), puts one RTP stream of it through the receive path in
/// virtual time, and tells what became of its packets and its sound. Payload types are understood
/// by the SIP and SDP in the capture, or by --payload. The same capture gives the same bytes every
/// time.
///
/// Where the capture holds several streams and --stream chooses none, they are listed; with --out
/// that is an error.
///
/// Exit status: 0 if a stream was replayed or the streams were listed, 1 if the capture holds no RTP
/// or the stream cannot be replayed (unknown codec, encrypted), 2 if a file cannot be read or
/// written or an option makes no sense.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The capture; /dev/stdin reads what is piped in.
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// Which stream: its number in the list, from 1, or its SSRC as 0x1234abcd.
    #[arg(long, value_name = "N|SSRC")]
    stream: Option<Choice>,
    /// What a payload type means, as SDP would say it: 111=opus/48000/2. May be given several times.
    #[arg(long, value_name = "TYPE=NAME/CLOCK[/CHANNELS]")]
    payload: Vec<Meaning>,
    /// The listener's jitter buffer: adaptive, adaptive:20-200 (no less and no more, in ms), or
    /// fixed:60.
    #[arg(long, value_name = "MODE", default_value = "adaptive")]
    jitter: Jitter,
    /// The key of a protected stream: suite and key as in the sender's a=crypto line.
    #[arg(long, value_name = "SUITE:KEY")]
    srtp: Option<Key>,
    /// Write what the listener would have heard, as 16-bit WAV.
    #[arg(long, value_name = "FILE.wav")]
    out: Option<PathBuf>,
    /// Print the statistics as JSON, second by second.
    #[arg(long)]
    json: bool,
}

/// Which stream of a capture is meant.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Number(usize),
    Source(u32),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let chosen = match lower.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok().map(Self::Source),
            None => lower.parse().ok().filter(|&n| n > 0).map(Self::Number),
        };
        chosen.ok_or_else(|| "neither a number from 1 nor an SSRC like 0x1234abcd".into())
    }
}

/// A payload type and what it means.
#[derive(Debug, Clone)]
struct Meaning(Format);

impl FromStr for Meaning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let format = text.split_once('=').and_then(|(number, name)| {
            let name = match name.contains('/') {
                true => name.to_owned(),
                false => format!("{name}/8000"),
            };
            Format::from_rtpmap(&format!("{number} {name}"))
        });
        let format = format.ok_or("not of the form 111=opus/48000/2")?;
        Ok(Self(format))
    }
}

/// How the jitter buffer works.
#[derive(Debug, Clone, Copy)]
struct Jitter(jitter::Config);

impl FromStr for Jitter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis = |text: &str| Some(Duration::from_millis(text.parse().ok()?));
        let mode = match text.split_once(':') {
            Some(("fixed", delay)) => millis(delay).map(jitter::Mode::Fixed),
            Some(("adaptive", range)) => range.split_once('-').and_then(|(min, max)| {
                let (min, max) = (millis(min)?, millis(max)?);
                Some(jitter::Mode::Adaptive { min, max })
            }),
            None if text == "adaptive" => Some(jitter::Mode::ADAPTIVE),
            _ => None,
        };
        let mode = mode.filter(|mode| mode.is_possible());
        Ok(Self(jitter::Config {
            mode: mode
                .ok_or("not of the form fixed:60, adaptive or adaptive:20-200, up to 1000")?,
            ..jitter::Config::default()
        }))
    }
}

/// What a stream is protected with.
#[derive(Debug, Clone)]
struct Key(MasterKey);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "not of the form AES_CM_128_HMAC_SHA1_80:<key and salt in base64>";
        let (suite, secret) = text.split_once(':').ok_or(form)?;
        let secret = secret.strip_prefix("inline:").unwrap_or(secret);
        let crypto = Crypto::parse(&format!("1 {suite} inline:{secret}"));
        let crypto = crypto.map_err(|error| error.to_string())?;
        let suite = match crypto.suite {
            CryptoSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
            CryptoSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
            CryptoSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
            CryptoSuite::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
            CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
            CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
            _ => return Err(form.into()),
        };
        let key = MasterKey::new(suite, crypto.key(), crypto.salt());
        key.map(Self).map_err(|error| error.to_string())
    }
}

/// Why a replay failed, and the exit status that says so.
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    /// The capture does not give what was asked for.
    fn content(text: impl ToString) -> Self {
        let text = text.to_string();
        Self { status: 1, text }
    }

    /// A file or an option is wrong.
    fn usage(path: &Path, error: impl std::fmt::Display) -> Self {
        let text = format!("{}: {error}", path.display());
        Self { status: 2, text }
    }
}

impl Replay {
    /// Replays a stream, or lists what there is.
    pub(crate) fn run(&self) -> ExitCode {
        match self.try_run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                // Where standard error is closed too, the exit status still tells.
                let _ = writeln!(io::stderr().lock(), "sidetone: {}", failure.text);
                ExitCode::from(failure.status)
            }
        }
    }

    fn try_run(&self) -> Result<(), Failure> {
        let path = &self.capture;
        let file = File::open(path).map_err(|e| Failure::usage(path, e))?;
        let capture = Capture::read(file).map_err(|e| Failure::usage(path, e))?;
        if let Some(damage) = capture.damage() {
            let _ = writeln!(
                io::stderr().lock(),
                "sidetone: {}: {damage}; what came before is used",
                path.display()
            );
        }
        let streams = find(&capture);
        let Some(stream) = self.choose(&streams)? else {
            if self.out.is_some() {
                return Err(Failure::content(list(&streams).trim_end()));
            }
            return self.print(
                &list(&streams),
                &streams.iter().map(listed).collect::<Vec<_>>(),
            );
        };
        let options = Options {
            codecs: codecs::all(),
            formats: self.payload.iter().map(|m| m.0.clone()).collect(),
            jitter: self.jitter.0,
            key: self.srtp.as_ref().map(|key| key.0.clone()),
        };
        let replayed = replay(&capture, stream, &options).map_err(Failure::content)?;
        if let Some(out) = &self.out {
            write_wav(out, &replayed).map_err(|e| Failure::usage(out, e))?;
        }
        self.print(&summary(&replayed.report), &replayed.report)
    }

    /// The stream that is asked for; `None` where there are several to choose from.
    fn choose<'a>(&self, streams: &'a [Stream]) -> Result<Option<&'a Stream>, Failure> {
        let absent = |what: String| {
            let path = self.capture.display();
            Failure::content(format!("{path}: {what}"))
        };
        match (self.stream, streams) {
            (_, []) => Err(absent("no RTP stream".into())),
            (None, [only]) => Ok(Some(only)),
            (None, _) => Ok(None),
            (Some(Choice::Number(n)), _) => match streams.get(n - 1) {
                Some(stream) => Ok(Some(stream)),
                None => Err(absent(format!("no stream {n}; it holds {}", streams.len()))),
            },
            (Some(Choice::Source(ssrc)), _) => {
                match streams.iter().find(|s| s.ssrcs.contains(&ssrc)) {
                    Some(stream) => Ok(Some(stream)),
                    None => Err(absent(format!("no stream with SSRC {ssrc:#010x}"))),
                }
            }
        }
    }

    fn print(&self, text: &str, report: &impl serde::Serialize) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let printed = match self.json {
            true => serde_json::to_writer_pretty(&mut out, report)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
            false => out.write_all(text.as_bytes()),
        };
        let printed = printed.and_then(|()| out.flush());
        printed.map_err(|e| Failure::usage(Path::new("standard output"), e))
    }
}

fn write_wav(path: &Path, replayed: &Replayed) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let header = Header {
        encoding: Encoding::Pcm16,
        channels: 1,
        rate: replayed.rate,
    };
    out.write_all(&header.to_bytes(replayed.samples.len() as u64 * 2))?;
    for sample in &replayed.samples {
        out.write_all(&sample.to_le_bytes())?;
    }
    out.flush()
}

/// A stream in the list of streams, for JSON.
#[derive(Debug, serde::Serialize)]
struct Listed {
    ssrc: String,
    source: String,
    destination: String,
    start_ms: u128,
    duration_ms: u128,
    packets: u64,
    payload_types: Vec<u8>,
    codecs: Vec<String>,
    protected: bool,
}

fn listed(stream: &Stream) -> Listed {
    Listed {
        ssrc: format!("{:#010x}", stream.ssrc),
        source: stream.source.to_string(),
        destination: stream.destination.to_string(),
        start_ms: stream.first.as_millis(),
        duration_ms: (stream.last - stream.first).as_millis(),
        packets: stream.packets,
        payload_types: stream.payload_types.iter().map(|p| p.0).collect(),
        codecs: stream.formats.iter().map(|f| f.encoding.clone()).collect(),
        protected: stream.protected,
    }
}

fn list(streams: &[Stream]) -> String {
    let mut text = String::from("Several streams; choose one with --stream N:\n");
    for (number, stream) in (1..).zip(streams) {
        let listed = listed(stream);
        let _ = writeln!(
            text,
            "{number:>3}  {}  {} -> {}  {:.1} s from {:.1} s  {} packets  {}{}",
            listed.ssrc,
            listed.source,
            listed.destination,
            listed.duration_ms as f64 / 1e3,
            listed.start_ms as f64 / 1e3,
            listed.packets,
            match listed.codecs.is_empty() {
                true => format!("payload type {:?}", listed.payload_types),
                false => listed.codecs.join(", "),
            },
            if listed.protected { "  (SRTP)" } else { "" },
        );
    }
    text
}

/// The report for people.
fn summary(report: &Report) -> String {
    let Report {
        stream,
        packets,
        sound,
        delay,
        ..
    } = report;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line(
        "stream",
        format!(
            "{} from {} to {}",
            stream.ssrcs.join(", "),
            stream.source,
            stream.destination
        ),
    );
    line("codec", stream.codec.clone());
    line("duration", format!("{:.1} s", report.duration_ms / 1e3));
    line(
        "packets",
        format!(
            "{} captured, {} played, {} missing at their turn",
            packets.captured, packets.played, packets.lost
        ),
    );
    line(
        "",
        format!(
            "{} never came, {} late, {} discarded, {} duplicated, {} reordered, {} refused",
            packets.never_came,
            packets.late,
            packets.discarded,
            packets.duplicated,
            packets.reordered,
            packets.refused
        ),
    );
    line(
        "sound",
        format!(
            "{:.0} ms concealed ({:.2} %), {:.0} ms silent, {:.0} ms stretched",
            sound.concealed_ms,
            sound.concealment_ratio * 100.0,
            sound.silent_ms,
            sound.stretched_ms
        ),
    );
    line(
        "delay",
        format!(
            "{:.1} ms mean, {:.1} half, {:.1} p95, {:.1} p99, {:.1} most",
            delay.mean_ms, delay.p50_ms, delay.p95_ms, delay.p99_ms, delay.max_ms
        ),
    );
    line("jitter", format!("{:.1} ms", report.jitter_ms));
    let quality = &report.quality;
    if let (Some(r), Some(lq), Some(cq), Some(worst)) = (
        quality.r,
        quality.mos_lq,
        quality.mos_cq,
        quality.worst_mos_cq,
    ) {
        line(
            "quality",
            format!(
                "R {r:.1} ({} band), MOS {lq:.2} listening, {cq:.2} talking, {worst:.2} in its \
                 worst second",
                quality.band
            ),
        );
    }
    line(
        "causes",
        match quality.causes.is_empty() {
            true => "none".into(),
            false => format!(
                "{}; bad for {:.0} s",
                quality.causes.join(", "),
                quality.bad_ms / 1e3
            ),
        },
    );
    for (second, causes) in changes(report) {
        line("", format!("from second {second}: {causes}"));
    }
    text
}

/// From which second on which causes held, wherever they changed.
fn changes(report: &Report) -> Vec<(usize, String)> {
    let mut changes = Vec::new();
    let mut before: &[&str] = &[];
    for second in &report.timeline {
        if second.causes != before {
            let causes = match second.causes.is_empty() {
                true => "good".into(),
                false => second.causes.join(", "),
            };
            changes.push((second.second, causes));
        }
        before = &second.causes;
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        assert!(matches!("2".parse(), Ok(Choice::Number(2))));
        assert!(matches!("0xDEAD".parse(), Ok(Choice::Source(0xdead))));
        for bad in ["0", "-1", "0xg", "first", "0x123456789"] {
            assert!(bad.parse::<Choice>().is_err(), "{bad}");
        }
        let Meaning(opus) = "111=opus/48000/2".parse().expect("a format");
        assert_eq!(
            (opus.payload_type, opus.clock_rate, opus.channels),
            (111, 48_000, 2)
        );
        let Meaning(pcmu) = "96=PCMU".parse().expect("a format");
        assert_eq!(pcmu.clock_rate, 8_000);
        for bad in ["opus/48000/2", "128=PCMU/8000", "x=PCMU", "96=", "96=/8000"] {
            assert!(bad.parse::<Meaning>().is_err(), "{bad}");
        }
        for bad in [
            "fixed",
            "fixed:",
            "fixed:1001",
            "fixed:-1",
            "elastic",
            "adaptive:200-20",
        ] {
            assert!(bad.parse::<Jitter>().is_err(), "{bad}");
        }
        for good in ["fixed:60", "adaptive", "adaptive:20-200"] {
            assert!(good.parse::<Jitter>().is_ok(), "{good}");
        }
        let secret = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        for suite in [
            "AES_CM_128_HMAC_SHA1_80:",
            "AES_CM_128_HMAC_SHA1_32:inline:",
        ] {
            assert!(format!("{suite}{secret}").parse::<Key>().is_ok());
        }
        for bad in ["", "ROT13:abc", "AES_CM_128_HMAC_SHA1_80:abc"] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }
}
