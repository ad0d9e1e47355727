//! `cargo xtask test`: everything that must hold before a change is taken.

use std::io;
use std::process::Command;
use std::time::Duration;

use crate::bench;
use crate::fuzz;
use crate::guards;
use crate::interop;
use crate::report::{Report, Tally};
use crate::setup;
use crate::shell::{self, Finished};
use crate::tools;

/// The longest that one cargo command may take.
const LIMIT: Duration = Duration::from_secs(1200);

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> io::Result<Tally>,
}

/// In the order in which they run: what fails soonest first, and builds that share artefacts
/// (same features, same profile) beside each other.
const STEPS: [Step; 12] = [
    step("setup", "install tools and real peers", set_up),
    step("fmt", "rustfmt --check", fmt),
    step("guards", "the house rules", guards::run),
    step("deny", "licences, bans and sources of dependencies", deny),
    step("clippy", "lints, warnings denied", clippy),
    step("core", "the library without sockets and threads", core),
    step("doc", "documentation without warnings", doc),
    step("tests", "unit and integration tests", tests),
    step("doctests", "the documentation's examples", doctests),
    step("benches", "every benchmark once", bench::smoke),
    step("fuzz", "every fuzz target over its seeds", fuzz::smoke),
    step("interop", "calls with real peers", interop::run),
];

const fn step(name: &'static str, what: &'static str, run: fn() -> io::Result<Tally>) -> Step {
    Step { name, what, run }
}

/// Runs the named steps, or all of them.
pub(crate) fn run(names: &[&str]) -> io::Result<bool> {
    if let Some(unknown) = names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        return Err(io::Error::other(format!("no step {unknown}\n{}", usage())));
    }
    let mut report = Report::new();
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.contains(&step.name))
    {
        if !report.step(step.name, step.run) {
            println!(
                "Stopped: {} failed. Alone: cargo xtask test {}",
                step.what, step.name
            );
            break;
        }
    }
    Ok(report.finish())
}

/// The steps, one a line.
pub(crate) fn usage() -> String {
    let lines = STEPS
        .iter()
        .map(|step| format!("    {:<10} {}\n", step.name, step.what));
    format!("steps:\n{}", lines.collect::<String>())
}

/// Runs cargo at the workspace's root, its output in the step's log.
pub(crate) fn cargo(log: &str, args: &[&str]) -> io::Result<Finished> {
    shell::run(log, &mut shell::cargo(args.iter().copied()), LIMIT)
}

/// A failed check with the end of its output.
pub(crate) fn failed(done: &Finished) -> Tally {
    Tally::fail(shell::tail(&done.output, 80)).line(format!("log: {}", done.log.display()))
}

fn verdict(done: &Finished) -> Tally {
    if done.success {
        Tally::pass()
    } else {
        failed(done)
    }
}

fn set_up() -> io::Result<Tally> {
    let missing = setup::packages()?;
    let mut tally = Tally::pass();
    for name in ["nextest", "deny"] {
        if let Err(error) = tools::get(name) {
            tally = tally.line(format!("missing: {error}"));
        }
    }
    Ok(missing.iter().fold(tally, |tally, package| {
        tally.line(format!("missing: {package}"))
    }))
}

fn fmt() -> io::Result<Tally> {
    Ok(verdict(&cargo("fmt", &["fmt", "--all", "--check"])?))
}

fn deny() -> io::Result<Tally> {
    let tool = match tools::get("deny") {
        Ok(tool) => tool,
        Err(error) => return Ok(Tally::skip(1, error.to_string())),
    };
    let mut command = Command::new(tool);
    command
        .current_dir(shell::root())
        .args(["--log-level", "error", "--color", "never", "check"]);
    let done = shell::run("deny", command.args(["licenses", "bans", "sources"]), LIMIT)?;
    let note = "advisories not checked: their database is not asked for here";
    Ok(verdict(&done).noted(note))
}

fn clippy() -> io::Result<Tally> {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ];
    Ok(verdict(&cargo("clippy", &args)?))
}

