//! `cargo xtask bench scenario`: whole servers under calls with real speech, beside a floor and a peer.

mod ng;
mod row;
pub(crate) mod soak;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::peer::place::Place;
use crate::setup;
use crate::shell;

use row::{Bench, Row};

/// Where what is measured runs, and where the load comes from.
const MEASURED: &str = "0";
const LOAD: &str = "1";
/// The longest that a build may take.
const LIMIT: Duration = Duration::from_secs(1_800);
/// The speech that is sent, some forty seconds of a professional voice.
const SPEECH: [&str; 3] = ["demo-congrats.wav", "demo-instruct.wav", "vm-intro.wav"];
const PROMPTS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// The rows named, or all; `--calls N`, `--seconds N`, `--rounds N`; `--quick` only shows that it works,
/// `--write` puts the table into docs/benchmarks.md.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    let names: Vec<&str> = Row::ALL.iter().map(|row| row.name).collect();
    let known = [&["--quick", "--write"][..], &names].concat();
    check(options, &known, &["--calls", "--seconds", "--rounds"])?;
    prepare()?;
    let quick = options.contains(&"--quick");
    let number = |name, usual: usize| {
        let value = option(options, name).and_then(|text| text.parse().ok());
        value.unwrap_or(usual)
    };
    let bench = Bench {
        place: Place::new("scenario")?,
        calls: number("--calls", if quick { 20 } else { 500 }),
        seconds: number("--seconds", if quick { 2 } else { 10 }),
    };
    let rounds = number("--rounds", if quick { 1 } else { 2 });
    let named = |row: &&Row| {
        let any = Row::ALL.iter().any(|row| options.contains(&row.name));
        !any || options.contains(&row.name)
    };
    let rows: Vec<&Row> = Row::ALL.iter().filter(named).collect();
    let mut all = Vec::new();
    // Rounds go through all rows, so that a machine that grows busy slows all of them.
    for round in 1..=rounds {
        for row in &rows {
            println!("round {round}: {} …", row.name);
            match bench.measure(row) {
                Ok(result) => all.push((row.name, result)),
                Err(error) => println!("  {error}"),
            }
        }
    }
    let table = table::Table::new(&bench, &rows, &all);
    println!("\n{}", table.markdown());
    if options.contains(&"--write") {
        table.write()?;
    }
    Ok(rows
        .iter()
        .all(|row| all.iter().any(|(name, _)| *name == row.name)))
}

/// Refuses words that mean nothing here: `alone` stand for themselves, `valued` are followed by a value.
fn check(options: &[&str], alone: &[&str], valued: &[&str]) -> io::Result<()> {
    let mut words = options.iter();
    while let Some(word) = words.next() {
        if valued.contains(word) {
            words.next();
        } else if !alone.contains(word) {
            let all = [alone, valued].concat().join(" ");
            return Err(io::Error::other(format!("{word} is none of: {all}")));
        }
    }
    Ok(())
}

/// What follows an option of this name.
fn option<'a>(options: &[&'a str], name: &str) -> Option<&'a str> {
    let place = options.iter().position(|option| *option == name)?;
    options.get(place + 1).copied()
}

/// Installs and builds what is measured, and what measures.
fn prepare() -> io::Result<()> {
    let missing = setup::packages()?;
    let needed = ["rtpengine", "taskset"];
    if needed.iter().any(|name| shell::find(name).is_none()) {
        return Err(io::Error::other(format!("missing: {}", missing.join(", "))));
    }
    build()
}

/// The programs that are measured and that measure, optimised as for use.
fn build() -> io::Result<()> {
    let programs = [
        &["--package", "sidetone-cli"][..],
        &["--package", "sidetone-udp", "--example", "floor"],
    ];
    for program in programs {
        let args = [&["build", "--release"][..], program].concat();
        let done = shell::run("release", &mut shell::cargo(args), LIMIT)?;
        if !done.success {
            return Err(io::Error::other(shell::tail(&done.output, 40)));
        }
    }
    Ok(())
}

/// An optimised program of ours.
fn program(name: &str) -> PathBuf {
    shell::root()
        .join(shell::target())
        .join("release")
        .join(name)
}

/// The files of speech.
fn speech() -> impl Iterator<Item = String> {
    SPEECH.iter().map(|name| format!("{PROMPTS}/{name}"))
}
