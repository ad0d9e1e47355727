//! Our own command-line client, `sidetone call` and `sidetone answer`.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::engine::binary;
use super::place::Place;
use super::process::Process;
use crate::audio::wav::Wav;

/// The password of whoever is given with `--user`.
pub(crate) const PASSWORD: &str = "wonder";

/// A running `sidetone call` or `sidetone answer`.
pub(crate) struct Own {
    process: Process,
    dir: PathBuf,
    address: Ipv4Addr,
    port: u16,
}

impl Own {
    /// Calls `uri` and says `say` from the answer on.
    pub(crate) fn call(
        place: &Place,
        uri: &str,
        say: impl Into<Wav>,
        options: &[&str],
    ) -> io::Result<Self> {
        let record = ["call", uri, "--record", "heard.wav"];
        Self::spawn(place, "call", &[&record, options].concat(), say.into())
    }

    /// Answers calls and says `say` to each.
    pub(crate) fn answer(place: &Place, say: impl Into<Wav>, options: &[&str]) -> io::Result<Self> {
        let record = ["answer", "--record", "."];
        let mut own = Self::spawn(place, "answer", &[&record, options].concat(), say.into())?;
        own.process
            .expect("listening on", Duration::from_secs(10))?;
        Ok(own)
    }

    /// Records the sessions that others bring.
    pub(crate) fn record_sessions(place: &Place, options: &[&str]) -> io::Result<Self> {
        let dir = place.path("srs");
        fs::create_dir_all(&dir)?;
        let port = place.take_signalling();
        let mut command = place.command(binary("sidetone"));
        command.args(["srs", "."]).args(options).arg("--address");
        command.arg(place.address().to_string());
        let process = Process::spawn("srs", &dir, command.args(["--port", &port.to_string()]))?;
        let mut own = Self {
            process,
            dir,
            address: place.address(),
            port,
        };
        own.process
            .expect("listening on", Duration::from_secs(10))?;
        Ok(own)
    }

    /// The file of its one recorded session, and what is in it.
    pub(crate) fn session(&self) -> io::Result<(PathBuf, Wav)> {
        let file = self.dir.join("session-1.wav");
        let wav = Wav::read(&file)?;
        Ok((file, wav))
    }

    /// Answers calls with silence, as `name`, and with more in its environment.
    pub(crate) fn answer_with(
        place: &Place,
        name: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        let words = [&["answer"], options].concat();
        let silence = Wav::mono(vec![0; 8_000]);
        let mut own = Self::spawn_with(place, name, &words, silence, environment)?;
        own.process
            .expect("listening on", Duration::from_secs(10))?;
        Ok(own)
    }

    fn spawn(place: &Place, name: &str, words: &[&str], say: Wav) -> io::Result<Self> {
        Self::spawn_with(place, name, words, say, &[])
    }

    fn spawn_with(
        place: &Place,
        name: &str,
        words: &[&str],
        say: Wav,
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(&dir)?;
        say.write(&dir.join("say.wav"))?;
        let port = place.take_signalling();
        let mut command = place.command(binary("sidetone"));
        command
            .env("SIDETONE_PASSWORD", PASSWORD)
            .envs(environment.iter().copied())
            .args(words)
            .args(["--play", "say.wav", "--address"])
            .arg(place.address().to_string());
        let process = Process::spawn(name, &dir, command.args(["--port", &port.to_string()]))?;
        Ok(Self {
            process,
            dir,
            address: place.address(),
            port,
        })
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Its SIP address.
    pub(crate) fn uri(&self) -> String {
        format!("sip:sidetone@{}:{}", self.address, self.port)
    }

    /// The file with everything that it printed.
    pub(crate) fn log_file(&self) -> &Path {
        self.process.log_file()
    }

    /// Everything that it printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it prints `text`.
    pub(crate) fn expect(&mut self, text: &str) -> io::Result<()> {
        self.process.expect(text, Duration::from_secs(20))
    }

    /// Waits for its end; an error unless its exit status is `code`.
    pub(crate) fn exit(&mut self, code: i32, limit: Duration) -> io::Result<()> {
        match self.process.end(limit)? {
            Some(status) if status.code() == Some(code) => Ok(()),
            other => Err(self
                .process
                .complain(&format!("ended with {other:?}, not {code}"))),
        }
    }

    /// Kills it: it learns nothing of that.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Ends it as Ctrl-C does; an error unless it ends cleanly.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.process.signal("INT");
        self.process.succeed(Duration::from_secs(15))
    }

    /// What it heard in its one call.
    pub(crate) fn heard(&self) -> io::Result<Wav> {
        let files = fs::read_dir(&self.dir)?.filter_map(|entry| Some(entry.ok()?.path()));
        let recording = |path: &PathBuf| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name == "heard.wav" || (name.starts_with("call-") && name.ends_with(".wav"))
        };
        let file = files.into_iter().find(recording);
        Wav::read(&file.ok_or_else(|| self.process.complain("left no recording"))?)
    }
}

/// What `sidetone verify` says of a recording whose record nobody has signed; an error unless it is unchanged.
pub(crate) fn verify(file: &Path) -> io::Result<String> {
    let output = Command::new(binary("sidetone"))
        .arg("verify")
        .arg(file)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.starts_with("unchanged") {
        true => Ok(text),
        false => Err(io::Error::other(format!("{}: {text}", file.display()))),
    }
}
