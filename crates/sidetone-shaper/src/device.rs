//! The two TUN devices, and the threads that read and write them.

use std::io::{self, Read as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sidetone::rng::Rng;
use sidetone::time::Instant;
use tappers::{Interface, Tun};

use crate::line::Line;
use crate::options::Options;

/// The longest IP packet.
const LONGEST: usize = 65_535;
/// How long a device that is not up yet is left alone.
const PATIENCE: Duration = Duration::from_millis(20);

/// Carries packets until standard input ends, then tells what became of them.
pub(crate) fn shape(options: &Options) -> io::Result<()> {
    let left = open(&options.left)?;
    let right = open(&options.right)?;
    let mut rng = Rng::new(options.seed);
    let started = std::time::Instant::now();
    let mut direction = |from: &Arc<Tun>, to: &Arc<Tun>| {
        let line = Line::new(options.link(), rng.fork());
        Direction::start(line, Arc::clone(from), Arc::clone(to), started)
    };
    let there = direction(&left, &right);
    let back = direction(&right, &left);
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    for (from, to, direction) in [
        (&options.left, &options.right, there),
        (&options.right, &options.left, back),
    ] {
        println!("{from} to {to}: {}", direction.line().counts());
    }
    Ok(())
}

fn open(name: &str) -> io::Result<Arc<Tun>> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    let interface = Interface::new(name).map_err(told)?;
    Tun::new_named(interface).map(Arc::new).map_err(told)
}

/// One direction with its two threads, which run until the program ends.
struct Direction {
    line: Mutex<Line>,
    changed: Condvar,
    started: std::time::Instant,
}

impl Direction {
    fn start(line: Line, from: Arc<Tun>, to: Arc<Tun>, started: std::time::Instant) -> Arc<Self> {
        let direction = Arc::new(Self {
            line: Mutex::new(line),
            changed: Condvar::new(),
            started,
        });
        let reader = Arc::clone(&direction);
        thread::spawn(move || reader.read(&from));
        let writer = Arc::clone(&direction);
        thread::spawn(move || writer.write(&to));
        direction
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, from: &Tun) {
        let mut packet = vec![0; LONGEST];
        loop {
            match from.recv(&mut packet) {
                Ok(size) => {
                    self.line().handle_packet(self.now(), &packet[..size]);
                    self.changed.notify_one();
                }
                // Not up yet, or down for a moment while it moves to another namespace.
                Err(_) => thread::sleep(PATIENCE),
            }
        }
    }

    fn write(&self, to: &Tun) {
        let mut line = self.line();
        loop {
            if let Some(packet) = line.poll_packet(self.now()) {
                drop(line);
                // A device that is down loses what comes, as a cable would.
                let _gone = to.send(&packet);
                line = self.line();
                continue;
            }
            line = match line.poll_timeout() {
                Some(at) => {
                    let left = at.saturating_duration_since(self.now());
                    let waited = self.changed.wait_timeout(line, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(line);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}