fn core() -> io::Result<Tally> {
    let args = [
        "clippy",
        "--package",
        "sidetone",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ];
    Ok(verdict(&cargo("core", &args)?))
}

fn doc() -> io::Result<Tally> {
    let mut command = shell::cargo(["doc", "--workspace", "--lib", "--all-features", "--no-deps"]);
    Ok(verdict(&shell::run(
        "doc",
        command.env("RUSTDOCFLAGS", "-D warnings"),
        LIMIT,
    )?))
}

fn tests() -> io::Result<Tally> {
    let Ok(tool) = tools::get("nextest") else {
        let done = cargo(
            "tests",
            &[
                "test",
                "--workspace",
                "--all-features",
                "--lib",
                "--bins",
                "--tests",
            ],
        )?;
        return Ok(libtest(&done).line("cargo-nextest is missing: ran cargo test in its place"));
    };
    let mut command = Command::new(tool);
    command
        .current_dir(shell::root())
        .env("CARGO_TERM_COLOR", "never");
    command.args([
        "nextest",
        "run",
        "--workspace",
        "--all-features",
        "--no-tests=pass",
    ]);
    command.args([
        "--no-fail-fast",
        "--status-level=slow",
        "--final-status-level=fail",
    ]);
    let done = shell::run("tests", &mut command, LIMIT)?;
    Ok(nextest(&done))
}

fn doctests() -> io::Result<Tally> {
    Ok(libtest(&cargo(
        "doctests",
        &["test", "--workspace", "--all-features", "--doc"],
    )?))
}

/// Reads nextest's summary, and shows it.
fn nextest(done: &Finished) -> Tally {
    let summary = done
        .output
        .lines()
        .rfind(|line| line.trim_start().starts_with("Summary ["));
    let Some(summary) = summary else {
        return if done.success {
            Tally::skip(1, "there are no tests")
        } else {
            failed(done)
        };
    };
    let mut tally = Tally {
        passed: count(summary, "passed"),
        failed: count(summary, "failed") + count(summary, "timed out"),
        skipped: count(summary, "skipped"),
        ..Tally::default()
    };
    tally.lines.push(summary.trim().to_owned());
    if !done.success {
        tally.failed = tally.failed.max(1);
        tally.lines.extend(failed(done).lines);
    }
    tally
}

/// Adds up the test harness's own result lines.
fn libtest(done: &Finished) -> Tally {
    let mut tally = Tally::default();
    for line in done
        .output
        .lines()
        .filter(|line| line.starts_with("test result:"))
    {
        tally.passed += count(line, "passed");
        tally.failed += count(line, "failed");
        tally.skipped += count(line, "ignored");
    }
    if !done.success {
        tally.failed = tally.failed.max(1);
        tally.lines.extend(failed(done).lines);
    }
    let note = format!("{} passed", tally.passed);
    tally.noted(note)
}

/// The number that stands before `word` in a line such as `3 passed, 1 failed`.
fn count(line: &str, word: &str) -> usize {
    let Some((before, _)) = line.split_once(&format!(" {word}")) else {
        return 0;
    };
    before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn finished(success: bool, output: &str) -> Finished {
        Finished {
            success,
            output: output.to_owned(),
            log: PathBuf::new(),
        }
    }

    #[test]
    fn nextest_summary_is_read() {
        let line = "     Summary [   1.2s] 12 tests run: 9 passed (1 slow), 3 failed, 4 skipped\n";
        let tally = nextest(&finished(false, line));
        assert_eq!((tally.passed, tally.failed, tally.skipped), (9, 3, 4));
    }

    #[test]
    fn a_failure_without_a_summary_is_a_failure() {
        assert_eq!(
            nextest(&finished(false, "error: could not compile")).failed,
            1
        );
        assert_eq!(
            libtest(&finished(false, "error: could not compile")).failed,
            1
        );
    }

    #[test]
    fn harness_results_are_added_up() {
        let lines = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
                     test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured\n";
        let tally = libtest(&finished(true, lines));
        assert_eq!((tally.passed, tally.failed, tally.skipped), (7, 0, 1));
    }
}
