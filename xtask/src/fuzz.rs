//! Fuzzing: real runs by hand, every target smoke-run over its seeds by the tests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::report::Tally;
use crate::shell;
use crate::test;
use crate::tools;

/// `cargo xtask fuzz [--minutes N] [--keep] [TARGET]`.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    let mut minutes = 10.0;
    let mut keep = false;
    let mut only = None;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "--minutes" => {
                let number = words.next().and_then(|number| number.parse().ok());
                minutes = number.ok_or_else(|| io::Error::other("--minutes wants a number"))?;
            }
            "--keep" => keep = true,
            name => only = Some(name),
        }
    }
    let nightly =
        tools::nightly().ok_or_else(|| io::Error::other("fuzzing needs a nightly compiler"))?;
    let tool = tools::get("fuzz")?;
    let targets: Vec<String> = targets()?
        .into_iter()
        .filter(|name| only.is_none_or(|only| only == name))
        .collect();
    if targets.is_empty() {
        return Err(io::Error::other("no such target in fuzz/fuzz_targets"));
    }
    let seconds = (minutes * 60.0 / targets.len() as f64).max(1.0) as u64;
    let mut clean = true;
    for target in targets {
        let grown = shell::scratch(&format!("corpus/{target}"))?;
        let mut command = cargo_fuzz(&nightly, &tool, &["run", &target]);
        command
            .arg(&grown)
            .args(seeds(&target))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"));
        println!("{target}: {seconds} s");
        let mut good = command.status()?.success();
        if good && keep {
            good = merge(&nightly, &tool, &target, &grown)?;
        }
        println!(
            "{target}: {}",
            if good { "clean" } else { "FAILED, see above" }
        );
        clean &= good;
    }
    Ok(clean)
}

/// Adds to the committed seeds of a target what, of all that has `grown`, reaches code that they do not:
/// the fewest and smallest inputs that do. How often code is reached does not count, which would keep
/// ten times as many.
fn merge(nightly: &str, tool: &Path, target: &str, grown: &Path) -> io::Result<bool> {
    let seeds = shell::root().join("fuzz/seeds").join(target);
    let mut command = cargo_fuzz(nightly, tool, &["run", target]);
    command.arg(seeds).arg(grown);
    command.args(["--", "-merge=1", "-use_counters=0"]);
    Ok(command.status()?.success())
}

/// Builds every target and runs it once over each of its seeds.
pub(crate) fn smoke() -> io::Result<Tally> {
    let targets = targets()?;
    if targets.is_empty() {
        return Ok(Tally::skip(1, "there are no fuzz targets"));
    }
    let Some(nightly) = tools::nightly() else {
        let reason = "no nightly compiler; the same seeds ran through the library's own tests";
        return Ok(Tally::skip(targets.len(), reason));
    };
    let tool = tools::get("fuzz")?;
    let mut build = cargo_fuzz(&nightly, &tool, &["build", "--dev"]);
    let done = shell::run("fuzz-build", &mut build, Duration::from_secs(900))?;
    if !done.success {
        return Ok(test::failed(&done));
    }
    let mut tally = Tally::default().noted(targets.join(", "));
    for target in &targets {
        let mut command = cargo_fuzz(&nightly, &tool, &["run", "--dev", target]);
        command.args(seeds(target)).args(["--", "-runs=0"]);
        let done = shell::run(
            &format!("fuzz-{target}"),
            &mut command,
            Duration::from_secs(300),
        )?;
        if done.success {
            tally.passed += 1;
        } else {
            tally.failed += 1;
            tally.lines.extend(test::failed(&done).lines);
        }
    }
    Ok(tally)
}

fn cargo_fuzz(nightly: &str, tool: &Path, args: &[&str]) -> Command {
    let (verb, rest) = args.split_first().unwrap_or((&"list", &[]));
    let mut command = Command::new("rustup");
    command
        .current_dir(shell::root())
        .args(["run", nightly])
        .arg(tool)
        .arg(verb);
    command
        .arg("--target-dir")
        .arg(shell::target().join("fuzz"))
        .args(rest);
    command
}

fn targets() -> io::Result<Vec<String>> {
    let Ok(dir) = fs::read_dir(shell::root().join("fuzz/fuzz_targets")) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in dir {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The committed seeds of a target.
fn seeds(target: &str) -> Option<PathBuf> {
    let dir = shell::root().join("fuzz/seeds").join(target);
    dir.is_dir().then_some(dir)
}
