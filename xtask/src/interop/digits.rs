//! Digits that travel as INFO requests and as tones, with softphones; every other call with one
//! has them as telephone events.

use std::io;
use std::thread;
use std::time::Duration;

use super::talk::{Talk, Way};
use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::audio::{RATE, dtmf};
use crate::peer::baresip::Baresip;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Keys, Make};

pub(super) const CASES: [Case; 4] = [
    Case {
        name: "digits: Linphone calls and presses by INFO",
        needs: Make::Linphone.needs(),
        run: linphone_informs,
    },
    Case {
        name: "digits: sidetone calls baresip and presses by INFO",
        needs: Make::Baresip.needs(),
        run: |place| sent(place, "info"),
    },
    Case {
        name: "digits: sidetone calls baresip and presses by tones",
        needs: Make::Baresip.needs(),
        run: |place| sent(place, "tones"),
    },
    Case {
        name: "digits: baresip calls and says tones",
        needs: Make::Baresip.needs(),
        run: baresip_says_tones,
    },
];

const PRESSED: &str = "159#D";

fn linphone_informs(place: &Place) -> io::Result<Proof> {
    let talk = Talk {
        keys: Keys::Info,
        own: &["--digits-by", "info"],
        ..Talk::plain(Make::Linphone, Way::In)
    };
    let proof = talk.hold(place)?;
    Ok(proof.shows("the INFO", "sip.Method == \"INFO\"", 1))
}

/// Our digits on their way to baresip: what it says of INFO, what it heard of tones.
fn sent(place: &Place, by: &'static str) -> io::Result<Proof> {
    let mut callee = Baresip::spawn(place, "callee", &say(Voice::Agent, 40.0), true)?;
    let options = ["--digits", PRESSED, "--digits-by", by, "--duration", "4"];
    let mut client = Own::call(place, &callee.uri(), &vec![0; RATE], &options)?;
    client.expect("digits sent")?;
    client.exit(0, SOON)?;
    callee.expect_over(SOON)?;
    let log = callee.log();
    let got = match by {
        "info" => dtmf::ALL
            .chars()
            .filter(|digit| log.contains(&format!("received DTMF: '{digit}'")))
            .filter(|digit| PRESSED.contains(*digit))
            .count(),
        _ => {
            let heard = dtmf::listen(&callee.heard()?.channels[0]);
            if heard != PRESSED {
                return Err(io::Error::other(format!("baresip heard {heard:?}")));
            }
            return Ok(Proof::none());
        }
    };
    if got < PRESSED.len() {
        return Err(io::Error::other(format!(
            "baresip got {got} digits by INFO"
        )));
    }
    Ok(Proof::none().shows("the INFO", "sip.Method == \"INFO\"", PRESSED.len()))
}

/// baresip agrees to telephone events and then says tones, as some gateways do.
fn baresip_says_tones(place: &Place) -> io::Result<Proof> {
    let mut said = vec![0; 2 * RATE];
    said.extend(dtmf::tones(PRESSED));
    said.resize(30 * RATE, 0);
    let options = ["--count", "1", "--digits-by", "tones"];
    let mut client = Own::answer(place, &say(Voice::Caller, 40.0), &options)?;
    let mut caller = Baresip::spawn(place, "caller", &said, false)?;
    caller.dial(&client.uri())?;
    caller.expect_up(SOON)?;
    for digit in PRESSED.chars() {
        client.expect(&format!("digit {digit}"))?;
    }
    thread::sleep(Duration::from_millis(300));
    caller.hang_up()?;
    client.exit(0, SOON)?;
    let count = client.log().matches("digit ").count();
    if count != PRESSED.len() {
        return Err(io::Error::other(format!(
            "{count} digits heard, {PRESSED} said"
        )));
    }
    Ok(Proof::none())
}
