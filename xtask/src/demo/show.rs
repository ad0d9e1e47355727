//! Progress on the terminal: one line an event, as it happens.

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::engine::Engine;

/// How often the desk's own progress is looked at.
const GLANCE: Duration = Duration::from_millis(25);
/// The longest that the desk may take for a step.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prints events with the time since the start.
pub(super) struct Show {
    started: Instant,
    /// How much of the desk's log has been shown.
    shown: usize,
}

impl Show {
    /// Starts the clock.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            shown: 0,
        }
    }

    /// Prints an event.
    pub(super) fn line(&self, text: &str) {
        println!("{:>6.1} s  {text}", self.started.elapsed().as_secs_f64());
        let _ = io::stdout().flush();
    }

    /// Shows what the desk reports until it reports `event`.
    pub(super) fn follow(&mut self, desk: &mut Engine, event: &str) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if self.relay(desk).lines().any(|line| line.contains(event)) {
                return Ok(());
            }
            if Instant::now() >= end || !desk.runs() {
                return Err(desk.complain(&format!("never reported `{event}`")));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Shows what the desk reports for a while.
    pub(super) fn pass(&mut self, desk: &Engine, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.relay(desk);
            thread::sleep(GLANCE);
        }
    }

    /// Prints the desk's new lines; returns them.
    fn relay(&mut self, desk: &Engine) -> String {
        let log = desk.log();
        let whole = log.rfind('\n').map_or(0, |end| end + 1);
        let fresh = log.get(self.shown..whole).unwrap_or_default().to_owned();
        self.shown = whole.max(self.shown);
        for line in fresh.lines() {
            self.line(&format!("desk: {line}"));
        }
        fresh
    }
}
