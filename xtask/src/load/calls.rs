//! Calls without media: what one costs us, and what it costs Kamailio to pass one on.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, Load, MEASURED, answer, meter, on};
use crate::peer::kamailio::Kamailio;
use crate::peer::place::Place;
use crate::peer::process::Process;
use crate::peer::scenario::Scenario;

/// How long the calls last that memory is measured with.
const UP: u32 = 15_000;

pub(super) fn measure(quick: bool) -> io::Result<()> {
    let (rate, count) = if quick { (100, 200) } else { (500, 10_000) };
    println!("calls without media, {rate} a second, {count} in all; SIPp on the other core");
    answered(rate, count)?;
    connected(rate, count)?;
    passed_on(rate, count)?;
    held(if quick { 100 } else { 2_000 })
}

/// INVITE, 200, ACK, BYE, 200; nobody sends sound.
fn caller(up: u32) -> Scenario {
    let call = Scenario::new("caller").first("INVITE", Some("inactive"));
    let up = call.progress().answered(200).ack(None).pause(up);
    up.request("BYE").answered(200)
}

fn callee() -> Scenario {
    Scenario::new("callee")
        .expect("INVITE")
        .respond("200 OK", Some("inactive"))
        .expect("ACK")
        .expect("BYE")
        .confirm(None)
}

fn load<'a>(
    place: &Place,
    scenario: &'a Scenario,
    target: String,
    rate: u32,
    count: u32,
) -> Load<'a> {
    Load {
        name: "load".to_owned(),
        scenario,
        from: ("127.0.0.1".to_owned(), place.take_signalling()),
        target: Some(target),
        rate,
        count,
        fields: None,
    }
}

/// Our client answers.
fn answered(rate: u32, count: u32) -> io::Result<()> {
    let place = Place::new("load-calls")?;
    let port = place.take_signalling();
    let server = answer(&place, port, &["--max-calls", "20000"])?;
    let (spent, took) = through(
        &place,
        server.id(),
        &format!("127.0.0.1:{port}"),
        rate,
        count,
    )?;
    tell("sidetone answers", spent, took, count);
    Ok(())
}

/// Our client connects them, as a back-to-back user agent.
fn connected(rate: u32, count: u32) -> io::Result<()> {
    let place = Place::new("load-connected")?;
    let mut callee = called(&place, count + count / 10)?;
    let port = place.take_signalling();
    let options = ["--max-calls", "20000", "--connect", &callee.uri];
    let server = answer(&place, port, &options)?;
    let (spent, took) = through(
        &place,
        server.id(),
        &format!("127.0.0.1:{port}"),
        rate,
        count,
    )?;
    callee.process.succeed(Duration::from_secs(10))?;
    tell("sidetone connects", spent, took, count);
    Ok(())
}

/// Kamailio passes them on.
fn passed_on(rate: u32, count: u32) -> io::Result<()> {
    let place = Place::new("load-proxy")?;
    let mut callee = called(&place, count + count / 10)?;
    let target = callee.uri.rsplit('@').next().unwrap_or_default();
    let proxy = Kamailio::spawn_plain(&place, target, |program| on(MEASURED, program))?;
    let (spent, took) = through(&place, proxy.id(), &proxy.address(), rate, count)?;
    callee.process.succeed(Duration::from_secs(10))?;
    tell("Kamailio passes on", spent, took, count);
    Ok(())
}

/// A SIPp that is called.
struct Called {
    process: Process,
    uri: String,
}

fn called(place: &Place, count: u32) -> io::Result<Called> {
    let port = place.take_signalling();
    let scenario = callee();
    let load = Load {
        name: "callee".to_owned(),
        scenario: &scenario,
        from: ("127.0.0.1".to_owned(), port),
        target: None,
        rate: 1,
        count,
        fields: None,
    };
    Ok(Called {
        process: load.start(place)?,
        uri: format!("sip:sipp@127.0.0.1:{port}"),
    })
}

/// What it costs a process that calls go through, after the first ones, which make its tables.
fn through(
    place: &Place,
    id: u32,
    target: &str,
    rate: u32,
    count: u32,
) -> io::Result<(Duration, Duration)> {
    let scenario = caller(0);
    let run = |count| {
        load(place, &scenario, target.to_owned(), rate, count)
            .start(place)?
            .succeed(LIMIT)
    };
    run(count / 10)?;
    spend(id, || run(count))
}

/// What a call that is up keeps in memory.
fn held(count: u32) -> io::Result<()> {
    let place = Place::new("load-held")?;
    let port = place.take_signalling();
    let server = answer(&place, port, &["--max-calls", "20000"])?;
    let scenario = caller(UP);
    let load = load(&place, &scenario, format!("127.0.0.1:{port}"), 400, count);
    let before = meter::resident(server.id())?;
    let mut sipp: Process = load.start(&place)?;
    thread::sleep(Duration::from_secs_f64(f64::from(count) / 400.0 + 2.0));
    let more = meter::resident(server.id())? - before;
    let start = meter::processor(server.id())?;
    thread::sleep(Duration::from_secs(5));
    let idle = meter::processor(server.id())? - start;
    sipp.succeed(LIMIT)?;
    println!(
        "{count} calls up: {:.1} kB each, {:.1} µs of processor a call-second",
        more / f64::from(count),
        idle.as_secs_f64() / 5.0 * 1e6 / f64::from(count)
    );
    Ok(())
}

/// The processor time that a process spends while `work` is done, and how long that takes.
fn spend(id: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<(Duration, Duration)> {
    let (before, start) = (meter::processor(id)?, Instant::now());
    work()?;
    let took = start.elapsed();
    // What lingers of the last calls belongs to them.
    thread::sleep(Duration::from_secs(1));
    Ok((meter::processor(id)? - before, took))
}

fn tell(what: &str, spent: Duration, took: Duration, count: u32) {
    let each = spent.as_secs_f64() * 1e6 / f64::from(count);
    println!(
        "{what}: {each:.0} µs of processor a call ({:.0} calls a second would fill a core); {:.0} a \
         second were made",
        1e6 / each,
        f64::from(count) / took.as_secs_f64()
    );
}
