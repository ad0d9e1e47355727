//! baresip without a sound card: a softphone that says a file and keeps what it hears.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use crate::audio::wav::Wav;

/// A running baresip with one account.
pub(crate) struct Baresip {
    process: Process,
    name: String,
    dir: PathBuf,
    port: u16,
    media: u16,
}

const CONFIG: &str = "\
sip_listen 127.0.0.1:@PORT@
net_interface 127.0.0.1
audio_player aubridge,nobody
audio_source aufile,@DIR@/say.wav
audio_alert aubridge,nobody
ausrc_srate 8000
auplay_srate 8000
audio_level no
rtp_ports @MEDIA@-@MEDIA_END@
rtp_stats yes
snd_path @DIR@
module_path @MODULES@
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
";

impl Baresip {
    /// Starts it under `name`; it says `say` from the moment a call is up, and must not come to
    /// its end: baresip hangs up then. With `answer` it takes every call at once.
    pub(crate) fn spawn(place: &Place, name: &str, say: &[i16], answer: bool) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(&dir)?;
        // TLS takes the port above.
        let (port, media) = (place.take_signalling(), place.take(10));
        let config = CONFIG
            .replace("@PORT@", &port.to_string())
            .replace("@MEDIA@", &media.to_string())
            .replace("@MEDIA_END@", &(media + 9).to_string())
            .replace("@DIR@", &dir.display().to_string())
            .replace("@MODULES@", &modules());
        let mode = if answer { "auto" } else { "manual" };
        let account =
            format!("<sip:{name}@127.0.0.1:{port}>;regint=0;answermode={mode};ptime=20\n");
        Wav::mono(say.to_vec()).write(&dir.join("say.wav"))?;
        fs::write(dir.join("config"), config)?;
        fs::write(dir.join("accounts"), account)?;
        fs::write(dir.join("contacts"), "")?;
        let mut command = Command::new("baresip");
        let mut process = Process::spawn("baresip", &dir, command.arg("-f").arg(&dir))?;
        process.expect("baresip is ready", Duration::from_secs(10))?;
        Ok(Self {
            process,
            name: name.to_owned(),
            dir,
            port,
            media,
        })
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        format!("sip:{}@127.0.0.1:{}", self.name, self.port)
    }

    /// Its RTP ports.
    pub(crate) fn media_ports(&self) -> std::ops::Range<u16> {
        self.media..self.media + 10
    }

    /// Calls.
    pub(crate) fn dial(&mut self, uri: &str) -> io::Result<()> {
        self.process.line(&format!("/dial {uri}"))
    }

    /// Takes the call that rings.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        self.process.line("/accept")
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, digit: char) -> io::Result<()> {
        self.process.line(&format!("/sndcode {digit}"))
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.process.line("/hangup")
    }

    /// Waits until it says that a call is up.
    pub(crate) fn expect_up(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("Call established", limit)
    }

    /// Waits until it says that its call is over.
    pub(crate) fn expect_over(&mut self, limit: Duration) -> io::Result<()> {
        self.process.expect("terminated (duration", limit)
    }

    /// Everything that it printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// What it heard in its (last) call, as it decoded it.
    pub(crate) fn heard(&self) -> io::Result<Wav> {
        Wav::read(&self.dump("-dec.wav")?)
    }

    fn dump(&self, ending: &str) -> io::Result<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(&self.dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        found.sort();
        found
            .pop()
            .ok_or_else(|| self.process.complain("kept no sound"))
    }
}

/// Where Debian keeps baresip's modules, on any architecture.
fn modules() -> String {
    let usual = "/usr/lib/baresip/modules";
    if fs::metadata(usual).is_ok() {
        return usual.to_owned();
    }
    let library = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = library
        .map(|entry| entry.path().join("baresip/modules"))
        .filter(|dir| dir.is_dir());
    found
        .next()
        .map_or(usual.to_owned(), |dir| dir.display().to_string())
}
