//! A running program that never outlives its owner.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::shell;

/// How often a log is looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// A child process with its output in a file. Dropping it ends the process.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `dir`; its standard output and error go to `NAME.log` there.
    pub(crate) fn spawn(name: &str, dir: &Path, command: &mut Command) -> io::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut guarded = guarded(command);
        let mut child = guarded
            .current_dir(dir)
            .env("HOME", dir)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        let input = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            log,
        })
    }

    /// Writes a line to its standard input.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.keys(&format!("{text}\n"))
    }

    /// Writes keys to its standard input.
    pub(crate) fn keys(&mut self, keys: &str) -> io::Result<()> {
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| io::Error::other("its input is closed"))?;
        input.write_all(keys.as_bytes())?;
        input.flush()
    }

    /// Its number among the system's processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends its standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// The file that takes everything that it prints.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// Everything that it has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits until it has printed `text`; an error when it ends or `limit` passes first.
    pub(crate) fn expect(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        loop {
            let over = self.child.try_wait()?.is_some() || Instant::now() >= end;
            if self.log().contains(text) {
                return Ok(());
            }
            if over {
                return Err(self.complain(&format!("did not print `{text}`")));
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until a program of this machine has taken `port`, be it of UDP or of TCP: who calls
    /// it sooner is told by the system that nobody is there.
    pub(crate) fn expect_port(&mut self, port: u16, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        while !is_taken(port)? {
            if self.child.try_wait()?.is_some() || Instant::now() >= end {
                return Err(self.complain(&format!("did not take port {port}")));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Waits until it ends by itself with success.
    pub(crate) fn succeed(&mut self, limit: Duration) -> io::Result<()> {
        match self.end(limit)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.complain(&format!("ended with {status}"))),
            None => Err(self.complain(&format!("still runs after {} s", limit.as_secs()))),
        }
    }

    /// Waits until it ends; `None` when it still runs after `limit`.
    pub(crate) fn end(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        shell::wait(&mut self.child, limit)
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own: a small Debian has no program called kill.
        let kill = format!("kill -s {name} {}", self.child.id());
        let _ = Command::new("sh")
            .args(["-c", &kill])
            .stderr(Stdio::null())
            .status();
    }

    /// Kills it: it learns nothing of that.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// An error about this process, with the end of its log.
    pub(crate) fn complain(&self, what: &str) -> io::Error {
        let log = self.log().replace('\r', "\n");
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n    | ");
        io::Error::other(format!("{} {what}\n    | {tail}", self.name))
    }
}

/// Whether a socket of this machine is bound to `port`, as the kernel lists them.
fn is_taken(port: u16) -> io::Result<bool> {
    let bound = format!(":{port:04X}");
    for table in ["udp", "udp6", "tcp", "tcp6"] {
        let sockets = match fs::read_to_string(format!("/proc/net/{table}")) {
            Ok(sockets) => sockets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // A line is `sl local remote …`.
        let mut local = sockets
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        if local.any(|local| local.ends_with(&bound)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same command, ended by the system should this program die before it.
fn guarded(command: &Command) -> Command {
    let mut words = Vec::new();
    if shell::find("setpriv").is_some() {
        // Kamailio ends its children when it is asked to end, and the desk hangs up on its callers;
        // the others have neither, and some of them would first see their calls to an end.
        // In a namespace the program is an argument of what enters it.
        let polite = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(Path::new)
            .any(|word| word.ends_with("kamailio") || word.ends_with("agent-bridge"));
        let signal = if polite { "TERM" } else { "KILL" };
        words.extend(["setpriv", "--pdeathsig", signal, "--"].map(OsStr::new));
    }
    words.push(command.get_program());
    words.extend(command.get_args());
    let mut guarded = Command::new(words[0]);
    guarded.args(&words[1..]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    guarded
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal("TERM");
        if !matches!(
            shell::wait(&mut self.child, Duration::from_secs(2)),
            Ok(Some(_))
        ) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
