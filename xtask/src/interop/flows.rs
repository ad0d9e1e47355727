//! Everything of signalling beyond a plain call, by SIPp's scenarios in both directions.

use std::io;

use super::{Case, Proof, SOON};
use crate::peer::flow;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::scenario::{Scenario, leaving_callee};
use crate::peer::sipp::{Options, Sipp};

/// What takes longest begins first: a session is refreshed after 45 s at the earliest.
pub(super) const CASES: [Case; 30] = [
    flow(
        "flows: sidetone refreshes a session by UPDATE, called",
        |place| incoming(place, &flow::refreshed_caller("UPDATE"), &[], &[]),
    ),
    flow(
        "flows: sidetone refreshes a session by INVITE, called",
        |place| incoming(place, &flow::refreshed_caller("INVITE"), &[], &[]),
    ),
    flow("flows: sidetone refreshes a session, calling", |place| {
        let options = ["--session-expires", "90", "--duration", "80"];
        outgoing(place, &flow::refreshed_callee(), &options, 1, &[])
    }),
    flow("flows: SIPp refreshes a session, calling", |place| {
        incoming(place, &flow::refreshing_caller(), &[], &[])
    }),
    flow(
        "flows: SIPp wants a longer session, and refreshes it",
        |place| {
            let told = ["answered"];
            outgoing(place, &flow::refreshing_callee(), &[], 1, &told)
        },
    ),
    flow(
        "flows: PRACK and UPDATE before the answer, SIPp calls",
        |place| incoming(place, &flow::reliable_caller(), &EARLY, &[]),
    ),
    flow("flows: a reliable 183 comes again", |place| {
        let caller = flow::slow_reliable_caller();
        let proof = incoming(place, &caller, &["--early", "--ring", "3"], &[])?;
        Ok(proof.shows("the 183, again", "sip.Status-Code == 183", 2))
    }),
    flow(
        "flows: PRACK and UPDATE before the answer, sidetone calls",
        |place| {
            let told = ["progress 183", "early media", "progress 180", "answered"];
            outgoing(place, &flow::reliable_callee(), &[], 1, &told)
        },
    ),
    flow("flows: SIPp holds in every way, calling", |place| {
        incoming(place, &flow::holding_caller(), &[], &["held", "resumed"])
    }),
    flow("flows: SIPp holds in every way, called", |place| {
        let told = ["held", "resumed"];
        outgoing(place, &flow::holding_callee(), &[], 1, &told)
    }),
    flow("flows: glare, 491 and again, SIPp calls", |place| {
        incoming(place, &flow::colliding_caller(), &HOLD, &HELD)
    }),
    flow("flows: glare, 491 and again, sidetone calls", |place| {
        let options = [&HOLD[..], &["--duration", "20"]].concat();
        outgoing(place, &flow::colliding_callee(), &options, 1, &HELD)
    }),
    flow("flows: a fork of three, and a late answer", |place| {
        let options = ["--duration", "2"];
        outgoing(place, &flow::forking_callee(), &options, 1, &["answered"])
    }),
    flow("flows: CANCEL crosses the answer, SIPp calls", |place| {
        incoming(place, &flow::late_canceller(), &[], &[])
    }),
    flow(
        "flows: CANCEL crosses the answer, sidetone calls",
        |place| outgoing(place, &flow::crossing_callee(), &["--ring", "1"], 1, &[]),
    ),
    flow("flows: CANCEL before it rings", |place| {
        incoming(place, &flow::early_canceller(), &["--ring", "3"], &[])
    }),
    flow("flows: 401 and a checked password", |place| {
        let options = ["--user", "alice", "--realm", "desk"];
        let callee = flow::asking_callee("alice", crate::peer::own::PASSWORD);
        outgoing(place, &callee, &options, 1, &["answered"])
    }),
    flow("flows: keys by INFO, SIPp calls", |place| {
        let told = ["digit 5", "digit #"];
        incoming(place, &flow::pressing_caller(), &INFO, &told)
    }),
    flow("flows: keys by INFO, sidetone calls", |place| {
        outgoing(place, &flow::pressing_callee(), &INFO, 1, &["digit 5"])
    }),
    flow("flows: SIPp transfers sidetone, calling", |place| {
        let (mut target, uri) = third(place, &leaving_callee(700))?;
        let caller = flow::transferring_caller(&uri, &CONNECTED);
        let proof = incoming(place, &caller, &["--transfers", "--count", "2"], &[])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: SIPp transfers sidetone, called", |place| {
        let (mut target, uri) = third(place, &leaving_callee(700))?;
        let callee = flow::transferring_callee(&uri, &CONNECTED);
        let proof = outgoing(place, &callee, &["--transfers"], 1, &["asked to call"])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: SIPp transfers sidetone to somebody busy", |place| {
        let (mut target, uri) = third(place, &crate::peer::scenario::busy_callee())?;
        let caller = flow::transferring_caller(&uri, &["100", "486"]);
        let proof = incoming(place, &caller, &["--transfers"], &["asked to call"])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: sidetone declines to be transferred", |place| {
        let caller = flow::declined_transferrer("sip:a@127.0.0.1:9");
        incoming(place, &caller, &[], &[])
    }),
    flow(
        "flows: SIPp transfers sidetone into a call (Replaces)",
        |place| {
            let (mut target, uri) = third(place, &flow::replaced_callee())?;
            let uri = format!("{uri}?Replaces=abc%40sipp%3Bto-tag%3D1%3Bfrom-tag%3D2");
            let caller = flow::transferring_caller(&uri, &["100", "200"]);
            let proof = incoming(place, &caller, &["--transfers", "--count", "2"], &[])?;
            target.finish(SOON)?;
            Ok(proof)
        },
    ),
    flow("flows: SIPp takes the place of its own call", |place| {
        let options = ["--transfers", "--count", "2"];
        let told = ["another call took its place"];
        incoming(place, &flow::replacing_caller(), &options, &told)
    }),
    flow(
        "flows: sidetone transfers SIPp, called and calling",
        |place| {
            let uri = "sip:a@127.0.0.1:9";
            let options = ["--transfer", uri, "--duration", "0.5"];
            let like = ".*sip:a@127.0.0.1:9";
            let told = ["transferred"];
            incoming(place, &flow::transferred_caller(like), &options, &told)?;
            outgoing(place, &flow::transferred_callee(like), &options, 1, &told)
        },
    ),
    flow("flows: sidetone follows a redirection", |place| {
        let (mut target, uri) = third(place, &flow::redirected_callee())?;
        let callee = flow::redirecting_callee(&uri);
        let options = ["--redirects-to", "127.0.0.1"];
        let proof = outgoing(place, &callee, &options, 1, &["answered"])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: SIPp calls SIPp through sidetone", |place| {
        let (mut target, uri) = third(place, &crate::peer::scenario::callee())?;
        let caller = crate::peer::scenario::caller(1_000);
        let proof = incoming(place, &caller, &["--connect", &uri], &["put through"])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: a CANCEL goes through sidetone", |place| {
        let (mut target, uri) = third(place, &crate::peer::scenario::ringing_callee())?;
        let caller = crate::peer::scenario::cancelling_caller();
        let proof = incoming(place, &caller, &["--connect", &uri], &[])?;
        target.finish(SOON)?;
        Ok(proof)
    }),
    flow("flows: sidetone connects two (Replaces)", |place| {
        let (mut second, uri) = third(place, &leaving())?;
        let options = ["--consult", &uri, "--duration", "0.5"];
        let like = ".*Replaces=.*to-tag.*from-tag";
        let told = ["consulting", "transferred"];
        let first = flow::transferred_callee(like);
        let proof = outgoing(place, &first, &options, 1, &told)?;
        second.finish(SOON)?;
        Ok(proof)
    }),
];

