//! SIPp: scripted signalling, with real speech from a capture file.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use super::scenario::Scenario;
use crate::audio::g711::Law;
use crate::audio::pcap::{self, Press};

/// How long it may take to start.
const SOON: Duration = Duration::from_secs(20);

/// A SIPp that plays one scenario once.
pub(crate) struct Sipp {
    process: Process,
    port: u16,
    media: u16,
}

/// What SIPp is to do beside its scenario.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// Whom to call, `host:port`; a callee has none.
    pub(crate) target: Option<String>,
    /// The user part of the number called.
    pub(crate) service: Option<&'a str>,
    /// It registers: what it signs names no user.
    pub(crate) registers: bool,
    /// What it says.
    pub(crate) say: &'a [i16],
    /// Digits it presses while it speaks.
    pub(crate) presses: &'a [Press],
    /// Of a hundred SIP packets, how many it loses.
    pub(crate) lose: u32,
    /// Signalling over TCP.
    pub(crate) tcp: bool,
    /// The own port, where it is not a new one.
    pub(crate) port: Option<u16>,
}

impl Sipp {
    /// Starts it under `name` in `place`; who is to be called can be called when this returns.
    pub(crate) fn spawn(
        place: &Place,
        name: &str,
        scenario: &Scenario,
        options: &Options<'_>,
    ) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("scenario.xml"), scenario.xml())?;
        pcap::write_stream(&dir.join("say.pcap"), options.say, Law::Mu, options.presses)?;
        let port = options.port.unwrap_or_else(|| place.take_signalling());
        let media = place.take(6);
        let mut command = Command::new("sipp");
        command.args([
            "-sf",
            "scenario.xml",
            "-m",
            "1",
            "-nostdin",
            "-i",
            "127.0.0.1",
        ]);
        command.args([
            "-mi",
            "127.0.0.1",
            "-trace_err",
            "-error_file",
            "errors.txt",
        ]);
        command.args(["-trace_msg", "-message_file", "messages.txt"]);
        command.args(["-timeout", "60", "-timeout_error"]);
        command
            .arg("-p")
            .arg(port.to_string())
            .arg("-mp")
            .arg(media.to_string());
        if options.lose > 0 {
            command.arg("-lost").arg(options.lose.to_string());
        }
        if let Some(service) = options.service {
            command.args(["-s", service]);
        }
        if options.tcp {
            command.args(["-t", "t1"]);
        }
        if let Some(target) = &options.target {
            // By itself it signs for the bare host.
            let service = options.service.unwrap_or("service");
            let signed = match options.registers {
                true => target.clone(),
                false => format!("{service}@{target}"),
            };
            command.args(["-auth_uri", &signed]);
            command.arg(target);
        }
        let mut process = Process::spawn("sipp", &dir, &mut command)?;
        if options.target.is_none() {
            process.expect_port(port, SOON)?;
        }
        Ok(Self {
            process,
            port,
            media,
        })
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        format!("sip:sipp@127.0.0.1:{}", self.port)
    }

    /// Its port for SIP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port that its sound comes from and goes to.
    pub(crate) fn media_port(&self) -> u16 {
        self.media
    }

    /// Waits until its scenario has ended as written.
    pub(crate) fn finish(&mut self, limit: Duration) -> io::Result<()> {
        self.process.succeed(limit)
    }
}
