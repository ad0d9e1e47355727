//! Running other programs: where the workspace stands, output kept in a log, time limits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target directory, which also takes what this program keeps.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// This program's own folder below the target directory, created on first use.
pub(crate) fn scratch(name: &str) -> io::Result<PathBuf> {
    let dir = target().join("xtask").join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// What a finished program left behind.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// Standard output and standard error, interleaved as they came.
    pub(crate) output: String,
    pub(crate) log: PathBuf,
}

/// Runs `command` to its end with no standard input and everything it prints in a log file.
/// A program that outlives `limit` is killed and counts as failed.
pub(crate) fn run(name: &str, command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let log = scratch("logs")?.join(format!("{name}.log"));
    let file = File::create(&log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{:?}: {error}", command.get_program()),
            )
        })?;
    let status = wait(&mut child, limit)?;
    let mut output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
        output.push_str(&format!(
            "\n[killed: still running after {} s]\n",
            limit.as_secs()
        ));
    }
    Ok(Finished {
        success: status.is_some_and(|status| status.success()),
        output,
        log,
    })
}

/// Waits for a child; `None` when it still runs after `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program's full path, when one of that name is on the search path or among the system's
/// administration programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// A cargo command at the workspace's root.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(root())
        .args(args)
        .env("CARGO_TERM_COLOR", "never");
    command
}

/// The last `count` lines of `text`.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
