//! Calls without media: what one costs us, and what it costs Kamailio to pass one on.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{Load, MEASURED, answer, finish, meter, on};
use crate::peer::kamailio::Kamailio;
use crate::peer::place::Place;
use crate::peer::process::Process;
use crate::peer::scenario::Scenario;

/// How long the calls last that memory is measured with.
const UP: u32 = 15_000;

/// Our client's options: as telephones of a carrier have it, without wide band.
const TERMS: [&str; 4] = ["--codecs", "pcma,pcmu", "--max-calls", "20000"];

pub(super) fn measure(quick: bool) -> io::Result<()> {
    let (rate, count) = if quick { (100, 200) } else { (500, 10_000) };
    println!("calls without media, {rate} a second, {count} in all; SIPp on the other core");
    answered(rate, count)?;
    connected(rate, count)?;
    passed_on(rate, count)?;
    held(if quick { 100 } else { 2_000 })
}

/// INVITE, 200, ACK, BYE, 200; SIPp sends no sound, and gets some only where it wants it.
fn caller(up: u32, direction: &str) -> Scenario {
    let call = Scenario::new("caller").first("INVITE", Some(direction));
    let up = call.progress().answered(200).ack(None).pause(up);
    up.request("BYE").answered(200)
}

fn callee() -> Scenario {
    Scenario::new("callee")
        .expect("INVITE")
        .respond("200 OK", Some("sendrecv"))
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
    let server = answer(&place, port, &TERMS)?;
    let cost = through(
        &place,
        server.id(),
        &format!("127.0.0.1:{port}"),
        rate,
        count,
    )?;
    tell("sidetone answers", &cost);
    Ok(())
}

/// Our client connects them, as a back-to-back user agent.
fn connected(rate: u32, count: u32) -> io::Result<()> {
    let place = Place::new("load-connected")?;
    let callee = called(&place, count + count / 10)?;
    let port = place.take_signalling();
    let options = [&TERMS[..], &["--connect", &callee.uri]].concat();
    let server = answer(&place, port, &options)?;
    let cost = through(
        &place,
        server.id(),
        &format!("127.0.0.1:{port}"),
        rate,
        count,
    )?;
    tell("sidetone connects", &cost);
    Ok(())
}

/// Kamailio passes them on.
fn passed_on(rate: u32, count: u32) -> io::Result<()> {
    let place = Place::new("load-proxy")?;
    let callee = called(&place, count + count / 10)?;
    let target = callee.uri.rsplit('@').next().unwrap_or_default();
    let proxy = Kamailio::spawn_plain(&place, target, |program| on(MEASURED, program))?;
    let cost = through(&place, proxy.id(), &proxy.address(), rate, count)?;
    tell("Kamailio passes on", &cost);
    Ok(())
}

/// A SIPp that is called.
struct Called {
    /// Ends with it.
    _process: Process,
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
        _process: load.start(place)?,
        uri: format!("sip:sipp@127.0.0.1:{port}"),
    })
}

/// What it costs a process that calls go through, after the first ones, which make its tables.
fn through(place: &Place, id: u32, target: &str, rate: u32, count: u32) -> io::Result<Cost> {
    let scenario = caller(0, "sendrecv");
    let run = |count| {
        let load = load(place, &scenario, target.to_owned(), rate, count);
        finish(load.start(place)?)
    };
    run(count / 10)?;
    let (before, start) = (meter::processor(id)?, Instant::now());
    let made = run(count)?;
    let took = start.elapsed();
    // What lingers of the last calls belongs to them.
    thread::sleep(Duration::from_secs(1));
    Ok(Cost {
        spent: meter::processor(id)? - before,
        took,
        made,
        refused: count - made,
    })
}

/// What calls took.
struct Cost {
    spent: Duration,
    took: Duration,
    made: u32,
    refused: u32,
}

/// What a call that is up keeps in memory.
fn held(count: u32) -> io::Result<()> {
    let place = Place::new("load-held")?;
    let port = place.take_signalling();
    let server = answer(&place, port, &TERMS)?;
    let scenario = caller(UP, "inactive");
    let load = load(&place, &scenario, format!("127.0.0.1:{port}"), 400, count);
    let before = meter::resident(server.id())?;
    let sipp: Process = load.start(&place)?;
    thread::sleep(Duration::from_secs_f64(f64::from(count) / 400.0 + 2.0));
    let more = meter::resident(server.id())? - before;
    let start = meter::processor(server.id())?;
    thread::sleep(Duration::from_secs(5));
    let idle = meter::processor(server.id())? - start;
    finish(sipp)?;
    println!(
        "{count} calls up: {:.1} kB each, {:.1} µs of processor a call-second",
        more / f64::from(count),
        idle.as_secs_f64() / 5.0 * 1e6 / f64::from(count)
    );
    Ok(())
}

fn tell(what: &str, cost: &Cost) {
    let each = cost.spent.as_secs_f64() * 1e6 / f64::from(cost.made);
    println!(
        "{what}: {each:.0} µs of processor a call ({:.0} calls a second would fill a core); {} made at {:.0} \
         a second, {} refused",
        1e6 / each,
        cost.made,
        f64::from(cost.made) / cost.took.as_secs_f64(),
        cost.refused
    );
}
