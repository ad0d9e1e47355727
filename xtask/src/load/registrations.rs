//! Registrations held and refreshed: what one costs in memory, and a refresh in processor time.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{Load, answer, finish, meter};
use crate::peer::place::Place;
use crate::peer::process::Process;
use crate::peer::scenario::Scenario;

const PASSWORD: &str = "wonder";
/// Telephones refresh after so long: half an hour, as most do that are granted an hour.
const INTERVAL: u32 = 1_800;
/// So many sources have the registrations, since one may have 20,000.
const SOURCES: u32 = 8;

pub(super) fn measure(quick: bool) -> io::Result<()> {
    let count: u32 = if quick { 800 } else { 100_000 };
    let place = Place::new("load-registrations")?;
    let users = place.path("users.txt");
    let lines = (0..count).map(|number| format!("u{number}:{PASSWORD}\n"));
    fs::write(&users, lines.collect::<String>())?;
    let port = place.take_signalling();
    let users = users.display().to_string();
    let options = ["--registrar", "desk", "--users", &users, "--digest", "md5"];
    let server = answer(&place, port, &options)?;
    let target = format!("127.0.0.1:{port}");

    let before = meter::resident(server.id())?;
    let (spent, took) = register(&place, &server, &target, count, 2_000)?;
    let more = meter::resident(server.id())? - before;
    println!(
        "{count} users registered in {:.0} s: {:.0} µs of processor each, {:.2} kB each",
        took.as_secs_f64(),
        each(spent, count),
        more / f64::from(count)
    );

    let rate = (count / INTERVAL).max(8);
    let refreshes = rate * if quick { 2 } else { 60 };
    let (spent, took) = register(&place, &server, &target, refreshes, rate)?;
    println!(
        "{refreshes} refreshed within {:.0} s ({rate} a second, as {count} do every {INTERVAL} s): {:.0} µs \
         each, {:.2} % of a core",
        took.as_secs_f64(),
        each(spent, refreshes),
        spent.as_secs_f64() * 100.0 / took.as_secs_f64()
    );
    println!(
        "memory after all: {:.1} MB more than without registrations",
        (meter::resident(server.id())? - before) / 1_000.0
    );
    Ok(())
}

fn each(spent: Duration, count: u32) -> f64 {
    spent.as_secs_f64() * 1e6 / f64::from(count)
}

/// The first `count` users register, challenged as everybody whose nonce has grown old.
fn register(
    place: &Place,
    server: &Process,
    target: &str,
    count: u32,
    rate: u32,
) -> io::Result<(Duration, Duration)> {
    let scenario = Scenario::new("registering")
        .with("Expires: 3600")
        .register_request("[field0]")
        .challenged()
        .with("Expires: 3600")
        .with("[field1]")
        .register_request("[field0]")
        .answered(200);
    let (before, start) = (meter::processor(server.id())?, Instant::now());
    let mut running = Vec::new();
    for source in 0..SOURCES {
        let share = count / SOURCES;
        let load = Load {
            name: format!("source-{source}"),
            scenario: &scenario,
            from: (format!("127.0.0.{}", source + 2), place.take_signalling()),
            target: Some(target.to_owned()),
            rate: (rate / SOURCES).max(1),
            count: share,
            fields: Some(fields(place, source, source * share..(source + 1) * share)?),
        };
        running.push(load.start(place)?);
    }
    let mut made = 0;
    for sipp in running {
        made += finish(sipp)?;
    }
    if made < count / SOURCES * SOURCES {
        println!("{} of {count} were refused", count - made);
    }
    let took = start.elapsed();
    thread::sleep(Duration::from_secs(1));
    Ok((meter::processor(server.id())? - before, took))
}

/// The users of one source, a line each, as SIPp reads them.
fn fields(place: &Place, source: u32, users: std::ops::Range<u32>) -> io::Result<PathBuf> {
    let file = place.path(&format!("users-{source}.csv"));
    let line =
        |number| format!("u{number};[authentication username=u{number} password={PASSWORD}]\n");
    let lines = users.map(line);
    fs::write(&file, format!("SEQUENTIAL\n{}", lines.collect::<String>()))?;
    Ok(file)
}
