//! `sidetone load`: many calls at once with real speech, and a judgement of what comes back.
#![allow(
    clippy::disallowed_methods,
    reason = "it loads real servers in real time"
)]

mod check;
mod meter;
mod samples;
mod sdp;
mod sip;
mod speech;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::line::{complain, say};

use check::Content;
use meter::Meter;
use sdp::{Format, Keys};
use sip::Phones;
use speech::Speech;
use stream::{Figures, Leg, Source, Traffic};

/// Places many calls at once, sends speech in all of them to the time of its sample clock, and judges
/// what comes back: sequence, content, delay.
///
/// Runs on one thread. What it could not send in time it says itself: then the figures are about this
/// program and not about what it loads. Exits with 0 where every call was set up and what came back
/// was what had to, with 1 otherwise, and with 2 where it could not begin.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The SIP server to call, over UDP.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "relay")]
    server: Option<SocketAddr>,
    /// A packet relay in place of a server: a file with a line for each call, which holds the two
    /// addresses where its parties send to.
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,
    /// Answers the calls that the server places to this address; each is the other end of the call
    /// that was placed last.
    #[arg(long, value_name = "ADDRESS")]
    called: Option<SocketAddr>,
    /// The callers hear each other, in one room; without it and --called they hear a prompt.
    #[arg(long, conflicts_with = "called")]
    room: bool,
    /// The prompt that callers hear, where the server plays one.
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// Calls at once.
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// How long is measured, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long all calls talk before that, in seconds.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// The codec of the callers.
    #[arg(long, value_enum, default_value_t = Format::Pcma)]
    codec: Format,
    /// The codec of those who are called, where it is another.
    #[arg(long, value_enum)]
    called_codec: Option<Format>,
    /// Protects the media by SRTP.
    #[arg(long, value_enum, conflicts_with = "relay")]
    srtp: Option<Suite>,
    /// Parties that talk, the first ones; the others send digital silence. By default all.
    #[arg(long)]
    talkers: Option<usize>,
    /// What they say: WAV files, one after the other, again and again.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    speech: Vec<PathBuf>,
    /// The first own media port; every party takes the next even one.
    #[arg(long, default_value_t = 12_000)]
    first_port: u16,
    /// The process whose processor time is measured.
    #[arg(long, value_name = "PID")]
    process: Option<u32>,
}

/// Suites of SRTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// AES_CM_128_HMAC_SHA1_80
    Cm,
    /// AEAD_AES_128_GCM
    Gcm,
}

/// All that was found, printed as one JSON object.
#[derive(Debug, Serialize)]
struct Report {
    calls: usize,
    parties: usize,
    seconds: f64,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    content: Content,
    /// Processor time of the process, in milliseconds a call and second.
    processor_ms: Option<f64>,
    /// The share of a core that it used.
    processor_share: Option<f64>,
    /// Its memory for each call, in kilobytes.
    memory_kb: Option<f64>,
    /// Calls that were set up in a second, one after the other, each with its media.
    set_ups_a_second: f64,
    /// Processor time of the process for setting a call up and ending it, in milliseconds; what those that
    /// are up already send meanwhile is in it.
    set_up_ms: Option<f64>,
}

