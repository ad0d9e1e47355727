//! SIPp calls SIPp through the `b2bua` example: answers, refusals, cancelled calls and hang-ups go
//! through, with the sound anchored or descriptions passed on.

use std::io;

use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::peer::engine::Engine;
use crate::peer::place::Place;
use crate::peer::scenario::{self, Scenario};
use crate::peer::sipp::{Options, Sipp};

pub(super) const CASES: [Case; 3] = [
    case("b2bua: SIPp calls SIPp, sound anchored", |place| {
        talk(place, &[], &scenario::caller(6000), &scenario::callee())
    }),
    case("b2bua: SIPp calls SIPp, descriptions passed on", |place| {
        let passes = ["--no-media".to_owned()];
        talk(place, &passes, &scenario::caller(6000), &scenario::callee())
    }),
    case("b2bua: the called SIPp hangs up", |place| {
        let leaving = scenario::leaving_callee(4000);
        talk(place, &[], &scenario::patient_caller(), &leaving)
    }),
];

/// Those of signalling alone.
pub(super) const QUIET: [Case; 3] = [
    case("b2bua: the called SIPp is busy", |place| {
        signal(
            place,
            &scenario::refused_caller(486),
            &[scenario::busy_callee()],
        )
    }),
    case("b2bua: the caller gives up", |place| {
        signal(
            place,
            &scenario::cancelling_caller(),
            &[scenario::ringing_callee()],
        )
        .map(|proof| {
            // Both ways.
            proof.shows("CANCEL", "sip.Method == \"CANCEL\"", 2)
        })
    }),
    case("b2bua: two SIPps ring, one answers", |place| {
        let ringing = [scenario::ringing_callee(), scenario::callee()];
        let proof = signal(place, &scenario::caller(1000), &ringing)?;
        let elsewhere = "sip.Method == \"CANCEL\" && sip.Reason contains \"elsewhere\"";
        Ok(proof.shows("why the other stops ringing", elsewhere, 1))
    }),
];

const fn case(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    Case {
        name,
        needs: &["sipp"],
        run,
    }
}

fn talk(
    place: &Place,
    options: &[String],
    calls: &Scenario,
    answers: &Scenario,
) -> io::Result<Proof> {
    let (said, answered) = (say(Voice::Caller, 30.0), say(Voice::Agent, 30.0));
    let mut callee = called(place, "callee", answers, &answered)?;
    let mut engine = Engine::b2bua(place, &[callee.uri()], options)?;
    let mut caller = calling(place, &engine, calls, &said)?;
    caller.finish(SOON)?;
    callee.finish(SOON)?;
    engine.expect("answered")?;
    engine.stop()?;
    Ok(Proof::none()
        .hears("the callee", callee.media_port(), &said, 2.0)
        .hears("the caller", caller.media_port(), &answered, 2.0))
}

fn signal(place: &Place, calls: &Scenario, answers: &[Scenario]) -> io::Result<Proof> {
    let sound = say(Voice::Caller, 5.0);
    let names = ["first", "second"].iter();
    let callees = names
        .zip(answers)
        .map(|(name, answers)| called(place, name, answers, &sound));
    let mut callees = callees.collect::<io::Result<Vec<Sipp>>>()?;
    let places: Vec<String> = callees.iter().map(Sipp::uri).collect();
    let engine = Engine::b2bua(place, &places, &["--no-media".to_owned()])?;
    let mut caller = calling(place, &engine, calls, &sound)?;
    caller.finish(SOON)?;
    for callee in &mut callees {
        callee.finish(SOON)?;
    }
    engine.stop()?;
    Ok(Proof::none())
}

fn called(place: &Place, name: &str, scenario: &Scenario, say: &[i16]) -> io::Result<Sipp> {
    let options = Options {
        say,
        ..Options::default()
    };
    Sipp::spawn(place, name, scenario, &options)
}

fn calling(place: &Place, engine: &Engine, scenario: &Scenario, say: &[i16]) -> io::Result<Sipp> {
    let options = Options {
        target: Some(engine.address()),
        say,
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)
}
