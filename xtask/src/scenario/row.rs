//! One row of the table: a server, the load for it, and what came of it.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::{LOAD, MEASURED, PROMPTS, ng, program, speech};
use crate::peer::place::Place;
use crate::peer::process::Process;

/// The first media port of the parties.
const FIRST_PORT: u16 = 22_000;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The program that only passes datagrams on, which lets them gather for so many microseconds.
    Floor(&'static str),
    /// rtpengine, in user space.
    Rtpengine,
    /// Our client as a back-to-back user agent.
    Bridge,
    /// Our client as it answers by itself.
    Answer,
}

/// A row.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    /// Options of our client.
    own: &'static [&'static str],
    /// Options of the load.
    load: &'static [&'static str],
    /// Calls, in percent of the calls that were asked for; or so many, where it is a conference.
    share: usize,
    /// The aim, in milliseconds of processor a call and second.
    pub(super) aim: Option<f64>,
}

/// A prompt of a minute or so.
const PROMPT: &str = "demo-congrats.wav";

impl Row {
    pub(super) const ALL: [Self; 12] = [
        Self {
            name: "floor",
            what: "bare recvmmsg and sendmmsg",
            kind: Kind::Floor("0"),
            own: &[],
            load: &[],
            share: 100,
            aim: None,
        },
        Self {
            name: "floor-gathering",
            what: "the same, datagrams gather for 0.2 ms",
            kind: Kind::Floor("200"),
            own: &[],
            load: &[],
            share: 100,
            aim: None,
        },
        Self {
            name: "rtpengine",
            what: "rtpengine 10.5, in user space, relaying",
            kind: Kind::Rtpengine,
            own: &[],
            load: &[],
            share: 100,
            aim: None,
        },
        Self {
            name: "bridge",
            what: "two parties, A-law",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma"],
            load: &[],
            share: 100,
            aim: Some(0.15),
        },
        Self {
            name: "srtp-gcm",
            what: "the same, AEAD_AES_128_GCM on both sides",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma", "--srtp", "required"],
            load: &["--srtp", "gcm"],
            share: 100,
            aim: None,
        },
        Self {
            name: "srtp-cm",
            what: "the same, AES_CM_128_HMAC_SHA1_80",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma", "--srtp", "required"],
            load: &["--srtp", "cm"],
            share: 100,
            aim: None,
        },
        Self {
            name: "transcode",
            what: "two parties, A-law and µ-law",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma,pcmu"],
            load: &["--called-codec", "pcmu"],
            share: 100,
            aim: None,
        },
        Self {
            name: "recording",
            what: "two parties, A-law, recorded in stereo",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma", "--record", "."],
            load: &[],
            share: 100,
            aim: Some(0.3),
        },
        Self {
            name: "fork",
            what: "two parties, A-law, one forked to a recogniser at 16 kHz",
            kind: Kind::Bridge,
            own: &["--codecs", "pcma", "--fork"],
            load: &[],
            share: 100,
            aim: None,
        },
        Self {
            name: "ivr",
            what: "a prompt plays to each caller, A-law",
            kind: Kind::Answer,
            own: &["--codecs", "pcma", "--loop", "--play"],
            load: &["--prompt"],
            share: 100,
            aim: Some(0.1),
        },
        Self {
            name: "conference",
            what: "one room, all talk, A-law",
            kind: Kind::Answer,
            own: &["--codecs", "pcma", "--room"],
            load: &["--room"],
            share: 20,
            aim: Some(0.15),
        },
        Self {
            name: "opus",
            what: "two parties, Opus and A-law",
            kind: Kind::Bridge,
            own: &["--codecs", "opus,pcma"],
            load: &["--codec", "opus", "--called-codec", "pcma"],
            share: 10,
            aim: Some(8.3),
        },
    ];
}

/// What is the same for all rows.
pub(super) struct Bench {
    pub(super) place: Place,
    pub(super) calls: usize,
    pub(super) seconds: usize,
}

/// What the load has found, as it printed it.
pub(super) struct Outcome {
    pub(super) calls: usize,
    text: String,
    /// How late the server's ticks ran, as it tells itself.
    pub(super) ticks: Option<String>,
}

impl Outcome {
    /// A figure by its name.
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        let (_, rest) = self.text.split_once(&format!("\"{name}\":"))?;
        rest.split([',', '}']).next()?.parse().ok()
    }

    /// Packets that did not come: holes in what came, or more than that where streams fell short.
    pub(super) fn lost(&self) -> f64 {
        let figure = |name| self.figure(name).unwrap_or(0.0);
        figure("missing").max(figure("expected") - figure("received"))
    }

    /// Processor time, in milliseconds a call and second.
    pub(super) fn cost(&self) -> f64 {
        self.figure("processor_ms").unwrap_or(f64::INFINITY)
    }
}

