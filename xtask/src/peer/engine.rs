//! Our side of the calls: the examples, built and run as their users would run them.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use crate::shell;

/// A running example.
pub(crate) struct Engine {
    process: Process,
    address: Ipv4Addr,
    port: u16,
    recordings: PathBuf,
}

impl Engine {
    /// Starts the IVR.
    pub(crate) fn ivr(place: &Place) -> io::Result<Self> {
        Self::spawn(place, "ivr", &[])
    }

    /// Starts the agent bridge with these agents.
    pub(crate) fn agent_bridge(place: &Place, agents: &[String]) -> io::Result<Self> {
        let agents = agents
            .iter()
            .flat_map(|uri| ["--agent".to_owned(), uri.clone()]);
        let mut options: Vec<String> = agents.collect();
        options.extend([
            "--recordings".to_owned(),
            place.path("recordings").display().to_string(),
        ]);
        std::fs::create_dir_all(place.path("recordings"))?;
        Self::spawn(place, "agent-bridge", &options)
    }

    /// Starts the back-to-back user agent for these places.
    pub(crate) fn b2bua(place: &Place, places: &[String], options: &[String]) -> io::Result<Self> {
        let places = places
            .iter()
            .flat_map(|uri| ["--to".to_owned(), uri.clone()]);
        let options: Vec<String> = places.chain(options.iter().cloned()).collect();
        Self::spawn(place, "b2bua", &options)
    }

    fn spawn(place: &Place, name: &str, options: &[String]) -> io::Result<Self> {
        let port = place.take_signalling();
        let mut command = place.command(binary(name));
        command
            .args(["--address", &place.address().to_string()])
            .args(["--port", &port.to_string()])
            .args(options);
        let mut process = Process::spawn(name, place.dir(), &mut command)?;
        process.expect("listening on", Duration::from_secs(10))?;
        Ok(Self {
            process,
            address: place.address(),
            port,
            recordings: place.path("recordings"),
        })
    }

    /// Its address, `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// What to dial.
    pub(crate) fn uri(&self) -> String {
        format!("sip:desk@{}", self.address())
    }

    /// Waits until it reports `progress`.
    pub(crate) fn expect(&mut self, progress: &str) -> io::Result<()> {
        self.process.expect(progress, Duration::from_secs(20))
    }

    /// Everything that it has reported.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.process.end(Duration::ZERO), Ok(None))
    }

    /// An error about it, with the end of its log.
    pub(crate) fn complain(&self, what: &str) -> io::Error {
        self.process.complain(what)
    }

    /// The one recording that it made.
    pub(crate) fn recording(&self) -> io::Result<PathBuf> {
        let files = std::fs::read_dir(&self.recordings)?;
        let mut found: Vec<PathBuf> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
        found
            .pop()
            .ok_or_else(|| self.process.complain("left no recording"))
    }

    /// Ends it as Ctrl-C does; an error unless it ends cleanly.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.process.signal("INT");
        self.process.succeed(Duration::from_secs(15))
    }
}

/// Builds the workspace's programs as the tests build them.
pub(crate) fn build() -> io::Result<()> {
    let args = ["build", "--workspace", "--all-features", "--bins"];
    let done = shell::run(
        "programs",
        &mut shell::cargo(args),
        Duration::from_secs(1200),
    )?;
    if done.success {
        Ok(())
    } else {
        Err(io::Error::other(shell::tail(&done.output, 40)))
    }
}

/// A program that `build` made.
pub(crate) fn binary(name: &str) -> PathBuf {
    let target = shell::target();
    let target = if target.is_absolute() {
        target
    } else {
        Path::new(&shell::root()).join(target)
    };
    target.join("debug").join(name)
}
