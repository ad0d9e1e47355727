//! `sidetone answer`: answers calls and reports how each went.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;
use sidetone::face::fork::Fork;
use sidetone::face::forks::{ForkNews, Forks};
use sidetone::face::hub::DriverReport;
use sidetone::sip::transport::tls::Tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::codecs::CodecArguments;
use crate::course::CourseArguments;
use crate::desk::{Desk, take_messages, watch};
use crate::digits::DigitArguments;
use crate::line::{SoundArguments, complain, say};
use crate::register::{self, RegisterArguments};
use crate::serving;
use crate::sip::SipArguments;
use crate::srtp::SrtpArguments;
use crate::tls::{ListenArguments, TlsArguments, reach};
use crate::upload::UploadArguments;
use crate::users::UserArguments;

/// Answers calls: plays a file or tone to each caller, records, reports loss, jitter and delay.
///
/// Runs until Ctrl-C or SIGTERM, or until as many calls as asked for have ended. Exits with 0, or with 2 where
/// it could not start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Answer {
    #[command(flatten)]
    pub(crate) sound: SoundArguments,
    #[command(flatten)]
    srtp: SrtpArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    listen: ListenArguments,
    #[command(flatten)]
    codecs: CodecArguments,
    #[command(flatten)]
    pub(crate) keys: DigitArguments,
    #[command(flatten)]
    pub(crate) course: CourseArguments,
    #[command(flatten)]
    users: UserArguments,
    #[command(flatten)]
    register: RegisterArguments,
    #[command(flatten)]
    sip: SipArguments,
    /// Records each call into DIR/call-N.wav, stereo: left the caller, right what is sent.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,

    /// Record only what the caller says: left and right where it speaks in stereo.
    #[arg(long, requires = "record")]
    pub(crate) party_alone: bool,
    #[command(flatten)]
    upload: UploadArguments,
    /// Has each conversation recorded by the session recording server at this URI (SIPREC); where it stands several
    /// times, the next one is asked where one before it fails.
    #[arg(long, value_name = "URI")]
    pub(crate) record_at: Vec<String>,
    /// Forks what each caller says, and reads it by one task for all, as a recogniser would; with --quiet, says at
    /// the end how much.
    #[arg(long)]
    pub(crate) fork: bool,
    /// Rings this many seconds before it answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    ring: f64,
    /// Is heard while it rings, by early media.
    #[arg(long)]
    pub(crate) early: bool,
    /// Hangs up this many seconds after the answer; by default the caller does.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Refuses every call with this status instead of answering.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..700))]
    pub(crate) reject: Option<u16>,
    /// Connects every caller with whoever answers at this URI, in place of answering; may stand several
    /// times, and all of them ring.
    #[arg(long, value_name = "URI", conflicts_with = "reject")]
    pub(crate) connect: Vec<String>,
    /// Brings all callers into one room, where they hear each other.
    #[arg(long, conflicts_with_all = ["reject", "connect"])]
    room: bool,
    /// Stops after this many calls.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The own address for SIP and media.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// The own SIP port; 0 lets the system choose.
    #[arg(long, default_value_t = 5060)]
    port: u16,
    /// The most calls at once.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    max_calls: usize,
    /// Prints each report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Prints nothing of calls and users; at the end, how late the ticks of media ran.
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

impl Answer {
    pub(crate) fn run(self) -> ExitCode {
        serving::run(self.serve())
    }

