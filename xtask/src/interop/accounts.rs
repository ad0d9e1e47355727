//! Peers that sign in with us, and a proxy that we sign in with.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Case, Proof, SOON, must_hear};
use crate::audio::speech::{Voice, say};
use crate::audio::wav::Wav;
use crate::peer::baresip::{self, Baresip};
use crate::peer::kamailio::Kamailio;
use crate::peer::linphone::{self, Linphone};
use crate::peer::own::{Own, PASSWORD};
use crate::peer::place::Place;
use crate::peer::scenario;
use crate::peer::sipp::{Options, Sipp};

pub(super) const CASES: [Case; 5] = [
    Case {
        name: "accounts: SIPp signs in and calls sidetone",
        needs: &["sipp"],
        run: sipp_signs_in,
    },
    Case {
        name: "accounts: SIPp with a wrong password is not let in",
        needs: &["sipp"],
        run: sipp_guesses,
    },
    Case {
        name: "accounts: baresip signs in and calls sidetone",
        needs: &["baresip"],
        run: baresip_signs_in,
    },
    Case {
        name: "accounts: Linphone signs in and calls sidetone",
        needs: &["linphonec"],
        run: linphone_signs_in,
    },
    Case {
        name: "accounts: sidetone signs in at Kamailio",
        needs: &["baresip", "kamailio"],
        run: kamailio_asks,
    },
];

/// Neither SIPp nor baresip 1.0 reads more than the first challenge, and both know MD5 alone.
const GUARDED: [&str; 8] = [
    "--user", "alice", "--realm", "desk", "--digest", "md5", "--count", "1",
];

fn said() -> Vec<i16> {
    say(Voice::Caller, 40.0)
}

fn answered() -> Vec<i16> {
    say(Voice::Agent, 40.0)
}

/// A SIPp that calls our guarded client.
fn call(place: &Place, client: &Own, scenario: &scenario::Scenario) -> io::Result<()> {
    let said = said();
    let options = Options {
        target: client.uri().rsplit('@').next().map(str::to_owned),
        say: &said,
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)?.finish(SOON)
}

fn sipp_signs_in(place: &Place) -> io::Result<Proof> {
    let mut client = Own::answer(place, &answered(), &GUARDED)?;
    call(
        place,
        &client,
        &scenario::signing_caller("alice", PASSWORD, 4_000),
    )?;
    client.exit(0, SOON)?;
    must_hear("sidetone", &said(), &client.heard()?, 2.0)?;
    Ok(Proof::none().shows("a challenge", "sip.Status-Code == 401", 1))
}

fn sipp_guesses(place: &Place) -> io::Result<Proof> {
    let client = Own::answer(place, &answered(), &GUARDED)?;
    call(place, &client, &scenario::refused_guesser("alice", "guess"))?;
    if client.log().contains("answered") {
        return Err(io::Error::other("a wrong password was let in"));
    }
    Ok(Proof::none().shows("two challenges", "sip.Status-Code == 401", 2))
}

/// It reads every challenge, and takes the best one. It has passwords by the name that it calls itself.
fn linphone_signs_in(place: &Place) -> io::Result<Proof> {
    let own = ["--user", "linphone", "--realm", "desk", "--count", "1"];
    let mut client = Own::answer(place, &answered(), &own)?;
    let said = said();
    let say = Wav::mono(said.clone());
    let options = linphone::Options {
        account: Some(("linphone", PASSWORD, "desk")),
        ..linphone::Options::saying(&say)
    };
    let mut caller = Linphone::with(place, "caller", &options)?;
    caller.dial(&client.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    client.exit(0, SOON)?;
    must_hear("Linphone", &answered(), &caller.heard()?, 2.0)?;
    must_hear("sidetone", &said, &client.heard()?, 2.0)?;
    let signed = "sip.auth.algorithm == \"SHA-256\" && sip.Method == \"INVITE\"";
    Ok(Proof::none().shows("a request signed by SHA-256", signed, 1))
}

fn baresip_signs_in(place: &Place) -> io::Result<Proof> {
    let mut client = Own::answer(place, &answered(), &GUARDED)?;
    let password = format!("auth_pass={PASSWORD}");
    let said = said();
    let say = Wav::mono(said.clone());
    let options = baresip::Options {
        account: &["auth_user=alice", &password],
        ..baresip::Options::saying(&say)
    };
    let mut caller = Baresip::with(place, "caller", &options)?;
    caller.dial(&client.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    client.exit(0, SOON)?;
    must_hear("baresip", &answered(), &caller.heard()?, 2.0)?;
    must_hear("sidetone", &said, &client.heard()?, 2.0)?;
    Ok(Proof::none().shows("a challenge", "sip.Status-Code == 401", 1))
}

fn kamailio_asks(place: &Place) -> io::Result<Proof> {
    let mut callee = Baresip::spawn(place, "callee", &answered(), true)?;
    let uri = callee.uri();
    let target = uri.rsplit('@').next().unwrap_or_default();
    let proxy = Kamailio::spawn_guarded(place, target, "alice", PASSWORD)?;
    let via = format!("sip:{};lr", proxy.address());
    let account = ["--via", &via, "--user", "alice", "--realm", "desk"];
    let options = [&account[..], &["--duration", "4"]].concat();
    let mut client = Own::call(place, &uri, &said(), &options)?;
    client.exit(0, SOON)?;
    callee.expect_over(SOON)?;
    if proxy.signed_in("alice") == 0 || proxy.in_dialog("BYE") == 0 {
        return Err(io::Error::other(
            "nobody signed in, or BYE went past the proxy",
        ));
    }
    must_hear("baresip", &said(), &callee.heard()?, 2.0)?;
    must_hear("sidetone", &answered(), &client.heard()?, 2.0)?;
    Ok(Proof::none().shows("a challenge", "sip.Status-Code == 407", 1))
}
