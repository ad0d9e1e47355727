//! `cargo xtask quality`: recorded speech through the engine over impaired networks, scored next to its
//! peers on the same packets, and told in docs/quality.md.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::setup;
use crate::shell;

/// The speech, and WebRTC's code with what it takes to link it.
const PACKAGES: [(&str, &str); 8] = [
    (
        "asterisk-core-sounds-en-g722",
        "/usr/share/asterisk/sounds/en_US_f_Allison/vm-intro.g722",
    ),
    (
        "asterisk-core-sounds-fr-g722",
        "/usr/share/asterisk/sounds/fr_CA_f_June/vm-intro.g722",
    ),
    (
        "asterisk-core-sounds-it-g722",
        "/usr/share/asterisk/sounds/it_IT_m_Carlo/vm-intro.g722",
    ),
    (
        "asterisk-core-sounds-ru-g722",
        "/usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU/vm-intro.g722",
    ),
    ("codec2-examples", "/usr/share/codec2/raw/hts1a.raw"),
    ("libtgowt-dev", "/usr/include/tg_owt/api/neteq/neteq.h"),
    ("g++", "/usr/bin/g++"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
];

/// The longest that one step may take.
const LIMIT: Duration = Duration::from_secs(3_600);

/// `--quick` is fewer clips, `--only TABLE` one table; `--clips tuning` is what constants may be chosen
/// on, and then no report is written; `--json` prints the figures; `--bless` takes the summary grid of
/// the tests as it now is.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    if options.contains(&"--bless") {
        return bless();
    }
    install()?;
    let folder = shell::scratch("quality/sounds")?;
    fs::remove_dir_all(&folder)?;
    calls(&folder, options)?;
    let python = python()?;
    let script = |name: &str| shell::root().join("xtask/quality").join(name);
    step(
        "quality-score",
        Command::new(&python).arg(script("score.py")).arg(&folder),
    )?;
    let mut report = Command::new(&python);
    report.arg(script("report.py")).arg(&folder);
    if !options.contains(&"--clips") && !options.contains(&"--only") {
        report.arg(shell::root().join("docs"));
    }
    let told = step("quality-report", &mut report)?;
    if options.contains(&"--json") {
        println!("{}", fs::read_to_string(folder.join("figures.json"))?);
    } else {
        println!("{told}");
    }
    Ok(true)
}

/// Writes the snapshot of the summary grid anew.
fn bless() -> io::Result<bool> {
    let mut command = shell::cargo(["test", "--package", "sidetone-quality", "--test", "summary"]);
    Ok(command.env("SIDETONE_BLESS", "1").status()?.success())
}

fn install() -> io::Result<()> {
    let missing = |package: &&(&str, &str)| !Path::new(package.1).exists();
    let names: Vec<&str> = PACKAGES.iter().filter(missing).map(|p| p.0).collect();
    if names.is_empty() {
        return Ok(());
    }
    let why = setup::install(&names)?;
    if PACKAGES.iter().any(|package| missing(&package)) {
        println!("not all of {} can be had: {why}", names.join(", "));
    }
    Ok(())
}

/// Makes the calls, and leaves the sounds.
fn calls(folder: &Path, options: &[&str]) -> io::Result<()> {
    let mut command = shell::cargo(["run", "--quiet", "--package", "sidetone-quality", "--"]);
    command.arg(folder);
    for name in ["--only", "--clips"] {
        if let Some(at) = options.iter().position(|option| *option == name) {
            command.args(options.iter().skip(at).take(2));
        }
    }
    command.args([
        "--each",
        if options.contains(&"--quick") {
            "1"
        } else {
            "2"
        },
    ]);
    match neteq() {
        Ok(program) => {
            command.arg("--neteq").arg(program);
        }
        Err(error) => println!("without NetEQ: {error}"),
    }
    step("quality-calls", &mut command).map(|_| ())
}

/// Compiles the program that plays packets through NetEQ, unless it is there.
fn neteq() -> io::Result<PathBuf> {
    let source = shell::root().join("xtask/quality/neteq.cc");
    let program = shell::scratch("quality")?.join("neteq");
    let newer = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    if newer(&program).is_ok_and(|made| newer(&source).is_ok_and(|written| written < made)) {
        return Ok(program);
    }
    let mut command = Command::new("g++");
    command.args(["-O1", "-std=c++17", "-DWEBRTC_POSIX", "-DWEBRTC_LINUX"]);
    command
        .arg("-I/usr/include/tg_owt")
        .arg(source)
        .arg("-o")
        .arg(&program);
    command.args([
        "-Wl,--copy-dt-needed-entries,--as-needed",
        "-ltg_owt",
        "-lopus",
    ]);
    command.args([
        "-labsl_strings",
        "-labsl_bad_optional_access",
        "-labsl_bad_variant_access",
    ]);
    step("quality-neteq", command.arg("-lpthread"))?;
    Ok(program)
}

/// A Python of its own with the pinned judges, made on first use.
fn python() -> io::Result<PathBuf> {
    let venv = shell::scratch("quality")?.join("python");
    let python = venv.join("bin/python");
    let ready = venv.join("ready");
    if ready.is_file() {
        return Ok(python);
    }
    step(
        "quality-venv",
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
    )?;
    let pins = shell::root().join("xtask/quality/requirements.txt");
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "-r",
    ]);
    step("quality-pip", pip.arg(pins))?;
    fs::write(ready, "")?;
    Ok(python)
}

/// Runs a program to its end; gives what it said.
fn step(name: &str, command: &mut Command) -> io::Result<String> {
    let done = shell::run(name, command, LIMIT)?;
    if done.success {
        return Ok(done.output);
    }
    let said = shell::tail(&done.output, 20);
    Err(io::Error::other(format!("{name} failed:\n{said}")))
}
