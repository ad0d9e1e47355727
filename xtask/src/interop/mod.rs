//! Calls between the engine and peers that we did not write, on loopback, dissected by tshark.

mod peers;

use std::io;

use crate::audio::measure;
use crate::peer::capture::{self, Capture};
use crate::peer::place::Place;
use crate::report::Tally;
use crate::shell;

/// One call and what must be true of it.
struct Case {
    name: &'static str,
    /// Programs without which it cannot run.
    needs: &'static [&'static str],
    run: fn(&Place) -> io::Result<()>,
    /// Whether sound flows, so that the capture must hold RTP.
    sound: bool,
}

/// Runs every case, each captured and dissected where this machine allows it.
pub(crate) fn run() -> io::Result<Tally> {
    let mut tally = Tally::default();
    let dissected = Capture::possible();
    for case in peers::CASES {
        let missing = case
            .needs
            .iter()
            .find(|program| shell::find(program).is_none());
        if let Some(program) = missing {
            tally.skipped += 1;
            tally
                .lines
                .push(format!("skipped  {}: {program} is missing", case.name));
            continue;
        }
        let start = std::time::Instant::now();
        let verdict = one(&case, dissected);
        let took = start.elapsed().as_secs_f64();
        match verdict {
            Ok(()) => {
                tally.passed += 1;
                tally
                    .lines
                    .push(format!("ok       {:<44} {took:>5.1} s", case.name));
            }
            Err(error) => {
                tally.failed += 1;
                tally.lines.push(format!("FAILED   {}: {error}", case.name));
            }
        }
    }
    if !dissected {
        tally.skipped += 1;
        tally
            .lines
            .push("skipped  dissection by tshark: needs root and tshark".to_owned());
    }
    Ok(tally)
}

fn one(case: &Case, dissected: bool) -> io::Result<()> {
    let place = Place::new(&folder(case.name))?;
    let capture = if dissected {
        Some(Capture::start(&place)?)
    } else {
        None
    };
    let outcome = (case.run)(&place);
    let Some(capture) = capture else {
        return outcome;
    };
    let file = capture.stop()?;
    outcome
        .map_err(|error| io::Error::other(format!("{error}\n    in {}", place.dir().display())))?;
    let dissection = capture::dissect(&file)?;
    if let Some(fault) = dissection.faults.first() {
        let count = dissection.faults.len();
        return Err(io::Error::other(format!(
            "tshark finds {count} faults in {}: {fault}",
            file.display()
        )));
    }
    if dissection.sip == 0 || (case.sound && dissection.rtp == 0) {
        return Err(io::Error::other(format!(
            "the capture {} holds no call",
            file.display()
        )));
    }
    Ok(())
}

/// An error unless `heard` holds at least `seconds` of `said`.
fn must_hear(who: &str, said: &[i16], heard: &[i16], seconds: f64) -> io::Result<()> {
    match measure::carried(said, heard) {
        Some(found) if found.carried >= seconds => Ok(()),
        found => Err(io::Error::other(format!(
            "{who} did not hear what was said: {found:?}"
        ))),
    }
}

/// A case's name as the name of its folder.
fn folder(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
