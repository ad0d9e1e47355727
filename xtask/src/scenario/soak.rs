//! `cargo xtask bench soak`: a server under steady load for long: does it grow, come late, lose anything?

use std::fs;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use super::row::{Bench, Outcome, Row, on};
use super::{MEASURED, check, option, prepare};
use crate::load::meter;
use crate::peer::place::Place;
use crate::peer::process::Process;

/// Calls by which it is found what one costs, and for how long.
const TRIAL: (usize, usize) = (100, 5);
/// The most calls that there are ports for beside those that the system hands out.
const MOST_CALLS: usize = 2_500;
/// How often memory is looked at.
const GLANCE: Duration = Duration::from_secs(5);
/// Ticks of the floor program.
const TICK: Duration = Duration::from_millis(20);
/// Growth of a process, in kilobytes, that is no growth: what the system itself pages in and out.
const STEADY: f64 = 1_024.0;

/// `[ROW] [--minutes M] [--load PERCENT,…] [--calls N]`: the row (usually `bridge`) at each load of the one core
/// that the server has, or with so many calls, for M minutes each.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    let names: Vec<&str> = Row::ALL.iter().map(|row| row.name).collect();
    check(options, &names, &["--minutes", "--load", "--calls"])?;
    prepare()?;
    let minutes: f64 = option(options, "--minutes")
        .and_then(|text| text.parse().ok())
        .unwrap_or(30.0);
    let loads = option(options, "--load").unwrap_or("80");
    let loads: Vec<f64> = loads.split(',').filter_map(|it| it.parse().ok()).collect();
    let named = Row::ALL.iter().find(|row| options.contains(&row.name));
    let row = named.or(Row::ALL.iter().find(|row| row.name == "bridge"));
    let row = row.ok_or_else(|| io::Error::other("no such row"))?;
    let calls = option(options, "--calls").and_then(|text| text.parse().ok());
    let mut is_sound = true;
    for load in loads {
        let calls = match calls {
            Some(calls) => calls,
            None => calls_for(row, load)?,
        };
        println!("{} with {calls} calls for {minutes} minutes …", row.name);
        let bench = bench((minutes * 60.0) as usize, calls)?;
        let soak = Soak::run(&bench, row)?;
        println!("{}", soak.report(load));
        is_sound &= soak.is_sound();
    }
    Ok(is_sound)
}

/// `cargo xtask ticker SECONDS`: the floor that late ticks are held against: sleeps from tick to tick and says how
/// late it was woken.
pub(crate) fn ticker(options: &[&str]) -> io::Result<bool> {
    let seconds: u64 = options
        .first()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let mut next = Instant::now() + TICK;
    let end = next + Duration::from_secs(seconds);
    let (mut ticks, mut late, mut worst) = (0_u64, 0_u64, Duration::ZERO);
    while next < end {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let behind = Instant::now().saturating_duration_since(next);
        ticks += 1;
        late += u64::from(behind > Duration::from_millis(5));
        worst = worst.max(behind);
        next += TICK;
    }
    let worst = worst.as_secs_f64() * 1e3;
    println!("{ticks} ticks, {late} of them later than 5 ms, the worst by {worst:.1} ms");
    Ok(true)
}

fn bench(seconds: usize, calls: usize) -> io::Result<Bench> {
    Ok(Bench {
        place: Place::new("soak")?,
        calls,
        seconds,
    })
}

/// How many calls take so many percent of a core, by a short trial.
fn calls_for(row: &Row, load: f64) -> io::Result<usize> {
    let (calls, seconds) = TRIAL;
    let outcome = bench(seconds, calls)?.measure(row)?;
    let share = outcome.figure("processor_share").unwrap_or(0.0);
    if share <= 0.0 {
        return Err(io::Error::other("the trial has measured nothing"));
    }
    let wanted = outcome.calls as f64 * load / 100.0 / share;
    Ok((wanted as usize).clamp(2, MOST_CALLS))
}

/// What came of one.
struct Soak {
    outcome: Outcome,
    /// Kilobytes in use and seconds since the start.
    memory: Vec<(f64, f64)>,
    floor: String,
}

impl Soak {
    fn run(bench: &Bench, row: &Row) -> io::Result<Self> {
        let mut running = bench.start(row)?;
        running
            .load
            .expect("parties are up", Duration::from_secs(120))?;
        let own = std::env::current_exe()?;
        let mut ticker: Command = on(MEASURED, own);
        ticker.args(["ticker", &bench.seconds.to_string()]);
        let mut ticker = Process::spawn("ticker", bench.place.dir(), &mut ticker)?;
        let (start, server) = (Instant::now(), running.server.id());
        let mut memory = Vec::new();
        // The load judges what it has kept when its time is over.
        while start.elapsed().as_secs() < bench.seconds as u64 {
            if running.load.end(GLANCE)?.is_some() {
                break;
            }
            memory.push((meter::resident(server)?, start.elapsed().as_secs_f64()));
        }
        ticker.succeed(Duration::from_secs(30))?;
        let outcome = running.finish()?;
        Ok(Self {
            outcome,
            memory,
            floor: ticker.log().trim().to_owned(),
        })
    }

    /// Kilobytes by which it has grown since a fifth of the time was over.
    fn growth(&self) -> f64 {
        let settled = self.memory.get(self.memory.len() / 5);
        let last = self.memory.last();
        settled
            .zip(last)
            .map_or(0.0, |((then, _), (now, _))| now - then)
    }

    fn is_sound(&self) -> bool {
        self.growth() < STEADY && self.outcome.lost() <= self.outcome.calls as f64 * 2.0
    }

    fn report(&self, load: f64) -> String {
        let figure = |name| self.outcome.figure(name).unwrap_or(0.0);
        let ticks = self.outcome.ticks.as_deref().unwrap_or("none");
        let at = |share: f64| {
            let place = (self.memory.len().saturating_sub(1) as f64 * share) as usize;
            self.memory.get(place).map_or(0.0, |(memory, _)| *memory)
        };
        let host = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        format!(
            "| aimed at | of a core | calls | packets received | lost | delay median, 99.9 % (ms) | \
             memory at 0, 20, 50, 100 % (MB) | load not in time |\n|---|---|---|---|---|---|---|---|\n\
             | {load:.0} % | {:.0} % | {} | {} | {} | {:.2}, {:.2} | {:.1}, {:.1}, {:.1}, {:.1} | {} of {} |\n\n\
             - ticks of the server: {ticks}\n- the floor beside it, on the same core: {}\n\
             - grown by {:.0} kB since a fifth of the time was over; load of the machine at the end {}",
            figure("processor_share") * 100.0,
            self.outcome.calls,
            figure("received"),
            self.outcome.lost(),
            figure("delay_median") / 1e3,
            figure("delay_999") / 1e3,
            at(0.0) / 1_024.0,
            at(0.2) / 1_024.0,
            at(0.5) / 1_024.0,
            at(1.0) / 1_024.0,
            figure("not_in_time"),
            figure("sent"),
            self.floor,
            self.growth(),
            host.split(' ').next().unwrap_or_default(),
        )
    }
}
