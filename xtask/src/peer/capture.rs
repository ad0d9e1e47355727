//! What went over the loopback: captured by dumpcap, dissected by tshark.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use crate::audio::g711::Law;
use crate::audio::pcap;
use crate::shell;

/// A running capture of one place's ports.
pub(crate) struct Capture {
    process: Process,
    file: PathBuf,
}

/// What tshark makes of a capture.
pub(crate) struct Dissection {
    pub(crate) sip: usize,
    pub(crate) rtp: usize,
    /// Malformed packets and protocol errors, a line each.
    pub(crate) faults: Vec<String>,
}

impl Capture {
    /// Whether this machine lets us capture: tshark is here, and we are root.
    pub(crate) fn possible() -> bool {
        shell::find("tshark").is_some()
            && shell::find("dumpcap").is_some()
            && crate::setup::is_root()
    }

    /// Starts capturing what `place`'s ports send and receive on the device called `device`.
    pub(crate) fn start(place: &Place, device: &str) -> io::Result<Self> {
        let file = place.path("run.pcap");
        let range = format!(
            "portrange {}-{}",
            place.ports().start,
            place.ports().end - 1
        );
        let mut command = place.command("dumpcap");
        command.args([
            "-q",
            "-P",
            "-i",
            device,
            "-f",
            &format!("udp {range} or tcp {range}"),
            "-w",
        ]);
        let mut process = Process::spawn("dumpcap", place.dir(), command.arg(&file))?;
        // It says which file it writes once it captures.
        process.expect("File:", Duration::from_secs(10))?;
        Ok(Self { process, file })
    }

    /// Ends the capture; returns its file.
    pub(crate) fn stop(mut self) -> io::Result<PathBuf> {
        // The kernel hands packets over in batches: what was sent last takes a moment.
        std::thread::sleep(Duration::from_millis(300));
        self.process.signal("INT");
        self.process.end(Duration::from_secs(5))?;
        Ok(self.file.clone())
    }
}

/// Has tshark dissect a capture of `place`.
pub(crate) fn dissect(place: &Place, file: &Path) -> io::Result<Dissection> {
    Ok(Dissection {
        sip: count(place, file, "sip")?,
        rtp: count(place, file, "rtp")?,
        faults: list(
            place,
            file,
            "_ws.malformed || _ws.expert.severity >= 0x800000",
        )?,
    })
}

/// Shows that a fault would be found: dissects a capture with one packet cut short. An error when
/// tshark takes it for sound.
pub(crate) fn self_check(place: &Place) -> io::Result<()> {
    let file = place.path("planted.pcap");
    pcap::write_stream(&file, &[0; 16_000], Law::Mu, &[])?;
    let mut bytes = fs::read(&file)?;
    // The last packet claims fifteen contributing sources, and loses all that followed its header.
    let last = bytes.len() - 160 - 12;
    bytes[last] = 0x8F;
    let shorter = bytes.len() - 160 + 20;
    bytes.truncate(shorter);
    let record = last - 42 - 16;
    for length in [record + 8, record + 12] {
        bytes[length..length + 4].copy_from_slice(&74u32.to_le_bytes());
    }
    bytes[record + 16 + 16..record + 16 + 18].copy_from_slice(&60u16.to_be_bytes());
    bytes[record + 16 + 38..record + 16 + 40].copy_from_slice(&40u16.to_be_bytes());
    fs::write(&file, bytes)?;
    place.declare(pcap::WRITTEN_TO, "rtp");
    let found = dissect(place, &file)?;
    if found.rtp < 50 || found.faults.len() != 1 {
        let text = format!(
            "tshark finds {} faults where one was planted",
            found.faults.len()
        );
        return Err(io::Error::other(text));
    }
    Ok(())
}

/// How many packets of a capture match a display filter.
pub(crate) fn count(place: &Place, file: &Path, filter: &str) -> io::Result<usize> {
    Ok(list(place, file, filter)?.len())
}

fn list(place: &Place, file: &Path, filter: &str) -> io::Result<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args([
        "-o",
        "rtp.heuristic_rtp:TRUE",
        "-Y",
        filter,
        "-T",
        "fields",
    ]);
    for (port, protocol) in place.spoken() {
        for transport in ["udp", "tcp"] {
            command.args(["-d", &format!("{transport}.port=={port},{protocol}")]);
        }
    }
    for field in [
        "frame.number",
        "_ws.col.Protocol",
        "_ws.col.Info",
        "_ws.expert.message",
    ] {
        command.args(["-e", field]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}