impl Load {
    pub(crate) fn run(self) -> ExitCode {
        match self.measure() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::from(2)
            }
        }
    }

    fn measure(&self) -> std::io::Result<bool> {
        let meter = self.process.map(Meter::new);
        let before = meter.as_ref().map(Meter::resident).transpose()?;
        let speech = Speech::load(&self.speech)?;
        let mut traffic = Traffic::new(self.first_port, self.parties())?;
        let mut phones = match self.server {
            Some(server) => Some(Phones::new(server, self.called)?),
            None => None,
        };
        let idle = meter.as_ref().map(Meter::processor).transpose()?;
        let began = Instant::now();
        match &mut phones {
            Some(phones) => self.call(phones, &mut traffic)?,
            None => self.relay(&mut traffic)?,
        }
        let placing = began.elapsed().as_secs_f64();
        let up = meter.as_ref().map(Meter::processor).transpose()?;
        say(&format!("{} parties are up", traffic.legs.len()));
        let mut outcome = self.talk(&mut traffic, &speech, meter.as_ref(), before)?;
        let over = meter.as_ref().map(Meter::processor).transpose()?;
        if let Some(phones) = &mut phones {
            phones.hang_up()?;
        }
        let ended = meter.as_ref().map(Meter::processor).transpose()?;
        let spent = |from: Option<Duration>, to: Option<Duration>| {
            let times = from.zip(to);
            times.map(|(from, to)| to.saturating_sub(from).as_secs_f64() * 1e3)
        };
        let both = spent(idle, up).zip(spent(over, ended));
        outcome.set_ups_a_second = self.calls as f64 / placing;
        outcome.set_up_ms = both.map(|(begin, end)| (begin + end) / self.calls as f64);
        say(&serde_json::to_string(&outcome)?);
        Ok(outcome.figures.is_sound() && outcome.content.is_right())
    }

    /// Talks and measures.
    fn talk(
        &self,
        traffic: &mut Traffic,
        speech: &Speech,
        meter: Option<&Meter>,
        before: Option<f64>,
    ) -> std::io::Result<Report> {
        let prompt = self
            .prompt
            .as_ref()
            .map(|file| Speech::load(std::slice::from_ref(file)));
        let prompt = prompt.transpose()?;
        traffic.prepare(speech, self.talkers.unwrap_or(usize::MAX))?;
        traffic.run(Duration::from_secs(self.warm_up))?;
        traffic.forget();
        let start = meter.map(Meter::processor).transpose()?;
        let took = traffic.run(Duration::from_secs(self.seconds))?;
        let end = meter.map(Meter::processor).transpose()?;
        let after = meter.map(Meter::resident).transpose()?;
        let spent = start.zip(end).map(|(start, end)| end.saturating_sub(start));
        let seconds = took.as_secs_f64();
        let calls = self.calls as f64;
        Ok(Report {
            calls: self.calls,
            parties: traffic.legs.len(),
            seconds,
            figures: traffic.figures(took),
            content: check::judge(traffic, speech, prompt.as_ref()),
            processor_ms: spent.map(|spent| spent.as_secs_f64() * 1e3 / seconds / calls),
            processor_share: spent.map(|spent| spent.as_secs_f64() / seconds),
            memory_kb: before
                .zip(after)
                .map(|(before, after)| (after - before) / calls),
            set_ups_a_second: 0.0,
            set_up_ms: None,
        })
    }

    fn parties(&self) -> usize {
        match self.called.is_some() || self.relay.is_some() {
            true => self.calls * 2,
            false => self.calls,
        }
    }

    /// Places all calls, one after the other.
    fn call(&self, phones: &mut Phones, traffic: &mut Traffic) -> std::io::Result<()> {
        for number in 0..self.calls {
            let step = if self.called.is_some() { 2 } else { 1 };
            let first = number * step;
            let own = |leg: usize, format| sdp::Local {
                address: traffic.address(leg),
                format,
                keys: self.srtp.map(|suite| Keys::new(suite, leg as u64)),
            };
            let caller = own(first, self.codec);
            let called = self
                .called
                .map(|_| own(first + 1, self.called_codec.unwrap_or(self.codec)));
            let (answer, offer) = phones.call(&caller, called.as_ref())?;
            let source = match (self.called, self.room) {
                (Some(_), _) => Source::Party(first + 1),
                (None, true) => Source::Room,
                (None, false) => Source::Prompt,
            };
            traffic
                .legs
                .push(Leg::new(first, &caller, &answer, source)?);
            if let Some((called, offer)) = called.zip(offer) {
                let source = Source::Party(first);
                let leg = Leg::new(first + 1, &called, &offer, source)?;
                traffic.legs.push(leg);
            }
        }
        Ok(())
    }

    /// Takes the addresses of a relay.
    fn relay(&self, traffic: &mut Traffic) -> std::io::Result<()> {
        let Some(file) = &self.relay else {
            return Err(std::io::Error::other("neither --server nor --relay"));
        };
        let text = std::fs::read_to_string(file)?;
        let addresses = text.split_whitespace().map(str::parse);
        let addresses: Result<Vec<SocketAddr>, _> = addresses.collect();
        let addresses = addresses.map_err(std::io::Error::other)?;
        if addresses.len() != self.calls * 2 {
            return Err(std::io::Error::other("not as many addresses as parties"));
        }
        for (number, remote) in addresses.into_iter().enumerate() {
            let local = sdp::Local {
                address: traffic.address(number),
                format: self.codec,
                keys: None,
            };
            let remote = sdp::Remote {
                address: remote,
                payload_type: self.codec.static_type(),
                keys: None,
            };
            let source = Source::Party(number ^ 1);
            traffic
                .legs
                .push(Leg::new(number, &local, &remote, source)?);
        }
        Ok(())
    }
}