impl Bench {
    /// Calls of a row.
    fn calls(&self, row: &Row) -> usize {
        (self.calls * row.share / 100).max(2)
    }

    /// Starts the server of a row and its load, and waits for what the load finds.
    pub(super) fn measure(&self, row: &Row) -> io::Result<Outcome> {
        self.start(row)?.finish()
    }

    /// Starts the server of a row and its load.
    pub(super) fn start(&self, row: &Row) -> io::Result<Running> {
        let calls = self.calls(row);
        let dir = self.place.path(row.name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let mut load = on(LOAD, program("sidetone"));
        load.arg("load").args(["--calls", &calls.to_string()]);
        load.args(["--seconds", &self.seconds.to_string()]);
        load.args(["--first-port", &FIRST_PORT.to_string()]);
        load.args(row.load);
        if row.load.contains(&"--prompt") {
            load.arg(format!("{PROMPTS}/{PROMPT}"));
        }
        let addresses = dir.join("addresses.txt");
        let server = match row.kind {
            Kind::Floor(gather) => {
                let mut command = on(MEASURED, program("examples/floor"));
                command.args([calls.to_string(), FIRST_PORT.to_string()]);
                command.arg(&addresses).arg(gather);
                let mut floor = Process::spawn("floor", &dir, &mut command)?;
                floor.expect("relaying", Duration::from_secs(10))?;
                load.arg("--relay").arg(&addresses);
                floor
            }
            Kind::Rtpengine => {
                let server = ng::Server::start(&self.place, &dir)?;
                std::fs::write(&addresses, server.relay(calls, FIRST_PORT)?)?;
                load.arg("--relay").arg(&addresses);
                server.process
            }
            Kind::Bridge | Kind::Answer => self.engine(row, calls, &dir, &mut load)?,
        };
        load.args(["--process", &server.id().to_string(), "--speech"]);
        load.args(speech());
        let load = Process::spawn("load", &dir, &mut load)?;
        let patience = Duration::from_secs(300 + self.seconds as u64);
        Ok(Running {
            calls,
            server,
            load,
            patience,
        })
    }

    /// Starts our client.
    fn engine(
        &self,
        row: &Row,
        calls: usize,
        dir: &std::path::Path,
        load: &mut Command,
    ) -> io::Result<Process> {
        let (port, called) = (self.place.take_signalling(), self.place.take_signalling());
        let mut command = on(MEASURED, program("sidetone"));
        command.args(["answer", "--quiet", "--port", &port.to_string()]);
        command.args(["--max-calls", &(calls * 2 + 10).to_string()]);
        command.args(row.own);
        if row.own.contains(&"--play") {
            command.arg(format!("{PROMPTS}/{PROMPT}"));
        }
        load.args(["--server", &format!("127.0.0.1:{port}")]);
        if row.kind == Kind::Bridge {
            command.args(["--connect", &format!("sip:called@127.0.0.1:{called}")]);
            load.args(["--called", &format!("127.0.0.1:{called}")]);
        }
        let mut server = Process::spawn("sidetone", dir, &mut command)?;
        server.expect("listening on", Duration::from_secs(20))?;
        Ok(server)
    }
}

/// A server under load.
pub(super) struct Running {
    calls: usize,
    pub(super) server: Process,
    pub(super) load: Process,
    patience: Duration,
}

impl Running {
    /// Waits for what the load finds.
    pub(super) fn finish(mut self) -> io::Result<Outcome> {
        let status = self.load.end(self.patience)?;
        let text = self.load.log();
        let text = text.lines().rfind(|line| line.starts_with('{'));
        match (status, text) {
            (Some(_), Some(text)) => Ok(Outcome {
                calls: self.calls,
                text: text.to_owned(),
                ticks: ticks(self.server)?,
            }),
            _ => Err(self.load.complain("did not measure")),
        }
    }
}

/// Ends a server and reads how late its ticks ran.
fn ticks(mut server: Process) -> io::Result<Option<String>> {
    server.signal("INT");
    server.end(Duration::from_secs(20))?;
    let log = server.log();
    let line = log.lines().find_map(|line| line.strip_prefix("ticks: "));
    Ok(line.map(str::to_owned))
}

/// A command on one core.
pub(super) fn on(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}
