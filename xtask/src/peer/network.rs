//! Two network namespaces with a bad link between them. Nothing of it has a name or a file outside
//! its processes, so nothing is left when they end, however they end.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::engine::binary;
use super::place::Place;
use super::process::Process;
use super::site::Site;
use crate::setup;
use crate::shell;

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(10);

/// The device at the one end, its address, and the same of the other end.
const ENDS: [(&str, Ipv4Addr); 2] = [
    ("left", Ipv4Addr::new(10, 91, 0, 1)),
    ("right", Ipv4Addr::new(10, 91, 0, 2)),
];

/// A running link with a namespace at each end.
pub(crate) struct Network {
    shaper: Process,
    ends: [Process; 2],
}

impl Network {
    /// Why there can be no such network here, if so.
    pub(crate) fn impossible() -> Option<String> {
        if !setup::is_root() {
            return Some("network namespaces need root".to_owned());
        }
        let missing = ["unshare", "nsenter", "ip"].map(|name| (name, shell::find(name).is_none()));
        if let Some((name, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            return Some(format!("{name} is missing"));
        }
        // The shaper ends by itself, its input being empty, where it got its devices.
        let mut probe = Command::new("unshare");
        probe.arg("--net").arg(binary("sidetone-shaper"));
        let output = probe.stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!(
                "no namespace with a TUN device: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Starts it under `name`; `link` goes to the shaper's command line.
    pub(crate) fn start(place: &Place, name: &str, link: &[&str]) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(&dir)?;
        let mut command = Command::new("unshare");
        command.arg("--net").arg(binary("sidetone-shaper"));
        let mut shaper = Process::spawn("shaper", &dir, command.args(link))?;
        shaper.expect("ready", SOON)?;
        let network = Self {
            ends: [hold("left", &dir)?, hold("right", &dir)?],
            shaper,
        };
        network.connect()?;
        Ok(network)
    }

    /// The sites at both ends.
    pub(crate) fn sites(&self) -> [Site; 2] {
        [0, 1].map(|end| Site::namespace(ENDS[end].1, self.ends[end].id()))
    }

    /// Ends the link; returns what its shaper says about each direction.
    pub(crate) fn stop(mut self) -> io::Result<String> {
        self.shaper.close_input();
        self.shaper.succeed(SOON)?;
        let log = self.shaper.log();
        Ok(log.lines().skip(1).collect::<Vec<_>>().join("; "))
    }

    fn connect(&self) -> io::Result<()> {
        for (index, (device, address)) in ENDS.iter().enumerate() {
            let holder = self.ends[index].id().to_string();
            let shaper = self.shaper.id().to_string();
            let other = ENDS[1 - index].1.to_string();
            let address = address.to_string();
            ip(&shaper, &["link", "set", device, "netns", &holder])?;
            ip(&holder, &["link", "set", "lo", "up"])?;
            ip(
                &holder,
                &["addr", "add", &address, "peer", &other, "dev", device],
            )?;
            ip(&holder, &["link", "set", device, "up"])?;
        }
        Ok(())
    }
}

/// A process in a network namespace of its own, which it keeps alive.
fn hold(name: &str, dir: &Path) -> io::Result<Process> {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "echo here; exec cat"]);
    let mut process = Process::spawn(name, dir, &mut command)?;
    process.expect("here", SOON)?;
    Ok(process)
}

/// Runs `ip` in the namespace of a process.
fn ip(holder: &str, words: &[&str]) -> io::Result<()> {
    let mut command = Command::new("nsenter");
    command.args(["-t", holder, "-n", "--"]);
    command.arg(shell::find("ip").unwrap_or_else(|| "ip".into()));
    let output = command.args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {}: {why}", words.join(" "))))
}
