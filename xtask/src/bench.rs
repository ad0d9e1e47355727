//! Benchmarks: measured by hand, smoke-run by the tests.

use std::io;

use crate::report::Tally;
use crate::scenario;
use crate::shell;
use crate::test;

/// `cargo xtask bench [FILTER]`: measures, with the output on the terminal; `scenario` measures whole
/// servers, `soak` one of them for long.
pub(crate) fn run(filter: &[&str]) -> io::Result<bool> {
    if let Some((&"scenario", options)) = filter.split_first() {
        return scenario::run(options);
    }
    if let Some((&"soak", options)) = filter.split_first() {
        return scenario::soak::run(options);
    }
    let mut command = shell::cargo([
        "bench",
        "--package",
        "sidetone-benches",
        "--bench",
        "*",
        "--",
    ]);
    Ok(command.args(filter).status()?.success())
}

/// Runs every benchmark once, in the tests' own build: it compiles and does not panic.
pub(crate) fn smoke() -> io::Result<Tally> {
    let targets = targets()?;
    if targets.is_empty() {
        return Ok(Tally::skip(1, "there are no benchmarks"));
    }
    let done = test::cargo(
        "benches",
        &[
            "bench",
            "--workspace",
            "--all-features",
            "--profile",
            "dev",
            "--bench",
            "*",
            "--",
            "--test",
        ],
    )?;
    if !done.success {
        return Ok(test::failed(&done));
    }
    let passed = done
        .output
        .lines()
        .filter(|line| *line == "Success")
        .count();
    let note = format!("{passed} benchmarks in {}", targets.join(", "));
    Ok(Tally {
        passed: passed.max(1),
        ..Tally::default()
    }
    .noted(note))
}

fn targets() -> io::Result<Vec<String>> {
    let Ok(dir) = std::fs::read_dir(shell::root().join("benches/benches")) else {
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
