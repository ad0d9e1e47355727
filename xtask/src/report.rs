//! One line a step, and the closing count.

use std::io::Write as _;
use std::time::Instant;

use crate::shell;

/// How many checks a step made, and what it has to say about them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Shown after the step's name.
    pub(crate) note: String,
    /// Lines printed below the step: failures, skips with their reason, a tool's own summary.
    pub(crate) lines: Vec<String>,
}

impl Tally {
    /// One check that passed.
    pub(crate) fn pass() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// `count` checks that could not be made here, with the reason.
    pub(crate) fn skip(count: usize, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            skipped: count,
            lines: vec![format!("skipped: {reason}")],
            ..Self::default()
        }
    }

    /// One check that failed, with what it printed.
    pub(crate) fn fail(why: impl AsRef<str>) -> Self {
        let lines = why.as_ref().lines().map(str::to_owned).collect();
        Self {
            failed: 1,
            lines,
            ..Self::default()
        }
    }

    /// The same tally with a note beside the step's name.
    pub(crate) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The same tally with a line below the step.
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Prints steps as they end and sums them up.
pub(crate) struct Report {
    started: Instant,
    total: Tally,
}

impl Report {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            total: Tally::default(),
        }
    }

    /// Runs one step and prints its line; false when it failed.
    pub(crate) fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> std::io::Result<Tally>,
    ) -> bool {
        let start = Instant::now();
        let tally = work().unwrap_or_else(|error| Tally::fail(error.to_string()));
        let verdict = match &tally {
            Tally { failed: 1.., .. } => "FAILED",
            Tally {
                passed: 0,
                skipped: 1..,
                ..
            } => "skipped",
            _ => "ok",
        };
        let note = if tally.note.is_empty() {
            String::new()
        } else {
            format!("  {}", tally.note)
        };
        println!(
            "{verdict:<8} {name:<22} {:>7.1} s{note}",
            start.elapsed().as_secs_f64()
        );
        for line in &tally.lines {
            println!("    {line}");
        }
        let _ = std::io::stdout().flush();
        self.total.add(&tally);
        tally.failed == 0
    }

    /// Prints the closing lines; the process's exit status follows from it.
    pub(crate) fn finish(self) -> bool {
        let Tally {
            passed,
            failed,
            skipped,
            ..
        } = self.total;
        if failed > 0 {
            println!(
                "Logs of every step: {}",
                shell::target().join("xtask/logs").display()
            );
        }
        println!("Took {:.0} s", self.started.elapsed().as_secs_f64());
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        failed == 0
    }
}