/// How a transfer goes that comes to an end.
const CONNECTED: [&str; 3] = ["100", "180", "200"];
const EARLY: [&str; 3] = ["--early", "--ring", "1.5"];
const HOLD: [&str; 2] = ["--hold", "0.5"];
const HELD: [&str; 2] = ["put on hold", "taken from hold"];
const INFO: [&str; 2] = ["--digits-by", "info"];

const fn flow(name: &'static str, run: fn(&Place) -> io::Result<Proof>) -> Case {
    Case {
        name,
        needs: &["sipp"],
        run,
    }
}

/// Rings, answers, and waits to be hung up.
fn leaving() -> Scenario {
    crate::peer::scenario::callee()
}

/// SIPp calls our client, which tells all of `told`.
fn incoming(place: &Place, scenario: &Scenario, own: &[&str], told: &[&str]) -> io::Result<Proof> {
    let once = if own.contains(&"--count") {
        &[][..]
    } else {
        &["--count", "1"]
    };
    let mut client = Own::answer(place, &Vec::new(), &[once, own].concat())?;
    let options = Options {
        target: Some(client.address()),
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)?.finish(LONG)?;
    client.exit(0, SOON)?;
    must_tell(&client, told)
}

/// Our client calls SIPp, tells all of `told`, and ends with `code`.
fn outgoing(
    place: &Place,
    scenario: &Scenario,
    own: &[&str],
    code: i32,
    told: &[&str],
) -> io::Result<Proof> {
    let mut callee = Sipp::spawn(place, "callee", scenario, &Options::default())?;
    let mut client = Own::call(place, &callee.uri(), &Vec::new(), own)?;
    callee.finish(LONG)?;
    client.exit(code, SOON)?;
    must_tell(&client, told)
}

/// Longer than half a session.
const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// A SIPp that a call may go to besides, and its address.
fn third(place: &Place, scenario: &Scenario) -> io::Result<(Sipp, String)> {
    let sipp = Sipp::spawn(place, "third", scenario, &Options::default())?;
    let uri = sipp.uri();
    Ok((sipp, uri))
}

fn must_tell(client: &Own, told: &[&str]) -> io::Result<Proof> {
    let log = client.log();
    match told.iter().find(|line| !log.contains(**line)) {
        Some(line) => Err(io::Error::other(format!("no word of `{line}`: {log}"))),
        None => Ok(Proof::none()),
    }
}
