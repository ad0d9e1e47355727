//! Digits that travel as INFO requests and as tones, with softphones; every other call with one
//! has them as telephone events, both ways. baresip has no INFO to send.

use std::io;
use std::thread;
use std::time::Duration;

use super::secure::with;
use super::talk::{Talk, Way};
use super::{Case, Proof, SOON};
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::audio::{RATE, dtmf, wide};
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::softphone::{Keys, Make, Manner, Softphone};

pub(super) const CASES: [Case; 7] = [
    with(
        Make::Linphone,
        "digits: Linphone calls and presses by INFO",
        linphone_informs,
    ),
    with(
        Make::Baresip,
        "digits: sidetone calls baresip and presses by INFO",
        |place| informed(place, Make::Baresip),
    ),
    with(
        Make::Linphone,
        "digits: sidetone calls Linphone and presses by INFO",
        |place| informed(place, Make::Linphone),
    ),
    with(
        Make::Baresip,
        "digits: sidetone calls baresip and presses by tones",
        |place| sounded(place, Make::Baresip),
    ),
    with(
        Make::Linphone,
        "digits: sidetone calls Linphone and presses by tones",
        |place| sounded(place, Make::Linphone),
    ),
    with(
        Make::Baresip,
        "digits: baresip calls and says tones",
        |place| says_tones(place, Make::Baresip),
    ),
    with(
        Make::Linphone,
        "digits: Linphone calls and says tones",
        |place| says_tones(place, Make::Linphone),
    ),
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

/// Our digits in INFO requests.
fn informed(place: &Place, make: Make) -> io::Result<Proof> {
    let phone = pressed(place, make, "info")?;
    if let Some(digit) = PRESSED.chars().find(|digit| !phone.got(*digit)) {
        return Err(io::Error::other(format!("{digit} did not come by INFO")));
    }
    Ok(Proof::none().shows("the INFO", "sip.Method == \"INFO\"", PRESSED.len()))
}

/// Our digits as tones.
fn sounded(place: &Place, make: Make) -> io::Result<Proof> {
    let phone = pressed(place, make, "tones")?;
    let heard = dtmf::listen(&wide::narrow(&phone.heard()?));
    if heard != PRESSED {
        return Err(io::Error::other(format!("the phone heard {heard:?}")));
    }
    Ok(Proof::none())
}

/// Calls a phone and presses keys.
fn pressed(place: &Place, make: Make, by: &str) -> io::Result<Softphone> {
    let say = Wav::mono(say(Voice::Agent, 40.0));
    let mut phone = Softphone::spawn(place, make, "callee", &Manner::saying(&say, true))?;
    let options = ["--digits", PRESSED, "--digits-by", by, "--duration", "4"];
    let mut client = Own::call(place, &phone.uri(), &vec![0; RATE], &options)?;
    client.expect("digits sent")?;
    client.exit(0, SOON)?;
    phone.expect_over(SOON)?;
    Ok(phone)
}

/// The phone agrees to telephone events and then says tones, as some gateways do.
fn says_tones(place: &Place, make: Make) -> io::Result<Proof> {
    let mut said = vec![0; 2 * RATE];
    said.extend(dtmf::tones(PRESSED));
    said.resize(30 * RATE, 0);
    let said = Wav::mono(said);
    let options = ["--count", "1", "--digits-by", "tones"];
    let mut client = Own::answer(place, &say(Voice::Caller, 40.0), &options)?;
    let mut caller = Softphone::spawn(place, make, "caller", &Manner::saying(&said, false))?;
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
