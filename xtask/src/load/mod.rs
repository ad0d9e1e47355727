//! `cargo xtask load`: what calls and registrations cost, with SIPp as the load on the other core.

mod calls;
pub(crate) mod meter;
mod registrations;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::peer::place::Place;
use crate::peer::process::Process;
use crate::peer::scenario::Scenario;
use crate::setup;
use crate::shell;

/// Where what is measured runs, and where the load comes from.
const MEASURED: &str = "0";
const LOAD: &str = "1";
/// The longest that one load may take.
const LIMIT: Duration = Duration::from_secs(1_200);
/// How long SIPp may take to start.
const READY: Duration = Duration::from_secs(20);

/// `calls` or `registrations`, both by default; `--quick` only shows that it works.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    setup::packages()?;
    if ["sipp", "kamailio", "taskset"]
        .iter()
        .any(|program| shell::find(program).is_none())
    {
        return Err(io::Error::other("SIPp, Kamailio or taskset is missing"));
    }
    let quick = options.contains(&"--quick");
    let wanted = |name: &str| {
        let named = ["calls", "registrations"]
            .iter()
            .any(|name| options.contains(name));
        !named || options.contains(&name)
    };
    build()?;
    if wanted("calls") {
        calls::measure(quick)?;
    }
    if wanted("registrations") {
        registrations::measure(quick)?;
    }
    Ok(true)
}

/// The programs that are measured, optimised as for use.
fn build() -> io::Result<()> {
    let args = ["build", "--release", "--package", "sidetone-cli"];
    let done = shell::run("release", &mut shell::cargo(args), LIMIT)?;
    match done.success {
        true => Ok(()),
        false => Err(io::Error::other(shell::tail(&done.output, 40))),
    }
}

/// An optimised program of ours.
fn program(name: &str) -> PathBuf {
    shell::root()
        .join(shell::target())
        .join("release")
        .join(name)
}

/// A command on one core.
fn on(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Our answering client on the measured core, which prints nothing; it listens on `port`.
fn answer(place: &Place, port: u16, options: &[&str]) -> io::Result<Process> {
    let mut command = on(MEASURED, program("sidetone"));
    command.args(["answer", "--quiet", "--port", &port.to_string()]);
    let mut process = Process::spawn("sidetone", place.dir(), command.args(options))?;
    process.expect("listening on", Duration::from_secs(20))?;
    Ok(process)
}

/// What SIPp is to do, and how often.
struct Load<'a> {
    name: String,
    scenario: &'a Scenario,
    /// The own address and port.
    from: (String, u16),
    /// Whom to call; one who is called has none.
    target: Option<String>,
    rate: u32,
    count: u32,
    /// A file with a field for each call.
    fields: Option<PathBuf>,
}

impl Load<'_> {
    fn start(&self, place: &Place) -> io::Result<Process> {
        let dir = place.path(&self.name);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("scenario.xml"), self.scenario.xml())?;
        let mut command = on(LOAD, "sipp");
        command.args(["-sf", "scenario.xml", "-nostdin", "-l", "15000"]);
        command.args(["-i", &self.from.0, "-p", &self.from.1.to_string()]);
        command.args(["-m", &self.count.to_string(), "-r", &self.rate.to_string()]);
        command.args(["-trace_err", "-error_file", "errors.txt", "-f", "5"]);
        if let Some(fields) = &self.fields {
            command.arg("-inf").arg(fields);
        }
        if let Some(target) = &self.target {
            command.args(["-auth_uri", target, target]);
        }
        let mut process = Process::spawn("sipp", &dir, &mut command)?;
        if self.target.is_none() {
            process.expect_port(self.from.1, READY)?;
        }
        Ok(process)
    }
}

/// Waits until a SIPp has ended; gives how many of its calls went as written.
fn finish(mut sipp: Process) -> io::Result<u32> {
    if sipp.end(LIMIT)?.is_none() {
        return Err(sipp.complain("does not end"));
    }
    // The last of its screens counts.
    let log = sipp.log();
    let line = log.lines().rfind(|line| line.contains("Successful call"));
    let count = line.and_then(|line| line.rsplit('|').next()?.trim().parse().ok());
    match count {
        Some(count) if count > 0 => Ok(count),
        _ => Err(sipp.complain("had no call")),
    }
}
