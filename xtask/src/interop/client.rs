//! Peers that `sidetone call` calls, and peers that call `sidetone answer`.

use std::io;
use std::thread;
use std::time::Duration;

use super::secure::GCM;
use super::{Case, Proof, SOON, must_hear, must_hear_wide};
use crate::audio::speech::{Voice, say, say_wide};
use crate::peer::baresip::Baresip;
use crate::peer::kamailio::Kamailio;
use crate::peer::own::Own;
use crate::peer::place::Place;
use crate::peer::scenario;
use crate::peer::sipp::{Options, Sipp};

pub(super) const CASES: [Case; 6] = [
    Case {
        name: "client: SIPp cancels while sidetone rings",
        needs: &["sipp"],
        run: cancelled,
    },
    Case {
        name: "client: sidetone refuses SIPp with 486",
        needs: &["sipp"],
        run: refuse,
    },
    Case {
        name: "client: SIPp is busy when sidetone calls",
        needs: &["sipp"],
        run: refused,
    },
    Case {
        name: "client: sidetone calls baresip through Kamailio",
        needs: &["baresip", "kamailio"],
        run: through_proxy,
    },
    Case {
        name: "client: baresip calls sidetone",
        needs: &["baresip"],
        run: baresip_calls,
    },
    Case {
        name: "client: sidetone calls sidetone, Opus, AES-256 GCM",
        needs: &[],
        run: alone,
    },
];

fn said() -> Vec<i16> {
    say(Voice::Caller, 40.0)
}

fn answered() -> Vec<i16> {
    say(Voice::Agent, 40.0)
}

/// A SIPp that calls our client.
fn call(place: &Place, client: &Own, scenario: &scenario::Scenario) -> io::Result<()> {
    let target = client.uri().rsplit('@').next().map(str::to_owned);
    let options = Options {
        target,
        ..Options::default()
    };
    Sipp::spawn(place, "caller", scenario, &options)?.finish(SOON)
}

fn cancelled(place: &Place) -> io::Result<Proof> {
    let mut client = Own::answer(place, &answered(), &["--ring", "15", "--count", "1"])?;
    call(place, &client, &scenario::cancelling_caller())?;
    client.exit(0, SOON)?;
    Ok(Proof::none())
}

fn refuse(place: &Place) -> io::Result<Proof> {
    let mut client = Own::answer(place, &answered(), &["--reject", "486", "--count", "1"])?;
    call(place, &client, &scenario::refused_caller(486))?;
    client.exit(0, SOON)?;
    Ok(Proof::none())
}

fn refused(place: &Place) -> io::Result<Proof> {
    let none = Options::default();
    let mut callee = Sipp::spawn(place, "callee", &scenario::busy_callee(), &none)?;
    let mut client = Own::call(place, &callee.uri(), &said(), &[])?;
    client.exit(1, SOON)?;
    callee.finish(SOON)?;
    Ok(Proof::none())
}

fn through_proxy(place: &Place) -> io::Result<Proof> {
    let mut callee = Baresip::spawn(place, "callee", &answered(), true)?;
    let target = callee
        .uri()
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .to_owned();
    let proxy = Kamailio::spawn(place, &target)?;
    let via = format!("sip:{};lr", proxy.address());
    let options = ["--via", &via, "--duration", "5", "--digits", "42"];
    let mut client = Own::call(place, &callee.uri(), &said(), &options)?;
    client.exit(0, SOON)?;
    callee.expect_over(SOON)?;
    if proxy.in_dialog("ACK") == 0 || proxy.in_dialog("BYE") == 0 {
        return Err(io::Error::other("ACK or BYE went past the proxy"));
    }
    for digit in ['4', '2'] {
        if !callee
            .log()
            .contains(&format!("received event: '{digit}' (end=1)"))
        {
            return Err(io::Error::other(format!(
                "the digit {digit} did not arrive"
            )));
        }
    }
    both_heard(&client, &callee, &said(), &answered())
}

fn baresip_calls(place: &Place) -> io::Result<Proof> {
    let mut client = Own::answer(place, &answered(), &["--count", "1"])?;
    let mut caller = Baresip::spawn(place, "caller", &said(), false)?;
    caller.dial(&client.uri())?;
    caller.expect_up(SOON)?;
    caller.press('7')?;
    client.expect("digit 7")?;
    thread::sleep(Duration::from_secs(4));
    caller.hang_up()?;
    client.exit(0, SOON)?;
    both_heard(&client, &caller, &answered(), &said())
}

/// Our client said `ours`, baresip said `theirs`.
fn both_heard(client: &Own, peer: &Baresip, ours: &[i16], theirs: &[i16]) -> io::Result<Proof> {
    must_hear("baresip", ours, &peer.heard()?, 2.0)?;
    must_hear("sidetone", theirs, &client.heard()?, 2.0)?;
    Ok(Proof::none())
}

/// Encrypted and in Opus, which nobody else offers us so.
fn alone(place: &Place) -> io::Result<Proof> {
    let [said, answered] = [Voice::Caller, Voice::Agent].map(|voice| say_wide(voice, 40.0));
    let mut callee = Own::answer(place, &answered, &["--count", "1", "--srtp", "required"])?;
    let options = ["--duration", "5", "--srtp", "required"];
    let mut caller = Own::call(place, &callee.uri(), &said, &options)?;
    caller.exit(0, SOON)?;
    callee.exit(0, SOON)?;
    must_hear_wide("the callee", &said, &callee.heard()?, 3.0)?;
    must_hear_wide("the caller", &answered, &caller.heard()?, 3.0)?;
    let filter = format!("sip && frame contains \"{GCM} inline\"");
    Ok(Proof::none().shows("the suite, offered and taken", filter, 2))
}
