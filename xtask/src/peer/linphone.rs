//! Linphone's command-line client, with files for microphone and loudspeaker.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use crate::audio::wav::Wav;

/// A running linphonec.
pub(crate) struct Linphone {
    process: Process,
    dir: PathBuf,
    port: u16,
}

const CONFIG: &str = "\
[sip]
sip_port=@PORT@
sip_tcp_port=0
sip_tls_port=0
guess_hostname=0
contact=\"Linphone\" <sip:linphone@127.0.0.1>
use_ipv6=0
ipv6_migration_done=1
auto_net_state_mon=0
bind_address=127.0.0.1
[rtp]
bind_address=127.0.0.1
audio_rtp_port=@MEDIA@
";

impl Linphone {
    /// Starts it under `name`; it says `say` once a call is up. With `answer` it takes every call.
    pub(crate) fn spawn(place: &Place, name: &str, say: &[i16], answer: bool) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(dir.join(".local/share/linphone"))?;
        let (port, media) = (place.take_signalling(), place.take(2));
        let config = CONFIG.replace("@PORT@", &port.to_string());
        fs::write(
            dir.join("linphonerc"),
            config.replace("@MEDIA@", &media.to_string()),
        )?;
        Wav::mono(say.to_vec()).write(&dir.join("say.wav"))?;
        let mut command = Command::new("linphonec");
        command.args(["-c", "linphonerc"]);
        if answer {
            command.arg("-a");
        }
        let mut process = Process::spawn("linphonec", &dir, &mut command)?;
        process.line("soundcard use files")?;
        // Short names: its line editor hides the beginning of long lines.
        process.line("record heard.wav")?;
        process.line("play say.wav")?;
        process.expect("play say.wav", Duration::from_secs(10))?;
        Ok(Self { process, dir, port })
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        format!("sip:linphone@127.0.0.1:{}", self.port)
    }

    /// Calls.
    pub(crate) fn dial(&mut self, uri: &str) -> io::Result<()> {
        self.process.line(&format!("call {uri}"))
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, digit: char) -> io::Result<()> {
        self.process.line(&digit.to_string())
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.process.line("terminate")
    }

    /// Waits until sound flows.
    pub(crate) fn expect_up(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("Media streams established", limit)
    }

    /// Waits until its call is over.
    pub(crate) fn expect_over(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect(" ended (", limit)
    }

    /// What it heard. It writes the file's header when it quits.
    pub(crate) fn heard(mut self) -> io::Result<Wav> {
        self.process.line("quit")?;
        self.process.end(Duration::from_secs(10))?;
        Wav::read(&self.dir.join("heard.wav"))
    }
}