    async fn serve(self) -> Result<(), String> {
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| format!("{value} is no time in seconds"))
        };
        let (done, ended) = mpsc::unbounded_channel();
        let (config, tls, users) = self.configure()?;
        let sound = self.sound.load().map_err(|error| error.to_string())?;
        let ring = seconds(self.ring)?;
        let duration = self.duration.map(seconds).transpose()?;
        let engine = Engine::start(config)
            .await
            .map_err(|error| error.to_string())?;
        let room = match self.room {
            true => Some(engine.room().await.map_err(|error| error.to_string())?),
            false => None,
        };
        let (forks, mut forked) = mpsc::unbounded_channel();
        let mut heard = Heard::default();
        let desk = Arc::new(Desk {
            forks,
            sound,
            ring,
            duration,
            room,
            users,
            arguments: self.clone(),
            done,
        });
        let stop = serving::stopped();
        serving::announce(&engine);
        let registration = self.register.start(&engine).await;
        let served = match registration {
            Ok(mut registration) => {
                let serving = engine.serve(|call| {
                    let desk = Arc::clone(&desk);
                    async move { desk.handle(call).await }
                });
                tokio::select! {
                    () = serving => {}
                    () = serving::enough(self.count, ended) => {}
                    () = self.renew(&tls) => {}
                    () = heard.read(&engine, &mut forked) => {}
                    () = register::tell(registration.as_mut()) => {}
                    () = watch(&engine, self.users.has_registrar() && !self.quiet) => {}
                    () = take_messages(&engine, self.quiet) => {}
                    () = self.upload.watch(&engine) => {}
                    () = stop => {}
                }
                register::take_back(registration).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        if self.quiet
            && let Ok(report) = engine.report().await
        {
            say(&ticks(&report.driver));
            if self.fork {
                say(&heard.to_string());
            }
        }
        engine.shutdown(Duration::ZERO).await;
        served
    }

    fn configure(&self) -> Result<(Config, Tls, BTreeSet<String>), String> {
        let mut config = Config::on(self.address).sip_port(self.port);
        let tls = self.listen.apply(&self.tls, &mut config)?;
        if self.register.is_wanted() {
            reach(&mut config);
        }
        let users = self.users.apply(&mut config)?;
        self.sip.apply(&mut config);
        self.srtp.apply(&mut config);
        config.codecs.clone_from(&self.codecs.codecs);
        config.max_calls = self.max_calls;
        match &self.record {
            Some(directory) => self.upload.apply(directory, &mut config)?,
            None if self.upload.is_wanted() => return Err("--upload wants --record".to_owned()),
            None => {}
        }
        Ok((config, tls, users))
    }

    /// Reads the certificates again each time that the process gets SIGHUP; calls go on.
    async fn renew(&self, tls: &Tls) {
        let Ok(mut asked) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while asked.recv().await.is_some() {
            let settings = self.tls.load(self.listen.clients());
            let renewed =
                settings.and_then(|settings| tls.reload(settings).map_err(|e| e.to_string()));
            match renewed {
                Ok(()) => say("certificates read again"),
                Err(error) => complain(&error),
            }
        }
    }
}

/// What came of the forks.
#[derive(Debug, Default)]
struct Heard {
    frames: u64,
    lost: Duration,
}

impl Heard {
    /// Reads all forks that come, once a tick.
    async fn read(&mut self, engine: &Engine, forked: &mut mpsc::UnboundedReceiver<Fork>) {
        let mut forks = Forks::new(engine);
        while let Some(fork) = forked.recv().await {
            forks.add(fork, ());
            while !forks.is_empty() {
                while let Ok(fork) = forked.try_recv() {
                    forks.add(fork, ());
                }
                let read = forks.tick(|(), news| {
                    if let ForkNews::Frame(frame) = news {
                        self.frames += 1;
                        self.lost += frame.gap.length;
                    }
                });
                if read.await.is_err() {
                    return;
                }
            }
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, lost } = self;
        write!(
            f,
            "forks: {frames} frames read, {} ms missing",
            lost.as_millis()
        )
    }
}

/// How late the ticks ran, in a line.
fn ticks(driver: &DriverReport) -> String {
    let limit = |limit: Option<Duration>| match limit {
        Some(limit) => format!("< {} ms", limit.as_secs_f64() * 1e3),
        None => "later".to_owned(),
    };
    let steps = driver.lateness.steps().filter(|(_, count)| *count > 0);
    let steps: Vec<String> = steps
        .map(|(upper, count)| format!("{} {count}", limit(upper)))
        .collect();
    format!(
        "ticks: {}, of these late by {}; {} left out",
        driver.ticks,
        steps.join(", "),
        driver.skipped_ticks
    )
}
