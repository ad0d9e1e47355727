//! What a process has used, as Linux tells it.

use std::fs;
use std::io;
use std::time::Duration;

/// Looks at one process.
#[derive(Debug)]
pub(super) struct Meter {
    process: u32,
}

impl Meter {
    pub(super) fn new(process: u32) -> Self {
        Self { process }
    }

    /// Processor time of its threads so far, the system's part included, to the nanosecond.
    pub(super) fn processor(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process))? {
            // A thread that has just ended takes its time along; none does while calls are up.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let spent = text.split_whitespace().next();
            nanos += spent.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its memory in use, in kilobytes.
    pub(super) fn resident(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other("no VmRSS"))
    }
}
